//! Finding out whether somebody asks for a lock back, and letting that one know that it was heard.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::error::GrantError;
use crate::machine::{Cx, Event, Machine, Step};
use crate::records::{Ask, AskRecord, Ticket, asks_kept_for};
use crate::session::{Grant, Session};
use crate::values::{Entry, Reply, Request, Time, WriteOutcome};

/// How often it says that it has heard if others write the ask at the same time: readers, or somebody else who asks.
const WRITES: u8 = 4;

/// Reads the ask to give a grant back, and notes there that its holder has heard it. Neither touches the record of the
/// lock.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Hear {
    grant: Grant,
    /// The store's name of the ask.
    key: Arc<str>,
    writes_left: u8,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum State {
    Fresh,
    Reading,
    /// Writing that it was heard: it is told whatever becomes of that.
    Receipting(Ask),
    Ended,
}

type Outcome = Result<Option<Ask>, GrantError>;

impl Hear {
    /// Asks for the holder of this grant.
    pub fn new(grant: Grant) -> Self {
        Hear { grant, key: Arc::from(""), writes_left: WRITES, state: State::Fresh }
    }

    fn start(&mut self, cx: &mut Cx<'_>) -> Step<Outcome> {
        let Some(hold) = cx.session.valid_hold(&self.grant, cx.now) else {
            return Step::Done(Err(cx.session.lost(&self.grant)));
        };
        self.key = hold.namespace.ask(&self.grant.place);
        self.read()
    }

    fn read(&mut self) -> Step<Outcome> {
        self.state = State::Reading;
        Step::Call(Request::Get { key: self.key.clone() })
    }

    fn on_entry(&mut self, session: &Session, entry: Option<Entry>) -> Step<Outcome> {
        let Some(hold) = session.hold_of(&self.grant) else { return Step::Done(Err(GrantError::Lost(None))) };
        let own = Ticket::of(hold.record.nonce);
        // What is not an ask asks for nothing.
        let asked =
            entry.and_then(|entry| Some((AskRecord::decode_for(&self.grant.place, &entry).ok()?, entry.version)));
        let Some((record, if_version)) = asked.filter(|(record, _)| record.is_of(own)) else {
            return Step::Done(Ok(None));
        };
        let ask = record.told();
        let Some(writes_left) = self.writes_left.checked_sub(1).filter(|_| !record.is_heard_by(own)) else {
            return Step::Done(Ok(Some(ask)));
        };
        self.writes_left = writes_left;
        self.state = State::Receipting(ask);
        let heard: Vec<Ticket> = record.heard.iter().copied().chain([own]).collect();
        let value = AskRecord { heard, ..record }.encode();
        let ttl = asks_kept_for(hold.record.lease.ttl());
        Step::Call(Request::Replace { key: self.key.clone(), value, ttl, if_version })
    }
}

impl Machine for Hear {
    type Outcome = Outcome;

    fn step(&mut self, session: &mut Session, now: Time, event: Event) -> Step<Outcome> {
        let cx = &mut Cx { session, now };
        match (core::mem::replace(&mut self.state, State::Ended), event) {
            (State::Fresh, Event::Start) => self.start(cx),
            (State::Reading, Event::Reply(Reply::Entry(Ok(entry)))) => self.on_entry(cx.session, entry),
            (State::Reading, Event::Reply(Reply::Entry(Err(error)))) => Step::Done(Err(error.into())),
            (State::Receipting(_), Event::Reply(Reply::Write(Ok(WriteOutcome::Conflict(_))))) => self.read(),
            // If it is not known to be written, the next look finds out, and writes it then.
            (State::Receipting(ask), Event::Reply(Reply::Write(_))) => Step::Done(Ok(Some(ask))),
            _ => Step::Done(Err(GrantError::OutOfOrder)),
        }
    }

    fn needs_fresh_time(&self, _: &Reply) -> bool {
        false
    }
}
