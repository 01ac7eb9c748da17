//! One conditional write, carried to its end: replaced or deleted by us, or no longer ours.
//!
//! A write of unknown outcome is read back, by version and nonce; never guessed, never blindly repeated. A repeat is
//! safe because it names the version that it expects: if the lost request is executed late, one of the two finds the
//! version changed.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::ControlFlow;
use core::time::Duration;

use crate::machine::{Event, InnerStep};
use crate::records::{Nonce, Record};
use crate::session::Doubt;
use crate::values::{DeleteOutcome, Entry, Reply, Request, StoreError, Time, Ttl, Version, WriteOutcome};
use crate::wait::backoff::Backoff;

/// How long to try to resolve an unknown outcome before the caller gets an error: long enough to outlast a reconnect,
/// short enough for a person who waits.
pub(super) const RESOLVE_FOR: Duration = Duration::from_secs(2);
/// The longest pause between two attempts to resolve it.
pub(super) const RESOLVE_INTERVAL: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    Replace {
        value: Vec<u8>,
        ttl: Ttl,
    },
    Delete,
    /// Gives the entry up as a delete does, by writing that of a successor. If the answer is lost, the successor's
    /// record proves nothing: a late `add` of its own may have the same text, and its lease began when that arrived.
    HandOver {
        value: Vec<u8>,
        ttl: Ttl,
    },
}

/// A write of an entry that is expected to have a version of ours.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ConditionalWrite {
    key: Arc<str>,
    action: Action,
    if_version: Version,
    /// The nonce of its record; none: any writer of the hold's record will do.
    nonce: Option<Nonce>,
    /// The fencing token of the hold whose record the entry is; none: any record with the nonce will do.
    token: Option<u64>,
    /// Unanswered writes by other machines of the session.
    earlier: Option<Doubt>,
    /// When our first write under this version was sent whose outcome is unknown.
    in_doubt: Option<Time>,
    sent: Option<Time>,
    give_up: Option<Time>,
    /// After this time it writes nothing more: the grant that it relies on is over.
    until: Option<Time>,
    failure: Option<StoreError>,
    backoff: Backoff,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum State {
    Writing,
    Reading,
    Pausing { until: Time, resume: Resume },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Resume {
    Write,
    Read,
}

/// The next step, or the end.
type Next = ControlFlow<WriteEnd, InnerStep>;

/// The end of a write.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum WriteEnd {
    /// The store confirmed this write, sent at this time.
    Replaced { version: Version, sent: Time },
    /// The store confirmed this delete.
    Deleted,
    /// The answer to our delete was lost, and the entry is gone: deleted by us, unless it ended otherwise.
    Vanished,
    /// The entry has another version, or there is none. This is the entry now, if it could be read.
    Gone(Option<Entry>),
    /// The store failed; whether our write may have happened all the same.
    Failed { error: StoreError, in_doubt: bool },
    /// The driver answered with something else than the step asked for.
    OutOfOrder,
}

impl ConditionalWrite {
    pub(crate) fn new(
        key: Arc<str>,
        action: Action,
        if_version: Version,
        nonce: Nonce,
        earlier: Option<Doubt>,
    ) -> Self {
        let (backoff, state) = (Backoff::new(RESOLVE_INTERVAL, nonce.0), State::Writing);
        ConditionalWrite {
            key,
            action,
            if_version,
            nonce: Some(nonce),
            token: None,
            earlier,
            in_doubt: None,
            sent: None,
            give_up: None,
            until: None,
            failure: None,
            backoff,
            state,
        }
    }

    /// Expects the record of the hold with this token. An `add` of its acquisition that is executed late has the nonce
    /// too, but it is not the hold: that may have ended, and another's have been and gone.
    pub(crate) fn of_hold(self, token: Option<u64>) -> Self {
        ConditionalWrite { token, ..self }
    }

    /// Expects the record of the hold with this token, by any of the processes that have the hold.
    pub(crate) fn of_any_process(self, token: u64) -> Self {
        ConditionalWrite { nonce: None, token: Some(token), ..self }
    }

    pub(crate) fn start(&mut self, now: Time, until: Option<Time>) -> InnerStep {
        self.give_up = Some(now.after(RESOLVE_FOR));
        self.until = until;
        self.write(now)
    }

    pub(crate) fn step(&mut self, now: Time, event: Event) -> Next {
        match (self.state, event) {
            (State::Writing, Event::Reply(reply)) => self.on_write(reply, now),
            (State::Reading, Event::Reply(Reply::Entry(reply))) => match reply {
                Ok(None) => self.on_absent(),
                Ok(Some(entry)) => self.on_entry(entry, now),
                // The read was only to name the present holder.
                Err(_) if !self.in_any_doubt() => ControlFlow::Break(WriteEnd::Gone(None)),
                Err(error) => self.retry(Resume::Read, error, now),
            },
            (State::Pausing { until, .. }, Event::Woken) if now < until => {
                ControlFlow::Continue(InnerStep::Sleep(now.until(until)))
            }
            (State::Pausing { resume: Resume::Read, .. }, Event::Woken) => ControlFlow::Continue(self.read()),
            (State::Pausing { resume: Resume::Write, .. }, Event::Woken)
                if self.until.is_some_and(|until| now >= until) =>
            {
                self.fail(self.unresolved())
            }
            (State::Pausing { resume: Resume::Write, .. }, Event::Woken) => ControlFlow::Continue(self.write(now)),
            _ => ControlFlow::Break(WriteEnd::OutOfOrder),
        }
    }

    fn write(&mut self, now: Time) -> InnerStep {
        self.state = State::Writing;
        self.sent = Some(now);
        let (key, if_version) = (self.key.clone(), self.if_version);
        InnerStep::Call(match &self.action {
            Action::Replace { value, ttl } | Action::HandOver { value, ttl } => {
                Request::Replace { key, value: value.clone(), ttl: *ttl, if_version }
            }
            Action::Delete => Request::Delete { key, if_version },
        })
    }

    fn read(&mut self) -> InnerStep {
        self.state = State::Reading;
        InnerStep::Call(Request::Get { key: self.key.clone() })
    }

    fn on_write(&mut self, reply: Reply, now: Time) -> Next {
        match (&self.action, reply) {
            (Action::Replace { .. } | Action::HandOver { .. }, Reply::Write(Ok(WriteOutcome::Written(version)))) => {
                ControlFlow::Break(WriteEnd::Replaced { version, sent: self.sent.unwrap_or(now) })
            }
            (Action::Delete, Reply::Delete(Ok(DeleteOutcome::Deleted))) => ControlFlow::Break(WriteEnd::Deleted),
            (Action::Replace { .. } | Action::HandOver { .. }, Reply::Write(Ok(WriteOutcome::Conflict(_))))
            | (Action::Delete, Reply::Delete(Ok(DeleteOutcome::Conflict(_)))) => ControlFlow::Continue(self.read()),
            (Action::Replace { .. } | Action::HandOver { .. }, Reply::Write(Ok(WriteOutcome::Absent)))
            | (Action::Delete, Reply::Delete(Ok(DeleteOutcome::Absent))) => self.on_absent(),
            (Action::Replace { .. } | Action::HandOver { .. }, Reply::Write(Err(error)))
            | (Action::Delete, Reply::Delete(Err(error))) => self.on_failed_write(error, now),
            _ => ControlFlow::Break(WriteEnd::OutOfOrder),
        }
    }

    fn on_failed_write(&mut self, error: StoreError, now: Time) -> Next {
        match error {
            StoreError::UnknownOutcome(_) => {
                self.in_doubt = self.in_doubt.or(self.sent);
                self.failure = Some(error);
                ControlFlow::Continue(self.read())
            }
            StoreError::Unavailable(_) if self.in_doubt.is_some() => self.retry(Resume::Read, error, now),
            error => self.fail(error),
        }
    }

    fn on_absent(&mut self) -> Next {
        ControlFlow::Break(if self.may_have_given_up() { WriteEnd::Vanished } else { WriteEnd::Gone(None) })
    }

    fn on_entry(&mut self, entry: Entry, now: Time) -> Next {
        if !self.in_any_doubt() {
            return ControlFlow::Break(WriteEnd::Gone(Some(entry)));
        }
        if entry.version == self.if_version {
            // Not executed so far: once more, under the same condition.
            return self.retry(Resume::Write, self.unresolved(), now);
        }
        // A record of ours in another era is a late `add`: it may not carry a grant of the era that ended.
        let same_era = entry.version.era == self.if_version.era;
        if same_era && self.is_ours(&entry) {
            // Without a token it may as well be a late `add` of the same text, and its lease began when that arrived.
            if let (Action::Replace { value, .. }, Some(sent), None) = (&self.action, self.in_doubt, self.earlier)
                && *value == entry.value
                && self.token.is_some()
            {
                return ControlFlow::Break(WriteEnd::Replaced { version: entry.version, sent });
            }
            // An earlier write of ours was executed after all. What is read back from now on was sent from now on.
            self.if_version = entry.version;
            self.in_doubt = self.in_doubt.map(|_| now);
            return self.retry(Resume::Write, self.unresolved(), now);
        }
        ControlFlow::Break(if self.may_have_given_up() { WriteEnd::Vanished } else { WriteEnd::Gone(Some(entry)) })
    }

    fn is_ours(&self, entry: &Entry) -> bool {
        let told = |record: &Record| record.token.unwrap_or(entry.version.token());
        Record::decode(&entry.value).is_ok_and(|record| {
            self.nonce.is_none_or(|nonce| nonce == record.nonce)
                && self.token.is_none_or(|token| token == told(&record))
        })
    }

    fn may_have_given_up(&self) -> bool {
        matches!(self.action, Action::Delete | Action::HandOver { .. })
            && (self.in_doubt.is_some() || self.earlier == Some(Doubt::GivenUp))
    }

    fn in_any_doubt(&self) -> bool {
        self.in_doubt.is_some() || self.earlier.is_some()
    }

    fn fail(&self, error: StoreError) -> Next {
        ControlFlow::Break(WriteEnd::Failed { error, in_doubt: self.in_doubt.is_some() })
    }

    fn unresolved(&self) -> StoreError {
        let unknown = || StoreError::UnknownOutcome("no answer that tells whether the write happened".into());
        self.failure.clone().unwrap_or_else(unknown)
    }

    fn retry(&mut self, resume: Resume, error: StoreError, now: Time) -> Next {
        if self.give_up.is_none_or(|give_up| now >= give_up) {
            // What failed since does not undo that a write may have happened.
            return self.fail(if self.in_doubt.is_some() { self.unresolved() } else { error });
        }
        let pause = self.backoff.next();
        self.state = State::Pausing { until: now.after(pause), resume };
        ControlFlow::Continue(InnerStep::Sleep(pause))
    }
}
