//! Waiting to share a lock.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::ControlFlow;
use core::time::Duration;

use crate::acquire::Waiting;
use crate::error::{AcquireError, WaitingFor};
use crate::leave::{LATEST_LEAVE, Leave};
use crate::machine::{Cx, Event, InnerStep, Machine, Step};
use crate::records::{Holder, LockRecord, Nonce, Readers, Record, Ticket};
use crate::session::{Deadline, Grant, Hold, Reading, Session};
use crate::turn::{Advice, AfterPause, CurrentHolder, Member};
use crate::values::{
    Entry, EraInfo, Invalid, Key, LockOptions, Mode, RecordKey, Reply, Request, StoreError, Time, Ttl, Version,
    WriteOutcome,
};
use crate::wait::OUTAGE_PAUSE;
use crate::write::{ReadersWrite, WriteEnd};

type Outcome = Result<Grant, AcquireError>;

/// How many times other readers may be faster than one that does not wait. Each of them made progress.
const MOST_RACES: u32 = 16;

/// A wait for a share of a lock.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AcquireShared {
    place: RecordKey,
    store_key: Arc<str>,
    options: LockOptions,
    waiting: Waiting,
    /// Its part in the wait list; none: it has not looked, or was served.
    member: Option<Box<Member>>,
    nonce: Nonce,
    /// Its writes, and what it has seen of other readers.
    reading: Reading,
    /// Whether a write of unknown outcome may have happened, or may still happen.
    in_doubt: bool,
    /// Whether it tried since the last pause. It does so once, so that a wait that never pauses ends.
    tried: bool,
    /// How many times somebody else was faster at writing the record.
    conflicts: u32,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum State {
    Fresh,
    Looking {
        /// Whether to try whatever the place in the list: those before it had time.
        insists: bool,
    },
    /// Writing its ticket into the wait list.
    Joining,
    /// Taking away a wait list in which nobody is left.
    Clearing,
    Entering(Box<Entered>),
    AskingEra(Box<Entered>, Version),
    /// Leaving the record again, because its entry must not become a grant.
    Withdrawing {
        write: Box<ReadersWrite>,
        then: WithdrawReason,
    },
    Pausing {
        until: Time,
        then: AfterPause,
    },
    /// Leaving the wait list, because it ends without the lock.
    Leaving {
        leave: Box<Leave>,
        outcome: Box<Outcome>,
    },
    Ended,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum WithdrawReason {
    TooLate,
    Quarantine(Time),
    Outage(StoreError),
}

/// A record with an entry of ours that is written, or was, and is not a grant so far.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Entered {
    own: Record,
    readers: Readers,
    sent: Time,
    /// Whether it was written before, and the reply came after the lease.
    late: bool,
}

/// What a look found, in the way of a reader.
enum Found {
    /// The lock is free.
    Free,
    /// Readers have it, and more may come in.
    Open(Readers, Version),
    /// It was reserved for somebody that did not come in time.
    Left(Version),
    /// Somebody has it alone, or waits for that.
    Taken(CurrentHolder, Vec<Ticket>),
}

impl AcquireShared {
    /// Waits for a share of the lock of `key`. The nonce must be 128 bits from a secure generator, new for each
    /// acquisition. Fails if the options ask for what readers cannot have.
    pub fn new(session: &Session, key: Key, options: LockOptions, nonce: Nonce) -> Result<Self, Invalid> {
        if options.adopt {
            return Err(Invalid::new("a shared lock cannot be adopted"));
        }
        if !options.at_least.is_zero() {
            return Err(Invalid::new("a shared lock has no minimum hold"));
        }
        let place = RecordKey::lock(&key);
        Ok(AcquireShared {
            store_key: session.store_key(&place),
            waiting: Waiting::new(&options, nonce),
            place,
            options: options.mode(Mode::Shared),
            member: None,
            nonce,
            reading: Reading::new(nonce),
            in_doubt: false,
            tried: false,
            conflicts: 0,
            state: State::Fresh,
        })
    }

    /// Returns what it waits for at present.
    pub fn waiting_for(&self) -> &WaitingFor {
        &self.waiting.waiting_for
    }

    /// Returns the key in the store whose deletion frees the lock.
    pub fn store_key(&self) -> &Arc<str> {
        &self.store_key
    }

    /// Ends a wait that is dropped, and returns what takes its ticket out of the wait list. None if it has no place
    /// there, or the store does not answer.
    pub fn leave(&mut self) -> Option<Leave> {
        let ended = matches!(core::mem::replace(&mut self.state, State::Ended), State::Ended | State::Leaving { .. });
        let there = !ended && !matches!(self.waiting.waiting_for, WaitingFor::Outage(_));
        self.member.take().filter(|_| there)?.listed().map(Leave::new)
    }

    fn start(&mut self, cx: &mut Cx<'_>) -> Step<Outcome> {
        self.waiting.wait.start(cx.now);
        if let Some(contended) = cx.session.contention.recall(&self.store_key, false, cx.now) {
            self.member = Some(Box::new(self.new_member(cx.session).remembering(contended, cx.now)));
        }
        self.look(cx, false)
    }

    fn new_member(&self, session: &Session) -> Member {
        Member::new(&self.place.key, session.namespace().wait_list(&self.place.key), self.nonce)
    }

    /// Refuses what the session holds already, and looks at the lock and its wait list.
    fn look(&mut self, cx: &mut Cx<'_>, insists: bool) -> Step<Outcome> {
        match cx.session.hold(&self.store_key) {
            Some(hold) if hold.deadline.has_passed(cx.now) => cx.session.forget(&self.store_key),
            Some(Hold { record: Record { mode: Mode::Shared, .. }, .. }) => {
                return Step::Done(Err(AcquireError::AlreadyHeld));
            }
            Some(_) => return Step::Done(Err(AcquireError::HeldInOtherMode)),
            None => {}
        }
        let member = match self.member.take() {
            Some(member) => member,
            None => Box::new(self.new_member(cx.session)),
        };
        let keys = [self.store_key.clone(), member.store_key.clone()];
        self.member = Some(member);
        self.state = State::Looking { insists };
        Step::Call(Request::GetMany { keys: keys.into() })
    }

    fn on_look(&mut self, cx: &mut Cx<'_>, entry: Option<Entry>, list: Option<Entry>, insists: bool) -> Step<Outcome> {
        let found = match entry.map(|entry| (LockRecord::decode_for(&self.place, &entry.value), entry)) {
            None => {
                if !self.in_doubt {
                    self.waiting.waiting_for = WaitingFor::Turn;
                }
                Found::Free
            }
            Some((Ok(LockRecord::Exclusive(record)), entry)) => self.on_holder(cx, record, &entry),
            Some((Ok(LockRecord::Shared(readers)), entry)) => self.on_readers(cx, readers, &entry),
            Some((Err(excerpt), _)) => return Step::Done(Err(AcquireError::Corrupt(excerpt))),
        };
        match found {
            Found::Open(..) | Found::Left(_) if !self.tried => self.enter(cx, found),
            Found::Free if insists && !self.tried => self.enter(cx, found),
            // The last one is a try, whatever the place in the list.
            Found::Free if self.waiting.wait.is_over(cx.now) && !self.tried => self.enter(cx, found),
            Found::Open(..) | Found::Left(_) => self.pause(cx.now, Duration::ZERO),
            _ if self.waiting.wait.is_over(cx.now) => self.pause(cx.now, Duration::ZERO),
            Found::Free => self.stand(cx, None, &[], list),
            Found::Taken(holder, are_in) => self.stand(cx, Some(holder), &are_in, list),
        }
    }

    fn on_holder(&mut self, cx: &mut Cx<'_>, record: Record, entry: &Entry) -> Found {
        if let (Some(_), Ttl::After(length)) = (&record.reserved, record.lease.ttl())
            && cx.session.watch(&self.store_key, entry.version, length, cx.now) <= cx.now
        {
            return Found::Left(entry.version);
        }
        let since = record.since.and_then(|unix| cx.session.time_of(unix));
        let (ticket, turn) = (Ticket::of(record.nonce), record.turn);
        self.waiting.waiting_for = WaitingFor::Holder(Box::new(Holder::new(record, entry)));
        Found::Taken(CurrentHolder { ticket, version: entry.version, since, turn }, Vec::new())
    }

    fn on_readers(&mut self, cx: &mut Cx<'_>, readers: Readers, entry: &Entry) -> Found {
        self.reading.watch.look(&readers, cx.now);
        let is_in = readers.find(Ticket::of(self.nonce)).is_some();
        if is_in || !self.reading.watch.has_writer(&readers, cx.now) {
            return Found::Open(readers, entry.version);
        }
        self.is_taken_by(&readers, entry)
    }

    fn is_taken_by(&mut self, readers: &Readers, entry: &Entry) -> Found {
        if let Some(holder) = readers.holder(entry) {
            self.waiting.waiting_for = WaitingFor::Holder(Box::new(holder));
        }
        let holder = CurrentHolder { ticket: Ticket::READERS, version: entry.version, since: None, turn: None };
        Found::Taken(holder, readers.iter().map(|reader| Ticket::of(reader.nonce)).collect())
    }

    /// Finds its place in the wait list, or takes one.
    fn stand(
        &mut self,
        cx: &mut Cx<'_>,
        holder: Option<CurrentHolder>,
        are_in: &[Ticket],
        list: Option<Entry>,
    ) -> Step<Outcome> {
        let see = |member: &mut Box<Member>| member.see(cx.now, holder, are_in.iter().copied(), list.as_ref());
        match self.member.as_mut().map(see) {
            // A write of ours that is on its way gets time to arrive.
            Some(Advice::Try) if !self.tried && !self.in_doubt => self.enter(cx, Found::Free),
            Some(Advice::Clear(request)) => {
                self.state = State::Clearing;
                Step::Call(request)
            }
            Some(Advice::Join(request)) if self.options.joins_list => {
                self.state = State::Joining;
                Step::Call(request)
            }
            Some(Advice::Try | Advice::Join(_) | Advice::Pause) | None => self.pause(cx.now, Duration::ZERO),
        }
    }

    /// Writes itself among the readers.
    fn enter(&mut self, cx: &mut Cx<'_>, found: Found) -> Step<Outcome> {
        let nonce = self.reading.next_nonce();
        let own = cx.session.record(&self.place, &self.options, nonce, cx.now);
        let (readers, if_version) = match found {
            Found::Open(mut readers, version) => {
                self.reading.watch.clear(&mut readers, cx.now);
                if !readers.put(own.clone()) {
                    return self.pause(cx.now, Duration::ZERO);
                }
                (readers, Some(version))
            }
            Found::Left(version) => (Readers::of(own.clone()), Some(version)),
            Found::Free | Found::Taken(..) => (Readers::of(own.clone()), None),
        };
        self.write(Entered { own, readers, sent: cx.now, late: false }, if_version)
    }

    fn write(&mut self, entered: Entered, if_version: Option<Version>) -> Step<Outcome> {
        self.tried = true;
        let (key, value, ttl) = (self.store_key.clone(), entered.readers.encode(), entered.readers.ttl());
        self.state = State::Entering(Box::new(entered));
        Step::Call(match if_version {
            Some(if_version) => Request::Replace { key, value, ttl, if_version },
            None => Request::Add { key, value, ttl },
        })
    }

    fn on_entered(
        &mut self,
        cx: &mut Cx<'_>,
        entered: Box<Entered>,
        reply: Result<WriteOutcome, StoreError>,
    ) -> Step<Outcome> {
        match reply {
            Ok(WriteOutcome::Written(version)) => self.on_written(cx, entered, version),
            Ok(WriteOutcome::Conflict(_) | WriteOutcome::Absent) => {
                self.conflicts = self.conflicts.saturating_add(1);
                let tries_once = self.waiting.wait.is_over(cx.now) && self.conflicts <= MOST_RACES;
                if self.conflicts == 1 || tries_once {
                    // At first the others need not be many; and that they were faster does not make the lock busy.
                    self.tried = false;
                    return self.look(cx, false);
                }
                let pause = self.waiting.wait.spread(self.conflicts);
                self.pause(cx.now, pause)
            }
            Err(error @ StoreError::UnknownOutcome(_)) => {
                self.in_doubt = true;
                self.waiting.waiting_for = WaitingFor::Outage(error);
                self.look(cx, false)
            }
            Err(error) => self.on_outage(cx.now, error),
        }
    }

    /// Grants the lock if the era of our entry is known to be old enough.
    fn on_written(&mut self, cx: &mut Cx<'_>, entered: Box<Entered>, version: Version) -> Step<Outcome> {
        match cx.session.quarantine(version.era, self.options.taken_unattended(), cx.now) {
            None => {
                self.state = State::AskingEra(entered, version);
                Step::Call(Request::Era { key: self.store_key.clone() })
            }
            Some(Duration::ZERO) => self.on_granted(cx, *entered, version),
            Some(left) => self.withdraw(cx, *entered, version, WithdrawReason::Quarantine(cx.now.after(left))),
        }
    }

    fn on_granted(&mut self, cx: &mut Cx<'_>, entered: Entered, version: Version) -> Step<Outcome> {
        if Deadline::of(entered.own.lease, entered.sent).has_passed(cx.now) {
            if entered.late || self.waiting.wait.is_over(cx.now) {
                return self.withdraw(cx, entered, version, WithdrawReason::TooLate);
            }
            // Begins the lease again, under the version that was just written.
            let own = Record { nonce: self.reading.next_nonce(), ..entered.own };
            let mut readers = entered.readers;
            readers.put(own.clone());
            return self.write(Entered { own, readers, sent: cx.now, late: true }, Some(version));
        }
        if let Some(contended) = self.member.take().and_then(|member| member.served(cx.now)) {
            cx.session.contention.contend(&self.store_key, contended);
        }
        let Entered { own, readers, sent, .. } = entered;
        let reading = self.known(readers, cx.now);
        Step::Done(Ok(cx.session.grant_shared(&self.store_key, own, version, sent, reading)))
    }

    /// Returns what it knows once it has written this record.
    fn known(&mut self, readers: Readers, now: Time) -> Reading {
        self.reading.watch.look(&readers, now);
        self.reading.knowing(Some(readers))
    }

    fn on_era(
        &mut self,
        cx: &mut Cx<'_>,
        entered: Box<Entered>,
        version: Version,
        reply: Result<EraInfo, StoreError>,
    ) -> Step<Outcome> {
        match reply {
            Ok(era) => {
                cx.session.note(era, cx.now);
                if era.id == version.era {
                    return self.on_written(cx, entered, version);
                }
                // The contents were lost meanwhile, and our entry with them.
                self.pause(cx.now, Duration::ZERO)
            }
            Err(error) => self.withdraw(cx, *entered, version, WithdrawReason::Outage(error)),
        }
    }

    fn withdraw(&mut self, cx: &mut Cx<'_>, entered: Entered, version: Version, then: WithdrawReason) -> Step<Outcome> {
        let Entered { own, readers, sent, .. } = entered;
        let deadline = Deadline::of(own.lease, sent);
        let mut hold = Hold::new(cx.session.namespace().clone(), own, version, deadline, sent);
        hold.reading = Some(Box::new(self.known(readers, cx.now)));
        let mut write = Box::new(ReadersWrite::leave(self.store_key.clone(), &hold));
        let ask = write.start(cx.now, None);
        ask.within(&mut self.state, State::Withdrawing { write, then })
    }

    fn on_withdrawn(&mut self, now: Time, then: WithdrawReason) -> Step<Outcome> {
        match then {
            WithdrawReason::TooLate => {
                self.waiting.waiting_for = WaitingFor::Turn;
                self.pause(now, Duration::ZERO)
            }
            WithdrawReason::Quarantine(until) => {
                let left = now.until(until);
                self.waiting.waiting_for = WaitingFor::Quarantine(left);
                // Nobody has a turn in that time, and its length says nothing about turns.
                self.member = None;
                self.pause(now, left)
            }
            WithdrawReason::Outage(error) => self.on_outage(now, error),
        }
    }

    fn on_outage(&mut self, now: Time, error: StoreError) -> Step<Outcome> {
        match self.waiting.ride_out(now, error, self.in_doubt) {
            Ok(()) => self.pause(now, OUTAGE_PAUSE),
            Err(error) => Step::Done(Err(error)),
        }
    }

    /// Waits for the next look, or ends if that was the last.
    fn pause(&mut self, now: Time, at_least: Duration) -> Step<Outcome> {
        if let Err(error) = self.waiting.check(now, self.in_doubt) {
            return Step::Done(Err(error));
        }
        self.tried = false;
        let wait = &mut self.waiting.wait;
        let (pause, then) = match &mut self.member {
            Some(member) if at_least.is_zero() => member.pause(now, wait),
            _ => (at_least.saturating_add(wait.next_pause()), AfterPause::Look),
        };
        let pause = wait.within(now, pause);
        InnerStep::Sleep(pause).within(&mut self.state, State::Pausing { until: now.after(pause), then })
    }

    /// Ends its pause if the lock was freed and it is next.
    fn on_freed(&mut self, cx: &mut Cx<'_>, times: u32, until: Time, then: AfterPause) -> Step<Outcome> {
        let waits_for_the_lock = matches!(self.waiting_for(), WaitingFor::Turn | WaitingFor::Holder(_));
        let is_next = self.member.as_mut().is_none_or(|member| member.hear_of_releases(times));
        if waits_for_the_lock && is_next {
            return self.look(cx, true);
        }
        self.state = State::Pausing { until, then };
        Step::Sleep(cx.now.until(until))
    }

    /// Ends. If it stands in the wait list and the store answers, and soon, it leaves the list first.
    fn leave_with(&mut self, cx: &mut Cx<'_>, outcome: Outcome) -> Step<Outcome> {
        let failed = matches!(outcome, Err(AcquireError::Store(_) | AcquireError::OutOfOrder));
        let answers = !failed && self.waiting.wait.overrun(cx.now) <= LATEST_LEAVE;
        match self.member.take().filter(|_| answers).and_then(|member| member.listed()) {
            Some(listed) => self.leaving(cx, Event::Start, Box::new(Leave::new(listed)), Box::new(outcome)),
            None => Step::Done(outcome),
        }
    }

    fn leaving(
        &mut self,
        cx: &mut Cx<'_>,
        event: Event,
        mut leave: Box<Leave>,
        outcome: Box<Outcome>,
    ) -> Step<Outcome> {
        match leave.step(cx.session, cx.now, event).split() {
            ControlFlow::Break(()) => Step::Done(*outcome),
            ControlFlow::Continue(ask) => ask.within(&mut self.state, State::Leaving { leave, outcome }),
        }
    }

    fn go(&mut self, cx: &mut Cx<'_>, event: Event) -> Step<Outcome> {
        // Each arm puts the next state back; an arm that does not has ended.
        match (core::mem::replace(&mut self.state, State::Ended), event) {
            (State::Fresh, Event::Start) => self.start(cx),
            (State::Pausing { until, then }, Event::Freed(times)) if cx.now < until => {
                self.on_freed(cx, times, until, then)
            }
            // Inside another operation, or too late to make a difference.
            (state, Event::Freed(_)) => {
                self.state = state;
                self.go(cx, Event::Woken)
            }
            (State::Looking { insists }, Event::Reply(Reply::Entries(Ok(entries)))) => {
                match <[_; 2]>::try_from(entries) {
                    Ok([entry, list]) => self.on_look(cx, entry, list, insists),
                    Err(_) => Step::Done(Err(AcquireError::OutOfOrder)),
                }
            }
            (State::Looking { .. }, Event::Reply(Reply::Entries(Err(error)))) => self.on_outage(cx.now, error),
            (State::Clearing, Event::Reply(Reply::Delete(_))) if self.tried || self.in_doubt => {
                self.pause(cx.now, Duration::ZERO)
            }
            (State::Clearing, Event::Reply(Reply::Delete(_))) => self.enter(cx, Found::Free),
            (State::Joining, Event::Reply(Reply::Write(reply))) => {
                match (reply, &mut self.member) {
                    (Ok(WriteOutcome::Conflict(_) | WriteOutcome::Absent), _) => return self.look(cx, false),
                    (Ok(WriteOutcome::Written(version)), Some(member)) => member.joined(version),
                    // The list is advice: if it cannot be written, the wait goes on without it.
                    _ => {}
                }
                self.pause(cx.now, Duration::ZERO)
            }
            (State::Entering(entered), Event::Reply(Reply::Write(reply))) => self.on_entered(cx, entered, reply),
            (State::AskingEra(entered, version), Event::Reply(Reply::Era(reply))) => {
                self.on_era(cx, entered, version, reply)
            }
            (State::Withdrawing { mut write, then }, event) => match write.step(cx.now, event) {
                ControlFlow::Break(WriteEnd::OutOfOrder) => Step::Done(Err(AcquireError::OutOfOrder)),
                ControlFlow::Break(end) => {
                    // There is no grant; an entry that stays behind is found again.
                    self.in_doubt |= matches!(end, WriteEnd::Failed { .. });
                    self.on_withdrawn(cx.now, then)
                }
                ControlFlow::Continue(ask) => ask.within(&mut self.state, State::Withdrawing { write, then }),
            },
            (State::Pausing { until, then }, Event::Woken) if cx.now < until => {
                InnerStep::Sleep(cx.now.until(until)).within(&mut self.state, State::Pausing { until, then })
            }
            (State::Pausing { then, .. }, Event::Woken) => self.look(cx, then == AfterPause::Try),
            (State::Leaving { leave, outcome }, event) => self.leaving(cx, event, leave, outcome),
            _ => Step::Done(Err(AcquireError::OutOfOrder)),
        }
    }
}

impl Machine for AcquireShared {
    type Outcome = Outcome;

    fn step(&mut self, session: &mut Session, now: Time, event: Event) -> Step<Outcome> {
        let cx = &mut Cx { session, now };
        match self.go(cx, event) {
            Step::Done(outcome) => self.leave_with(cx, outcome),
            step => step,
        }
    }
}
