//! The judge: decides from a history whether a promise was broken. It knows no server and no clock.
//!
//! - **No two valid holders.** A process relies on a grant from `inside` until it is `outside`, learns of the loss, or
//!   the validity that the grant told has ended. Two holds of a key are never relied on at a time. Where somebody
//!   broke a hold by force or adopted it, it is relied on rightly only until then; where the server may evict locks,
//!   this is not promised.
//! - **No success that was none.** A renewal, or one more nested acquire, that succeeded proves that the record had
//!   been the holder's own from the grant on: it is conditional on a version that nobody else could have restored.
//!   So nobody else's grant was made, nor renewed, in that time. This holds whatever was broken or evicted: it is how
//!   the loser is told. A release that succeeded proves the same, unless the record may have been taken away by force.
//! - **Tokens only grow.** Of two grants of a key, one asked for after the other was given has the larger token.
//! - **Waiting ends when it should**, not before its time either, and when nothing goes wrong any more everybody gets
//!   through.
//! - **Errors are those of the situation**: nothing is corrupt, invalid, or a trap.

use std::collections::{BTreeMap, HashMap};

use crate::history::{Answer, Event, Kind, Nanos, Op, What};

/// How much longer than asked for a wait may last: calls that were under way, a server that hangs up, a busy machine.
const LATE: Nanos = 10 * SECOND;
const SECOND: Nanos = 1_000_000_000;

/// What is promised where the history was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promise {
    /// No two valid holders: promised unless the server may evict locks.
    pub exclusion: bool,
    /// Nothing is refused: promised unless the server gets full.
    pub room: bool,
    /// How many permits the semaphore has.
    pub permits: u32,
}

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which promise.
    pub promise: &'static str,
    /// What was seen.
    pub text: String,
    /// When.
    pub at: Nanos,
}

/// What was seen, so that a history in which nothing happened is not taken for a good one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    /// Grants made.
    pub grants: usize,
    /// Calls that failed.
    pub failures: usize,
    /// Holds that were told to be lost.
    pub losses: usize,
    /// Things that the adversary did.
    pub faults: usize,
}

impl std::ops::AddAssign for Sum {
    fn add_assign(&mut self, other: Sum) {
        self.grants += other.grants;
        self.failures += other.failures;
        self.losses += other.losses;
        self.faults += other.faults;
    }
}

/// Judges a history, whose events are in the order of their times.
pub fn judge(history: &[Event], promise: Promise) -> Vec<Violation> {
    let mut seen = Seen::of(history);
    if promise.exclusion {
        seen.believe_releases();
    }
    let mut found = seen.wrong.clone();
    for holds in seen.by_key().values() {
        if promise.exclusion {
            found.extend(overlaps(holds));
        }
        found.extend(false_successes(holds));
        found.extend(shrinking_tokens(holds));
    }
    found.extend(too_many_permits(&seen, promise.permits));
    found.extend(waits(&seen));
    found.extend(errors(&seen, promise));
    found.sort_by_key(|violation| violation.at);
    found
}

/// Counts what was seen.
pub fn sum(history: &[Event]) -> Sum {
    let mut sum = Sum::default();
    for event in history {
        match &event.what {
            What::Answer { answer: Answer::Granted { fresh: true, .. }, .. } => sum.grants += 1,
            What::Answer { answer: Answer::Failed { kind, .. }, .. } => {
                sum.failures += 1;
                sum.losses += usize::from(*kind == Kind::Lost);
            }
            What::Fault(_) => sum.faults += 1,
            _ => {}
        }
    }
    sum
}

/// One grant, whoever has it: a grant that was written out goes from process to process.
#[derive(Debug, Clone)]
struct Hold {
    key: String,
    token: u64,
    owner: String,
    who: String,
    /// The grant was made between these.
    asked: Nanos,
    granted: Nanos,
    /// The record was there and the holder's own from `granted` to here.
    proved: Nanos,
    /// When it was given back with success.
    released: Option<Nanos>,
    /// Somebody may have ended it by force, or adopted it.
    ended_by_others: bool,
    /// From when until when somebody relied on it.
    claims: Vec<(Nanos, Nanos)>,
}

/// A call that has ended, or whose process has.
#[derive(Debug)]
struct Call<'h> {
    who: &'h str,
    op: &'h Op,
    invoked: Nanos,
    answer: Option<(Nanos, &'h Answer)>,
}

/// The history, put together.
#[derive(Debug, Default)]
struct Seen<'h> {
    holds: Vec<Hold>,
    calls: Vec<Call<'h>>,
    /// From when until when a process was stopped.
    stops: Vec<(&'h str, Nanos, Nanos)>,
    wrong: Vec<Violation>,
    /// Which of the holds a process means by its number.
    numbers: HashMap<(&'h str, u64), usize>,
    /// What is relied on now, since when and until when.
    inside: HashMap<(&'h str, u64), (Nanos, Nanos)>,
    open: HashMap<(&'h str, u64), usize>,
}

impl<'h> Seen<'h> {
    fn of(history: &'h [Event]) -> Self {
        let mut seen = Seen::default();
        for event in history {
            seen.take(event);
        }
        for (hold, claim) in std::mem::take(&mut seen.inside) {
            seen.claim(hold, claim);
        }
        seen.excuse();
        seen
    }

    fn take(&mut self, event: &'h Event) {
        let (who, at) = (event.who.as_str(), event.at);
        match &event.what {
            What::Invoke { call, op } => {
                self.open.insert((who, *call), self.calls.len());
                self.calls.push(Call { who, op, invoked: at, answer: None });
            }
            What::Answer { call, answer } => {
                let Some(index) = self.open.remove(&(who, *call)) else { return };
                self.calls[index].answer = Some((at, answer));
                self.answer(index, at, answer);
            }
            What::Inside { hold, until } => {
                self.leave(who, *hold, at);
                self.inside.insert((who, *hold), (at, *until));
            }
            What::Outside { hold } => self.leave(who, *hold, at),
            What::Stopped(who) => self.stops.push((who, at, Nanos::MAX)),
            What::Continued(who) => {
                let stop = self.stops.iter_mut().find(|stop| stop.0 == who && stop.2 == Nanos::MAX);
                stop.into_iter().for_each(|stop| stop.2 = at);
            }
            What::Stuck { key, why } => self.wrong.push(Violation {
                promise: "whoever waits gets through when nothing goes wrong any more",
                text: format!("{who} does not get `{key}`: {why}"),
                at,
            }),
            What::Fault(_) | What::Calm => {}
        }
    }

    fn answer(&mut self, index: usize, at: Nanos, answer: &'h Answer) {
        let Call { who, op, invoked, .. } = self.calls[index];
        match (op, answer) {
            (op, Answer::Granted { hold, key, token, fresh }) => {
                let known = self.holds.iter().rposition(|other| other.key == *key && other.token == *token);
                let index = known.filter(|_| !fresh).unwrap_or(self.holds.len());
                if index == self.holds.len() {
                    let owner = if let Op::Acquire { owner, .. } = op { owner.clone() } else { String::new() };
                    let (key, who) = (key.clone(), who.to_string());
                    let (granted, proved, released, claims) = (at, at, None, Vec::new());
                    let (token, asked, ended_by_others) = (*token, invoked, false);
                    let hold =
                        Hold { key, token, owner, who, asked, granted, proved, released, ended_by_others, claims };
                    self.holds.push(hold);
                }
                self.numbers.insert((who, *hold), index);
            }
            (Op::Renew { hold } | Op::Nest { hold }, Answer::Done) => {
                if let Some(index) = self.numbers.get(&(who, *hold)) {
                    let hold = &mut self.holds[*index];
                    hold.proved = hold.proved.max(invoked);
                }
            }
            (Op::Release { hold }, Answer::Done) => {
                if let Some(index) = self.numbers.get(&(who, *hold)) {
                    self.holds[*index].released = Some(invoked);
                }
            }
            (
                Op::Renew { hold } | Op::Nest { hold } | Op::Release { hold },
                Answer::Failed { kind: Kind::Lost, .. },
            ) => self.leave(who, *hold, at),
            _ => {}
        }
    }

    fn leave(&mut self, who: &'h str, hold: u64, at: Nanos) {
        if let Some((since, until)) = self.inside.remove(&(who, hold)) {
            self.claim((who, hold), (since, until.min(at)));
        }
    }

    fn claim(&mut self, hold: (&'h str, u64), claim: (Nanos, Nanos)) {
        if let Some(index) = self.numbers.get(&hold).filter(|_| claim.0 < claim.1) {
            self.holds[*index].claims.push(claim);
        }
    }

    /// What was broken by force, or adopted by another session of the owner's name, is over from then on. Both may be
    /// executed after they were answered, if the answer was that it is not known; but they end only what they saw.
    fn excuse(&mut self) {
        for call in &self.calls {
            let seen_until = call.answer.map_or(Nanos::MAX, |(at, _)| at);
            let is_hit = |hold: &Hold| match call.op {
                Op::Break { key } => *key == hold.key,
                Op::Acquire { key, owner, adopt: true, .. } => {
                    let own = hold.who == call.who && hold.asked == call.invoked;
                    *key == hold.key && *owner == hold.owner && !own
                }
                _ => false,
            };
            for hold in self.holds.iter_mut().filter(|hold| hold.asked <= seen_until && is_hit(hold)) {
                hold.ended_by_others = true;
                hold.claims.iter_mut().for_each(|claim| claim.1 = claim.1.min(call.invoked));
                hold.claims.retain(|claim| claim.0 < claim.1);
            }
        }
    }

    /// A release whose answer was lost and that finds nothing has freed the lock, unless somebody else did: then, it
    /// proves nothing.
    fn believe_releases(&mut self) {
        for hold in self.holds.iter_mut().filter(|hold| !hold.ended_by_others) {
            hold.proved = hold.proved.max(hold.released.unwrap_or(0));
        }
    }

    fn by_key(&self) -> BTreeMap<&str, Vec<&Hold>> {
        let mut keys: BTreeMap<&str, Vec<&Hold>> = BTreeMap::new();
        for hold in &self.holds {
            keys.entry(&hold.key).or_default().push(hold);
        }
        keys
    }

    /// For how long a process was stopped within a time.
    fn stopped(&self, who: &str, from: Nanos, to: Nanos) -> Nanos {
        let of_it = self.stops.iter().filter(|stop| stop.0 == who);
        of_it.map(|(_, since, until)| (*until).min(to).saturating_sub((*since).max(from))).sum()
    }
}

impl Hold {
    fn named(&self) -> String {
        format!("{}'s grant {}", self.who, self.token)
    }
}

fn overlaps(holds: &[&Hold]) -> Vec<Violation> {
    let mut claims: Vec<(Nanos, Nanos, usize)> = Vec::new();
    for (index, hold) in holds.iter().enumerate() {
        claims.extend(hold.claims.iter().map(|(since, until)| (*since, *until, index)));
    }
    claims.sort_unstable();
    let (mut found, mut open): (Vec<Violation>, Vec<(Nanos, Nanos, usize)>) = (Vec::new(), Vec::new());
    for claim in claims {
        open.retain(|other| other.1 > claim.0);
        for other in open.iter().filter(|other| other.2 != claim.2) {
            let (first, second) = (holds[other.2], holds[claim.2]);
            let text = format!(
                "`{}`: {} is relied on until {}, and {} since {}",
                first.key,
                first.named(),
                other.1,
                second.named(),
                claim.0
            );
            found.push(Violation { promise: "no two valid holders", text, at: claim.0 });
        }
        open.push(claim);
    }
    found
}

fn false_successes(holds: &[&Hold]) -> Vec<Violation> {
    let mut order: Vec<&&Hold> = holds.iter().collect();
    order.sort_by_key(|hold| hold.granted);
    let mut found = Vec::new();
    for proved in holds.iter().filter(|hold| hold.granted < hold.proved) {
        let from = order.partition_point(|hold| hold.granted < proved.granted);
        let within = order[from..].iter().take_while(|hold| hold.granted < proved.proved);
        // Granted in that time, and asked for in it too, or proved to have been there in it.
        let is_other = |hold: &&&&Hold| !std::ptr::eq(***hold, *proved);
        for other in within.filter(is_other).filter(|hold| hold.asked > proved.granted || hold.proved > hold.granted) {
            let text = format!(
                "`{}`: {} was granted at {}, although {}, granted at {}, was renewed with success by a request sent at {}",
                proved.key,
                other.named(),
                other.granted,
                proved.named(),
                proved.granted,
                proved.proved
            );
            found.push(Violation { promise: "no success that was none", text, at: other.granted });
        }
    }
    found
}

fn shrinking_tokens(holds: &[&Hold]) -> Vec<Violation> {
    let (mut asked, mut granted): (Vec<&&Hold>, Vec<&&Hold>) = (holds.iter().collect(), holds.iter().collect());
    asked.sort_by_key(|hold| hold.asked);
    granted.sort_by_key(|hold| hold.granted);
    let mut earlier = granted.into_iter().peekable();
    let (mut largest, mut found): (Option<&Hold>, Vec<Violation>) = (None, Vec::new());
    let mut tokens: HashMap<u64, &Hold> = HashMap::new();
    for hold in asked {
        while let Some(before) = earlier.next_if(|before| before.granted < hold.asked) {
            largest = Some(largest.filter(|largest| largest.token >= before.token).unwrap_or(before));
        }
        let twice = tokens.insert(hold.token, hold);
        for before in largest.filter(|largest| largest.token >= hold.token).into_iter().chain(twice) {
            let text = format!("`{}`: {} comes after {}", hold.key, hold.named(), before.named());
            found.push(Violation { promise: "tokens only grow", text, at: hold.granted });
        }
    }
    found
}

fn too_many_permits(seen: &Seen<'_>, permits: u32) -> Vec<Violation> {
    let number = |hold: &Hold| hold.key.rsplit_once('#').and_then(|(_, permit)| permit.parse::<u32>().ok());
    let beyond = seen.holds.iter().filter(|hold| number(hold).is_some_and(|permit| permit >= permits));
    let tell = |hold: &Hold| Violation {
        promise: "a semaphore is never above its size",
        text: format!("there are {permits} permits, and {} is of `{}`", hold.named(), hold.key),
        at: hold.granted,
    };
    beyond.map(tell).collect()
}

fn waits(seen: &Seen<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    for call in &seen.calls {
        let (Op::Acquire { key, wait, .. }, Some((at, answer))) = (call.op, call.answer) else { continue };
        let (wait, took) = (wait * 1_000_000, at - call.invoked);
        let longest = wait + LATE + seen.stopped(call.who, call.invoked, at);
        let too_soon = matches!(answer, Answer::Failed { kind: Kind::Busy, .. }) && took < wait;
        if took > longest || too_soon {
            let text = format!("`{key}`: {} was to wait for {wait} ns, and did for {took} ns", call.who);
            found.push(Violation { promise: "a wait ends when it should", text, at });
        }
    }
    found
}

fn errors(seen: &Seen<'_>, promise: Promise) -> Vec<Violation> {
    let mut found = Vec::new();
    for call in &seen.calls {
        let Some((at, Answer::Failed { kind, text })) = call.answer else { continue };
        if *kind == Kind::Bug || (*kind == Kind::Rejected && promise.room) {
            let text = format!("{}, {:?}: {text}", call.who, call.op);
            found.push(Violation { promise: "errors are those of the situation", text, at });
        }
    }
    found
}

#[cfg(test)]
mod tests;
