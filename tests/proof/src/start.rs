//! How sessions and machines are made.

use std::time::Duration;

use kvlock_machine::{
    Acquire, AskFor, Break, Event, FollowAsk, Hear, Key, Namespace, Nonce, Release, Renew, Session, SessionOptions,
    Step, Text,
};
use kvlock_store_model::Store;

use crate::owner::{Op, Owner, Phase, Work, time};
use crate::plan::{Deed, Plan, Scenario, Want};
use crate::truth::{Doing, Source};

impl Op {
    pub(crate) fn new(scenario: &Scenario, owner: &mut Owner, o: usize, deed: &Deed, now: Duration) -> Self {
        let own_nonce = nonce(u64::from(owner.begun) + 1000 * (o as u64 + 1));
        let grant_at = |owner: &Owner| owner.latest(key_of(deed));
        let (work, doing) = match deed {
            Deed::Acquire(want) => {
                let key = Key::new(want.key).expect("a legal key");
                let machine = Acquire::new(&owner.session, key, want.options(), Nonce(own_nonce));
                (Work::Acquire(Box::new(machine)), Doing::Acquiring { adopt: want.adopt })
            }
            Deed::Renew(_, lease) => {
                let grant = grant_at(owner).map(|index| owner.grants[index].clone()).expect("it has one");
                let lease = lease
                    .map(|lease| kvlock_machine::Lease::new(kvlock_machine::Ttl::After(lease)).expect("a legal lease"));
                (Work::Renew(Box::new(Renew::new(grant.clone(), lease)), grant), Doing::Renewing)
            }
            Deed::Release(_) | Deed::ReleaseTo(_) => {
                let index = grant_at(owner).expect("it has one");
                let grant = owner.grants.remove(index);
                (Work::Release(Box::new(Release::new(grant.clone())), grant), Doing::Releasing)
            }
            Deed::Break(key) => {
                let key = Key::new(key).expect("a legal key");
                (Work::Break(Box::new(Break::new(&owner.session, &key))), Doing::Breaking)
            }
            Deed::Ask(key) => {
                let key = Key::new(key).expect("a legal key");
                let machine = AskFor::lock(&owner.session, &key, None, Nonce(own_nonce));
                (Work::Ask(Box::new(machine)), Doing::Asking)
            }
            Deed::Follow(_) => {
                let asked = owner.asked.clone().expect("it has asked");
                (Work::Follow(Box::new(FollowAsk::new(asked))), Doing::Asking)
            }
            Deed::Hear(_) => {
                let grant = grant_at(owner).map(|index| owner.grants[index].clone()).expect("it has one");
                (Work::Hear(Box::new(Hear::new(grant.clone())), grant), Doing::Hearing)
            }
            Deed::HandOver(_) | Deed::WriteOut(_) | Deed::TakeUp => unreachable!("no machine does that"),
        };
        let want: Option<&Want> = if let Deed::Acquire(want) = deed { Some(want) } else { None };
        let outer = || want.and_then(|want| owner.latest(want.key)).map(|index| &owner.grants[index]);
        let sure_until = work.grant().or_else(outer).and_then(|grant| owner.valid_until(grant, now));
        let source =
            Source { owner: o, name: scenario.owners[o].name, op: owner.begun, doing, nonce: own_nonce, heir: None };
        Op {
            work,
            phase: Phase::Fresh,
            source,
            began: now,
            wait: want.and_then(|want| want.wait),
            at_least: want.map_or(Duration::ZERO, |want| want.at_least),
            sure_until,
            key: key_of(deed),
            lease: if let Deed::Renew(_, lease) = deed { *lease } else { None },
            quarantine: scenario.quarantine_of(want.and_then(|want| want.lease)),
            handed: None,
            heard: false,
            floor: 0,
            late_pauses: 0,
            calls: 0,
            slow: false,
            rewrote: false,
            saw_own: false,
            doubtful: false,
            asked_one_stood: false,
            broke: Default::default(),
        }
    }
}

/// A nonce that is told apart by either half, as all are.
pub(crate) fn nonce(number: u64) -> u128 {
    u128::from(number) << 64 | u128::from(number)
}

/// The next deed of a script that makes sense now: who has no grant cannot renew or release one.
pub(crate) fn next_deed(scenario: &Scenario, owner: &mut Owner, o: usize, l: usize, written: bool) -> Option<Deed> {
    let script = script(&scenario.owners[o], owner.crashes, l);
    let next = owner.lanes[l].next;
    let found = script[next..].iter().enumerate().find(|(_, deed)| match deed {
        Deed::Acquire(_) | Deed::Break(_) | Deed::Ask(_) => true,
        Deed::Follow(_) => owner.asked.is_some(),
        Deed::Renew(key, _) | Deed::Release(key) | Deed::ReleaseTo(key) | Deed::Hear(key) => {
            owner.latest(key).is_some()
        }
        Deed::HandOver(key) | Deed::WriteOut(key) => owner.latest(key).is_some(),
        Deed::TakeUp => written,
    });
    owner.lanes[l].next = found.map_or(script.len(), |(index, _)| next + index + 1);
    found.map(|(_, deed)| deed.clone())
}

/// What an owner does on a lane: after a crash there is one, with the script for that.
pub(crate) fn script(plan: &Plan, crashes: u8, lane: usize) -> &[Deed] {
    if crashes == 0 { &plan.lanes[lane] } else { &plan.again }
}

pub(crate) fn open(scenario: &Scenario, o: usize, now: Duration) -> Session {
    open_as(scenario.owners[o].name, scenario.quarantine, None, scenario.acquainted, now)
}

/// A session of that owner's name.
pub(crate) fn open_as(
    name: &str,
    quarantine: Option<Duration>,
    unix_time: Option<u64>,
    acquainted: bool,
    now: Duration,
) -> Session {
    let options = SessionOptions {
        owner: Text::owner(name).expect("a legal name"),
        label: Text::label("").expect("a legal label"),
        namespace: Namespace::new("n").expect("a legal namespace"),
        quarantine,
        unix_time,
    };
    let mut session = Session::open(options, time(now)).expect("legal options");
    if acquainted {
        acquaint(&mut session, now);
    }
    session
}

/// Lets a session meet the store: it acquires and releases a lock of its own.
fn acquaint(session: &mut Session, now: Duration) {
    let mut store = Store::new();
    let lease = kvlock_machine::Lease::new(kvlock_machine::Ttl::After(Duration::from_secs(1))).expect("legal");
    let key = Key::new("acquaintance").expect("a legal key");
    let options = kvlock_machine::LockOptions::new(lease);
    let mut work = Work::Acquire(Box::new(Acquire::new(session, key, options, Nonce(1))));
    let mut event = Event::Start;
    for _ in 0..10 {
        match work.step(session, time(now), event) {
            Step::Call(request) => event = Event::Reply(store.execute(&request, now)),
            Step::Done(crate::owner::End::Acquired(Ok(grant))) => {
                work = Work::Release(Box::new(Release::new(grant.clone())), grant);
                event = Event::Start;
            }
            Step::Sleep(_) | Step::Done(_) => return,
        }
    }
}

/// What the store calls a key.
pub(crate) fn store_key(key: &str) -> String {
    format!("n:lock:{key}")
}

/// What the store calls a key's line.
pub(crate) fn line_key(key: &str) -> String {
    format!("n:line:{key}")
}

/// What the store calls the ask for a key.
pub(crate) fn ask_key(key: &str) -> String {
    format!("n:ask:{key}")
}

fn key_of(deed: &Deed) -> &'static str {
    match deed {
        Deed::Acquire(want) => want.key,
        Deed::Renew(key, _) | Deed::Release(key) | Deed::ReleaseTo(key) => key,
        Deed::Break(key) | Deed::HandOver(key) | Deed::WriteOut(key) => key,
        Deed::Ask(key) | Deed::Follow(key) | Deed::Hear(key) => key,
        Deed::TakeUp => "",
    }
}
