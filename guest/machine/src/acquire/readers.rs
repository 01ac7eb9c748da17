//! Meeting readers: whoever wants the lock alone tells them that it waits, and takes over from those that crashed.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::state::{Acquire, AddReply, Outcome, State};
use crate::error::WaitingFor;
use crate::machine::{Cx, Step};
use crate::records::{Readers, Ticket, WRITER_WAITS};
use crate::turn::CurrentHolder;
use crate::values::{Entry, Request, Time, Version, WriteOutcome};

impl Acquire {
    /// Takes in the readers that a look found. No more of them come in once the record says that a writer waits.
    pub(super) fn on_readers(
        &mut self,
        cx: &mut Cx<'_>,
        readers: Readers,
        entry: &Entry,
        list: Option<Entry>,
    ) -> Step<Outcome> {
        self.meet(None);
        let met = self.readers.get_or_insert_default();
        met.watch.look(&readers, cx.now);
        self.respected = met.all_gone(&readers, entry.version);
        if let Some(holder) = readers.holder(entry) {
            self.waiting.waiting_for = WaitingFor::Holder(Box::new(holder));
        }
        let by_another = met.watch.has_writer(&readers, cx.now)
            && readers.writer.is_some_and(|sign| Ticket::of(sign) != Ticket::of(self.nonce));
        if by_another || readers.writer.is_none() {
            met.signed_at = None;
        }
        let is_due = self.signs_again().is_none_or(|at| at <= cx.now);
        if self.is_left(cx.now) || self.wait_is_over(cx.now) || by_another || !is_due {
            return self.wait_behind(cx, &readers, entry.version, list);
        }
        self.sign(cx, readers, entry.version, list)
    }

    /// Returns when it is to say again that it waits; none if it did not say so.
    pub(super) fn signs_again(&self) -> Option<Time> {
        Some(self.readers.as_ref()?.signed_at?.after(WRITER_WAITS / 3))
    }

    fn sign(&mut self, cx: &mut Cx<'_>, mut readers: Readers, found: Version, list: Option<Entry>) -> Step<Outcome> {
        let Some(met) = &mut self.readers else { return self.wait_behind(cx, &readers, found, list) };
        met.watch.clear(&mut readers, cx.now);
        readers.writer = Some(self.nonce.of_write(met.signs));
        met.signs += 1;
        met.signed_at = Some(cx.now);
        let (key, value, ttl) = (self.store_key.clone(), readers.encode(), readers.ttl());
        self.state = State::Signing { readers: Box::new(readers), list: list.map(Box::new), found };
        Step::Call(Request::Replace { key, value, ttl, if_version: found })
    }

    /// Goes on after its sign. If it could not be written, the next look finds what else is there.
    pub(super) fn on_signed(
        &mut self,
        cx: &mut Cx<'_>,
        (readers, list): (Box<Readers>, Option<Box<Entry>>),
        found: Version,
        reply: AddReply,
    ) -> Step<Outcome> {
        let version = match reply {
            Ok(WriteOutcome::Written(version)) => version,
            _ => found,
        };
        if let Some(met) = &mut self.readers {
            met.watch.look(&readers, cx.now);
            self.respected = met.all_gone(&readers, version);
        }
        self.wait_behind(cx, &readers, version, list.map(|list| *list))
    }

    fn wait_behind(
        &mut self,
        cx: &mut Cx<'_>,
        readers: &Readers,
        version: Version,
        list: Option<Entry>,
    ) -> Step<Outcome> {
        let are_in: Vec<_> = readers.iter().map(|reader| Ticket::of(reader.nonce)).collect();
        let holder = CurrentHolder { ticket: Ticket::READERS, version, since: None, turn: None };
        self.join_list(cx, Some(holder).filter(|_| !self.is_left(cx.now)), &are_in, list)
    }
}
