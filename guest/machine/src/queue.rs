//! When a waiter tries: where it stands in the line, and when its turn is to be expected.
//!
//! Who is next tries often about the time at which the holder is expected to be done. Who stands behind looks again
//! when the line is expected to have moved, which is a look for each turn but not a try; nobody asks less often than
//! once an interval for each one that stands before it. How long a turn takes, from one grant to the next, is what
//! the line tells, what the session measured when it last waited for the key, what the holder's record tells that it
//! measured, or what it sees while it waits: nothing else corrects what the line tells where everybody takes the lock
//! once. When the holder's turn began is what its record tells by a wall clock, where both have one. A clock may be
//! wrong: it is believed within what was seen, and nothing hangs on it but when to look.
//!
//! Who finds the lock free and others before it gives them time to take it, a little for each, and then tries: somebody
//! in the line may have crashed. Where new ones take it as soon as it is given back, it is never found free; so who sees
//! that happen again and again while the line stands still waits no longer for those before it.

use alloc::sync::Arc;
use core::time::Duration;

use crate::contention::Contended;
use crate::hand_over::MAX_IN_A_ROW;
use crate::kv::{Entry, Request, Ttl, Version};
use crate::line::{Line, Ticket};
use crate::name::Key;
use crate::options::MAX_INTERVAL;
use crate::record::Nonce;
use crate::time::Time;
use crate::wait::Wait;

/// The shortest pause: what a system's timers can do. The round trip that follows is about as long again.
const SHORTEST: Duration = Duration::from_micros(20);
/// A turn comes this part of it sooner or later than expected.
const ERROR: u32 = 6;
/// Beyond that it does not matter how long a turn takes: no pause is longer.
const LONGEST_TURN: Duration = MAX_INTERVAL;
/// Who has so many before it looks again when half of them are done.
const FAR: u32 = 8;
/// Of the time for which it was looked already whether a turn ends, a pause is this part; and of the error at least.
const PATIENCE: u32 = 8;
/// The line is forgotten when nobody has joined it for so long. Who waits longer joins anew, and those who are next
/// look most often.
pub(crate) const KEPT_FOR: Duration = Duration::from_secs(60);
/// Where others take the lock so often while the line stands still, its first is not there any more; once more, and
/// neither is the next. It is more often than a process hands the lock over to itself in a row.
const PASSED_OVER: u32 = MAX_IN_A_ROW + 4;
/// How often somebody else may be faster at joining in a row before it is put off to the next look.
const JOINS: u8 = 4;

/// What an acquisition knows of the line.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Queue {
    key: Key,
    /// What the store calls the line.
    pub(crate) store_key: Arc<str>,
    ticket: Ticket,
    /// That of the session's last grant of the key: it may still stand in the line.
    former: Option<Ticket>,
    /// From one grant to the next.
    turn: Option<Duration>,
    /// Whether that was measured by somebody, and is not a first guess.
    measured: bool,
    /// The same, as the session found it when it last had the key.
    found: Option<Duration>,
    /// Whether the session has found it at all.
    remembered: bool,
    /// When the session released the key last.
    released: Option<Time>,
    joins_left: u8,
    standing: Option<Standing>,
    /// How many stood in the line at the last look.
    length: u32,
    /// The record that was looked at last, and found to be that of the present holder.
    seen: Option<Version>,
    seen_since: Option<Time>,
    /// Whose that was.
    holder: Option<Ticket>,
    /// The last look that found another holder, or none.
    other_at: Option<Time>,
    /// Whether nobody but a holder's record told how long turns are, and none was seen to begin and end.
    hearsay: bool,
    /// When the holder's turn began, as far as is known.
    began: Option<Time>,
    /// How long the last turn took that it saw begin and end. Turns of those who are faster than the line count, too.
    last_turn: Option<Duration>,
    looked: Option<Time>,
    /// The last pause.
    paused: Duration,
}

/// A place in the line.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Standing {
    since: Time,
    /// Turns that were to pass from then on.
    turns: u32,
    /// How many stand before; none that counts, if they do not seem to be there.
    place: u32,
    /// How many stand before in the line as it is written.
    written: u32,
    /// How often somebody else was seen to take the lock since the line moved.
    passed_over: u32,
    /// When the lock is expected to be free for it.
    expected: Option<Time>,
    /// Whether it was looked at again since it joined.
    confirmed: bool,
}

/// Who was served last, and has the lock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Served {
    pub(crate) ticket: Ticket,
    pub(crate) version: Version,
    /// Since when, by its wall clock.
    pub(crate) since: Option<Time>,
    /// How long turns are, as it found it while it waited.
    pub(crate) turn: Option<Duration>,
}

/// What to do after a look.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Advice {
    /// It is the one whose turn it is.
    Try,
    /// It does not stand in the line: write this.
    Join(Request),
    /// Nobody is in the line any more: take it away and try.
    Clear(Request),
    /// Others are before it, or the lock is taken.
    Pause,
}

/// What to do after a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Then {
    Try,
    Look,
}

/// When the turn of whoever has the lock began, if anybody has it, and if that is known.
type TurnBegan = Option<Option<Time>>;

impl Queue {
    pub(crate) fn new(key: &Key, store_key: Arc<str>, nonce: Nonce) -> Self {
        Queue {
            key: key.clone(),
            store_key,
            ticket: Ticket::of(nonce),
            former: None,
            turn: None,
            measured: false,
            found: None,
            remembered: false,
            released: None,
            joins_left: JOINS,
            standing: None,
            length: 0,
            seen: None,
            seen_since: None,
            holder: None,
            other_at: None,
            hearsay: false,
            began: None,
            last_turn: None,
            looked: None,
            paused: Duration::ZERO,
        }
    }

    /// What the session found when it had the key before.
    pub(crate) fn remembering(self, contended: Contended) -> Self {
        let Contended { ticket: former, turn, released } = contended;
        Queue { former, found: Some(turn.min(LONGEST_TURN)), remembered: true, released, ..self }
    }

    /// Whether the key is known to have changed hands since the last look.
    pub(crate) fn has_moved(&self, taken_by: Option<Version>) -> bool {
        taken_by.is_some() && taken_by != self.seen
    }

    /// The lock and its line, as a look found them.
    pub(crate) fn see(&mut self, now: Time, holder: Option<Served>, entry: Option<&Entry>) -> Advice {
        let mut line = entry.map(|entry| Line::decode(&self.key, &entry.value)).unwrap_or_default();
        let served = holder.map(|holder| holder.ticket);
        // Not if the holder has renewed its lease.
        let another = served != self.holder;
        if another {
            let end = now.before(now.since(self.looked.unwrap_or(now)) / 2);
            self.last_turn = self.turn_until(end).or(self.last_turn);
            (self.holder, self.other_at) = (served, self.looked);
            // Those who take the lock once have no other way to tell it.
            let told = holder.and_then(|holder| holder.turn).map(|turn| turn.min(LONGEST_TURN));
            // It may tell of a crowd that was served, whose tickets are in the line yet.
            let known = self.measured || self.found.is_some() || line.turn.is_some();
            self.hearsay |= told.is_some() && !known;
            // That turns follow each other it has seen for itself by then.
            self.hearsay &= self.last_turn.is_none();
            self.found = self.found.or(told);
        }
        self.learn(now, holder.map(|holder| holder.version), line.turn);
        self.former.into_iter().chain(served).for_each(|ticket| line.serve(ticket));
        self.length = u32::try_from(line.len()).unwrap_or(u32::MAX);
        self.began = holder.and_then(|holder| Some(self.within_what_was_seen(holder.since.or(self.other_at)?)));
        let turn_began = holder.map(|holder| self.plausible(holder.since));
        if let Some(place) = line.before(self.ticket) {
            self.joins_left = JOINS;
            let place = self.stand(now, place, turn_began, another && holder.is_some());
            return if holder.is_none() && place == 0 { Advice::Try } else { Advice::Pause };
        }
        if holder.is_none() && line.len() == 0 {
            self.standing = None;
            // Else those who are gone would be found in it again, and waited for.
            return entry.map_or(Advice::Try, |entry| {
                Advice::Clear(Request::Delete { key: self.store_key.clone(), if_version: entry.version })
            });
        }
        self.join(now, line, entry.map(|entry| entry.version), turn_began)
    }

    /// When the holder's turn began: what its wall clock says, within what is known otherwise. How long turns are must
    /// be known, too, or it would be waited for on a guess.
    fn plausible(&self, since: Option<Time>) -> Option<Time> {
        since.filter(|_| self.measured).map(|since| self.within_what_was_seen(since))
    }

    fn within_what_was_seen(&self, since: Time) -> Time {
        since.max(self.other_at.unwrap_or(since)).min(self.seen_since.unwrap_or(since))
    }

    /// How long the turn of whoever has the lock took, if it is over now and was seen to begin.
    fn turn_until(&self, end: Time) -> Option<Duration> {
        self.holder.and(self.other_at)?;
        Some(end.since(self.began?))
    }

    /// Brings up to date what is known of turns.
    fn learn(&mut self, now: Time, version: Option<Version>, told: Option<Duration>) {
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

    fn join(&mut self, now: Time, mut line: Line, version: Option<Version>, turn_began: TurnBegan) -> Advice {
        let Some(joins_left) = self.joins_left.checked_sub(1).filter(|_| line.join(self.ticket)) else {
            self.joins_left = JOINS;
            self.standing = None;
            return Advice::Pause;
        };
        self.joins_left = joins_left;
        self.standing = None;
        self.stand(now, line.before(self.ticket).unwrap_or_default(), turn_began, false);
        line.turn = self.turn.or(line.turn).map(rounded);
        let (key, value) = (self.store_key.clone(), line.encode(&self.key));
        let ttl = Ttl::After(KEPT_FOR);
        Advice::Join(match version {
            Some(if_version) => Request::Replace { key, value, ttl, if_version },
            None => Request::Add { key, value, ttl },
        })
    }

    /// It stands there now, and somebody else took the lock since the last look, or nobody did. Tells how many are to be
    /// expected before it.
    fn stand(&mut self, now: Time, place: usize, turn_began: TurnBegan, passed_over: bool) -> u32 {
        let written = u32::try_from(place).unwrap_or(u32::MAX);
        let passed_over = match &self.standing {
            Some(standing) if written >= standing.written => standing.passed_over + u32::from(passed_over),
            _ => 0,
        };
        let place = if passed_over >= written.saturating_add(PASSED_OVER) { 0 } else { written };
        let turns = place.saturating_add(u32::from(turn_began.is_some()));
        let expected = |turn: Duration| turn_began.flatten().map(|began| began.after(turn * turns));
        let Some(standing) = &mut self.standing else {
            let expected = self
                .turn
                .map(|turn| expected(turn).unwrap_or_else(|| first_expectation(now, self.released, turn, turns)));
            let confirmed = false;
            self.standing = Some(Standing { since: now, turns, place, written, passed_over, expected, confirmed });
            return place;
        };
        let moved = standing.turns.saturating_sub(turns);
        if self.turn.is_none() && moved > 0 {
            self.turn = Some(now.since(standing.since) / moved);
        }
        (standing.place, standing.confirmed) = (place, true);
        (standing.written, standing.passed_over) = (written, passed_over);
        if let Some(turn) = self.turn {
            // The holder has its turn, of which an unknown part is over; those before have theirs whole.
            let (soonest, latest) = (now.after(turn * place), now.after(turn * turns));
            let expected = expected(turn).or(standing.expected).unwrap_or(soonest);
            standing.expected = Some(expected.clamp(soonest, latest));
        }
        place
    }

    /// How long to pause, and what then.
    pub(crate) fn pause(&mut self, now: Time, wait: &mut Wait) -> (Duration, Then) {
        let (pause, then) = self.plan(now, wait);
        self.paused = pause;
        (pause, then)
    }

    fn plan(&self, now: Time, wait: &mut Wait) -> (Duration, Then) {
        let Some(standing) = &self.standing else {
            // Those who fill a line may all have crashed.
            let then = if self.seen.is_none() { Then::Try } else { Then::Look };
            return (wait.next_pause().saturating_mul(self.length.max(1)), then);
        };
        // Whoever is next had time to take it, and may have crashed.
        let left_free = self.seen.is_none() && standing.confirmed;
        let then = if standing.place == 0 || left_free { Then::Try } else { Then::Look };
        let behind = standing.place.max(1);
        let known = self.turn.zip(standing.expected).filter(|_| standing.place == 0 || self.is_believed(wait));
        let Some((turn, expected)) = known else {
            return (wait.next_pause().saturating_mul(behind), then);
        };
        let longest = wait.settled_pause().max(2 * SHORTEST);
        let error = (turn / ERROR).clamp(2 * SHORTEST, longest);
        let pause = match standing.place {
            // Holds may be shorter than those before, and turns than is told.
            0 => {
                let taken_for = now.since(expected.before(turn));
                now.until(expected.before(error)).min((2 * taken_for).max(error)).max(error / PATIENCE).max(SHORTEST)
            }
            _ if left_free => error.saturating_mul(behind),
            1..FAR => now.until(expected.before(turn).after(error)).max(error),
            place => now.until(expected.before(turn * (place / 2))).max(error),
        };
        // Who holds it takes longer than usual: pauses grow with the time that it takes longer.
        let overdue = now.since(self.seen_since.unwrap_or(now).after(turn)).max(now.since(expected.before(error)));
        (pause.max(overdue / PATIENCE).min(longest.saturating_mul(behind)), then)
    }

    /// Whether how long turns are said to be may be slept on. It may be hearsay; and a turn that was longer than others
    /// are, by a crash perhaps, is told on until somebody sees another.
    fn is_believed(&self, wait: &Wait) -> bool {
        let is_seen = self.remembered || self.last_turn.is_some();
        !self.hearsay && (is_seen || self.turn <= Some(wait.interval()))
    }

    /// It has the lock. What is to be remembered, if it had to wait for it.
    pub(crate) fn served(&self, now: Time) -> Option<Contended> {
        Some(Contended { ticket: Some(self.ticket), turn: self.found(now)?, released: None })
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

/// How long turns are, by what the line told and by what was found.
pub(crate) fn corrected(told: Option<Duration>, found: Duration) -> Duration {
    told.map_or(found, |told| (told.min(LONGEST_TURN) * 3 + found) / 4)
}

/// As fine as people want to read it.
pub(crate) fn rounded(turn: Duration) -> Duration {
    Duration::from_micros(u64::try_from(turn.as_micros()).unwrap_or(u64::MAX))
}

/// When the lock is to be expected after so many turns, the first of which may have begun before.
fn first_expectation(now: Time, released: Option<Time>, turn: Duration, turns: u32) -> Time {
    match released {
        // The holder took it when this session released it.
        Some(released) if now.since(released) < turn => released.after(turn * turns),
        _ => now.after((turn * turns).saturating_sub(turn / 2)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn a_renewal_does_not_begin_the_turn_anew() {
        let key = Key::new("report").unwrap();
        let contended = Contended { ticket: None, turn: Duration::from_secs(1), released: None };
        let mut queue = Queue::new(&key, "n:line:report".into(), Nonce(7 << 64)).remembering(contended);
        let mut line = Line::default();
        line.join(Ticket(7));
        let version = |number| Version { era: 1, number };
        let entry = Entry { value: line.encode(&key), version: version(1), time_left: None };
        for (now, number) in [(0, 2), (300, 2), (600, 3)] {
            let holder = Served { ticket: Ticket(1), version: version(number), since: Some(at(0)), turn: None };
            assert_eq!(queue.see(at(now), Some(holder), Some(&entry)), Advice::Pause);
        }
        let mut wait = Wait::new(None, Duration::from_secs(1), 1);
        let expected = Duration::from_secs(1) - Duration::from_secs(1) / ERROR;
        assert_eq!(queue.pause(at(600), &mut wait), (expected - Duration::from_millis(600), Then::Try));
    }

    #[test]
    fn whoever_measured_turns_relies_on_that_although_a_record_tells_them_and_the_line_does_not() {
        let key = Key::new("report").unwrap();
        let turn = Duration::from_secs(1);
        let contended = Contended { ticket: None, turn, released: None };
        let mut queue = Queue::new(&key, "n:line:report".into(), Nonce(7 << 64)).remembering(contended);
        let version = |number| Version { era: 1, number };
        let holder =
            |ticket, number, turn| Served { ticket: Ticket(ticket), version: version(number), since: None, turn };
        assert!(matches!(queue.see(at(0), Some(holder(1, 2, None)), None), Advice::Join(_)));
        // Another was faster at joining.
        let mut line = Line::default();
        line.join(Ticket(5));
        let entry = Entry { value: line.encode(&key), version: version(3), time_left: None };
        assert!(matches!(queue.see(at(1), Some(holder(2, 4, Some(turn))), Some(&entry)), Advice::Join(_)));
        let (pause, then) = queue.pause(at(1), &mut Wait::new(None, turn, 1));
        assert!(pause >= turn / ERROR && then == Then::Look, "{pause:?}");
    }

    /// What the third in line does after others took the lock so often.
    fn after_others_took_it(times: u64) -> Then {
        let key = Key::new("report").unwrap();
        let turn = Duration::from_millis(10);
        let mut line = Line::default();
        line.turn = Some(turn);
        [1, 2, 7].into_iter().for_each(|ticket| assert!(line.join(Ticket(ticket))));
        let version = |number| Version { era: 1, number };
        let entry = Entry { value: line.encode(&key), version: version(1), time_left: None };
        let mut queue = Queue::new(&key, "n:line:report".into(), Nonce(7 << 64));
        for time in 0..=times {
            let (ticket, version) = (Ticket(100 + time), version(100 + time));
            let holder = Served { ticket, version, since: None, turn: None };
            assert_eq!(queue.see(at(10 * time), Some(holder), Some(&entry)), Advice::Pause);
        }
        queue.pause(at(10 * times), &mut Wait::new(None, turn, 1)).1
    }

    #[test]
    fn who_sees_others_take_the_lock_again_and_again_does_not_wait_for_a_line_that_stands_still() {
        let enough = u64::from(PASSED_OVER) + 2;
        assert_eq!(after_others_took_it(enough - 1), Then::Look);
        assert_eq!(after_others_took_it(enough), Then::Try);
    }
}
