//! A round: all keys that are left are tried at once.

use alloc::vec::Vec;
use core::mem;

use super::candidate::Candidate;
use super::one_key::{End, OneKey};
use super::state::{AcquireAll, Outcome, State, Then};
use super::together::{Next, Part, Together};
use crate::error::AcquireError;
use crate::machine::{Cx, Event, Step};
use crate::session::{Grant, Purpose, Session};
use crate::values::{LockOptions, Mode, Request, Time};

impl AcquireAll {
    pub(super) fn start(&mut self, cx: &mut Cx<'_>) -> Step<Outcome> {
        self.wait.start(cx.now);
        let refused = self.keys.iter().map(|wanted| self.refusal(cx.session, &wanted.store_key, cx.now));
        if let Some((at, error)) = refused.enumerate().find_map(|(at, error)| Some((at, error?))) {
            self.at = at;
            return Step::Done(Err(error));
        }
        self.round(cx)
    }

    /// Refuses at once, and before anything is sent, what the session holds already.
    fn refusal(&self, session: &Session, store_key: &str, now: Time) -> Option<AcquireError> {
        let hold = session.hold(store_key).filter(|_| session.is_holding(store_key, now))?;
        let is_nestable = hold.record.mode == Mode::Reentrant || hold.purpose == Purpose::Try;
        match (self.options.mode, hold.record.mode) {
            (Mode::Shared, Mode::Shared) => Some(AcquireError::AlreadyHeld),
            (Mode::Shared, _) | (_, Mode::Shared) => Some(AcquireError::HeldInOtherMode),
            (Mode::Reentrant, _) if is_nestable => None,
            _ => Some(AcquireError::AlreadyHeld),
        }
    }

    /// Tries all keys that it has not.
    pub(super) fn round(&mut self, cx: &mut Cx<'_>) -> Step<Outcome> {
        let first = self.held.len();
        if first == self.keys.len() {
            return self.confirm(cx, true);
        }
        // What is adopted is not given back because another key is busy: it is taken only once it is next.
        let count = if self.options.adopt { 1 } else { self.keys.len() - first };
        let options = LockOptions { wait: self.wait.left(cx.now), ..self.options.clone() };
        let mut candidates = Vec::new();
        for wanted in self.keys.iter_mut().skip(first).take(count) {
            wanted.taken_until = cx.session.hold(&wanted.store_key).and_then(|hold| hold.taken_until);
            match Candidate::new(cx.session, &wanted.key, options.clone(), wanted.nonce) {
                Ok(candidate) => candidates.push(OneKey::Take(candidate)),
                Err(invalid) => return self.fail(cx, first, invalid.into(), Vec::new()),
            }
        }
        self.try_on(cx, Together::new(candidates), Event::Start)
    }

    pub(super) fn try_on(&mut self, cx: &mut Cx<'_>, mut round: Together, event: Event) -> Step<Outcome> {
        match round.step(cx, event, may_ask) {
            Next::Call(request) => {
                self.state = State::Trying(round);
                Step::Call(request)
            }
            Next::Rest => self.settle(cx, round),
            Next::OutOfOrder => Step::Done(Err(AcquireError::OutOfOrder)),
        }
    }

    /// Takes what the round got, up to the first key that it did not get. Grants behind that one are given back.
    fn settle(&mut self, cx: &mut Cx<'_>, round: Together) -> Step<Outcome> {
        let first = self.held.len();
        let (mut obstacle, mut failure, mut too_far) = (None, None, Vec::new());
        for (place, part) in round.parts.into_iter().enumerate() {
            match part {
                Part::Done(End::Taken(Ok(grant))) => {
                    self.renonce(first + place);
                    match obstacle {
                        None => self.held.push(grant),
                        Some(_) => too_far.push(grant),
                    }
                }
                Part::Done(End::Taken(Err(error))) => {
                    let is_obstacle = obstacle.is_none();
                    obstacle.get_or_insert(None);
                    if failure.is_none() && (is_obstacle || is_final(&error)) {
                        failure = Some((first + place, error));
                    }
                }
                Part::Sleeps(OneKey::Take(candidate), until) => _ = obstacle.get_or_insert(Some((candidate, until))),
                Part::Fresh(_) | Part::Asks { .. } | Part::Sleeps(..) | Part::Done(_) | Part::Gone => {
                    _ = obstacle.get_or_insert(None)
                }
            }
        }
        match (failure, obstacle) {
            (Some((at, error)), _) => self.fail(cx, at, error, too_far),
            (None, Some(Some((candidate, until)))) => self.give_back(cx, too_far, Then::Wait(candidate, until)),
            (None, Some(None)) => Step::Done(Err(AcquireError::OutOfOrder)),
            (None, None) => self.round(cx),
        }
    }

    /// Uses another nonce for the next acquisition of a key.
    pub(super) fn renonce(&mut self, place: usize) {
        let nonce = self.next_nonce();
        if let Some(wanted) = self.keys.get_mut(place) {
            wanted.nonce = nonce;
        }
    }

    /// Ends without any key.
    pub(super) fn fail(
        &mut self,
        cx: &mut Cx<'_>,
        at: usize,
        error: AcquireError,
        mut too_far: Vec<Grant>,
    ) -> Step<Outcome> {
        self.at = at;
        let error = match error {
            AcquireError::Busy { waiting_for, .. } => {
                AcquireError::Busy { waited: self.wait.waited(cx.now), waiting_for }
            }
            error => error,
        };
        too_far.extend(mem::take(&mut self.held));
        self.give_back(cx, too_far, Then::Fail(error))
    }
}

/// Returns true for what no wait changes.
fn is_final(error: &AcquireError) -> bool {
    !matches!(error, AcquireError::Busy { .. } | AcquireError::Store(_))
}

/// Returns true if the call of a candidate may leave. The first key that is not granted so far may do all that a wait
/// does. Those behind it look and try once, while all before them may still be free. They stand in no wait list.
fn may_ask(candidates: &[Part], place: usize) -> bool {
    let is_granted = |part: &Part| matches!(part, Part::Done(End::Taken(Ok(_))));
    let front = candidates.iter().position(|part| !is_granted(part)).unwrap_or(place);
    let Some((candidate, request, is_first)) = candidates.get(place).and_then(asking) else { return false };
    match request {
        _ if place <= front => true,
        Request::Era { .. } => true,
        // It takes back what must not become a grant.
        Request::Delete { key, .. } => key == candidate.store_key(),
        Request::Add { key, .. } | Request::Replace { key, .. } => {
            key == candidate.store_key() && candidates.iter().take(place).skip(front).all(is_hopeful)
        }
        Request::Get { .. } | Request::GetMany { .. } | Request::All(_) => is_first,
    }
}

/// Returns the candidate that asks, what it asks for, and whether that is its first call.
fn asking(part: &Part) -> Option<(&Candidate, &Request, bool)> {
    match part {
        Part::Asks { machine: OneKey::Take(candidate), request, is_first } => Some((candidate, request, *is_first)),
        _ => None,
    }
}

/// Returns true if a candidate was not refused so far.
fn is_hopeful(part: &Part) -> bool {
    match asking(part) {
        Some((candidate, Request::Add { key, .. } | Request::Replace { key, .. }, _)) => key == candidate.store_key(),
        Some((_, Request::Era { .. }, _)) => true,
        Some(_) => false,
        None => matches!(part, Part::Done(End::Taken(Ok(_)))),
    }
}
