//! Release: conditional on the version that we wrote, so that nobody else's grant is ever touched.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::ops::ControlFlow;
use core::time::Duration;

use crate::error::GrantError;
use crate::leave::Leave;
use crate::machine::{Event, Machine, Step};
use crate::records::record::Record;
use crate::records::wait_list::{Ticket, WaitList, corrected, rounded};
use crate::session::Session;
use crate::session::grant::Grant;
use crate::session::hand_over::{Claim, HandOverChain, HandedOver, MAX_CHAIN_LENGTH};
use crate::session::hold::{Deadline, Doubt, Hold};
use crate::values::kv::{DeleteOutcome, Entry, Reply, Request, StoreError, Ttl};
use crate::values::name::RecordKey;
use crate::values::options::to_trust;
use crate::values::time::Time;
use crate::write::conditional::{Action, ConditionalWrite, WriteEnd};
use crate::write::rewrite::{HoldSnapshot, RecordRewrite, holder};

/// What is told when the answer to the release of a grant that was never confirmed is lost, and nothing is there.
const UNCONFIRMED: &str = "the lock is free now, but may have been lost before it was released";

/// Gives a lock back.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Release {
    grant: Grant,
    /// To whom it goes, if it can be handed over.
    successor: Option<Box<Claim>>,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum State {
    Fresh,
    Replacing {
        write: Box<RecordRewrite>,
        outcome: Released,
    },
    /// Reading the line of those who wait elsewhere.
    Looking {
        claim: Box<Claim>,
        line: Arc<str>,
    },
    /// Writing the successor into it.
    LiningUp,
    /// Deleting the record, or writing the successor's in its place.
    GivingUp {
        write: Box<ConditionalWrite>,
        before: HoldSnapshot,
        chain: HandOverChain,
    },
    /// Taking the ticket of who was served out of the line.
    Leaving {
        leave: Box<Leave>,
        outcome: Released,
    },
    Ended,
}

/// What a release did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Released {
    /// The lock is free.
    Freed,
    /// A nested hold ended; it is still held so many times.
    Nested(u32),
    /// Released, and taken for this long yet for its minimum time.
    Kept(Duration),
    /// It is the successor's now, which is to be told.
    HandedOver(HandedOver),
}

impl Release {
    /// Releases one hold.
    pub fn new(grant: Grant) -> Self {
        Release { grant, successor: None, state: State::Fresh }
    }

    /// Releases one hold, and if that frees the lock hands it over; unless the claim is for another key, or the lock
    /// was handed over [`MAX_IN_A_ROW`] times in a row and others wait for it elsewhere: then the successor stands
    /// behind them.
    pub fn to(grant: Grant, successor: Claim) -> Self {
        Release { grant, successor: Some(Box::new(successor)), state: State::Fresh }
    }

    fn start(&mut self, session: &mut Session, now: Time) -> Step<Result<Released, GrantError>> {
        let Some(hold) = session.valid_hold(&self.grant, now) else {
            return Step::Done(Err(session.lost(&self.grant)));
        };
        let kept = hold.taken_until.map(|until| now.until(until)).unwrap_or_default();
        let depth = hold.record.depth.saturating_sub(1);
        let record = |hold: &Hold| Record { depth, ..hold.record.clone() };
        if depth > 0 {
            // The end of a nested hold does not lengthen the lease.
            let ttl = match hold.deadline {
                Deadline::At(deadline) => Ttl::After(to_trust(now.until(deadline))),
                Deadline::Never | Deadline::Unconfirmed => hold.record.lease.ttl(),
            };
            let (record, at_most) = (record(hold), hold.deadline);
            return self.rewrite(hold, (record, ttl, Doubt::Rewritten, at_most), Released::Nested(depth), now);
        }
        if !kept.is_zero() {
            let write = (record(hold), Ttl::After(kept), Doubt::GivenUp, Deadline::Unconfirmed);
            return self.rewrite(hold, write, Released::Kept(kept), now);
        }
        let (key, place) = (&self.grant.store_key, &hold.record.place);
        let claim = self.successor.take().filter(|claim| *claim.store_key == **key && claim.record.place == *place);
        match claim {
            Some(claim) if hold.chain.length >= MAX_CHAIN_LENGTH => {
                let line = session.namespace().line(&claim.record.place.key);
                self.state = State::Looking { claim, line: line.clone() };
                Step::Call(Request::Get { key: line })
            }
            claim => self.give_up_hold(hold, now, claim),
        }
    }

    /// Writes the record once more: the lock stays held, or kept.
    fn rewrite<O>(
        &mut self,
        hold: &mut Hold,
        (record, ttl, doubt, at_most): (Record, Ttl, Doubt, Deadline),
        outcome: Released,
        now: Time,
    ) -> Step<O> {
        let (write, ask) = RecordRewrite::start(&self.grant.store_key, hold, record, ttl, doubt, at_most, now);
        self.state = State::Replacing { write: Box::new(write), outcome };
        ask.into()
    }

    /// The line of those who wait elsewhere. Where there are any, the successor is to stand behind them.
    fn on_line(
        &mut self,
        session: &mut Session,
        now: Time,
        (claim, line): (Box<Claim>, Arc<str>),
        reply: Result<Option<Entry>, StoreError>,
    ) -> Step<Result<Released, GrantError>> {
        let (Ok(entry), Some(hold)) = (reply, session.hold_of_mut(&self.grant)) else {
            return self.give_up(session, now, None);
        };
        let RecordKey { key, .. } = &claim.record.place;
        let mut waiting = entry.as_ref().map(|entry| WaitList::decode(key, &entry.value)).unwrap_or_default();
        let served = hold.chain.next(hold.record.nonce).first.into_iter().chain([Ticket::of(hold.record.nonce)]);
        served.for_each(|ticket| waiting.serve(ticket));
        let successor = Ticket::of(claim.record.nonce);
        let alone = waiting.len() == waiting.place(successor).map_or(0, |_| 1);
        let Some(entry) = entry.filter(|_| !alone) else {
            // Who was first in the row stands there yet, and is not to pass for somebody who waits at the next look.
            hold.chain.length = 0;
            return self.give_up(session, now, Some(claim));
        };
        if waiting.place(successor).is_none() {
            waiting.join(successor);
        }
        // Those who are written into the line write nothing there themselves.
        waiting.turn = Some(rounded(corrected(waiting.turn, now.since(hold.since))));
        self.state = State::LiningUp;
        Step::Call(waiting.rewrite(key, &line, entry.version))
    }

    /// Frees the lock, or writes what the claim says.
    fn give_up(
        &mut self,
        session: &mut Session,
        now: Time,
        claim: Option<Box<Claim>>,
    ) -> Step<Result<Released, GrantError>> {
        match session.valid_hold(&self.grant, now) {
            Some(hold) => self.give_up_hold(hold, now, claim),
            None => Step::Done(Err(session.lost(&self.grant))),
        }
    }

    fn give_up_hold(
        &mut self,
        hold: &mut Hold,
        now: Time,
        claim: Option<Box<Claim>>,
    ) -> Step<Result<Released, GrantError>> {
        let action = match claim {
            Some(claim) => Action::HandOver { value: claim.value(), ttl: claim.record.lease.ttl() },
            None => Action::Delete,
        };
        let write =
            ConditionalWrite::new(self.grant.store_key.clone(), action, hold.version, hold.record.nonce, hold.in_doubt);
        let mut write = write.of_hold(hold.record.token);
        let ask = write.start(now, None);
        let chain = hold.chain.next(hold.record.nonce);
        self.state = State::GivingUp { write: Box::new(write), before: HoldSnapshot::of(hold, Doubt::GivenUp), chain };
        ask.into()
    }

    /// The lock is released: who was the last of the line takes its ticket out.
    fn leave(
        &mut self,
        session: &mut Session,
        now: Time,
        outcome: Result<Released, GrantError>,
    ) -> Step<Result<Released, GrantError>> {
        match (outcome, session.contention.leave(&self.grant.store_key)) {
            (Ok(outcome @ Released::Freed), Some(listed)) => {
                self.leaving(session, now, Event::Start, Box::new(Leave::new(*listed)), outcome)
            }
            (outcome, _) => Step::Done(outcome),
        }
    }

    fn leaving(
        &mut self,
        session: &mut Session,
        now: Time,
        event: Event,
        mut leave: Box<Leave>,
        outcome: Released,
    ) -> Step<Result<Released, GrantError>> {
        match leave.step(session, now, event).split() {
            ControlFlow::Break(()) => Step::Done(Ok(outcome)),
            ControlFlow::Continue(ask) => {
                self.state = State::Leaving { leave, outcome };
                ask.into()
            }
        }
    }

    fn on_replaced(&self, session: &mut Session, now: Time, outcome: Released) -> Result<Released, GrantError> {
        match outcome {
            Released::Nested(_) => session.still_held(&self.grant, now)?,
            Released::Kept(_) | Released::Freed | Released::HandedOver(_) => session.forget(&self.grant.store_key),
        }
        Ok(outcome)
    }

    fn on_given_up(
        &self,
        session: &mut Session,
        now: Time,
        before: HoldSnapshot,
        chain: HandOverChain,
        end: WriteEnd,
    ) -> Result<Released, GrantError> {
        let hold = match &end {
            // It is not over.
            WriteEnd::Failed { .. } | WriteEnd::OutOfOrder => None,
            _ => session.freed(&self.grant, now),
        };
        let expired = hold.as_ref().is_none_or(|hold| hold.deadline.has_passed(now));
        let shared = hold.as_ref().is_none_or(|hold| hold.is_shared());
        match end {
            WriteEnd::Deleted => Ok(Released::Freed),
            WriteEnd::Replaced { version, sent } => {
                let first = chain.first.map_or(0, |ticket| ticket.0);
                Ok(Released::HandedOver(HandedOver { version, sent, chain_length: chain.length, first }))
            }
            // While the lease runs, only our own write ends the record; or a `break` or a loss of everything, and then
            // it is free of us too.
            WriteEnd::Vanished if !expired && !shared => Ok(Released::Freed),
            // Or somebody else's who had the grant too, and it may have ended long before.
            WriteEnd::Vanished if !expired => Err(StoreError::UnknownOutcome(UNCONFIRMED.into()).into()),
            WriteEnd::Vanished => Err(GrantError::Lost(None)),
            WriteEnd::Gone(entry) => Err(GrantError::Lost(holder(entry))),
            WriteEnd::Failed { error, in_doubt } => {
                if let Some(hold) = session.hold_of_mut(&self.grant).filter(|_| !in_doubt) {
                    before.restore(hold);
                }
                Err(error.into())
            }
            WriteEnd::OutOfOrder => Err(GrantError::OutOfOrder),
        }
    }
}

impl Machine for Release {
    type Outcome = Result<Released, GrantError>;

    fn step(&mut self, session: &mut Session, now: Time, event: Event) -> Step<Self::Outcome> {
        match (core::mem::replace(&mut self.state, State::Ended), event) {
            (State::Fresh, Event::Start) => self.start(session, now),
            (State::Replacing { mut write, outcome }, event) => match write.step(session, now, event) {
                ControlFlow::Break(Ok(())) => Step::Done(self.on_replaced(session, now, outcome)),
                ControlFlow::Break(Err(error)) => Step::Done(Err(error)),
                ControlFlow::Continue(ask) => {
                    self.state = State::Replacing { write, outcome };
                    ask.into()
                }
            },
            (State::Looking { claim, line }, Event::Reply(Reply::Entry(reply))) => {
                self.on_line(session, now, (claim, line), reply)
            }
            // The line is advice: where it cannot be written it is done without.
            (State::LiningUp, Event::Reply(Reply::Write(_))) => self.give_up(session, now, None),
            (State::GivingUp { mut write, before, chain }, event) => match write.step(now, event) {
                ControlFlow::Break(end) => {
                    let outcome = self.on_given_up(session, now, before, chain, end);
                    self.leave(session, now, outcome)
                }
                ControlFlow::Continue(ask) => {
                    self.state = State::GivingUp { write, before, chain };
                    ask.into()
                }
            },
            (State::Leaving { leave, outcome }, event) => self.leaving(session, now, event, leave, outcome),
            _ => Step::Done(Err(GrantError::OutOfOrder)),
        }
    }

    /// What was deleted is given back, however late it is.
    fn needs_fresh_time(&self, reply: &Reply) -> bool {
        !matches!(reply, Reply::Delete(Ok(DeleteOutcome::Deleted)))
    }
}
