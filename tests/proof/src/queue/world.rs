//! A process whose threads want the same lock, a store that holds it, and time.
//!
//! The queues are the real ones. What the library adds is played: a thread does what the queues tell it, parks, and
//! wakes whom they want woken. Each use of the queues and each write to the store is a step of its own, and any other
//! thread may come in between. The component is a stub: a poll is granted if the lock is free or is the request's own.

use kvlock_queue::{Answer, NextStep, Queues, Stake, Ticket};

use super::act::{Act, Faults, How};
use super::thread::{Doing, Outcome, Request, Thread, UNIT, entry};
use super::{Scenario, Style};
use crate::promise::Promise;
use crate::story::Story;

/// More steps than this without a pause are a busy loop.
const STEPS_WITHOUT_PAUSE: u8 = 16;
const NAMES: [&str; 4] = ["a", "b", "c", "elsewhere"];

/// Everything there is at a moment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct World {
    /// In units.
    now: u32,
    queues: Queues<(), u8, (), Request>,
    pub(super) threads: Vec<Thread>,
    pub(super) store: Store,
    /// When another process frees the lock that it holds.
    pub(super) elsewhere: Option<u32>,
    generation: u64,
    pub(super) faults: Faults,
    grants: u8,
    joins: u8,
    seen: u8,
    /// Since when the lock is of no use, though somebody waits in a queue.
    idle_since: Option<u32>,
    pub(super) broken: Option<Promise>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Store {
    Free,
    Held(Request),
    /// By another process, or by nobody who knows of it.
    Elsewhere,
}

/// What is seen in some run, and its text.
pub(super) const SEEN: [(u8, &str); 6] = [
    (1, "a lock is handed over"),
    (2, "a hand-over comes back"),
    (4, "a request polls before one that came earlier"),
    (8, "a wait ends in time"),
    (16, "a hand-over is in doubt"),
    (32, "the child of a fork waits"),
];

impl World {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let thread = |style: &Style| {
            let left = scenario.waits;
            Thread {
                style: *style,
                entry: entry(style),
                doing: Doing::Looking,
                due: 0,
                left,
                in_doubt: false,
                token: false,
                overtaken: 0,
                joined: 0,
                steps: 0,
            }
        };
        World {
            now: 0,
            queues: Queues::new(0),
            threads: scenario.threads.iter().map(thread).collect(),
            store: Store::Free,
            elsewhere: None,
            generation: 0,
            faults: scenario.faults,
            grants: 0,
            joins: 0,
            seen: 0,
            idle_since: None,
            broken: None,
        }
    }

    pub(super) fn has_seen(&self, what: u8) -> bool {
        self.seen & what != 0
    }

    /// Lets something happen.
    pub(super) fn act(&mut self, scenario: &Scenario, act: Act, story: &mut Story) {
        let Act { who, how } = act;
        let Some(thread) = self.threads.get_mut(who) else {
            story.moment(UNIT * self.now, NAMES[3]);
            return self.elsewhere(story);
        };
        self.now = thread.due.max(self.now);
        story.moment(UNIT * self.now, NAMES[who]);
        match how {
            How::Promptly | How::NoClaim | How::Unanswered(_) => self.step(scenario, who, how, story),
            How::Slowly => {
                story.line(|| "is slow".into());
                self.faults.slow -= 1;
                thread.due = self.now + 3;
            }
            How::Late => {
                story.line(|| "does not come back in time".into());
                self.faults.late -= 1;
                thread.due = self.now + 25;
            }
            How::Drops => {
                story.line(|| "gives up".into());
                self.faults.drops -= 1;
                self.leave(who, story);
            }
            How::Forks => self.fork(who, story),
        }
        self.settle(scenario);
    }

    fn step(&mut self, scenario: &Scenario, who: usize, how: How, story: &mut Story) {
        let now = self.now;
        let at = UNIT * now;
        let thread = &mut self.threads[who];
        let request = Request { thread: who as u8, left: thread.left };
        thread.steps += 1;
        thread.due = now;
        match thread.doing {
            Doing::Looking | Doing::Parked | Doing::Polled => self.look(who, story),
            Doing::Polling(asked) => {
                let is_own = self.store == Store::Held(request);
                thread.doing = if self.store == Store::Free || is_own {
                    self.store = Store::Held(request);
                    Doing::Granted
                } else {
                    Doing::Refused(asked)
                };
                story
                    .line(|| if thread.doing == Doing::Granted { "gets the lock".into() } else { "is refused".into() });
            }
            Doing::Refused(asked) => {
                let answer = Answer {
                    asked_at: UNIT * asked,
                    pause: UNIT * thread.style.interval,
                    waiting_for: (),
                    depends_on_terms: false,
                    in_doubt: thread.in_doubt,
                };
                let mode = thread.style.mode(who);
                let was_outside = thread.entry.is_outside();
                let (pause, wake) = self.queues.answered(&(), &mut thread.entry, answer, at, mode);
                if was_outside && !thread.entry.is_outside() {
                    self.joins += 1;
                    thread.joined(self.joins);
                }
                thread.pause(now, pause, story);
                self.wake(wake);
            }
            Doing::Granted => {
                thread.doing = Doing::Holding;
                thread.due = now + scenario.hold;
                thread.steps = 0;
                thread.in_doubt = false;
                let wake = self.queues.granted(&(), &mut thread.entry, at, Some(()));
                story.line(|| "holds the lock".into());
                self.wake(wake);
                self.granted(who);
            }
            Doing::Holding => self.release(who, how, story),
            Doing::Releasing(successor) => {
                let outcome = match (how, successor) {
                    (How::Unanswered(_), _) => Outcome::Unknown,
                    (_, Some((_, next))) => {
                        Outcome::HandedOver(Request { thread: next, left: self.threads[usize::from(next)].left })
                    }
                    (_, None) => Outcome::Freed,
                };
                self.write_release(who, how, successor, outcome, story);
            }
            Doing::Released(successor, outcome) => self.settle_release(who, successor, outcome, story),
            Doing::Returning(gone) => {
                story.line(|| "gives it back for who has gone".into());
                if self.store == Store::Held(gone) {
                    self.store = Store::Free;
                }
                self.seen |= 2;
                let wake = self.queues.freed(&(), at);
                self.wake(wake);
                self.next_wait(who);
            }
            Doing::Done => {}
        }
    }

    /// Asks the queues what to do, and begins it.
    fn look(&mut self, who: usize, story: &mut Story) {
        let (now, at) = (self.now, UNIT * self.now);
        let thread = &mut self.threads[who];
        thread.token = false;
        let request = Request { thread: who as u8, left: thread.left };
        let stake = Stake { in_doubt: thread.in_doubt, grants: 0, may_hold: false };
        let was_outside = thread.entry.is_outside();
        let (step, wake) = self.queues.next_step(&(), &mut thread.entry, stake, at, thread.style.mode(who));
        if was_outside && !thread.entry.is_outside() {
            self.joins += 1;
            thread.joined(self.joins);
        }
        let (joined, is_queued) = (thread.joined, !thread.entry.is_outside() && !thread.in_doubt);
        match step {
            NextStep::Poll => {
                story.line(|| "polls".into());
                thread.doing = Doing::Polling(now);
                if is_queued && self.threads.iter().any(|other| !other.entry.is_outside() && other.joined < joined) {
                    self.seen |= 4;
                }
            }
            NextStep::TakeHandOver(handed) => {
                story.line(|| "takes what was handed over".into());
                thread.doing = Doing::Granted;
                if handed != request {
                    self.broken = Some(Promise::HandOverArrives);
                }
            }
            NextStep::Wait { pause, .. } => thread.pause(now, pause, story),
            NextStep::TimedOut(_) => {
                story.line(|| "waits no longer".into());
                self.seen |= 8;
                self.leave(who, story);
            }
        }
        self.wake(wake);
    }

    /// Begins a release: selects a successor.
    fn release(&mut self, who: usize, how: How, story: &mut Story) {
        let mut selected = self.queues.select_successor(&());
        if let Some((ticket, next)) = selected {
            story.line(|| format!("selects {}", NAMES[usize::from(next)]));
            let is_parked = self.threads[usize::from(next)].doing == Doing::Parked;
            let others = self.threads.iter().filter(|thread| thread.has_successor()).count();
            if !is_parked || others > 0 {
                self.broken = Some(Promise::OneSuccessor);
            }
            if how == How::NoClaim {
                story.line(|| "has no claim of it".into());
                self.faults.no_claim -= 1;
                let _ = self.queues.settle(&(), ticket, None);
                self.wake(Some(next));
                selected = None;
            }
        }
        self.threads[who].doing = Doing::Releasing(selected);
    }

    /// The store executes a release, or does not.
    fn write_release(
        &mut self,
        who: usize,
        how: How,
        successor: Option<(Ticket, u8)>,
        outcome: Outcome,
        story: &mut Story,
    ) {
        let next = successor.map(|(_, next)| Request { thread: next, left: self.threads[usize::from(next)].left });
        self.store = next.map_or(Store::Free, Store::Held);
        story.line(|| format!("writes its release: {outcome:?}"));
        if let How::Unanswered(executed) = how {
            self.faults.unanswered -= 1;
            if !executed {
                // The lock ends with its lease.
                (self.store, self.elsewhere) = (Store::Elsewhere, Some(self.now + 10));
            }
            if let Some((_, next)) = successor {
                self.threads[usize::from(next)].in_doubt = true;
                self.seen |= 16;
            }
        }
        self.threads[who].doing = Doing::Released(successor, outcome);
    }

    /// Tells the queues what became of a release.
    fn settle_release(&mut self, who: usize, successor: Option<(Ticket, u8)>, outcome: Outcome, story: &mut Story) {
        let at = UNIT * self.now;
        let handed = if let Outcome::HandedOver(request) = outcome { Some(request) } else { None };
        if let Some((ticket, next)) = successor {
            let settled = self.queues.settle(&(), ticket, handed);
            self.wake(Some(next));
            if let Err(gone) = settled {
                story.line(|| "finds its successor gone".into());
                self.threads[who].doing = Doing::Returning(gone);
                return;
            }
        }
        if handed.is_some() {
            self.seen |= 1;
        } else {
            let wake = self.queues.freed(&(), at);
            self.wake(wake);
        }
        self.next_wait(who);
    }

    /// Ends a wait without a grant.
    fn leave(&mut self, who: usize, story: &mut Story) {
        let thread = &mut self.threads[who];
        let request = Request { thread: who as u8, left: thread.left };
        let (handed, wake) = self.queues.leave(&(), &mut thread.entry);
        self.wake(wake);
        // The component takes back what it may have written, if a hand-over is in doubt.
        if self.threads[who].in_doubt && self.store == Store::Held(request) {
            self.store = Store::Free;
        }
        match handed {
            Some(handed) => {
                story.line(|| "has to give back what was handed over".into());
                self.threads[who].doing = Doing::Returning(handed);
            }
            None => self.next_wait(who),
        }
    }

    fn next_wait(&mut self, who: usize) {
        let now = self.now;
        let thread = &mut self.threads[who];
        thread.left -= 1;
        thread.entry = entry(&thread.style);
        (thread.doing, thread.due) = (if thread.left == 0 { Doing::Done } else { Doing::Looking }, now);
        (thread.in_doubt, thread.token, thread.overtaken) = (false, false, 0);
    }

    /// A thread goes on in a child, with what it remembers of the queues. The other threads begin there, too.
    fn fork(&mut self, who: usize, story: &mut Story) {
        story.line(|| "forks".into());
        self.faults.forks -= 1;
        self.generation += 1;
        self.queues = Queues::new(self.generation);
        if self.store != Store::Free {
            (self.store, self.elsewhere) = (Store::Elsewhere, Some(self.now + 10));
        }
        for (index, thread) in self.threads.iter_mut().enumerate() {
            (thread.due, thread.steps, thread.in_doubt) = (self.now, 0, false);
            (thread.token, thread.overtaken, thread.doing) = (false, 0, Doing::Looking);
            if index != who {
                thread.entry = entry(&thread.style);
                thread.left = 1;
            }
        }
    }

    /// Another process frees the lock, or takes it.
    fn elsewhere(&mut self, story: &mut Story) {
        if let Some(due) = self.elsewhere.take() {
            story.line(|| "frees the lock".into());
            self.now = due.max(self.now);
            self.store = Store::Free;
        } else {
            story.line(|| "takes the lock".into());
            self.faults.elsewhere -= 1;
            (self.store, self.elsewhere) = (Store::Elsewhere, Some(self.now + 10));
        }
    }

    fn granted(&mut self, who: usize) {
        self.grants += 1;
        if self.generation > 0 {
            self.seen |= 32;
        }
        for (other, thread) in self.threads.iter_mut().enumerate() {
            if other != who && !thread.entry.is_outside() {
                thread.overtaken += 1;
            }
        }
    }

    fn wake(&mut self, who: Option<u8>) {
        let Some(thread) = who.and_then(|who| self.threads.get_mut(usize::from(who))) else { return };
        if thread.doing == Doing::Parked {
            thread.due = self.now;
        } else {
            thread.token = true;
        }
    }

    /// Finds out if a promise is broken now.
    fn settle(&mut self, scenario: &Scenario) {
        let waits = self.threads.iter().any(|thread| !thread.entry.is_outside());
        let is_idle = match self.store {
            Store::Free => true,
            Store::Held(request) => !self.threads[usize::from(request.thread)].works_for(request),
            Store::Elsewhere => false,
        };
        self.idle_since = (waits && is_idle).then(|| self.idle_since.unwrap_or(self.now));
        let broken = if !self.hand_over_arrives() {
            Some(Promise::HandOverArrives)
        } else if self.most_overtaken() > scenario.overtaken {
            Some(Promise::TurnsCome)
        } else if self.idle_for() > scenario.idle {
            Some(Promise::NotLeftFree)
        } else {
            let is_busy = self.threads.iter().any(|thread| thread.steps > STEPS_WITHOUT_PAUSE);
            is_busy.then_some(Promise::NoBusyLoop)
        };
        self.broken = self.broken.or(broken);
    }

    /// Whether somebody knows of the lock that the store has: its holder, a waiter to be told, or who gives it back.
    fn hand_over_arrives(&self) -> bool {
        let Store::Held(request) = self.store else { return true };
        let owner = &self.threads[usize::from(request.thread)];
        let is_waiting = owner.left == request.left && owner.doing != Doing::Done;
        let is_returned = self.threads.iter().any(|thread| match thread.doing {
            Doing::Returning(gone) => gone == request,
            // Who has gone by the time at which nobody answers leaves the lock to its lease.
            Doing::Released(Some(_), outcome) => outcome == Outcome::HandedOver(request) || outcome == Outcome::Unknown,
            _ => false,
        });
        is_waiting || is_returned
    }

    /// How often somebody in the queue was overtaken.
    pub(super) fn most_overtaken(&self) -> u8 {
        self.threads.iter().map(|thread| thread.overtaken).max().unwrap_or(0)
    }

    /// For how long the lock has been of no use to anybody.
    pub(super) fn idle_for(&self) -> u32 {
        self.idle_since.map_or(0, |since| self.now - since)
    }

    pub(super) fn is_over(&self) -> bool {
        self.threads.iter().all(|thread| thread.doing == Doing::Done)
    }
}
