//! Sessions of one process that wait for the same key stand in line: the first asks the store, the others wait for
//! their turn.
//!
//! The line says who asks, and to whom a lock may be handed over, no more. Who holds the lock is decided by the component
//! and the store, so nothing here can make two holders, and a line that is passed by does no harm. What must not happen
//! is that somebody waits for ever for somebody who has gone: the first in line loses its place when it is dropped, when
//! its wait is over, and when it is not polled though its pause has passed. And a lock that is handed over must reach
//! its heir: only a thread that is blocked in its wait is one, and what it does not take all the same is given back.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::thread::Thread;
use std::time::Duration;

use crate::engine::bindings::exports::kvlock::lock::mutex::{Claim, HandedOver};
use crate::holder::WaitingFor;
use crate::store::Ttl;
use crate::waiting::Attempt;
use crate::wanted::Kind;

/// How much later than it said the first in line may be polled, before it is passed over: an event loop has its delays.
const GRACE: Duration = Duration::from_millis(100);
/// How often a blocked thread looks at its line, unless it is woken: what it waits for may have changed, which is told
/// in the log, and a place that was lost without a word is found.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The lines of a client's sessions, in one process.
pub(crate) struct Lines {
    process: u32,
    /// How many there are: whoever finds none needs no lock to know it.
    count: AtomicUsize,
    table: Mutex<Table>,
    /// Those of a fork, which inherits none: the threads that stood in them are not there, and the table may be locked
    /// by one of them for ever.
    of_fork: OnceLock<Arc<Lines>>,
}

#[derive(Default)]
struct Table {
    lines: HashMap<Place, Line>,
    /// The numbers that were given last, at the front and at the back. None is ever given twice.
    front: i64,
    back: i64,
}

/// What is waited for: a place in the store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Place(Arc<str>, Kind);

struct Line {
    /// By number; the first asks.
    waiters: BTreeMap<i64, Waiter>,
    heard: Arc<Heard>,
    /// When the store is to be asked next, by the clock.
    next_ask: Duration,
    /// Who asked last, by number, and on what terms.
    asked: Option<(i64, Terms)>,
}

/// What the first in line heard last.
pub(crate) struct Heard {
    /// When it asked, by the clock.
    pub(crate) at: Duration,
    pub(crate) waiting_for: WaitingFor,
}

struct Waiter {
    presence: Presence,
    terms: Terms,
    attempt: Arc<Attempt>,
}

enum Presence {
    /// It is about to ask, or in the component.
    Here,
    Blocked(Thread),
    /// It has promised to be back at that time, by the clock.
    Polled(Duration),
    /// It is blocked, and somebody is about to hand the lock over to it.
    Chosen,
    /// The lock is its own, as it will find when it looks.
    Handed(HandedOver),
}

/// What makes a difference to how often the store has to be asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) interval: Duration,
    pub(crate) lease: Ttl,
    pub(crate) quarantine: Option<Duration>,
}

/// How somebody waits between two looks at the line.
pub(crate) enum Stay {
    /// Its caller comes back.
    Polled,
    /// Its thread does nothing else.
    Blocked {
        thread: Thread,
        /// It counts how long an outage lasts, and gives up by itself.
        looks_often: bool,
    },
}

/// How long is waited, by the clock.
#[derive(Clone, Copy)]
pub(crate) struct Limit {
    pub(crate) started: Duration,
    /// None: for ever.
    pub(crate) end: Option<Duration>,
    pub(crate) never_waits: bool,
}

/// What somebody in line is to do.
pub(crate) enum Turn {
    /// It is its turn to ask.
    Ask,
    /// The lock was handed over to it.
    Take(HandedOver),
    /// Look again after the pause, or when woken.
    Wait { pause: Duration, heard: Arc<Heard> },
    /// Its wait is over.
    Over(Arc<Heard>),
}

/// A place in a line. Dropping it leaves the line.
pub(crate) struct Seat {
    lines: Arc<Lines>,
    place: Place,
    number: i64,
    attempt: Arc<Attempt>,
}

/// The first in line, which waits until it is told whether the lock is its own. Dropping it tells that it is not.
pub(crate) struct Heir {
    lines: Arc<Lines>,
    place: Place,
    number: i64,
    attempt: Arc<Attempt>,
    thread: Thread,
}

impl Place {
    pub(crate) fn new(namespace: &str, kind: Kind, key: &str) -> Self {
        // No namespace has a colon, so that no two places are written the same.
        Place(format!("{namespace}:{key}").into(), kind)
    }
}

impl Limit {
    pub(crate) fn waited(self, now: Duration) -> Duration {
        now.saturating_sub(self.started)
    }

    fn is_over(self, now: Duration) -> bool {
        self.end.is_some_and(|end| end <= now)
    }

    fn cut(self, now: Duration, pause: Duration) -> Duration {
        self.end.map_or(pause, |end| pause.min(end.saturating_sub(now)))
    }
}

impl Default for Lines {
    fn default() -> Self {
        Lines {
            process: std::process::id(),
            count: AtomicUsize::new(0),
            table: Mutex::default(),
            of_fork: OnceLock::new(),
        }
    }
}

impl Lines {
    /// Whether nobody waits for anything; none may be told to who has just come.
    pub(crate) fn is_empty(&self) -> bool {
        self.of_fork.get().is_none() && self.count.load(Ordering::Relaxed) == 0
    }

    /// Joins those who wait, if anybody does.
    pub(crate) fn queue(lines: &Arc<Lines>, attempt: &Arc<Attempt>) -> Option<Seat> {
        let (lines, place) = (lines.of_this_process(), attempt.place());
        let mut table = lines.lock();
        table.lines.contains_key(&place).then(|| Lines::sit(lines, &mut table, place, attempt))
    }

    /// Joins those who wait, as the first where nobody does.
    pub(crate) fn join(lines: &Arc<Lines>, attempt: &Arc<Attempt>) -> Seat {
        let (lines, place) = (lines.of_this_process(), attempt.place());
        Lines::sit(lines, &mut lines.lock(), place, attempt)
    }

    fn sit(lines: &Arc<Lines>, table: &mut Table, place: Place, attempt: &Arc<Attempt>) -> Seat {
        table.back += 1;
        let number = table.back;
        let line = table.lines.entry(place.clone()).or_insert_with(Line::new);
        let waiter = Waiter { presence: Presence::Here, terms: attempt.terms(), attempt: attempt.clone() };
        line.waiters.insert(number, waiter);
        lines.count.store(table.lines.len(), Ordering::Relaxed);
        Seat { lines: lines.clone(), place, number, attempt: attempt.clone() }
    }

    /// The first in line for what somebody of this process is about to give back, if its thread is there to take it.
    pub(crate) fn heir(lines: &Arc<Lines>, place: &Place) -> Option<Heir> {
        let lines = lines.of_this_process();
        let mut table = lines.lock();
        let mut first = table.lines.get_mut(place)?.waiters.first_entry()?;
        let Waiter { presence: Presence::Blocked(thread), attempt, .. } = first.get() else { return None };
        let (attempt, thread) = (attempt.clone(), thread.clone());
        first.get_mut().presence = Presence::Chosen;
        Some(Heir { lines: lines.clone(), place: place.clone(), number: *first.key(), attempt, thread })
    }

    /// Somebody of this process gave back what is waited for.
    pub(crate) fn freed(self: &Arc<Self>, place: &Place, now: Duration) {
        if let Some(line) = self.of_this_process().lock().lines.get_mut(place) {
            line.ask_at_once(now);
        }
    }

    fn of_this_process(self: &Arc<Self>) -> &Arc<Lines> {
        if self.process == std::process::id() {
            return self;
        }
        self.of_fork.get_or_init(Arc::default).of_this_process()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // The table is whole between any two statements that change it.
        self.table.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Seat {
    /// Looks what to do; none if the place was lost.
    pub(crate) fn look(&mut self, now: Duration, limit: Limit, stay: &Stay) -> Option<Turn> {
        if self.lines.process != std::process::id() {
            return None;
        }
        let mut table = self.lines.lock();
        let Table { lines, front, .. } = &mut *table;
        let line = lines.get_mut(&self.place)?;
        let presence = &mut line.waiters.get_mut(&self.number)?.presence;
        match std::mem::replace(presence, Presence::Here) {
            Presence::Handed(handed) => return Some(Turn::Take(handed)),
            Presence::Chosen => {
                // Whoever chose it makes one call, and tells.
                *presence = Presence::Chosen;
                return Some(Turn::Wait { pause: LOOK_EVERY, heard: line.heard.clone() });
            }
            Presence::Here | Presence::Blocked(_) | Presence::Polled(_) => {}
        }
        line.pass_over_the_absent(now);
        if line.is_too_slow_for(self.number, now) {
            *front -= 1;
            line.waiters.remove(&self.number).and_then(|waiter| line.waiters.insert(*front, waiter));
            self.number = *front;
            return Some(Turn::Ask);
        }
        let heard = line.heard.clone();
        let pause = if line.first() == Some(self.number) {
            // One that asked when its wait was over, and is to ask again, finds out yet what became of a write.
            let asked = line.asked.is_some_and(|(asker, _)| asker == self.number);
            let finds_out = asked && limit.is_over(heard.at);
            if line.next_ask <= now || (limit.is_over(now) && !finds_out) {
                return Some(Turn::Ask);
            }
            let pause = line.next_ask.saturating_sub(now);
            if finds_out { pause } else { limit.cut(now, pause) }
        } else if limit.is_over(now) {
            return Some(Turn::Over(heard));
        } else {
            limit.cut(now, line.pause_of(self.number, now, stay)?)
        };
        line.waiters.get_mut(&self.number)?.presence = match stay {
            Stay::Polled => Presence::Polled(now.saturating_add(pause)),
            Stay::Blocked { thread, .. } => Presence::Blocked(thread.clone()),
        };
        Some(Turn::Wait { pause, heard })
    }

    /// Notes what the component said, which is to be asked again after the pause.
    pub(crate) fn hear(&self, now: Duration, pause: Duration, heard: Heard) {
        let mut table = self.lines.lock();
        let line = table.lines.get_mut(&self.place);
        if let Some(line) = line.filter(|line| line.first() == Some(self.number)) {
            (line.next_ask, line.heard) = (now.saturating_add(pause), Arc::new(heard));
            line.asked = line.waiters.get(&self.number).map(|waiter| (self.number, waiter.terms));
        }
    }

    /// Leaves the line with a grant, and tells those behind what they wait for now, if that is known. If so, the store
    /// need not be asked for an interval; if not, it is asked at once.
    pub(crate) fn leave(self, now: Duration, heard: Option<Heard>) {
        let mut table = self.lines.lock();
        if let Some(line) = table.lines.get_mut(&self.place) {
            match heard {
                Some(heard) => {
                    let interval = line.interval_of_the_next(self.number);
                    (line.next_ask, line.heard) = (now.saturating_add(interval), Arc::new(heard));
                }
                None => line.next_ask = now,
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if self.lines.process != std::process::id() {
            return;
        }
        let mut table = self.lines.lock();
        let Some(line) = table.lines.get_mut(&self.place) else { return };
        let left = line.remove(self.number);
        if line.waiters.is_empty() {
            table.lines.remove(&self.place);
            self.lines.count.store(table.lines.len(), Ordering::Relaxed);
        }
        drop(table);
        if let Some(Waiter { presence: Presence::Handed(handed), .. }) = left {
            self.attempt.decline(handed);
        }
    }
}

impl Heir {
    /// What to write for it; none if it cannot be told without waiting.
    pub(crate) fn claim(&self) -> Option<Claim> {
        self.attempt.claim()
    }

    /// Tells it that the lock is its own.
    pub(crate) fn tell(self, handed: HandedOver) {
        if !self.note(Presence::Handed(handed)) {
            // Its thread has gone all the same.
            self.attempt.decline(handed);
        }
    }

    /// Whether it was there yet to be told.
    fn note(&self, presence: Presence) -> bool {
        let mut table = self.lines.lock();
        let line = table.lines.get_mut(&self.place);
        let waiter = line.and_then(|line| line.waiters.get_mut(&self.number));
        let waiter = waiter.filter(|waiter| matches!(waiter.presence, Presence::Chosen));
        waiter.map(|waiter| waiter.presence = presence).is_some()
    }
}

impl Drop for Heir {
    fn drop(&mut self) {
        self.note(Presence::Here);
        self.thread.unpark();
    }
}

impl Line {
    fn new() -> Self {
        let heard = Arc::new(Heard { at: Duration::ZERO, waiting_for: WaitingFor::Turn });
        Line { waiters: BTreeMap::new(), heard, next_ask: Duration::ZERO, asked: None }
    }

    fn first(&self) -> Option<i64> {
        self.waiters.first_key_value().map(|(number, _)| *number)
    }

    /// Removes one; whoever is first then looks what to do.
    fn remove(&mut self, number: i64) -> Option<Waiter> {
        let was_first = self.first() == Some(number);
        let removed = self.waiters.remove(&number);
        if was_first {
            self.wake_first();
        }
        removed
    }

    fn wake_first(&self) {
        if let Some((_, Waiter { presence: Presence::Blocked(thread), .. })) = self.waiters.first_key_value() {
            thread.unpark();
        }
    }

    /// Removes those at the front who should have been back.
    fn pass_over_the_absent(&mut self, now: Duration) {
        while let Some((number, Waiter { presence: Presence::Polled(until), .. })) = self.waiters.first_key_value()
            && until.saturating_add(GRACE) <= now
        {
            let number = *number;
            self.remove(number);
        }
    }

    /// Whether the store is to be asked later than this one would wait, and it would not be in vain to ask before.
    fn is_too_slow_for(&self, number: i64, now: Duration) -> bool {
        let (Some((_, slow)), Some(waiter)) = (&self.asked, self.waiters.get(&number)) else { return false };
        if self.next_ask <= now.saturating_add(waiter.terms.interval) {
            return false;
        }
        match self.heard.waiting_for {
            // How long it lasts is a matter of the lease and of the session's options.
            WaitingFor::Quarantine(_) => *slow != waiter.terms,
            _ => slow.interval > waiter.terms.interval,
        }
    }

    /// How long one who is not the first waits until it looks again.
    fn pause_of(&self, number: i64, now: Duration, stay: &Stay) -> Option<Duration> {
        let interval = self.waiters.get(&number)?.terms.interval;
        let (_, first) = self.waiters.first_key_value()?;
        Some(match (stay, &first.presence) {
            (Stay::Polled | Stay::Blocked { looks_often: true, .. }, _) => interval,
            (Stay::Blocked { .. }, Presence::Polled(until)) => {
                until.saturating_add(GRACE).saturating_sub(now).min(LOOK_EVERY)
            }
            (Stay::Blocked { .. }, _) => LOOK_EVERY,
        })
    }

    fn interval_of_the_next(&self, number: i64) -> Duration {
        let mut behind = self.waiters.iter().filter(|(other, _)| **other != number);
        behind.next().map_or(Duration::ZERO, |(_, waiter)| waiter.terms.interval)
    }

    /// The store is asked now, by whoever is first.
    fn ask_at_once(&mut self, now: Duration) {
        if now < self.next_ask {
            self.next_ask = now;
            self.wake_first();
        }
    }
}
