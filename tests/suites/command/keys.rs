//! Any string is a key.

use super::{World, in_both};

fn odd_keys() -> Vec<String> {
    let mut keys: Vec<String> =
        ["with space", " ", "a\nb", "\t", "schlüssel 🔑", "a:b", "a/b", "-x", "--x", "-", "--wait", "%", "#", "\u{7f}"]
            .map(String::from)
            .into();
    keys.extend(["a".repeat(300), "é".repeat(150), "k".repeat(65536)]);
    keys
}

#[test]
fn odd_keys_are_keys_and_each_is_another() {
    in_both(|world| {
        let given = |key: &String| format!("--key={key}");
        let _holders: Vec<_> =
            odd_keys().iter().map(|key| world.ok(["acquire", &given(key), "--owner", "me", "--lease", "1h"])).collect();
        for key in odd_keys() {
            let given = given(&key);
            assert_eq!(world.run(["run", &given, "--wait", "0", "--", "true"]).code, 75, "{key:?}");
            let status = world.ok(["status", "--json", "--", &key]);
            let status: serde_json::Value = serde_json::from_str(&status).unwrap();
            assert!(world.ok(["status", &given]).contains("held by me"), "{given}");
            assert_eq!((&status["key"], &status["holder"]["owner"]), (&key.as_str().into(), &"me".into()));
            assert_eq!(world.run(["break", &given]).code, 0, "{key:?}");
            assert!(world.is_free(&key), "{key:?}");
            let name = ["run", &given, "--wait", "0", "--", "sh", "-c", "printf %s. \"$KVLOCK_KEY\""];
            assert_eq!(world.ok(name), format!("{key}."));
        }
    });
}

#[test]
fn a_key_that_is_too_long_is_refused_on_one_line() {
    let world = World::local();
    let output = world.run(["run", &"k".repeat(65537), "--", "true"]);
    output.assert_says(64, &[]);
    assert!(output.stderr.len() < 300 && output.stderr.contains("65537"), "{output:?}");
}

#[test]
fn a_word_that_looks_like_an_option_is_no_key_and_no_name_by_accident() {
    let world = World::local();
    let subcommands: [&[&str]; 12] = [
        &["run"],
        &["acquire"],
        &["release"],
        &["renew"],
        &["status"],
        &["break"],
        &["semaphore", "make"],
        &["semaphore", "destroy"],
        &["semaphore", "status"],
        &["semaphore", "run"],
        &["semaphore", "acquire"],
        &["semaphore", "break"],
    ];
    for subcommand in subcommands {
        for word in ["--try", "--laese", "-y", "-wait", "-1", "--"] {
            let rest: &[&str] = match subcommand {
                ["semaphore", "make" | "break"] => &["1"],
                [.., "run"] => &["--", "touch", "ran"],
                _ => &[],
            };
            let output = world.run(subcommand.iter().chain(&[word]).chain(rest));
            assert_eq!((output.code, output.stdout.as_str()), (64, ""), "{subcommand:?} {word}: {output:?}");
            assert!(word == "--" || output.stderr.contains("  tip: "), "{subcommand:?} {word}: {output:?}");
        }
    }
    assert!(!world.path("ran").exists());
    assert_eq!(world.ok(["semaphore", "list"]), "");
}

#[test]
fn a_lone_dash_is_no_key_and_no_name() {
    let world = World::local();
    for arguments in
        [&["run", "-", "--", "true"][..], &["acquire", "-"], &["status", "-"], &["break", "-"], &["status", "k", "-"]]
    {
        let output = world.run(arguments);
        assert_eq!(output.code, 64, "{output:?}");
        assert!(output.stderr.contains("--key=-"), "{output:?}");
    }
    let output = world.run(["semaphore", "make", "-", "2"]);
    assert!(output.code == 64 && output.stderr.contains("--name=-"), "{output:?}");
}

#[test]
fn a_name_that_begins_with_a_dash_is_given_by_an_option() {
    in_both(|world| {
        let name = "--name=-x";
        for arguments in [
            &["make", name, "2"][..],
            &["make", "3", name],
            &["status", name],
            &["run", name, "--", "true"],
            &["acquire", name],
            &["break", name, "0"],
            &["break", "1", name],
            &["break", "2", name],
            &["destroy", name, "--wait", "0"],
        ] {
            assert_eq!(world.run(["semaphore"].iter().chain(arguments)).code, 0, "{arguments:?}");
        }
    });
}

/// What is written, and what is said to it.
#[test]
fn a_word_that_cannot_be_used_gets_a_tip() {
    let world = World::local();
    let cases: [(&[&str], &str); 17] = [
        (&["run", "--nonblock", "--", "job"], "the key comes before '--'"),
        (&["run", "k", "--try", "--", "job"], "'--wait 0'"),
        (&["run", "k", "--timeout", "5", "--", "job"], "'--wait DURATION'"),
        (&["run", "k", "-wait", "5", "--", "job"], "'--wait'"),
        (&["acquire", "--laese"], "'--lease'"),
        (&["acquire", "--odd"], "'--key=--odd'"),
        (&["semaphore", "acquire", "--odd"], "'--name=--odd'"),
        (&["run", "k", "job"], "the command comes after '--': kvlock run [OPTIONS] <KEY> -- <COMMAND>..."),
        (&["run", "k", "job", "-x"], "the command comes after '--'"),
        (&["run", "k"], "the command comes after '--'"),
        (&["semaphore", "run", "k", "job"], "the command comes after '--': kvlock semaphore run [OPTIONS] <NAME>"),
        (&["run", "--", "job"], "the key comes before '--'"),
        (&["backup", "--", "job"], "kvlock run KEY -- COMMAND"),
        (&["acquire", "k", "--", "job"], "kvlock run KEY -- COMMAND"),
        (&["acquire", "a", "b"], "only one key"),
        (&["run", "a", "b", "--", "job"], "only one key"),
        (&["run", "k", "--owner", "-x", "--", "job"], "'--owner=-x'"),
    ];
    for (arguments, tip) in cases {
        let output = world.run(arguments);
        assert_eq!((output.code, output.stdout.as_str()), (64, ""), "{arguments:?}: {output:?}");
        let is_it = |line: &str| line.starts_with("  tip: ") && line.contains(tip);
        assert!(output.stderr.lines().any(is_it), "{arguments:?}, `{tip}`: {}", output.stderr);
    }
}

#[test]
fn the_usage_in_an_error_shows_nothing_that_the_environment_gives() {
    let world = World::local();
    for arguments in [&["run", "k", "job"][..], &["acquire", "--odd"], &["semaphore", "make"], &["run", "k", "--adopt"]]
    {
        let bare = kvlock_tests::Kvlock::at_home(world.folder.path()).run(arguments);
        let given = world.kvlock.clone().with("KVLOCK_LEASE", "5s").with("KVLOCK_JSON", "0").run(arguments);
        assert_eq!(given.stderr, bare.stderr);
        let usage = bare.stderr.lines().find(|line| line.starts_with("Usage: ")).unwrap();
        assert!(usage.contains(" [OPTIONS] <") && !usage.contains("--store"), "{usage}");
    }
}

#[test]
fn a_variable_that_is_wrong_is_named() {
    let world = World::local();
    for (name, value, arguments) in [
        ("KVLOCK_LEASE", "soon", &["run", "k", "--", "true"][..]),
        ("KVLOCK_QUARANTINE", "-1", &["status", "k"]),
        ("KVLOCK_SOFT", "1", &["run", "k", "--retry-on", "3", "--", "true"]),
    ] {
        let output = world.kvlock.clone().with(name, value).run(arguments);
        assert_eq!(output.code, 64, "{output:?}");
        assert!(output.stderr.contains(&format!("comes from the variable {name}")), "{output:?}");
    }
}
