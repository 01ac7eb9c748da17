//! What whoever runs the tests has ignored, limited and set reaches no program that a test starts.

use std::process::{Command, Output};

use kvlock_testkit::process;

/// Becomes the program that follows, in a state that a CI runner, `nohup` or a strange login may leave: signals are
/// ignored and blocked, limits are low, the environment misleads.
const MISLEAD: &str = "ulimit -S -n 256 && ulimit -S -c unlimited && ulimit -S -s 1024 && umask 077 && \
    exec env --ignore-signal=HUP,INT,QUIT,PIPE,USR1,ALRM,TERM,CHLD,TSTP,TTIN,TTOU \
    --block-signal=HUP,INT,QUIT,USR2,ALRM,TERM,CHLD,TSTP,CONT --unset=HOME --unset=TERM LANG=xx_YY LC_ALL=xx_YY \
    TZ=nowhere XDG_STATE_HOME=/nowhere KVLOCK_STORE=memcached://127.0.0.1:1 KVLOCK_EXIT_CODE=7 KVLOCK_KEY=k \
    KVLOCK_LEASE=soon KVLOCK_JSON=1 KVLOCK_VERBOSE=1 MEMCACHEDLOCK_SERVERS=127.0.0.1:1 \"$@\"";

/// Prepares tests of this program for a run in that state.
fn misled(tests: &[&str]) -> Command {
    let mut command = process::tool("sh");
    command.args(["-c", MISLEAD, "sh"]).arg(std::env::current_exe().unwrap()).args(tests);
    command
}

#[track_caller]
fn assert_passes(mut command: Command) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let [stdout, stderr] = [stdout, stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(status.success() && !stdout.contains(" 0 passed"), "{status}: {stdout}{stderr}");
}

#[test]
fn a_program_that_a_test_starts_inherits_no_signals_limits_or_variables() {
    assert_passes(misled(&["a_program_is_as_if_nothing_were_wrong", "--ignored"]));
}

#[test]
#[ignore = "a part of the test above, started by it"]
fn a_program_is_as_if_nothing_were_wrong() {
    let told = |shown: &str| {
        let output = process::command("sh").args(["-c", shown]).output().unwrap();
        assert!(output.status.success(), "{shown}");
        String::from_utf8(output.stdout).unwrap()
    };
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    // Those of real-time signals, the last, are the C library's.
    let masks = |status: &str| -> Vec<u64> {
        let masks = status.lines().filter(|line| line.starts_with("SigIgn:") || line.starts_with("SigBlk:"));
        masks.map(|line| u64::from_str_radix(line[7..].trim(), 16).unwrap() & ((1 << 31) - 1)).collect()
    };
    assert!(masks(&own).iter().all(|mask| *mask != 0), "it was not misled: {own}");
    assert_eq!(masks(&told("exec cat /proc/self/status")), [0, 0]);
    assert_eq!(told("umask; ulimit -c"), "0022\n0\n");
    let limits = told("ulimit -n; ulimit -s");
    let limits: Vec<u64> = limits.lines().map(|limit| limit.parse().unwrap()).collect();
    assert!(limits[0] > 256 && limits[1] > 1024, "{limits:?}");
    let variables = told("env");
    assert!(variables.contains("PATH=") && variables.contains("LANG=C.UTF-8"), "{variables}");
    for part in ["KVLOCK", "HOME", "xx_YY", "nowhere"] {
        assert!(!variables.contains(part), "{variables}");
    }
}

#[test]
fn the_command_is_tested_as_well_where_the_tests_are_started_with_signals_ignored() {
    assert_passes(misled(&["signals::", "terminal::ctrl_c", "freeze::", "nested::"]));
}
