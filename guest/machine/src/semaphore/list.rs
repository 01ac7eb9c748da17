//! Telling how semaphores stand.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::ControlFlow;

use super::status::SemaphoreStatus;
use super::survey::{Extent, Survey, SurveyEnd};
use crate::error::KeyError;
use crate::machine::{Event, Machine, Step};
use crate::records::semaphore_list::SemaphoreList;
use crate::session::Session;
use crate::values::kv::{Reply, Request};
use crate::values::name::Key;
use crate::values::time::Time;

type Outcome = Result<Vec<SemaphoreStatus>, KeyError>;

/// Tells of semaphores, by name; those that are not there are left out.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct List {
    /// Still to be told of, the last one first.
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
    /// Tells of all semaphores of the session's namespace.
    pub fn all() -> Self {
        List { names: Vec::new(), told: Vec::new(), state: State::FreshAll }
    }

    /// Tells of one.
    pub fn one(name: Key) -> Self {
        List { names: [name].into(), told: Vec::new(), state: State::FreshOne }
    }

    fn next(&mut self, session: &Session) -> Step<Outcome> {
        let Some(name) = self.names.pop() else { return Step::Done(Ok(core::mem::take(&mut self.told))) };
        let (survey, ask) = Survey::start(session, &name, Extent::Whole, None);
        self.state = State::Surveying { name, survey };
        ask.into()
    }

    fn on_survey(&mut self, session: &Session, now: Time, name: Key, end: SurveyEnd) -> Step<Outcome> {
        match end {
            SurveyEnd::Found(found) => match found.foreign {
                Some(excerpt) => Step::Done(Err(KeyError::Corrupt(excerpt))),
                None => {
                    let era = found.stated.version.era;
                    let status = Box::new(found.status(&name));
                    self.tell(session, now, name, era, status)
                }
            },
            // Listed before it is made, and until after it is destroyed.
            SurveyEnd::Unknown => self.next(session),
            SurveyEnd::Corrupt(excerpt) => Step::Done(Err(KeyError::Corrupt(excerpt))),
            SurveyEnd::Failed(error) => Step::Done(Err(error.into())),
            SurveyEnd::OutOfOrder => Step::Done(Err(KeyError::OutOfOrder)),
        }
    }

    fn tell(
        &mut self,
        session: &Session,
        now: Time,
        name: Key,
        era: u64,
        mut status: Box<SemaphoreStatus>,
    ) -> Step<Outcome> {
        let Some(quarantine) = session.quarantined(Some(era), now) else {
            let key = session.namespace().semaphore(&name);
            self.state = State::AskingEra { name, status };
            return Step::Call(Request::Era { key });
        };
        status.quarantine = quarantine;
        self.told.push(*status);
        self.next(session)
    }
}

impl Machine for List {
    type Outcome = Outcome;

    fn step(&mut self, session: &mut Session, now: Time, event: Event) -> Step<Outcome> {
        match (core::mem::replace(&mut self.state, State::Ended), event) {
            (State::FreshOne, Event::Start) => self.next(session),
            (State::FreshAll, Event::Start) => {
                self.state = State::ReadingNames;
                Step::Call(Request::Get { key: session.namespace().semaphores() })
            }
            (State::ReadingNames, Event::Reply(Reply::Entry(Ok(entry)))) => {
                match SemaphoreList::read(entry.as_ref()) {
                    Ok(list) => self.names = list.names().into_iter().rev().collect(),
                    Err(excerpt) => return Step::Done(Err(KeyError::Corrupt(excerpt))),
                }
                self.next(session)
            }
            (State::AskingEra { name, status }, Event::Reply(Reply::Era(Ok(era)))) => {
                session.note(era, now);
                self.tell(session, now, name, era.id, status)
            }
            (State::ReadingNames, Event::Reply(Reply::Entry(Err(error))))
            | (State::AskingEra { .. }, Event::Reply(Reply::Era(Err(error)))) => Step::Done(Err(error.into())),
            (State::Surveying { name, mut survey }, event) => match survey.step(session, now, event) {
                ControlFlow::Break(end) => self.on_survey(session, now, name, end),
                ControlFlow::Continue(ask) => {
                    self.state = State::Surveying { name, survey };
                    ask.into()
                }
            },
            _ => Step::Done(Err(KeyError::OutOfOrder)),
        }
    }
}
