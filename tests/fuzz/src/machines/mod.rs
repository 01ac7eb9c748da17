//! The state machines under a store that lies: they end, they pause, and they hold nothing that they were not given.

mod evidence;
pub(crate) mod liar;

use std::time::Duration;

use kvlock_machine::{
    Acquire, AcquirePermit, Break, Broken, Event, Grant, GrantError, Key, Lease, List, LockOptions, Machine, Mode,
    Namespace, NextTry, Nonce, Release, Released, Renew, Request, Resize, Retry, RetryOptions, Session, SessionOptions,
    Size, Status, Step, Text, Time, Ttl, Validity, WorkOutcome,
};

use crate::tape::Tape;
use evidence::Evidence;
use liar::Liar;

/// What one run does at most.
const OPERATIONS: u32 = 24;
/// The most calls between two pauses. A semaphore whose definition is another one each time it is read is read a
/// thousand times before anybody gives up; a loop without end makes more.
const CALLS_WITHOUT_PAUSE: u32 = 2_000;
/// The same for who waits for a lock, whatever its line looks like.
const CALLS_OF_A_WAITER: u32 = 64;
/// What is shorter is no pause.
const SHORTEST_PAUSE: Duration = Duration::from_micros(10);
/// After so many calls the store refuses everything, which ends every operation.
const PATIENCE: u32 = 4_000;
/// So many steps later each has ended: it may try for two seconds to find out what became of a write.
const LAST_STEPS: u32 = 150;

/// Operations on a few keys, with whatever answers the bytes make.
pub(crate) fn machines(data: &[u8]) {
    let mut world = World::new(Tape::new(data));
    for _ in 0..OPERATIONS {
        if world.tape.has_ended() {
            break;
        }
        world.evidence.begin_operation();
        world.operate();
        world.judge();
    }
}

struct World {
    tape: Tape,
    now: Duration,
    session: Session,
    quarantine: Option<Duration>,
    liar: Liar,
    evidence: Evidence,
    held: Vec<Grant>,
    /// The grants of tries: what is acquired under one that was never reported nests in it.
    tries: Vec<Grant>,
    nonces: u128,
    /// How many calls of the store were made.
    calls: u32,
}

impl World {
    fn new(mut tape: Tape) -> Self {
        let quarantine = tape.pick(&[None, Some(Duration::ZERO), Some(Duration::from_secs(60))]);
        let now = Duration::from_secs(1000);
        let options = SessionOptions {
            owner: Text::owner("me").expect("a legal name"),
            label: Text::label("").expect("a legal label"),
            namespace: Namespace::new("n").expect("a legal namespace"),
            quarantine,
            unix_time: None,
        };
        let session = Session::open(options, at(now)).expect("legal options");
        let (liar, evidence) = (Liar::default(), Evidence::default());
        World {
            tape,
            now,
            session,
            quarantine,
            liar,
            evidence,
            held: Vec::new(),
            tries: Vec::new(),
            nonces: 0,
            calls: 0,
        }
    }

    fn operate(&mut self) {
        match self.tape.byte() % 12 {
            0..3 => self.acquire(),
            3 => self.renew(),
            4 | 5 => self.release(),
            6 => self.acquire_permit(),
            7 => self.resize(),
            8 => self.look(),
            9 => self.break_lock(),
            10 => self.retry(),
            _ => self.pass_on(),
        }
    }

    fn acquire(&mut self) {
        let (key, options, nonce) = (self.key(), self.options(), self.nonce());
        let lease = options.1;
        let machine = Acquire::new(&self.session, key.clone(), options.0, nonce);
        if let Ok(grant) = self.drive_within(machine, CALLS_OF_A_WAITER) {
            self.on_granted(&store_key(&grant), grant, lease);
        }
    }

    fn acquire_permit(&mut self) {
        let (options, nonce) = (self.options(), self.nonce());
        if let Ok(grant) = self.drive(AcquirePermit::new(semaphore(), options.0, nonce)) {
            self.on_granted(&store_key(&grant), grant, options.1);
        }
    }

    fn on_granted(&mut self, key: &str, grant: Grant, lease: Lease) {
        let nested = self.held.contains(&grant) || self.tries.contains(&grant);
        if nested {
            self.evidence.justifies_write(key);
        } else {
            let longest = match lease.ttl() {
                Ttl::After(length) => length.max(Duration::from_secs(30)),
                Ttl::Forever => Duration::from_secs(30),
            };
            let quarantine = self.quarantine.unwrap_or(longest);
            self.evidence.justifies_grant(key, grant.token(), quarantine, self.now);
        }
        self.held.push(grant);
    }

    fn renew(&mut self) {
        let Some(grant) = self.grant() else { return };
        let lease = self.tape.once_in(2).then(|| self.lease());
        if self.drive(Renew::new(grant.clone(), lease)).is_ok() {
            self.evidence.justifies_write(&store_key(&grant));
        }
        self.held.push(grant);
    }

    fn release(&mut self) {
        let Some(grant) = self.grant() else { return };
        match self.drive(Release::new(grant.clone())) {
            Ok(Released::Freed | Released::Kept(_)) => {
                self.evidence.justifies_release(&store_key(&grant));
                assert_eq!(self.session.depth(&grant), 0);
            }
            Ok(Released::Nested(depth)) => {
                self.evidence.justifies_write(&store_key(&grant));
                assert!(depth > 0);
            }
            Ok(Released::HandedOver(_)) => panic!("handed over, and to nobody"),
            // A release that failed may be tried again.
            Err(error) => {
                if error == GrantError::OutOfOrder {
                    self.evidence.leaves_open(&store_key(&grant));
                }
                self.held.push(grant);
            }
        }
    }

    fn resize(&mut self) {
        let size = self.tape.pick(&[Size::NONE, size(1), size(3), size(600)]);
        let (options, nonce) = (self.options().0, self.nonce());
        let _ = self.drive(Resize::new(semaphore(), size, &options, nonce));
    }

    fn look(&mut self) {
        if self.tape.once_in(2) {
            let _ = self.drive(List::all());
            let _ = self.drive(List::one(semaphore()));
            return;
        }
        let keys = vec![self.key(), self.key()];
        if let Ok(statuses) = self.drive(Status::new(keys)) {
            assert_eq!(statuses.len(), 2);
        }
    }

    fn break_lock(&mut self) {
        let key = self.key();
        let (machine, stored) = match self.tape.once_in(4) {
            true => (Break::permit(&self.session, &semaphore(), 0), "n:permit:0:s".to_string()),
            false => (Break::new(&self.session, &key), format!("n:lock:{}", key.as_str())),
        };
        if let Ok(Broken::Ended(_)) = self.drive(machine) {
            self.evidence.justifies_break(&stored);
        }
    }

    fn retry(&mut self) {
        let lease = self.lease();
        let options = RetryOptions::new(lease).tries(3).and_then(|options| options.wait(Some(Duration::from_secs(5))));
        let mut retry = Retry::new(self.key(), options.expect("legal options"), 7);
        loop {
            let (nonce, calls) = (self.nonce(), self.calls);
            let Ok(running) = self.drive(retry.begin(nonce)) else { return };
            let key = store_key(running.grant());
            let is_outermost = self.calls > calls;
            self.tries.push(running.grant().clone());
            match self.session.validity(running.grant(), at(self.now)) {
                _ if is_outermost => self.evidence.justifies_write(&key),
                // Within a try that was never reported, on whose hold it relies.
                Validity::Valid(left) => self.evidence.justifies_validity(&key, Some(self.now + left)),
                Validity::Unlimited => self.evidence.justifies_validity(&key, None),
                Validity::Unconfirmed | Validity::Lost => panic!("a try under {key}, which is not surely held"),
            }
            let work = self.tape.pick(&[
                WorkOutcome::Committed,
                WorkOutcome::Conflict(None),
                WorkOutcome::Conflict(Some(Duration::from_secs(2))),
                WorkOutcome::Failed,
            ]);
            match self.drive(running.report(work)) {
                Ok(NextTry::RetryAfter(pause, next)) => {
                    self.now += pause;
                    retry = *next;
                }
                Ok(NextTry::Finished) if is_outermost => return self.evidence.justifies_release(&key),
                Ok(NextTry::Finished | NextTry::Exhausted | NextTry::Outermost) | Err(_) => return,
            }
        }
    }

    /// A grant is written out, and taken up by a session that knows nothing.
    fn pass_on(&mut self) {
        let Some(grant) = self.grant() else { return };
        if let Ok(written) = self.session.write_out(&grant, at(self.now)) {
            let nonce = self.nonce();
            let taken_up = self.session.resume(&written, nonce, at(self.now)).expect("what we wrote we read");
            assert_eq!(taken_up.key(), grant.key());
        }
        self.held.push(grant);
    }

    /// Drives a machine to its end, which is never far once the store refuses.
    fn drive<M: Machine>(&mut self, machine: M) -> M::Outcome {
        self.drive_within(machine, CALLS_WITHOUT_PAUSE)
    }

    /// With at most so many calls between two pauses.
    fn drive_within<M: Machine>(&mut self, mut machine: M, calls_without_pause: u32) -> M::Outcome {
        let (mut event, mut calls, mut hasty, mut last_steps) = (Event::Start, 0, 0, 0);
        let mut early = false;
        loop {
            if calls > PATIENCE {
                last_steps += 1;
                assert!(last_steps < LAST_STEPS, "it does not end though the store refuses everything");
            }
            event = match machine.step(&mut self.session, at(self.now), event) {
                Step::Done(outcome) => return outcome,
                Step::Sleep(pause) => {
                    // Of a pause that the driver cut short, little may be left.
                    hasty = if pause < SHORTEST_PAUSE && !early { hasty + 1 } else { 0 };
                    // Now and then the driver looks in early.
                    early = calls <= PATIENCE && self.tape.once_in(32);
                    self.now += if early { pause / 2 } else { pause };
                    calls += 1;
                    Event::Woken
                }
                Step::Call(request) => {
                    (calls, hasty) = (calls + 1, hasty + 1);
                    Event::Reply(self.call(&request, calls > PATIENCE))
                }
            };
            assert!(hasty < calls_without_pause, "{hasty} calls without a pause");
        }
    }

    fn call(&mut self, request: &Request, refuse: bool) -> kvlock_machine::Reply {
        let sent = self.now;
        if refuse {
            return Liar::refusal(request);
        }
        self.calls += 1;
        self.now += self.tape.delay();
        let reply = self.liar.reply(&mut self.tape, request);
        self.evidence.note(request, sent, &reply, self.now);
        reply
    }

    /// Nothing is said to be held for longer than some answer allows.
    fn judge(&self) {
        for grant in &self.held {
            match self.session.validity(grant, at(self.now)) {
                Validity::Valid(left) => self.evidence.justifies_validity(&store_key(grant), Some(self.now + left)),
                Validity::Unlimited => self.evidence.justifies_validity(&store_key(grant), None),
                Validity::Unconfirmed | Validity::Lost => {}
            }
        }
    }

    fn key(&mut self) -> Key {
        Key::new(self.tape.pick(&["a", "b"])).expect("a legal key")
    }

    fn grant(&mut self) -> Option<Grant> {
        let last = self.held.len().checked_sub(1)?;
        Some(self.held.swap_remove(usize::from(self.tape.byte()).min(last)))
    }

    fn nonce(&mut self) -> Nonce {
        self.nonces += 1;
        // Who stands in line is told by one half, and the liar makes up both alike.
        Nonce(self.nonces << 64 | self.nonces)
    }

    fn lease(&mut self) -> Lease {
        let seconds = |seconds| Ttl::After(Duration::from_secs(seconds));
        let ttl = self.tape.pick(&[seconds(30), Ttl::After(Duration::from_millis(1)), seconds(3600), Ttl::Forever]);
        Lease::new(ttl).expect("a legal lease")
    }

    fn options(&mut self) -> (LockOptions, Lease) {
        let lease = self.lease();
        let wait = self.tape.pick(&[Some(Duration::ZERO), Some(Duration::from_secs(3)), None]);
        let mode = self.tape.pick(&[Mode::Plain, Mode::Reentrant]);
        let at_least = self.tape.pick(&[Duration::ZERO, Duration::from_secs(10)]);
        let options = LockOptions::new(lease).mode(mode).adopt(self.tape.once_in(4));
        let options = options.wait(wait).and_then(|options| options.at_least(at_least)).expect("legal options");
        (options, lease)
    }
}

fn at(now: Duration) -> Time {
    Time::from_nanos(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
}

fn semaphore() -> Key {
    Key::semaphore("s").expect("a legal name")
}

fn size(permits: u32) -> Size {
    Size::of(permits).expect("a legal size")
}

/// What the store calls the record of a grant.
fn store_key(grant: &Grant) -> String {
    match grant.permit() {
        None => format!("n:lock:{}", grant.key()),
        Some(number) => format!("n:permit:{number}:{}", grant.key()),
    }
}
