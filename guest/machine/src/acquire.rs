//! Acquire: an `add` of a record with our nonce, tried until it succeeds or the wait is over.
//!
//! What else may happen on the way: the lock is nested in one that the session holds; the record there is a late
//! write of ours, or one to adopt; the store's contents are too young to grant anything on (quarantine); the store
//! does not answer. Each is a state; the wait limit counts through all of them.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::ops::ControlFlow;
use core::time::Duration;

use crate::conditional::{Conclusion, Conditional};
use crate::error::{AcquireError, Invalid, WaitingFor};
use crate::hand_over::{Claim, HandedOver, Row};
use crate::held::{Deadline, Doubt, Held, Purpose};
use crate::kv::{Reply, Request, StoreError, Version, WriteOutcome};
use crate::leave::Leave;
use crate::line::Ticket;
use crate::name::{Key, Place};
use crate::options::{LockOptions, Mode};
use crate::queue::{Queue, Then};
use crate::record::{Nonce, Record};
use crate::rewrite::Rewrite;
use crate::session::{Grant, Session};
use crate::step::{Event, Machine, Step};
use crate::time::Time;
use crate::wait::Wait;

mod leaving;
mod line_up;
mod written;

use written::{Withdrawn, Written};

/// How many failed tries go by between two looks at who holds the lock.
const TRIES_PER_LOOK: u32 = 16;
/// The shortest pause while the store does not answer: a server that comes back must not meet a storm.
pub(crate) const OUTAGE_PAUSE: Duration = Duration::from_millis(100);

type Outcome = Result<Grant, AcquireError>;

/// A wait for a lock.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Acquire {
    place: Place,
    store_key: Arc<str>,
    options: LockOptions,
    nonce: Nonce,
    wait: Wait,
    /// Whether it stands in the line while it waits.
    lines_up: bool,
    /// What it knows of the line since it looked.
    queue: Option<Box<Queue>>,
    tries_since_look: u32,
    /// Whether it tried at all.
    tried: bool,
    waiting_for: WaitingFor,
    /// A write was sent of which it is not known whether it happened, or may happen yet.
    in_doubt: bool,
    /// The lease was begun anew, because an answer took longer than it, and there was no pause since.
    begun_anew: bool,
    /// It tried because a look found the lock free, and there was no pause since.
    hurried: bool,
    met: Met,
    /// A reservation of somebody else that the last look found, and until when it is respected.
    reservation: Option<(Version, Time)>,
    /// The record of a claim that somebody may write.
    claimed: Option<Box<Record>>,
    state: State,
}

/// What an acquisition has met since it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Met {
    Nothing,
    /// The lock was free when it looked.
    Free,
    /// Somebody else has had the lock, or may have; the version that was met before all else, where it is known.
    Others(Option<Version>),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum State {
    Fresh,
    /// The record is that of the time it was sent.
    Adding {
        sent: Time,
    },
    Looking,
    /// Writing itself into the line.
    Joining,
    /// Taking away a line in which nobody is left.
    Clearing,
    AskingEra {
        written: Box<Written>,
    },
    /// Writing the session's own record one level deeper, to be kept until then at least.
    Nesting {
        write: Box<Rewrite>,
        hold: Outer,
        taken_until: Option<Time>,
    },
    /// Replacing a record to adopt, or a late write of ours.
    Replacing {
        write: Box<Conditional>,
        record: Box<Record>,
    },
    /// Taking back what was written into an era that is too young or could not be asked about, or what was answered
    /// when the lease had no time left, and the wait none either or the store no better answer before.
    Withdrawing {
        write: Box<Conditional>,
        then: Withdrawn,
    },
    Pausing {
        until: Time,
        then: Then,
    },
    /// Leaving the line, because it ends without the lock.
    Leaving {
        leave: Box<Leave>,
        outcome: Box<Outcome>,
    },
    Ended,
}

/// The hold that another is nested in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Outer {
    number: u64,
    /// Whether the session relied on it.
    sure: bool,
}

impl Acquire {
    /// A wait for `key`. The nonce must be 128 bits from a secure generator, new for each acquisition.
    pub fn new(session: &Session, key: Key, options: LockOptions, nonce: Nonce) -> Self {
        Acquire::at(session, Place::lock(&key), options, nonce)
    }

    /// A wait for a lock or for one permit.
    pub(crate) fn at(session: &Session, place: Place, options: LockOptions, nonce: Nonce) -> Self {
        // Who tries once does not wait; a permit is as good as another.
        let lines_up = options.line && place.permit.is_none() && options.wait != Some(Duration::ZERO);
        Acquire {
            lines_up,
            queue: None,
            store_key: session.store_key(&place),
            wait: Wait::new(options.wait, options.interval, nonce.0),
            place,
            options,
            nonce,
            tries_since_look: 0,
            tried: false,
            waiting_for: WaitingFor::Turn,
            in_doubt: false,
            begun_anew: false,
            hurried: false,
            met: Met::Nothing,
            reservation: None,
            claimed: None,
            state: State::Fresh,
        }
    }

    /// Whether a record of ours may be in the store, or may get there yet.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.in_doubt
    }

    /// Whether somebody else may have had the lock since it began to be acquired.
    pub(crate) fn is_overtaken(&self) -> bool {
        matches!(self.met, Met::Others(_))
    }

    /// Notes that somebody else may have the lock, or may have had it.
    fn meet(&mut self, version: Option<Version>) {
        self.met = match self.met {
            Met::Nothing => Met::Others(version),
            Met::Free => Met::Others(None),
            met @ Met::Others(_) => met,
        };
    }

    /// It takes over a reservation. If that was there when this began, nobody has been at work since.
    fn meet_nobody_but(&mut self, reservation: Version) {
        if self.met == Met::Others(Some(reservation)) {
            self.met = Met::Nothing;
        }
    }

    /// What is waited for at present.
    pub fn waiting_for(&self) -> &WaitingFor {
        &self.waiting_for
    }

    /// What whoever holds the lock is to write to hand it over; none while it does not simply wait. From then on the
    /// lock may be its own at any time, and only [`Event::HandedOver`] or its next step finds out.
    pub fn claim(&mut self, session: &Session, now: Time) -> Option<Claim> {
        let waits = matches!(self.state, State::Fresh | State::Pausing { .. });
        if !waits || session.holds(&self.store_key, now) {
            return None;
        }
        let record = self.record(session, now);
        self.claimed = Some(Box::new(record.clone()));
        Some(Claim { store_key: self.store_key.clone(), record })
    }

    /// Goes on from the hand-over as from a write of its own.
    fn take(&mut self, session: &mut Session, now: Time, handed: HandedOver) -> Step<Outcome> {
        self.wait.start(now);
        self.meet(None);
        let HandedOver { version, sent, in_a_row: length, first } = handed;
        let row = Row { length, first: Some(Ticket(first)) };
        match self.claimed.take() {
            // By another of its acquisitions: then this record was gone before.
            _ if session.holds(&self.store_key, now) => self.hold_once_more(session, now),
            Some(record) => {
                // Whoever tells may be wrong about the time, but not so that the lease begins in the future.
                let sent = sent.min(now);
                self.on_written(session, now, Written { record: *record, version, sent, row })
            }
            None => self.look(session),
        }
    }

    fn start(&mut self, session: &mut Session, now: Time) -> Step<Outcome> {
        self.wait.start(now);
        if self.is_held(session, now) {
            return self.hold_once_more(session, now);
        }
        // Its host meant to hand it over: others of the host had it before, and want it again.
        let wanted = self.claimed.take().is_some();
        match session.contention.recall(&self.store_key, wanted, now).filter(|_| self.lines_up) {
            // Whoever had it before lets those go first who wait for it now.
            Some(contended) => {
                self.queue = Some(Box::new(self.new_queue(session).remembering(contended, now)));
                self.look(session)
            }
            None if self.lines_up && wanted => self.look(session),
            None => self.add(session, now),
        }
    }

    fn go_on(&mut self, session: &mut Session, now: Time, then: Then) -> Step<Outcome> {
        if self.is_held(session, now) {
            return self.hold_once_more(session, now);
        }
        // The last is a try, wherever it stands.
        match then {
            Then::Look if !self.wait.is_over(now) => self.look(session),
            Then::Look | Then::Try => self.attempt(session, now),
        }
    }

    /// Whether the lock was reserved for somebody who did not come in time.
    fn is_left(&self, now: Time) -> bool {
        self.reservation.is_some_and(|(_, until)| until <= now)
    }

    /// Tries to get the lock: from nobody, or from somebody whose reservation is over.
    fn attempt(&mut self, session: &mut Session, now: Time) -> Step<Outcome> {
        match self.reservation.take_if(|(_, until)| *until <= now) {
            Some((version, _)) => {
                self.tried = true;
                self.meet_nobody_but(version);
                let new = self.record(session, now);
                self.take_over(new, version, now)
            }
            None => self.add(session, now),
        }
    }

    /// The session may hold the lock: from the start, or since another acquisition of it got there first. Where it is
    /// not sure of that, it nests or asks the store.
    fn is_held(&self, session: &mut Session, now: Time) -> bool {
        let Some(held) = session.held(&self.store_key) else { return false };
        if held.is_reserved() {
            return false;
        }
        if held.deadline.has_passed(now) {
            session.forget(&self.store_key);
            return false;
        }
        held.is_sure() || self.nests_in(held)
    }

    fn nests_in(&self, held: &Held) -> bool {
        let is_nestable = held.record.mode == Mode::Reentrant || held.purpose == Purpose::Try;
        self.options.mode == Mode::Reentrant && is_nestable
    }

    fn hold_once_more(&mut self, session: &mut Session, now: Time) -> Step<Outcome> {
        let Some(held) = session.held_mut(&self.store_key) else { return self.add(session, now) };
        if !self.nests_in(held) {
            return self.end(Err(AcquireError::AlreadyHeld));
        }
        let Some(depth) = held.record.depth.checked_add(1) else {
            return self.end(Err(Invalid::new("the lock is held 4294967295 times already").into()));
        };
        // The outer holds rely on their lease: it may be lengthened, never shortened.
        let lease =
            if self.options.lease.ttl() > held.record.lease.ttl() { self.options.lease } else { held.record.lease };
        let record = Record { depth, lease, ..held.record.clone() };
        let (doubt, at_most) = (Doubt::Rewritten, Deadline::Unconfirmed);
        let taken_until = held.taken_until.max(taken_until(&self.options, now));
        let hold = Outer { number: held.grant, sure: held.is_sure() };
        let (write, ask) = Rewrite::start(&self.store_key, held, record, lease.ttl(), doubt, at_most, now);
        self.state = State::Nesting { write: Box::new(write), hold, taken_until };
        ask.into()
    }

    /// What it is to write, if it is sent then.
    fn record(&self, session: &Session, sent: Time) -> Record {
        let turn = self.queue.as_ref().and_then(|queue| queue.found(sent));
        Record { turn, ..session.record(&self.place, &self.options, self.nonce, sent) }
    }

    fn add(&mut self, session: &Session, now: Time) -> Step<Outcome> {
        let record = self.record(session, now);
        let value = record.encode();
        self.tries_since_look = self.tries_since_look.saturating_add(1);
        self.tried = true;
        self.state = State::Adding { sent: now };
        Step::Call(Request::Add { key: self.store_key.clone(), value, ttl: self.options.lease.ttl() })
    }

    fn on_add(&mut self, session: &mut Session, now: Time, sent: Time, reply: AddReply) -> Step<Outcome> {
        match reply {
            Ok(WriteOutcome::Written(version)) => {
                let record = self.record(session, sent);
                self.on_written(session, now, Written { record, version, sent, row: Row::default() })
            }
            Ok(WriteOutcome::Conflict(version)) => self.on_taken(session, now, version),
            Ok(WriteOutcome::Absent) => self.end(Err(AcquireError::OutOfOrder)),
            Err(error @ StoreError::UnknownOutcome(_)) => {
                self.in_doubt = true;
                self.waiting_for = WaitingFor::Outage(error);
                self.look(session)
            }
            Err(error) => self.on_outage(now, error),
        }
    }

    fn on_taken(&mut self, session: &Session, now: Time, by: Option<Version>) -> Step<Outcome> {
        if !self.in_doubt {
            self.meet(by);
        }
        let unknown = !matches!(self.waiting_for, WaitingFor::Holder(_)) || self.tries_since_look >= TRIES_PER_LOOK;
        let moved = self.queue.as_ref().is_some_and(|queue| queue.has_moved(by)) && !self.hurried;
        // Whoever gives up is to be told who holds the lock now, not who held it a while ago.
        let claimed = self.claimed.take().is_some();
        let may_be_its_own = self.in_doubt || self.options.adopt || self.options.unit.is_some();
        let reserved = self.reservation.is_some();
        if unknown || moved || claimed || may_be_its_own || reserved || self.wait.is_over(now) {
            return self.look(session);
        }
        self.pause(now, Duration::ZERO)
    }

    /// The store does not answer, or refuses. An outage is ridden out as long as the wait lasts, from the first try on.
    fn on_outage(&mut self, now: Time, error: StoreError) -> Step<Outcome> {
        if !error.is_outage() || self.wait.is_over(now) {
            return self.fail(error);
        }
        self.waiting_for = WaitingFor::Outage(error);
        self.pause(now, OUTAGE_PAUSE)
    }

    /// Waits for the next try, or ends if that was the last.
    fn pause(&mut self, now: Time, at_least: Duration) -> Step<Outcome> {
        if self.wait.is_over(now) {
            return match self.waiting_for.clone() {
                WaitingFor::Outage(error) => self.fail(error),
                waiting_for => self.end(Err(AcquireError::Busy { waited: self.wait.waited(now), waiting_for })),
            };
        }
        (self.begun_anew, self.hurried) = (false, false);
        let (pause, then) = match &mut self.queue {
            Some(queue) if at_least.is_zero() => queue.pause(now, &mut self.wait),
            _ => (at_least.saturating_add(self.wait.next_pause()), Then::Try),
        };
        let pause = self.reservation.map_or(pause, |(_, until)| pause.min(now.until(until)));
        let pause = self.wait.within(now, pause);
        // Others come and go unseen.
        self.meet(None);
        self.state = State::Pausing { until: now.after(pause), then };
        Step::Sleep(pause)
    }

    fn fail(&mut self, error: StoreError) -> Step<Outcome> {
        self.end(Err(AcquireError::Store(match error {
            // What failed since does not undo that a write may have happened.
            StoreError::Unavailable(text) if self.in_doubt => StoreError::UnknownOutcome(text),
            error => error,
        })))
    }

    fn end(&mut self, outcome: Outcome) -> Step<Outcome> {
        self.state = State::Ended;
        Step::Done(outcome)
    }
}

/// Until when the key stays taken even if it is released, for a grant of a request that was sent then.
fn taken_until(options: &LockOptions, sent: Time) -> Option<Time> {
    (!options.at_least.is_zero()).then(|| sent.after(options.at_least))
}

type AddReply = Result<WriteOutcome, StoreError>;
type EraReply = Result<crate::kv::EraInfo, StoreError>;

impl Machine for Acquire {
    type Outcome = Outcome;

    fn step(&mut self, session: &mut Session, now: Time, event: Event) -> Step<Outcome> {
        match self.go(session, now, event) {
            Step::Done(outcome) => self.leave_with(session, now, outcome),
            step => step,
        }
    }
}

impl Acquire {
    fn go(&mut self, session: &mut Session, now: Time, event: Event) -> Step<Outcome> {
        // Each arm puts the next state back; one that does not has ended.
        match (core::mem::replace(&mut self.state, State::Ended), event) {
            (State::Fresh, Event::Start) => self.start(session, now),
            (State::Adding { sent }, Event::Reply(Reply::Write(reply))) => self.on_add(session, now, sent, reply),
            (State::Looking, Event::Reply(Reply::Entry(Ok(entry)))) => self.on_look(session, now, entry, None),
            (State::Looking, Event::Reply(Reply::Entries(Ok(entries)))) => self.on_looks(session, now, entries),
            (State::Looking, Event::Reply(Reply::Entry(Err(error)) | Reply::Entries(Err(error)))) => {
                self.on_outage(now, error)
            }
            (State::Clearing, Event::Reply(Reply::Delete(_))) if self.hurried || self.in_doubt => {
                self.pause(now, Duration::ZERO)
            }
            (State::Clearing, Event::Reply(Reply::Delete(_))) => {
                self.hurried = true;
                self.attempt(session, now)
            }
            (State::Joining, Event::Reply(Reply::Write(reply))) => self.on_joined(session, now, reply),
            (State::AskingEra { written }, Event::Reply(Reply::Era(reply))) => {
                self.on_era(session, now, *written, reply)
            }
            // It is about a write of its own already, which finds the lock its own or not.
            (
                state @ (State::Nesting { .. } | State::Replacing { .. } | State::Withdrawing { .. }),
                Event::HandedOver(_),
            ) => {
                self.state = state;
                self.step(session, now, Event::Woken)
            }
            (State::Nesting { mut write, hold, taken_until }, event) => match write.step(session, now, event) {
                ControlFlow::Break(end) => self.on_nested(session, now, hold, taken_until, end),
                ControlFlow::Continue(ask) => {
                    self.state = State::Nesting { write, hold, taken_until };
                    ask.into()
                }
            },
            (State::Replacing { mut write, record }, event) => match write.step(now, event) {
                ControlFlow::Break(end) => self.on_replaced(session, now, *record, end),
                ControlFlow::Continue(ask) => {
                    self.state = State::Replacing { write, record };
                    ask.into()
                }
            },
            (State::Withdrawing { mut write, then }, event) => match write.step(now, event) {
                ControlFlow::Break(Conclusion::OutOfOrder) => self.end(Err(AcquireError::OutOfOrder)),
                ControlFlow::Break(end) => {
                    // There is no grant, but a record that stays behind is found again.
                    self.in_doubt |= matches!(end, Conclusion::Failed { .. });
                    self.on_withdrawn(now, then)
                }
                ControlFlow::Continue(ask) => {
                    self.state = State::Withdrawing { write, then };
                    ask.into()
                }
            },
            (State::Pausing { until, then }, Event::Woken) if now < until => {
                self.state = State::Pausing { until, then };
                Step::Sleep(now.until(until))
            }
            (State::Fresh | State::Pausing { .. }, Event::HandedOver(handed)) => self.take(session, now, handed),
            (State::Pausing { then, .. }, Event::Woken) => self.go_on(session, now, then),
            (State::Leaving { leave, outcome }, event) => self.leaving(session, now, event, leave, outcome),
            _ => self.end(Err(AcquireError::OutOfOrder)),
        }
    }
}
