//! Whether what a user sees is true: every state, and every outcome against what stands in the store.

use std::time::Duration;

use kvlock_machine::{AcquireError, Grant, GrantError, KeyError, Released, Session, Validity};

use super::owner::{End, Held, Op, Owner, Work};
use super::world::{LEASE, Seen, World};
use crate::owner::time;
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
        let stands = self.stands(op.mark);
        let known = |held: &Held| valid_until(&before.session, &held.grant, self.time()).is_some();
        let was_sure = before.held.as_ref().is_some_and(known);
        let mut seen = Seen::default();
        if op.doubtful && matches!(end, End::Acquired(Ok(_)) | End::Renewed(Ok(())) | End::Released(Ok(_))) {
            seen = seen.and(Seen::RESOLVED);
        }
        let undisturbed = !op.is_disturbed && !before.held.as_ref().is_some_and(|held| held.is_taken);
        let verdict = match end {
            End::Acquired(Ok(grant)) => {
                story.line(|| format!("granted, token {}", grant.token()));
                let alone = matches!(op.work, Work::Acquire(_));
                let [of_readers, of_writers] = self.highest;
                seen = seen.and(if alone && of_readers > of_writers { Seen::AFTER_READERS } else { Seen::default() });
                seen = seen.and(if !alone && of_writers > 0 { Seen::AFTER_A_WRITER } else { Seen::default() });
                let crashed = self.owners.iter().any(|owner| owner.held.is_none() && owner.begun > 0);
                seen = seen.and(if alone && self.now >= 2 && crashed { Seen::TAKEN_OVER } else { Seen::default() });
                let token = grant.token();
                self.highest[usize::from(alone)] = token.max(self.highest[usize::from(alone)]);
                let young = self.store.age(self.time()).is_some_and(|age| age < LEASE) && undisturbed;
                let held = Held { grant, alone, mark: op.mark, is_taken: op.is_disturbed };
                self.owners[o].edit().held = Some(held);
                match (stands || !undisturbed, token > op.floor, young) {
                    (false, ..) => Err(Promise::SuccessIsTrue),
                    (_, false, _) => Err(Promise::TokensGrow),
                    (.., true) => Err(Promise::QuarantineKept),
                    _ => Ok(()),
                }
            }
            End::Acquired(Err(error)) => self.refused(&op, error),
            End::Renewed(Ok(())) => {
                let gives_down = matches!(op.work, Work::Downgrade(_));
                story.line(|| if gives_down { "given down".into() } else { "renewed".to_string() });
                seen = seen.and(if gives_down { Seen::GIVEN_DOWN } else { Seen::default() });
                if let Some(held) = self.owners[o].edit().held.as_mut().filter(|_| gives_down) {
                    held.alone = false;
                }
                if stands || !undisturbed { Ok(()) } else { Err(Promise::SuccessIsTrue) }
            }
            End::Released(Ok(released)) => {
                story.line(|| format!("{released:?}"));
                self.owners[o].edit().held = None;
                let stands = stands && !self.revived.contains(&op.mark);
                if stands || released != Released::Freed { Err(Promise::SuccessIsTrue) } else { Ok(()) }
            }
            End::Renewed(Err(GrantError::Lost(_))) | End::Released(Err(GrantError::Lost(_))) => {
                story.line(|| "lost".into());
                seen = seen.and(Seen::LOST);
                self.owners[o].edit().held = None;
                // Who wrote it out, too, may have given it back or renewed it.
                let is_own = self.word.is_none()
                    && !matches!(before.held.as_ref().map(|held| held.mark / 100), Some(of) if of != o as u64 + 1);
                let stands = stands && !self.revived.contains(&op.mark);
                if stands && was_sure && undisturbed && is_own { Err(Promise::LossIsTrue) } else { Ok(()) }
            }
            End::Renewed(Err(GrantError::Store(_))) | End::Released(Err(GrantError::Store(_))) => Ok(()),
            End::Renewed(Err(_)) | End::Released(Err(_)) => Err(Promise::NoNonsense),
            End::Broke(Ok(_) | Err(KeyError::Store(_))) => Ok(()),
            End::Broke(Err(_)) => Err(Promise::NoNonsense),
        };
        self.seen = self.seen.and(seen);
        verdict
    }

    fn refused(&self, op: &Op, error: AcquireError) -> Result<(), Promise> {
        match error {
            AcquireError::Busy { waited, .. } if op.wait.is_some_and(|wait| waited >= wait) => Ok(()),
            AcquireError::Store(_) => Ok(()),
            _ => Err(Promise::NoNonsense),
        }
    }

    /// Whether an entry of this mark stands in the store.
    fn stands(&self, mark: u64) -> bool {
        let Some(stored) = self.store.entry(&store_key("k")) else { return false };
        let text = String::from_utf8_lossy(&stored.value);
        ["\nreader: ", "\nnonce: "].iter().any(|name| text.contains(&format!("{name}{mark:016x}")))
    }

    /// The promise that a state breaks, if it breaks one.
    pub(super) fn judge(&mut self) -> Option<Promise> {
        let now = self.time();
        let mut believers: Vec<(u64, bool)> = Vec::new();
        let ends = self.store.entry(&store_key("k")).map(|stored| stored.ends);
        for owner in &self.owners {
            let Some(held) = owner.held.as_ref().filter(|held| !held.is_taken) else { continue };
            let Some(until) = valid_until(&owner.session, &held.grant, now) else { continue };
            let is_kept = ends.is_some_and(|ends| ends.is_none_or(|ends| until <= ends));
            if !self.stands(held.mark) || !is_kept {
                return Some(Promise::HonestValidity);
            }
            believers.push((held.mark, held.alone));
        }
        // Who took up a written grant has the same share.
        believers.sort_unstable();
        believers.dedup();
        if believers.len() > 1 {
            self.seen = self.seen.and(Seen::TOGETHER);
        }
        (believers.len() > 1 && believers.iter().any(|(_, alone)| *alone)).then_some(Promise::OneHolder)
    }
}

/// Until when a grant is valid, as its user is told now; none if it cannot be relied on.
fn valid_until(session: &Session, grant: &Grant, now: Duration) -> Option<Duration> {
    match session.validity(grant, time(now)) {
        Validity::Valid(left) => Some(now + left),
        Validity::Unlimited => Some(Duration::MAX),
        Validity::Unconfirmed | Validity::Lost => None,
    }
}
