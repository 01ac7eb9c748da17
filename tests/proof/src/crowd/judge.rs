//! What the machines came to, held against what was promised.

use std::collections::BTreeSet;
use std::time::Duration;

use kvlock_machine::{AcquireError, Grant, GrantError, NextTry, ResizeError, Validity, WaitingFor};
use kvlock_store_model::surely;

use super::Seen;
use super::work::{End, Op, Work};
use super::world::{RESERVE, World};
use crate::owner::time;
use crate::promise::Promise;

impl World {
    pub(super) fn ended(&mut self, m: usize, op: Op, end: End) {
        match end {
            End::Granted(Ok(grant)) => {
                self.see(if op.paused { Seen::GrantedAfterPause } else { Seen::Granted });
                self.granted(m, &op, grant);
            }
            End::Granted(Err(error)) => self.refused(&op, &error),
            End::Resized(outcome) => self.resized(&op, outcome),
            End::GivenBack(outcome) => {
                if matches!(outcome, Err(GrantError::OutOfOrder | GrantError::Invalid(_))) {
                    self.broken = Some(Promise::NoNonsense);
                }
            }
            End::Begun(Ok(running)) => {
                let grant = running.grant().clone();
                if let Some((token, until)) = self.members[m].reserved.take() {
                    let stands = grant.token() == token;
                    self.see(if stands { Seen::RetriedOnReservation } else { Seen::RetriedAnew });
                    if !stands && self.at() < until && op.began < until {
                        self.broken = Some(Promise::ReservationStands);
                    }
                }
                self.members[m].running = Some(running);
                self.granted(m, &op, grant);
            }
            // Its own reservation is no obstacle.
            End::Begun(Err(AcquireError::AlreadyHeld)) => self.broken = Some(Promise::NoNonsense),
            End::Begun(Err(error)) => self.refused(&op, &error),
            End::Reported(Ok(NextTry::RetryAfter(_, retry))) => {
                let Some(grant) = op.work.grant() else { return };
                self.members[m].retry = Some(*retry);
                let until = op.began + surely(RESERVE);
                self.members[m].reserved = (op.stood && !op.doubtful).then_some((grant.token(), until));
            }
            End::Reported(Err(unreported)) => {
                if matches!(unreported.error, GrantError::OutOfOrder | GrantError::Invalid(_)) {
                    self.broken = Some(Promise::NoNonsense);
                }
            }
            End::Reported(Ok(_)) => {}
        }
    }

    fn granted(&mut self, m: usize, op: &Op, grant: Grant) {
        let permit = grant.permit();
        let grants = &mut self.members[m].grants;
        // On its reservation a try has the hold that it had.
        let known = grants.iter().position(|other| other.token() == grant.token() && other.permit() == permit);
        known.map(|place| grants.remove(place));
        match self.tokens.iter_mut().find(|(of, _)| *of == permit) {
            Some((_, last)) if grant.token() <= *last && known.is_none() => self.broken = Some(Promise::TokensGrow),
            Some((_, last)) => *last = grant.token(),
            None => self.tokens.push((permit, grant.token())),
        }
        self.members[m].grants.push(grant);
        let valid = self.valid();
        let numbers: BTreeSet<_> = valid.iter().collect();
        if numbers.len() < valid.len() {
            self.broken = Some(Promise::OneHolder);
        }
        let permits = valid.iter().filter(|permit| permit.is_some()).count();
        if permit.is_some() && permits > usize::try_from(op.largest).unwrap_or(usize::MAX) {
            self.broken = Some(Promise::NeverAboveItsSize);
        }
    }

    fn refused(&mut self, op: &Op, error: &AcquireError) {
        match error {
            AcquireError::Busy { waiting_for: WaitingFor::Exhausted { size, held, .. }, .. } => {
                self.see(Seen::Exhausted);
                if *held < *size || op.saw_free {
                    self.broken = Some(Promise::RefusedForCause);
                }
            }
            AcquireError::Unknown => self.see(Seen::Unknown),
            AcquireError::Corrupt(_) | AcquireError::Invalid(_) | AcquireError::OutOfOrder => {
                self.broken = Some(Promise::NoNonsense);
            }
            _ => {}
        }
    }

    fn resized(&mut self, op: &Op, outcome: Result<Option<u32>, ResizeError>) {
        match outcome {
            Ok(_) => {
                self.see(Seen::Resized);
                let Work::Resize(_, size) = op.work else { return };
                let most = usize::try_from(op.largest.max(size)).unwrap_or(usize::MAX);
                if self.valid().len() > most && !self.lost {
                    self.broken = Some(Promise::NeverAboveItsSize);
                }
            }
            Err(ResizeError::StillHeld(_)) => self.see(Seen::StillHeld),
            Err(ResizeError::Superseded(_)) => self.see(Seen::Superseded),
            Err(ResizeError::OutOfOrder | ResizeError::Corrupt(_)) => self.broken = Some(Promise::NoNonsense),
            Err(_) => {}
        }
    }

    pub(super) fn is_valid(&self, m: usize, grant: &Grant, now: Duration) -> bool {
        matches!(self.members[m].session.validity(grant, time(now)), Validity::Valid(_) | Validity::Unlimited)
    }

    /// What is surely held now: permits by their number, or the lock.
    pub(super) fn valid(&self) -> Vec<Option<u32>> {
        let mut valid = Vec::new();
        for (m, member) in self.members.iter().enumerate() {
            let under_way = member.op.as_ref().and_then(|op| op.work.grant());
            // A try's grant is in the list as well.
            let mut grants: Vec<&Grant> = member.grants.iter().collect();
            grants.extend(under_way.filter(|grant| !member.grants.contains(grant)));
            valid.extend(grants.into_iter().filter(|grant| self.is_valid(m, grant, self.at())).map(Grant::permit));
        }
        valid
    }
}
