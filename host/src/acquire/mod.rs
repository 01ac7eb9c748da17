//! A wait, from its first poll to a grant. The requests of this process for a key stand in a queue, and only the first
//! of them is in the component.

use std::sync::Arc;
use std::time::Duration;

use futures_lite::future;
use kvlock_queue::{Answer, Entry, NextStep, PollTerms};

use crate::component::{HandedOver, LockMode, Target, WaitId, What};
use crate::debug::debug_fields;
use crate::environment::Callers;
use crate::error::{AcquireError, chain};
use crate::events::{self, WaitEnd};
use crate::grant::Grant;
use crate::holder::WaitingFor;
use crate::now::now;
use crate::owner::Owner;
use crate::queue::{Claimant, QueueEntry, Waiting};
use crate::ride_out::{Outage, RideOut};
use crate::signal::Signal;
use crate::store::Ttl;
use crate::tries::Worker;

pub(crate) mod options;
mod request;
mod wait_log;

pub use options::{DEFAULT_INTERVAL, DEFAULT_LEASE};
pub(crate) use options::{WaitOptions, wait_setters};
pub use request::AcquirePoll;
use request::{Polled, Request};
use wait_log::WaitLog;

/// What a wait remembers from one poll to the next.
pub(crate) struct Acquiring {
    request: Arc<Request>,
    entry: QueueEntry,
    ride_out: RideOut,
    outage: Outage,
    log: WaitLog,
    wait: events::Wait,
    within_another: bool,
    /// Wakes the task that waits; none if it is a thread.
    signal: Option<Arc<Signal>>,
}

impl Acquiring {
    pub(crate) fn new(owner: Owner, key: Arc<str>, options: WaitOptions, what: What) -> Self {
        let owner = if owner.is_own_process() { owner } else { owner.here().clone() };
        let WaitOptions { lease, wait, interval, ride_out, note } = options;
        let wait_events = events::Wait::new(kind_of(&what));
        let target = Target { lease, wait, interval, note, what };
        let lease = if let Ttl::After(lease) = lease { Some(lease) } else { None };
        let terms = PollTerms { interval, lease, at_least: target.at_least(), quarantine: owner.quarantine() };
        let entry = Entry::new(terms, wait, target.takes_over());
        let request = Arc::new(Request::new(owner, key, target));
        let entry = QueueEntry::new(request.clone(), entry);
        let (outage, log) = (Outage::default(), WaitLog::default());
        Acquiring { request, entry, ride_out, outage, log, wait: wait_events, within_another: false, signal: None }
    }

    /// Lets a task wait, which this wakes, and stops.
    pub(crate) fn wake_by(&mut self, signal: Arc<Signal>) {
        self.entry.wake_by(signal.clone());
        self.wait.of_caller();
        self.signal = Some(signal);
    }

    /// Refuses what is not legal before anything is begun.
    pub(crate) fn check(&self) -> Result<(), AcquireError> {
        self.owner().check_target(self.request.target(), self.key())
    }

    pub(crate) fn owner(&self) -> &Owner {
        self.request.owner()
    }

    pub(crate) fn key(&self) -> &str {
        self.request.key()
    }

    /// Returns what there is of it in the component; none before the component was polled for the first time.
    pub(crate) fn id(&self) -> Option<WaitId> {
        self.request.id()
    }

    /// Returns true if the try that was granted last is within one of another thread.
    pub(crate) fn is_within_another(&self) -> bool {
        self.within_another
    }

    /// Returns who tries.
    pub(crate) fn worker(&self) -> Worker {
        self.request.worker()
    }

    /// Goes on as far as it can without sleeping.
    pub(crate) async fn poll(&mut self) -> Result<AcquirePoll, AcquireError> {
        self.advance(Waiting::Polled).await
    }

    /// Goes on until the lock is held or will not be. A task that is told to stop leaves the queue at its next pause, and
    /// gets what a wait gets that is over.
    pub(crate) async fn wait(&mut self) -> Result<Grant, AcquireError> {
        let waiting = Waiting::Parked { looks_often: self.ride_out.is_limited() };
        loop {
            // What a poll takes is not kept while a task sleeps.
            let polled = match self.owner().callers() {
                Callers::Threads => now(self.advance(waiting)),
                Callers::Tasks => Box::pin(self.advance(waiting)).await,
            };
            let (pause, waiting_for) = match polled? {
                AcquirePoll::Ready(grant) => return Ok(grant),
                AcquirePoll::Pending { pause, waiting_for } => (pause, waiting_for),
            };
            match &self.signal {
                None => self.owner().clock().park(pause),
                Some(signal) => future::or(signal.wait(), self.owner().clock().park_async(pause)).await,
            }
            if self.signal.as_ref().is_some_and(|signal| signal.is_stopped()) {
                let error = self.timed_out(self.now(), waiting_for);
                self.entry.leave();
                return Err(error);
            }
        }
    }

    async fn advance(&mut self, waiting: Waiting) -> Result<AcquirePoll, AcquireError> {
        let mut answered_at = self.now();
        let owner = self.request.owner();
        owner.events().polled(&mut self.wait, self.request.key(), owner.name_so_far(), answered_at);
        let span = self.wait.span();
        span.within(self.consult(&mut answered_at, waiting)).await
    }

    async fn consult(&mut self, answered_at: &mut Duration, waiting: Waiting) -> Result<AcquirePoll, AcquireError> {
        let polled = self.consult_queue(answered_at, waiting).await;
        let mut polled = polled.and_then(|poll| self.check_outage_budget(poll));
        let (owner, key) = (self.request.owner(), self.request.key());
        match &mut polled {
            Ok(AcquirePoll::Pending { waiting_for, .. }) => {
                owner.events().pending(&mut self.wait, key);
                self.log.waiting(key, *answered_at, waiting_for);
                return polled;
            }
            Ok(AcquirePoll::Ready(grant)) => {
                let log = std::mem::take(&mut self.log);
                log.granted(key, &**owner.clock(), grant.token());
                let hold = owner.events().granted(&mut self.wait, key, grant.owner(), grant.token(), &**owner.clock());
                grant.begin_hold(hold);
            }
            Err(error) => {
                tracing::debug!(key, "not granted: {}", chain(error));
                owner.events().not_granted(&mut self.wait, key, WaitEnd::by(error.kind()), &**owner.clock());
            }
        }
        self.entry.leave();
        polled
    }

    /// Does what the queue says; `now` becomes the time of the answer that tells what it waits for.
    async fn consult_queue(&mut self, now: &mut Duration, waiting: Waiting) -> Result<AcquirePoll, AcquireError> {
        let was_outside = self.entry.is_outside();
        let mut step = self.entry.next_step(self.request.stake(), *now, waiting);
        let tasks = self.owner().tasks().filter(|_| was_outside && self.may_queue()).cloned();
        let _first_poll = match (&step, &tasks) {
            (NextStep::Poll, Some(tasks)) => {
                let first_poll = tasks.first_poll(self.request.place()).await;
                *now = self.now();
                step = self.entry.next_step(self.request.stake(), *now, waiting);
                Some(first_poll)
            }
            _ => None,
        };
        if was_outside && !self.entry.is_outside() && self.id().is_none() {
            // Others poll for it, so the component does not see its options for a while.
            self.check()?;
        }
        match step {
            NextStep::Poll => self.poll_component(*now, waiting, None).await,
            NextStep::TakeHandOver(handed) => self.poll_component(*now, waiting, Some(handed)).await,
            NextStep::Wait { pause, last_answer } => {
                *now = last_answer.at;
                Ok(AcquirePoll::Pending { pause, waiting_for: (*last_answer.waiting_for).clone() })
            }
            NextStep::TimedOut(last_answer) => Err(self.timed_out(*now, (*last_answer.waiting_for).clone())),
        }
    }

    /// Tells if others may poll for it.
    fn may_queue(&self) -> bool {
        let (target, stake) = (self.request.target(), self.request.stake());
        let waits = target.wait.is_none_or(|wait| !wait.is_zero());
        waits && !target.takes_over() && !stake.may_hold && !stake.in_doubt
    }

    fn timed_out(&self, now: Duration, waiting_for: WaitingFor) -> AcquireError {
        let key = self.key().to_string();
        match waiting_for {
            WaitingFor::Outage(error) => AcquireError::Store { key, error },
            waiting_for => AcquireError::Busy { key, waited: self.entry.waited(now), waiting_for },
        }
    }

    /// Polls the component, which goes on from a hand-over if there was one.
    async fn poll_component(
        &mut self,
        now: Duration,
        waiting: Waiting,
        handed: Option<HandedOver>,
    ) -> Result<AcquirePoll, AcquireError> {
        let Polled { poll, has_reached, is_within_another } = self.request.poll(self.entry.waited(now), handed).await?;
        if has_reached {
            self.outage.reached();
        }
        let (pause, waiting_for) = match poll {
            AcquirePoll::Pending { pause, waiting_for } => (pause, waiting_for),
            AcquirePoll::Ready(grant) => {
                self.within_another = is_within_another;
                if !self.entry.is_outside() {
                    self.entry.granted(self.now(), self.request.answer_to_others(&grant));
                }
                return Ok(AcquirePoll::Ready(grant));
            }
        };
        let answer = Answer {
            asked_at: now,
            pause,
            waiting_for: Arc::new(waiting_for.clone()),
            depends_on_terms: matches!(waiting_for, WaitingFor::Quarantine(_)),
            in_doubt: self.request.stake().in_doubt,
        };
        if let (WaitingFor::Turn | WaitingFor::Holder(_), Waiting::Parked { .. }) = (&waiting_for, waiting) {
            self.request.watch().await;
        }
        let mut pause = self.entry.answered(answer, self.now(), waiting);
        if self.request.has_heard() {
            // A hint that came before the wait stood in the queue has moved nobody.
            self.request.poll_at_once();
            pause = Duration::ZERO;
        }
        Ok(AcquirePoll::Pending { pause, waiting_for })
    }

    /// Gives up if an outage has lasted longer than it is to be ridden out, or in a quarantine if that ends the wait.
    fn check_outage_budget(&mut self, poll: AcquirePoll) -> Result<AcquirePoll, AcquireError> {
        match &poll {
            AcquirePoll::Pending { waiting_for: waiting_for @ WaitingFor::Quarantine(_), .. }
                if self.ride_out.ends_in_quarantine() =>
            {
                Err(self.timed_out(self.now(), waiting_for.clone()))
            }
            AcquirePoll::Pending { waiting_for: waiting_for @ WaitingFor::Outage(_), .. } => {
                let now = self.now();
                if self.outage.is_borne(now, self.ride_out) {
                    return Ok(poll);
                }
                Err(self.timed_out(now, waiting_for.clone()))
            }
            _ => {
                self.outage.over();
                Ok(poll)
            }
        }
    }

    fn now(&self) -> Duration {
        self.owner().clock().now()
    }
}

impl Drop for Acquiring {
    fn drop(&mut self) {
        let owner = self.request.owner();
        owner.events().not_granted(&mut self.wait, self.request.key(), WaitEnd::Abandoned, &**owner.clock());
    }
}

/// Returns what is waited for, as it is counted.
fn kind_of(what: &What) -> events::Kind {
    match what {
        What::Lock(terms) | What::Several(_, terms) if terms.mode == LockMode::Shared => events::Kind::Shared,
        What::Lock(_) | What::Several(..) => events::Kind::Lock,
        What::Permit => events::Kind::Permit,
        What::Try(_) => events::Kind::Retry,
    }
}

/// Returns none in place of the error that the lock is not free.
pub(crate) fn or_busy<G>(acquired: Result<G, AcquireError>) -> Result<Option<G>, AcquireError> {
    match acquired {
        Ok(grant) => Ok(Some(grant)),
        Err(AcquireError::Busy { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A wait in progress. Dropping it ends the wait.
///
/// Sessions of one [`Client`](crate::Client) that wait for the same key stand in line, and only the first asks the
/// store. One that is not polled when its pause is over loses its place to the next.
pub struct Acquisition {
    waiting: Acquiring,
}

debug_fields!(Acquisition, |it| key = it.waiting.key());

impl Acquisition {
    /// Refuses at once what is not legal.
    pub(crate) fn begin(waiting: Acquiring) -> Result<Self, AcquireError> {
        waiting.check()?;
        Ok(Acquisition { waiting })
    }

    /// Goes on as far as it can without sleeping.
    pub fn poll(&mut self) -> Result<AcquirePoll, AcquireError> {
        now(self.waiting.poll())
    }

    /// Waits until the lock is held or will not be. Other calls of the session go on meanwhile.
    pub fn block(mut self) -> Result<Grant, AcquireError> {
        now(self.waiting.wait())
    }
}
