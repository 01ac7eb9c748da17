//! The queues on virtual time: who polls, who is handed a lock, and what comes back.

use std::time::Duration;

use kvlock_queue::{Answer, Entry, GRACE, LOOK_EVERY, NextStep, PollTerms, Queues, Stake, WaitMode};

type Step = NextStep<&'static str, &'static str>;

/// Queues of one key, and a clock.
struct World {
    queues: Queues<&'static str, u8, &'static str, &'static str>,
    now: Duration,
}

/// A request, and the thread that waits for it.
struct Waiter {
    entry: Entry,
    thread: u8,
    interval: Duration,
}

const FREE: Stake = Stake { in_doubt: false, grants: 0, may_hold: false };

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn waiter(thread: u8, interval: u64, wait: Option<u64>) -> Waiter {
    let interval = millis(interval);
    let terms = PollTerms { interval, lease: None, at_least: Duration::ZERO, quarantine: None };
    Waiter { entry: Entry::new(terms, wait.map(millis), false), thread, interval }
}

impl World {
    fn new() -> Self {
        World { queues: Queues::new(1), now: millis(1000) }
    }

    /// What to do next, and who is woken.
    fn step(&mut self, waiter: &mut Waiter, mode: WaitMode<u8>) -> (Step, Option<u8>) {
        self.queues.next_step(&"k", &mut waiter.entry, FREE, self.now, mode)
    }

    fn parks(&mut self, waiter: &mut Waiter) -> Step {
        let waker = waiter.thread;
        self.step(waiter, WaitMode::Parked { waker, looks_often: false }).0
    }

    fn polled(&mut self, waiter: &mut Waiter) -> Step {
        self.step(waiter, WaitMode::Polled).0
    }

    /// The store refuses a request that parks then.
    fn refuse(&mut self, waiter: &mut Waiter) -> Duration {
        let answer = Answer {
            asked_at: self.now,
            pause: waiter.interval,
            waiting_for: "holder",
            depends_on_terms: false,
            in_doubt: false,
        };
        let mode = WaitMode::Parked { waker: waiter.thread, looks_often: false };
        self.queues.answered(&"k", &mut waiter.entry, answer, self.now, mode).0
    }

    /// The first waiter of the key, which polls and parks.
    fn first(&mut self, interval: u64) -> Waiter {
        let mut first = waiter(1, interval, None);
        assert_eq!(self.parks(&mut first), Step::Poll);
        assert_eq!(self.refuse(&mut first), first.interval);
        first
    }
}

fn pause(step: Step) -> Duration {
    let NextStep::Wait { pause, last_answer } = step else { panic!("{step:?}") };
    assert_eq!(last_answer.waiting_for, "holder");
    pause
}

#[test]
fn the_first_polls_for_all_and_the_others_are_told_what_it_heard() {
    let mut world = World::new();
    let mut first = world.first(50);
    let mut second = waiter(2, 50, None);
    assert_eq!(pause(world.parks(&mut second)), LOOK_EVERY);
    assert_eq!(pause(world.polled(&mut waiter(3, 50, None))), millis(50));
    world.now += millis(50);
    assert_eq!(world.parks(&mut first), Step::Poll);
    assert_eq!(pause(world.parks(&mut second)), LOOK_EVERY);
}

#[test]
fn a_lock_is_handed_over_to_the_first_if_it_is_parked() {
    let mut world = World::new();
    let mut first = world.first(50);
    let _second = world.parks(&mut waiter(2, 50, None));
    let (ticket, woken) = world.queues.select_successor(&"k").unwrap();
    assert_eq!(woken, 1);
    assert_eq!(world.queues.select_successor(&"k"), None, "there is one successor at a time");
    assert_eq!(pause(world.parks(&mut first)), LOOK_EVERY);
    assert_eq!(world.queues.settle(&"k", ticket, Some("lock")), Ok(()));
    assert_eq!(world.parks(&mut first), Step::TakeHandOver("lock"));
    assert_eq!(world.queues.granted(&"k", &mut first.entry, world.now, Some("first")), Some(2));
}

#[test]
fn a_request_that_is_polled_or_is_polling_is_handed_nothing() {
    let mut world = World::new();
    let mut first = world.first(50);
    world.now += millis(50);
    assert_eq!(world.parks(&mut first), Step::Poll);
    assert_eq!(world.queues.select_successor(&"k"), None);
    world.refuse(&mut first);
    pause(world.polled(&mut first));
    assert_eq!(world.queues.select_successor(&"k"), None);
}

#[test]
fn what_is_handed_over_to_a_request_that_has_gone_comes_back() {
    let mut world = World::new();
    let mut first = world.first(50);
    let (ticket, _) = world.queues.select_successor(&"k").unwrap();
    assert_eq!(world.queues.leave(&"k", &mut first.entry), (None, None));
    assert_eq!(world.queues.settle(&"k", ticket, Some("lock")), Err("lock"));
}

#[test]
fn what_a_request_does_not_take_that_was_told_comes_back() {
    let mut world = World::new();
    let mut first = world.first(50);
    let _second = world.parks(&mut waiter(2, 50, None));
    let (ticket, _) = world.queues.select_successor(&"k").unwrap();
    assert_eq!(world.queues.settle(&"k", ticket, Some("lock")), Ok(()));
    assert_eq!(world.queues.leave(&"k", &mut first.entry), (Some("lock"), Some(2)));
}

#[test]
fn a_successor_that_gets_nothing_polls_in_its_turn() {
    let mut world = World::new();
    let mut first = world.first(50);
    let (ticket, _) = world.queues.select_successor(&"k").unwrap();
    assert_eq!(world.queues.settle(&"k", ticket, None), Ok(()));
    assert_eq!(world.queues.freed(&"k", world.now), None, "who settles wakes it");
    assert_eq!(world.parks(&mut first), Step::Poll);
}

#[test]
fn a_successor_whose_wait_is_over_gives_up_and_one_in_doubt_polls_once_it_is_told() {
    let mut world = World::new();
    let mut limited = waiter(1, 50, Some(70));
    world.parks(&mut limited);
    world.refuse(&mut limited);
    let (ticket, _) = world.queues.select_successor(&"k").unwrap();
    let doubt = Stake { in_doubt: true, ..FREE };
    let mode = || WaitMode::Parked { waker: 1, looks_often: false };
    let step = world.queues.next_step(&"k", &mut limited.entry, doubt, world.now, mode()).0;
    assert_eq!(pause(step), millis(70), "it waits to be told");
    world.queues.settle(&"k", ticket, None).unwrap();
    let step = world.queues.next_step(&"k", &mut limited.entry, doubt, world.now, mode()).0;
    assert_eq!(step, Step::Poll);
    world.refuse(&mut limited);
    let (_ticket, _) = world.queues.select_successor(&"k").unwrap();
    world.now += millis(70);
    assert!(matches!(world.parks(&mut limited), NextStep::TimedOut(_)));
    assert_eq!(limited.entry.waited(world.now), millis(70));
}

#[test]
fn the_next_is_woken_when_the_first_leaves_and_polls_when_the_lock_is_freed() {
    let mut world = World::new();
    let mut first = world.first(5000);
    let mut second = waiter(2, 5000, None);
    world.parks(&mut second);
    assert_eq!(world.queues.leave(&"k", &mut first.entry), (None, Some(2)));
    assert!(pause(world.parks(&mut second)) > millis(4000), "it is not time to poll");
    assert_eq!(world.queues.freed(&"k", world.now), Some(2));
    assert_eq!(world.parks(&mut second), Step::Poll);
    world.queues.leave(&"k", &mut second.entry);
    assert!(world.queues.is_empty());
}

#[test]
fn a_first_that_does_not_come_back_is_passed_over_after_its_grace() {
    let mut world = World::new();
    let mut absent = waiter(1, 50, None);
    world.polled(&mut absent);
    world.refuse(&mut absent);
    world.polled(&mut absent);
    let mut second = waiter(2, 50, None);
    let rest = pause(world.parks(&mut second));
    assert_eq!(rest, millis(50) + GRACE);
    world.now += rest;
    assert_eq!(world.parks(&mut second), Step::Poll);
    world.refuse(&mut second);
    assert_eq!(pause(world.polled(&mut absent)), millis(50), "it is the last now");
    world.now += millis(50);
    assert_eq!(world.parks(&mut second), Step::Poll);
}

#[test]
fn a_request_that_polls_more_often_goes_first_and_no_other_does() {
    let mut world = World::new();
    let mut slow = world.first(5000);
    assert!(matches!(world.parks(&mut waiter(2, 5000, None)), NextStep::Wait { .. }));
    let mut quick = waiter(3, 50, None);
    assert_eq!(world.parks(&mut quick), Step::Poll);
    world.refuse(&mut quick);
    assert_eq!(world.queues.select_successor(&"k").unwrap().1, 3);
    assert_eq!(pause(world.parks(&mut slow)), LOOK_EVERY);
}

#[test]
fn a_quarantine_keeps_those_waiting_that_poll_on_the_same_terms() {
    let mut world = World::new();
    let mut first = waiter(1, 50, None);
    world.parks(&mut first);
    let answer = Answer {
        asked_at: world.now,
        pause: millis(60_000),
        waiting_for: "holder",
        depends_on_terms: true,
        in_doubt: false,
    };
    let mode = WaitMode::Parked { waker: 1, looks_often: false };
    world.queues.answered(&"k", &mut first.entry, answer, world.now, mode);
    pause(world.parks(&mut waiter(2, 50, None)));
    assert_eq!(world.parks(&mut waiter(3, 51, None)), Step::Poll);
}

#[test]
fn waiters_behind_are_told_the_holder_and_poll_an_interval_later() {
    let mut world = World::new();
    let mut first = world.first(50);
    let mut second = waiter(2, 80, None);
    world.parks(&mut second);
    world.now += millis(50);
    assert_eq!(world.parks(&mut first), Step::Poll);
    assert_eq!(world.queues.granted(&"k", &mut first.entry, world.now, Some("first")), Some(2));
    let NextStep::Wait { pause, last_answer } = world.parks(&mut second) else { panic!("it is not its turn") };
    assert_eq!((pause, last_answer.waiting_for), (millis(80), "first"));
}

#[test]
fn a_wait_that_is_over_ends_behind_and_polls_once_more_in_front() {
    let mut world = World::new();
    let mut first = waiter(1, 50, Some(30));
    world.parks(&mut first);
    world.refuse(&mut first);
    let mut second = waiter(2, 50, Some(30));
    assert_eq!(pause(world.parks(&mut second)), millis(30));
    world.now += millis(30);
    assert!(matches!(world.parks(&mut second), NextStep::TimedOut(_)));
    assert_eq!(world.parks(&mut first), Step::Poll);
}

#[test]
fn a_ticket_of_a_process_is_none_in_its_fork() {
    let mut world = World::new();
    let mut inherited = world.first(50);
    world.queues = Queues::new(2);
    let mut own = world.first(50);
    assert_eq!(world.queues.leave(&"k", &mut inherited.entry), (None, None));
    assert!(inherited.entry.is_outside());
    assert_eq!(pause(world.parks(&mut own)), millis(50), "its place is its own");
}
