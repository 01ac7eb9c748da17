//! Grants of several keys that are one: renewed together, given back together.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::ControlFlow;
use core::time::Duration;

use super::one_key::{End, OneKey};
use super::together::Together;
use crate::discard::Discard;
use crate::error::GrantError;
use crate::machine::{Event, Machine, Step};
use crate::release::Released;
use crate::renew::Renew;
use crate::session::{Grant, Session, Validity};
use crate::values::{Lease, Time};

/// Begins the leases of several grants again. If one of them is lost, all are: it fails, and the others are left to be
/// given back.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RenewAll(Together);

/// Gives several grants back.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ReleaseAll {
    grants: Vec<Grant>,
    releasing: Together,
}

/// What a release of several grants did not do.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Unreleased {
    /// Why. A loss is told rather than a failure of the store.
    pub error: GrantError,
    /// Those that were not given back because the store failed: the call can be tried again for them.
    pub left: Vec<Grant>,
}

/// Gives back several grants that were dropped, as [`Discard`] does.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DiscardAll(Together);

impl RenewAll {
    /// Renews with this lease, or else each grant with its own.
    pub fn new(grants: &[Grant], lease: Option<Lease>) -> Self {
        RenewAll(Together::new(grants.iter().map(|grant| OneKey::Renew(Box::new(Renew::new(grant.clone(), lease))))))
    }
}

impl Machine for RenewAll {
    type Outcome = Result<(), GrantError>;

    fn step(&mut self, session: &mut Session, now: Time, event: Event) -> Step<Self::Outcome> {
        match Machine::step(&mut self.0, session, now, event).split() {
            ControlFlow::Continue(ask) => ask.into(),
            ControlFlow::Break(None) => Step::Done(Err(GrantError::OutOfOrder)),
            ControlFlow::Break(Some(renewed)) => {
                let error = |end| if let End::Renewed(Err(error)) = end { Some(error) } else { None };
                Step::Done(worst(renewed.into_iter().filter_map(error)))
            }
        }
    }
}

impl ReleaseAll {
    /// Gives these grants back.
    pub fn new(grants: Vec<Grant>) -> Self {
        let releasing = Together::new(grants.iter().cloned().map(OneKey::release));
        ReleaseAll { grants, releasing }
    }
}

impl Machine for ReleaseAll {
    type Outcome = Result<Released, Unreleased>;

    fn step(&mut self, session: &mut Session, now: Time, event: Event) -> Step<Self::Outcome> {
        let ends = match Machine::step(&mut self.releasing, session, now, event).split() {
            ControlFlow::Continue(ask) => return ask.into(),
            ControlFlow::Break(ends) => ends.unwrap_or_default(),
        };
        if ends.len() != self.grants.len() {
            return Step::Done(Err(Unreleased { error: GrantError::OutOfOrder, left: Vec::new() }));
        }
        let is_left = |(grant, end): (&Grant, &End)| {
            matches!(end, End::Released(Err(GrantError::Store(_)))).then(|| grant.clone())
        };
        let left = self.grants.iter().zip(&ends).filter_map(is_left).collect();
        let released = |end: &End| if let End::Released(Ok(released)) = end { Some(*released) } else { None };
        let released = ends.iter().filter_map(released).fold(Released::Freed, least);
        let error = |end| if let End::Released(Err(error)) = end { Some(error) } else { None };
        Step::Done(match worst(ends.into_iter().filter_map(error)) {
            Ok(()) => Ok(released),
            Err(error) => Err(Unreleased { error, left }),
        })
    }
}

impl DiscardAll {
    /// Gives these grants back, as far as only the session has them.
    pub fn new(grants: Vec<Grant>) -> Self {
        DiscardAll(Together::new(grants.into_iter().map(|grant| OneKey::Discard(Box::new(Discard::new(grant))))))
    }
}

impl Machine for DiscardAll {
    type Outcome = ();

    fn step(&mut self, session: &mut Session, now: Time, event: Event) -> Step<()> {
        match Machine::step(&mut self.0, session, now, event).split() {
            ControlFlow::Continue(ask) => ask.into(),
            ControlFlow::Break(_) => Step::Done(()),
        }
    }
}

impl Session {
    /// Returns how long several grants are certain to be valid together: lost if one of them is.
    pub fn validity_of_all(&self, grants: &[Grant], now: Time) -> Validity {
        let shorter = |all: Validity, one: Validity| match (all, one) {
            (Validity::Lost, _) | (_, Validity::Lost) => Validity::Lost,
            (Validity::Unconfirmed, _) | (_, Validity::Unconfirmed) => Validity::Unconfirmed,
            (Validity::Valid(one), Validity::Valid(other)) => Validity::Valid(one.min(other)),
            (Validity::Unlimited, valid) | (valid, Validity::Unlimited) => valid,
        };
        grants.iter().map(|grant| self.validity(grant, now)).fold(Validity::Unlimited, shorter)
    }
}

/// Returns what is to be told of several failures: a loss first.
fn worst(errors: impl Iterator<Item = GrantError>) -> Result<(), GrantError> {
    let weight = |error: &GrantError| match error {
        GrantError::OutOfOrder => 3,
        GrantError::Lost(_) => 2,
        GrantError::Invalid(_) => 1,
        GrantError::Store(_) => 0,
    };
    errors.max_by_key(weight).map_or(Ok(()), Err)
}

/// Returns what is to be told of several releases: what stands in the way of others for the longest time.
fn least(all: Released, one: Released) -> Released {
    let kept = |released| if let Released::Kept(left) = released { left } else { Duration::ZERO };
    match (all, one) {
        (Released::Nested(one), Released::Nested(other)) => Released::Nested(one.max(other)),
        (nested @ Released::Nested(_), _) | (_, nested @ Released::Nested(_)) => nested,
        (Released::Kept(_), _) | (_, Released::Kept(_)) => Released::Kept(kept(all).max(kept(one))),
        (Released::Freed | Released::HandedOver(_), _) => Released::Freed,
    }
}
