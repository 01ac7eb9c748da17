//! An owner: its session, what its user believes to hold, and its machines under way.

use std::collections::VecDeque;
use std::time::Duration;

use kvlock_machine::{
    Acquire, AcquireError, Ask, AskFor, AskState, Asked, Break, Broken, Claim, Event, FollowAsk, Grant, GrantError,
    HandedOver, Hear, KeyError, Machine, PlacedAsk, Release, Released, Renew, Reply, Request, Session, Step, Time,
    Validity, WaitingFor,
};

use crate::truth::Source;

/// An owner as it is at a moment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Owner {
    /// The real session.
    pub session: Session,
    /// What its user has been given and not given back, in that order.
    pub grants: Vec<Grant>,
    /// What is under way, and how far each script has come.
    pub lanes: Vec<Lane>,
    /// How many machines it has begun; a nonce is made of it.
    pub begun: u32,
    /// How often it has crashed.
    pub crashes: u8,
    /// Its last ask.
    pub asked: Option<PlacedAsk>,
}

/// A script and its machine under way.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Lane {
    /// The next line of the script.
    pub next: usize,
    /// The machine under way.
    pub op: Option<Op>,
}

/// A machine under way, and what there is to judge its outcome by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Op {
    /// The real machine.
    pub work: Work,
    /// Where it stands.
    pub phase: Phase,
    /// Who it is, to the store's history.
    pub source: Source,
    /// When it began.
    pub began: Duration,
    /// How long an acquisition may wait.
    pub wait: Option<Duration>,
    /// For how long an acquisition asks the key to stay taken.
    pub at_least: Duration,
    /// Until when its user could be sure of the grant that it is about, or nested in, when it began.
    pub sure_until: Option<Duration>,
    /// The key.
    pub key: &'static str,
    /// The lease that a renewal asks for.
    pub lease: Option<Duration>,
    /// How old an era must be for it to grant anything.
    pub quarantine: Duration,
    /// The largest token reported when it began.
    pub floor: u64,
    /// The request under way takes, or took, longer than a tick.
    pub slow: bool,
    /// What it waits for was handed over to it, which it has not been told.
    pub handed: Option<HandedOver>,
    /// The store has told it that the key was freed, and it has not moved since.
    pub heard: bool,
    /// Pauses that began at the end of its wait or after it.
    pub late_pauses: u8,
    /// Calls since the last pause.
    pub calls: u8,
    /// A write of it changed the record of a hold that stood.
    pub rewrote: bool,
    /// It read the record of a hold that its owner had, or had taken up.
    pub saw_own: bool,
    /// A write of it was not answered.
    pub doubtful: bool,
    /// Whether somebody that its owner has asked had the lock when it read the store last.
    pub asked_one_stood: bool,
    /// The tokens of the holds that it broke.
    pub broke: VecDeque<u64>,
}

/// The real machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Work {
    /// An acquisition.
    Acquire(Box<Acquire>),
    /// A renewal of a grant.
    Renew(Box<Renew>, Grant),
    /// A release of a grant.
    Release(Box<Release>, Grant),
    /// A break.
    Break(Box<Break>),
    /// An ask.
    Ask(Box<AskFor>),
    /// A look at what became of one.
    Follow(Box<FollowAsk>),
    /// A look whether somebody asks for a grant.
    Hear(Box<Hear>, Grant),
}

/// Where a machine stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    /// It has not made its first step.
    Fresh,
    /// Its request has left, and the store has not seen it.
    Sent(Request),
    /// The store has answered, and the answer is on its way.
    Answered(Request, Reply),
    /// It sleeps until then.
    Asleep(Duration),
}

/// How a machine ended.
#[derive(Debug, Clone)]
pub(crate) enum End {
    /// An acquisition.
    Acquired(Result<Grant, AcquireError>),
    /// A renewal.
    Renewed(Result<(), GrantError>),
    /// A release.
    Released(Result<Released, GrantError>),
    /// A break.
    Broke(Result<Broken, KeyError>),
    /// An ask.
    Asked(Result<Asked, KeyError>),
    /// A look at what became of one.
    Followed(Result<AskState, KeyError>),
    /// A look whether somebody asks.
    Heard(Result<Option<Ask>, GrantError>),
}

impl Op {
    fn is_inside(&self) -> bool {
        !matches!((&self.work, &self.phase), (Work::Acquire(_), Phase::Asleep(_)))
    }
}

impl Work {
    /// One step of the real machine.
    pub(crate) fn step(&mut self, session: &mut Session, now: Time, event: Event) -> Step<End> {
        match self {
            Work::Acquire(machine) => step(&mut **machine, session, now, event, End::Acquired),
            Work::Renew(machine, _) => step(&mut **machine, session, now, event, End::Renewed),
            Work::Release(machine, _) => step(&mut **machine, session, now, event, End::Released),
            Work::Break(machine) => step(&mut **machine, session, now, event, End::Broke),
            Work::Ask(machine) => step(&mut **machine, session, now, event, End::Asked),
            Work::Follow(machine) => step(&mut **machine, session, now, event, End::Followed),
            Work::Hear(machine, _) => step(&mut **machine, session, now, event, End::Heard),
        }
    }

    /// The grant that it is about.
    pub(crate) fn grant(&self) -> Option<&Grant> {
        match self {
            Work::Renew(_, grant) | Work::Release(_, grant) | Work::Hear(_, grant) => Some(grant),
            Work::Acquire(_) | Work::Break(_) | Work::Ask(_) | Work::Follow(_) => None,
        }
    }

    /// What an acquisition waits for.
    pub(crate) fn waiting_for(&self) -> Option<&WaitingFor> {
        match self {
            Work::Acquire(machine) => Some(machine.waiting_for()),
            _ => None,
        }
    }
}

/// One step of a machine, whose end is told as one of several kinds.
pub(crate) fn step<M: Machine, E>(
    machine: &mut M,
    session: &mut Session,
    now: Time,
    event: Event,
    end: fn(M::Outcome) -> E,
) -> Step<E> {
    match machine.step(session, now, event) {
        Step::Call(request) => Step::Call(request),
        Step::Sleep(pause) => Step::Sleep(pause),
        Step::Done(outcome) => Step::Done(end(outcome)),
    }
}

/// A moment, as the machines are told it.
pub(crate) fn time(now: Duration) -> Time {
    Time::from_nanos(u64::try_from((Duration::from_secs(1000) + now).as_nanos()).expect("a small number of ticks"))
}

impl Owner {
    /// Until when a grant is valid, as its user is told now; none if it cannot be relied on.
    pub(crate) fn valid_until(&self, grant: &Grant, now: Duration) -> Option<Duration> {
        match self.session.validity(grant, time(now)) {
            Validity::Valid(left) => Some(now + left),
            Validity::Unlimited => Some(Duration::MAX),
            Validity::Unconfirmed | Validity::Lost => None,
        }
    }

    /// The grants that its user may rely on: those it has, and those of machines under way.
    pub(crate) fn relied_on(&self) -> impl Iterator<Item = &Grant> {
        let under_way = self.lanes.iter().filter_map(|lane| lane.op.as_ref()?.work.grant());
        self.grants.iter().chain(under_way)
    }

    /// The grants that its user has not got an answer for: each stands for one hold.
    pub(crate) fn not_given_back(&self) -> impl Iterator<Item = &Grant> {
        let releases = self.lanes.iter().filter_map(|lane| match &lane.op.as_ref()?.work {
            Work::Release(_, grant) => Some(grant),
            _ => None,
        });
        self.grants.iter().chain(releases)
    }

    /// What it got last of a key.
    pub(crate) fn latest(&self, key: &str) -> Option<usize> {
        self.grants.iter().rposition(|grant| grant.key() == key)
    }

    /// Whether a machine keeps the session for itself: all do but an acquisition that sleeps.
    pub(crate) fn is_inside(&self) -> bool {
        self.lanes.iter().filter_map(|lane| lane.op.as_ref()).any(Op::is_inside)
    }

    /// The lane of a machine whose pause is over, if it may move.
    pub(crate) fn due(&self, now: Duration) -> Option<usize> {
        let is_due = |op: &Op| matches!(op.phase, Phase::Asleep(until) if until <= now);
        let lane = |found: fn(&Op) -> bool| {
            self.lanes.iter().position(|lane| lane.op.as_ref().is_some_and(|op| is_due(op) && found(op)))
        };
        lane(Op::is_inside).or_else(|| if self.is_inside() { None } else { lane(|_| true) })
    }

    /// The claim of an acquisition of the key that pauses, and its nonce.
    pub(crate) fn claim(&mut self, key: &str, now: Duration) -> Option<(Claim, u128)> {
        if self.is_inside() {
            return None;
        }
        let Owner { session, lanes, .. } = self;
        lanes.iter_mut().filter_map(|lane| lane.op.as_mut()).find_map(|op| match (&mut op.work, &op.phase) {
            (Work::Acquire(machine), Phase::Asleep(_)) if op.key == key => {
                Some((machine.claim(session, time(now))?, op.source.nonce))
            }
            _ => None,
        })
    }

    /// Whether a machine is under way.
    pub(crate) fn is_busy(&self) -> bool {
        self.lanes.iter().any(|lane| lane.op.is_some())
    }
}

/// Whether a request changes anything.
pub(crate) fn is_write(request: &Request) -> bool {
    matches!(request, Request::Add { .. } | Request::Replace { .. } | Request::Delete { .. })
}
