//! Looking at keys, and breaking a lock by force.

mod support;

use kvlock_machine::{
    Acquire, Break, Broken, Event, GrantError, Key, KeyError, KeyState, Machine, Nonce, Release, Renew, Reply, Status,
    Step, StoreError, Validity,
};
use support::{Drive, Fault, World, nested, once, secs};

#[test]
fn a_store_that_fails_says_nothing_about_the_keys() {
    let mut world = World::new();
    let owner = world.acquainted("a");
    world.weather = Fault::Unavailable;
    assert!(matches!(world.status(owner, &["k"]), Err(KeyError::Store(StoreError::Unavailable(_)))));
    assert!(matches!(world.break_lock(owner, "k"), Err(KeyError::Store(StoreError::Unavailable(_)))));
}

#[test]
fn a_break_tells_whose_lock_it_was_and_frees_it() {
    let mut world = World::new();
    let (owner, other) = (world.acquainted("a"), world.acquainted("b"));
    let grant = world.acquire(owner, "k", once(30)).unwrap();
    world.log.clear();
    let holder = world.break_lock(other, "k").unwrap().unwrap();
    assert_eq!(world.calls(), ["get", "delete"]);
    assert_eq!((holder.owner.as_str(), holder.token), ("a", grant.token()));
    assert!(world.acquire(other, "k", once(30)).is_ok());
    assert!(matches!(world.renew(owner, &grant), Err(GrantError::Lost(Some(_)))));
}

#[test]
fn a_break_of_a_free_lock_tells_of_nobody() {
    let mut world = World::new();
    let owner = world.acquainted("a");
    assert_eq!(world.break_lock(owner, "k"), Ok(None));
}

#[test]
fn a_break_with_a_token_ends_that_grant_and_no_other() {
    let mut world = World::new();
    let (owner, next, operator) = (world.acquainted("a"), world.acquainted("b"), world.acquainted("operator"));
    let seen = world.acquire(owner, "k", once(30)).unwrap();
    world.renew(owner, &seen).unwrap();
    world.release(owner, &seen).unwrap();
    assert_eq!(world.break_if(operator, "k", Some(seen.token())), Ok(Broken::Free));
    let held = world.acquire(next, "k", once(30)).unwrap();
    world.log.clear();
    let Ok(Broken::Other(holder)) = world.break_if(operator, "k", Some(seen.token())) else { panic!("it is b's") };
    assert_eq!((world.calls(), holder.owner.as_str(), holder.token), (vec!["get"], "b", held.token()));
    assert_eq!(world.renew(next, &held), Ok(()));
    let Ok(Broken::Ended(holder)) = world.break_if(operator, "k", Some(held.token())) else { panic!("it is ended") };
    assert_eq!(holder.token, held.token());
    assert!(matches!(world.renew(next, &held), Err(GrantError::Lost(None))));
}

#[test]
fn a_break_leaves_a_successor_that_comes_while_it_is_under_way_with_a_token_and_without() {
    for (has_token, unanswered) in [true, false]
        .into_iter()
        .flat_map(|has_token| [Fault::LostRequest, Fault::LostReply, Fault::Fine].map(|fault| (has_token, fault)))
    {
        let mut world = World::new();
        let (owner, next, operator) = (world.acquainted("a"), world.acquainted("b"), world.acquainted("operator"));
        let seen = world.acquire(owner, "k", once(30)).unwrap();
        let machine = Break::new(world.session(operator), &Key::new("k").unwrap());
        let machine = machine.if_token(has_token.then(|| seen.token()));
        let mut breaking = support::Op::new(&world, operator, machine);
        breaking.run_to_call(&mut world);
        breaking.step(&mut world);
        world.release(owner, &seen).unwrap();
        let held = world.acquire(next, "k", once(30)).unwrap();
        world.script([unanswered]);
        let broken = world.finish(breaking).unwrap();
        assert_eq!(world.renew(next, &held), Ok(()), "{has_token}, {unanswered:?}");
        match broken {
            Broken::Other(holder) => assert_eq!(holder.token, held.token()),
            // Its own delete may have been the end of it, as far as it can know.
            broken => assert!(unanswered != Fault::Fine, "{broken:?}"),
        }
    }
}

#[test]
fn a_break_follows_a_holder_that_renews_meanwhile() {
    let mut world = World::new();
    let (owner, other) = (world.acquainted("a"), world.acquainted("b"));
    let grant = world.acquire(owner, "k", once(30)).unwrap();
    let machine = Break::new(world.session(other), &Key::new("k").unwrap());
    let mut breaking = support::Op::new(&world, other, machine);
    breaking.run_to_call(&mut world);
    breaking.step(&mut world);
    world.renew(owner, &grant).unwrap();
    let Ok(Broken::Ended(holder)) = world.finish(breaking) else { panic!("it is ended") };
    assert_eq!(holder.token, grant.token());
    assert!(matches!(world.renew(owner, &grant), Err(GrantError::Lost(None))));
}

#[test]
fn a_record_of_another_key_is_corrupt() {
    let mut world = World::new();
    let owner = world.acquainted("a");
    world.acquire(owner, "elsewhere", once(300)).unwrap();
    let record = world.servers.text("elsewhere", world.now).unwrap();
    world.servers.set("k", record.as_bytes());
    let found = world.status(owner, &["k"]).unwrap().remove(0).state;
    assert!(matches!(&found, KeyState::Corrupt(text) if text.contains("elsewhere")), "{found:?}");
    assert!(matches!(world.break_lock(owner, "k"), Err(KeyError::Corrupt(text)) if text.contains("elsewhere")));
    assert_eq!(world.servers.text("k", world.now), Some(record));
}

#[test]
fn a_machine_that_has_ended_or_not_begun_takes_no_answer() {
    let mut world = World::new();
    let owner = world.acquainted("a");
    let now = world.time();
    let mut status = Status::new(Vec::new());
    let answer = || Event::Reply(Reply::Entries(Ok(Vec::new())));
    let session = world.session(owner);
    assert_eq!(status.step(session, now, answer()), Step::Done(Err(KeyError::OutOfOrder)));
    let mut status = Status::new(Vec::new());
    assert!(matches!(status.step(session, now, Event::Start), Step::Call(_)));
    assert_eq!(status.step(session, now, answer()), Step::Done(Ok(Vec::new())));
    assert_eq!(status.step(session, now, answer()), Step::Done(Err(KeyError::OutOfOrder)));
}

mod random_events {
    use super::*;
    use kvlock_machine::{DeleteOutcome, Entry, EraInfo, Mode, Version, WriteOutcome};
    use proptest::prelude::*;

    fn error() -> impl Strategy<Value = StoreError> {
        prop_oneof![
            Just(StoreError::Unavailable(String::new())),
            Just(StoreError::UnknownOutcome(String::new())),
            Just(StoreError::Rejected(String::new())),
            Just(StoreError::Invalid(String::new())),
        ]
    }

    fn version() -> impl Strategy<Value = Version> {
        (prop_oneof![0u64..3, Just(u64::MAX)], prop_oneof![0u64..3, Just(u64::MAX)])
            .prop_map(|(era, number)| Version { era, number })
    }

    fn event(record: Vec<u8>) -> impl Strategy<Value = Event> {
        let value = prop_oneof![Just(record), Just(b"42".to_vec())];
        let entry = (value, version()).prop_map(|(value, version)| Entry { value, version, time_left: None });
        let entry = proptest::option::of(entry).boxed();
        let write = prop_oneof![
            version().prop_map(WriteOutcome::Written),
            Just(WriteOutcome::Conflict(None)),
            Just(WriteOutcome::Absent)
        ];
        let delete =
            prop_oneof![Just(DeleteOutcome::Deleted), Just(DeleteOutcome::Conflict(None)), Just(DeleteOutcome::Absent)];
        let era = (0u64..3, 0u64..100)
            .prop_map(|(id, age)| EraInfo { id, lossless_for: std::time::Duration::from_secs(age) });
        prop_oneof![
            Just(Event::Start),
            Just(Event::Woken),
            proptest::result::maybe_err(entry.clone(), error()).prop_map(|r| Event::Reply(Reply::Entry(r))),
            proptest::result::maybe_err(proptest::collection::vec(entry, 0..3), error())
                .prop_map(|r| Event::Reply(Reply::Entries(r))),
            proptest::result::maybe_err(write, error()).prop_map(|r| Event::Reply(Reply::Write(r))),
            proptest::result::maybe_err(delete, error()).prop_map(|r| Event::Reply(Reply::Delete(r))),
            proptest::result::maybe_err(era, error()).prop_map(|r| Event::Reply(Reply::Era(r))),
        ]
    }

    /// The bytes that the first acquisition of `k` of this session writes.
    fn record(world: &mut World) -> Vec<u8> {
        let mut writer = World::new();
        writer.now = world.now;
        let owner = writer.owner("a");
        writer.acquire(owner, "k", nested(30)).unwrap();
        writer.servers.entry("k", writer.now).unwrap().value
    }

    proptest! {
        #[test]
        fn no_order_of_events_makes_a_machine_panic(
            events in proptest::collection::vec((event(record(&mut World::new())), 0u64..20), 1..30),
            kind in 0..5,
        ) {
            let mut world = World::new();
            let owner = world.owner("a");
            let grant = world.acquire(owner, "k", nested(30)).unwrap();
            let key = Key::new("k").unwrap();
            let options = nested(30).mode(Mode::Reentrant).adopt(true).wait(None).unwrap();
            let session = world.session(owner);
            let mut acquire = Acquire::new(session, key.clone(), options, Nonce(7));
            let (mut renew, mut release) = (Renew::new(grant.clone(), None), Release::new(grant));
            let (mut status, mut breaking) = (Status::new(vec![key.clone()]), Break::new(session, &key));
            for (event, pause) in std::iter::once((Event::Start, 0)).chain(events) {
                world.advance(secs(pause));
                let now = world.time();
                let session = world.session(owner);
                match kind {
                    0 => drop(acquire.step(session, now, event)),
                    1 => drop(renew.step(session, now, event)),
                    2 => drop(release.step(session, now, event)),
                    3 => drop(status.step(session, now, event)),
                    _ => drop(breaking.step(session, now, event)),
                }
            }
        }
    }
}

#[test]
fn a_session_that_breaks_its_own_lock_does_not_hold_it_any_more() {
    let mut world = World::new();
    let a = world.acquainted("a");
    let grant = world.acquire(a, "k", once(30)).unwrap();
    assert_eq!(world.break_lock(a, "k").unwrap().unwrap().owner, "a");
    assert_eq!(world.validity(a, &grant), Validity::Lost);
    let again = world.acquire(a, "k", once(30)).unwrap();
    assert!(again.token() > grant.token());
}
