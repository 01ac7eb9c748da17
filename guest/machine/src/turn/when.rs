//! How long turns take, and so when to look or try again.

use core::time::Duration;

use super::queue::{AfterPause, Queue};
use crate::records::wait_list::{LONGEST_TURN, corrected, rounded};
use crate::values::kv::Version;
use crate::values::time::Time;
use crate::wait::Wait;

/// The shortest pause: what a system's timers can do. The round trip that follows is about as long again.
const SHORTEST: Duration = Duration::from_micros(20);
/// A turn comes this part of it sooner or later than expected.
pub(super) const ERROR: u32 = 6;
/// Who has so many before it looks again when half of them are done.
const FAR: u32 = 8;
/// Of the time for which it was looked already whether a turn ends, a pause is this part; and of the error at least.
const PATIENCE: u32 = 8;

impl Queue {
    /// When the holder's turn began: what its wall clock says, within what is known otherwise. How long turns are must
    /// be known, too, or it would be waited for on a guess.
    pub(super) fn plausible(&self, since: Option<Time>) -> Option<Time> {
        since.filter(|_| self.measured).map(|since| self.within_what_was_seen(since))
    }

    pub(super) fn within_what_was_seen(&self, since: Time) -> Time {
        since.max(self.other_at.unwrap_or(since)).min(self.seen_since.unwrap_or(since))
    }

    /// How long the turn of whoever has the lock took, if it is over now and was seen to begin.
    pub(super) fn turn_until(&self, end: Time) -> Option<Duration> {
        self.holder.and(self.other_at)?;
        Some(end.since(self.began?))
    }

    /// Brings up to date what is known of turns.
    pub(super) fn learn(&mut self, now: Time, version: Option<Version>, told: Option<Duration>) {
        let looked = self.looked.replace(now);
        if self.turn.is_none() && self.has_moved(version) && self.seen.is_some() {
            // It may have changed hands more than once.
            self.turn = looked.map(|looked| now.since(looked) / 2);
        }
        self.measured |= told.is_some() || self.found.is_some();
        // The line tells what all have found; what this session found is told to it once.
        let turn = match self.found.take() {
            Some(found) => Some(corrected(told, found)),
            None => told.or(self.turn),
        };
        self.turn = turn.map(|turn| believable(turn, self.last_turn).min(LONGEST_TURN));
        if version != self.seen || self.seen_since.is_none() {
            (self.seen, self.seen_since) = (version, Some(now));
        }
    }

    /// How long to pause, and what then.
    pub(crate) fn pause(&mut self, now: Time, wait: &mut Wait) -> (Duration, AfterPause) {
        let (pause, then) = self.plan(now, wait);
        self.paused = pause;
        (pause, then)
    }

    fn plan(&self, now: Time, wait: &mut Wait) -> (Duration, AfterPause) {
        let Some(standing) = &self.standing else {
            // Those who fill a line may all have crashed.
            let then = if self.seen.is_none() { AfterPause::Try } else { AfterPause::Look };
            let length = u32::try_from(self.line.len()).unwrap_or(u32::MAX);
            return (wait.next_pause().saturating_mul(length.max(1)), then);
        };
        // Whoever is next had time to take it, and may have crashed.
        let left_free = self.seen.is_none() && standing.confirmed;
        let then = if standing.place == 0 || left_free { AfterPause::Try } else { AfterPause::Look };
        let before = standing.place.max(1);
        let longest = wait.settled_pause().max(2 * SHORTEST);
        let most = if self.seen.is_none() { longest * 3 / 2 } else { longest.saturating_mul(self.patience(before)) };
        let known = self.turn.zip(standing.expected).filter(|_| standing.place == 0 || self.is_believed(wait));
        let Some((turn, expected)) = known else {
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
        // Who holds it takes longer than usual: pauses grow with the time that it takes longer.
        let overdue = now.since(self.seen_since.unwrap_or(now).after(turn)).max(now.since(expected.before(error)));
        (pause.max(overdue / PATIENCE).min(most), then)
    }

    /// How many intervals it pauses at most while somebody has the lock. Those before it may all have crashed, so the
    /// last of the line looks as often as the first.
    fn patience(&self, before: u32) -> u32 {
        if self.line.behind(self.ticket) == 0 { 1 } else { before }
    }

    /// Whether how long turns are said to be may be slept on. It may be hearsay; and a turn that was longer than others
    /// are, by a crash perhaps, is told on until somebody sees another.
    fn is_believed(&self, wait: &Wait) -> bool {
        let is_seen = self.remembered || self.last_turn.is_some();
        !self.hearsay && (is_seen || self.turn <= Some(wait.interval()))
    }

    /// How long turns were while it waited, if it has the lock now.
    pub(crate) fn found(&self, now: Time) -> Option<Duration> {
        let standing = self.standing.as_ref()?;
        // It became free at some time in the last pause.
        let took = now.since(standing.since).saturating_sub(self.paused / 2);
        let turn = took / standing.turns.max(1);
        let last_turn = self.turn_until(now.before(self.paused / 2)).or(self.last_turn);
        Some(rounded(believable(turn, last_turn)))
    }
}

/// How long turns are said to be, within what was seen last: those who are faster than the line have turns, too, and
/// what is told may be of another time.
fn believable(turn: Duration, last: Option<Duration>) -> Duration {
    last.map_or(turn, |last| turn.min(last + last / ERROR))
}
