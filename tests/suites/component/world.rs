//! The harness: a mock store, a virtual clock, and sessions that start where a test wants them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kvlock::clock::Clock;
use kvlock::store::StoreError;
use kvlock::{
    AcquirePoll, Acquisition, Client, Grant, Holder, Session, WaitingFor, error::AcquireError, status::KeyState,
};
use kvlock_testkit::{Hook, Hooked, Memory, Op, VirtualClock};

/// A store, a clock, and a client on both.
pub(crate) struct World {
    pub(crate) clock: Arc<VirtualClock>,
    pub(crate) store: Memory,
    pub(crate) client: Client,
}

impl World {
    pub(crate) fn new() -> Self {
        let clock = Arc::new(VirtualClock::new());
        let store = Memory::new(clock.clone());
        let client = Client::with_store(store.clone()).with_clock(clock.clone());
        World { clock, store, client }
    }

    /// A world with these owners' sessions, which know its store.
    pub(crate) fn with<const N: usize>(owners: [&str; N]) -> (Self, [Session; N]) {
        let world = World::new();
        let sessions = owners.map(|owner| world.session(owner));
        (world, sessions)
    }

    /// What a process of its own has: its sessions stand in no line with those of the world's client.
    pub(crate) fn elsewhere(&self) -> Client {
        Client::with_store(self.store.clone()).with_clock(self.clock.clone())
    }

    /// A session that has not met the store yet.
    pub(crate) fn fresh_session(&self, owner: &str) -> Session {
        self.client.session().owner(owner).open().expect("the options are legal")
    }

    /// A session that knows the store's era, with the calls that told it taken out of the log.
    pub(crate) fn session(&self, owner: &str) -> Session {
        let session = self.fresh_session(owner);
        session.lock("acquaintance").wait(Duration::ZERO).acquire().expect("free").release().expect("held");
        self.store.take_calls();
        session
    }

    /// The calls since the last look, as the log's lines.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.store.take_calls().iter().map(ToString::to_string).collect()
    }

    /// The operations since the last look.
    pub(crate) fn ops(&self) -> Vec<Op> {
        self.store.take_calls().iter().map(|call| call.op).collect()
    }

    /// What `action` gives, and how long it takes by the virtual clock.
    pub(crate) fn timed<T>(&self, action: impl FnOnce() -> T) -> (T, Duration) {
        let before = self.clock.now();
        let value = action();
        (value, self.clock.now() - before)
    }

    /// Polls all waits in turn on this thread, the clock moving to the next that is due, until one has an outcome;
    /// tells whose it is.
    pub(crate) fn run_until_one_ends(&self, waits: &mut [Acquisition]) -> (usize, Result<Grant, AcquireError>) {
        for _ in 0..1_000_000 {
            let mut shortest = Duration::MAX;
            for (index, wait) in waits.iter_mut().enumerate() {
                match wait.poll() {
                    Ok(AcquirePoll::Ready(grant)) => return (index, Ok(grant)),
                    Err(error) => return (index, Err(error)),
                    Ok(AcquirePoll::Pending { pause, .. }) => shortest = shortest.min(pause),
                }
            }
            self.clock.advance(shortest);
        }
        panic!("nobody gets anywhere");
    }

    /// Who has the key, seen by a session of its own; the look is not in the log.
    pub(crate) fn holder(&self, key: &str) -> Option<Holder> {
        let calls = self.store.calls().len();
        // Without a quarantine no era is asked for.
        let observer = self.client.session().owner("observer").quarantine(Duration::ZERO).open();
        let status = observer.expect("the options are legal").status(key).expect("the store answers");
        assert_eq!(self.store.calls().len(), calls + 1, "a status is one call");
        assert!(!matches!(status.state, KeyState::Corrupt(_)), "{status:?}");
        status.state.holder().cloned()
    }
}

/// Somebody who does something just before a certain request gets to the store: the moment of every race.
#[derive(Clone, Default)]
pub(crate) struct Meddler(Arc<Mutex<Option<(When, Action)>>>);

type Action = Box<dyn FnOnce() + Send>;

/// Before which request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    Next(Op),
    /// After so many more, of any kind.
    After(usize),
}

impl Meddler {
    /// A session whose requests are meddled with, and whose clock and contents are the world's.
    pub(crate) fn session(world: &World, owner: &str) -> (Meddler, Session) {
        let meddler = Meddler::default();
        let client = Client::with_store(Hooked::new(world.store.clone(), meddler.clone()));
        (meddler, client.with_clock(world.clock.clone()).session().owner(owner).open().unwrap())
    }

    pub(crate) fn just_before(&self, op: Op, action: impl FnOnce() + Send + 'static) {
        self.plan(When::Next(op), action);
    }

    pub(crate) fn plan(&self, when: When, action: impl FnOnce() + Send + 'static) {
        *self.0.lock().unwrap() = Some((when, Box::new(action)));
    }

    /// Takes back what was planned and has not happened.
    pub(crate) fn left(&self) -> Option<Action> {
        self.0.lock().unwrap().take().map(|(_, action)| action)
    }

    /// Just before the request arrives, the lease of the lock `k` ends and somebody else gets it.
    pub(crate) fn successor_just_before(&self, op: Op, world: &World) -> Arc<Mutex<Option<Grant>>> {
        let (taken, clock, two) = (Arc::new(Mutex::new(None)), world.clock.clone(), world.session("two"));
        let slot = taken.clone();
        self.just_before(op, move || {
            clock.advance(secs(30));
            *slot.lock().unwrap() = Some(two.lock("k").wait(Duration::ZERO).acquire().unwrap());
        });
        taken
    }
}

impl Hook for Meddler {
    fn around<T>(&self, op: Op, _: &str, call: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut plan = self.0.lock().unwrap();
        let due = plan.take_if(|(when, _)| matches!(when, When::After(0)) || *when == When::Next(op));
        if let Some((When::After(calls), _)) = &mut *plan {
            *calls -= 1;
        }
        drop(plan);
        if let Some((_, action)) = due {
            action();
        }
        call()
    }
}

/// Polls a wait that is not over, and tells what pause to make.
#[track_caller]
pub(crate) fn pause(wait: &mut Acquisition) -> Duration {
    match wait.poll().unwrap() {
        AcquirePoll::Pending { pause, .. } => pause,
        AcquirePoll::Ready(grant) => panic!("{} has it", grant.owner()),
    }
}

pub(crate) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The error of something that must not succeed; grants have no `Debug` for `expect_err` to use.
#[track_caller]
pub(crate) fn refused<T, E>(result: Result<T, E>) -> E {
    match result {
        Ok(_) => panic!("it succeeded"),
        Err(error) => error,
    }
}

/// What a busy lock was waited for.
#[track_caller]
pub(crate) fn busy<T>(result: Result<T, AcquireError>) -> (Duration, WaitingFor) {
    match refused(result) {
        AcquireError::Busy { waited, waiting_for, .. } => (waited, waiting_for),
        other => panic!("not busy: {other}"),
    }
}

/// The holder that a lock was busy with.
#[track_caller]
pub(crate) fn busy_with<T>(result: Result<T, AcquireError>) -> Holder {
    match busy(result) {
        (_, WaitingFor::Holder(holder)) => *holder,
        (_, other) => panic!("not held: {other}"),
    }
}
