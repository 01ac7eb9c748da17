//! A world on virtual time: owners, their machines step by step, and a model of a store with scripted faults.
//!
//! Nothing here sleeps. An [`Op`] is a machine under way; each of its steps feeds it one event, executes the call it
//! made, or delivers the answer, so that a test can put any other step in between. [`World::run_until`] moves several
//! of them, always the one that is due first; [`World::drive`] moves one to its end.
#![allow(dead_code, unused_imports, reason = "each test file uses its part")]

pub(crate) mod crowd;
mod op;
mod random;
pub(crate) mod store;

use std::time::Duration;

use kvlock_machine::{
    Acquire, AcquireError, AcquirePermit, AcquireShared, Break, Broken, Claim, Grant, GrantError, Holder, Key,
    KeyError, KeyStatus, Lease, List, LockOptions, Machine, Namespace, Nonce, Release, Released, Renew, Request,
    Resize, ResizeError, SemaphoreStatus, Session, SessionOptions, Size, Status, Text, Time, Ttl, Validity,
};
use op::State;
pub(crate) use op::{Drive, Op, TIMEOUT};
pub(crate) use random::{Random, seeds};
use store::Servers;

/// What goes wrong with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    Fine,
    /// Not sent.
    Unavailable,
    /// The store refuses.
    Rejected,
    /// Sent and never executed; no answer.
    LostRequest,
    /// Executed; no answer.
    LostReply,
    /// No answer, and executed this long after it was sent.
    Late(Duration),
    /// Executed and answered, this long after it was sent.
    SlowRequest(Duration),
    /// Executed at once, answered this long after it was sent.
    SlowReply(Duration),
}

/// A call that left.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) at: Duration,
    pub(crate) request: Request,
}

/// One of the owners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner(pub(crate) usize);

/// Everything there is.
pub(crate) struct World {
    pub(crate) now: Duration,
    pub(crate) servers: Servers,
    pub(crate) log: Vec<Call>,
    sessions: Vec<Session>,
    faults: std::collections::VecDeque<Fault>,
    /// While set, every call without a scripted fault of its own meets this one.
    pub(crate) weather: Fault,
    late: Vec<(Duration, Request)>,
    nonces: u128,
}

impl World {
    pub(crate) fn new() -> Self {
        World {
            now: Duration::from_secs(1000),
            servers: Servers::new(),
            log: Vec::new(),
            sessions: Vec::new(),
            faults: Default::default(),
            weather: Fault::Fine,
            late: Vec::new(),
            nonces: 0,
        }
    }

    /// Opens a session with the usual quarantine.
    pub(crate) fn owner(&mut self, name: &str) -> Owner {
        self.owner_with(name, None)
    }

    pub(crate) fn owner_with(&mut self, name: &str, quarantine: Option<Duration>) -> Owner {
        let running = u64::try_from(self.now.as_nanos()).unwrap();
        self.open(name, "n", quarantine, Some(1_795_230_245_678_000_000 + running))
    }

    /// Opens a session of another namespace than all others have.
    pub(crate) fn elsewhere(&mut self, name: &str) -> Owner {
        self.open(name, "elsewhere", None, None)
    }

    /// Opens a session that has no wall clock, so that all its records of a key are the same text.
    pub(crate) fn timeless(&mut self, name: &str) -> Owner {
        let owner = self.open(name, "n", None, None);
        self.acquaint(owner);
        owner
    }

    fn open(&mut self, name: &str, namespace: &str, quarantine: Option<Duration>, unix_time: Option<u64>) -> Owner {
        let options = SessionOptions {
            owner: Text::owner(name).unwrap(),
            label: Text::label("host").unwrap(),
            namespace: Namespace::new(namespace).unwrap(),
            quarantine,
            unix_time,
        };
        self.sessions.push(Session::open(options, self.time()).unwrap());
        Owner(self.sessions.len() - 1)
    }

    /// Opens a session that has reached the store and knows its era.
    pub(crate) fn acquainted(&mut self, name: &str) -> Owner {
        let owner = self.owner(name);
        self.acquaint(owner);
        owner
    }

    pub(crate) fn acquaint(&mut self, owner: Owner) {
        let grant = self.acquire(owner, "acquaint", once(1)).unwrap();
        assert_eq!(self.release(owner, &grant), Ok(Released::Freed));
        self.log.clear();
    }

    pub(crate) fn time(&self) -> Time {
        Time::from_nanos(u64::try_from(self.now.as_nanos()).unwrap())
    }

    pub(crate) fn session(&mut self, owner: Owner) -> &mut Session {
        &mut self.sessions[owner.0]
    }

    pub(crate) fn validity(&self, owner: Owner, grant: &Grant) -> Validity {
        self.sessions[owner.0].validity(grant, self.time())
    }

    pub(crate) fn nonce(&mut self) -> Nonce {
        self.nonces += 1;
        Nonce(self.nonces.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))
    }

    /// The next calls meet these, one each.
    pub(crate) fn script(&mut self, faults: impl IntoIterator<Item = Fault>) {
        self.faults.extend(faults);
    }

    /// Time goes on; what was delayed is executed on the way.
    pub(crate) fn advance_to(&mut self, to: Duration) {
        loop {
            let due = self.late.iter().enumerate().filter(|(_, (at, _))| *at <= to).min_by_key(|(_, (at, _))| *at);
            let Some((index, _)) = due else { break };
            let (at, request) = self.late.remove(index);
            self.now = self.now.max(at);
            self.servers.execute(&request, self.now);
        }
        self.now = self.now.max(to);
    }

    pub(crate) fn advance(&mut self, by: Duration) {
        self.advance_to(self.now + by);
    }

    /// The kinds of calls made since the last look.
    pub(crate) fn calls(&mut self) -> Vec<&'static str> {
        self.log.drain(..).map(|call| kind(&call.request)).collect()
    }

    /// Moves the machines, always the one that is due first, up to a time.
    pub(crate) fn run_until(&mut self, to: Duration, ops: &mut [&mut dyn Drive]) {
        while let Some(op) = ops.iter_mut().filter(|op| op.due().is_some_and(|due| due <= to)).min_by_key(|op| op.due())
        {
            op.step(self);
        }
        self.advance_to(to);
    }

    /// Does the same for this long.
    pub(crate) fn run_for(&mut self, length: Duration, ops: &mut [&mut dyn Drive]) {
        self.run_until(self.now + length, ops);
    }

    /// Moves one machine to its end.
    pub(crate) fn drive<M: Machine>(&mut self, owner: Owner, machine: M) -> M::Outcome {
        self.finish(Op::new(self, owner, machine))
    }

    pub(crate) fn finish<M: Machine>(&mut self, mut op: Op<M>) -> M::Outcome {
        for _ in 0..1_000_000 {
            if let State::Ended(outcome) = op.state {
                return outcome.expect("the outcome was not taken before");
            }
            op.step(self);
        }
        panic!("the machine does not end");
    }

    pub(crate) fn acquiring(&mut self, owner: Owner, key: &str, options: LockOptions) -> Op<Acquire> {
        let nonce = self.nonce();
        let session = &self.sessions[owner.0];
        let machine = Acquire::new(session, session.key(key).unwrap(), options, nonce);
        Op::new(self, owner, machine)
    }

    pub(crate) fn acquire(&mut self, owner: Owner, key: &str, options: LockOptions) -> Result<Grant, AcquireError> {
        let op = self.acquiring(owner, key, options);
        self.finish(op)
    }

    /// Lets so many read `k`, for 30 s.
    pub(crate) fn readers(&mut self, count: usize) -> Vec<(Owner, Grant)> {
        let read = |number| {
            let owner = self.acquainted(&format!("reader {number}"));
            let op = self.sharing(owner, "k", once(30));
            (owner, self.finish(op).unwrap())
        };
        (0..count).map(read).collect()
    }

    /// Begins to wait for a share of a lock.
    pub(crate) fn sharing(&mut self, owner: Owner, key: &str, options: LockOptions) -> Op<AcquireShared> {
        let nonce = self.nonce();
        let session = &self.sessions[owner.0];
        let machine = AcquireShared::new(session, session.key(key).unwrap(), options, nonce).unwrap();
        Op::new(self, owner, machine)
    }

    /// Begins to release a grant.
    pub(crate) fn releasing(&mut self, owner: Owner, grant: &Grant) -> Op<Release> {
        Op::new(self, owner, Release::new(grant.clone()))
    }

    pub(crate) fn renew(&mut self, owner: Owner, grant: &Grant) -> Result<(), GrantError> {
        self.drive(owner, Renew::new(grant.clone(), None))
    }

    pub(crate) fn release(&mut self, owner: Owner, grant: &Grant) -> Result<Released, GrantError> {
        self.drive(owner, Release::new(grant.clone()))
    }

    pub(crate) fn claim(&mut self, op: &mut Op<Acquire>) -> Option<Claim> {
        let now = self.time();
        op.machine.claim(&self.sessions[op.owner.0], now)
    }

    /// Releases a grant to whoever waits.
    pub(crate) fn release_to(
        &mut self,
        owner: Owner,
        grant: &Grant,
        successor: &mut Op<Acquire>,
    ) -> Result<Released, GrantError> {
        let claim = self.claim(successor).expect("it waits");
        self.drive(owner, Release::to(grant.clone(), claim))
    }

    pub(crate) fn write_out(&mut self, owner: Owner, grant: &Grant) -> Result<String, GrantError> {
        let now = self.time();
        self.session(owner).write_out(grant, now)
    }

    pub(crate) fn resume(&mut self, owner: Owner, word: &str) -> Grant {
        let (now, nonce) = (self.time(), self.nonce());
        self.session(owner).resume(word, nonce, now).unwrap()
    }

    pub(crate) fn status(&mut self, owner: Owner, keys: &[&str]) -> Result<Vec<KeyStatus>, KeyError> {
        self.drive(owner, Status::new(keys.iter().map(|key| Key::new(key).unwrap()).collect()))
    }

    pub(crate) fn break_lock(&mut self, owner: Owner, key: &str) -> Result<Option<Holder>, KeyError> {
        match self.break_if(owner, key, None)? {
            Broken::Ended(holder) => Ok(Some(holder)),
            // Late requests may change the record while the break looks.
            Broken::Free | Broken::Other(_) => Ok(None),
        }
    }

    pub(crate) fn break_if(&mut self, owner: Owner, key: &str, if_token: Option<u64>) -> Result<Broken, KeyError> {
        let machine = Break::new(&self.sessions[owner.0], &Key::new(key).unwrap()).if_token(if_token);
        self.drive(owner, machine)
    }

    pub(crate) fn resizing(&mut self, owner: Owner, name: &str, size: u32, wait: Duration) -> Op<Resize> {
        let size = if size == 0 { Size::NONE } else { Size::of(size).unwrap() };
        let nonce = self.nonce();
        Op::new(self, owner, Resize::new(Key::semaphore(name).unwrap(), size, &waiting(1, wait), nonce))
    }

    /// Gives a semaphore a size without waiting for permits; 0 destroys it.
    pub(crate) fn resize(&mut self, owner: Owner, name: &str, size: u32) -> Result<Option<u32>, ResizeError> {
        let op = self.resizing(owner, name, size, Duration::ZERO);
        self.finish(op)
    }

    pub(crate) fn acquiring_permit(&mut self, owner: Owner, name: &str, options: LockOptions) -> Op<AcquirePermit> {
        let nonce = self.nonce();
        Op::new(self, owner, AcquirePermit::new(Key::semaphore(name).unwrap(), options, nonce))
    }

    pub(crate) fn permit(&mut self, owner: Owner, name: &str, options: LockOptions) -> Result<Grant, AcquireError> {
        let op = self.acquiring_permit(owner, name, options);
        self.finish(op)
    }

    pub(crate) fn semaphores(&mut self, owner: Owner) -> Vec<SemaphoreStatus> {
        self.drive(owner, List::all()).unwrap()
    }

    fn meet(&mut self, request: &Request) -> Fault {
        self.log.push(Call { at: self.now, request: request.clone() });
        self.faults.pop_front().unwrap_or(self.weather)
    }
}

/// What a call is called.
pub(crate) fn kind(request: &Request) -> &'static str {
    match request {
        Request::Get { .. } => "get",
        Request::GetMany { .. } => "get-many",
        Request::Add { .. } => "add",
        Request::Replace { .. } => "replace",
        Request::Delete { .. } => "delete",
        Request::Era { .. } => "era",
        Request::All(_) => "all",
    }
}

pub(crate) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(crate) const fn micros(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

pub(crate) const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) fn lease(length: Duration) -> Lease {
    Lease::new(Ttl::After(length)).unwrap()
}

/// A plain lock with a lease of so many seconds, for which nobody waits.
pub(crate) fn once(lease_secs: u64) -> LockOptions {
    waiting(lease_secs, Duration::ZERO)
}

/// A plain lock with a lease of so many seconds, and this wait.
pub(crate) fn waiting(lease_secs: u64, wait: Duration) -> LockOptions {
    LockOptions::new(lease(secs(lease_secs))).wait(Some(wait)).unwrap()
}

/// A re-entrant lock with a lease of so many seconds, for which nobody waits.
pub(crate) fn nested(lease_secs: u64) -> LockOptions {
    once(lease_secs).mode(kvlock_machine::Mode::Reentrant)
}
