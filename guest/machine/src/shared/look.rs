//! Looking at the lock and its wait list, and finding out whether a reader may come in.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use super::state::{AcquireShared, Found, Outcome, State};
use crate::acquire::Respected;
use crate::error::{AcquireError, WaitingFor};
use crate::machine::{Cx, Step};
use crate::records::{Holder, LockRecord, MAX_READERS, Readers, Record, Ticket};
use crate::session::{Hold, Session};
use crate::turn::{Advice, CurrentHolder, Member};
use crate::values::{Entry, Mode, Request};

impl AcquireShared {
    pub(super) fn start(&mut self, cx: &mut Cx<'_>) -> Step<Outcome> {
        self.waiting.wait.start(cx.now);
        if let Some(contended) = cx.session.contention.recall(&self.store_key, false, cx.now) {
            self.member = Some(Box::new(self.new_member(cx.session).remembering(contended, cx.now)));
        }
        self.look(cx, false)
    }

    pub(super) fn new_member(&self, session: &Session) -> Member {
        Member::new(&self.place.key, session.namespace().wait_list(&self.place.key), self.nonce)
    }

    /// Refuses what the session holds already, and looks at the lock and its wait list.
    pub(super) fn look(&mut self, cx: &mut Cx<'_>, insists: bool) -> Step<Outcome> {
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

    pub(super) fn on_look(
        &mut self,
        cx: &mut Cx<'_>,
        entry: Option<Entry>,
        list: Option<Entry>,
        insists: bool,
    ) -> Step<Outcome> {
        let respected = self.respected.take();
        let found = match entry.map(|entry| (LockRecord::decode_for(&self.place, &entry.value), entry)) {
            None => {
                if !self.in_doubt {
                    self.waiting.waiting_for = WaitingFor::Turn;
                }
                Found::Free
            }
            Some((Ok(LockRecord::Exclusive(record)), entry)) => self.on_holder(cx, record, &entry, respected),
            Some((Ok(LockRecord::Shared(readers)), entry)) => self.on_readers(cx, readers, &entry),
            Some((Err(excerpt), _)) => return Step::Done(Err(AcquireError::Corrupt(excerpt))),
        };
        match found {
            Found::Open(..) if !self.tried => self.enter(cx, found),
            Found::Free if insists && !self.tried => self.enter(cx, found),
            // The last one is a try, whatever the place in the list.
            Found::Free if self.waiting.wait.is_over(cx.now) && !self.tried => self.enter(cx, found),
            Found::Open(..) => self.pause(cx.now, Duration::ZERO),
            _ if self.waiting.wait.is_over(cx.now) => self.pause(cx.now, Duration::ZERO),
            Found::Free => self.stand(cx, None, &[], list),
            Found::Taken(holder, are_in) => self.stand(cx, Some(holder), &are_in, list),
        }
    }

    fn on_holder(&mut self, cx: &mut Cx<'_>, record: Record, entry: &Entry, respected: Option<Respected>) -> Found {
        self.respected = Respected::look(respected, cx, &self.store_key, &record, entry.version);
        if self.respected.is_some_and(|respected| respected.is_over(cx.now)) {
            return Found::Free;
        }
        let since = record.since.and_then(|unix| cx.session.time_of(unix));
        let (ticket, turn) = (Ticket::of(record.nonce), record.turn);
        self.waiting.waiting_for = WaitingFor::Holder(Box::new(Holder::new(record, entry)));
        Found::Taken(CurrentHolder { ticket, version: entry.version, since, turn }, Vec::new())
    }

    pub(super) fn on_readers(&mut self, cx: &mut Cx<'_>, readers: Readers, entry: &Entry) -> Found {
        self.reading.watch.look(&readers, cx.now);
        let is_in = readers.find(Ticket::of(self.nonce)).is_some();
        let has_room =
            || readers.iter().filter(|reader| !self.reading.watch.is_gone(reader.nonce, cx.now)).count() < MAX_READERS;
        if is_in || !self.reading.watch.has_writer(&readers, cx.now) && has_room() {
            return Found::Open(readers, entry.version);
        }
        self.is_taken_by(&readers, entry)
    }

    pub(super) fn is_taken_by(&mut self, readers: &Readers, entry: &Entry) -> Found {
        if let Some(holder) = readers.holder(entry) {
            self.waiting.waiting_for = WaitingFor::Holder(Box::new(holder));
        }
        let holder = CurrentHolder { ticket: Ticket::READERS, version: entry.version, since: None, turn: None };
        Found::Taken(holder, readers.iter().map(|reader| Ticket::of(reader.nonce)).collect())
    }

    /// Finds its place in the wait list, or takes one.
    pub(super) fn stand(
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
}
