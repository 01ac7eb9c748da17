//! A wait for a lock: what it knows, and the state that it is in.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::time::Duration;

use crate::error::{AcquireError, WaitingFor};
use crate::leave::Leave;
use crate::machine::Step;
use crate::records::{Nonce, Record};
use crate::session::{Grant, HandOverChain, Session};
use crate::turn::{AfterPause, Member};
use crate::values::{EraInfo, Key, LockOptions, RecordKey, StoreError, Time, Version, WriteOutcome};
use crate::wait::{OUTAGE_PAUSE, Wait};
use crate::write::{ConditionalWrite, RecordRewrite};

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
    /// Whether it stands in the wait list while it waits.
    pub(super) joins_list: bool,
    /// Its place in the wait list, since it looked.
    pub(super) member: Option<Box<Member>>,
    pub(super) tries_since_look: u32,
    /// Whether it tried at all.
    pub(super) tried: bool,
    pub(super) waiting_for: WaitingFor,
    /// Whether a write of unknown outcome may have happened, or may still happen.
    pub(super) in_doubt: bool,
    pub(super) since_pause: SincePause,
    pub(super) met: Met,
    /// A reservation of somebody else that the last look found, and until when it is respected.
    pub(super) reservation: Option<(Version, Time)>,
    /// The record of a claim that somebody may write.
    pub(super) claimed: Option<Box<Record>>,
    pub(super) state: State,
}

/// What happened since the last pause: each at most once, so that a wait that never pauses ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct SincePause {
    /// It tried because a look found the lock free.
    pub(super) tried_on_look: bool,
    /// It wrote the record again, because the answer had taken longer than the lease.
    pub(super) renewed_on_arrival: bool,
}

/// What an acquisition has met since it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Met {
    Nothing,
    /// The lock was free when it looked.
    Free,
    /// Somebody else has had the lock, or may have: the version that was met first, if it is known.
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
    /// Writing its ticket into the wait list.
    Joining,
    /// Taking away a wait list in which nobody is left.
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
    /// Deleting our own record because it must not become a grant: its era is too young or unknown, or the lease had
    /// expired when the reply arrived. The latter only if the wait is over, or the same happened to the previous try.
    Withdrawing {
        write: Box<ConditionalWrite>,
        then: WithdrawReason,
    },
    Pausing {
        until: Time,
        then: AfterPause,
    },
    /// Leaving the wait list, because it ends without the lock.
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
    /// Waits for `key`. The nonce must be 128 bits from a secure generator, new for each acquisition.
    pub fn new(session: &Session, key: Key, options: LockOptions, nonce: Nonce) -> Self {
        Acquire::at(session, RecordKey::lock(&key), options, nonce)
    }

    /// Waits for a lock or for one permit.
    pub(crate) fn at(session: &Session, place: RecordKey, options: LockOptions, nonce: Nonce) -> Self {
        // A single try does not wait; and one permit is as good as another.
        let joins_list = options.line && place.permit.is_none() && options.wait != Some(Duration::ZERO);
        Acquire {
            joins_list,
            member: None,
            store_key: session.store_key(&place),
            wait: Wait::new(options.wait, options.interval, nonce.0),
            place,
            options,
            nonce,
            tries_since_look: 0,
            tried: false,
            waiting_for: WaitingFor::Turn,
            in_doubt: false,
            since_pause: SincePause::default(),
            met: Met::Nothing,
            reservation: None,
            claimed: None,
            state: State::Fresh,
        }
    }

    /// Returns true if a record of ours may be in the store, or may still arrive there.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.in_doubt
    }

    /// Returns true if somebody else may have had the lock since the wait began.
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

    /// Notes that it takes over a reservation. If that stood there when the wait began, nobody has worked since.
    pub(super) fn meet_nobody_but(&mut self, reservation: Version) {
        if self.met == Met::Others(Some(reservation)) {
            self.met = Met::Nothing;
        }
    }

    /// Returns what it waits for at present.
    pub fn waiting_for(&self) -> &WaitingFor {
        &self.waiting_for
    }

    /// Rides an outage out as long as the wait lasts, from the first try on. A refusal ends the wait.
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
        self.since_pause = SincePause::default();
        let (pause, then) = match &mut self.member {
            Some(member) if at_least.is_zero() => member.pause(now, &mut self.wait),
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
            // A later failure does not undo that a write may have happened.
            StoreError::Unavailable(text) if self.in_doubt => StoreError::UnknownOutcome(text),
            error => error,
        })))
    }

    pub(super) fn end(&mut self, outcome: Outcome) -> Step<Outcome> {
        self.state = State::Ended;
        Step::Done(outcome)
    }
}
