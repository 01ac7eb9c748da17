//! What the command is told, and what we are told, by variables.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kvlock_tests::Kvlock;

use super::{SECOND, World, in_both};

#[test]
fn the_command_is_told_key_owner_token_and_deadline() {
    let script =
        "echo \"$KVLOCK_KEY|$KVLOCK_OWNER|$KVLOCK_TOKEN|$KVLOCK_DEADLINE\"; \"$KVLOCK\" status --json \"$KVLOCK_KEY\"";
    in_both(|world| {
        let before = SystemTime::now();
        let output = world.script("a key", &["--owner", "an owner", "--lease", "20s"], script);
        let (variables, status) = output.stdout.split_once('\n').unwrap_or_else(|| panic!("{output:?}"));
        let parts: Vec<&str> = variables.split('|').collect();
        let [key, owner, token, deadline] = parts[..] else { panic!("{output:?}") };
        assert_eq!((key, owner), ("a key", "an owner"));
        let status: serde_json::Value = serde_json::from_str(status).unwrap();
        assert_eq!(status["holder"]["token"], token);
        assert_eq!(status["holder"]["owner"], "an owner");
        let deadline = UNIX_EPOCH + Duration::from_secs(deadline.parse().unwrap());
        let left = deadline.duration_since(before).unwrap();
        assert!(left > 18 * SECOND && left < 21 * SECOND, "{left:?}");
    });
}

#[test]
fn a_shell_can_reckon_with_the_deadline_which_is_never_later_than_the_truth() {
    let world = World::local();
    let script = "echo $((KVLOCK_DEADLINE - $(date +%s)))";
    for _ in 0..5 {
        let output = world.script("k", &["--lease", "20s"], script);
        let left: u64 = output.stdout.trim().parse().unwrap_or_else(|_| panic!("{output:?}"));
        // The second in which `date` looks may have begun before the grant.
        assert!((10..=20).contains(&left), "{output:?}");
    }
}

#[test]
fn a_lease_for_ever_has_no_deadline() {
    let world = World::local();
    let script = "echo ${KVLOCK_DEADLINE-none}";
    assert_eq!(world.script("k", &["--lease", "forever"], script).stdout, "none\n");
    let nested = format!("\"$KVLOCK\" run other --lease forever -- sh -c '{script}'");
    assert_eq!(world.script("k", &[], &nested).stdout, "none\n", "that of another lock is no deadline");
}

fn token(world: &World) -> u64 {
    world.ok(["run", "k", "--", "printenv", "KVLOCK_TOKEN"]).parse().unwrap()
}

#[test]
fn tokens_grow_from_run_to_run() {
    in_both(|world| {
        let tokens: Vec<u64> = (0..5).map(|_| token(world)).collect();
        assert!(tokens.is_sorted_by(|a, b| a < b), "{tokens:?}");
    });
}

#[test]
fn tokens_grow_over_a_restart_and_a_flush() {
    let mut world = World::memcached();
    let mut tokens = vec![token(&world)];
    world.server().restart();
    tokens.push(token(&world));
    world.server().flush();
    tokens.push(token(&world));
    assert!(tokens.is_sorted_by(|a, b| a < b), "{tokens:?}");
}

#[test]
fn options_may_be_given_as_variables_and_an_option_on_the_line_goes_first() {
    let world = World::local();
    let _holder = world.hold("k", &[]);
    let kvlock = world.kvlock.clone().with("KVLOCK_WAIT", "0").with("KVLOCK_CONFLICT_EXIT_CODE", "9");
    assert_eq!(kvlock.run(["run", "k", "--", "true"]).code, 9);
    assert_eq!(kvlock.run(["run", "k", "--conflict-exit-code", "8", "--", "true"]).code, 8);
    let kvlock = world.kvlock.clone().with("KVLOCK_OWNER", "by variable").with("KVLOCK_NAMESPACE", "elsewhere");
    assert_eq!(kvlock.ok(["run", "k", "--", "printenv", "KVLOCK_OWNER"]), "by variable");
    let bad = world.kvlock.clone().with("KVLOCK_LEASE", "soon").run(["run", "k", "--", "true"]);
    assert!(bad.code == 64 && bad.stderr.contains("soon"), "{bad:?}");
}

#[test]
fn an_empty_variable_is_none() {
    let world = World::local();
    let mut kvlock = world.kvlock.clone();
    for name in ["LEASE", "WAIT", "OWNER", "INTERVAL", "NAMESPACE", "QUIET", "JSON", "ADOPT", "MAX_HOLD", "VERBOSE"] {
        kvlock = kvlock.with(&format!("KVLOCK_{name}"), "");
    }
    let output = kvlock.run(["run", "k", "--", "true"]);
    assert_eq!((output.code, output.stderr.as_str()), (0, ""));
    let nowhere = Kvlock::at_home(world.folder.path()).with("KVLOCK_STORE", "").with("MEMCACHEDLOCK_SERVERS", "");
    assert!(nowhere.run(["status", "k"]).stderr.contains("no --store given"));
}

#[test]
fn every_option_of_every_subcommand_has_a_variable() {
    let world = World::local();
    let plain = ["run", "acquire", "release", "renew", "status", "break", "doctor", "component", "man", "completions"];
    let semaphore =
        ["make", "destroy", "list", "status", "run", "acquire", "break"].map(|name| format!("semaphore {name}"));
    for subcommand in plain.map(String::from).into_iter().chain(semaphore) {
        let help = world.ok(subcommand.split(' ').chain(["--help"]));
        let options = help.split_once("\nOptions:\n").unwrap_or_else(|| panic!("{help}")).1;
        let mut blocks: Vec<String> = Vec::new();
        for line in options.lines() {
            if line.trim_start().starts_with('-') && line.contains("--") {
                blocks.push(String::new());
            }
            if let Some(block) = blocks.last_mut() {
                *block += &format!("{} ", line.trim());
            }
        }
        blocks.retain(|block| !block.starts_with("-h, --help"));
        assert!(blocks.len() >= 6, "{help}");
        for block in blocks {
            let name = block.split("--").nth(1).unwrap().split([' ', '.']).next().unwrap();
            let variable = format!("[env: KVLOCK_{}", name.replace('-', "_").to_uppercase());
            // Its value is not shown where it may have a password.
            let is_there = ["=", "]"].iter().any(|end| block.contains(&format!("{variable}{end}")));
            assert!(is_there, "{subcommand} --{name} has no variable: {block}");
        }
    }
}

#[test]
fn a_switch_is_turned_on_and_off_by_a_variable_as_people_write_it() {
    let world = World::local();
    for (value, is_json) in [("1", true), ("yes", true), ("true", true), ("0", false), ("no", false), ("false", false)]
    {
        let kvlock = world.kvlock.clone().with("KVLOCK_JSON", value);
        let output = kvlock.run(["status", "k"]);
        assert_eq!((output.code, output.stdout.starts_with('{')), (0, is_json), "{value}: {output:?}");
    }
}

#[test]
fn switches_count_by_the_value_of_their_variable() {
    let world = World::local();
    let with = |name: &str, value: &str| world.kvlock.clone().with(name, value);
    for name in ["KVLOCK_SOFT", "KVLOCK_REENTRANT", "KVLOCK_ADOPT", "KVLOCK_AT_LEAST", "KVLOCK_VERBOSE"] {
        let retried = with(name, "0").run(["run", "k", "--retry-on", "3", "--", "true"]);
        assert_eq!((retried.code, retried.stderr.as_str()), (0, ""), "{name}");
    }
    assert_eq!(with("KVLOCK_ADOPT", "0").run(["acquire", "other"]).code, 0);
    for (value, code) in [("1", 75), ("true", 75), ("0", 0), ("false", 0), ("", 0)] {
        assert_eq!(with("KVLOCK_EXIT_CODE", value).run(["status", "other"]).code, code, "`{value}`");
    }
    for (value, is_wordy) in [("1", true), ("2", true), ("true", true), ("0", false), ("false", false), ("", false)] {
        let output = with("KVLOCK_VERBOSE", value).run(["run", "k", "--", "true"]);
        assert_eq!((output.code, output.stderr.contains("granted")), (0, is_wordy), "`{value}`");
    }
}

#[test]
fn a_variable_is_heeded_where_it_applies_and_is_no_mistake_where_it_does_not() {
    let world = World::local();
    let always = world.kvlock.clone().with("KVLOCK_RETRIES", "1").with("KVLOCK_RESERVE", "2s");
    assert_eq!(always.run(["run", "k", "--", "true"]).code, 0);
    let retried = always.run(["run", "k", "--retry-on", "9", "--", "sh", "-c", "exit 9"]);
    assert!(retried.code == 9 && retried.stderr.contains("try 2 of 2"), "{retried:?}");
    let wordy = world.kvlock.clone().with("KVLOCK_VERBOSE", "1");
    assert_eq!(wordy.run(["run", "k", "-q", "--", "true"]).stderr, "");
    let quiet = world.kvlock.clone().with("KVLOCK_QUIET", "1");
    assert!(quiet.run(["run", "k", "-v", "--", "true"]).stderr.contains("granted"));
    let both = world.kvlock.run(["-v", "run", "k", "-q", "--", "true"]);
    assert!(both.code == 64 && both.stderr.contains("--quiet and --verbose"), "{both:?}");
}
