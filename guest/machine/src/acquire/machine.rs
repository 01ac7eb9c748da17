//! The next step, by state and event.

use core::ops::ControlFlow;
use core::time::Duration;

use super::state::{Acquire, Outcome, State};
use crate::error::AcquireError;
use crate::machine::{Event, Machine, Step};
use crate::session::Session;
use crate::values::kv::Reply;
use crate::values::time::Time;
use crate::write::conditional::WriteEnd;

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
            (State::Nesting { mut write, outer, taken_until }, event) => match write.step(session, now, event) {
                ControlFlow::Break(end) => self.on_nested(session, now, outer, taken_until, end),
                ControlFlow::Continue(ask) => {
                    self.state = State::Nesting { write, outer, taken_until };
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
                ControlFlow::Break(WriteEnd::OutOfOrder) => self.end(Err(AcquireError::OutOfOrder)),
                ControlFlow::Break(end) => {
                    // There is no grant, but a record that stays behind is found again.
                    self.in_doubt |= matches!(end, WriteEnd::Failed { .. });
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
