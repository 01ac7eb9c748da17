//! Being asked for a lock: what a guard learns, and what it costs.

use std::sync::mpsc;
use std::time::Duration;

use kvlock::renewal::AutoRenew;
use kvlock::status::Asked;
use kvlock::{Client, Session};
use kvlock_testkit::Memory;

use crate::world::{millis, secs};

/// A store in real time, by which guards renew, and two owners that know it.
struct World {
    store: Memory,
}

impl World {
    fn with<const N: usize>(owners: [&str; N]) -> (Self, [Session; N]) {
        let store = Memory::default();
        let client = Client::with_store(store.clone());
        let sessions = owners.map(|owner| {
            let session = client.session().owner(owner).open().unwrap();
            session.lock("acquaintance").wait(Duration::ZERO).acquire().unwrap().release().unwrap();
            session
        });
        store.take_calls();
        (World { store }, sessions)
    }

    fn calls(&self) -> Vec<String> {
        self.store.take_calls().iter().map(ToString::to_string).collect()
    }
}

#[test]
fn a_guard_learns_of_an_ask_at_its_next_renewal_and_tells_of_each_once() {
    let (world, [one, two]) = World::with(["one", "two"]);
    let (tell, told) = mpsc::channel();
    let options = AutoRenew::default().on_wanted(move |ask| tell.send(ask.clone()).unwrap());
    let kept = one.lock("k").lease(millis(300)).acquire().unwrap().auto_renew(options);
    assert_eq!(kept.wanted(), None);
    for note in ["first", "second"] {
        let mut asking = two.ask("k").note(note).begin().unwrap();
        assert!(matches!(asking.state(), Asked::Unheard(holder) if holder.owner == "one"));
        let ask = told.recv_timeout(secs(60)).unwrap();
        assert_eq!((ask.owner.as_str(), ask.note.as_deref()), ("two", Some(note)));
        assert_eq!(kept.wanted(), Some(ask));
        assert!(matches!(asking.look().unwrap(), Asked::Heard(holder) if holder.owner == "one"));
        assert!(asking.is_over());
    }
    assert!(told.recv_timeout(secs(1)).is_err(), "each is told once");
    kept.release().unwrap();
    assert_eq!(two.ask("k").run().unwrap(), Asked::Free);
    drop(world);
}

#[test]
fn a_renewal_in_the_background_costs_one_read_more_and_all_else_what_it_did() {
    let (world, [one]) = World::with(["one"]);
    let kept = one.lock("k").lease(millis(600)).acquire().unwrap().auto_renew(AutoRenew::default());
    kvlock_tests::kvlock::eventually("a renewal", || world.store.calls().len() >= 3);
    kept.release().unwrap();
    let calls = world.calls();
    let renewal = ["replace kvlock:lock:k -> written", "get kvlock:ask:k -> nothing"];
    assert_eq!(calls[0], "add kvlock:lock:k -> written");
    assert_eq!(calls.last().unwrap(), "delete kvlock:lock:k -> deleted");
    assert!(calls[1..calls.len() - 1].chunks(2).all(|pair| pair == renewal), "{calls:?}");
}

#[test]
fn a_look_for_asks_that_fails_is_no_loss() {
    use kvlock_testkit::{Fault, Op};
    let (world, [one, two]) = World::with(["one", "two"]);
    let kept = one.lock("k").lease(millis(300)).acquire().unwrap().auto_renew(AutoRenew::default());
    (0..3).for_each(|_| world.store.script_for(Op::Get, Fault::Unavailable));
    let asked = two.ask("k").wait(secs(60)).run().unwrap();
    assert!(matches!(asked, Asked::Heard(_)), "{asked:?}");
    assert_eq!((kept.lost(), kept.failure()), (None, None));
    kept.release().unwrap();
}

#[test]
fn whoever_renews_by_hand_asks_by_hand() {
    let (world, [one, two]) = World::with(["one", "two"]);
    let mut grant = one.lock("k").acquire().unwrap();
    assert_eq!(grant.wanted().unwrap(), None);
    let _asking = two.ask("k").begin().unwrap();
    world.calls();
    assert_eq!(grant.wanted().unwrap().unwrap().owner, "two");
    assert_eq!(world.calls(), ["get kvlock:ask:k -> found", "replace kvlock:ask:k -> written"]);
    grant.renew().unwrap();
    assert_eq!(world.calls(), ["replace kvlock:lock:k -> written"]);
    grant.release().unwrap();
}
