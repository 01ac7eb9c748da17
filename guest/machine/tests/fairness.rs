//! The line: who waits gets its turn, and nobody asks more often than it helps.
//!
//! A simulation of processes that want one key again and again, with a network, timers that are late, and a hold
//! that varies; all of it on virtual time and from a seed.

mod support;

use std::time::Duration;

use support::crowd::{Crowd, Doing, Next};
use support::{micros, secs};

#[test]
fn all_loops_on_a_key_get_the_same_share_and_the_lock_is_hardly_ever_idle() {
    for (hold, operations) in [(1000, 10.0), (5000, 12.0), (100_000, 25.0)] {
        let length = micros(hold) * 3000;
        let alone = Crowd::new(1, micros(hold), 1).run(length);
        for members in [2, 3, 8, 20] {
            let together = Crowd::new(members, micros(hold), 1).run(length);
            let throughput = together.total() / alone.total();
            let (justice, each) = (together.justice(), together.operations_per_grant());
            println!(
                "{members} with {hold} us each: {throughput:.2} of alone, justice {justice:.2}, {each:.1} operations"
            );
            assert!(throughput > 0.8, "{members} with {hold} us each: {throughput:.2} of alone");
            assert!(justice > 0.8, "{members} with {hold} us each: {:?}", together.grants);
            assert!(each < operations, "{members} with {hold} us each: {each:.1} operations a grant");
        }
    }
}

#[test]
fn waiters_that_crash_do_not_hold_up_the_others() {
    let hold = micros(1000);
    let (mut before, mut after) = (0, 0);
    for seed in 1..=10 {
        let mut crowd = Crowd::new(8, hold, seed);
        crowd.run_for(hold * 200);
        before += crowd.grants();
        for n in [1, 3, 4] {
            if let Doing::Acquiring(_) = crowd.members[n].doing {
                crowd.members[n].doing = Doing::Crashed;
            }
        }
        crowd.run_for(hold * 200);
        after += crowd.grants();
    }
    let after = after - before;
    assert!(before > 1200 && after > 1200, "{before} grants before, {after} while three of eight were dead");
}

#[test]
fn a_holder_that_comes_back_at_once_does_not_shut_out_a_waiter() {
    let hold = micros(1000);
    let mut crowd = Crowd::new(2, hold, 3);
    crowd.members[1].doing = Doing::Crashed;
    crowd.run_for(hold * 50);
    let doing = crowd.acquiring(1);
    crowd.members[1].doing = doing;
    crowd.run_for(hold * 20);
    assert!(crowd.members[1].grants > 4, "{} of twenty", crowd.members[1].grants);
}

#[test]
fn many_long_waits_ask_seldom_and_the_first_gets_it_soon() {
    let mut operations = Vec::new();
    for members in [10, 60, 200] {
        let mut crowd = Crowd::new(members, secs(600), 4);
        crowd.run_for(secs(300));
        crowd.world.log.clear();
        crowd.run_for(secs(100));
        operations.push(crowd.world.log.len() / 100);
    }
    println!("operations a second of 10, 60 and 200: {operations:?}");
    assert!(operations[0] < 150 && operations[1] < 200, "{operations:?}");
    // Those beyond the line's length look as seldom as its last.
    assert!(operations[2] < 300, "{operations:?}");
}

#[test]
fn a_session_left_alone_after_a_fight_soon_takes_the_lock_as_if_nobody_had_been_there() {
    let hold = micros(1000);
    let mut crowd = Crowd::new(8, hold, 2);
    crowd.run_for(hold * 100);
    // None of them goes while it has the lock.
    while (1..8).any(|n| !matches!(crowd.members[n].doing, Doing::Crashed)) {
        for n in 1..8 {
            if matches!(crowd.members[n].doing, Doing::Acquiring(_)) {
                crowd.members[n].doing = Doing::Crashed;
            }
        }
        crowd.run_for(hold);
    }
    crowd.run_for(hold * 50);
    let before = crowd.grants();
    crowd.world.log.clear();
    crowd.run_for(hold * 100);
    let (grants, calls) = (crowd.grants() - before, crowd.world.log.len() as u64);
    // One to take it, one to give it back, and a look now and then.
    assert!(grants > 80 && calls < grants * 5 / 2, "{grants} grants with {calls} calls");
}

#[test]
fn strangers_that_take_a_lock_once_find_out_how_long_its_turns_are() {
    for seed in 1..=5 {
        for (first, then) in [(2000, 2000), (40_000, 2000), (1000, 10_000)] {
            let mut crowd = Crowd::of_strangers(8, micros(1500), micros(first), seed);
            crowd.run_for(micros(first) * 100);
            crowd.hold = micros(then);
            // As many turns as it may take to find out.
            crowd.run_for(micros(first) * 100);
            let before = crowd.grants();
            crowd.calls = 0;
            crowd.run_for(micros(then) * 500);
            let (grants, calls) = (crowd.grants() - before, crowd.calls as u64);
            println!("{then} us after {first}: {grants} of 500 turns, {} calls each", calls / grants);
            assert!(grants > 400, "{then} us after {first}: {grants} of 500 turns");
            assert!(calls < grants * 25, "{then} us after {first}: {calls} calls for {grants} grants");
        }
    }
}

/// New ones come faster than the lock is given back, so that it is hardly ever found free.
#[test]
fn sessions_that_come_and_go_do_not_shut_out_a_waiter() {
    let (hold, seeds) = (micros(4000), 100);
    let mut sum = Duration::ZERO;
    for seed in 1..=seeds {
        let mut crowd = Crowd::of_strangers(8, micros(5000), hold, seed);
        let longest = longest_wait(&mut crowd, hold * 400);
        sum += longest;
        assert!(longest < hold * 200, "seed {seed}: one of eight had to wait for {longest:?}");
    }
    let mean = sum / seeds as u32;
    println!("the longest wait of each run: {mean:?} on the average");
    assert!(mean < hold * 75, "{mean:?}");
}

/// All of them wait while somebody has it for long, take it for a short time each, and come again and again.
#[test]
fn one_long_turn_is_soon_forgotten() {
    let hold = micros(1500);
    for (long, away) in [(secs(12), micros(300_000)), (secs(12), Duration::ZERO), (micros(500_000), Duration::ZERO)] {
        let mut sum = Duration::ZERO;
        for seed in 1..=20 {
            let apart = micros(5000);
            let mut crowd = Crowd::of_strangers(16, apart + away, long, seed);
            crowd.run_for(long);
            crowd.hold = hold;
            while crowd.grants() < 16 {
                crowd.run_for(hold);
            }
            crowd.next = Next::Stranger(apart);
            sum += longest_wait(&mut crowd, secs(4));
        }
        println!("after {long:?}: somebody had to wait for {:?}", sum / 20);
        assert!(sum / 20 < micros(700_000), "after {long:?}: {:?}", sum / 20);
    }
}

/// How long one of them had to be without the lock at most.
fn longest_wait(crowd: &mut Crowd, length: Duration) -> Duration {
    let mut last: Vec<_> = crowd.members.iter().map(|member| (member.grants, crowd.world.now)).collect();
    let (mut longest, end) = (Duration::ZERO, crowd.world.now + length);
    while crowd.world.now < end {
        crowd.run_for(micros(1000));
        for (member, (grants, since)) in crowd.members.iter().zip(&mut last) {
            if member.grants > *grants {
                (*grants, *since) = (member.grants, crowd.world.now);
            }
            longest = longest.max(crowd.world.now - *since);
        }
    }
    longest
}
