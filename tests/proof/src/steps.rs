//! The steps themselves: how a machine begins, calls, hears and ends, and what befalls the store.

use std::time::Duration;

use kvlock_machine::{
    Claim, DeleteOutcome, Event, HandedOver, Nonce, Release, Released, Reply, Request, Step, StoreError, WaitingFor,
    WriteOutcome,
};
use kvlock_store_model::failed;

use crate::ask::is_ask;
use crate::judge;
use crate::line::is_line;
use crate::news::News;
use crate::owner::{End, Lane, Op, Owner, Phase, Work, is_write, time};
use crate::plan::{Deed, Scenario};
use crate::promise::Promise;
use crate::shared::Shared;
use crate::start::{next_deed, nonce, open, script, store_key};
use crate::story::Story;
use crate::truth::{Doing, Effect, Fate, Mark, Source};
use crate::world::{Flight, Word, World};

/// More calls than this without a pause are a busy loop.
const CALLS_WITHOUT_PAUSE: u8 = 40;

impl World {
    pub(crate) fn begin(&mut self, scenario: &Scenario, o: usize, l: usize, story: &mut Story) {
        let now = scenario.at(self.now);
        let (floor, word) = (self.truth.highest.clone(), self.word.clone());
        let heir = self.heir(scenario, o, l, now);
        let owner = self.owners[o].edit();
        let Some(deed) = next_deed(scenario, owner, o, l, word.is_some()) else { return };
        match deed {
            Deed::HandOver(key) => return self.hand_over(now, o, key, story),
            Deed::WriteOut(key) => return self.write_out(now, o, key, story),
            Deed::TakeUp => return self.take_up(scenario, o, story),
            _ => {}
        }
        owner.begun += 1;
        let mut op = Op::new(scenario, owner, o, &deed, now);
        op.floor = floor.get(&store_key(op.key)).copied().unwrap_or(0);
        if let Some(grant) = op.work.grant() {
            op.source.nonce = self.truth.hold(grant.token()).map_or(0, |hold| hold.nonce);
        }
        if let (Deed::ReleaseTo(key), Work::Release(machine, grant)) = (&deed, &mut op.work)
            && let Some((claim, heir)) = heir
            && grant.key() == *key
        {
            **machine = Release::to(grant.clone(), claim);
            op.source.heir = Some(heir);
        }
        owner.lanes[l].op = Some(op);
        story.deed(o, &deed);
        self.go_on(scenario, o, l, None, story);
    }

    /// Whose claim the next line of a script needs, if it is to release to somebody.
    fn heir(&mut self, scenario: &Scenario, o: usize, l: usize, now: Duration) -> Option<(Claim, (usize, u128))> {
        let written = self.word.is_some();
        let mut owner = Owner::clone(&self.owners[o]);
        let Some(Deed::ReleaseTo(key)) = next_deed(scenario, &mut owner, o, l, written) else { return None };
        let mut others = (0..self.owners.len()).filter(|other| *other != o);
        others.find_map(|other| {
            let (claim, nonce) = self.owners[other].edit().claim(key, now)?;
            Some((claim, (other, nonce)))
        })
    }

    /// Tells the heir of a release what was handed over to it, if it pauses yet; else it finds out by itself.
    fn tell(&mut self, now: Duration, heir: Option<(usize, u128)>, handed: HandedOver) {
        self.news.note(News::HANDED_OVER);
        let Some((heir, nonce)) = heir else { return };
        let mut ops = self.owners[heir].edit().lanes.iter_mut().filter_map(|lane| lane.op.as_mut());
        let waits = |op: &&mut Op| op.source.nonce == nonce && matches!(op.phase, Phase::Asleep(_));
        if let Some(op) = ops.find(waits) {
            (op.handed, op.phase) = (Some(handed), Phase::Asleep(now));
        }
    }

    fn hand_over(&mut self, now: Duration, o: usize, key: &str, story: &mut Story) {
        self.write_out(now, o, key, story);
        let owner = self.owners[o].edit();
        if let Some(index) = owner.latest(key) {
            owner.grants.remove(index);
        }
    }

    fn write_out(&mut self, now: Duration, o: usize, key: &str, story: &mut Story) {
        let owner = self.owners[o].edit();
        let Some(grant) = owner.latest(key).map(|index| owner.grants[index].clone()) else { return };
        let (token, text) = (grant.token(), owner.session.write_out(&grant, time(now)));
        let writes = self.truth.hold(token).map_or(0, |hold| hold.writes);
        self.word = text.ok().map(|text| Word { text, token, writes });
        story.line(|| format!("writes out its grant of {key}"));
    }

    fn take_up(&mut self, scenario: &Scenario, o: usize, story: &mut Story) {
        let Some(word) = self.word.take() else { return };
        let owner = self.owners[o].edit();
        owner.begun += 1;
        let nonce = Nonce(nonce(u64::from(owner.begun) + 1000 * (o as u64 + 1)));
        if let Ok(grant) = owner.session.resume(&word.text, nonce, time(scenario.at(self.now))) {
            if let Some(hold) = self.truth.edit().hold_mut(word.token).filter(|hold| hold.writes == word.writes) {
                hold.users.push(o);
            }
            owner.grants.push(grant);
            story.line(|| "takes up the written grant".into());
        }
        let takes_up = |(o, owner): (usize, &Shared<Owner>)| {
            let lanes = owner.lanes.iter().enumerate();
            let left = |(l, lane): (usize, &Lane)| script(&scenario.owners[o], owner.crashes, l).get(lane.next..);
            lanes.filter_map(left).flatten().any(|deed| matches!(deed, Deed::TakeUp))
        };
        if self.owners.iter().enumerate().any(takes_up) {
            self.word = Some(word);
        }
    }

    /// The store executes what a machine has sent.
    pub(crate) fn execute(&mut self, scenario: &Scenario, o: usize, l: usize, story: &mut Story) {
        let Some(op) = &self.owners[o].lanes[l].op else { return };
        let Phase::Sent(request) = &op.phase else { return };
        let (source, request) = (op.source.clone(), request.clone());
        let reply = self.run(scenario, &source, &request, story);
        if let Some(op) = &mut self.owners[o].edit().lanes[l].op {
            op.phase = Phase::Answered(request, reply);
        }
    }

    /// Executes a request, and notes what it did to whom.
    pub(crate) fn run(&mut self, scenario: &Scenario, source: &Source, request: &Request, story: &mut Story) -> Reply {
        let now = scenario.at(self.now);
        if !is_write(request) {
            let reply = self.store.read(request, now);
            story.executed(&reply);
            self.note_read(source, request);
            return reply;
        }
        let key = key_of_request(request);
        let before = self.mark(key);
        let is_over = self.store.entry(key).is_some_and(|stored| stored.ends.is_some_and(|ends| ends <= now));
        let (line, ask) = (self.line(key), self.ask_text(key));
        let reply = self.store.edit().execute(request, now);
        story.executed(&reply);
        let written =
            matches!(reply, Reply::Write(Ok(WriteOutcome::Written(_))) | Reply::Delete(Ok(DeleteOutcome::Deleted)));
        if !written {
            return reply;
        }
        if is_line(key) {
            self.lined_up(source, &line, key);
            return reply;
        }
        if is_ask(key) {
            self.asked(source, ask.as_ref(), key);
            return reply;
        }
        let after = self.mark(key);
        let another = |(before, after): &(&Mark, &Mark)| before.nonce != after.nonce && before.token != after.token;
        if let Some((before, after)) = before.as_ref().zip(after.as_ref()).filter(another) {
            let acquires = matches!(source.doing, Doing::Acquiring { .. });
            if is_over && acquires {
                self.time_is_over(before, now);
                self.news.note(News::TAKEN_OVER);
                self.truth.edit().taken_over(source, key, before, after);
                return reply;
            }
            self.news.note(News::ADOPTED);
        }
        match self.truth.edit().written(source, key, before.as_ref(), after.as_ref()) {
            Ok(effect) => self.note(source, effect),
            Err(promise) => self.broken = self.broken.or(Some(promise)),
        }
        reply
    }

    /// Whether a machine reads the record of a hold of its own owner.
    fn note_read(&mut self, source: &Source, request: &Request) {
        if source.doing == Doing::Asking {
            let stands = self.owners[source.owner].asked.as_ref().is_some_and(|ask| self.asked_one_stands(ask.id()));
            let ops = self.owners[source.owner].edit().lanes.iter_mut().filter_map(|lane| lane.op.as_mut());
            ops.filter(|op| op.source.op == source.op).for_each(|op| op.asked_one_stood = stands);
        }
        let mut keys = match request {
            Request::GetMany { keys } => keys.iter(),
            Request::Get { key } => std::slice::from_ref(key).iter(),
            _ => return,
        };
        let own = |token: u64| self.truth.hold(token).is_some_and(|hold| hold.users.contains(&source.owner));
        if keys.any(|key| self.mark(key).is_some_and(|mark| own(mark.token))) {
            let ops = self.owners[source.owner].edit().lanes.iter_mut().filter_map(|lane| lane.op.as_mut());
            ops.filter(|op| op.source.op == source.op).for_each(|op| op.saw_own = true);
        }
    }

    pub(crate) fn note(&mut self, source: &Source, effect: Effect) {
        if matches!(effect, Effect::Broke(_)) {
            self.news.note(News::BROKEN);
        }
        if effect == Effect::None {
            return;
        }
        for op in self.owners[source.owner].edit().lanes.iter_mut().filter_map(|lane| lane.op.as_mut()) {
            match effect {
                Effect::Rewrote => op.rewrote = true,
                Effect::Broke(token) if op.source.op == source.op => op.broke.push_back(token),
                Effect::Broke(_) | Effect::None => {}
            }
        }
    }

    /// The caller of a call is told that there is no answer.
    pub(crate) fn unanswered(&mut self, scenario: &Scenario, o: usize, l: usize, under_way: bool, story: &mut Story) {
        let owner = self.owners[o].edit();
        let Some(op) = &mut owner.lanes[l].op else { return };
        let (Phase::Sent(request) | Phase::Answered(request, _)) = &op.phase else { return };
        // What an acquisition takes back it would not have held.
        let withdraws = matches!((op.source.doing, request), (Doing::Acquiring { .. }, Request::Delete { .. }));
        // Nor does the line say who holds anything.
        let is_beside = |key: &str| is_line(key) || is_ask(key);
        op.doubtful |= is_write(request) && !withdraws && !is_beside(key_of_request(request));
        if under_way && is_write(request) {
            self.late.push(Flight { source: op.source.clone(), request: request.clone() });
        }
        if let (Doing::Releasing, Some(grant)) = (op.source.doing, op.work.grant()) {
            let token = grant.token();
            if let Some(hold) = self.truth.edit().hold_mut(token) {
                hold.release_in_doubt = true;
            }
        }
        self.go_on(scenario, o, l, Some(StoreError::UnknownOutcome(String::new())), story);
    }

    /// Feeds a machine what it waits for, or a failure in its place.
    pub(crate) fn go_on(
        &mut self,
        scenario: &Scenario,
        o: usize,
        l: usize,
        failure: Option<StoreError>,
        story: &mut Story,
    ) {
        let now = scenario.at(self.now);
        let before = self.owners[o].clone();
        let owner = self.owners[o].edit();
        let Some(mut op) = owner.lanes[l].op.take() else { return };
        let event = match (std::mem::replace(&mut op.phase, Phase::Fresh), failure) {
            (Phase::Sent(request) | Phase::Answered(request, _), Some(error)) => Event::Reply(failed(&request, error)),
            (Phase::Answered(_, reply), None) => Event::Reply(reply),
            (Phase::Asleep(_), _) => match op.handed.take() {
                Some(handed) => {
                    self.news.note(News::TAKEN);
                    Event::HandedOver(handed)
                }
                None if std::mem::take(&mut op.heard) => Event::Freed(1),
                None => Event::Woken,
            },
            (Phase::Fresh | Phase::Sent(_), _) => Event::Start,
        };
        match op.work.step(&mut owner.session, time(now), event) {
            Step::Call(request) => {
                story.line(|| format!("sends {}", crate::story::request(&request)));
                op.calls += 1;
                if op.calls > CALLS_WITHOUT_PAUSE {
                    self.broken = Some(Promise::NoBusyLoop);
                }
                if self.broken.is_none() {
                    self.broken = judge::request(&op, &request, &before, now);
                }
                op.phase = Phase::Sent(request);
                op.slow = false;
                owner.lanes[l].op = Some(op);
            }
            Step::Sleep(pause) => {
                story.line(|| format!("sleeps {pause:?}"));
                match op.work.waiting_for() {
                    Some(WaitingFor::Holder(_)) => self.news.note(News::WAITED),
                    Some(WaitingFor::Quarantine(_)) => self.news.note(News::QUARANTINE),
                    _ => {}
                }
                if op.wait.is_some_and(|wait| now + pause > op.began + wait) {
                    op.late_pauses += 1;
                    if op.late_pauses > scenario.late_pauses() {
                        self.broken = Some(Promise::WaitsAsAsked);
                    }
                }
                op.calls = 0;
                op.phase = Phase::Asleep(now + pause);
                owner.lanes[l].op = Some(op);
            }
            Step::Done(end) => {
                story.line(|| crate::story::end(&end));
                self.ended(scenario, o, op, &before, end);
            }
        }
    }

    pub(crate) fn ended(&mut self, scenario: &Scenario, o: usize, op: Op, before: &Owner, end: End) {
        let heir = op.source.heir;
        let handed = if let End::Released(Ok(Released::HandedOver(handed))) = &end { Some(*handed) } else { None };
        match judge::Judge::new(self, scenario, o, op, before).end(end) {
            Ok(()) => {
                if let Some(handed) = handed {
                    self.tell(scenario.at(self.now), heir, handed);
                }
            }
            Err(promise) => self.broken = self.broken.or(Some(promise)),
        }
    }

    pub(crate) fn drop_op(&mut self, o: usize, l: usize) {
        let owner = self.owners[o].edit();
        let Some(op) = owner.lanes[l].op.take() else { return };
        if let Work::Release(_, grant) = &op.work {
            owner.grants.push(grant.clone());
            if let Some(hold) = self.truth.edit().hold_mut(grant.token()) {
                hold.release_in_doubt = true;
            }
        }
        self.forsake(op);
    }

    /// What a machine has sent is under way, with or without it.
    pub(crate) fn forsake(&mut self, op: Op) {
        if let Phase::Sent(request) = op.phase
            && is_write(&request)
        {
            self.late.push(Flight { source: op.source, request });
        }
    }

    pub(crate) fn crash(&mut self, scenario: &Scenario, o: usize) {
        self.left.crashes = self.left.crashes.saturating_sub(1);
        if !self.owners[o].grants.is_empty() {
            self.news.note(News::CRASHED);
        }
        let owner = self.owners[o].edit();
        let under_way: Vec<Op> = owner.lanes.iter_mut().filter_map(|lane| lane.op.take()).collect();
        owner.crashes += 1;
        owner.grants.clear();
        owner.session = open(scenario, o, scenario.at(self.now));
        owner.lanes = vec![Lane::default()];
        under_way.into_iter().for_each(|op| self.forsake(op));
    }

    pub(crate) fn expire(&mut self, key: &str, now: Duration) {
        if let Some(mark) = self.mark(key) {
            self.time_is_over(&mark, now);
        }
        self.remove(key, Fate::Expired, News::EXPIRED);
    }

    /// Judges that the key is free from now on, since the time of this record is over.
    fn time_is_over(&mut self, mark: &Mark, now: Duration) {
        let kept = self.truth.hold(mark.token).filter(|hold| hold.fate == Fate::GivenBack && mark.depth == 0);
        if kept.is_some_and(|hold| hold.keep.is_some_and(|keep| now < keep)) {
            self.broken = Some(Promise::MinimumKept);
        }
    }

    pub(crate) fn remove(&mut self, key: &str, fate: Fate, news: News) {
        if let Some(mark) = self.mark(key) {
            if self.truth.stands(mark.token) {
                self.news.note(news);
            }
            self.truth.edit().end(mark.token, fate);
        }
        self.store.edit().drop_entry(key);
    }

    pub(crate) fn lose_all(&mut self, now: Duration) {
        self.left.losses = self.left.losses.saturating_sub(1);
        if self.truth.holds.iter().any(|hold| hold.fate == Fate::Standing) {
            self.news.note(News::FORGOTTEN);
        }
        self.store.edit().lose_all(now, 0);
        self.truth.edit().forget_all();
    }
}

/// The store key of a request that writes.
pub(crate) fn key_of_request(request: &Request) -> &str {
    match request {
        Request::Get { key } | Request::Era { key } => key,
        Request::Add { key, .. } | Request::Replace { key, .. } | Request::Delete { key, .. } => key,
        Request::GetMany { .. } | Request::All(_) => "",
    }
}
