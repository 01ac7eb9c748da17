//! Releasing a grant, conditional on the version that we wrote: no other grant is ever touched.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::ops::ControlFlow;
use core::time::Duration;

use crate::error::GrantError;
use crate::leave::Leave;
use crate::machine::{Cx, Event, Machine, Step};
use crate::records::{Record, Ticket, WaitList, corrected, rounded};
use crate::session::{Claim, Deadline, Doubt, Grant, HandOverChain, HandedOver, Hold, MAX_CHAIN_LENGTH, Session};
use crate::values::{DeleteOutcome, Entry, Mode, RecordKey, Reply, Request, StoreError, Time, Ttl, to_trust};
use crate::write::{Action, HoldSnapshot, HoldWrite, RecordRewrite, WriteEnd, holder};

/// The text of the error if the reply to the release of an unconfirmed grant is lost and no record is there.
const UNCONFIRMED: &str = "the lock is free now, but may have been lost before it was released";

type Outcome = Result<Released, GrantError>;

/// Ends one hold of a lock.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Release {
    grant: Grant,
    /// The successor, if the lock can be handed over.
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
    /// Reading the wait list for waiters elsewhere.
    Looking {
        claim: Box<Claim>,
        list: Arc<str>,
    },
    /// Writing the successor into it.
    JoiningSuccessor,
    /// Deleting the record, or writing the successor's in its place.
    GivingUp {
        write: Box<HoldWrite>,
        before: HoldSnapshot,
        chain: HandOverChain,
    },
    /// Taking the ticket of the grant out of the list.
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
    /// A nested hold ended; this many are left.
    Nested(u32),
    /// Released; the key stays taken this much longer, for its minimum hold.
    Kept(Duration),
    /// The lock is the successor's now. Pass this on to the successor.
    HandedOver(HandedOver),
}

impl Release {
    /// Releases one hold.
    pub fn new(grant: Grant) -> Self {
        Release { grant, successor: None, state: State::Fresh }
    }

    /// Releases one hold. If that would free the lock, the same write hands it over to the successor. The lock is
    /// released normally instead if the claim is for another key, or after [`MAX_CHAIN_LENGTH`] consecutive hand-overs
    /// while others wait elsewhere. In the latter case the successor joins the wait list behind them.
    pub fn to(grant: Grant, successor: Claim) -> Self {
        Release { grant, successor: Some(Box::new(successor)), state: State::Fresh }
    }

    fn start(&mut self, cx: &mut Cx<'_>) -> Step<Outcome> {
        let Some(hold) = cx.session.valid_hold(&self.grant, cx.now) else {
            return Step::Done(Err(cx.session.lost(&self.grant)));
        };
        let kept = hold.taken_until.map(|until| cx.now.until(until)).unwrap_or_default();
        let depth = hold.record.depth.saturating_sub(1);
        let record = |hold: &Hold| Record { depth, ..hold.record.clone() };
        if depth > 0 {
            // The end of a nested hold does not lengthen the lease.
            let ttl = match hold.deadline {
                Deadline::At(deadline) => Ttl::After(to_trust(cx.now.until(deadline))),
                Deadline::Never | Deadline::Unconfirmed => hold.record.lease.ttl(),
            };
            let (record, at_most) = (record(hold), hold.deadline);
            return self.rewrite(hold, (record, ttl, Doubt::Rewritten, at_most), Released::Nested(depth), cx.now);
        }
        if !kept.is_zero() {
            let write = (record(hold), Ttl::After(kept), Doubt::GivenUp, Deadline::Unconfirmed);
            return self.rewrite(hold, write, Released::Kept(kept), cx.now);
        }
        let (key, place) = (&self.grant.store_key, &hold.record.place);
        // Other readers may have the lock still.
        let successor = self.successor.take().filter(|_| hold.record.mode != Mode::Shared);
        let claim = successor.filter(|claim| *claim.store_key == **key && claim.record.place == *place);
        match claim {
            Some(claim) if hold.chain.length >= MAX_CHAIN_LENGTH => {
                let list = cx.session.namespace().wait_list(&claim.record.place.key);
                self.state = State::Looking { claim, list: list.clone() };
                Step::Call(Request::Get { key: list })
            }
            claim => self.give_up_hold(hold, cx.now, claim),
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
        ask.within(&mut self.state, State::Replacing { write: Box::new(write), outcome })
    }

    /// Takes in the wait list. If others wait elsewhere, the successor is to stand behind them.
    fn on_wait_list(
        &mut self,
        cx: &mut Cx<'_>,
        (claim, list): (Box<Claim>, Arc<str>),
        reply: Result<Option<Entry>, StoreError>,
    ) -> Step<Outcome> {
        let (Ok(entry), Some(hold)) = (reply, cx.session.hold_of_mut(&self.grant)) else {
            return self.give_up(cx, None);
        };
        let RecordKey { key, .. } = &claim.record.place;
        let mut waiting = entry.as_ref().map(|entry| WaitList::decode(key, &entry.value)).unwrap_or_default();
        let served = hold.chain.next(hold.record.nonce).first.into_iter().chain([Ticket::of(hold.record.nonce)]);
        served.for_each(|ticket| waiting.serve(ticket));
        let successor = Ticket::of(claim.record.nonce);
        let alone = waiting.len() == waiting.place(successor).map_or(0, |_| 1);
        let Some(entry) = entry.filter(|_| !alone) else {
            // The ticket of the first holder of the chain may still stand there: the next look must not count it.
            hold.chain.length = 0;
            return self.give_up(cx, Some(claim));
        };
        if waiting.place(successor).is_none() {
            waiting.join(successor);
        }
        // A successor that is written into the list does not write its own turn length there.
        waiting.turn = Some(rounded(corrected(waiting.turn, cx.now.since(hold.since))));
        self.state = State::JoiningSuccessor;
        Step::Call(waiting.rewrite(key, &list, entry.version))
    }

    /// Frees the lock, or writes what the claim says.
    fn give_up(&mut self, cx: &mut Cx<'_>, claim: Option<Box<Claim>>) -> Step<Outcome> {
        match cx.session.valid_hold(&self.grant, cx.now) {
            Some(hold) => self.give_up_hold(hold, cx.now, claim),
            None => Step::Done(Err(cx.session.lost(&self.grant))),
        }
    }

    fn give_up_hold(&mut self, hold: &mut Hold, now: Time, claim: Option<Box<Claim>>) -> Step<Outcome> {
        let action = match claim {
            Some(claim) => Action::HandOver { value: claim.value(), ttl: claim.record.lease.ttl() },
            None => Action::Delete,
        };
        let mut write = HoldWrite::give_up(&self.grant.store_key, hold, action);
        let ask = write.start(now, None);
        let chain = hold.chain.next(hold.record.nonce);
        ask.within(
            &mut self.state,
            State::GivingUp { write: Box::new(write), before: HoldSnapshot::of(hold, Doubt::GivenUp), chain },
        )
    }

    /// Ends the release. A grant that was the last of the wait list takes its ticket out first.
    fn leave(&mut self, cx: &mut Cx<'_>, outcome: Result<Released, GrantError>) -> Step<Outcome> {
        match (outcome, cx.session.contention.leave(&self.grant.store_key)) {
            (Ok(outcome @ Released::Freed), Some(listed)) => {
                self.leaving(cx, Event::Start, Box::new(Leave::list(*listed)), outcome)
            }
            (outcome, _) => Step::Done(outcome),
        }
    }

    fn leaving(&mut self, cx: &mut Cx<'_>, event: Event, mut leave: Box<Leave>, outcome: Released) -> Step<Outcome> {
        match leave.step(cx.session, cx.now, event).split() {
            ControlFlow::Break(()) => Step::Done(Ok(outcome)),
            ControlFlow::Continue(ask) => ask.within(&mut self.state, State::Leaving { leave, outcome }),
        }
    }

    fn on_replaced(&self, cx: &mut Cx<'_>, outcome: Released) -> Outcome {
        match outcome {
            Released::Nested(_) => cx.session.still_held(&self.grant, cx.now)?,
            Released::Kept(_) | Released::Freed | Released::HandedOver(_) => cx.session.forget(&self.grant.store_key),
        }
        Ok(outcome)
    }

    fn on_given_up(&self, cx: &mut Cx<'_>, before: HoldSnapshot, chain: HandOverChain, end: WriteEnd) -> Outcome {
        let hold = match &end {
            // The hold is not over.
            WriteEnd::Failed { .. } | WriteEnd::OutOfOrder => None,
            _ => cx.session.freed(&self.grant, cx.now),
        };
        let expired = hold.as_ref().is_none_or(|hold| hold.deadline.has_passed(cx.now));
        let with_others = hold.as_ref().is_none_or(|hold| hold.is_with_others());
        match end {
            WriteEnd::Deleted => Ok(Released::Freed),
            WriteEnd::Replaced { version, sent } => {
                let first = chain.first.map_or(0, |ticket| ticket.0);
                Ok(Released::HandedOver(HandedOver { version, sent, chain_length: chain.length, first }))
            }
            // While the lease runs, only our own write ends the record; or a `break` or a loss of everything, and then
            // it is free of us too.
            WriteEnd::Vanished if !expired && !with_others => Ok(Released::Freed),
            // It may as well be the write of another process that had the grant, too: the lock may have ended long ago.
            WriteEnd::Vanished if !expired => Err(StoreError::UnknownOutcome(UNCONFIRMED.into()).into()),
            WriteEnd::Vanished => Err(GrantError::Lost(None)),
            WriteEnd::Gone(entry) => Err(GrantError::Lost(holder(entry))),
            WriteEnd::Failed { error, in_doubt } => {
                if let Some(hold) = cx.session.hold_of_mut(&self.grant).filter(|_| !in_doubt) {
                    before.restore(hold);
                }
                Err(error.into())
            }
            WriteEnd::OutOfOrder => Err(GrantError::OutOfOrder),
        }
    }
}

impl Machine for Release {
    type Outcome = Outcome;

    fn step(&mut self, session: &mut Session, now: Time, event: Event) -> Step<Outcome> {
        let cx = &mut Cx { session, now };
        match (core::mem::replace(&mut self.state, State::Ended), event) {
            (State::Fresh, Event::Start) => self.start(cx),
            (State::Replacing { mut write, outcome }, event) => match write.step(cx.session, cx.now, event) {
                ControlFlow::Break(Ok(())) => Step::Done(self.on_replaced(cx, outcome)),
                ControlFlow::Break(Err(error)) => Step::Done(Err(error)),
                ControlFlow::Continue(ask) => ask.within(&mut self.state, State::Replacing { write, outcome }),
            },
            (State::Looking { claim, list }, Event::Reply(Reply::Entry(reply))) => {
                self.on_wait_list(cx, (claim, list), reply)
            }
            // The list is advice: if it cannot be written, the release goes on without it.
            (State::JoiningSuccessor, Event::Reply(Reply::Write(_))) => self.give_up(cx, None),
            (State::GivingUp { mut write, before, chain }, event) => match write.step(cx.now, event) {
                ControlFlow::Break(end) => {
                    let outcome = self.on_given_up(cx, before, chain, end);
                    self.leave(cx, outcome)
                }
                ControlFlow::Continue(ask) => ask.within(&mut self.state, State::GivingUp { write, before, chain }),
            },
            (State::Leaving { leave, outcome }, event) => self.leaving(cx, event, leave, outcome),
            _ => Step::Done(Err(GrantError::OutOfOrder)),
        }
    }

    /// Returns false for a delete that happened: it counts, however late it is.
    fn needs_fresh_time(&self, reply: &Reply) -> bool {
        !matches!(reply, Reply::Delete(Ok(DeleteOutcome::Deleted)))
    }
}
