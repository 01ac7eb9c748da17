use core::iter::empty;
use core::time::Duration;

use super::estimate::ERROR;
use super::member::PASSED_OVER;
use super::{Advice, AfterPause, CurrentHolder, Member};
use crate::records::{Nonce, Ticket, WaitList};
use crate::session::RecentWait;
use crate::values::{Entry, Key, Time, Version};
use crate::wait::Wait;

fn at(millis: u64) -> Time {
    Time::from_nanos(millis * 1_000_000)
}

#[test]
fn a_renewal_does_not_begin_the_turn_again() {
    let key = Key::new("report").unwrap();
    let recent = RecentWait { ticket: None, turn: Duration::from_secs(1), released: None, leave: None };
    let mut member = Member::new(&key, "n:line:report".into(), Nonce(7 << 64)).remembering(recent, at(0));
    let mut list = WaitList::default();
    list.join(Ticket(7));
    let version = |number| Version { era: 1, number };
    let entry = Entry { value: list.encode(&key), version: version(1), time_left: None };
    for (now, number) in [(0, 2), (300, 2), (600, 3)] {
        let holder = CurrentHolder { ticket: Ticket(1), version: version(number), since: Some(at(0)), turn: None };
        assert_eq!(member.see(at(now), Some(holder), empty(), Some(&entry)), Advice::Pause);
    }
    let mut wait = Wait::new(None, Duration::from_secs(1), 1);
    let expected = Duration::from_secs(1) - Duration::from_secs(1) / ERROR;
    assert_eq!(member.pause(at(600), &mut wait), (expected - Duration::from_millis(600), AfterPause::Try));
}

#[test]
fn a_waiter_relies_on_turns_that_it_measured_although_a_record_tells_them_and_the_list_does_not() {
    let key = Key::new("report").unwrap();
    let turn = Duration::from_secs(1);
    let recent = RecentWait { ticket: None, turn, released: None, leave: None };
    let mut member = Member::new(&key, "n:line:report".into(), Nonce(7 << 64)).remembering(recent, at(0));
    let version = |number| Version { era: 1, number };
    let holder =
        |ticket, number, turn| CurrentHolder { ticket: Ticket(ticket), version: version(number), since: None, turn };
    assert!(matches!(member.see(at(0), Some(holder(1, 2, None)), empty(), None), Advice::Join(_)));
    // Another was faster at joining.
    let mut list = WaitList::default();
    list.join(Ticket(5));
    let entry = Entry { value: list.encode(&key), version: version(3), time_left: None };
    assert!(matches!(member.see(at(1), Some(holder(2, 4, Some(turn))), empty(), Some(&entry)), Advice::Join(_)));
    let (pause, then) = member.pause(at(1), &mut Wait::new(None, turn, 1));
    assert!(pause >= turn / ERROR && then == AfterPause::Look, "{pause:?}");
}

/// Returns what the third waiter does after others took the lock this many times.
fn after_others_took_it(times: u64) -> AfterPause {
    let key = Key::new("report").unwrap();
    let turn = Duration::from_millis(10);
    let mut list = WaitList::default();
    list.turn = Some(turn);
    [1, 2, 7].into_iter().for_each(|ticket| assert!(list.join(Ticket(ticket))));
    let version = |number| Version { era: 1, number };
    let entry = Entry { value: list.encode(&key), version: version(1), time_left: None };
    let mut member = Member::new(&key, "n:line:report".into(), Nonce(7 << 64));
    for time in 0..=times {
        let (ticket, version) = (Ticket(100 + time), version(100 + time));
        let holder = CurrentHolder { ticket, version, since: None, turn: None };
        assert_eq!(member.see(at(10 * time), Some(holder), empty(), Some(&entry)), Advice::Pause);
    }
    member.pause(at(10 * times), &mut Wait::new(None, turn, 1)).1
}

#[test]
fn a_waiter_that_sees_others_take_the_lock_again_and_again_does_not_wait_for_a_list_that_stands_still() {
    let enough = u64::from(PASSED_OVER) + 2;
    assert_eq!(after_others_took_it(enough - 1), AfterPause::Look);
    assert_eq!(after_others_took_it(enough), AfterPause::Try);
}
