//! A request for a lock, a permit or a try, and its part in the session's instance.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kvlock_queue::Stake;

use crate::component::{Claim, Guest, HandedOver, LockMode, LockTerms, Pending, Progress, Target, Tried, WaitId, What};
use crate::error::{AcquireError, CallError, chain};
use crate::grant::Grant;
use crate::holder::WaitingFor;
use crate::now::now;
use crate::owner::Owner;
use crate::queue::{Claimant, Kind, LocalQueues, Place};
use crate::store::Watch;
use crate::tries::Worker;

/// A request, as its own thread and those that hand over to it share it.
pub(super) struct Request {
    owner: Owner,
    key: Arc<str>,
    target: Target,
    phase: Mutex<Phase>,
    /// None where threads call.
    task: Option<Worker>,
    /// It may have what it waits for, by a write that was not answered. Only its own polls find out.
    in_doubt: AtomicBool,
    /// What the store tells of what it waits for, once it waits.
    hints: Mutex<Option<Hints>>,
}

/// What a store tells of what a request waits for.
struct Hints {
    /// The key in the store.
    watched: String,
    /// How often it was freed since the component was told.
    freed: Arc<AtomicU32>,
    /// Lasts as long as the wait for this key. None if the store cannot tell.
    _watch: Option<Watch>,
}

/// The part of a request in the component.
#[derive(Clone, Copy)]
enum Phase {
    New,
    Begun(Begun),
    /// It was granted or refused at its first try, and nothing was begun.
    Ended,
}

#[derive(Clone, Copy)]
struct Begun {
    id: WaitId,
    /// How long it had waited in the queue before.
    after: Duration,
}

/// How a wait stands.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "as std has Poll: ready or not")]
pub enum AcquirePoll {
    /// Not yet: poll again after the pause.
    Pending {
        /// When to poll again; sooner is harmless.
        pause: Duration,
        /// What is waited for.
        waiting_for: WaitingFor,
    },
    /// The lock is held.
    Ready(Grant),
}

/// The outcome of a poll of the component.
pub(super) struct Polled {
    pub(super) poll: AcquirePoll,
    /// The store has answered the session before.
    pub(super) has_reached: bool,
    /// The try that was granted is within one of another thread.
    pub(super) is_within_another: bool,
}

impl Request {
    pub(super) fn new(owner: Owner, key: Arc<str>, target: Target) -> Self {
        let task = owner.tasks().map(|_| Worker::of_a_task());
        Request {
            task,
            owner,
            key,
            target,
            phase: Mutex::new(Phase::New),
            in_doubt: AtomicBool::new(false),
            hints: Mutex::default(),
        }
    }

    pub(super) fn owner(&self) -> &Owner {
        &self.owner
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    pub(super) fn id(&self) -> Option<WaitId> {
        if let Phase::Begun(begun) = self.phase() { Some(begun.id) } else { None }
    }

    pub(super) fn stake(&self) -> Stake {
        let (held, in_doubt) = (self.owner.held_count(), self.in_doubt.load(Ordering::Relaxed));
        Stake { in_doubt, grants: held.ever(), may_hold: held.is_any() }
    }

    /// Returns what those behind in the queue wait for from now on, if that is known without asking the store.
    pub(super) fn answer_to_others(&self, grant: &Grant) -> Option<WaitingFor> {
        match self.target.what {
            What::Lock(terms) if terms.mode != LockMode::Shared => {
                Some(WaitingFor::Holder(Box::new(grant.as_holder(self.target.lease, self.target.note.as_deref()))))
            }
            // The next may be a reader, too; and there may be more permits where this one came from. And nobody hands the lock over to work that may
            // conflict: the next try waits in the store's wait list while the lock is held.
            What::Lock(_) | What::Several(..) | What::Permit | What::Try(_) => None,
        }
    }

    /// Polls the component, which goes on from a hand-over if there was one.
    pub(super) async fn poll(&self, waited: Duration, handed: Option<HandedOver>) -> Result<Polled, AcquireError> {
        if !self.owner.is_own_process() {
            let reason = "this acquisition is of the process before the fork; begin another";
            return Err(AcquireError::invalid(&self.key, reason));
        }
        let mut entered = self.owner.enter(&self.key).await?;
        let guest = &mut *entered;
        self.owner.release_again::<AcquireError>(guest, &self.key).await?;
        if let What::Several(keys, _) = &self.target.what {
            for key in keys.iter() {
                self.owner.release_again::<AcquireError>(guest, key).await?;
            }
        }
        if let (What::Lock(lock), None, Phase::New | Phase::Ended) = (&self.target.what, handed, self.phase()) {
            return self.try_lock(guest, lock, waited).await;
        }
        let begun = self.begin(guest, waited).await?;
        if let Some(handed) = handed {
            guest.take(&self.key, begun.id, handed).await?;
        } else {
            let freed = self.hints().as_ref().map_or(0, |hints| hints.freed.swap(0, Ordering::Relaxed));
            for _ in 0..freed {
                guest.freed(&self.key, begun.id).await?;
            }
        }
        let progress = guest.poll(&self.key, &self.target, begun.id).await;
        self.polled(guest, progress, begun.after).await
    }

    /// Returns true if the store has told of a release since the last poll.
    pub(super) fn has_heard(&self) -> bool {
        self.hints().as_ref().is_some_and(|hints| hints.freed.load(Ordering::Relaxed) > 0)
    }

    /// Lets the first of the queue poll without a further pause.
    pub(super) fn poll_at_once(&self) {
        self.queues().freed(&self.place(), self.owner.clock().now());
    }

    /// Lets the store wake whoever waits in the queue, if the store can tell of releases. A wait for several keys goes
    /// from one to the next.
    pub(super) async fn watch(&self) {
        let may_move = match self.target.what {
            What::Lock(_) => false,
            What::Several(..) => true,
            What::Permit | What::Try(_) => return,
        };
        if self.hints().is_some() && !may_move {
            return;
        }
        let Some(watched) = self.watched_key().await else { return };
        if self.hints().as_ref().is_none_or(|hints| hints.watched != watched) {
            let hints = self.begin_watch(watched).await;
            *self.hints() = Some(hints);
        }
    }

    async fn watched_key(&self) -> Option<String> {
        let id = self.id()?;
        // If that fails, its next poll finds out.
        let mut guest = self.owner.enter::<AcquireError>(&self.key).await.ok()?;
        guest.watched_key(&self.key, id).await.ok()?
    }

    async fn begin_watch(&self, watched: String) -> Hints {
        // Not the request itself: the last to drop it waits for the session.
        let (freed, place, queues) = (Arc::new(AtomicU32::new(0)), self.place(), self.queues().clone());
        let told = freed.clone();
        let clock = self.owner.clock().clone();
        let on_gone = Arc::new(move || {
            told.fetch_add(1, Ordering::Relaxed);
            queues.freed(&place, clock.now());
        });
        let watch = match &self.owner.environment().awaited {
            None => self.owner.environment().store.watch(&watched, on_gone),
            Some(store) => store.watch(watched.clone(), on_gone).await.ok().flatten(),
        };
        Hints { watched, freed, _watch: watch }
    }

    fn hints(&self) -> MutexGuard<'_, Option<Hints>> {
        self.hints.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins and tries once: of a lock that is free nothing stays behind in the component but its grant.
    async fn try_lock(&self, guest: &mut Guest, lock: &LockTerms, waited: Duration) -> Result<Polled, AcquireError> {
        if let Phase::Ended = self.set_phase(Phase::Ended) {
            return Err(AcquireError::invalid(&self.key, "this acquisition has ended; begin another"));
        }
        let progress = guest.try_lock(&self.key, &self.target, lock, waited).await.map(|tried| match tried {
            Tried::Granted(granted) => Progress::Granted(granted),
            Tried::Waiting(id, pending) => {
                self.set_phase(Phase::Begun(Begun { id, after: waited }));
                Progress::Pending(pending)
            }
        });
        self.polled(guest, progress, waited).await
    }

    /// Returns its part in the component, which it begins if there is none.
    async fn begin(&self, guest: &mut Guest, waited: Duration) -> Result<Begun, AcquireError> {
        if let Phase::Begun(begun) = self.phase() {
            return Ok(begun);
        }
        let begun = Begun { id: guest.begin(&self.key, &self.target, waited).await?, after: waited };
        self.set_phase(Phase::Begun(begun));
        Ok(begun)
    }

    async fn polled(
        &self,
        guest: &mut Guest,
        progress: Result<Progress, AcquireError>,
        in_queue: Duration,
    ) -> Result<Polled, AcquireError> {
        if guest.is_in_doubt() {
            self.mark_in_doubt();
        }
        let has_reached = guest.has_reached_the_store();
        let granted = match progress.map_err(|error| error.later_by(in_queue))? {
            Progress::Pending(Pending { pause, waiting_for }) => {
                let poll = AcquirePoll::Pending { pause, waiting_for };
                return Ok(Polled { poll, has_reached, is_within_another: false });
            }
            Progress::Granted(granted) => granted,
        };
        // Work that may conflict waits again, and is in its own queue then.
        self.in_doubt.store(false, Ordering::Relaxed);
        // While the session is ours: the thread that gets it next is within this try, and knows.
        let is_within_another =
            matches!(self.target.what, What::Try(_)) && !self.owner.tries().begin(&self.key, self.worker());
        let grant = match &self.target.what {
            What::Several(..) => {
                let keys = guest.keys::<AcquireError>(&self.key, granted.grant).await?;
                let tokens = keys.into_iter().map(|(key, token, _)| (key, token)).collect();
                Grant::several(&self.owner, granted, tokens)
            }
            // It may be nested in a lock that was resumed, and be in the name of that one's first owner.
            What::Lock(LockTerms { mode: LockMode::Reentrant, .. }) => {
                Grant::of(&self.owner, guest.facts::<AcquireError>(&self.key, granted.grant).await?)
            }
            _ => Grant::own(&self.owner, self.key.clone(), granted),
        };
        Ok(Polled { poll: AcquirePoll::Ready(grant), has_reached, is_within_another })
    }

    /// Gives back what was handed over to it.
    async fn give_back(&self, handed: HandedOver) -> Result<(), AcquireError> {
        let mut guest = self.owner.enter(&self.key).await?;
        let Phase::Begun(Begun { id, .. }) = self.phase() else { return Ok(()) };
        guest.take(&self.key, id, handed).await?;
        let Progress::Granted(granted) = guest.poll(&self.key, &self.target, id).await? else {
            return Err(AcquireError::invalid(&self.key, "its wait has ended"));
        };
        // If that fails, the lock ends with its lease, as after any release that fails.
        let _ = guest.release(&self.key, granted.grant, None).await;
        guest.drop_resource(granted.grant).await;
        Ok(())
    }

    /// Returns who tries.
    pub(super) fn worker(&self) -> Worker {
        self.task.unwrap_or_else(Worker::this_thread)
    }

    fn phase(&self) -> Phase {
        *self.phase.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn set_phase(&self, phase: Phase) -> Phase {
        std::mem::replace(&mut *self.phase.lock().unwrap_or_else(|poisoned| poisoned.into_inner()), phase)
    }
}

impl Claimant for Request {
    fn place(&self) -> Place {
        let kind = match self.target.what {
            What::Lock(_) | What::Try(_) => Kind::Lock,
            What::Permit => Kind::Permit,
            // Another place for each: two of them may want other keys.
            What::Several(..) => {
                return Place::new(self.owner.namespace(), Kind::Several, &format!("{:p}", std::ptr::from_ref(self)));
            }
        };
        Place::new(self.owner.namespace(), kind, &self.key)
    }

    fn queues(&self) -> &Arc<LocalQueues> {
        self.owner.queues()
    }

    fn claim(&self, started: Duration) -> Option<Claim> {
        // A reader may come in beside others, and is not handed what only one can have.
        if !matches!(self.target.what, What::Lock(terms) if terms.mode != LockMode::Shared) {
            return None;
        }
        let waited = self.owner.clock().now().saturating_sub(started);
        // Neither asks the store, so that nobody waits. If it fails, its own thread finds out.
        now(async {
            let mut guest = self.owner.try_enter::<AcquireError>(&self.key).await?.ok()?;
            let begun = self.begin(&mut guest, waited).await.ok()?;
            guest.claim(&self.key, begun.id).await.ok()?
        })
    }

    fn mark_in_doubt(&self) {
        self.in_doubt.store(true, Ordering::Relaxed);
    }

    fn return_hand_over(self: Arc<Self>, handed: HandedOver) {
        let request = self.clone();
        self.owner.carry_out(async move {
            if let Err(error) = request.give_back(handed).await {
                tracing::warn!(key = &*request.key, "a lock that was handed over is not given back: {}", chain(&error));
            }
        });
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        // In a fork a thread that is not there may have the phase locked.
        if self.owner.is_own_process()
            && let Phase::Begun(Begun { id, .. }) = self.phase()
        {
            self.owner.discard(id);
        }
    }
}
