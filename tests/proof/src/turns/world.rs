//! A state of the world, and what may happen to it.

use std::time::Duration;

use kvlock_machine::{
    Acquire, DeleteOutcome, Event, Grant, Key, Lease, LockOptions, Nonce, Release, Reply, Request, Session, Step, Ttl,
    WriteOutcome,
};
use kvlock_store_model::Store;

use super::Scenario;
use crate::line::is_line;
use crate::owner::{End, Work, time};
use crate::promise::Promise;
use crate::shared::Shared;
use crate::start::{nonce, open_as, store_key};
use crate::story::{self, Story};

/// A call there and back: a slow network, so that a run is short. No pause that the line asks for is longer than turns
/// are; the longest pause is that of nobody.
const UNIT: Duration = Duration::from_millis(1);
const INTERVAL: Duration = Duration::from_secs(1);
/// Longer than a run.
const LEASE: Duration = Duration::from_secs(3600);
/// What wall clocks show at the beginning.
const EPOCH: Duration = Duration::from_secs(1_795_230_245);
/// More calls than this without a pause are a busy loop.
const CALLS_WITHOUT_PAUSE: u8 = 12;

/// Everything there is at a moment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct World {
    /// In units.
    now: u32,
    store: Shared<Store>,
    members: Vec<Shared<Member>>,
    slow: u8,
    late: u8,
    crashes: u8,
    untold: u8,
    pub(super) grants: u8,
    /// Since when the lock is free, and somebody stands in line.
    free_since: Option<u32>,
    pub(super) broken: Option<Promise>,
}

/// Somebody who wants the lock again and again.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Member {
    session: Session,
    doing: Doing,
    /// When it moves.
    due: u32,
    begun: u32,
    calls: u8,
    /// It was told of a release during a call.
    heard: bool,
    /// How often others got the lock since it joined the line.
    overtaken: Option<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Doing {
    Working(Work, Phase),
    Holding(Grant),
    Crashed,
}

/// What a machine waits for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Phase {
    /// That the store executes it.
    Sent(Request),
    /// That it hears it.
    Answered(Reply),
    /// That it begins, or wakes.
    Asleep(Event),
}

/// Somebody who is due moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Act {
    who: usize,
    how: How,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// As fast as it can, and for the first of the holds.
    Promptly,
    /// The call that it makes takes longer on its way to the store.
    SlowThere,
    /// The answer takes longer on its way back.
    SlowBack,
    /// The pause that it begins is longer.
    Late,
    /// What it is granted now it holds so long.
    Holds(u32),
    /// It crashes.
    Crash,
    /// The store does not tell the others of its release.
    Untold,
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).expect("before the year 2554")
}

impl World {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let member = |o: usize| {
            let clock = scenario.clocks.map(|ahead| nanos(EPOCH + UNIT * ahead[o]));
            let session = open_as(["a", "b", "c"][o], None, clock, true, Duration::ZERO);
            let mut member =
                Member { session, doing: Doing::Crashed, due: 0, begun: 0, calls: 0, heard: false, overtaken: None };
            member.acquire(o);
            Shared::new(member)
        };
        World {
            now: 0,
            store: Shared::new(Store::new()),
            members: (0..scenario.owners).map(member).collect(),
            slow: scenario.slow,
            late: scenario.late.0,
            crashes: scenario.crashes,
            untold: scenario.untold.unwrap_or(0),
            grants: 0,
            free_since: None,
            broken: None,
        }
    }

    /// Whoever is due first moves, and of those who are due at once anyone. What is no call touches nobody else: it
    /// comes first, in one order.
    pub(super) fn acts(&self, scenario: &Scenario, acts: &mut Vec<Act>) {
        if self.broken.is_some() || self.grants >= scenario.grants {
            return;
        }
        let there = || (0..self.members.len()).filter(|who| self.members[*who].doing != Doing::Crashed);
        let Some(first) = there().map(|who| self.members[who].due).min() else { return };
        let is_due = |who: &usize| self.members[*who].due == first;
        match there().filter(is_due).find(|who| !self.members[*who].calls_now()) {
            Some(who) => self.acts_of(scenario, who, acts),
            None => there().filter(is_due).for_each(|who| self.acts_of(scenario, who, acts)),
        }
    }

    fn acts_of(&self, scenario: &Scenario, who: usize, acts: &mut Vec<Act>) {
        let calls = self.members[who].calls_now();
        let mut may = |condition: bool, how: How| acts.extend(condition.then_some(Act { who, how }));
        may(true, How::Promptly);
        may(self.slow > 0, How::SlowThere);
        may(self.slow > 0 && calls, How::SlowBack);
        may(self.late > 0, How::Late);
        may(self.untold > 0 && self.members[who].releases(), How::Untold);
        scenario.holds[1..].iter().for_each(|hold| may(true, How::Holds(*hold)));
        may(self.crashes > 0 && !calls, How::Crash);
    }

    /// Lets something happen; false if it cannot.
    pub(super) fn act(&mut self, scenario: &Scenario, act: Act, story: &mut Story) -> bool {
        let Act { who, how } = act;
        self.now = self.members[who].due;
        story.moment(UNIT * self.now, ["a", "b", "c"][who]);
        let member = self.members[who].edit();
        let done = match (std::mem::replace(&mut member.doing, Doing::Crashed), how) {
            (Doing::Working(Work::Acquire(_), _), How::Crash) => {
                story.line(|| "crashes".into());
                self.crashes -= 1;
                member.overtaken = None;
                true
            }
            (_, How::Crash) | (Doing::Crashed, _) => false,
            (Doing::Holding(grant), _) => {
                story.line(|| "is done".into());
                let work = Work::Release(Box::new(Release::new(grant.clone())), grant);
                self.feed(scenario, who, work, Event::Start, how, story)
            }
            (Doing::Working(work, Phase::Sent(request)), _) => {
                let reply = self.execute(who, &request, story);
                let how = if how == How::Untold {
                    self.untold -= 1;
                    How::Promptly
                } else {
                    self.tell(scenario, who, &reply, &request);
                    how
                };
                if how != How::SlowBack {
                    return self.feed(scenario, who, work, Event::Reply(reply), how, story) && self.settle(scenario);
                }
                self.slow -= 1;
                let now = self.now;
                let member = self.members[who].edit();
                member.doing = Doing::Working(work, Phase::Answered(reply));
                member.due = now + 1;
                true
            }
            (Doing::Working(work, Phase::Answered(reply)), _) => {
                story.line(|| "hears it".into());
                self.feed(scenario, who, work, Event::Reply(reply), how, story)
            }
            (Doing::Working(work, Phase::Asleep(event)), _) => self.feed(scenario, who, work, event, how, story),
        };
        done && self.settle(scenario)
    }

    /// Executes a request, and counts who is overtaken.
    fn execute(&mut self, who: usize, request: &Request, story: &mut Story) -> Reply {
        let reply = self.store.edit().execute(request, UNIT * self.now);
        story.line(|| format!("{} -> {}", story::request(request), story::reply(&reply)));
        match request {
            Request::Add { key, .. } | Request::Replace { key, .. }
                if matches!(reply, Reply::Write(Ok(WriteOutcome::Written(_)))) =>
            {
                if is_line(key) {
                    self.members[who].edit().overtaken.get_or_insert(0);
                } else {
                    self.granted(who);
                }
            }
            _ => {}
        }
        reply
    }

    /// Tells the others who pause of a release, if this is one.
    fn tell(&mut self, scenario: &Scenario, who: usize, reply: &Reply, request: &Request) {
        let is_release = matches!((request, reply), (Request::Delete { key, .. }, Reply::Delete(Ok(DeleteOutcome::Deleted))) if !is_line(key));
        if scenario.untold.is_none() || !is_release {
            return;
        }
        let heard_at = self.now + 1;
        for (_, member) in self.members.iter_mut().enumerate().filter(|(o, _)| *o != who) {
            match member.doing {
                Doing::Working(Work::Acquire(_), Phase::Asleep(Event::Woken | Event::Freed(_))) => {
                    let member = member.edit();
                    member.due = member.due.min(heard_at);
                    member.hear();
                }
                Doing::Working(Work::Acquire(_), Phase::Sent(_) | Phase::Answered(_)) => member.edit().heard = true,
                _ => {}
            }
        }
    }

    fn granted(&mut self, who: usize) {
        self.grants += 1;
        for (o, member) in self.members.iter_mut().enumerate() {
            if o == who {
                member.edit().overtaken = None;
            } else if let Some(overtaken) = member.overtaken {
                member.edit().overtaken = Some(overtaken + 1);
            }
        }
    }

    /// What a machine does next; false if `how` does not go with it.
    fn feed(
        &mut self,
        scenario: &Scenario,
        who: usize,
        mut work: Work,
        event: Event,
        how: How,
        story: &mut Story,
    ) -> bool {
        let now = self.now;
        let member = self.members[who].edit();
        match work.step(&mut member.session, time(UNIT * now), event) {
            Step::Call(request) => {
                story.line(|| format!("sends {}", story::request(&request)));
                member.calls += 1;
                if member.calls > CALLS_WITHOUT_PAUSE {
                    self.broken = Some(Promise::NoBusyLoop);
                }
                member.due = now + if how == How::SlowThere { 2 } else { 1 };
                self.slow -= u8::from(how == How::SlowThere);
                member.doing = Doing::Working(work, Phase::Sent(request));
                matches!(how, How::Promptly | How::SlowThere)
            }
            Step::Sleep(pause) => {
                story.line(|| format!("sleeps {pause:?}"));
                let units = u32::try_from(pause.as_nanos().div_ceil(UNIT.as_nanos())).unwrap_or(u32::MAX / 2);
                let late = if how == How::Late { scenario.late.1 } else { 0 };
                self.late -= u8::from(how == How::Late);
                member.calls = 0;
                member.due = now + units + late;
                member.doing = Doing::Working(work, Phase::Asleep(Event::Woken));
                if std::mem::take(&mut member.heard) {
                    member.due = now;
                    member.hear();
                }
                matches!(how, How::Promptly | How::Late)
            }
            Step::Done(end) => {
                story.line(|| story::end(&end));
                self.ended(scenario, who, end, how)
            }
        }
    }

    fn ended(&mut self, scenario: &Scenario, who: usize, end: End, how: How) -> bool {
        let now = self.now;
        let member = self.members[who].edit();
        member.calls = 0;
        match end {
            End::Acquired(Ok(grant)) => {
                let hold = if let How::Holds(hold) = how { hold } else { scenario.holds[0] };
                member.due = now + hold;
                member.doing = Doing::Holding(grant);
                matches!(how, How::Promptly | How::Holds(_))
            }
            End::Released(Ok(_)) => {
                member.due = now;
                member.acquire(who);
                how == How::Promptly
            }
            _ => {
                self.broken = Some(Promise::NoNonsense);
                true
            }
        }
    }

    /// Whether a promise is broken now. Always true.
    fn settle(&mut self, scenario: &Scenario) -> bool {
        let wanted = self.members.iter().any(|member| member.overtaken.is_some());
        let free = self.store.version(&store_key("k")).is_none();
        self.free_since = (wanted && free).then(|| self.free_since.unwrap_or(self.now));
        let broken = if self.most_overtaken() > scenario.overtaken {
            Some(Promise::TurnsCome)
        } else {
            (self.free_for() > scenario.free).then_some(Promise::NotLeftFree)
        };
        self.broken = self.broken.or(broken);
        true
    }

    /// How often somebody who stands in line was overtaken.
    pub(super) fn most_overtaken(&self) -> u8 {
        self.members.iter().filter_map(|member| member.overtaken).max().unwrap_or(0)
    }

    /// For how long nobody has taken the lock though it is free.
    pub(super) fn free_for(&self) -> u32 {
        self.free_since.map_or(0, |since| self.now - since)
    }
}

impl Member {
    /// Whether a call of it arrives at the store.
    fn calls_now(&self) -> bool {
        matches!(self.doing, Doing::Working(_, Phase::Sent(_)))
    }

    /// Whether its release arrives at the store.
    fn releases(&self) -> bool {
        matches!(&self.doing, Doing::Working(Work::Release(..), Phase::Sent(Request::Delete { key, .. })) if !is_line(key))
    }

    /// Its pause ends with what it was told.
    fn hear(&mut self) {
        if let Doing::Working(_, phase) = &mut self.doing {
            let before = if let Phase::Asleep(Event::Freed(times)) = phase { *times } else { 0 };
            *phase = Phase::Asleep(Event::Freed(before + 1));
        }
    }

    /// It wants the lock.
    fn acquire(&mut self, o: usize) {
        self.begun += 1;
        self.heard = false;
        let lease = Lease::new(Ttl::After(LEASE)).expect("a legal lease");
        let options = LockOptions::new(lease).interval(INTERVAL).expect("a legal interval");
        let nonce = Nonce(nonce(u64::from(self.begun) + 1000 * (o as u64 + 1)));
        let machine = Acquire::new(&self.session, Key::new("k").expect("a legal key"), options, nonce);
        self.doing = Doing::Working(Work::Acquire(Box::new(machine)), Phase::Asleep(Event::Start));
    }
}
