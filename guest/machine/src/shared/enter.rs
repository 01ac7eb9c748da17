//! Writing itself among the readers, and turning that into a grant unless its era is too young or its lease over.

use alloc::boxed::Box;
use core::time::Duration;

use super::state::{AcquireShared, Entered, Found, MOST_RACES, Outcome, State, WithdrawReason};
use crate::error::WaitingFor;
use crate::machine::{Cx, Step};
use crate::records::{Readers, Record};
use crate::session::{Deadline, Hold, Reading};
use crate::values::{EraInfo, Request, StoreError, Time, Version, WriteOutcome};
use crate::write::ReadersWrite;

impl AcquireShared {
    /// Writes itself among the readers.
    pub(super) fn enter(&mut self, cx: &mut Cx<'_>, found: Found) -> Step<Outcome> {
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
            Found::Free | Found::Taken(..) => {
                let left = self.respected.take_if(|respected| respected.is_over(cx.now));
                (Readers::of(own.clone()), left.map(|left| left.version))
            }
        };
        self.write(Entered { own, readers, sent: cx.now, late: false }, if_version)
    }

    pub(super) fn write(&mut self, entered: Entered, if_version: Option<Version>) -> Step<Outcome> {
        self.tried = true;
        let (key, value, ttl) = (self.store_key.clone(), entered.readers.encode(), entered.readers.ttl());
        self.state = State::Entering(Box::new(entered));
        Step::Call(match if_version {
            Some(if_version) => Request::Replace { key, value, ttl, if_version },
            None => Request::Add { key, value, ttl },
        })
    }

    pub(super) fn on_entered(
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
    pub(super) fn on_written(&mut self, cx: &mut Cx<'_>, entered: Box<Entered>, version: Version) -> Step<Outcome> {
        match cx.session.quarantine(version.era, self.options.taken_unattended(), cx.now) {
            None => {
                self.state = State::AskingEra(entered, version);
                Step::Call(Request::Era { key: self.store_key.clone() })
            }
            Some(Duration::ZERO) => self.on_granted(cx, *entered, version),
            Some(left) => self.withdraw(cx, *entered, version, WithdrawReason::Quarantine(cx.now.after(left))),
        }
    }

    pub(super) fn on_granted(&mut self, cx: &mut Cx<'_>, entered: Entered, version: Version) -> Step<Outcome> {
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
    pub(super) fn known(&mut self, readers: Readers, now: Time) -> Reading {
        self.reading.watch.look(&readers, now);
        self.reading.knowing(Some(readers))
    }

    pub(super) fn on_era(
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

    pub(super) fn withdraw(
        &mut self,
        cx: &mut Cx<'_>,
        entered: Entered,
        version: Version,
        then: WithdrawReason,
    ) -> Step<Outcome> {
        let Entered { own, readers, sent, .. } = entered;
        let deadline = Deadline::of(own.lease, sent);
        let mut hold = Hold::new(cx.session.namespace().clone(), own, version, deadline, sent);
        hold.reading = Some(Box::new(self.known(readers, cx.now)));
        let mut write = Box::new(ReadersWrite::leave(self.store_key.clone(), &hold));
        let ask = write.start(cx.now, None);
        ask.within(&mut self.state, State::Withdrawing { write, then })
    }

    pub(super) fn on_withdrawn(&mut self, now: Time, then: WithdrawReason) -> Step<Outcome> {
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
}
