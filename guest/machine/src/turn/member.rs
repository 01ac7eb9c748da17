//! A waiter as a member of the wait list.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::time::Duration;

use super::estimate::TurnEstimate;
use super::holder_watch::{CurrentHolder, HolderWatch};
use crate::records::{KEPT_FOR, ListedTicket, Nonce, Ticket, WaitList, rounded};
use crate::session::{MAX_CHAIN_LENGTH, RecentWait};
use crate::values::{Entry, Key, Request, Time, Ttl, Version};

/// If others take the lock this many times while the list does not move, its first is gone; once more, and so is the
/// next. It is more often than a process hands the lock over to itself in a row.
pub(super) const PASSED_OVER: u32 = MAX_CHAIN_LENGTH + 4;
/// How many times in a row somebody else may be faster at joining before the next attempt waits for the next look.
const JOINS: u8 = 4;

/// A waiter, its list, and what it knows of the holder and of turns.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Member {
    key: Key,
    /// The store's name for the list.
    pub(crate) store_key: Arc<str>,
    pub(super) ticket: Ticket,
    /// The ticket of the session's last grant of the key: it may still stand in the list.
    previous_ticket: Option<Ticket>,
    /// When the session released the key last.
    released: Option<Time>,
    /// Whether the session wants the key again as soon as it has released it.
    comes_back: bool,
    joins_left: u8,
    /// The list as it was seen or written last, without those that were served.
    pub(super) list: WaitList,
    /// Its version, if it is in the store and the version is known.
    list_version: Option<Version>,
    pub(super) standing: Option<Standing>,
    pub(super) holder: HolderWatch,
    pub(super) turn: TurnEstimate,
    /// The last pause.
    pub(super) paused: Duration,
}

/// A place in the list.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Standing {
    pub(super) since: Time,
    /// How many turns were to pass from then on.
    pub(super) turns: u32,
    /// How many stand before it; 0 if they do not seem to be there.
    pub(super) place: u32,
    /// How many stand before it in the list as written.
    written: u32,
    /// How many times somebody else took the lock since the list moved.
    passed_over: u32,
    /// When the lock is expected to be free for it.
    pub(super) expected: Option<Time>,
    /// Whether it has looked again since it joined.
    pub(super) confirmed: bool,
    /// How many times the lock was freed since the last look, as the store says.
    freed: u32,
}

/// What to do after a look.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Advice {
    /// It is this waiter's turn.
    Try,
    /// It does not stand in the list: write this.
    Join(Request),
    /// Nobody is in the list any more: take the list away and try.
    Clear(Request),
    /// Others are before it, or the lock is held.
    Pause,
}

/// When the holder's turn began: none if the lock is free; inside, none if the time is unknown.
type TurnBegan = Option<Option<Time>>;

impl Member {
    pub(crate) fn new(key: &Key, store_key: Arc<str>, nonce: Nonce) -> Self {
        Member {
            key: key.clone(),
            store_key,
            ticket: Ticket::of(nonce),
            previous_ticket: None,
            released: None,
            comes_back: false,
            joins_left: JOINS,
            list: WaitList::default(),
            list_version: None,
            standing: None,
            holder: HolderWatch::default(),
            turn: TurnEstimate::default(),
            paused: Duration::ZERO,
        }
    }

    /// Starts with what the session knows from the last time it had the key.
    pub(crate) fn remembering(self, recent: RecentWait, now: Time) -> Self {
        Member {
            previous_ticket: recent.ticket,
            released: recent.released,
            comes_back: recent.released.is_some_and(|released| now.since(released) < recent.turn),
            turn: TurnEstimate::remembering(recent.turn),
            ..self
        }
    }

    /// Returns true if the key is known to have changed hands since the last look.
    pub(crate) fn has_moved(&self, taken_by: Option<Version>) -> bool {
        self.holder.has_moved(taken_by)
    }

    /// Takes in the lock and its list, as a look found them. Those who are in have been served: the holder, or readers.
    pub(crate) fn see(
        &mut self,
        now: Time,
        holder: Option<CurrentHolder>,
        are_in: impl Iterator<Item = Ticket>,
        entry: Option<&Entry>,
    ) -> Advice {
        self.list = entry.map(|entry| WaitList::decode(&self.key, &entry.value)).unwrap_or_default();
        self.list_version = entry.map(|entry| entry.version);
        let ticket = holder.map(|holder| holder.ticket);
        let is_another = self.holder.is_another(ticket);
        if is_another {
            let ended = self.holder.change(ticket, now);
            self.turn.announce(holder.and_then(|holder| holder.turn), ended, self.list.turn);
        }
        let changed_hands_in = self.holder.look(holder.map(|holder| holder.version), now);
        self.turn.learn(self.list.turn, changed_hands_in);
        self.previous_ticket.into_iter().chain(ticket).chain(are_in).for_each(|ticket| self.list.serve(ticket));
        self.holder.begin(holder);
        let turn_began = holder.map(|holder| self.turn_began(holder));
        if let Some(place) = self.list.before(self.ticket) {
            self.joins_left = JOINS;
            let place = self.stand(now, place, turn_began, is_another && holder.is_some());
            return if holder.is_none() && place == 0 { Advice::Try } else { Advice::Pause };
        }
        if holder.is_none() && self.list.len() == 0 {
            self.standing = None;
            // Otherwise later waiters would find those who are gone in it, and wait for them.
            return entry.map_or(Advice::Try, |entry| {
                Advice::Clear(Request::Delete { key: self.store_key.clone(), if_version: entry.version })
            });
        }
        self.join(now, turn_began)
    }

    /// Returns when the holder's turn began, by its wall clock and within what was seen. Nothing unless a turn length
    /// was measured: otherwise the waiter would wait for the turn's end on a guess.
    fn turn_began(&self, holder: CurrentHolder) -> Option<Time> {
        let since = holder.since.filter(|_| self.turn.is_measured())?;
        Some(self.holder.within_what_was_seen(since))
    }

    /// Notes that the lock was freed so many times, as the store says. Returns true if it is this waiter's turn now,
    /// since each of those before it has had the lock. A look would not tell: their tickets are still in the list. A
    /// waiter without a place has no turn: if it tried at each release, it would pass everybody in the list.
    pub(crate) fn hear_of_releases(&mut self, times: u32) -> bool {
        let Some(standing) = &mut self.standing else { return false };
        standing.freed = standing.freed.saturating_add(times);
        standing.freed > standing.place
    }

    /// Notes the version of its own write of the list.
    pub(crate) fn joined(&mut self, version: Version) {
        self.list_version = Some(version);
    }

    /// Returns its ticket, to be taken out of the list; none if it does not stand there.
    pub(crate) fn listed(&self) -> Option<ListedTicket> {
        self.standing.as_ref()?;
        Some(self.listed_in(self.list.clone()))
    }

    /// Returns its ticket, to be taken out of the list once it was served, if it is the last one there: those behind it
    /// would take it out. Nothing if its session is expected back at once, which knows the ticket.
    fn listed_served(&self) -> Option<ListedTicket> {
        let mut list = self.list.clone();
        list.place(self.ticket).filter(|_| !self.comes_back && list.behind(self.ticket) == 0)?;
        // Marks those before it; it still stands there.
        list.pass(self.ticket);
        Some(self.listed_in(list))
    }

    fn listed_in(&self, list: WaitList) -> ListedTicket {
        let seen = self.list_version.map(|version| (list, version));
        ListedTicket { key: self.key.clone(), store_key: self.store_key.clone(), ticket: self.ticket, seen }
    }

    fn join(&mut self, now: Time, turn_began: TurnBegan) -> Advice {
        self.standing = None;
        let Some(joins_left) = self.joins_left.checked_sub(1).filter(|_| self.list.join(self.ticket)) else {
            self.joins_left = JOINS;
            return Advice::Pause;
        };
        self.joins_left = joins_left;
        self.stand(now, self.list.before(self.ticket).unwrap_or_default(), turn_began, false);
        self.list.turn = self.turn.length().or(self.list.turn).map(rounded);
        Advice::Join(match self.list_version.take() {
            Some(version) => self.list.rewrite(&self.key, &self.store_key, version),
            None => {
                let (key, value) = (self.store_key.clone(), self.list.encode(&self.key));
                Request::Add { key, value, ttl: Ttl::After(KEPT_FOR) }
            }
        })
    }

    /// Notes its place in the list, and whether somebody else took the lock since the last look. Returns how many are
    /// expected before it.
    fn stand(&mut self, now: Time, place: usize, turn_began: TurnBegan, passed_over: bool) -> u32 {
        let written = u32::try_from(place).unwrap_or(u32::MAX);
        let passed_over = match &self.standing {
            Some(standing) if written >= standing.written => standing.passed_over + u32::from(passed_over),
            _ => 0,
        };
        let place = if passed_over >= written.saturating_add(PASSED_OVER) { 0 } else { written };
        let turns = place.saturating_add(u32::from(turn_began.is_some()));
        let told = |turn: Duration| turn_began.flatten().map(|began| began.after(turn * turns));
        let Some(standing) = &mut self.standing else {
            let first = |turn| told(turn).unwrap_or_else(|| first_expectation(now, self.released, turn, turns));
            let expected = self.turn.length().map(first);
            let standing =
                Standing { since: now, turns, place, written, passed_over, expected, confirmed: false, freed: 0 };
            self.standing = Some(standing);
            return place;
        };
        let moved = standing.turns.saturating_sub(turns);
        if moved > 0 {
            self.turn.guess(now.since(standing.since) / moved);
        }
        standing.place = place;
        standing.written = written;
        standing.passed_over = passed_over;
        standing.confirmed = true;
        standing.freed = 0;
        if let Some(turn) = self.turn.length() {
            // The holder has its turn, an unknown part of which is over; those before this waiter have theirs whole.
            let (soonest, latest) = (now.after(turn * place), now.after(turn * turns));
            let expected = told(turn).or(standing.expected).unwrap_or(soonest);
            standing.expected = Some(expected.clamp(soonest, latest));
        }
        place
    }

    /// Returns what the session is to remember once the waiter has the lock, if it had to wait.
    pub(crate) fn served(&self, now: Time) -> Option<RecentWait> {
        let turn = self.measured(now)?;
        let leave = self.listed_served().map(Box::new);
        Some(RecentWait { ticket: Some(self.ticket), turn, released: None, leave })
    }
}

/// Returns when the lock is expected after `turns` turns, the first of which may have begun already.
fn first_expectation(now: Time, released: Option<Time>, turn: Duration, turns: u32) -> Time {
    match released {
        // The holder took it when this session released it.
        Some(released) if now.since(released) < turn => released.after(turn * turns),
        _ => now.after((turn * turns).saturating_sub(turn / 2)),
    }
}
