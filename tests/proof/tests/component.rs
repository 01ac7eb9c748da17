//! The shipped component, explored through its imports.
#![cfg(feature = "component")]

use std::ops::Range;
use std::thread;

use kvlock_proof::component::{Played, play, play_on_an_unfit_store};

/// Each is as good as any; more of them: `cargo xtask prove --seed 10000`.
const SCHEDULES: u64 = 10_000;

#[test]
fn no_schedule_of_ten_thousand_breaks_a_promise_of_the_shipped_component() {
    // Two halves, for CI has two cores.
    let [one, two] = thread::scope(|scope| {
        [0..SCHEDULES / 2, SCHEDULES / 2..SCHEDULES]
            .map(|seeds| scope.spawn(|| play_all(seeds)))
            .map(|half| half.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let (grants, faults) = (one.grants + two.grants, one.faults + two.faults);
    println!("{SCHEDULES} schedules: {} moves, {grants} grants, {faults} faults", one.moves + two.moves);
    assert!(grants > SCHEDULES && faults > SCHEDULES, "they show too little");
}

fn play_all(seeds: Range<u64>) -> Played {
    let mut sum = Played::default();
    for seed in seeds {
        let played = play(seed).unwrap_or_else(|violation| {
            let story = violation.story.join("\n");
            panic!("seed {seed}: broken: {}\n{story}\nto repeat: cargo xtask prove --seed {seed}", violation.promise)
        });
        sum.moves += played.moves;
        sum.grants += played.grants;
        sum.faults += played.faults;
    }
    sum
}

/// The control: what the explorer looks for, it sees.
#[test]
fn on_a_store_that_forgets_too_soon_a_promise_is_broken_and_told() {
    let violation = (0..200).find_map(|seed| play_on_an_unfit_store(seed).err()).expect("one of the seeds shows it");
    let again = play_on_an_unfit_store(violation.seed).expect_err("the same seed");
    assert_eq!((violation.promise, violation.story), (again.promise, again.story.clone()));
    assert!(again.story.last().is_some_and(|line| line.starts_with("broken: ")), "{:#?}", again.story);
}

#[test]
fn a_seed_is_the_same_schedule_each_time() {
    for seed in 0..20 {
        let [one, two] = [play(seed), play(seed)].map(|played| played.map_err(|violation| violation.story));
        assert_eq!(format!("{one:?}"), format!("{two:?}"));
    }
}
