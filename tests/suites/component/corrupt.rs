//! Values that are not ours are named, and left as they are.

use kvlock::{
    error::{AcquireError, GrantError, StatusError},
    status::KeyState,
};

use crate::world::{World, refused};

const FOREIGN: [&[u8]; 6] = [b"", b"1", b"\x80\x05\x95pickle", b"{\"owner\": \"me\"}", b"kvlock 1\n", &[0xff; 5000]];

#[test]
fn a_foreign_value_is_neither_waited_for_nor_written_over_nor_broken() {
    for value in FOREIGN {
        let (world, [session]) = World::with(["one"]);
        world.store.put_foreign("kvlock:lock:k", value);
        let error = refused(session.lock("k").acquire());
        assert!(matches!(&error, AcquireError::Corrupt { key, .. } if key == "k"), "{error}");
        assert!(error.to_string().contains("is not a kvlock record"), "{error}");
        let text = error.to_string();
        assert!(text.len() < 500 && !text.contains(char::is_control), "for one line of a terminal: {text:?}");
        assert!(matches!(session.lock("k").adopt().acquire(), Err(AcquireError::Corrupt { .. })));
        assert!(matches!(session.status("k").unwrap().state, KeyState::Corrupt(_)));
        assert!(matches!(session.break_lock("k"), Err(StatusError::Corrupt { .. })));
        assert_eq!(world.store.peek("kvlock:lock:k").unwrap().value, value);
    }
}

#[test]
fn a_grant_whose_record_was_written_over_is_lost_and_the_value_stays() {
    for renew in [true, false] {
        let world = World::new();
        let mut grant = world.session("one").lock("k").acquire().unwrap();
        world.store.put_foreign("kvlock:lock:k", b"mine now");
        let error = if renew { refused(grant.renew()) } else { refused(grant.release()) };
        assert!(matches!(error, GrantError::Lost { holder: None, .. }), "{error}");
        assert_eq!(world.store.peek("kvlock:lock:k").unwrap().value, b"mine now");
    }
}

#[test]
fn the_record_of_another_key_is_not_taken_for_the_holder() {
    let (world, [session]) = World::with(["one"]);
    let _held = session.lock("a").acquire().unwrap();
    let record = world.store.peek("kvlock:lock:a").unwrap().value;
    world.store.put_foreign("kvlock:lock:b", &record);
    let error = refused(world.session("two").lock("b").acquire());
    assert!(matches!(&error, AcquireError::Corrupt { excerpt, .. } if excerpt.contains("another key")), "{error}");
}

#[test]
fn a_record_is_text_that_a_person_can_read() {
    let world = World::new();
    let session = world.client.session().owner("nightly").label("db-7 pid 42").open().unwrap();
    let _held = session.lock("report").acquire().unwrap();
    let record = String::from_utf8(world.store.peek("kvlock:lock:report").unwrap().value).unwrap();
    for part in ["report", "nightly", "db-7 pid 42"] {
        assert!(record.contains(part), "{record}");
    }
}
