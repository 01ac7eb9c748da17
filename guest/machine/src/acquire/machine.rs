//! Choosing the next step, by state and event.

use core::ops::ControlFlow;
use core::time::Duration;

use super::state::{Acquire, Outcome, State};
use crate::error::AcquireError;
use crate::machine::{Cx, Event, InnerStep, Machine, Step};
use crate::session::Session;
use crate::values::{Reply, Time};
use crate::write::WriteEnd;

impl Machine for Acquire {
    type Outcome = Outcome;

    fn step(&mut self, session: &mut Session, now: Time, event: Event) -> Step<Outcome> {
        let cx = &mut Cx { session, now };
        match self.go(cx, event) {
            Step::Done(outcome) => self.leave_with(cx, outcome),
            step => step,
        }
    }
}

impl Acquire {
    fn go(&mut self, cx: &mut Cx<'_>, event: Event) -> Step<Outcome> {
        // Each arm puts the next state back; an arm that does not has ended.
        match (core::mem::replace(&mut self.state, State::Ended), event) {
            (State::Fresh, Event::Start) => self.start(cx),
            (State::Pausing { until, then }, Event::Freed(times)) if cx.now < until => {
                self.on_freed(cx, times, until, then)
            }
            // Inside another operation, or too late to make a difference.
            (state, Event::Freed(_)) => {
                self.state = state;
                self.go(cx, Event::Woken)
            }
            (State::Adding { sent }, Event::Reply(Reply::Write(reply))) => self.on_add(cx, sent, reply),
            (State::Looking, Event::Reply(Reply::Entry(Ok(entry)))) => self.on_look(cx, entry, None),
            (State::Looking, Event::Reply(Reply::Entries(Ok(entries)))) => self.on_looks(cx, entries),
            (State::Looking, Event::Reply(Reply::Entry(Err(error)) | Reply::Entries(Err(error)))) => {
                self.on_outage(cx.now, error)
            }
            (State::Clearing, Event::Reply(Reply::Delete(_))) if self.tried_on_look || self.in_doubt => {
                self.pause(cx.now, Duration::ZERO)
            }
            (State::Clearing, Event::Reply(Reply::Delete(_))) => {
                self.tried_on_look = true;
                self.attempt(cx)
            }
            (State::Signing { readers, list, found }, Event::Reply(Reply::Write(reply))) => {
                self.on_signed(cx, (readers, list), found, reply)
            }
            (State::Joining, Event::Reply(Reply::Write(reply))) => self.on_joined(cx, reply),
            (State::AskingEra { written }, Event::Reply(Reply::Era(reply))) => self.on_era(cx, *written, reply),
            // Another machine of the session may have asked meanwhile.
            (State::AskingEra { written }, Event::Woken) => self.on_written(cx, *written),
            // Its own write is under way, and finds out whether the lock is its own.
            (
                state @ (State::Nesting { .. } | State::Replacing { .. } | State::Withdrawing { .. }),
                Event::HandedOver(_),
            ) => {
                self.state = state;
                self.step(cx.session, cx.now, Event::Woken)
            }
            (State::Nesting { mut write, outer, taken_until }, event) => match write.step(cx.session, cx.now, event) {
                ControlFlow::Break(end) => self.on_nested(cx, outer, taken_until, end),
                ControlFlow::Continue(ask) => ask.within(&mut self.state, State::Nesting { write, outer, taken_until }),
            },
            (State::Replacing { mut write, record, arrival }, event) => match write.step(cx.now, event) {
                ControlFlow::Break(end) => self.on_replaced(cx, *record, arrival, end),
                ControlFlow::Continue(ask) => ask.within(&mut self.state, State::Replacing { write, record, arrival }),
            },
            (State::Withdrawing { mut write, then }, event) => match write.step(cx.now, event) {
                ControlFlow::Break(WriteEnd::OutOfOrder) => Step::Done(Err(AcquireError::OutOfOrder)),
                ControlFlow::Break(end) => {
                    // There is no grant; a record that stays behind is found again.
                    self.in_doubt |= matches!(end, WriteEnd::Failed { .. });
                    self.on_withdrawn(cx.now, then)
                }
                ControlFlow::Continue(ask) => ask.within(&mut self.state, State::Withdrawing { write, then }),
            },
            (State::Pausing { until, then }, Event::Woken) if cx.now < until => {
                InnerStep::Sleep(cx.now.until(until)).within(&mut self.state, State::Pausing { until, then })
            }
            (State::Fresh | State::Pausing { .. }, Event::HandedOver(handed)) => self.take(cx, handed),
            (State::Pausing { then, .. }, Event::Woken) => self.go_on(cx, then),
            (State::Leaving { leave, outcome }, event) => self.leaving(cx, event, leave, outcome),
            _ => Step::Done(Err(AcquireError::OutOfOrder)),
        }
    }
}
