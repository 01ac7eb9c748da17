//! Several keys at once, through the shipped component.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use kvlock::error::{AcquireError, GrantError};
use kvlock::renewal::AutoRenew;
use kvlock::store::Op;
use kvlock::{AcquirePoll, Grant, Released, Validity, WaitingFor};

use crate::world::{World, busy_with, refused, secs};

fn keys(grant: &Grant) -> Vec<&str> {
    grant.tokens().map(|(key, _)| key).collect()
}

#[test]
fn several_keys_are_one_grant_with_a_token_for_each() {
    let (world, [one, other]) = World::with(["one", "other"]);
    let grant = one.lock_all(["b", "a", "b"]).acquire().unwrap();
    assert_eq!((grant.key(), keys(&grant)), ("b", vec!["b", "a"]), "as they were named, and each once");
    assert_eq!(grant.token_of("b"), Some(grant.token()));
    assert_eq!(grant.token_of("a"), Some(world.holder("a").unwrap().token));
    assert_eq!(grant.token_of("c"), None);
    assert!(matches!(grant.validity(), Ok(Validity::Valid(_))));
    assert!(other.lock("a").try_acquire().unwrap().is_none());
    assert!(other.lock_all(["a", "c"]).try_acquire().unwrap().is_none());
    assert!(world.holder("c").is_none(), "all or none");
    assert_eq!(grant.release(), Ok(Released::Freed));
    assert!(other.lock_all(["a", "c"]).acquire().is_ok());
}

#[test]
fn free_keys_cost_an_operation_each_and_go_in_one_call_of_the_store() {
    let (world, [one]) = World::with(["one"]);
    let mut grant = one.lock_all(["a", "b", "c"]).acquire().unwrap();
    assert_eq!(world.ops(), [Op::Add; 3]);
    grant.renew().unwrap();
    assert_eq!(world.ops(), [Op::Replace; 3]);
    grant.release().unwrap();
    assert_eq!(world.ops(), [Op::Delete; 3]);
    drop(one.lock_all(["a", "b"]).acquire().unwrap());
    assert_eq!(world.ops(), [Op::Add, Op::Add, Op::Delete, Op::Delete], "a grant that is dropped is released");
}

#[test]
fn one_key_is_a_lock_like_any_other() {
    let (world, [one]) = World::with(["one"]);
    let grant = one.lock_all(["k", "k"]).acquire().unwrap();
    assert_eq!((world.ops(), keys(&grant)), (vec![Op::Add], vec!["k"]));
    grant.release().unwrap();
    assert_eq!(world.ops(), [Op::Delete]);
}

#[test]
fn an_error_names_the_key_that_it_is_about() {
    let (world, [one, other]) = World::with(["one", "other"]);
    let held = other.lock("b").acquire().unwrap();
    let busy = refused(one.lock_all(["c", "b", "a"]).wait(Duration::ZERO).acquire());
    let AcquireError::Busy { key, waiting_for: WaitingFor::Holder(holder), .. } = &busy else { panic!("{busy:?}") };
    assert_eq!((key.as_str(), holder.owner.as_str()), ("b", "other"));
    held.release().unwrap();
    let own = one.lock("c").acquire().unwrap();
    let error = refused(one.lock_all(["a", "c"]).acquire());
    assert_eq!(error, AcquireError::AlreadyHeld { key: "c".into() });
    own.release().unwrap();
    world.store.put_foreign("kvlock:lock:b", b"somebody's own");
    let error = refused(one.lock_all(["a", "b"]).acquire());
    assert!(matches!(&error, AcquireError::Corrupt { key, .. } if key == "b"), "{error:?}");
    assert!(world.holder("a").is_none());
    for (named, text) in [(vec![], "no key is named"), (vec!["a", ""], "empty")] {
        let error = refused(one.lock_all(named).acquire());
        assert!(matches!(&error, AcquireError::Invalid { reason, .. } if reason.contains(text)), "{error:?}");
    }
}

#[test]
fn a_wait_keeps_what_it_has_alive_by_its_polls_and_gives_it_back_when_it_is_dropped() {
    let (world, [one, other]) = World::with(["one", "other"]);
    let held = other.lock("b").lease(secs(3600)).acquire().unwrap();
    let mut wait = one.lock_all(["a", "b"]).lease(secs(3)).begin().unwrap();
    for _ in 0..200 {
        let AcquirePoll::Pending { pause, waiting_for } = wait.poll().unwrap() else { panic!("it is busy") };
        assert!(matches!(waiting_for, WaitingFor::Holder(holder) if holder.key == "b"));
        assert_eq!(world.holder("a").unwrap().owner, "one");
        world.clock.advance(pause);
    }
    drop(wait);
    assert!(world.holder("a").is_none());
    held.release().unwrap();
    assert!(one.lock_all(["a", "b"]).try_acquire().unwrap().is_some());
}

#[test]
fn if_one_key_is_lost_the_guard_is_lost_and_tells_which() {
    let world = World::new();
    let clock = world.clock.clone();
    let (one, other) = (world.session("one"), world.session("other"));
    let mut grant = one.lock_all(["a", "b", "c"]).acquire().unwrap();
    other.break_lock("b").unwrap().ended().unwrap();
    let error = grant.renew().unwrap_err();
    assert!(matches!(&error, GrantError::Lost { key, .. } if key == "b"), "{error:?}");
    assert_eq!(grant.validity(), Ok(Validity::Lost));
    assert_eq!(world.holder("a").unwrap().owner, "one", "the others are there until they are released");
    assert!(matches!(grant.release(), Err(GrantError::Lost { .. })));
    assert!(world.holder("a").is_none() && world.holder("c").is_none());
    drop(clock);
}

#[test]
fn a_guard_renews_all_keys_as_one() {
    let client = kvlock::Client::connect("memory:").unwrap();
    let lock = client.lock_all(["a", "b"]).lease(Duration::from_millis(300));
    let guard = lock.acquire().unwrap().auto_renew(AutoRenew::default());
    let tokens: Vec<_> = guard.tokens().map(|(key, token)| (key.to_string(), token)).collect();
    std::thread::sleep(Duration::from_secs(1));
    assert!(guard.lost().is_none());
    let session = client.session().open().unwrap();
    for (key, token) in &tokens {
        assert_eq!(session.status(key).unwrap().state.holder().unwrap().token, *token);
    }
    session.break_lock("b").unwrap();
    kvlock_tests::kvlock::eventually("the loss", || guard.lost().is_some());
    assert_eq!(guard.lost_key(), "b");
    assert!(guard.release().is_err());
    assert!(session.status("a").unwrap().state.holder().is_none());
}

#[test]
fn a_grant_of_several_keys_is_written_out_as_one_word() {
    let (world, [one, other]) = World::with(["one", "other"]);
    let grant = one.lock_all(["b", "a"]).acquire().unwrap();
    let token = grant.token_of("a");
    let word = grant.write_out().unwrap();
    let mut taken = other.resume(&word).unwrap();
    assert_eq!((keys(&taken), taken.token_of("a")), (vec!["b", "a"], token));
    taken.renew().unwrap();
    assert_eq!(taken.release(), Ok(Released::Freed));
    assert!(world.holder("a").is_none() && world.holder("b").is_none());
}

#[test]
fn a_release_that_the_store_failed_is_made_up_for_when_one_of_the_keys_is_locked_again() {
    let (world, [one]) = World::with(["one"]);
    let grant = one.lock_all(["a", "b"]).acquire().unwrap();
    world.store.down();
    assert!(matches!(grant.release(), Err(GrantError::Store { .. })));
    world.store.up();
    let again = one.lock("b").acquire().unwrap();
    assert!(world.holder("a").is_none(), "it was given back as well");
    again.release().unwrap();
}

#[test]
fn threads_that_name_the_same_keys_in_random_orders_lose_no_increment_and_do_not_end_in_a_deadlock() {
    let client = kvlock::Client::connect("memory:").unwrap();
    let counters: [std::sync::Mutex<u32>; 4] = Default::default();
    std::thread::scope(|scope| {
        for thread in 0..6usize {
            let (client, counters) = (&client, &counters);
            scope.spawn(move || {
                for turn in 0..40 {
                    let first = (thread * 7 + turn * 3) % 4;
                    let second = (first + 1 + (thread + turn) % 3) % 4;
                    let grant = client.lock_all([format!("k{first}"), format!("k{second}")]).acquire().unwrap();
                    for counter in [first, second] {
                        *counters[counter].try_lock().expect("nobody else has it") += 1;
                    }
                    grant.release().unwrap();
                }
            });
        }
    });
    let total: u32 = counters.iter().map(|counter| *counter.lock().unwrap()).sum();
    assert_eq!(total, 6 * 40 * 2);
}

#[test]
fn a_lone_key_of_another_thread_and_several_keys_take_turns() {
    let client = kvlock::Client::connect("memory:").unwrap();
    let (turns, lone) = (std::sync::atomic::AtomicU32::new(0), std::sync::atomic::AtomicBool::new(true));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while lone.load(SeqCst) {
                    client.lock("a").acquire().unwrap().release().unwrap();
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..30 {
                client.lock_all(["b", "a"]).acquire().unwrap().release().unwrap();
                turns.fetch_add(1, SeqCst);
            }
            lone.store(false, SeqCst);
        });
    });
    assert_eq!(turns.into_inner(), 30);
}

#[test]
fn a_wait_for_several_keys_has_one_limit() {
    let (world, [one, a, b]) = World::with(["one", "a", "b"]);
    let first = a.lock("a").lease(secs(5)).acquire().unwrap();
    let _second = b.lock("b").lease(secs(3600)).acquire().unwrap();
    let (error, took) = world.timed(|| busy_with(one.lock_all(["a", "b"]).wait(secs(8)).acquire()));
    assert_eq!(error.key, "b");
    assert!(took >= secs(8) && took < secs(9), "{took:?}");
    assert!(world.holder("a").is_none());
    drop(first);
}
