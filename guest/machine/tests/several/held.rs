//! What was acquired together is renewed, lost, written out and given back together.

use kvlock_machine::{DiscardAll, GrantError, Released, StoreError, Validity};

use super::support::{Fault, World, once, secs};
use super::{acquire, holders, keys, release, renew};

#[test]
fn if_one_is_lost_all_are_and_the_others_are_given_back_by_the_release() {
    let mut world = World::new();
    let [owner, other] = ["owner", "other"].map(|name| world.acquainted(name));
    let grants = acquire(&mut world, owner, &["a", "b", "c"], once(30)).unwrap();
    world.break_lock(other, "b").unwrap();
    world.acquire(other, "b", once(30)).unwrap();
    let now = world.time();
    assert!(matches!(world.session(owner).validity_of_all(&grants, now), Validity::Valid(_)), "nobody can know");
    let error = renew(&mut world, owner, &grants).unwrap_err();
    let GrantError::Lost(Some(holder)) = error else { panic!("{error:?}") };
    assert_eq!((holder.key.as_str(), holder.owner.as_str()), ("b", "other"));
    assert_eq!(world.session(owner).validity_of_all(&grants, now), Validity::Lost);
    assert_eq!(holders(&mut world, &["a", "b", "c"]), ["owner", "other", "owner"]);
    let unreleased = release(&mut world, owner, &grants).unwrap_err();
    assert!(matches!(unreleased.error, GrantError::Lost(_)), "{unreleased:?}");
    assert_eq!(holders(&mut world, &["a", "b", "c"]), ["", "other", ""]);
}

#[test]
fn all_are_valid_as_long_as_the_one_that_ends_first() {
    let mut world = World::new();
    let owner = world.acquainted("owner");
    let grants = acquire(&mut world, owner, &["a", "b"], once(30)).unwrap();
    world.advance(secs(10));
    world.renew(owner, &grants[0]).unwrap();
    let now = world.time();
    let Validity::Valid(left) = world.session(owner).validity_of_all(&grants, now) else { panic!("lost") };
    assert!(left < secs(20) && left > secs(19), "{left:?}");
    world.advance(secs(20));
    let now = world.time();
    assert_eq!(world.session(owner).validity_of_all(&grants, now), Validity::Lost);
}

#[test]
fn what_the_store_failed_to_give_back_is_left_to_be_given_back_once_more() {
    let mut world = World::new();
    let owner = world.acquainted("owner");
    let grants = acquire(&mut world, owner, &["a", "b"], once(30)).unwrap();
    world.weather = Fault::Unavailable;
    let unreleased = release(&mut world, owner, &grants).unwrap_err();
    assert!(matches!(unreleased.error, GrantError::Store(StoreError::Unavailable(_))), "{unreleased:?}");
    assert_eq!(unreleased.left.len(), 2);
    world.weather = Fault::Fine;
    assert_eq!(release(&mut world, owner, &unreleased.left), Ok(Released::Freed));
    assert_eq!(holders(&mut world, &["a", "b"]), ["", ""]);
}

#[test]
fn grants_that_are_written_out_as_one_word_are_taken_up_as_one() {
    let mut world = World::new();
    let [owner, other] = ["owner", "other"].map(|name| world.acquainted(name));
    let grants = acquire(&mut world, owner, &["c", "a", "b"], once(30)).unwrap();
    let now = world.time();
    let word = world.session(owner).write_out_all(&grants, now).unwrap();
    assert!(!word.contains(char::is_whitespace), "{word}");
    let mut nonces: Vec<_> = (0..3).map(|_| world.nonce()).collect();
    let taken = world.session(other).resume_all(&word, || nonces.pop().unwrap(), now).unwrap();
    assert_eq!(keys(&taken), ["c", "a", "b"]);
    let tokens = |grants: &[kvlock_machine::Grant]| grants.iter().map(|grant| grant.token()).collect::<Vec<_>>();
    assert_eq!(tokens(&taken), tokens(&grants));
    assert_eq!(world.session(other).validity_of_all(&taken, now), Validity::Unconfirmed);
    renew(&mut world, other, &taken).unwrap();
    assert!(matches!(renew(&mut world, owner, &grants), Err(GrantError::Lost(_))));
    assert_eq!(release(&mut world, other, &taken), Ok(Released::Freed));
}

#[test]
fn a_word_with_one_part_that_is_no_grant_takes_up_nothing() {
    let mut world = World::new();
    let [owner, other] = ["owner", "other"].map(|name| world.acquainted(name));
    let grants = acquire(&mut world, owner, &["a", "b"], once(30)).unwrap();
    let now = world.time();
    let word = world.session(owner).write_out_all(&grants, now).unwrap();
    let nonce = world.nonce();
    for bad in [format!("{word}+"), format!("{word}+kvlock1.x"), word[..word.len() - 1].to_string(), String::new()] {
        assert!(world.session(other).resume_all(&bad, || nonce, now).is_err(), "{bad}");
    }
    let again = acquire(&mut world, other, &["c"], once(30)).unwrap();
    let taken = world.session(other).resume_all(&format!(" {word}\n"), || nonce, now);
    assert_eq!((taken.unwrap().len(), again.len()), (2, 1));
}

#[test]
fn grants_that_are_dropped_are_given_back_by_one_call() {
    let mut world = World::new();
    let owner = world.acquainted("owner");
    let grants = acquire(&mut world, owner, &["a", "b", "c"], once(30)).unwrap();
    world.calls();
    world.drive(owner, DiscardAll::new(grants));
    assert_eq!(world.calls(), ["all"]);
    assert_eq!(holders(&mut world, &["a", "b", "c"]), [""; 3]);
}
