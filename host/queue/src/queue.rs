//! The queue of one place.

use alloc::collections::BTreeMap;
use core::time::Duration;

use crate::entry::WaitLimit;
use crate::values::{Answer, LastAnswer, NextStep, PollTerms, WaitMode};

/// How much later than it promised the first may come back before the queue passes it over: an event loop has its
/// delays.
pub const GRACE: Duration = Duration::from_millis(100);
/// How often a parked thread looks at its queue unless it is woken. The answer may have changed, which goes to the log;
/// and it may have to pass over a request that does not come back.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Queue<W, A, H> {
    /// By number; the first polls the store.
    waiters: BTreeMap<i64, Waiter<W, H>>,
    last_answer: LastAnswer<A>,
    /// See [`Answer::depends_on_terms`].
    depends_on_terms: bool,
    /// The number and the terms of the request that got the last answer.
    polled_by: (i64, PollTerms),
    /// When to poll next.
    next_poll: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Waiter<W, H> {
    state: WaiterState<W, H>,
    terms: PollTerms,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum WaiterState<W, H> {
    /// Its thread is about to poll, or inside a poll.
    Polling,
    Parked(W),
    /// It has promised to be back at that time.
    DueAt(Duration),
    /// It is parked, and a thread is about to hand the lock over to it.
    Selected,
    /// The lock is its own, as it will find when it looks.
    HandedOver(H),
}

impl<W: Clone, A: Clone, H> Queue<W, A, H> {
    pub(crate) fn new(answer: &Answer<A>, now: Duration, number: i64, terms: PollTerms) -> Self {
        Queue {
            waiters: BTreeMap::new(),
            last_answer: LastAnswer { at: answer.asked_at, waiting_for: answer.waiting_for.clone() },
            depends_on_terms: answer.depends_on_terms,
            polled_by: (number, terms),
            next_poll: now.saturating_add(answer.pause),
        }
    }

    pub(crate) fn append(&mut self, number: i64, terms: PollTerms) {
        self.waiters.insert(number, Waiter { state: WaiterState::Polling, terms });
    }

    pub(crate) fn has(&self, number: i64) -> bool {
        self.waiters.contains_key(&number)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    /// Notes an answer, if the first got it.
    pub(crate) fn note(&mut self, number: i64, answer: Answer<A>, now: Duration) {
        let Some((first, waiter)) = self.waiters.first_key_value() else { return };
        if *first == number {
            self.polled_by = (number, waiter.terms);
            self.next_poll = now.saturating_add(answer.pause);
            self.last_answer = LastAnswer { at: answer.asked_at, waiting_for: answer.waiting_for };
            self.depends_on_terms = answer.depends_on_terms;
        }
    }

    /// Notes that a request got what it waited for.
    pub(crate) fn served(&mut self, number: i64, now: Duration, answer: Option<A>) {
        self.next_poll = now;
        if let Some(waiting_for) = answer {
            let next = self.waiters.iter().find(|(other, _)| **other != number);
            let interval = next.map_or(Duration::ZERO, |(_, waiter)| waiter.terms.interval);
            self.next_poll = now.saturating_add(interval);
            self.last_answer = LastAnswer { at: now, waiting_for };
            self.depends_on_terms = false;
        }
    }

    /// Removes a request. Returns the lock that was handed over to it, if any, and the waiters to wake: the next one
    /// asks what to do.
    pub(crate) fn remove(&mut self, number: i64) -> (Option<H>, Option<W>) {
        let was_first = self.first() == Some(number);
        let hand_over = match self.waiters.remove(&number) {
            Some(Waiter { state: WaiterState::HandedOver(hand_over), .. }) => Some(hand_over),
            _ => None,
        };
        (hand_over, if was_first { self.waker_of_the_first() } else { None })
    }

    /// Removes those at the front that should have been back, but not the one that looks.
    pub(crate) fn pass_over_the_absent(&mut self, looks: i64, now: Duration) -> Option<W> {
        let mut wake = None;
        while let Some((number, Waiter { state: WaiterState::DueAt(due), .. })) = self.waiters.first_key_value()
            && due.saturating_add(GRACE) <= now
            && *number != looks
        {
            wake = self.remove(*number).1;
        }
        wake
    }

    /// Moves a request to the front if the first polls too seldom for it.
    pub(crate) fn goes_first(&mut self, number: i64, front: i64, now: Duration) -> bool {
        let moves = self.is_polled_too_seldom_for(number, now);
        if moves && let Some(mut waiter) = self.waiters.remove(&number) {
            waiter.state = WaiterState::Polling;
            self.waiters.insert(front, waiter);
        }
        moves
    }

    /// Returns true if the next poll comes later than this request would poll alone, and an earlier poll of its own
    /// could tell it more.
    fn is_polled_too_seldom_for(&self, number: i64, now: Duration) -> bool {
        let Some(Waiter { state, terms }) = self.waiters.get(&number) else { return false };
        if matches!(state, WaiterState::Selected | WaiterState::HandedOver(_))
            || self.next_poll <= now.saturating_add(terms.interval)
        {
            return false;
        }
        let (_, polled_on) = self.polled_by;
        if self.depends_on_terms { polled_on != *terms } else { polled_on.interval > terms.interval }
    }

    pub(crate) fn step(&mut self, number: i64, now: Duration, limit: WaitLimit, mode: WaitMode<W>) -> NextStep<A, H> {
        let last_answer = self.last_answer.clone();
        let first = self.first();
        let pause_behind = self.pause_behind(number, now, &mode);
        let Some(waiter) = self.waiters.get_mut(&number) else { return NextStep::Poll };
        match core::mem::replace(&mut waiter.state, WaiterState::Polling) {
            WaiterState::HandedOver(hand_over) => return NextStep::TakeHandOver(hand_over),
            WaiterState::Selected => {
                // The releaser makes one call and settles. A hand-over that comes too late is given back.
                waiter.state = WaiterState::Selected;
                if limit.is_over(now) {
                    return NextStep::TimedOut(last_answer);
                }
                return NextStep::Wait { pause: limit.cut(now, LOOK_EVERY), last_answer };
            }
            WaiterState::Polling | WaiterState::Parked(_) | WaiterState::DueAt(_) => {}
        }
        let pause = if first == Some(number) {
            // A poll at the end of the wait may ask for one more, which finds out what became of a write.
            let finds_out = self.polled_by.0 == number && limit.is_over(last_answer.at);
            if self.next_poll <= now || (limit.is_over(now) && !finds_out) {
                return NextStep::Poll;
            }
            let pause = self.next_poll.saturating_sub(now);
            if finds_out { pause } else { limit.cut(now, pause) }
        } else if limit.is_over(now) {
            return NextStep::TimedOut(last_answer);
        } else {
            limit.cut(now, pause_behind)
        };
        waiter.state = match mode {
            WaitMode::Polled => WaiterState::DueAt(now.saturating_add(pause)),
            WaitMode::Parked { waker, .. } => WaiterState::Parked(waker),
        };
        NextStep::Wait { pause, last_answer }
    }

    /// Returns how long a request that is not the first waits until it looks again.
    fn pause_behind(&self, number: i64, now: Duration, mode: &WaitMode<W>) -> Duration {
        if matches!(mode, WaitMode::Polled | WaitMode::Parked { looks_often: true, .. }) {
            return self.waiters.get(&number).map_or(Duration::ZERO, |waiter| waiter.terms.interval);
        }
        match self.waiters.first_key_value() {
            Some((_, Waiter { state: WaiterState::DueAt(due), .. })) => {
                due.saturating_add(GRACE).saturating_sub(now).min(LOOK_EVERY)
            }
            _ => LOOK_EVERY,
        }
    }

    /// Promises that a request comes back at that time.
    pub(crate) fn promise(&mut self, number: i64, due: Duration) {
        if let Some(waiter) = self.waiters.get_mut(&number)
            && matches!(waiter.state, WaiterState::Polling)
        {
            waiter.state = WaiterState::DueAt(due);
        }
    }

    pub(crate) fn stop_waiting(&mut self, number: i64) -> bool {
        let Some(waiter) = self.waiters.get_mut(&number) else { return true };
        let is_selected = matches!(waiter.state, WaiterState::Selected | WaiterState::HandedOver(_));
        if !is_selected {
            waiter.state = WaiterState::Polling;
        }
        !is_selected
    }

    pub(crate) fn select_successor(&mut self) -> Option<(i64, W)> {
        let mut first = self.waiters.first_entry()?;
        let WaiterState::Parked(waker) = &first.get().state else { return None };
        let waker = waker.clone();
        first.get_mut().state = WaiterState::Selected;
        Some((*first.key(), waker))
    }

    pub(crate) fn settle(&mut self, number: i64, hand_over: Option<H>) -> Result<(), H> {
        let waiter = self.waiters.get_mut(&number);
        match waiter.filter(|waiter| matches!(waiter.state, WaiterState::Selected)) {
            Some(waiter) => {
                waiter.state = hand_over.map_or(WaiterState::Polling, WaiterState::HandedOver);
                Ok(())
            }
            None => hand_over.map_or(Ok(()), Err),
        }
    }

    pub(crate) fn poll_at_once(&mut self, now: Duration) -> Option<W> {
        if self.next_poll <= now {
            return None;
        }
        self.next_poll = now;
        self.waker_of_the_first()
    }

    fn first(&self) -> Option<i64> {
        self.waiters.first_key_value().map(|(number, _)| *number)
    }

    fn waker_of_the_first(&self) -> Option<W> {
        match self.waiters.first_key_value() {
            Some((_, Waiter { state: WaiterState::Parked(waker), .. })) => Some(waker.clone()),
            _ => None,
        }
    }
}
