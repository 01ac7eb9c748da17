//! What a look at entries of the store tells: who has them, who waits, and what is not kvlock's.

mod support;

use kvlock_machine::{Inspect, Key, KeyError, KeyState, KeyStatus, Namespace, Standing, StoreError};
use support::{Fault, Owner, World, millis, once, secs, waiting};

fn inspect(world: &mut World, asks: Owner, keys: &[&str]) -> Vec<Option<Standing>> {
    let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
    let machine = Inspect::new(world.session(asks), &keys);
    world.drive(asks, machine).unwrap()
}

#[test]
fn one_call_tells_of_locks_permits_and_semaphores_in_the_order_of_the_keys() {
    let mut world = World::new();
    let (owner, other) = (world.acquainted("a"), world.acquainted("b"));
    world.acquire(owner, "held", once(30).note(Some("why")).unwrap()).unwrap();
    world.acquire(owner, "with a space", once(30)).unwrap();
    let kept = world.acquire(owner, "kept", once(30).at_least(secs(60)).unwrap()).unwrap();
    world.release(owner, &kept).unwrap();
    world.resize(owner, "pool", 2).unwrap();
    let permit = world.permit(owner, "pool", once(30)).unwrap().permit().unwrap();
    let mut waits = world.acquiring(other, "held", waiting(30, secs(60)));
    world.run_for(millis(60), &mut [&mut waits]);
    world.log.clear();
    let digest = Namespace::new("n").unwrap().store_key(&Key::new("with a space").unwrap());
    assert!(digest.starts_with("n:lock#"), "{digest}");
    let permit_key = format!("n:permit:{permit}:pool");
    let told = inspect(
        &mut world,
        other,
        &["n:lock:held", "n:lock:free", &digest, "n:semaphore:pool", &permit_key, "n:line:held", "n:lock:kept"],
    );
    assert_eq!(world.calls(), ["get-many"]);
    let [Some(held), None, Some(spaced), Some(pool), Some(permit), None, Some(kept)] = &told[..] else {
        panic!("{told:?}")
    };
    let Standing::Lock(KeyStatus { state: KeyState::Held(holder), waiters: 1, .. }) = held else { panic!("{held:?}") };
    assert_eq!((holder.owner.as_str(), holder.note.as_deref()), ("a", Some("why")));
    let Standing::Lock(KeyStatus { state: KeyState::Held(holder), .. }) = spaced else { panic!("{spaced:?}") };
    assert_eq!(holder.key, "with a space", "the digest alone does not tell");
    assert_eq!(*pool, Standing::Semaphore { name: "pool".into(), size: 2 });
    assert!(matches!(permit, Standing::Permit(holder) if holder.key == "pool" && holder.permit.is_some()));
    assert!(matches!(kept, Standing::Lock(KeyStatus { state: KeyState::Kept(_), .. })));
}

#[test]
fn readers_are_one_lock_and_those_who_are_in_do_not_wait() {
    let mut world = World::new();
    let [one, other] = ["a", "b"].map(|name| world.acquainted(name));
    for owner in [one, other] {
        let reads = world.sharing(owner, "k", once(30));
        world.finish(reads).unwrap();
    }
    let told = inspect(&mut world, one, &["n:lock:k"]);
    let [Some(Standing::Lock(KeyStatus { state: KeyState::Held(holder), waiters: 0, .. }))] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!(holder.readers, 2);
}

#[test]
fn a_value_that_is_not_ours_or_of_another_key_is_named_and_not_believed() {
    let mut world = World::new();
    let owner = world.acquainted("a");
    world.acquire(owner, "k", once(30)).unwrap();
    let record = world.servers.text("k", world.now).unwrap();
    world.servers.set("moved", record.as_bytes());
    world.servers.set("foreign", b"42");
    let told = inspect(&mut world, owner, &["n:lock:moved", "n:lock:foreign", "n:lock:k"]);
    assert!(matches!(&told[0], Some(Standing::Corrupt(excerpt)) if excerpt.contains("kvlock/1 lock")), "{told:?}");
    assert_eq!(told[1], Some(Standing::Corrupt("\"42\"".into())));
    assert!(matches!(told[2], Some(Standing::Lock(_))));
}

#[test]
fn keys_of_other_namespaces_and_kinds_are_not_read() {
    let mut world = World::new();
    let owner = world.acquainted("a");
    assert_eq!(
        inspect(&mut world, owner, &["m:lock:k", "n:semaphores", "n:line:k", "kvlock:epoch", ""]),
        [const { None }; 5]
    );
    assert_eq!(world.calls(), [""; 0]);
}

#[test]
fn a_store_that_does_not_answer_is_an_error() {
    let mut world = World::new();
    let owner = world.acquainted("a");
    world.script([Fault::Unavailable]);
    let machine = Inspect::new(world.session(owner), &["n:lock:k".to_string()]);
    assert!(matches!(world.drive(owner, machine), Err(KeyError::Store(StoreError::Unavailable(_)))));
}
