//! What the renewing thread or task and the guard tell each other.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_io::Timer;
use event_listener::Event;
use futures_lite::future;

use super::lost::LostReason;
use crate::clock::Clock;
use crate::grant::Handle;
use crate::outcome::Validity;
use crate::status::Ask;
use crate::store::StoreError;

/// What the keeper and its owner share.
pub(super) struct Shared {
    pub(super) clock: Arc<dyn Clock>,
    state: Mutex<State>,
    pub(super) changed: Event,
}

pub(super) struct State {
    pub(super) stop: bool,
    /// Once told, a loss stays, whatever a renewal under way may still answer.
    pub(super) lost: Option<LostReason>,
    /// The one of several keys that the store told to be lost.
    pub(super) lost_key: Option<String>,
    pub(super) until: Until,
    /// Why the last renewal failed; none if it did not.
    pub(super) failure: Option<StoreError>,
    /// Who asks for it, as was seen after the last renewal.
    pub(super) wanted: Option<Ask>,
}

/// Until when the grant is valid. Kept here, it is told without waiting for a renewal under way.
#[derive(Clone, Copy)]
pub(super) enum Until {
    /// By the clock.
    At(Duration),
    Released,
    /// A resumed grant that was not renewed so far: neither valid nor lost.
    Unconfirmed,
}

impl Shared {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let state =
            State { stop: false, lost: None, lost_key: None, until: Until::Unconfirmed, failure: None, wanted: None };
        Shared { clock, state: Mutex::new(state), changed: Event::new() }
    }

    pub(super) fn with<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.lock())
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements that change it.
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Returns why the grant is lost, if it is; that it has expired is found out here.
    pub(super) fn lost(&self) -> Option<LostReason> {
        let mut state = self.lock();
        if state.lost.is_none() && matches!(state.until, Until::At(deadline) if deadline <= self.clock.now()) {
            state.lost = Some(LostReason::Expired(state.failure.clone()));
            self.changed.notify(usize::MAX);
        }
        state.lost.clone()
    }

    pub(super) async fn when_wanted(&self) -> Ask {
        loop {
            let changed = self.changed.listen();
            if let Some(ask) = self.with(|state| state.wanted.clone()) {
                return ask;
            }
            changed.await;
        }
    }

    /// Notes who asks for it now, and returns a new ask.
    pub(super) fn note_wanted(&self, wanted: Option<Ask>) -> Option<Ask> {
        let mut state = self.lock();
        let before = std::mem::replace(&mut state.wanted, wanted).map(|ask| ask.id);
        let fresh = state.wanted.clone().filter(|ask| Some(ask.id) != before);
        if fresh.is_some() {
            self.changed.notify(usize::MAX);
        }
        fresh
    }

    pub(super) async fn when_lost(&self) -> LostReason {
        loop {
            let changed = self.changed.listen();
            if let Some(lost) = self.lost() {
                return lost;
            }
            match self.with(|state| state.until) {
                // What is told sooner, or a renewal that moves the end, is seen in the next round.
                Until::At(deadline) => {
                    let left = deadline.saturating_sub(self.clock.now());
                    future::or(changed, async { _ = Timer::after(left).await }).await;
                }
                Until::Released | Until::Unconfirmed => changed.await,
            }
        }
    }

    /// Asks the grant how long it is valid, and notes it.
    pub(super) async fn note_validity(&self, handle: &Handle) {
        let until = match handle.validity_since().await {
            Ok((now, Validity::Valid(left))) => Until::At(now.saturating_add(left)),
            Ok((_, Validity::Unlimited)) => Until::Released,
            Ok((_, Validity::Unconfirmed)) => Until::Unconfirmed,
            Ok((now, Validity::Lost)) => Until::At(now),
            Err(_) => Until::At(self.clock.now()),
        };
        self.lock().until = until;
    }
}
