//! What an acquisition knows of the line.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::time::Duration;

use crate::records::record::Nonce;
use crate::records::wait_list::{KEPT_FOR, LONGEST_TURN, ListedTicket, Ticket, WaitList, rounded};
use crate::session::contention::RecentWait;
use crate::session::hand_over::MAX_CHAIN_LENGTH;
use crate::values::kv::{Entry, Request, Ttl, Version};
use crate::values::name::Key;
use crate::values::time::Time;

/// Where others take the lock so often while the line stands still, its first is not there any more; once more, and
/// neither is the next. It is more often than a process hands the lock over to itself in a row.
pub(super) const PASSED_OVER: u32 = MAX_CHAIN_LENGTH + 4;
/// How often somebody else may be faster at joining in a row before it is put off to the next look.
const JOINS: u8 = 4;

/// What an acquisition knows of the line.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Queue {
    pub(super) key: Key,
    /// What the store calls the line.
    pub(crate) store_key: Arc<str>,
    pub(super) ticket: Ticket,
    /// That of the session's last grant of the key: it may still stand in the line.
    pub(super) former: Option<Ticket>,
    /// From one grant to the next.
    pub(super) turn: Option<Duration>,
    /// Whether that was measured by somebody, and is not a first guess.
    pub(super) measured: bool,
    /// The same, as the session found it when it last had the key.
    pub(super) found: Option<Duration>,
    /// Whether the session has found it at all.
    pub(super) remembered: bool,
    /// When the session released the key last.
    pub(super) released: Option<Time>,
    /// Whether the session wants the key again as soon as it has released it.
    pub(super) comes_back: bool,
    pub(super) joins_left: u8,
    pub(super) standing: Option<Standing>,
    /// The line as it was seen or written last, without those who were served.
    pub(super) line: WaitList,
    /// Its version, if it is in the store and that is known.
    pub(super) written: Option<Version>,
    /// The record that was looked at last, and found to be that of the present holder.
    pub(super) seen: Option<Version>,
    pub(super) seen_since: Option<Time>,
    /// Whose that was.
    pub(super) holder: Option<Ticket>,
    /// The last look that found another holder, or none.
    pub(super) other_at: Option<Time>,
    /// Whether nobody but a holder's record told how long turns are, and none was seen to begin and end.
    pub(super) hearsay: bool,
    /// When the holder's turn began, as far as is known.
    pub(super) began: Option<Time>,
    /// How long the last turn took that it saw begin and end. Turns of those who are faster than the line count, too.
    pub(super) last_turn: Option<Duration>,
    pub(super) looked: Option<Time>,
    /// The last pause.
    pub(super) paused: Duration,
}

/// A place in the line.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Standing {
    pub(super) since: Time,
    /// Turns that were to pass from then on.
    pub(super) turns: u32,
    /// How many stand before; none that counts, if they do not seem to be there.
    pub(super) place: u32,
    /// How many stand before in the line as it is written.
    pub(super) written: u32,
    /// How often somebody else was seen to take the lock since the line moved.
    pub(super) passed_over: u32,
    /// When the lock is expected to be free for it.
    pub(super) expected: Option<Time>,
    /// Whether it was looked at again since it joined.
    pub(super) confirmed: bool,
}

/// Who was served last, and has the lock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CurrentHolder {
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
pub(crate) enum AfterPause {
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
            comes_back: false,
            joins_left: JOINS,
            standing: None,
            line: WaitList::default(),
            written: None,
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
    pub(crate) fn remembering(self, contended: RecentWait, now: Time) -> Self {
        let RecentWait { ticket: former, turn, released, .. } = contended;
        let comes_back = released.is_some_and(|released| now.since(released) < turn);
        Queue { former, found: Some(turn.min(LONGEST_TURN)), remembered: true, released, comes_back, ..self }
    }

    /// Whether the key is known to have changed hands since the last look.
    pub(crate) fn has_moved(&self, taken_by: Option<Version>) -> bool {
        taken_by.is_some() && taken_by != self.seen
    }

    /// The lock and its line, as a look found them.
    pub(crate) fn see(&mut self, now: Time, holder: Option<CurrentHolder>, entry: Option<&Entry>) -> Advice {
        self.line = entry.map(|entry| WaitList::decode(&self.key, &entry.value)).unwrap_or_default();
        self.written = entry.map(|entry| entry.version);
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
            let known = self.measured || self.found.is_some() || self.line.turn.is_some();
            self.hearsay |= told.is_some() && !known;
            // That turns follow each other it has seen for itself by then.
            self.hearsay &= self.last_turn.is_none();
            self.found = self.found.or(told);
        }
        self.learn(now, holder.map(|holder| holder.version), self.line.turn);
        self.former.into_iter().chain(served).for_each(|ticket| self.line.serve(ticket));
        self.began = holder.and_then(|holder| Some(self.within_what_was_seen(holder.since.or(self.other_at)?)));
        let turn_began = holder.map(|holder| self.plausible(holder.since));
        if let Some(place) = self.line.before(self.ticket) {
            self.joins_left = JOINS;
            let place = self.stand(now, place, turn_began, another && holder.is_some());
            return if holder.is_none() && place == 0 { Advice::Try } else { Advice::Pause };
        }
        if holder.is_none() && self.line.len() == 0 {
            self.standing = None;
            // Else those who are gone would be found in it again, and waited for.
            return entry.map_or(Advice::Try, |entry| {
                Advice::Clear(Request::Delete { key: self.store_key.clone(), if_version: entry.version })
            });
        }
        self.join(now, turn_began)
    }

    /// Its own write of the line has this version.
    pub(crate) fn joined(&mut self, version: Version) {
        self.written = Some(version);
    }

    /// Its ticket, to be taken out of the line; none if it does not stand there.
    pub(crate) fn listed(&self) -> Option<ListedTicket> {
        self.standing.as_ref()?;
        Some(self.listed_in(self.line.clone()))
    }

    /// Its ticket, to be taken out of the line once it was served, if nobody is known to stand behind it who would; not
    /// if its session is expected back at once, which knows its former ticket.
    fn listed_served(&self) -> Option<ListedTicket> {
        let mut line = self.line.clone();
        line.place(self.ticket).filter(|_| !self.comes_back && line.behind(self.ticket) == 0)?;
        // Marks those before it, and stands there still.
        line.pass(self.ticket);
        Some(self.listed_in(line))
    }

    fn listed_in(&self, line: WaitList) -> ListedTicket {
        let seen = self.written.map(|version| (line, version));
        ListedTicket { key: self.key.clone(), store_key: self.store_key.clone(), ticket: self.ticket, seen }
    }

    fn join(&mut self, now: Time, turn_began: TurnBegan) -> Advice {
        let Some(joins_left) = self.joins_left.checked_sub(1).filter(|_| self.line.join(self.ticket)) else {
            self.joins_left = JOINS;
            self.standing = None;
            return Advice::Pause;
        };
        self.joins_left = joins_left;
        self.standing = None;
        self.stand(now, self.line.before(self.ticket).unwrap_or_default(), turn_began, false);
        self.line.turn = self.turn.or(self.line.turn).map(rounded);
        Advice::Join(match self.written.take() {
            Some(version) => self.line.rewrite(&self.key, &self.store_key, version),
            None => {
                let (key, value) = (self.store_key.clone(), self.line.encode(&self.key));
                Request::Add { key, value, ttl: Ttl::After(KEPT_FOR) }
            }
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

    /// It has the lock. What is to be remembered, if it had to wait for it.
    pub(crate) fn served(&self, now: Time) -> Option<RecentWait> {
        let turn = self.found(now)?;
        let leave = self.listed_served().map(Box::new);
        Some(RecentWait { ticket: Some(self.ticket), turn, released: None, leave })
    }
}

/// When the lock is to be expected after so many turns, the first of which may have begun before.
fn first_expectation(now: Time, released: Option<Time>, turn: Duration, turns: u32) -> Time {
    match released {
        // The holder took it when this session released it.
        Some(released) if now.since(released) < turn => released.after(turn * turns),
        _ => now.after((turn * turns).saturating_sub(turn / 2)),
    }
}
