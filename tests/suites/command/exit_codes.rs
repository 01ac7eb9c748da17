//! Each way out has its number, and says on one line what happened.

use super::{SECOND, World, in_both};

#[test]
fn the_exit_code_is_the_commands_own() {
    let world = World::local();
    for code in [0, 1, 7, 64, 75, 255] {
        let output = world.script("k", &[], &format!("exit {code}"));
        assert_eq!((output.code, output.stderr.as_str()), (code, ""));
    }
}

#[test]
fn a_command_that_dies_of_a_signal_gives_128_and_its_number() {
    let world = World::local();
    for signal in [1, 2, 6, 9, 15] {
        let output = world.script("k", &[], &format!("kill -{signal} $$; sleep 5"));
        assert_eq!((output.code, output.stderr.as_str()), (128 + signal, ""));
        assert!(world.is_free("k"));
    }
}

#[test]
fn what_cannot_be_run_gives_126_or_127_and_frees_the_lock() {
    let world = World::local();
    std::fs::write(world.path("text"), "no program").unwrap();
    for (program, code) in [("./text", 126), ("/", 126), ("no-such-program", 127), ("./no-such-file", 127)] {
        let output = world.run(["run", "k", "--", program]);
        output.assert_says(code, &[&format!("`{program}`")]);
        assert!(world.is_free("k"));
    }
}

#[test]
fn a_busy_lock_gives_75_or_what_was_asked_for() {
    in_both(|world| {
        let _holder = world.hold("k", &["--owner", "somebody"]);
        let output = world.run(["run", "k", "--wait", "0", "--", "true"]);
        output.assert_says(75, &["`k`", "somebody", "since", "until"]);
        assert_eq!(world.run(["acquire", "k", "--wait", "0"]).code, 75);
        for code in ["0", "3", "255"] {
            let options = ["run", "k", "--wait", "0", "--conflict-exit-code", code, "--", "sh", "-c", "echo ran"];
            let output = world.run(options);
            assert_eq!((output.code.to_string().as_str(), output.stdout.as_str()), (code, ""));
        }
        for code in ["256", "-1", "x"] {
            assert_eq!(world.run(["run", "k", "--conflict-exit-code", code, "--", "true"]).code, 64);
        }
    });
}

#[test]
fn a_wait_takes_as_long_as_was_asked_for() {
    in_both(|world| {
        let _holder = world.hold("k", &[]);
        let output = world.run(["run", "k", "--wait", "1s", "--", "true"]);
        assert_eq!(output.code, 75, "{output:?}");
        assert!(output.took >= SECOND, "{output:?}");
        output.assert_within(SECOND * 8 / 5);
        super::assert_waited(&output);
    });
}

#[test]
fn a_quiet_run_for_which_busy_is_no_error_says_nothing() {
    in_both(|world| {
        let _holder = world.hold("k", &[]);
        for json in ["0", "1"] {
            let kvlock = world.kvlock.clone().with("KVLOCK_JSON", json);
            let run = |options: &[&str]| {
                let options = ["run", "k", "--wait", "0"].iter().chain(options);
                let output = kvlock.run(options.chain(&["--", "true"]));
                (output.code, output.stderr.lines().count())
            };
            assert_eq!(run(&["-q", "--conflict-exit-code", "0"]), (0, 0));
            assert_eq!(run(&["--conflict-exit-code", "0"]), (0, 1));
            assert_eq!(run(&["-q", "--conflict-exit-code", "3"]), (3, 1));
            assert_eq!(run(&["-q"]), (75, 1));
        }
    });
}

#[test]
fn too_little_memory_is_no_bug_and_names_the_limit() {
    let world = World::local();
    for command in ["run k -- true", "acquire k", "status k", "semaphore list"] {
        let script = format!("ulimit -v 2000000; \"$KVLOCK\" {command}");
        let output = kvlock_tests::kvlock::Running::start(world.command_of("sh".as_ref(), ["-c", &script])).wait();
        output.assert_refused(71, &["ulimit -v"]);
    }
}

#[test]
fn wrong_values_are_named_on_one_line() {
    let world = World::local();
    let cases: [(&[&str], &str); 16] = [
        (&["run", "", "--", "true"], "key is empty"),
        (&["status", ""], "key is empty"),
        (&["break", ""], "key is empty"),
        (&["run", "k", "--lease", "0", "--", "true"], "lease"),
        (&["run", "k", "--lease", "9999999h", "--", "true"], "lease"),
        (&["run", "k", "--wait", "99999999999h", "--", "true"], "wait"),
        (&["run", "k", "--interval", "0", "--", "true"], "interval"),
        (&["run", "k", "--interval", "2h", "--", "true"], "interval"),
        (&["run", "k", "--owner", "", "--", "true"], "owner"),
        (&["run", "k", "--namespace", "a b", "--", "true"], "namespace"),
        (&["run", "k", "--store", "zookeeper://127.0.0.1", "--", "true"], "zookeeper://127.0.0.1"),
        (&["run", "k", "--store", "nonsense", "--", "true"], "nonsense"),
        (&["run", "k", "--store", "local:", "--", "true"], "local:"),
        (&["run", "k", "--store", "memcached://a:0", "--", "true"], "a:0"),
        (&["release", "nonsense"], "grant"),
        (&["renew", "kvlock1.nonsense"], "grant"),
    ];
    for (arguments, part) in cases {
        let output = world.run(arguments);
        output.assert_refused(64, &[part]);
    }
}

#[test]
fn wrong_usage_gives_64_and_names_what_is_wrong() {
    let world = World::local();
    let cases: [(&[&str], &str); 14] = [
        (&[], "Usage"),
        (&["frobnicate"], "frobnicate"),
        (&["run"], "<KEY>"),
        (&["run", "k"], "<COMMAND>"),
        (&["run", "k", "--"], "<COMMAND>"),
        (&["run", "k", "true"], "true"),
        (&["run", "k", "--bogus", "--", "true"], "--bogus"),
        (&["run", "k", "--lease", "-1", "--", "true"], "negative"),
        (&["run", "k", "--wait", "-5s", "--", "true"], "-5"),
        (&["run", "k", "--lease", "5 parsecs", "--", "true"], "parsecs"),
        (&["run", "k", "--wait", "1e300", "--", "true"], "--wait"),
        (&["run", "k", "--adopt", "--", "true"], "--owner"),
        (&["acquire"], "<KEY>"),
        (&["status"], "<KEYS>"),
    ];
    for (arguments, part) in cases {
        let output = world.run(arguments);
        assert_eq!((output.code, output.stdout.as_str()), (64, ""), "{arguments:?}: {output:?}");
        assert!(output.stderr.contains(part), "{arguments:?}: {output:?}");
    }
}
