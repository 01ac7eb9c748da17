//! What a holder says that it holds a lock for: it stays with the grant, whatever becomes of that, and with no other.

mod support;

use kvlock_machine::{Downgrade, Grant, LockOptions};
use support::{Owner, World, millis, nested, once, secs, waiting};

fn noted(options: LockOptions, note: &str) -> LockOptions {
    options.note(Some(note)).unwrap()
}

/// Returns the note of whoever has `k`.
fn note(world: &mut World, asks: Owner) -> Option<String> {
    let status = world.status(asks, &["k"]).unwrap().remove(0);
    match status.state {
        kvlock_machine::KeyState::Free | kvlock_machine::KeyState::Corrupt(_) => panic!("{status:?}"),
        kvlock_machine::KeyState::Held(holder)
        | kvlock_machine::KeyState::Reserved(holder)
        | kvlock_machine::KeyState::Kept(holder) => holder.note,
    }
}

fn held(options: LockOptions) -> (World, Owner, Grant) {
    let mut world = World::new();
    let owner = world.acquainted("a");
    let grant = world.acquire(owner, "k", options).unwrap();
    (world, owner, grant)
}

#[test]
fn a_note_stays_through_renewals_and_nested_holds_and_while_the_key_is_kept() {
    let (mut world, owner, grant) = held(noted(nested(30).at_least(secs(60)).unwrap(), "backup"));
    world.renew(owner, &grant).unwrap();
    assert_eq!(note(&mut world, owner).as_deref(), Some("backup"));
    let inner = world.acquire(owner, "k", noted(nested(30), "another")).unwrap();
    assert_eq!(note(&mut world, owner).as_deref(), Some("backup"), "that of the outermost hold");
    world.release(owner, &inner).unwrap();
    world.release(owner, &grant).unwrap();
    assert_eq!(note(&mut world, owner).as_deref(), Some("backup"), "kept for its minimum hold");
}

#[test]
fn a_note_goes_along_with_a_grant_that_is_written_out() {
    let (mut world, owner, grant) = held(noted(once(30), "deploy"));
    let other = world.acquainted("b");
    let word = world.write_out(owner, &grant).unwrap();
    let taken = world.resume(other, &word);
    world.renew(other, &taken).unwrap();
    assert_eq!(note(&mut world, other).as_deref(), Some("deploy"));
}

#[test]
fn after_a_hand_over_the_note_is_the_new_holders_or_none() {
    for (given, found) in [(Some("mine"), Some("mine")), (None, None)] {
        let (mut world, owner, grant) = held(noted(once(30), "theirs"));
        let next = world.acquainted("b");
        let mut waits = world.acquiring(next, "k", waiting(30, secs(60)).note(given).unwrap());
        world.run_for(millis(10), &mut [&mut waits]);
        world.release_to(owner, &grant, &mut waits).unwrap();
        assert_eq!(note(&mut world, next).as_deref(), found);
    }
}

#[test]
fn who_adopts_a_lock_brings_a_note_of_its_own() {
    let (mut world, owner, _) = held(noted(once(30), "first run"));
    let restarted = world.acquainted("a");
    world.acquire(restarted, "k", noted(once(30), "second run").adopt(true)).unwrap();
    assert_eq!(note(&mut world, owner).as_deref(), Some("second run"));
}

#[test]
fn a_lock_that_is_shared_from_now_on_keeps_its_note_and_readers_have_theirs() {
    let (mut world, owner, grant) = held(noted(once(30), "writes, then reads"));
    world.drive(owner, Downgrade::new(grant.clone())).unwrap();
    let reader = world.acquainted("b");
    let reads = world.sharing(reader, "k", noted(once(30), "only reads"));
    let other = world.finish(reads).unwrap();
    assert_eq!(note(&mut world, reader).as_deref(), Some("writes, then reads"));
    world.release(owner, &grant).unwrap();
    assert_eq!(note(&mut world, reader).as_deref(), Some("only reads"));
    world.renew(reader, &other).unwrap();
    assert_eq!(note(&mut world, reader).as_deref(), Some("only reads"));
}

#[test]
fn a_permit_has_a_note() {
    let mut world = World::new();
    let owner = world.acquainted("a");
    world.resize(owner, "pool", 2).unwrap();
    let grant = world.permit(owner, "pool", noted(once(30), "encodes")).unwrap();
    world.renew(owner, &grant).unwrap();
    assert_eq!(world.semaphores(owner)[0].holders[0].note.as_deref(), Some("encodes"));
}

#[test]
fn a_note_that_would_not_stay_on_its_line_or_is_too_long_is_refused() {
    for (bad, told) in [
        ("", "the note has 0 bytes; 1 to 255 are possible"),
        (&"x".repeat(256), "the note has 256 bytes; 1 to 255 are possible"),
        ("one\ntwo", "the note has the control character `\\n`; give one line of text"),
        ("\u{1b}[2Jgone", "the note has the control character `\\u{1b}`; give one line of text"),
    ] {
        assert_eq!(once(30).note(Some(bad)).unwrap_err().to_string(), told);
    }
}
