//! The shipped component, explored through its imports.
#![cfg(feature = "component")]

use kvlock_proof::component::{Played, play};

/// Each is as good as any; more of them: `cargo xtask prove --seed 10000`.
const SCHEDULES: u64 = 10_000;

#[test]
fn no_schedule_of_ten_thousand_breaks_a_promise_of_the_shipped_component() {
    let mut sum = Played::default();
    for seed in 0..SCHEDULES {
        match play(seed) {
            Ok(played) => {
                sum.moves += played.moves;
                sum.grants += played.grants;
                sum.faults += played.faults;
            }
            Err(violation) => panic!(
                "seed {seed}: broken: {}\n{}\nto repeat it: cargo xtask prove --seed {seed}",
                violation.promise,
                violation.story.join("\n")
            ),
        }
    }
    println!("{SCHEDULES} schedules: {sum:?}");
    assert!(sum.grants > SCHEDULES && sum.faults > SCHEDULES, "they show too little: {sum:?}");
}

#[test]
fn a_seed_is_the_same_schedule_each_time() {
    for seed in 0..20 {
        let [one, two] = [play(seed), play(seed)].map(|played| played.map_err(|violation| violation.story));
        assert_eq!(format!("{one:?}"), format!("{two:?}"));
    }
}
