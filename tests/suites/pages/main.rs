//! The pages are part of the code: links lead somewhere, commands parse, code compiles, claims name tests that exist.

// The benchmarks bring peers' clients along, which no test is to wait for.
#[allow(dead_code, unused_imports, reason = "the page on performance is made of some of it")]
#[path = "../../bench/src/results/mod.rs"]
mod results;

mod features;
mod guarantees;
mod links;
mod performance;
mod prose;
mod shell;

use std::fs;

use kvlock_tests::tree::workspace;

/// Returns the names of all pages: those beside the README and those in `docs`.
fn pages() -> Vec<String> {
    let mut found = Vec::new();
    for folder in [".", "docs", "docs/internals"] {
        for entry in fs::read_dir(workspace().join(folder)).expect("the folder can be read").flatten() {
            let name = entry.file_name().into_string().expect("a page has a name");
            if name.ends_with(".md") {
                found.push(if folder == "." { name } else { format!("{folder}/{name}") });
            }
        }
    }
    found.sort();
    assert!(found.len() > 10, "{found:?}");
    found
}

/// Returns the lines of a page that are no code, each with its number.
fn prose_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_code = false;
    text.lines().enumerate().filter_map(move |(number, line)| {
        let fence = line.trim_start().starts_with("```");
        in_code ^= fence;
        (!in_code && !fence).then_some((number + 1, line))
    })
}
