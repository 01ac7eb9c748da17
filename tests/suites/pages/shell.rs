//! The commands on the pages: those in blocks marked `sh run` run, and the words of all others parse.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use kvlock_testkit::MemcachedServer;
use kvlock_tests::Kvlock;
use kvlock_tests::kvlock::Running;
use kvlock_tests::tree::page;

use crate::pages;

/// What a page says beside `kvlock`, and a test has no use for.
const STUBS: [&str; 7] = ["memcached", "git", "./backup.sh", "./report.sh", "./deploy.sh", "./encode.sh", "./serve"];

/// Returns the blocks of code whose first line begins with this.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let blocks = text.split("\n```").skip(1).step_by(2);
    let of_language = blocks.filter_map(|block| block.split_once('\n')).filter(|(first, _)| *first == language);
    of_language.map(|(_, code)| code.to_string()).collect()
}

/// A block without a language is Rust to rustdoc.
#[test]
fn every_block_says_its_language() {
    for name in pages() {
        assert_eq!(blocks(&page(&name), ""), Vec::<String>::new(), "{name}");
    }
}

fn write_script(path: &Path, script: &str) {
    fs::write(path, format!("#!/bin/sh\n{script}\n")).expect("a script can be written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a script can be executed");
}

/// Runs a script in which `kvlock` is the stub, which finds the real one as `$KVLOCK`. Returns what the stub noted.
fn run(stub: &str, script: &str) -> String {
    let (home, server) = (tempfile::tempdir().expect("there is room"), MemcachedServer::start());
    for name in STUBS {
        write_script(&home.path().join(name.trim_start_matches("./")), "exit 0");
    }
    write_script(&home.path().join("kvlock"), stub);
    let path = format!("{}:{}", home.path().display(), std::env::var("PATH").expect("there is a path"));
    let kvlock = Kvlock::on(&server.url(), home.path()).with("PATH", &path);
    let script = script.replace("127.0.0.1:11211", &server.addr());
    let output = Running::start(kvlock.command_of("sh".as_ref(), ["-c", &script])).wait();
    let notes = fs::read_to_string(home.path().join("notes")).unwrap_or_default();
    assert_eq!(output.code, 0, "{script}\n{notes}{}", output.stderr);
    notes
}

#[test]
fn every_block_that_is_marked_runs() {
    for name in ["README.md", "docs/command.md"] {
        let script = blocks(&page(name), "sh run").join("\n");
        let notes = run("\"$KVLOCK\" \"$@\"\ncode=$?\necho $code \"$@\" >>\"$HOME/notes\"\nexit $code", &script);
        let failed = notes.lines().filter(|line| !line.starts_with("0 ") && !line.starts_with("75 "));
        assert_eq!(failed.collect::<Vec<_>>(), Vec::<&str>::new(), "{name}");
        assert!(notes.lines().count() >= 9, "{name}: {notes}");
    }
}

/// Returns the calls of kvlock in a block, without what stands around them.
fn calls(block: &str) -> impl Iterator<Item = &str> {
    let lines = block.lines().map(|line| line.split(" #").next().unwrap_or_default().trim());
    lines.filter_map(|line| match line.split_once("$(kvlock ") {
        Some((_, inner)) => inner.rsplit_once(')').map(|(call, _)| call),
        None => line.trim_end_matches(" &").strip_prefix("kvlock "),
    })
}

#[test]
fn the_words_of_every_call_parse() {
    let stub = "seen=\nfor word do\nshift\nif [ \"$word\" = -- ] && [ -z \"$seen\" ]; then seen=1; set -- \"$@\" --help; \
                fi\nset -- \"$@\" \"$word\"\ndone\n[ -n \"$seen\" ] || set -- \"$@\" --help\nexec \"$KVLOCK\" \"$@\"";
    let mut script = String::from("set -e\n");
    for name in pages() {
        let text = page(&name);
        for block in ["sh", "sh run"].map(|language| blocks(&text, language)).concat() {
            script.extend(calls(&block).map(|call| format!("kvlock {call}\n")));
        }
    }
    assert!(script.lines().count() > 30, "{script}");
    run(stub, &script);
}
