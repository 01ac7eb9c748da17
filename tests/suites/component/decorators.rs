//! Functions behind locks: keys, recursion, threads, and what becomes of the lock and of the value.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Barrier, LazyLock};
use std::time::Duration;

use kvlock::clock::BootClock;
use kvlock::store::{Memory, StoreError};
use kvlock::{
    Client, FnLocks, Released,
    error::{AcquireError, GrantError},
    functions::{CallError, CallKey, LockedFn},
    soft::SoftGuard,
    status::KeyState,
};

use crate::world::{World, millis, refused, secs};

fn locks(world: &World) -> FnLocks {
    FnLocks::new(world.client.session()).wait(Duration::ZERO)
}

fn double(n: u32) -> u32 {
    2 * n
}

fn triple(n: u32) -> u32 {
    3 * n
}

fn key(n: &u32) -> String {
    n.to_string()
}

#[test]
fn a_call_locks_its_key_while_it_runs_and_gives_the_value() {
    let world = World::new();
    let work = |n: u32| {
        assert_eq!(world.holder("work:7").unwrap().depth, 1);
        n + 1
    };
    let work = locks(&world).lock(key, work).named("work");
    assert_eq!(work.call(7).unwrap(), 8);
    assert!(world.holder("work:7").is_none());
}

#[test]
fn calls_of_equal_keys_exclude_each_other_and_calls_of_different_keys_do_not() {
    let (world, [other]) = World::with(["other"]);
    let work = locks(&world).lock(key, double).named("work");
    let _held = other.lock("work:1").acquire().unwrap();
    match work.call(1) {
        Err(CallError::Acquire(AcquireError::Busy { key, .. })) => assert_eq!(key, "work:1"),
        other => panic!("{other:?}"),
    }
    assert_eq!(work.call(2).unwrap(), 4);
}

#[test]
fn equal_keys_of_two_functions_do_not_collide() {
    let world = World::new();
    let locks = locks(&world);
    let triple = locks.lock(key, triple);
    let outer = locks.lock(key, |n: u32| triple.call(n).unwrap() + double(n)).named("outer");
    assert_eq!(outer.call(1).unwrap(), 5);
    locks.lock(key, double).call(1).unwrap();
    let added: Vec<String> = world.calls().into_iter().filter(|call| call.starts_with("add")).collect();
    let module = module_path!();
    let keys = ["outer:1".to_string(), format!("{module}::triple:1"), format!("{module}::double:1")];
    assert_eq!(added, keys.map(|key| format!("add kvlock:lock:{key} -> written")));
}

#[test]
fn a_function_without_a_name_of_its_own_is_not_called_until_it_is_given_one() {
    let world = World::new();
    let (locks, addend) = (locks(&world), 5);
    let plain = locks.lock(key, |n: u32| n);
    let capturing = locks.lock(key, |n: u32| n + addend);
    let pointer = locks.lock(key, double as fn(u32) -> u32);
    for error in [refused(plain.call(1)), refused(capturing.call(1)), refused(pointer.call(1))] {
        assert!(matches!(error, CallError::Unnamed(_)), "{error}");
        assert!(error.to_string().contains("`named`"), "{error}");
    }
    assert_eq!(world.calls(), [] as [&str; 0]);
    assert_eq!(plain.named("plain").call(1).unwrap(), 1);
    assert_eq!(capturing.named("capturing").call(1).unwrap(), 6);
    assert_eq!(pointer.named("pointer").call(1).unwrap(), 2);
}

#[test]
fn a_call_that_needs_no_lock_takes_none() {
    let world = World::new();
    world.store.down();
    let get_key = |n: &u32| if *n == 0 { CallKey::Skip } else { CallKey::Lock(n.to_string()) };
    let work = locks(&world).lock(get_key, double);
    assert_eq!(work.call(0).unwrap(), 0);
    assert_eq!(world.calls(), [] as [&str; 0]);
    assert!(matches!(refused(work.call(1)), CallError::Acquire(AcquireError::Store { .. })));
    let guarded = locks(&world).lock_guarded(get_key, |guard: &SoftGuard, _| matches!(guard, SoftGuard::Skipped));
    assert!(guarded.named("guarded").call_guarded(0).unwrap());
}

#[test]
fn a_key_may_be_of_several_arguments_and_arguments_may_be_borrowed() {
    fn add((list, n): (&mut Vec<u32>, u32)) {
        list.push(n);
    }
    fn get_key((_, n): &(&mut Vec<u32>, u32)) -> String {
        n.to_string()
    }
    let world = World::new();
    let add = locks(&world).lock(get_key, add).named("add");
    let mut list = Vec::new();
    add.call((&mut list, 1)).unwrap();
    add.call((&mut list, 2)).unwrap();
    assert_eq!(list, [1, 2]);
    assert!(world.calls()[0].starts_with("add kvlock:lock:add:1 "));
}

#[test]
fn any_text_is_a_key() {
    let world = World::new();
    let length = locks(&world).lock(|text: &&str| text.to_string(), |text: &str| text.len()).named("a name");
    for text in ["", " ", "\r\n", "schlüssel", &"x".repeat(1000)] {
        assert_eq!(length.call(text).unwrap(), text.len());
    }
}

/// A function behind a lock that can be called by its own function.
type Recursive = LockedFn<fn(&u32) -> &'static str, fn(u32) -> Result<u32, String>>;

static RECURSIVE: LazyLock<(Memory, Recursive, Recursive)> = LazyLock::new(|| {
    let store = Memory::default();
    let locks = FnLocks::new(Client::with_store(store.clone()).session());
    let plain: Recursive = locks.lock((|_| "k") as fn(&u32) -> _, plain as fn(u32) -> _).named("plain");
    let nested: Recursive = locks.rlock((|_| "k") as fn(&u32) -> _, nested as fn(u32) -> _).named("nested");
    (store, plain, nested)
});

fn plain(levels: u32) -> Result<u32, String> {
    if levels == 0 { Ok(0) } else { RECURSIVE.1.call(levels - 1).unwrap_or_else(|error| Err(error.to_string())) }
}

/// The depth that everybody sees at the innermost level.
fn nested(levels: u32) -> Result<u32, String> {
    if levels == 0 { Ok(depth_of("nested:k")) } else { RECURSIVE.2.call(levels - 1).unwrap() }
}

fn depth_of(key: &str) -> u32 {
    match Client::with_store(RECURSIVE.0.clone()).session().open().unwrap().status(key).unwrap().state {
        KeyState::Held(holder) => holder.depth,
        _ => 0,
    }
}

#[test]
fn a_recursive_call_of_a_plain_lock_is_refused_at_once_and_does_not_deadlock() {
    let error = refused(RECURSIVE.1.call(1).unwrap());
    assert!(error.contains("held by this session already"), "{error}");
    assert_eq!(depth_of("plain:k"), 0);
    assert_eq!(RECURSIVE.1.call(0).unwrap(), Ok(0));
}

#[test]
fn recursive_calls_of_a_reentrant_lock_nest_and_only_the_outermost_frees() {
    assert_eq!(RECURSIVE.2.call(4).unwrap(), Ok(5));
    assert_eq!(depth_of("nested:k"), 0);
    let ends: Vec<String> = RECURSIVE.0.calls().iter().map(ToString::to_string).collect();
    let deletes = ends.iter().filter(|call| call.starts_with("delete kvlock:lock:nested:k ")).count();
    assert_eq!(deletes, 1, "{ends:?}");
}

#[test]
fn threads_are_owners_of_their_own() {
    let world = World::new();
    let inside = Barrier::new(2);
    let work = |_: u32| {
        inside.wait(); // the other thread tries now
        inside.wait();
    };
    let work = locks(&world).rlock(key, work).named("work");
    std::thread::scope(|scope| {
        scope.spawn(|| work.call(1).unwrap());
        inside.wait();
        assert!(matches!(work.call(1), Err(CallError::Acquire(AcquireError::Busy { .. }))));
        inside.wait();
    });
}

#[test]
fn a_thread_has_one_session_and_owners_are_named_after_threads() {
    let world = World::new();
    let owner = locks(&world).lock_guarded(key, |guard: &SoftGuard, _| guard.lock_guard().unwrap().owner().to_string());
    let owner = owner.named("owner");
    let names = ["red", "green"].map(|name| {
        let run = || [owner.call_guarded(1).unwrap(), owner.call_guarded(2).unwrap()];
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name(name.into()).spawn_scoped(scope, run).unwrap();
            thread.join().unwrap()
        })
    });
    for (name, [first, second]) in ["red", "green"].into_iter().zip(names) {
        assert!(first.ends_with(name) && first == second, "{first} {second}");
    }
    assert_eq!(world.ops().iter().filter(|op| **op == kvlock::store::Op::Era).count(), 2, "one session a thread");
}

#[test]
fn sessions_end_with_what_they_were_made_for() {
    let clock = Arc::new(BootClock); // each session has it
    let client = Client::with_store(Memory::default()).with_clock(clock.clone());
    let locks = FnLocks::new(client.session());
    let work = locks.lock(key, double);
    std::thread::scope(|scope| {
        for n in 0..4 {
            let work = &work;
            scope.spawn(move || work.call(n).unwrap());
        }
    });
    drop((client, locks));
    assert!(Arc::strong_count(&clock) > 2, "there are sessions");
    work.call(1).unwrap();
    drop(work);
    assert_eq!(Arc::strong_count(&clock), 1);
}

#[test]
fn the_lock_is_released_if_the_function_panics() {
    let world = World::new();
    let work = locks(&world).lock(key, |_: u32| panic!("on purpose")).named("work");
    let outcome = catch_unwind(AssertUnwindSafe(|| work.call(1)));
    assert_eq!(outcome.err().unwrap().downcast_ref::<&str>(), Some(&"on purpose"));
    assert!(world.holder("work:1").is_none());
}

#[test]
fn the_lock_is_released_if_the_function_fails() {
    let world = World::new();
    let work = locks(&world).lock(key, |_: u32| Err::<u32, _>("on purpose")).named("work");
    assert_eq!(work.call(1).unwrap(), Err("on purpose"));
    assert!(world.holder("work:1").is_none());
}

#[test]
fn the_value_comes_with_the_error_if_the_lock_was_lost_meanwhile() {
    let (world, [operator]) = World::with(["operator"]);
    let work = |_: u32| {
        operator.break_lock("work:1").unwrap();
        42
    };
    match locks(&world).lock(key, work).named("work").call(1) {
        Err(CallError::Release { value: 42, error: GrantError::Lost { .. } }) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_lease_is_renewed_while_the_function_runs() {
    let store = Memory::default();
    let client = Client::with_store(store.clone());
    let other = client.session().open().unwrap();
    let work = |_: u32| {
        std::thread::sleep(millis(2500));
        other.lock("work:1").try_acquire().unwrap().is_none()
    };
    let work = FnLocks::new(client.session()).lease(secs(1)).lock(key, work).named("work");
    assert!(work.call(1).unwrap(), "still held after more than two leases");
}

#[test]
fn options_are_those_of_locks() {
    let world = World::new();
    let locks = FnLocks::new(world.client.session().owner("me").namespace("elsewhere")).lease(secs(9));
    let seen = |_: u32| world.client.session().namespace("elsewhere").open().unwrap().status("work:1").unwrap().state;
    let work = locks.wait(secs(3)).at_least(secs(5)).interval(millis(10)).lock(key, seen).named("work");
    match work.call(1).unwrap() {
        KeyState::Held(holder) => assert_eq!((holder.owner.as_str(), holder.lease), ("me", secs(9).into())),
        other => panic!("{other:?}"),
    }
    let (outcome, waited) = world.timed(|| work.call(1));
    assert!(matches!(outcome, Err(CallError::Acquire(AcquireError::Busy { .. }))), "kept for its minimum time");
    assert_eq!(waited, secs(3));
}

#[test]
fn a_function_that_asks_is_told_what_it_runs_under() {
    let world = World::new();
    let get_key = |_: &u32| "k";
    let token = locks(&world).lock_guarded(get_key, |guard: &SoftGuard, _| guard.token()).named("token");
    let tokens = [1, 2].map(|n| token.call_guarded(n).unwrap().unwrap());
    assert!(tokens[0] < tokens[1], "{tokens:?}");
    let depth = |guard: &SoftGuard, _| (guard.lost(), world.holder("depth:k").unwrap().depth);
    let depth = locks(&world).rlock_guarded(get_key, depth).named("depth");
    assert_eq!(depth.call_guarded(1).unwrap(), (None, 1));
}

#[test]
fn soft_functions_run_without_the_lock_when_the_store_is_down_and_can_tell() {
    let world = World::new();
    let get_key = |_: &u32| "k";
    let outage = |guard: &SoftGuard, _| matches!(guard, SoftGuard::Outage(StoreError::Unavailable(_)));
    let hard = locks(&world).lock_guarded(get_key, outage).named("work");
    let soft = locks(&world).soft().lock_guarded(get_key, outage).named("work");
    let unaware = locks(&world).soft().lock(get_key, double);
    world.store.down();
    assert!(matches!(hard.call_guarded(1), Err(CallError::Acquire(AcquireError::Store { .. }))));
    assert!(soft.call_guarded(1).unwrap());
    assert_eq!(unaware.call(4).unwrap(), 8);
    world.store.up();
    assert!(!soft.call_guarded(1).unwrap());
}

#[test]
fn a_getter_gives_the_lock_of_a_key_with_the_options() {
    let world = World::new();
    let locks = locks(&world).lease(secs(7));
    let (lock_of, rlock_of) = (locks.lock_getter(), locks.rlock_getter());
    let grant = lock_of("k").unwrap().acquire().unwrap();
    assert_eq!(world.holder("k").unwrap().lease, secs(7).into());
    assert!(matches!(lock_of("k").unwrap().acquire(), Err(AcquireError::AlreadyHeld { .. })));
    std::thread::scope(|scope| {
        let busy = || matches!(lock_of("k").unwrap().acquire(), Err(AcquireError::Busy { .. }));
        assert!(scope.spawn(busy).join().unwrap(), "another thread is another owner");
    });
    grant.release().unwrap();
    let nested = [(); 2].map(|()| rlock_of("k").unwrap().acquire().unwrap());
    assert_eq!(nested.map(|grant| grant.release().unwrap()), [Released::Nested(1), Released::Freed]);
}
