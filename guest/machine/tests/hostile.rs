//! A store that answers what no store may: found by `tests/fuzz`, and kept as what they were.

use std::sync::Arc;

use kvlock_machine::{
    Entry, Event, Key, Lease, LockOptions, Machine, Namespace, Nonce, Reply, Request, Resize, ResizeError, Session,
    SessionOptions, Size, Step, Text, Time, Ttl, Version, WriteOutcome,
};

fn session() -> Session {
    let options = SessionOptions {
        owner: Text::owner("me").unwrap(),
        label: Text::label("").unwrap(),
        namespace: Namespace::new("n").unwrap(),
        quarantine: None,
        unix_time: None,
    };
    Session::open(options, Time::from_nanos(0)).unwrap()
}

/// Somebody's record of the permit that the store keeps under this key.
fn permit(key: &str) -> String {
    let number = key.split(':').nth(2).unwrap();
    format!(
        "kvlock/1 permit\nkey: s\npermit: {number}\nowner: a\nhost: \nnonce: {:032x}\nmode: plain\ndepth: 1\nlease: 30s\n",
        7
    )
}

fn to_one_permit() -> Resize {
    let options = LockOptions::new(Lease::new(Ttl::Forever).unwrap());
    Resize::new(Key::semaphore("s").unwrap(), Size::of(1).unwrap(), &options, Nonce(1))
}

#[test]
fn a_write_of_the_list_that_is_answered_like_a_read_is_out_of_order() {
    let (mut session, mut machine, now) = (session(), to_one_permit(), Time::from_nanos(0));
    assert!(matches!(machine.step(&mut session, now, Event::Start), Step::Call(Request::Get { .. })));
    let nothing = || Event::Reply(Reply::Entry(Ok(None)));
    assert!(matches!(machine.step(&mut session, now, nothing()), Step::Call(Request::Add { .. })));
    assert_eq!(machine.step(&mut session, now, nothing()), Step::Done(Err(ResizeError::OutOfOrder)));
}

#[test]
fn a_semaphore_that_is_another_one_each_time_it_is_written_is_given_a_pause() {
    let (mut session, mut machine, now) = (session(), to_one_permit(), Time::from_nanos(0));
    let mut writes = 0;
    let mut event = Event::Start;
    for _ in 0..1000 {
        let Step::Call(request) = machine.step(&mut session, now, event) else { return };
        let version = Version { era: 1, number: writes };
        let stands = |value: &str| Some(Entry { value: value.into(), version, time_left: None });
        event = Event::Reply(match request {
            Request::Get { key } if *key == *"n:semaphores" => {
                Reply::Entry(Ok(stands("kvlock/1 semaphores\nkey: s\n")))
            }
            Request::Get { .. } => Reply::Entry(Ok(stands("kvlock/1 semaphore\nkey: s\npermits: 3\nnumbers: 0-2\n"))),
            Request::GetMany { keys } => {
                let shrinks = stands("kvlock/1 semaphore\nkey: s\npermits: 1\nnumbers: 0-2\n");
                // The first of its numbers is free to be taken out, and the others are held.
                let held = |key: &Arc<str>| (!key.starts_with("n:permit:0")).then(|| stands(&permit(key))).flatten();
                Reply::Entries(Ok([vec![shrinks], keys[1..].iter().map(held).collect()].concat()))
            }
            // What was written does not stay.
            _ => {
                writes += 2;
                Reply::Write(Ok(WriteOutcome::Written(Version { era: 1, number: writes - 1 })))
            }
        });
    }
    panic!("a thousand calls without a pause");
}
