//! The queues of one process: requests that wait for the same place in the store.
//!
//! The first request of a queue polls the store for all of them; the others wait for their turn. A thread of the
//! process that releases a lock hands it over to the first request, if that request's thread is parked.
//!
//! The crate has no thread, no clock and no process id. Its caller passes the time, asks the store, and parks and wakes
//! threads; the library `kvlock` does so, and the model checker of `tests/proof` plays both sides. For each request:
//!
//! 1. [`Queues::next_step`] tells what to do next: poll the store, wait, take a hand-over, or give up.
//! 2. After a poll, [`Queues::answered`] notes the answer and tells how long to pause, or [`Queues::granted`] ends the
//!    wait.
//! 3. [`Queues::leave`] ends a wait without a grant.
//!
//! For each release: [`Queues::select_successor`], one write to the store, and [`Queues::settle`]; and
//! [`Queues::freed`] if nobody took the lock over.
//!
//! # Invariants
//!
//! - The queue cannot make two holders: the store decides who holds a lock, and the queue only who polls.
//! - At most one successor is selected at a time, and only a parked one.
//! - A hand-over reaches its successor or comes back from [`settle`](Queues::settle) or [`leave`](Queues::leave).
//! - Nobody waits for a request that has gone: a queue passes over a request that does not come back in time.
//! - A request that waits is served before all that joined the queue after it, unless they have to poll more often.

#![no_std]

extern crate alloc;

mod entry;
mod queue;
mod values;

use alloc::collections::BTreeMap;
use core::time::Duration;

pub use entry::{Entry, Stake};
pub use values::{Answer, LastAnswer, NextStep, PollTerms, Ticket, WaitMode};

use queue::Queue;
pub use queue::{GRACE, LOOK_EVERY};

/// All queues of a process, by place in the store.
///
/// `P` is a place, `W` wakes a parked thread, `A` is what a request waits for as the store told it, and `H` is a lock
/// that was handed over. Methods that return an `Option<W>` beside their value want that thread woken.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Queues<P, W, A, H> {
    generation: u64,
    /// No queue is empty.
    queues: BTreeMap<P, Queue<W, A, H>>,
    /// The numbers that were given last, at the front and at the back. None is given twice.
    front: i64,
    back: i64,
}

impl<P: Ord + Clone, W: Clone, A: Clone, H> Queues<P, W, A, H> {
    /// Makes the queues of a process. Each process of a tree of forks has a generation of its own: a request that
    /// joined a queue before the fork is in none after it.
    pub fn new(generation: u64) -> Self {
        Queues { generation, queues: BTreeMap::new(), front: 0, back: 0 }
    }

    /// Returns how many places are waited for.
    pub fn len(&self) -> usize {
        self.queues.len()
    }

    /// Returns true if nobody waits for anything.
    pub fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// Tells what a request is to do next. It joins the queue of its place if there is one.
    pub fn next_step(
        &mut self,
        place: &P,
        entry: &mut Entry,
        stake: Stake,
        now: Duration,
        mode: WaitMode<W>,
    ) -> (NextStep<A, H>, Option<W>) {
        let limit = entry.begin(now);
        let bypasses = limit.never_waits || (entry.must_bypass(stake) && self.stop_waiting(place, entry));
        let (step, wake) = if bypasses {
            (NextStep::Poll, None)
        } else {
            if self.queue_of(place, entry).is_none() {
                // The queue has passed it over, or it never was in one.
                entry.ticket = None;
                if self.queues.contains_key(place) {
                    self.join(place, entry, None);
                }
            }
            self.consult(place, entry, now, mode)
        };
        if matches!(step, NextStep::Poll | NextStep::TakeHandOver(_)) {
            entry.note_poll(stake);
        }
        (step, wake)
    }

    /// Notes that the store did not grant what a request polled for, and tells how long to pause before the next step.
    /// The request waits in the queue from now on, unless it is in doubt: then nobody can wait for it.
    pub fn answered(
        &mut self,
        place: &P,
        entry: &mut Entry,
        answer: Answer<A>,
        now: Duration,
        mode: WaitMode<W>,
    ) -> (Duration, Option<W>) {
        let pause = answer.pause;
        if answer.in_doubt {
            if let Some((queue, number)) = self.queue_of(place, entry) {
                queue.note(number, answer, now);
            }
            return (pause, self.leave(place, entry).1);
        }
        if self.queue_of(place, entry).is_none() {
            self.join(place, entry, Some((&answer, now)));
        }
        let Some((queue, number)) = self.queue_of(place, entry) else { return (pause, None) };
        queue.note(number, answer, now);
        let is_polled = matches!(mode, WaitMode::Polled);
        match self.consult(place, entry, now, mode) {
            (NextStep::Wait { pause, .. }, wake) => (pause, wake),
            // It is its turn again, or its wait is over: the next step tells.
            (_, wake) => {
                if is_polled && let Some((queue, number)) = self.queue_of(place, entry) {
                    queue.promise(number, now);
                }
                (Duration::ZERO, wake)
            }
        }
    }

    /// Ends a wait with a grant. With an answer, those behind know what they wait for from now on, and poll after an
    /// interval; without one, the next polls at once.
    pub fn granted(&mut self, place: &P, entry: &mut Entry, now: Duration, answer: Option<A>) -> Option<W> {
        if let Some(ticket) = entry.ticket
            && ticket.generation == self.generation
            && let Some(queue) = self.queues.get_mut(place)
        {
            queue.served(ticket.number, now, answer);
        }
        // A request that takes a hand-over has it before it is granted.
        self.leave(place, entry).1
    }

    /// Ends a wait. The caller gives back a lock that was handed over to the request and that it did not take.
    pub fn leave(&mut self, place: &P, entry: &mut Entry) -> (Option<H>, Option<W>) {
        let left = self.queue_of(place, entry).map(|(queue, number)| (queue.remove(number), queue.is_empty()));
        entry.ticket = None;
        let Some(((hand_over, wake), is_empty)) = left else { return (None, None) };
        if is_empty {
            self.queues.remove(place);
        }
        (hand_over, wake)
    }

    /// Selects the request that a lock is to be handed over to: the first, if its thread is parked. It waits until
    /// [`settle`](Self::settle) is called.
    pub fn select_successor(&mut self, place: &P) -> Option<(Ticket, W)> {
        let (number, waker) = self.queues.get_mut(place)?.select_successor()?;
        Some((Ticket { generation: self.generation, number }, waker))
    }

    /// Tells a selected successor whether the lock was handed over to it; the caller wakes it then. Returns the
    /// hand-over if the successor has gone: the caller gives it back.
    pub fn settle(&mut self, place: &P, successor: Ticket, hand_over: Option<H>) -> Result<(), H> {
        match self.queues.get_mut(place).filter(|_| successor.generation == self.generation) {
            Some(queue) => queue.settle(successor.number, hand_over),
            None => hand_over.map_or(Ok(()), Err),
        }
    }

    /// Notes that somebody of this process gave back what is waited for: the first polls at once.
    pub fn freed(&mut self, place: &P, now: Duration) -> Option<W> {
        self.queues.get_mut(place)?.poll_at_once(now)
    }

    /// Appends a request to the queue of its place, which its answer makes if there is none.
    fn join(&mut self, place: &P, entry: &mut Entry, answer: Option<(&Answer<A>, Duration)>) {
        let number = self.back + 1;
        if !self.queues.contains_key(place) {
            let Some((answer, now)) = answer else { return };
            self.queues.insert(place.clone(), Queue::new(answer, now, number, entry.terms));
        }
        if let Some(queue) = self.queues.get_mut(place) {
            queue.append(number, entry.terms);
            self.back = number;
            entry.ticket = Some(Ticket { generation: self.generation, number });
        }
    }

    /// Lets a request poll out of turn, so that nobody hands over to it meanwhile; false if somebody has or is about to.
    fn stop_waiting(&mut self, place: &P, entry: &Entry) -> bool {
        self.queue_of(place, entry).is_none_or(|(queue, number)| queue.stop_waiting(number))
    }

    fn consult(
        &mut self,
        place: &P,
        entry: &mut Entry,
        now: Duration,
        mode: WaitMode<W>,
    ) -> (NextStep<A, H>, Option<W>) {
        let (front, limit) = (self.front - 1, entry.begin(now));
        let Some((queue, number)) = self.queue_of(place, entry) else { return (NextStep::Poll, None) };
        let wake = queue.pass_over_the_absent(number, now);
        if queue.goes_first(number, front, now) {
            self.front = front;
            entry.ticket = Some(Ticket { generation: self.generation, number: front });
            return (NextStep::Poll, wake);
        }
        (queue.step(number, now, limit, mode), wake)
    }

    /// Returns the queue in which a request is, and its number there.
    fn queue_of(&mut self, place: &P, entry: &Entry) -> Option<(&mut Queue<W, A, H>, i64)> {
        let ticket = entry.ticket.filter(|ticket| ticket.generation == self.generation)?;
        let queue = self.queues.get_mut(place)?;
        queue.has(ticket.number).then_some((queue, ticket.number))
    }
}
