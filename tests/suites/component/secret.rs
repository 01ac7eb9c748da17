//! A written grant is worth what its nonce is: 128 bits that nobody else gets to see through kvlock.

use std::collections::BTreeSet;

use kvlock::status::KeyState;
use kvlock::store::KvStore;

use crate::world::World;

/// The nonce of the record that the store has for a lock.
fn nonce(world: &World, key: &str) -> String {
    let entry = world.store.get(&format!("kvlock:lock:{key}")).unwrap().expect("it is held");
    let record = String::from_utf8(entry.value).unwrap();
    record.lines().find_map(|line| line.strip_prefix("nonce: ")).expect("a record has one").to_string()
}

#[test]
fn no_two_grants_share_a_nonce_and_all_its_bits_vary() {
    let world = World::new();
    let mut nonces = BTreeSet::new();
    let (mut ones, mut zeros) = (0_u128, 0_u128);
    for session in 0..4 {
        let session = world.session(&format!("s{session}"));
        for _ in 0..64 {
            let grant = session.lock("k").acquire().unwrap();
            let nonce = nonce(&world, "k");
            assert_eq!(nonce.len(), 32);
            let bits = u128::from_str_radix(&nonce, 16).unwrap();
            (ones, zeros) = (ones | bits, zeros | !bits);
            assert!(nonces.insert(nonce), "twice the same");
            grant.release().unwrap();
        }
    }
    assert_eq!((ones, zeros), (u128::MAX, u128::MAX), "a bit that is always the same");
}

#[test]
fn no_status_and_no_wait_tells_a_nonce() {
    let (world, [holder, other]) = World::with(["a", "b"]);
    let _grant = holder.lock("k").acquire().unwrap();
    let nonce = nonce(&world, "k");
    let status = other.status("k").unwrap();
    assert!(matches!(status.state, KeyState::Held(_)));
    let Err(busy) = other.lock("k").wait(std::time::Duration::ZERO).acquire() else { panic!("it is held") };
    let broken = other.break_lock("k").unwrap().ended().expect("it was held");
    for told in [format!("{status:?}"), format!("{busy:?} {busy}"), format!("{broken:?} {broken}")] {
        assert!(told.contains('a') && !told.contains(&nonce), "{told}");
        assert!(!told.contains(&u128::from_str_radix(&nonce, 16).unwrap().to_string()), "{told}");
    }
}
