//! The features of the packages that kvlock succeeds: each has its row, and a test that shows it.

use std::collections::BTreeSet;

use kvlock_tests::tree::{page, sources, workspace};

/// The feature rows: number, and the cells behind it.
fn rows() -> Vec<(String, Vec<String>)> {
    let page = page("docs/coming-from.md");
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_string()).collect::<Vec<_>>();
    let is_number =
        |text: &str| text.len() > 1 && text.starts_with(['U', 'M', 'D']) && text[1..].parse::<u32>().is_ok();
    let rows = page.lines().filter(|line| line.starts_with('|')).map(cells);
    rows.filter(|cells| is_number(&cells[0])).map(|mut cells| (cells.remove(0), cells)).collect()
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
    let code = ["examples", "guest", "host", "tests"].map(|folder| sources(&workspace().join(folder))).concat();
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
