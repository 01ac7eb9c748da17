//! The statement is part of the code: each command that it names can be run.

use std::fs;
use std::path::{Path, PathBuf};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace").to_path_buf()
}

/// The commands in the text, as words; those in its tables and lists, not in its blocks of code.
fn commands() -> Vec<Vec<String>> {
    let text = fs::read_to_string(workspace().join("STATEMENT.md")).expect("there is a statement");
    let spans = text.split('`').skip(1).step_by(2).filter(|span| span.starts_with("cargo "));
    spans.map(|span| span.split_whitespace().map(String::from).collect()).collect()
}

/// The folder of the package of this name.
fn package(name: &str) -> PathBuf {
    const FOLDERS: [&str; 9] = [
        "guest/machine",
        "guest/component",
        "host",
        "tests",
        "tests/attack",
        "tests/fuzz",
        "tests/proof",
        "examples/catalogue",
        "examples/publisher",
    ];
    let named = |folder: &PathBuf| {
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
        manifest.lines().any(|line| line == format!("name = \"{name}\""))
    };
    FOLDERS
        .map(|folder| workspace().join(folder))
        .into_iter()
        .find(named)
        .unwrap_or_else(|| panic!("no package {name}"))
}

fn sources(path: &Path, found: &mut String) {
    if path.is_file() {
        found.push_str(&fs::read_to_string(path).expect("a source is text"));
    }
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.path().is_dir() || entry.path().extension().is_some_and(|extension| extension == "rs") {
            sources(&entry.path(), found);
        }
    }
}

/// The tests that `cargo test` is asked for are there.
fn check_test(words: &[&str]) {
    let (target, filter) = match words {
        ["-p", package] => (self::package(package), None),
        ["-p", package, "--lib", filter @ ..] | ["-p", package, "--bin", _, filter @ ..] => {
            (self::package(package).join("src"), filter.first())
        }
        ["-p", package, "--test", target, filter @ ..] => {
            let tests = self::package(package).join("tests");
            let file = tests.join(format!("{target}.rs"));
            (if file.is_file() { file } else { tests.join(target) }, filter.first())
        }
        _ => panic!("cargo test {words:?}"),
    };
    let mut code = String::new();
    sources(&target, &mut code);
    assert!(code.contains("#[test]"), "{words:?}: {} has no tests", target.display());
    if let Some(name) = filter {
        assert!(code.contains(&format!("fn {name}(")), "{words:?}: no such test");
    }
}

#[test]
fn every_command_of_the_statement_can_be_run() {
    let tasks = fs::read_to_string(workspace().join("xtask/src/main.rs")).expect("there are tasks");
    let commands = commands();
    assert!(commands.len() > 40, "{} commands", commands.len());
    for words in commands {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["cargo", "test", rest @ ..] => check_test(rest),
            ["cargo", "xtask", task, ..] => {
                let variant = format!("    {}{}", task[..1].to_uppercase(), &task[1..]);
                assert!(tasks.lines().any(|line| line.starts_with(&variant)), "no task {task}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn every_promise_has_its_command_and_the_readme_leads_to_it() {
    let text = fs::read_to_string(workspace().join("STATEMENT.md")).expect("there is a statement");
    let promises = text.split("\n## ").find(|part| part.starts_with("Promises")).expect("it promises something");
    let rows = promises.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| promise"));
    for row in rows {
        assert!(row.contains("| `cargo "), "{row}");
    }
    let readme = fs::read_to_string(workspace().join("README.md")).expect("there is a README");
    assert!(readme.contains("(STATEMENT.md)"));
}
