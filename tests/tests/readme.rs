//! The README is part of the code: what it claims to be tested is.

// The benchmarks bring peers' clients along, which no test is to wait for.
#[allow(dead_code, unused_imports, reason = "the README is made of some of it")]
#[path = "../bench/src/results/mod.rs"]
mod results;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use results::Results;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace").to_path_buf()
}

/// The feature rows: number, and the cells behind it.
fn rows() -> Vec<(String, Vec<String>)> {
    let readme = fs::read_to_string(workspace().join("README.md")).expect("there is a README");
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_string()).collect::<Vec<_>>();
    let is_number =
        |text: &str| text.len() > 1 && text.starts_with(['U', 'M', 'D']) && text[1..].parse::<u32>().is_ok();
    let rows = readme.lines().filter(|line| line.starts_with('|')).map(cells);
    rows.filter(|cells| is_number(&cells[0])).map(|mut cells| (cells.remove(0), cells)).collect()
}

fn sources(folder: &Path, found: &mut String) {
    for entry in fs::read_dir(folder).expect("the folder can be read").flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("target") {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push_str(&fs::read_to_string(&path).expect("a source is text"));
        }
    }
}

#[test]
fn every_feature_of_the_seeds_has_its_row() {
    let expected: BTreeSet<String> = [('U', 20), ('M', 17), ('D', 15)]
        .iter()
        .flat_map(|(seed, last)| (1..=*last).map(move |n| format!("{seed}{n}")))
        .collect();
    let found: Vec<String> = rows().into_iter().map(|(number, _)| number).collect();
    assert_eq!(found.len(), expected.len());
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected);
}

#[test]
fn every_feature_that_works_names_a_test_that_exists() {
    let mut code = String::new();
    for folder in ["examples", "guest", "host", "tests"] {
        sources(&workspace().join(folder), &mut code);
    }
    for (number, cells) in rows() {
        let [_, how, test] = cells.as_slice() else { panic!("{number} has {} cells", cells.len()) };
        if how == "not yet" {
            assert_eq!(test, "", "{number} does not work yet and cannot be shown");
            continue;
        }
        let name = test.trim_matches('`');
        assert!(code.contains(&format!("#[test]\nfn {name}()")), "{number}: no test `{name}`");
    }
}

/// The figures are those that `cargo xtask bench --readme` has kept.
#[test]
fn the_figures_are_those_of_the_results_that_are_kept() {
    let results = Results::read(&workspace().join("tests/bench/results/bench.json")).expect("there are results");
    let readme = fs::read_to_string(workspace().join("README.md")).expect("there is a README");
    let shown = results.put_into(&readme).expect("the README has a place for them");
    assert_eq!(shown, readme, "cargo xtask bench --readme --json tests/bench/results/bench.json");
}
