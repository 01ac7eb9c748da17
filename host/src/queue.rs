//! The queues of this process as its threads and tasks see them. [`kvlock_queue`] decides who polls and who is next; this room
//! locks, parks, wakes, and makes new queues in a fork, which has none of its parent's threads.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::Thread;
use std::time::Duration;

use kvlock_queue::{Answer, Entry, NextStep, Queues, Stake, Ticket, WaitMode};

use crate::component::{Claim, HandedOver};
use crate::fork::{ForkGeneration, PerProcess};
use crate::holder::WaitingFor;
use crate::signal::Signal;

/// The queues of a client's sessions, in one process.
pub(crate) struct LocalQueues(PerProcess<Shared>);

struct Shared {
    /// How many places are waited for. A request that finds none needs no lock to know it.
    len: AtomicUsize,
    queues: Mutex<Queues<Place, Parked, Arc<WaitingFor>, HandedOver>>,
}

/// The target of a wait: a place in the store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place(Arc<str>, Kind);

/// What a key is the key of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Lock,
    Permit,
    /// Several keys at once: a wait for them is alone in its queue, and has a place in the store's wait lists only.
    Several,
}

/// A request that waits, as the queues and its predecessors know it.
pub(crate) trait Claimant: Send + Sync {
    /// Returns what it waits for.
    fn place(&self) -> Place;

    /// Returns the queues that it waits in.
    fn queues(&self) -> &Arc<LocalQueues>;

    /// Returns what to write to hand the lock over to it, if that is known without waiting for its session. Its wait
    /// began at `started`.
    fn claim(&self, started: Duration) -> Option<Claim>;

    /// Tells it that it may have what it waits for, by a write that was not answered.
    fn mark_in_doubt(&self);

    /// Takes in its place what was handed over to it when it had gone, and gives it back.
    fn return_hand_over(self: Arc<Self>, handed: HandedOver);
}

/// How a request waits between two steps.
#[derive(Clone, Copy)]
pub(crate) enum Waiting {
    /// Its caller comes back.
    Polled,
    /// Its thread is parked, or its task waits; see [`WaitMode::Parked`].
    Parked { looks_often: bool },
}

#[derive(Clone)]
struct Parked {
    sleeper: Sleeper,
    request: Arc<dyn Claimant>,
    started: Duration,
}

/// Who sleeps until it is woken.
#[derive(Clone)]
enum Sleeper {
    Thread(Thread),
    Task(Arc<Signal>),
}

/// A request's part in the queues. Dropping it leaves them.
pub(crate) struct QueueEntry {
    request: Arc<dyn Claimant>,
    /// Wakes its task; none if a thread waits.
    signal: Option<Arc<Signal>>,
    /// Known once somebody waits for something.
    place: Option<Place>,
    entry: Entry,
}

/// A request that waits to be told whether the lock is its own. Dropping it tells that it is not.
pub(crate) struct Successor {
    queues: Arc<LocalQueues>,
    place: Place,
    ticket: Ticket,
    parked: Parked,
}

impl Place {
    pub(crate) fn new(namespace: &str, kind: Kind, key: &str) -> Self {
        // No namespace has a colon, so that no two places are written the same.
        Place(format!("{namespace}:{key}").into(), kind)
    }
}

impl Sleeper {
    fn wake(&self) {
        match self {
            Sleeper::Thread(thread) => thread.unpark(),
            Sleeper::Task(signal) => signal.wake(),
        }
    }
}

impl Default for LocalQueues {
    fn default() -> Self {
        LocalQueues(PerProcess::new(Shared::new()))
    }
}

impl Shared {
    fn new() -> Self {
        Shared { len: AtomicUsize::new(0), queues: Mutex::new(Queues::new(ForkGeneration::current().number())) }
    }
}

impl LocalQueues {
    /// Returns true if nobody waits for anything. A request that has just come may be missed.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.get_or_recreate(Shared::new).len.load(Ordering::Relaxed) == 0
    }

    /// Selects the request that a thread of this process may hand a lock over to.
    pub(crate) fn select_successor(self: &Arc<Self>, place: Place) -> Option<Successor> {
        let (ticket, parked) = self.with(|queues| (queues.select_successor(&place), None))?;
        Some(Successor { queues: self.clone(), place, ticket, parked })
    }

    /// Tells that a thread of this process gave back what is waited for.
    pub(crate) fn freed(&self, place: &Place, now: Duration) {
        self.with(|queues| ((), queues.freed(place, now)));
    }

    /// Changes the queues of this process, and wakes the waiters that they name.
    fn with<T>(
        &self,
        change: impl FnOnce(&mut Queues<Place, Parked, Arc<WaitingFor>, HandedOver>) -> (T, Option<Parked>),
    ) -> T {
        let shared = self.0.get_or_recreate(Shared::new);
        // A panic of another thread left them whole: nothing in them panics between two changes.
        let mut queues = shared.queues.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let (value, wake) = change(&mut queues);
        shared.len.store(queues.len(), Ordering::Relaxed);
        drop(queues);
        if let Some(parked) = wake {
            parked.sleeper.wake();
        }
        value
    }
}

impl QueueEntry {
    pub(crate) fn new(request: Arc<dyn Claimant>, entry: Entry) -> Self {
        QueueEntry { request, signal: None, place: None, entry }
    }

    /// Lets a task wait, which this wakes.
    pub(crate) fn wake_by(&mut self, signal: Arc<Signal>) {
        self.signal = Some(signal);
    }

    /// Returns true if it is in no queue.
    pub(crate) fn is_outside(&self) -> bool {
        self.entry.is_outside()
    }

    /// Returns for how long the request has waited.
    pub(crate) fn waited(&self, now: Duration) -> Duration {
        self.entry.waited(now)
    }

    /// Tells what to do next.
    pub(crate) fn next_step(
        &mut self,
        stake: Stake,
        now: Duration,
        waiting: Waiting,
    ) -> NextStep<Arc<WaitingFor>, HandedOver> {
        if self.is_outside() && self.request.queues().is_empty() {
            self.entry.poll_alone(stake, now);
            return NextStep::Poll;
        }
        let mode = self.mode(waiting, now);
        self.with(|queues, place, entry| queues.next_step(place, entry, stake, now, mode))
    }

    /// Notes what the component answered, and tells how long to pause.
    pub(crate) fn answered(&mut self, answer: Answer<Arc<WaitingFor>>, now: Duration, waiting: Waiting) -> Duration {
        let mode = self.mode(waiting, now);
        self.with(|queues, place, entry| queues.answered(place, entry, answer, now, mode))
    }

    /// Leaves the queue with a grant, and tells those behind what they wait for now, if that is known.
    pub(crate) fn granted(&mut self, now: Duration, waiting_for: Option<WaitingFor>) {
        let waiting_for = waiting_for.map(Arc::new);
        self.with(|queues, place, entry| ((), queues.granted(place, entry, now, waiting_for)));
    }

    /// Leaves the queue.
    pub(crate) fn leave(&mut self) {
        if self.is_outside() {
            return;
        }
        if let Some(handed) = self.with(|queues, place, entry| queues.leave(place, entry)) {
            self.request.clone().return_hand_over(handed);
        }
    }

    fn mode(&self, waiting: Waiting, now: Duration) -> WaitMode<Parked> {
        match waiting {
            Waiting::Polled => WaitMode::Polled,
            Waiting::Parked { looks_often } => {
                let started = now.saturating_sub(self.waited(now));
                let sleeper = match &self.signal {
                    Some(signal) => Sleeper::Task(signal.clone()),
                    None => Sleeper::Thread(std::thread::current()),
                };
                let waker = Parked { sleeper, request: self.request.clone(), started };
                WaitMode::Parked { waker, looks_often }
            }
        }
    }

    fn with<T>(
        &mut self,
        change: impl FnOnce(
            &mut Queues<Place, Parked, Arc<WaitingFor>, HandedOver>,
            &Place,
            &mut Entry,
        ) -> (T, Option<Parked>),
    ) -> T {
        let QueueEntry { request, place, entry, .. } = self;
        let place = place.get_or_insert_with(|| request.place());
        request.queues().with(|queues| change(queues, place, entry))
    }
}

impl Drop for QueueEntry {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Successor {
    /// Returns what to write for it; none if that cannot be told without waiting.
    pub(crate) fn claim(&self) -> Option<Claim> {
        self.parked.request.claim(self.parked.started)
    }

    /// Tells it that the lock may be its own, by a write that was not answered.
    pub(crate) fn mark_in_doubt(&self) {
        self.parked.request.mark_in_doubt();
    }

    /// Tells it that the lock is its own.
    pub(crate) fn hand_over(self, handed: HandedOver) {
        if let Err(handed) = self.settle(Some(handed)) {
            self.parked.request.clone().return_hand_over(handed);
        }
    }

    fn settle(&self, handed: Option<HandedOver>) -> Result<(), HandedOver> {
        self.queues.with(|queues| (queues.settle(&self.place, self.ticket, handed), None))
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        // It has been told already, or is told now that the lock is not its own.
        let _ = self.settle(None);
        self.parked.sleeper.wake();
    }
}
