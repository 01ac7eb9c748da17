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
use std::path::{Path, PathBuf};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace").to_path_buf()
}

/// Returns the text of a page, named from the workspace.
fn page(name: &str) -> String {
    fs::read_to_string(workspace().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

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

/// Appends the Rust sources in a file or folder.
fn sources(path: &Path, found: &mut String) {
    if path.is_file() {
        found.push_str(&fs::read_to_string(path).expect("a source is text"));
    }
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("target") || path.extension().is_some_and(|extension| extension == "rs") {
            sources(&path, found);
        }
    }
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
