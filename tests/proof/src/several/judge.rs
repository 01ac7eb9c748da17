//! Whether what a user sees is true: every state, and every outcome against what stands in the store.

use kvlock_machine::{AcquireError, GrantError, KeyError, Released};

use super::owner::{End, Held, Op, Owner, Phase, Work};
use super::world::{LEASE, NAMES, Seen, World};
use crate::promise::Promise;
use crate::start::store_key;
use crate::story::Story;

impl World {
    pub(super) fn ended(
        &mut self,
        o: usize,
        op: Op,
        before: &Owner,
        end: End,
        story: &mut Story,
    ) -> Result<(), Promise> {
        let mut seen = Seen::default();
        let knew = before.held.as_ref().is_some_and(|held| before.valid_until(&held.grants, self.time()).is_some());
        let undisturbed = !op.is_disturbed && !before.held.as_ref().is_some_and(|held| held.is_taken);
        let verdict = match end {
            End::Taken(Ok(grants)) => {
                story.line(|| format!("has {}", op.keys.join(" and ")));
                seen = seen.and(Seen::ALL_HAD);
                seen = seen.and(if before.is_in_doubt { Seen::RESOLVED } else { Seen::default() });
                let all_stand = op.keys.iter().all(|key| self.stands(o, key));
                let grow = grants.iter().zip(&op.floors).all(|(grant, floor)| grant.token() > *floor);
                let young = all_stand && self.store.age(self.time()).is_some_and(|age| age < LEASE);
                let is_all = grants.iter().map(|grant| grant.key()).eq(op.keys.iter().copied());
                for grant in &grants {
                    let highest = self.highest.entry(grant.key().to_string()).or_default();
                    *highest = grant.token().max(*highest);
                }
                self.owners[o].edit().held = Some(Held { grants, is_taken: op.is_disturbed });
                match (is_all, all_stand || !undisturbed, grow, young) {
                    (false, ..) => Err(Promise::AllOrNone),
                    (_, false, ..) => Err(Promise::SuccessIsTrue),
                    (_, _, false, _) => Err(Promise::TokensGrow),
                    (.., true) => Err(Promise::QuarantineKept),
                    _ => Ok(()),
                }
            }
            End::Taken(Err(error)) => {
                story.line(|| format!("does not get {}: {error}", op.keys.join(" and ")));
                seen = seen.and(if op.held_on { Seen::GIVEN_BACK } else { Seen::default() });
                let is_left = op.keys.iter().any(|key| self.stands(o, key));
                match error {
                    _ if is_left && !before.is_in_doubt => Err(Promise::AllOrNone),
                    AcquireError::Busy { waited, .. } if op.wait.is_none_or(|wait| waited < wait) => {
                        Err(Promise::WaitsAsAsked)
                    }
                    AcquireError::Busy { .. } => Ok(()),
                    AcquireError::Store(_) if before.is_in_doubt => Ok(()),
                    _ => Err(Promise::NoNonsense),
                }
            }
            End::Renewed(Ok(())) => {
                story.line(|| "renewed".into());
                let all_stand = op.keys.iter().all(|key| self.stands(o, key));
                if all_stand || !undisturbed { Ok(()) } else { Err(Promise::SuccessIsTrue) }
            }
            End::Released(Ok(released)) => {
                story.line(|| format!("{released:?}"));
                self.owners[o].edit().held = None;
                let is_left = op.keys.iter().any(|key| self.stands(o, key)) && !before.is_in_doubt;
                if is_left || released != Released::Freed { Err(Promise::SuccessIsTrue) } else { Ok(()) }
            }
            End::Renewed(Err(GrantError::Lost(_))) => {
                story.line(|| "lost".into());
                seen = seen.and(Seen::LOST);
                let is_valid = before
                    .held
                    .as_ref()
                    .is_some_and(|held| self.owners[o].valid_until(&held.grants, self.time()).is_some());
                let all_stand = op.keys.iter().all(|key| self.stands(o, key));
                match (is_valid, all_stand && knew && undisturbed) {
                    // One is lost, and so are all.
                    (true, _) => Err(Promise::AllOrNone),
                    (_, true) => Err(Promise::LossIsTrue),
                    _ => Ok(()),
                }
            }
            End::Released(Err(unreleased)) => {
                story.line(|| format!("not released: {}", unreleased.error));
                self.owners[o].edit().held = None;
                let all_stand = op.keys.iter().all(|key| self.stands(o, key));
                let is_left = op.keys.iter().any(|key| self.stands(o, key)) && !before.is_in_doubt;
                match unreleased.error {
                    // Each that is held is given back, whatever became of the others.
                    GrantError::Lost(_) if is_left && knew => Err(Promise::AllOrNone),
                    GrantError::Lost(_) if all_stand && knew && undisturbed && !before.is_in_doubt => {
                        Err(Promise::LossIsTrue)
                    }
                    GrantError::Lost(_) => Ok(()),
                    GrantError::Store(_) if before.is_in_doubt => Ok(()),
                    _ => Err(Promise::NoNonsense),
                }
            }
            End::Renewed(Err(GrantError::Store(_))) if before.is_in_doubt => Ok(()),
            End::Renewed(Err(_)) => Err(Promise::NoNonsense),
            End::Broke(Ok(_) | Err(KeyError::Store(_))) => Ok(()),
            End::Broke(Err(_)) => Err(Promise::NoNonsense),
        };
        self.seen = self.seen.and(seen);
        verdict
    }

    /// Whether the store has a record of this owner under a key.
    pub(super) fn stands(&self, o: usize, key: &str) -> bool {
        let Some(stored) = self.store.entry(&store_key(key)) else { return false };
        String::from_utf8_lossy(&stored.value).contains(&format!("\nowner: {}\n", NAMES[o]))
    }

    /// The promise that a state breaks, if it breaks one.
    pub(super) fn judge(&mut self) -> Option<Promise> {
        let now = self.time();
        let mut believers: Vec<&str> = Vec::new();
        for (o, owner) in self.owners.iter().enumerate() {
            if let Some(held) = owner.held.as_ref().filter(|held| !held.is_taken)
                && let Some(until) = owner.valid_until(&held.grants, now)
            {
                for grant in &held.grants {
                    let ends = self.store.entry(&store_key(grant.key())).map(|stored| stored.ends);
                    let is_kept = ends.is_some_and(|ends| ends.is_none_or(|ends| until <= ends));
                    if !self.stands(o, grant.key()) || !is_kept {
                        return Some(Promise::HonestValidity);
                    }
                    believers.push(grant.key());
                }
            }
            if let Some(Op { phase: Phase::Asleep(_), work: Work::Take(machine), keys, .. }) = &owner.op
                && keys.iter().any(|key| *key > machine.key() && self.stands(o, key))
                && !owner.is_in_doubt
            {
                return Some(Promise::HeldInOrder);
            }
            if let Some(Op { phase: Phase::Asleep(_), work: Work::Take(_), wait: Some(wait), began, .. }) = &owner.op
                && now.saturating_sub(*began) >= *wait
                && !owner.is_in_doubt
            {
                return Some(Promise::WaitsAsAsked);
            }
        }
        believers.sort_unstable();
        believers.windows(2).any(|pair| pair[0] == pair[1]).then_some(Promise::OneHolder)
    }
}
