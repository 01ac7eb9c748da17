//! How long a waiter pauses, and what it does then.

use core::time::Duration;

use super::estimate::ERROR;
use super::member::Member;
use crate::values::Time;
use crate::wait::Wait;

/// The shortest pause: what a system's timers can do. The round trip that follows takes about as long again.
const SHORTEST: Duration = Duration::from_micros(20);
/// A waiter with this many before it looks again when half of them are done.
const FAR: u32 = 8;
/// A pause is this part of the time for which the waiter has watched for the end of a turn, and of the error at least.
const PATIENCE: u32 = 8;

/// What to do after a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum AfterPause {
    Try,
    Look,
}

impl Member {
    /// Returns how long to pause, and what to do then.
    pub(crate) fn pause(&mut self, now: Time, wait: &mut Wait) -> (Duration, AfterPause) {
        let (pause, then) = self.plan(now, wait);
        self.paused = pause;
        (pause, then)
    }

    fn plan(&self, now: Time, wait: &mut Wait) -> (Duration, AfterPause) {
        let is_free = self.holder.is_free();
        let Some(standing) = &self.standing else {
            // Those who fill a list may all have crashed.
            let then = if is_free { AfterPause::Try } else { AfterPause::Look };
            let length = u32::try_from(self.list.len()).unwrap_or(u32::MAX);
            return (wait.next_pause().saturating_mul(length.max(1)), then);
        };
        // The first had time to take it, and may have crashed.
        let left_free = is_free && standing.confirmed;
        let then = if standing.place == 0 || left_free { AfterPause::Try } else { AfterPause::Look };
        let before = standing.place.max(1);
        let longest = wait.settled_pause().max(2 * SHORTEST);
        let most = if is_free { longest * 3 / 2 } else { longest.saturating_mul(self.patience(before)) };
        let is_trusted = standing.place == 0 || self.turn.is_trusted(wait.interval());
        let Some((turn, expected)) = self.turn.length().zip(standing.expected).filter(|_| is_trusted) else {
            return (wait.next_pause().saturating_mul(before).min(most), then);
        };
        let error = (turn / ERROR).clamp(2 * SHORTEST, longest);
        let pause = match standing.place {
            // Holds may be shorter than those before, and turns than is told.
            0 => {
                let taken_for = now.since(expected.before(turn));
                now.until(expected.before(error)).min((2 * taken_for).max(error)).max(error / PATIENCE).max(SHORTEST)
            }
            _ if left_free => error.saturating_mul(before),
            1..FAR => now.until(expected.before(turn).after(error)).max(error),
            place => now.until(expected.before(turn * (place / 2))).max(error),
        };
        // The holder takes longer than usual: pauses grow with the delay.
        let held_since = self.holder.version_since().unwrap_or(now);
        let overdue = now.since(held_since.after(turn)).max(now.since(expected.before(error)));
        (pause.max(overdue / PATIENCE).min(most), then)
    }

    /// Returns how many intervals it pauses at most while the lock is held. Those before it may all have crashed, so
    /// the last of the list looks as often as the first.
    fn patience(&self, before: u32) -> u32 {
        if self.list.behind(self.ticket) == 0 { 1 } else { before }
    }

    /// Returns how long turns were while it waited, if it has the lock now.
    pub(crate) fn measured(&self, now: Time) -> Option<Duration> {
        let standing = self.standing.as_ref()?;
        // The lock became free at some time in the last pause.
        let took = now.since(standing.since).saturating_sub(self.paused / 2);
        let last = self.holder.turn_until(now.before(self.paused / 2));
        Some(self.turn.to_tell(took / standing.turns.max(1), last))
    }
}
