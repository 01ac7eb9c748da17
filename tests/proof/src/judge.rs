//! Whether what a user sees is true: every state, and every outcome against what really happened.

use std::time::Duration;

use kvlock_machine::{
    AcquireError, Ask, AskState, Asked, Broken, Grant, GrantError, KeyError, Released, Request, StoreError, Ttl,
};
use kvlock_store_model::{DRIFT, surely};

use crate::ask::{half, is_ask};
use crate::line::is_line;
use crate::news::News;
use crate::owner::{End, Op, Owner};
use crate::plan::Scenario;
use crate::promise::Promise;
use crate::steps::key_of_request;
use crate::truth::{Doing, Fate, Hold, Source};
use crate::world::{Flight, World};

type Verdict = Result<(), Promise>;

fn holds(promise: Promise, condition: bool) -> Verdict {
    if condition { Ok(()) } else { Err(promise) }
}

/// The promise that a state breaks, if it breaks one.
pub(crate) fn state(world: &World, scenario: &Scenario) -> Option<Promise> {
    let now = scenario.at(world.now);
    let mut holders: Vec<(&str, usize)> = Vec::new();
    for (o, owner) in world.owners.iter().enumerate() {
        for grant in owner.relied_on() {
            let Some(until) = owner.valid_until(grant, now) else { continue };
            let Some(hold) = world.truth.hold(grant.token()) else { return Some(Promise::HonestValidity) };
            if !is_honest(world, hold, until) {
                return Some(Promise::HonestValidity);
            }
            if hold.fate != Fate::Taken {
                holders.push((grant.key(), o));
            }
            let count = || owner.grants.iter().filter(|other| *other == grant).count();
            if !owner.is_busy() && owner.session.depth(grant) as usize != count() {
                return Some(Promise::DepthIsRight);
            }
        }
    }
    let shared = |(key, o): &(&str, usize)| holders.iter().any(|(other, p)| other == key && p != o);
    holders.iter().any(shared).then_some(Promise::OneHolder)
}

/// Nobody can know of force, or of a loss of everything, before the next call; of all else its holder is to know.
fn is_honest(world: &World, hold: &Hold, until: Duration) -> bool {
    match hold.fate {
        Fate::Standing => {
            let ends = world.store.entry(&hold.key).map(|stored| stored.ends);
            ends.is_some_and(|ends| ends.is_none_or(|ends| until <= ends))
        }
        Fate::Taken | Fate::Forgotten => true,
        Fate::GivenBack | Fate::Expired | Fate::Withdrawn => false,
    }
}

/// The promise that a request breaks by itself.
pub(crate) fn request(op: &Op, request: &Request, before: &Owner, now: Duration) -> Option<Promise> {
    let Request::Replace { value, ttl: Ttl::After(ttl), .. } = request else { return None };
    let text = String::from_utf8_lossy(value);
    // An heir's record is no nested one's.
    let heirs = |(_, nonce): (usize, u128)| text.contains(&format!("\nnonce: {nonce:032x}\n"));
    let own = text.contains("\nnonce: ") && !op.source.heir.is_some_and(heirs);
    let nested = op.source.doing == Doing::Releasing && own && !text.contains("\ndepth: 0\n");
    let until = op.sure_until.filter(|until| nested && *until != Duration::MAX)?;
    // What the store must be asked for, so that it keeps the record for as long as the grant is valid.
    let left = until.saturating_sub(now.max(op.began));
    let longest = left + left / (DRIFT - 1) + Duration::from_nanos(1);
    let single = before.lanes.len() == 1;
    (single && *ttl > longest.max(until - op.began + (until - op.began) / (DRIFT - 1) + Duration::from_nanos(1)))
        .then_some(Promise::NestedEndsInTime)
}

/// Judges how a machine ended, and enters what its user believes now.
pub(crate) struct Judge<'w> {
    world: &'w mut World,
    scenario: &'w Scenario,
    now: Duration,
    force: bool,
    o: usize,
    op: Op,
    /// The owner before the machine's last step.
    before: &'w Owner,
}

impl<'w> Judge<'w> {
    pub(crate) fn new(world: &'w mut World, scenario: &'w Scenario, o: usize, op: Op, before: &'w Owner) -> Self {
        let (now, force) = (scenario.at(world.now), scenario.has_force());
        Judge { world, scenario, now, force, o, op, before }
    }

    pub(crate) fn end(mut self, end: End) -> Verdict {
        if self.op.doubtful && matches!(end, End::Acquired(Ok(_)) | End::Renewed(Ok(())) | End::Released(Ok(_))) {
            self.note(News::RESOLVED);
        }
        match end {
            End::Acquired(Ok(grant)) if self.before.relied_on().any(|held| *held == grant) => self.nested(grant),
            End::Acquired(Ok(grant)) => self.granted(grant),
            End::Acquired(Err(error)) => self.not_granted(error),
            End::Renewed(outcome) => self.renewed(outcome),
            End::Released(outcome) => self.released(outcome),
            End::Broke(outcome) => self.broke(outcome),
            End::Asked(outcome) => self.asked(outcome),
            End::Followed(outcome) => self.followed(outcome),
            End::Heard(outcome) => self.heard(outcome),
        }
    }

    fn note(&mut self, news: News) {
        self.world.news.note(news);
    }

    fn fate(&self, token: u64) -> Option<Fate> {
        self.world.truth.hold(token).map(|hold| hold.fate)
    }

    fn valid_until(&self, grant: &Grant) -> Option<Duration> {
        self.world.owners[self.o].valid_until(grant, self.now)
    }

    fn nested(&mut self, grant: Grant) -> Verdict {
        self.note(News::NESTED);
        holds(Promise::SuccessIsTrue, self.op.rewrote)?;
        // The outer holds rely on their lease: it may be lengthened, never shortened.
        let shortened = self.valid_until(&grant) < self.op.sure_until;
        holds(Promise::DepthIsRight, !(shortened && self.before.lanes.len() == 1))?;
        self.enter(grant);
        Ok(())
    }

    fn granted(&mut self, grant: Grant) -> Verdict {
        let token = grant.token();
        let made = self.world.truth.hold(token);
        let own = made.is_some_and(|hold| hold.owner == self.o && hold.nonce == self.op.source.nonce && !hold.granted);
        holds(Promise::SuccessIsTrue, own)?;
        let key = made.map(|hold| hold.key.clone()).unwrap_or_default();
        let highest = self.world.truth.highest.get(&key).copied().unwrap_or(0);
        holds(Promise::TokensGrow, token > self.op.floor && (self.force || token > highest))?;
        let age = self.world.store.age(self.now).filter(|_| self.fate(token) != Some(Fate::Forgotten));
        holds(Promise::QuarantineKept, age.is_none_or(|age| age >= self.op.quarantine))?;
        self.note(News::GRANTED);
        match self.world.place_in_line(self.op.key, self.op.source.nonce) {
            Some(0) => self.note(News::SERVED),
            Some(_) => self.note(News::PASSED),
            None => {}
        }
        if highest > 0 {
            self.note(News::NEXT);
        }
        self.world.truth.edit().highest.insert(key, token.max(highest));
        self.enter(grant);
        Ok(())
    }

    fn enter(&mut self, grant: Grant) {
        let keep = (!self.op.at_least.is_zero()).then(|| self.op.began + surely(self.op.at_least));
        if let Some(hold) = self.world.truth.edit().hold_mut(grant.token()) {
            hold.granted = true;
            hold.keep = hold.keep.max(keep);
        }
        self.world.owners[self.o].edit().grants.push(grant);
    }

    fn not_granted(&mut self, error: AcquireError) -> Verdict {
        match error {
            AcquireError::Busy { waited, .. } => {
                self.note(News::BUSY);
                let right = self.op.wait.is_some_and(|wait| waited >= wait);
                holds(Promise::WaitsAsAsked, right && waited == self.now - self.op.began)
            }
            AcquireError::ReservesAnother(_) => Err(Promise::NoNonsense),
            AcquireError::AlreadyHeld => {
                let key = self.op.key;
                let mut held = self.before.relied_on().filter(|grant| grant.key() == key);
                let sure = held.any(|grant| self.before.valid_until(grant, self.now).is_some());
                holds(Promise::RefusedForCause, sure || self.op.saw_own)
            }
            AcquireError::Lost(_) => {
                let key = self.op.key;
                let grants: Vec<Grant> = self.before.relied_on().filter(|grant| grant.key() == key).cloned().collect();
                // Another thread of the session may have been told before.
                holds(Promise::NoNonsense, !grants.is_empty() || self.before.lanes.len() > 1)?;
                grants.iter().try_for_each(|grant| {
                    let sure = self.before.valid_until(grant, self.now);
                    self.lost(grant, sure)
                })
            }
            AcquireError::Store(error) => {
                // Who knows the store rides out an outage for as long as it would wait.
                let waits = self.op.wait.is_none_or(|wait| self.now - self.op.began < wait);
                let rides = error.is_outage() && waits && self.scenario.acquainted && self.op.sure_until.is_none();
                let nested = self.before.relied_on().any(|grant| grant.key() == self.op.key);
                holds(Promise::WaitsAsAsked, !rides || nested)?;
                self.failed(error)
            }
            AcquireError::HeldInOtherMode
            | AcquireError::Corrupt(_)
            | AcquireError::Unknown
            | AcquireError::Invalid(_)
            | AcquireError::OutOfOrder => Err(Promise::NoNonsense),
        }
    }

    /// Somebody is told of a loss, and could be sure until then.
    fn lost(&mut self, grant: &Grant, sure_until: Option<Duration>) -> Verdict {
        self.note(News::LOST);
        let stands = self.fate(grant.token()) == Some(Fate::Standing);
        let early = sure_until.is_some_and(|until| self.now < until);
        holds(Promise::LossIsTrue, !(stands && early))?;
        holds(Promise::HonestValidity, self.valid_until(grant).is_none())?;
        self.world.owners[self.o].edit().grants.retain(|other| other != grant);
        Ok(())
    }

    fn failed(&mut self, error: StoreError) -> Verdict {
        match error {
            StoreError::Unavailable(_) => holds(Promise::DoubtIsTold, !self.may_have_happened()),
            StoreError::UnknownOutcome(_) => {
                self.note(News::UNKNOWN);
                Ok(())
            }
            StoreError::Rejected(_) => Ok(()),
            StoreError::Invalid(_) => Err(Promise::NoNonsense),
        }
    }

    /// Whether a write of this machine was executed without its caller being told, or may be yet. What an acquisition
    /// takes back does not count.
    fn may_have_happened(&self) -> bool {
        let Source { owner, op, doing, nonce, .. } = self.op.source;
        let acquires = matches!(doing, Doing::Acquiring { .. });
        let own = |flight: &&Flight| flight.source.owner == owner && flight.source.op == op;
        let counts = |flight: &Flight| {
            let withdraws = acquires && matches!(flight.request, Request::Delete { .. });
            let key = key_of_request(&flight.request);
            !withdraws && !is_line(key) && !is_ask(key)
        };
        if self.world.late.iter().filter(own).any(counts) {
            return true;
        }
        let holds = &self.world.truth.holds;
        let happened = match doing {
            Doing::Acquiring { .. } => holds.iter().any(|hold| hold.nonce == nonce && hold.fate == Fate::Standing),
            Doing::Renewing => self.op.rewrote,
            Doing::Releasing => holds.iter().any(|hold| hold.nonce == nonce && hold.ended_by == Some(owner)),
            Doing::Breaking => !self.op.broke.is_empty(),
            // An ask is no matter of the lock's.
            Doing::Asking | Doing::Hearing => false,
        };
        self.op.doubtful && happened
    }

    fn grant_failed(&mut self, grant: &Grant, error: GrantError, sure_until: Option<Duration>) -> Verdict {
        match error {
            GrantError::Lost(_) => self.lost(grant, sure_until),
            GrantError::Store(error) => self.failed(error),
            GrantError::Invalid(_) | GrantError::OutOfOrder => Err(Promise::NoNonsense),
        }
    }

    fn renewed(&mut self, outcome: Result<(), GrantError>) -> Verdict {
        let Some(grant) = self.op.work.grant().cloned() else { return Ok(()) };
        let could_be_sure = self.before.valid_until(&grant, self.now);
        if let Err(error) = outcome {
            return self.grant_failed(&grant, error, could_be_sure);
        }
        self.note(News::RENEWED);
        if self.op.sure_until.is_none() {
            self.note(News::TAKEN_UP);
        }
        holds(Promise::SuccessIsTrue, self.op.rewrote)?;
        let until = self.valid_until(&grant).ok_or(Promise::SuccessIsTrue)?;
        // Another thread of the session may have renewed it for less; alone, one gets what one asked for.
        let alone = self.before.lanes.len() == 1;
        let asked = match self.op.lease {
            Some(lease) => Some(self.op.began + surely(lease)),
            None => self.op.sure_until,
        };
        holds(Promise::SuccessIsTrue, !alone || asked.is_none_or(|asked| until >= asked))
    }

    fn released(&mut self, outcome: Result<Released, GrantError>) -> Verdict {
        let Some(grant) = self.op.work.grant().cloned() else { return Ok(()) };
        let left = self.world.owners[self.o].not_given_back().filter(|other| **other == grant).count();
        match outcome {
            Ok(Released::Nested(depth)) => self.unnested(&grant, depth as usize, left),
            Ok(freed_or_kept) => self.given_back(&grant, freed_or_kept, left),
            Err(GrantError::Store(error)) => {
                self.world.owners[self.o].edit().grants.push(grant);
                self.failed(error)
            }
            Err(error) => self.grant_failed(&grant, error, self.op.sure_until),
        }
    }

    fn unnested(&mut self, grant: &Grant, depth: usize, left: usize) -> Verdict {
        self.note(News::UNNESTED);
        let alone = self.before.lanes.len() == 1;
        holds(Promise::DepthIsRight, depth > 0 && (!alone || depth == left))?;
        holds(Promise::SuccessIsTrue, self.op.rewrote)?;
        let until = self.valid_until(grant);
        let later = until.zip(self.op.sure_until).is_some_and(|(until, before)| until > before);
        holds(Promise::NestedEndsInTime, !(alone && later))
    }

    fn given_back(&mut self, grant: &Grant, outcome: Released, left: usize) -> Verdict {
        holds(Promise::DepthIsRight, left == 0)?;
        holds(Promise::HonestValidity, self.valid_until(grant).is_none())?;
        let hold = self.world.truth.hold(grant.token()).ok_or(Promise::SuccessIsTrue)?;
        let (fate, keep, in_doubt) = (hold.fate, hold.keep, hold.release_in_doubt);
        let true_success = match fate {
            // Somebody else who had it too may have given it back, and others have had the lock since.
            Fate::GivenBack => hold.ended_by == Some(self.o),
            // It ended otherwise while its owner was giving it up: free of the owner it is.
            Fate::Taken | Fate::Forgotten => in_doubt,
            Fate::Standing | Fate::Expired | Fate::Withdrawn => false,
        };
        holds(Promise::SuccessIsTrue, true_success)?;
        if matches!(outcome, Released::Freed | Released::HandedOver(_)) {
            self.note(News::FREED);
            return holds(Promise::MinimumKept, keep.is_none_or(|keep| keep <= self.now));
        }
        self.note(News::KEPT);
        holds(Promise::MinimumKept, keep.is_some())
    }

    fn asked(&mut self, outcome: Result<Asked, KeyError>) -> Verdict {
        match outcome {
            Ok(Asked::Placed(ask, _)) => {
                let id = half(self.op.source.nonce);
                self.world.owners[self.o].edit().asked = Some(*ask);
                holds(Promise::AsksAreTrue, self.world.truth.asks.contains_key(&id))
            }
            Ok(Asked::Free | Asked::Kept(_)) => Ok(()),
            Ok(Asked::Reserved(_)) => Err(Promise::NoNonsense),
            Err(error) => self.key_failed(error),
        }
    }

    fn followed(&mut self, outcome: Result<AskState, KeyError>) -> Verdict {
        let id = self.before.asked.as_ref().map_or(0, |ask| ask.id());
        match outcome {
            Ok(AskState::Heard(_)) => {
                self.note(News::HEARD);
                holds(Promise::AsksAreTrue, self.world.asked_one_has_heard(id))
            }
            Ok(AskState::Released(_)) => {
                self.note(News::GIVEN_BACK);
                holds(Promise::AsksAreTrue, !self.op.asked_one_stood)
            }
            Ok(AskState::Unheard(_)) => Ok(()),
            Err(error) => self.key_failed(error),
        }
    }

    fn heard(&mut self, outcome: Result<Option<Ask>, GrantError>) -> Verdict {
        let Some(grant) = self.op.work.grant().cloned() else { return Ok(()) };
        match outcome {
            Ok(None) => Ok(()),
            Ok(Some(ask)) => {
                self.note(News::ASKED);
                holds(Promise::AsksAreTrue, self.world.was_asked(ask.id, self.op.source.nonce))
            }
            Err(error) => {
                let could_be_sure = self.before.valid_until(&grant, self.now);
                self.grant_failed(&grant, error, could_be_sure)
            }
        }
    }

    fn key_failed(&mut self, error: KeyError) -> Verdict {
        match error {
            KeyError::Store(error) => self.failed(error),
            KeyError::Corrupt(_) | KeyError::Invalid(_) | KeyError::OutOfOrder => Err(Promise::NoNonsense),
        }
    }

    fn broke(&mut self, outcome: Result<Broken, KeyError>) -> Verdict {
        match outcome {
            Ok(Broken::Ended(holder)) => {
                // Its token may have been another when the break looked: an acquisition may write its record again.
                let name = |token: &u64| Some(self.scenario.owners[self.world.truth.hold(*token)?.owner].name);
                let told = |token: &u64| name(token).is_none_or(|name| name == holder.owner);
                holds(Promise::OthersUntouched, self.op.broke.iter().all(told))?;
                holds(Promise::SuccessIsTrue, !self.world.truth.stands(holder.token))
            }
            Ok(Broken::Free | Broken::Other(_)) => holds(Promise::SuccessIsTrue, self.op.broke.is_empty()),
            Err(error) => self.key_failed(error),
        }
    }
}
