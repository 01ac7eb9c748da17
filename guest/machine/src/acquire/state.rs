//! A wait for a lock: what it knows, and the state that it is in.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::time::Duration;

use crate::error::{AcquireError, WaitingFor};
use crate::leave::Leave;
use crate::machine::Step;
use crate::records::record::{Nonce, Record};
use crate::session::Session;
use crate::session::grant::Grant;
use crate::session::hand_over::HandOverChain;
use crate::turn::{AfterPause, Queue};
use crate::values::kv::{EraInfo, StoreError, Version, WriteOutcome};
use crate::values::name::{Key, RecordKey};
use crate::values::options::LockOptions;
use crate::values::time::Time;
use crate::wait::{OUTAGE_PAUSE, Wait};
use crate::write::conditional::ConditionalWrite;
use crate::write::rewrite::RecordRewrite;

pub(super) type Outcome = Result<Grant, AcquireError>;
pub(super) type AddReply = Result<WriteOutcome, StoreError>;
pub(super) type EraReply = Result<EraInfo, StoreError>;

/// A wait for a lock.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Acquire {
    pub(super) place: RecordKey,
    pub(super) store_key: Arc<str>,
    pub(super) options: LockOptions,
    pub(super) nonce: Nonce,
    pub(super) wait: Wait,
    /// Whether it stands in the line while it waits.
    pub(super) lines_up: bool,
    /// What it knows of the line since it looked.
    pub(super) queue: Option<Box<Queue>>,
    pub(super) tries_since_look: u32,
    /// Whether it tried at all.
    pub(super) tried: bool,
    pub(super) waiting_for: WaitingFor,
    /// A write was sent of which it is not known whether it happened, or may happen yet.
    pub(super) in_doubt: bool,
    /// The lease was begun anew, because an answer took longer than it, and there was no pause since.
    pub(super) begun_anew: bool,
    /// It tried because a look found the lock free, and there was no pause since.
    pub(super) hurried: bool,
    pub(super) met: Met,
    /// A reservation of somebody else that the last look found, and until when it is respected.
    pub(super) reservation: Option<(Version, Time)>,
    /// The record of a claim that somebody may write.
    pub(super) claimed: Option<Box<Record>>,
    pub(super) state: State,
}

/// What an acquisition has met since it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Met {
    Nothing,
    /// The lock was free when it looked.
    Free,
    /// Somebody else has had the lock, or may have; the version that was met before all else, where it is known.
    Others(Option<Version>),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum State {
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
        written: Box<Unconfirmed>,
    },
    /// Writing the session's own record one level deeper, to be kept until then at least.
    Nesting {
        write: Box<RecordRewrite>,
        outer: OuterHold,
        taken_until: Option<Time>,
    },
    /// Replacing a record to adopt, or a late write of ours.
    Replacing {
        write: Box<ConditionalWrite>,
        record: Box<Record>,
    },
    /// Taking back what was written into an era that is too young or could not be asked about, or what was answered
    /// when the lease had no time left, and the wait none either or the store no better answer before.
    Withdrawing {
        write: Box<ConditionalWrite>,
        then: WithdrawReason,
    },
    Pausing {
        until: Time,
        then: AfterPause,
    },
    /// Leaving the line, because it ends without the lock.
    Leaving {
        leave: Box<Leave>,
        outcome: Box<Outcome>,
    },
    Ended,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum WithdrawReason {
    TooLate,
    Quarantine(Time),
    Outage(StoreError),
}

/// A record of ours that the store took, not yet a grant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Unconfirmed {
    pub(super) record: Record,
    pub(super) version: Version,
    pub(super) sent: Time,
    pub(super) chain: HandOverChain,
}

/// The hold that another is nested in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct OuterHold {
    pub(super) number: u64,
    /// Whether the session relied on it.
    pub(super) sure: bool,
}

impl Acquire {
    /// A wait for `key`. The nonce must be 128 bits from a secure generator, new for each acquisition.
    pub fn new(session: &Session, key: Key, options: LockOptions, nonce: Nonce) -> Self {
        Acquire::at(session, RecordKey::lock(&key), options, nonce)
    }

    /// A wait for a lock or for one permit.
    pub(crate) fn at(session: &Session, place: RecordKey, options: LockOptions, nonce: Nonce) -> Self {
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
    pub(super) fn meet(&mut self, version: Option<Version>) {
        self.met = match self.met {
            Met::Nothing => Met::Others(version),
            Met::Free => Met::Others(None),
            met @ Met::Others(_) => met,
        };
    }

    /// It takes over a reservation. If that was there when this began, nobody has been at work since.
    pub(super) fn meet_nobody_but(&mut self, reservation: Version) {
        if self.met == Met::Others(Some(reservation)) {
            self.met = Met::Nothing;
        }
    }

    /// What is waited for at present.
    pub fn waiting_for(&self) -> &WaitingFor {
        &self.waiting_for
    }

    /// The store does not answer, or refuses. An outage is ridden out as long as the wait lasts, from the first try on.
    pub(super) fn on_outage(&mut self, now: Time, error: StoreError) -> Step<Outcome> {
        if !error.is_outage() || self.wait.is_over(now) {
            return self.fail(error);
        }
        self.waiting_for = WaitingFor::Outage(error);
        self.pause(now, OUTAGE_PAUSE)
    }

    /// Waits for the next try, or ends if that was the last.
    pub(super) fn pause(&mut self, now: Time, at_least: Duration) -> Step<Outcome> {
        if self.wait.is_over(now) {
            return match self.waiting_for.clone() {
                WaitingFor::Outage(error) => self.fail(error),
                waiting_for => self.end(Err(AcquireError::Busy { waited: self.wait.waited(now), waiting_for })),
            };
        }
        (self.begun_anew, self.hurried) = (false, false);
        let (pause, then) = match &mut self.queue {
            Some(queue) if at_least.is_zero() => queue.pause(now, &mut self.wait),
            _ => (at_least.saturating_add(self.wait.next_pause()), AfterPause::Try),
        };
        let pause = self.reservation.map_or(pause, |(_, until)| pause.min(now.until(until)));
        let pause = self.wait.within(now, pause);
        // Others come and go unseen.
        self.meet(None);
        self.state = State::Pausing { until: now.after(pause), then };
        Step::Sleep(pause)
    }

    pub(super) fn fail(&mut self, error: StoreError) -> Step<Outcome> {
        self.end(Err(AcquireError::Store(match error {
            // What failed since does not undo that a write may have happened.
            StoreError::Unavailable(text) if self.in_doubt => StoreError::UnknownOutcome(text),
            error => error,
        })))
    }

    pub(super) fn end(&mut self, outcome: Outcome) -> Step<Outcome> {
        self.state = State::Ended;
        Step::Done(outcome)
    }
}
