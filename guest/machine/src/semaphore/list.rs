//! The status of semaphores.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::ControlFlow;

use super::status::SemaphoreStatus;
use super::survey::{Extent, Survey, SurveyEnd};
use crate::error::KeyError;
use crate::machine::{Cx, Event, Machine, Step};
use crate::records::SemaphoreList;
use crate::session::Session;
use crate::values::{Key, Reply, Request, Time};

type Outcome = Result<Vec<SemaphoreStatus>, KeyError>;

/// Reads the status of semaphores, by name. Leaves out those that do not exist.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct List {
    /// Still to be read, the last one first.
    names: Vec<Key>,
    told: Vec<SemaphoreStatus>,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum State {
    FreshAll,
    FreshOne,
    ReadingNames,
    Surveying {
        name: Key,
        survey: Box<Survey>,
    },
    /// Asking for the era of the definition.
    AskingEra {
        name: Key,
        status: Box<SemaphoreStatus>,
    },
    Ended,
}

impl List {
    /// Reads all semaphores of the session's namespace.
    pub fn all() -> Self {
        List { names: Vec::new(), told: Vec::new(), state: State::FreshAll }
    }

    /// Reads one.
    pub fn one(name: Key) -> Self {
        List { names: [name].into(), told: Vec::new(), state: State::FreshOne }
    }

    fn next(&mut self, session: &Session) -> Step<Outcome> {
        let Some(name) = self.names.pop() else { return Step::Done(Ok(core::mem::take(&mut self.told))) };
        let (survey, ask) = Survey::start(session, &name, Extent::Whole, None);
        ask.within(&mut self.state, State::Surveying { name, survey })
    }

    fn on_survey(&mut self, cx: &mut Cx<'_>, name: Key, end: SurveyEnd) -> Step<Outcome> {
        match end {
            SurveyEnd::Found(found) => match found.foreign {
                Some(excerpt) => Step::Done(Err(KeyError::Corrupt(excerpt))),
                None => {
                    let era = found.stated.version.era;
                    let status = Box::new(found.status(&name));
                    self.tell(cx, name, era, status)
                }
            },
            // Listed before it is made, and until after it is destroyed.
            SurveyEnd::Unknown => self.next(cx.session),
            SurveyEnd::Corrupt(excerpt) => Step::Done(Err(KeyError::Corrupt(excerpt))),
            SurveyEnd::Failed(error) => Step::Done(Err(error.into())),
            SurveyEnd::OutOfOrder => Step::Done(Err(KeyError::OutOfOrder)),
        }
    }

    fn tell(&mut self, cx: &mut Cx<'_>, name: Key, era: u64, mut status: Box<SemaphoreStatus>) -> Step<Outcome> {
        let Some(quarantine) = cx.session.quarantined(Some(era), cx.now) else {
            let key = cx.session.namespace().semaphore(&name);
            self.state = State::AskingEra { name, status };
            return Step::Call(Request::Era { key });
        };
        status.quarantine = quarantine;
        self.told.push(*status);
        self.next(cx.session)
    }
}

impl Machine for List {
    type Outcome = Outcome;

    fn step(&mut self, session: &mut Session, now: Time, event: Event) -> Step<Outcome> {
        let cx = &mut Cx { session, now };
        match (core::mem::replace(&mut self.state, State::Ended), event) {
            (State::FreshOne, Event::Start) => self.next(cx.session),
            (State::FreshAll, Event::Start) => {
                self.state = State::ReadingNames;
                Step::Call(Request::Get { key: cx.session.namespace().semaphores() })
            }
            (State::ReadingNames, Event::Reply(Reply::Entry(Ok(entry)))) => {
                match SemaphoreList::read(entry.as_ref()) {
                    Ok(list) => self.names = list.names().into_iter().rev().collect(),
                    Err(excerpt) => return Step::Done(Err(KeyError::Corrupt(excerpt))),
                }
                self.next(cx.session)
            }
            (State::AskingEra { name, status }, Event::Reply(Reply::Era(Ok(era)))) => {
                cx.session.note(era, cx.now);
                self.tell(cx, name, era.id, status)
            }
            (State::ReadingNames, Event::Reply(Reply::Entry(Err(error))))
            | (State::AskingEra { .. }, Event::Reply(Reply::Era(Err(error)))) => Step::Done(Err(error.into())),
            (State::Surveying { name, mut survey }, event) => match survey.step(cx.session, cx.now, event) {
                ControlFlow::Break(end) => self.on_survey(cx, name, end),
                ControlFlow::Continue(ask) => ask.within(&mut self.state, State::Surveying { name, survey }),
            },
            _ => Step::Done(Err(KeyError::OutOfOrder)),
        }
    }
}
