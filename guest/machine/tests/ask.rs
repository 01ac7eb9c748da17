//! Asking a holder to give a lock back: who hears it, what the one who asks learns, and what it costs. The lock itself
//! never notices.

mod support;

use kvlock_machine::{
    Ask, AskFor, AskState, Asked, Downgrade, FollowAsk, Grant, Hear, Key, KeyError, PlacedAsk, Released, StoreError,
    Text, Validity,
};
use support::{Fault, Owner, World, millis, nested, once, secs, waiting};

fn asking(world: &mut World, owner: Owner, key: &str, note: Option<&str>) -> AskFor {
    let (nonce, note) = (world.nonce(), note.map(|note| Text::note(note).unwrap()));
    AskFor::lock(world.session(owner), &Key::new(key).unwrap(), note, nonce)
}

fn ask(world: &mut World, owner: Owner) -> Asked {
    let machine = asking(world, owner, "k", Some("the release waits"));
    world.drive(owner, machine).unwrap()
}

#[track_caller]
fn placed(asked: Asked) -> PlacedAsk {
    if let Asked::Placed(placed, _) = asked { *placed } else { panic!("{asked:?}") }
}

fn hear(world: &mut World, owner: Owner, grant: &Grant) -> Option<Ask> {
    world.drive(owner, Hear::new(grant.clone())).unwrap()
}

fn follow(world: &mut World, owner: Owner, ask: &PlacedAsk) -> AskState {
    world.drive(owner, FollowAsk::new(ask.clone())).unwrap()
}

/// A holder of `k` for 30 s, and somebody who asks.
fn held() -> (World, Owner, Grant, Owner) {
    let mut world = World::new();
    let (holder, asker) = (world.acquainted("holder"), world.acquainted("asker"));
    let grant = world.acquire(holder, "k", once(30)).unwrap();
    world.calls();
    (world, holder, grant, asker)
}

#[test]
fn an_ask_is_heard_at_the_next_look_and_the_one_who_asks_learns_it() {
    let (mut world, holder, grant, asker) = held();
    assert_eq!(hear(&mut world, holder, &grant), None);
    assert_eq!(world.calls(), ["get"], "nobody asks");
    let ask = placed(ask(&mut world, asker));
    assert_eq!(world.calls(), ["get-many", "add"]);
    assert!(matches!(follow(&mut world, asker, &ask), AskState::Unheard(holder) if holder.owner == "holder"));
    assert_eq!(world.calls(), ["get-many"]);
    let heard = hear(&mut world, holder, &grant).unwrap();
    assert_eq!(world.calls(), ["get", "replace"]);
    assert_eq!((heard.owner.as_str(), heard.note.as_deref()), ("asker", Some("the release waits")));
    assert!(heard.since.is_some() && heard.label == "host");
    assert_eq!(hear(&mut world, holder, &grant), Some(heard), "it stays asked for");
    assert_eq!(world.calls(), ["get"], "a receipt is written once");
    assert!(matches!(follow(&mut world, asker, &ask), AskState::Heard(holder) if holder.owner == "holder"));
    assert_eq!(world.release(holder, &grant), Ok(Released::Freed));
    world.calls();
    assert_eq!(follow(&mut world, asker, &ask), AskState::Released(None));
    assert_eq!(world.calls(), ["get-many", "delete"], "nothing stays behind");
    assert_eq!(world.servers.value("n:ask:k", world.now), None);
}

#[test]
fn the_lock_costs_the_same_whether_or_not_somebody_asks() {
    let (mut world, holder, grant, asker) = held();
    ask(&mut world, asker);
    world.calls();
    world.renew(holder, &grant).unwrap();
    assert_eq!(world.calls(), ["replace"]);
    hear(&mut world, holder, &grant);
    world.calls();
    world.renew(holder, &grant).unwrap();
    assert_eq!(world.release(holder, &grant), Ok(Released::Freed));
    assert_eq!(world.calls(), ["replace", "delete"]);
    world.acquire(asker, "k", once(30)).unwrap();
    assert_eq!(world.calls(), ["add"]);
}

#[test]
fn an_ask_is_for_those_who_have_the_lock_then_and_for_nobody_who_gets_it_later() {
    let (mut world, holder, grant, asker) = held();
    let ask = placed(ask(&mut world, asker));
    world.release(holder, &grant).unwrap();
    let next = world.acquire(holder, "k", once(30)).unwrap();
    assert_eq!(hear(&mut world, holder, &next), None, "the same owner, by another grant");
    assert!(
        matches!(follow(&mut world, asker, &ask), AskState::Released(Some(holder)) if holder.token == next.token())
    );
}

#[test]
fn an_ask_goes_along_with_a_grant_whatever_becomes_of_that() {
    let mut world = World::new();
    let (holder, other, asker) = (world.acquainted("holder"), world.acquainted("other"), world.acquainted("asker"));
    let outer = world.acquire(holder, "k", nested(30)).unwrap();
    let ask = placed(ask(&mut world, asker));
    let inner = world.acquire(holder, "k", nested(60)).unwrap();
    world.renew(holder, &outer).unwrap();
    assert!(hear(&mut world, holder, &inner).is_some(), "nested");
    world.release(holder, &inner).unwrap();
    let word = world.write_out(holder, &outer).unwrap();
    let taken = world.resume(other, &word);
    assert!(hear(&mut world, other, &taken).is_some(), "taken up by another process");
    world.renew(other, &taken).unwrap();
    world.drive(other, Downgrade::new(taken.clone())).unwrap();
    assert!(hear(&mut world, other, &taken).is_some(), "shared from now on");
    assert!(matches!(follow(&mut world, asker, &ask), AskState::Heard(holder) if holder.readers == 1));
}

#[test]
fn all_readers_are_asked_and_it_is_heard_once_each_that_is_left_has_heard_it() {
    let mut world = World::new();
    let readers = ["one", "two", "three"].map(|name| {
        let owner = world.acquainted(name);
        let reads = world.sharing(owner, "k", once(30));
        (owner, world.finish(reads).unwrap())
    });
    let asker = world.acquainted("asker");
    let ask = placed(ask(&mut world, asker));
    let late = world.acquainted("late");
    let reads = world.sharing(late, "k", once(30));
    let late_grant = world.finish(reads).unwrap();
    assert_eq!(hear(&mut world, late, &late_grant), None, "it came after the ask");
    for (owner, grant) in &readers[..2] {
        assert!(hear(&mut world, *owner, grant).is_some());
        assert!(matches!(follow(&mut world, asker, &ask), AskState::Unheard(_)));
    }
    let (owner, grant) = &readers[2];
    world.renew(*owner, grant).unwrap();
    assert!(hear(&mut world, *owner, grant).is_some());
    assert!(matches!(follow(&mut world, asker, &ask), AskState::Heard(_)));
    for (owner, grant) in &readers {
        world.release(*owner, grant).unwrap();
    }
    assert!(matches!(follow(&mut world, asker, &ask), AskState::Released(Some(holder)) if holder.owner == "late"));
}

#[test]
fn a_permit_is_asked_for_by_its_number_and_a_lock_of_a_like_name_is_not() {
    let mut world = World::new();
    let (holder, asker) = (world.acquainted("holder"), world.acquainted("asker"));
    world.resize(holder, "pool", 1).unwrap();
    let permit = world.permit(holder, "pool", once(30)).unwrap();
    let lock = world.acquire(holder, "0:pool", once(30)).unwrap();
    let nonce = world.nonce();
    let machine = AskFor::permit(world.session(asker), &Key::semaphore("pool").unwrap(), 0, None, nonce);
    let ask = placed(world.drive(asker, machine).unwrap());
    assert_eq!(hear(&mut world, holder, &lock), None);
    assert!(hear(&mut world, holder, &permit).is_some_and(|ask| ask.note.is_none()));
    assert!(matches!(follow(&mut world, asker, &ask), AskState::Heard(holder) if holder.permit == Some(0)));
}

#[test]
fn nobody_is_asked_where_nobody_works() {
    let mut world = World::new();
    let (owner, asker) = (world.acquainted("a"), world.acquainted("asker"));
    assert_eq!(ask(&mut world, asker), Asked::Free);
    let kept = world.acquire(owner, "k", once(30).at_least(secs(60)).unwrap()).unwrap();
    let under_way = placed(ask(&mut world, asker));
    world.release(owner, &kept).unwrap();
    assert!(matches!(follow(&mut world, asker, &under_way), AskState::Released(Some(holder)) if holder.depth == 0));
    world.calls();
    assert!(matches!(ask(&mut world, asker), Asked::Kept(holder) if holder.owner == "a"));
    assert_eq!(world.calls(), ["get-many"], "nothing is written");
}

#[test]
fn the_last_of_several_asks_is_heard_and_answers_the_earlier_ones() {
    let (mut world, holder, grant, asker) = held();
    let other = world.acquainted("other");
    let first = placed(ask(&mut world, asker));
    let second = placed(ask(&mut world, other));
    assert_eq!(hear(&mut world, holder, &grant).unwrap().owner, "other");
    for (owner, ask) in [(asker, &first), (other, &second)] {
        assert!(matches!(follow(&mut world, owner, ask), AskState::Heard(_)));
    }
    let heard = hear(&mut world, holder, &grant).unwrap().id;
    placed(ask(&mut world, asker));
    assert_ne!(hear(&mut world, holder, &grant).unwrap().id, heard, "another ask");
}

#[test]
fn a_lost_holder_hears_nothing_and_a_value_that_is_no_ask_asks_for_nothing() {
    let (mut world, holder, grant, asker) = held();
    world.servers.put("n:ask:k", b"42");
    assert_eq!(hear(&mut world, holder, &grant), None);
    let machine = asking(&mut world, asker, "k", None);
    assert!(matches!(world.drive(asker, machine), Err(KeyError::Corrupt(excerpt)) if excerpt == "\"42\""));
    assert_eq!(world.servers.value("n:ask:k", world.now).as_deref(), Some(&b"42"[..]), "left as it is");
    world.break_lock(asker, "k").unwrap();
    world.advance(secs(30));
    assert!(world.drive(holder, Hear::new(grant.clone())).is_err());
}

#[test]
fn whatever_becomes_of_the_writes_the_lock_stands_and_the_ask_is_found() {
    for faults in [[Fault::Fine, Fault::LostReply], [Fault::Fine, Fault::LostRequest]] {
        let (mut world, holder, grant, asker) = held();
        world.script(faults);
        let ask = placed(ask(&mut world, asker));
        world.script(faults);
        assert!(hear(&mut world, holder, &grant).is_some(), "{faults:?}");
        assert!(hear(&mut world, holder, &grant).is_some(), "{faults:?}");
        assert!(matches!(follow(&mut world, asker, &ask), AskState::Heard(_)), "{faults:?}");
        assert!(matches!(world.validity(holder, &grant), Validity::Valid(_)));
        assert_eq!(world.release(holder, &grant), Ok(Released::Freed));
    }
    let (mut world, holder, grant, asker) = held();
    world.script([Fault::Unavailable]);
    assert!(world.drive(holder, Hear::new(grant.clone())).is_err());
    world.script([Fault::Fine, Fault::LostRequest, Fault::Unavailable]);
    let machine = asking(&mut world, asker, "k", None);
    let outcome = world.drive(asker, machine);
    assert!(matches!(outcome, Err(KeyError::Store(StoreError::UnknownOutcome(_)))), "{outcome:?}");
    assert_eq!(world.renew(holder, &grant), Ok(()));
}

#[test]
fn an_ask_that_nobody_hears_ends_by_itself_after_a_lease_and_a_minute_at_least() {
    for (lease, kept) in [(30, 60), (300, 300)] {
        let mut world = World::new();
        let (holder, asker) = (world.acquainted("holder"), world.acquainted("asker"));
        let grant = world.acquire(holder, "k", once(lease)).unwrap();
        ask(&mut world, asker);
        world.advance(secs(kept) - millis(1));
        assert!(world.servers.value("n:ask:k", world.now).is_some());
        world.advance(millis(1));
        assert!(world.servers.value("n:ask:k", world.now).is_none());
        drop(grant);
    }
}

#[test]
fn a_waiter_that_asked_gets_the_lock_like_any_other() {
    let (mut world, holder, grant, asker) = held();
    let mut waits = world.acquiring(asker, "k", waiting(30, secs(60)));
    world.run_for(millis(60), &mut [&mut waits]);
    ask(&mut world, asker);
    assert!(hear(&mut world, holder, &grant).is_some());
    world.release(holder, &grant).unwrap();
    let got = world.finish(waits).unwrap();
    assert_eq!(hear(&mut world, asker, &got), None, "its own ask was for the holder before");
}
