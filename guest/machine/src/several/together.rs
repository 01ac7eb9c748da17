//! Machines that go on side by side. Their writes leave together, and so do their reads.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;

use super::one_key::{End, OneKey};
use crate::machine::{Cx, Event, Machine, Step};
use crate::session::Session;
use crate::values::{Reply, Request, Time};

/// Machines of one session, each of another key, with the outcomes of those that have ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Together {
    pub(super) parts: Vec<Part>,
    asked: Asked,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Part {
    Fresh(OneKey),
    /// Its call has not left, or is not answered.
    Asks {
        machine: OneKey,
        request: Request,
        /// Whether it has made no call so far.
        is_first: bool,
    },
    Sleeps(OneKey, Time),
    Done(End),
    /// A machine that took a step, or that was taken out.
    Gone,
}

/// Whose calls are under way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Asked {
    Nothing,
    One(usize),
    Writes(Vec<usize>),
    Reads(Vec<usize>),
}

/// What is to be done next.
pub(super) enum Next {
    Call(Request),
    /// All that may go on have ended or sleep.
    Rest,
    OutOfOrder,
}

impl Together {
    pub(super) fn new(machines: impl IntoIterator<Item = OneKey>) -> Self {
        Together { parts: machines.into_iter().map(Part::Fresh).collect(), asked: Asked::Nothing }
    }

    /// Goes on with all of them. Only what `may_ask` allows leaves.
    pub(super) fn step(&mut self, cx: &mut Cx<'_>, event: Event, may_ask: fn(&[Part], usize) -> bool) -> Next {
        match (mem::replace(&mut self.asked, Asked::Nothing), event) {
            (Asked::Nothing, Event::Reply(_)) => return Next::OutOfOrder,
            (Asked::Nothing, _) => self.wake(cx),
            (Asked::One(part), Event::Reply(reply)) => {
                let told_of_an_era = matches!(reply, Reply::Era(Ok(_)));
                self.feed(cx, part, Event::Reply(reply));
                if told_of_an_era {
                    self.retell_eras(cx);
                }
            }
            (Asked::Writes(parts), Event::Reply(Reply::All(replies))) if parts.len() == replies.len() => {
                parts.into_iter().zip(replies).for_each(|(part, reply)| self.feed(cx, part, Event::Reply(reply)));
            }
            (Asked::Reads(parts), Event::Reply(Reply::Entries(entries))) => {
                let mut entries = entries.map(Vec::into_iter);
                for part in parts {
                    let Part::Asks { request, .. } = &self.parts[part] else { return Next::OutOfOrder };
                    let reply = match (request, &mut entries) {
                        (Request::Get { .. }, Ok(entries)) => Reply::Entry(Ok(entries.next().flatten())),
                        (Request::Get { .. }, Err(error)) => Reply::Entry(Err(error.clone())),
                        (Request::GetMany { keys }, Ok(entries)) => {
                            Reply::Entries(Ok(entries.by_ref().take(keys.len()).collect()))
                        }
                        (_, Ok(_)) => return Next::OutOfOrder,
                        (_, Err(error)) => Reply::Entries(Err(error.clone())),
                    };
                    self.feed(cx, part, Event::Reply(reply));
                }
            }
            _ => return Next::OutOfOrder,
        }
        self.ask(may_ask)
    }

    /// Returns when the first of those that sleep is to go on.
    pub(super) fn wakes_at(&self) -> Option<Time> {
        let wakes = |part: &Part| if let Part::Sleeps(_, until) = part { Some(*until) } else { None };
        self.parts.iter().filter_map(wakes).min()
    }

    /// Returns the outcomes of those that have ended.
    pub(super) fn outcomes(self) -> Vec<End> {
        let outcome = |part| if let Part::Done(outcome) = part { Some(outcome) } else { None };
        self.parts.into_iter().filter_map(outcome).collect()
    }

    fn wake(&mut self, cx: &mut Cx<'_>) {
        for part in 0..self.parts.len() {
            match &self.parts[part] {
                Part::Fresh(_) => self.feed(cx, part, Event::Start),
                Part::Sleeps(_, until) if *until <= cx.now => self.feed(cx, part, Event::Woken),
                _ => {}
            }
        }
    }

    /// Lets those that ask for an era look once more whether the session knows it by now.
    fn retell_eras(&mut self, cx: &mut Cx<'_>) {
        for part in 0..self.parts.len() {
            if matches!(&self.parts[part], Part::Asks { request: Request::Era { .. }, .. }) {
                self.feed(cx, part, Event::Woken);
            }
        }
    }

    fn feed(&mut self, cx: &mut Cx<'_>, part: usize, event: Event) {
        let place = &mut self.parts[part];
        let is_first = matches!(place, Part::Fresh(_));
        let mut machine = match mem::replace(place, Part::Gone) {
            Part::Fresh(machine) | Part::Asks { machine, .. } | Part::Sleeps(machine, _) => machine,
            ended @ (Part::Done(_) | Part::Gone) => {
                *place = ended;
                return;
            }
        };
        *place = match machine.step(cx.session, cx.now, event) {
            Step::Call(request) => Part::Asks { machine, request, is_first },
            Step::Sleep(pause) => Part::Sleeps(machine, cx.now.after(pause)),
            Step::Done(outcome) => Part::Done(outcome),
        };
    }

    /// Sends what may leave: all writes, or else all reads, or else one question about an era.
    fn ask(&mut self, may_ask: fn(&[Part], usize) -> bool) -> Next {
        let asks = |is_such: fn(&Request) -> bool| {
            let wanted = |part: &usize| {
                let is_such = matches!(&self.parts[*part], Part::Asks { request, .. } if is_such(request));
                is_such && may_ask(&self.parts, *part)
            };
            (0..self.parts.len()).filter(wanted).collect::<Vec<_>>()
        };
        let (writes, reads, eras) =
            (asks(is_write), asks(is_read), asks(|request| !is_write(request) && !is_read(request)));
        let request = |part: usize| match &self.parts[part] {
            Part::Asks { request, .. } => Some(request.clone()),
            _ => None,
        };
        let (asked, request) = match (writes.as_slice(), reads.as_slice(), eras.as_slice()) {
            ([one], ..) | ([], [one], _) | ([], [], [one, ..]) => (Asked::One(*one), request(*one)),
            ([_, ..], ..) => {
                let all = writes.iter().filter_map(|part| request(*part)).collect();
                (Asked::Writes(writes), Some(Request::All(all)))
            }
            (_, [_, ..], _) => {
                let keys = reads.iter().filter_map(|part| request(*part)).flat_map(keys_of_read).collect();
                (Asked::Reads(reads), Some(Request::GetMany { keys }))
            }
            ([], [], []) => return Next::Rest,
        };
        self.asked = asked;
        request.map_or(Next::OutOfOrder, Next::Call)
    }
}

/// All that ask may ask.
pub(super) fn all(_: &[Part], _: usize) -> bool {
    true
}

impl Machine for Together {
    type Outcome = Option<Vec<End>>;

    /// Ends with all outcomes, or with none if it was driven out of order.
    fn step(&mut self, session: &mut Session, now: Time, event: Event) -> Step<Self::Outcome> {
        match Together::step(self, &mut Cx { session, now }, event, all) {
            Next::Call(request) => Step::Call(request),
            Next::OutOfOrder => Step::Done(None),
            Next::Rest => match self.wakes_at() {
                Some(until) => Step::Sleep(now.until(until)),
                None => {
                    let parts = mem::take(&mut self.parts);
                    Step::Done(Some(Together { parts, asked: Asked::Nothing }.outcomes()))
                }
            },
        }
    }
}

pub(super) fn is_write(request: &Request) -> bool {
    matches!(request, Request::Add { .. } | Request::Replace { .. } | Request::Delete { .. })
}

fn is_read(request: &Request) -> bool {
    matches!(request, Request::Get { .. } | Request::GetMany { .. })
}

fn keys_of_read(request: Request) -> Vec<Arc<str>> {
    match request {
        Request::Get { key } => [key].into(),
        Request::GetMany { keys } => keys,
        _ => Vec::new(),
    }
}
