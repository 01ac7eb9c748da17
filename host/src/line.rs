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

use crate::component::HandedOver;
use crate::holder::WaitingFor;
use crate::store::Ttl;
use crate::waiting::Attempt;
use crate::wanted::Kind;

mod seat;

pub(crate) use seat::{Heir, Seat};

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
    pub(crate) at_least: Duration,
    pub(crate) quarantine: Option<Duration>,
}

/// How somebody waits between two looks at the line.
#[derive(Clone, Copy)]
pub(crate) enum Stay {
    /// Its caller comes back.
    Polled,
    /// The thread that looks does nothing else.
    Blocked {
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
    fn pause_of(&self, number: i64, now: Duration, stay: Stay) -> Option<Duration> {
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
