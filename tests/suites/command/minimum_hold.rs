//! `--at-least`: at most once a period, and used up by what ran only.

use super::{World, in_both};

#[test]
fn what_never_ran_uses_nothing_up() {
    in_both(|world| {
        std::fs::write(world.path("not-executable"), "").unwrap();
        for (command, code) in [("./not-there", 127), ("./not-executable", 126)] {
            assert_eq!(world.run(["run", "k", "--at-least", "1h", "--", command]).code, code);
            assert!(world.is_free("k"), "{command}");
        }
    });
}

#[test]
fn a_command_that_fails_uses_it_up_unless_that_is_not_wanted() {
    let world = World::local();
    for (key, option, script, is_free) in [
        ("a", None, "exit 3", false),
        ("b", Some("--unless-failed"), "exit 3", true),
        ("c", Some("--unless-failed"), "kill -KILL $$", true),
        ("d", Some("--unless-failed"), "exit 0", false),
    ] {
        let options: Vec<_> = ["--at-least", "1h"].into_iter().chain(option).collect();
        world.script(key, &options, script);
        assert_eq!(world.is_free(key), is_free, "{key}");
    }
    let by_variable = world.kvlock.clone().with("KVLOCK_UNLESS_FAILED", "1");
    assert_eq!(by_variable.script("e", &["--at-least", "1h"], "exit 3").code, 3);
    assert!(world.is_free("e"));
    // For many commands at once it may be set, and alone it means nothing.
    assert_eq!(by_variable.run(["run", "f", "--", "true"]).code, 0);
    assert_eq!(world.run(["run", "f", "--unless-failed", "--", "true"]).code, 64);
}

#[test]
fn a_store_that_may_have_forgotten_a_minimum_hold_does_not_grant_another() {
    let world = World::memcached();
    let by_default = world.kvlock.clone().with("KVLOCK_QUARANTINE", "");
    let output = by_default.run(["run", "k", "--wait", "0", "--at-least", "1h", "--", "true"]);
    assert_eq!(output.code, 75, "{output:?}");
    let numbers = output.stderr.split_whitespace().filter_map(|word| word.parse::<f64>().ok());
    assert!(numbers.into_iter().any(|left| left > 3000.0), "{output:?}");
    // What is set counts.
    assert_eq!(world.run(["run", "k", "--wait", "0", "--at-least", "1h", "--", "true"]).code, 0);
}
