//! The figures are those that `cargo xtask bench --readme` has kept.

use kvlock_tests::tree::{page, workspace};

use crate::results::Results;

#[test]
fn the_figures_are_those_of_the_results_that_are_kept() {
    let results = Results::read(&workspace().join("tests/bench/results/bench.json")).expect("there are results");
    let page = page("docs/performance.md");
    let shown = results.put_into(&page).expect("the page has a place for them");
    assert_eq!(shown, page, "cargo xtask bench --readme --json tests/bench/results/bench.json");
}
