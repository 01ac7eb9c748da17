//! What renews in the background.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_io::Timer;
use event_listener::Listener;
use futures_lite::future;

use super::lost::LostReason;
use super::shared::{Shared, Until};
use crate::environment::Callers;
use crate::error::{ComponentError, GrantError};
use crate::grant::Handle;
use crate::now::now;
use crate::status::Ask;

/// Who is told of a loss.
pub(super) type OnLost = Box<dyn FnOnce(&LostReason) + Send>;
/// Who is told that somebody asks for the lock.
pub(super) type OnWanted = Box<dyn FnMut(&Ask) + Send>;

/// A lease is renewed when a third of it has passed: two more tries fit in what is left.
const RENEWALS_PER_LEASE: u32 = 3;
/// How often a lease for ever is looked after: it does not end, but may be broken.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How soon a failed renewal is tried again, as a part of the validity that is left.
const RETRIES_PER_VALIDITY: u32 = 8;
/// The shortest and the longest pause before a failed renewal is tried again.
const RETRY_PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// What runs in the background.
pub(super) struct Keeper {
    pub(super) handle: Handle,
    pub(super) shared: Arc<Shared>,
    /// When to stop renewing, by the clock.
    pub(super) end: Option<Duration>,
}

impl Keeper {
    /// Begins a thread that runs it. Without one the lease runs out unrenewed: that is told at once rather than then.
    pub(super) fn begin_thread(self, on_lost: Option<OnLost>, on_wanted: Option<OnWanted>) -> Option<JoinHandle<()>> {
        let (key, shared) = (self.handle.key.clone(), self.shared.clone());
        let thread = std::thread::Builder::new().name("kvlock-keep".to_string());
        let begun = thread.spawn(move || now(self.run(on_lost, on_wanted)));
        let failed = |error| {
            // The release tells the loss.
            tracing::warn!(key = &*key, "lock lost: no thread to renew it with: {error}");
            shared.lock().lost = Some(LostReason::Expired(None));
        };
        begun.map_err(failed).ok()
    }

    pub(super) async fn run(self, on_lost: Option<OnLost>, on_wanted: Option<OnWanted>) {
        let span = self.handle.hold.span();
        span.within(self.keep(on_lost, on_wanted)).await;
    }

    async fn keep(self, on_lost: Option<OnLost>, on_wanted: Option<OnWanted>) {
        let Some(loss) = self.renew_until_lost(on_wanted).await else { return };
        let loss = self.shared.lock().lost.get_or_insert(loss).clone();
        self.shared.changed.notify(usize::MAX);
        if loss != LostReason::MaxHold {
            self.handle.tell_loss();
        }
        tracing::warn!(key = &*self.handle.key, "lock lost: {loss}");
        if let Some(on_lost) = on_lost {
            on_lost(&loss);
        }
    }

    /// Answers the loss, or none if it was told to stop.
    async fn renew_until_lost(&self, mut on_wanted: Option<OnWanted>) -> Option<LostReason> {
        loop {
            if !self.sleep(self.pause()).await {
                return None;
            }
            if let Some(loss) = self.shared.lost() {
                return Some(loss);
            }
            if self.end.is_some_and(|end| end <= self.shared.clock.now()) {
                return Some(LostReason::MaxHold);
            }
            let is_stopped = || self.shared.lock().stop;
            let renewed = self.handle.renew_unless(is_stopped, None).await;
            if is_stopped() {
                // What it answered may come of the release.
                return None;
            }
            let is_renewed = renewed.is_ok();
            match renewed {
                Ok(()) => self.shared.lock().failure = None,
                // An expired grant is lost too, by nobody's doing.
                Err(GrantError::Lost { holder: None, .. }) if self.shared.lost().is_some() => {}
                Err(GrantError::Lost { key, holder }) => {
                    self.shared.lock().lost_key = Some(key);
                    return Some(LostReason::Gone(holder));
                }
                Err(GrantError::AlreadyReleased { .. }) => return Some(LostReason::Gone(None)),
                Err(GrantError::Store { error, .. }) => self.shared.lock().failure = Some(error),
                Err(GrantError::Component { error, .. }) => return Some(LostReason::Component(error)),
                Err(GrantError::Invalid { reason, .. }) => {
                    return Some(LostReason::Component(ComponentError::Failed(reason)));
                }
            }
            self.shared.note_validity(&self.handle).await;
            if is_renewed {
                self.hear(&mut on_wanted).await;
            }
        }
    }

    /// Looks whether somebody asks for the lock, and tells of an ask that is new. A look that fails is made again after
    /// the next renewal.
    async fn hear(&self, on_wanted: &mut Option<OnWanted>) {
        let Ok(wanted) = self.handle.wanted().await else { return };
        let Some(ask) = self.shared.note_wanted(wanted) else { return };
        tracing::info!(key = &*self.handle.key, "{ask}");
        if let Some(on_wanted) = on_wanted {
            on_wanted(&ask);
        }
    }

    /// Returns how long to pause before the next renewal.
    fn pause(&self) -> Duration {
        let state = self.shared.lock();
        let (shortest, longest) = RETRY_PAUSE;
        match (state.until, &state.failure) {
            (Until::Released, _) => LOOK_EVERY,
            (Until::Unconfirmed, None) => Duration::ZERO,
            (Until::Unconfirmed, Some(_)) => longest,
            (Until::At(deadline), failure) => {
                let left = deadline.saturating_sub(self.shared.clock.now());
                match failure {
                    None => left / RENEWALS_PER_LEASE,
                    // Not beyond the end, so that it is told in time.
                    Some(_) => (left / RETRIES_PER_VALIDITY).clamp(shortest, longest).min(left),
                }
            }
        }
    }

    /// Sleeps, but not beyond the end of the hold or when the loss is told; false if told to stop.
    async fn sleep(&self, pause: Duration) -> bool {
        let now = self.shared.clock.now();
        let pause = self.end.map_or(pause, |end| pause.min(end.saturating_sub(now)));
        let until = Instant::now().checked_add(pause);
        loop {
            let changed = self.shared.changed.listen();
            let (stop, is_lost) = self.shared.with(|state| (state.stop, state.lost.is_some()));
            let left = until.map_or(pause, |until| until.saturating_duration_since(Instant::now()));
            if stop || is_lost || left.is_zero() {
                return !stop;
            }
            match self.handle.owner.callers() {
                Callers::Threads => _ = changed.wait_timeout(left),
                Callers::Tasks => future::or(changed, async { _ = Timer::after(left).await }).await,
            }
        }
    }
}
