//! Choosing the next step, by state and event; pauses, and ends.

use alloc::boxed::Box;
use core::ops::ControlFlow;
use core::time::Duration;

use super::state::{AcquireShared, Found, Outcome, State};
use crate::error::{AcquireError, WaitingFor};
use crate::leave::{LATEST_LEAVE, Leave};
use crate::machine::{Cx, Event, InnerStep, Machine, Step};
use crate::session::Session;
use crate::turn::AfterPause;
use crate::values::{Reply, StoreError, Time, WriteOutcome};
use crate::wait::OUTAGE_PAUSE;
use crate::write::WriteEnd;

impl AcquireShared {
    /// Ends a wait that is dropped, and returns what takes its ticket out of the wait list. None if it has no place
    /// there, or the store does not answer.
    pub fn leave(&mut self) -> Option<Leave> {
        let ended = matches!(core::mem::replace(&mut self.state, State::Ended), State::Ended | State::Leaving { .. });
        let there = !ended && !matches!(self.waiting.waiting_for, WaitingFor::Outage(_));
        self.member.take().filter(|_| there)?.listed().map(Leave::list)
    }

    pub(super) fn on_outage(&mut self, now: Time, error: StoreError) -> Step<Outcome> {
        match self.waiting.ride_out(now, error, self.in_doubt) {
            Ok(()) => self.pause(now, OUTAGE_PAUSE),
            Err(error) => Step::Done(Err(error)),
        }
    }

    /// Waits for the next look, or ends if that was the last.
    pub(super) fn pause(&mut self, now: Time, at_least: Duration) -> Step<Outcome> {
        if let Err(error) = self.waiting.check(now, self.in_doubt) {
            return Step::Done(Err(error));
        }
        self.tried = false;
        let wait = &mut self.waiting.wait;
        let (pause, then) = match &mut self.member {
            Some(member) if at_least.is_zero() => member.pause(now, wait),
            _ => (at_least.saturating_add(wait.next_pause()), AfterPause::Look),
        };
        let ends = self.respected.map(|respected| respected.until).filter(|until| *until > now);
        let pause = ends.map_or(pause, |until| pause.min(now.until(until)));
        let pause = wait.within(now, pause);
        InnerStep::Sleep(pause).within(&mut self.state, State::Pausing { until: now.after(pause), then })
    }

    /// Ends its pause if the lock was freed and it is next.
    fn on_freed(&mut self, cx: &mut Cx<'_>, times: u32, until: Time, then: AfterPause) -> Step<Outcome> {
        let waits_for_the_lock = matches!(self.waiting_for(), WaitingFor::Turn | WaitingFor::Holder(_));
        let is_next = self.member.as_mut().is_none_or(|member| member.hear_of_releases(times));
        if waits_for_the_lock && is_next {
            return self.look(cx, true);
        }
        self.state = State::Pausing { until, then };
        Step::Sleep(cx.now.until(until))
    }

    /// Ends. If it stands in the wait list and the store answers, and soon, it leaves the list first.
    fn leave_with(&mut self, cx: &mut Cx<'_>, outcome: Outcome) -> Step<Outcome> {
        let failed = matches!(outcome, Err(AcquireError::Store(_) | AcquireError::OutOfOrder));
        let answers = !failed && self.waiting.wait.overrun(cx.now) <= LATEST_LEAVE;
        match self.member.take().filter(|_| answers).and_then(|member| member.listed()) {
            Some(listed) => self.leaving(cx, Event::Start, Box::new(Leave::list(listed)), Box::new(outcome)),
            None => Step::Done(outcome),
        }
    }

    fn leaving(
        &mut self,
        cx: &mut Cx<'_>,
        event: Event,
        mut leave: Box<Leave>,
        outcome: Box<Outcome>,
    ) -> Step<Outcome> {
        match leave.step(cx.session, cx.now, event).split() {
            ControlFlow::Break(()) => Step::Done(*outcome),
            ControlFlow::Continue(ask) => ask.within(&mut self.state, State::Leaving { leave, outcome }),
        }
    }

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
            (State::Looking { insists }, Event::Reply(Reply::Entries(Ok(entries)))) => {
                match <[_; 2]>::try_from(entries) {
                    Ok([entry, list]) => self.on_look(cx, entry, list, insists),
                    Err(_) => Step::Done(Err(AcquireError::OutOfOrder)),
                }
            }
            (State::Looking { .. }, Event::Reply(Reply::Entries(Err(error)))) => self.on_outage(cx.now, error),
            (State::Clearing, Event::Reply(Reply::Delete(_))) if self.tried || self.in_doubt => {
                self.pause(cx.now, Duration::ZERO)
            }
            (State::Clearing, Event::Reply(Reply::Delete(_))) => self.enter(cx, Found::Free),
            (State::Joining, Event::Reply(Reply::Write(reply))) => {
                match (reply, &mut self.member) {
                    (Ok(WriteOutcome::Conflict(_) | WriteOutcome::Absent), _) => return self.look(cx, false),
                    (Ok(WriteOutcome::Written(version)), Some(member)) => member.joined(version),
                    // The list is advice: if it cannot be written, the wait goes on without it.
                    _ => {}
                }
                self.pause(cx.now, Duration::ZERO)
            }
            (State::Entering(entered), Event::Reply(Reply::Write(reply))) => self.on_entered(cx, entered, reply),
            (State::AskingEra(entered, version), Event::Reply(Reply::Era(reply))) => {
                self.on_era(cx, entered, version, reply)
            }
            // Another machine of the session may have asked meanwhile.
            (State::AskingEra(entered, version), Event::Woken) => self.on_written(cx, entered, version),
            (State::Withdrawing { mut write, then }, event) => match write.step(cx.now, event) {
                ControlFlow::Break(WriteEnd::OutOfOrder) => Step::Done(Err(AcquireError::OutOfOrder)),
                ControlFlow::Break(end) => {
                    // There is no grant; an entry that stays behind is found again.
                    self.in_doubt |= matches!(end, WriteEnd::Failed { .. });
                    self.on_withdrawn(cx.now, then)
                }
                ControlFlow::Continue(ask) => ask.within(&mut self.state, State::Withdrawing { write, then }),
            },
            (State::Pausing { until, then }, Event::Woken) if cx.now < until => {
                InnerStep::Sleep(cx.now.until(until)).within(&mut self.state, State::Pausing { until, then })
            }
            (State::Pausing { then, .. }, Event::Woken) => self.look(cx, then == AfterPause::Try),
            (State::Leaving { leave, outcome }, event) => self.leaving(cx, event, leave, outcome),
            _ => Step::Done(Err(AcquireError::OutOfOrder)),
        }
    }
}

impl Machine for AcquireShared {
    type Outcome = Outcome;

    fn step(&mut self, session: &mut Session, now: Time, event: Event) -> Step<Outcome> {
        let cx = &mut Cx { session, now };
        match self.go(cx, event) {
            Step::Done(outcome) => self.leave_with(cx, outcome),
            step => step,
        }
    }
}
