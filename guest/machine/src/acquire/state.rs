//! A wait for a lock: what it knows, and the state that it is in.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::time::Duration;

use super::respected::{Respected, Whose};
use super::waiting::Waiting;
use crate::error::{AcquireError, WaitingFor};
use crate::leave::Leave;
use crate::machine::{InnerStep, Step};
use crate::records::{Nonce, ReaderWatch, Readers, Record};
use crate::session::{Grant, HandOverChain, Session};
use crate::turn::{AfterPause, Member};
use crate::values::{Entry, EraInfo, Key, LockOptions, RecordKey, StoreError, Time, Version, WriteOutcome};
use crate::wait::OUTAGE_PAUSE;
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
    pub(super) waiting: Waiting,
    pub(super) membership: Membership,
    /// The number of tries since the last look; none: it has not tried at all.
    pub(super) tries: Option<u32>,
    /// Whether a write of unknown outcome may have happened, or may still happen.
    pub(super) in_doubt: bool,
    /// Whether it tried since the last pause because a look found the lock free. It does so once, so that a wait that
    /// never pauses ends.
    pub(super) tried_on_look: bool,
    pub(super) met: Met,
    /// What the last look found in its way; none: nothing, or a record of which nobody knows when it is over.
    pub(super) respected: Option<Respected>,
    /// What it knows of readers that have the lock; none: it has met none.
    pub(super) readers: Option<Box<MetReaders>>,
    /// The record of a claim that somebody may write.
    pub(super) claimed: Option<Box<Record>>,
    pub(super) state: State,
}

/// What a wait that wants the lock alone knows of readers that have it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct MetReaders {
    pub(super) watch: ReaderWatch,
    /// How many times it said that it waits, and when it did so last.
    pub(super) signs: u64,
    pub(super) signed_at: Option<Time>,
}

impl MetReaders {
    /// Returns until when the record of this version is respected; none: for ever.
    pub(super) fn all_gone(&self, readers: &Readers, version: Version) -> Option<Respected> {
        Some(Respected { version, until: self.watch.all_gone(readers)?, whose: Whose::Readers })
    }
}

/// Its part in the wait list.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Membership {
    /// It never joins: a single try does not wait, and one permit is as good as another.
    Never,
    /// It joins once it looks.
    Outside,
    /// It looks at the list, and stands there unless others are faster at writing it.
    Member(Box<Member>),
}

impl Membership {
    pub(super) fn is_possible(&self) -> bool {
        !matches!(self, Membership::Never)
    }

    pub(super) fn member(&self) -> Option<&Member> {
        if let Membership::Member(member) = self { Some(member) } else { None }
    }

    pub(super) fn member_mut(&mut self) -> Option<&mut Member> {
        if let Membership::Member(member) = self { Some(member) } else { None }
    }

    /// Takes the member out; it may join again.
    pub(super) fn take(&mut self) -> Option<Box<Member>> {
        let left = if self.is_possible() { Membership::Outside } else { Membership::Never };
        if let Membership::Member(member) = core::mem::replace(self, left) { Some(member) } else { None }
    }
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
    /// Writing into the readers' record that a writer waits.
    Signing {
        readers: Box<Readers>,
        list: Option<Box<Entry>>,
        found: Version,
    },
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
        arrival: Arrival,
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

/// When the replies to the writes of a record arrived. A store that is always slower than the lease must not be asked
/// for ever: the record is written again once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Arrival {
    /// In time so far.
    InTime,
    /// The last one took longer than the lease, so that the record was written again.
    Late,
}

/// A record of ours that the store took, not yet a grant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Unconfirmed {
    pub(super) record: Record,
    pub(super) version: Version,
    pub(super) sent: Time,
    pub(super) chain: HandOverChain,
    pub(super) arrival: Arrival,
}

impl Unconfirmed {
    /// Returns a record of our own write.
    pub(super) fn new(record: Record, version: Version, sent: Time) -> Self {
        Unconfirmed { record, version, sent, chain: HandOverChain::default(), arrival: Arrival::InTime }
    }
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
        let joins_list = options.joins_list && place.permit.is_none() && options.wait != Some(Duration::ZERO);
        Acquire {
            membership: if joins_list { Membership::Outside } else { Membership::Never },
            store_key: session.store_key(&place),
            waiting: Waiting::new(&options, nonce),
            place,
            options,
            nonce,
            tries: None,
            in_doubt: false,
            tried_on_look: false,
            met: Met::Nothing,
            respected: None,
            readers: None,
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

    /// Returns the key as its user wrote it.
    pub fn key(&self) -> &str {
        self.place.key.as_str()
    }

    /// Returns the key in the store whose deletion frees the lock.
    pub fn store_key(&self) -> &Arc<str> {
        &self.store_key
    }

    /// Returns what it waits for at present.
    pub fn waiting_for(&self) -> &WaitingFor {
        &self.waiting.waiting_for
    }

    pub(super) fn wait_is_over(&self, now: Time) -> bool {
        self.waiting.wait.is_over(now)
    }

    pub(super) fn on_outage(&mut self, now: Time, error: StoreError) -> Step<Outcome> {
        match self.waiting.ride_out(now, error, self.in_doubt) {
            Ok(()) => self.pause(now, OUTAGE_PAUSE),
            Err(error) => Step::Done(Err(error)),
        }
    }

    /// Waits for the next try, or ends if that was the last.
    pub(super) fn pause(&mut self, now: Time, at_least: Duration) -> Step<Outcome> {
        if let Err(error) = self.waiting.check(now, self.in_doubt) {
            return Step::Done(Err(error));
        }
        self.tried_on_look = false;
        let signs_again = self.signs_again();
        let wait = &mut self.waiting.wait;
        let (pause, then) = match self.membership.member_mut() {
            Some(member) if at_least.is_zero() => member.pause(now, wait),
            _ => (at_least.saturating_add(wait.next_pause()), AfterPause::Try),
        };
        let ends = self.respected.map(|respected| respected.until).filter(|until| *until > now);
        let pause = ends.map_or(pause, |until| pause.min(now.until(until)));
        let pause = signs_again.filter(|at| *at > now).map_or(pause, |at| pause.min(now.until(at)));
        let pause = wait.within(now, pause);
        // Others come and go unseen.
        self.meet(None);
        InnerStep::Sleep(pause).within(&mut self.state, State::Pausing { until: now.after(pause), then })
    }
}
