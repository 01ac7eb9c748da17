//! A place in a line, and whoever is first there while somebody hands the lock over to it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::Thread;
use std::time::Duration;

use super::{Heard, LOOK_EVERY, Limit, Lines, Place, Presence, Stay, Table, Turn, Waiter};
use crate::component::{Claim, HandedOver};
use crate::waiting::Attempt;

/// A place in a line. Dropping it leaves the line.
pub(crate) struct Seat {
    pub(super) lines: Arc<Lines>,
    pub(super) place: Place,
    pub(super) number: i64,
    pub(super) attempt: Arc<Attempt>,
}

/// The first in line, which waits until it is told whether the lock is its own. Dropping it tells that it is not.
pub(crate) struct Heir {
    pub(super) lines: Arc<Lines>,
    pub(super) place: Place,
    pub(super) number: i64,
    pub(super) attempt: Arc<Attempt>,
    pub(super) thread: Thread,
}

impl Seat {
    /// Looks what to do; none if the place was lost.
    pub(crate) fn look(&mut self, now: Duration, limit: Limit, stay: Stay) -> Option<Turn> {
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
                // Whoever chose it makes one call, and tells; what comes too late is given back.
                *presence = Presence::Chosen;
                let heard = line.heard.clone();
                return Some(match limit.is_over(now) {
                    true => Turn::Over(heard),
                    false => Turn::Wait { pause: limit.cut(now, LOOK_EVERY), heard },
                });
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
            Stay::Blocked { .. } => Presence::Blocked(std::thread::current()),
        };
        Some(Turn::Wait { pause, heard })
    }

    /// Stands up to ask out of turn, so that nobody hands over what is waited for meanwhile; false if somebody is about to
    /// do so, or has.
    pub(crate) fn stand_up(&self) -> bool {
        if self.lines.process != std::process::id() {
            return true;
        }
        let mut table = self.lines.lock();
        let line = table.lines.get_mut(&self.place);
        let Some(waiter) = line.and_then(|line| line.waiters.get_mut(&self.number)) else { return true };
        let chosen = matches!(waiter.presence, Presence::Chosen | Presence::Handed(_));
        if !chosen {
            waiter.presence = Presence::Here;
        }
        !chosen
    }

    /// Promises to be back at that time.
    pub(crate) fn promise(&self, until: Duration) {
        let mut table = self.lines.lock();
        let waiter = table.lines.get_mut(&self.place).and_then(|line| line.waiters.get_mut(&self.number));
        if let Some(waiter) = waiter.filter(|waiter| matches!(waiter.presence, Presence::Here)) {
            waiter.presence = Presence::Polled(until);
        }
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

    /// Tells it that the lock may be its own, by a write that was not answered.
    pub(crate) fn doubt(&self) {
        self.attempt.doubt();
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
