//! Each command that the page on guarantees names can be run.

use std::path::PathBuf;

use kvlock_tests::tree::{page, sources, workspace};

/// The commands in the text, as words; those in its tables and lists, not in its blocks of code.
fn commands() -> Vec<Vec<String>> {
    let text = page("docs/guarantees.md");
    let spans = text.split('`').skip(1).step_by(2).filter(|span| span.starts_with("cargo "));
    spans.map(|span| span.split_whitespace().map(String::from).collect()).collect()
}

/// Returns the folder of the workspace's member of this name.
fn package(name: &str) -> PathBuf {
    let workspace_manifest = page("Cargo.toml");
    let members = workspace_manifest.split_once("members = [").and_then(|(_, rest)| rest.split_once(']'));
    let (members, _) = members.expect("the workspace has members");
    let mut folders = members.split('"').skip(1).step_by(2);
    let named =
        |folder: &&str| page(&format!("{folder}/Cargo.toml")).lines().any(|line| line == format!("name = \"{name}\""));
    workspace().join(folders.find(named).unwrap_or_else(|| panic!("no package {name}")))
}

/// The tests that `cargo test` is asked for are there.
fn check_test(words: &[&str]) {
    let (target, filter) = match words {
        ["-p", package] => (self::package(package), None),
        ["-p", package, "--lib", filter @ ..] | ["-p", package, "--bin", _, filter @ ..] => {
            (self::package(package).join("src"), filter.first())
        }
        ["-p", package, "--test", target, filter @ ..] => {
            let package = self::package(package);
            let places = ["tests", "suites"].map(|folder| package.join(folder));
            let mut found = places.iter().flat_map(|place| [place.join(format!("{target}.rs")), place.join(target)]);
            (found.find(|path| path.exists()).unwrap_or_default(), filter.first())
        }
        _ => panic!("cargo test {words:?}"),
    };
    let code = sources(&target);
    assert!(code.contains("#[test]"), "{words:?}: {} has no tests", target.display());
    if let Some(name) = filter {
        let is_there = [format!("fn {name}("), format!("mod {name};")].iter().any(|item| code.contains(item));
        assert!(is_there, "{words:?}: no such test");
    }
}

#[test]
fn every_command_that_shows_a_guarantee_can_be_run() {
    let tasks = page("xtask/src/main.rs");
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
fn every_promise_has_its_command() {
    let text = page("docs/guarantees.md");
    let promises = text.split("\n## ").find(|part| part.starts_with("Promises")).expect("it promises something");
    let rows = promises.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| promise"));
    for row in rows {
        assert!(row.contains("| `cargo "), "{row}");
    }
}
