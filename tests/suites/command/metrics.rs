//! `--metrics`: a file for Prometheus' textfile collector, read here by Prometheus' own client for Python.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use kvlock_testkit::process;
use kvlock_tests::kvlock::eventually;
use kvlock_tests::python;
use kvlock_tests::tree::workspace;
use rustix::process::Signal;
use serde_json::Value;

use super::{World, in_both};

/// The samples of a file: name, type, labels and value.
struct Samples(Vec<(String, String, Value, f64)>);

impl Samples {
    #[track_caller]
    fn read(path: &Path) -> Samples {
        let folder = workspace().join("tests/data/prometheus");
        let python =
            python::with(Path::new(env!("CARGO_TARGET_TMPDIR")), "prometheus", &folder.join("requirements.txt"));
        let parsed = python::run(process::tool(python).arg(folder.join("parse.py")).arg(path), "");
        Samples(serde_json::from_str(&parsed).unwrap())
    }

    /// The sum of a sample over the labels that are not named.
    fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let has = |of: &Value| labels.iter().all(|(name, value)| of[name] == *value);
        let found = self.0.iter().filter(|(sample, _, of, _)| sample == name && has(of));
        found.map(|(.., value)| *value).reduce(|sum, value| sum + value)
    }

    #[track_caller]
    fn get(&self, name: &str) -> f64 {
        self.sum(name, &[]).unwrap_or_else(|| panic!("no {name} in {:#?}", self.0))
    }
}

#[test]
fn a_run_leaves_what_it_counted_in_a_file_that_prometheus_reads() {
    in_both(|world| {
        let output = world.run(["run", "secret-key", "--metrics", "job.prom", "--", "sh", "-c", "umask; sleep 0.2"]);
        assert_eq!(output.code, 0, "{output:?}");
        let samples = Samples::read(&world.path("job.prom"));
        for (name, _, labels, _) in &samples.0 {
            assert_eq!(labels["name"], "job", "{name} {labels}");
            assert!(!labels.to_string().contains("secret"), "{name} {labels}");
        }
        let lock = &[("kind", "lock")];
        assert_eq!(samples.sum("kvlock_grants_total", lock), Some(1.0));
        assert_eq!(samples.sum("kvlock_wait_seconds_count", &[("kind", "lock"), ("outcome", "granted")]), Some(1.0));
        assert_eq!(samples.sum("kvlock_hold_seconds_count", &[("kind", "lock"), ("outcome", "released")]), Some(1.0));
        assert!(samples.get("kvlock_hold_seconds_sum") >= 0.2);
        assert!(
            samples.sum("kvlock_store_call_seconds_count", &[("operation", "add"), ("outcome", "ok")]) >= Some(1.0)
        );
        assert_eq!(samples.get("kvlock_held"), 0.0);
        assert_eq!(samples.get("kvlock_last_run_exit_code"), 0.0);
        assert!(samples.get("kvlock_last_run_held_seconds") >= 0.2);
        assert!(samples.get("kvlock_last_run_waited_seconds") < samples.get("kvlock_last_run_duration_seconds"));
        assert_eq!(
            samples.get("kvlock_last_run_timestamp_seconds"),
            samples.get("kvlock_last_success_timestamp_seconds")
        );
        let umask = u32::from_str_radix(output.stdout.trim(), 8).unwrap();
        let mode = fs::metadata(world.path("job.prom")).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o666 & !umask, "as the umask has it");
    });
}

#[test]
fn the_time_of_the_last_success_outlives_runs_that_fail_or_are_skipped() {
    let world = World::local();
    let file = world.path("job.prom");
    let success = || Samples::read(&file).sum("kvlock_last_success_timestamp_seconds", &[]);
    let run = |arguments: &[&str]| world.run([&["run", "k", "--metrics", "job.prom"], arguments].concat()).code;
    assert_eq!(run(&["--", "false"]), 1);
    assert_eq!(success(), None, "there was none so far");
    assert_eq!(run(&["--", "true"]), 0);
    let first = success();
    assert!(first.is_some());
    assert_eq!(run(&["--", "sh", "-c", "exit 3"]), 3);
    assert_eq!(Samples::read(&file).get("kvlock_last_run_exit_code"), 3.0);
    assert_eq!(success(), first);
    let holder = world.hold("k", &[]);
    assert_eq!(run(&["--wait", "0", "--conflict-exit-code", "0", "--", "true"]), 0);
    let samples = Samples::read(&file);
    assert_eq!(samples.get("kvlock_busy_total"), 1.0);
    assert_eq!((samples.get("kvlock_last_run_exit_code"), success()), (0.0, first), "it did not run");
    drop(holder);
}

#[test]
fn a_run_that_is_busy_lost_or_without_a_store_leaves_its_file_too() {
    let mut world = World::memcached();
    let holder = world.hold("k", &[]);
    assert_eq!(world.run(["run", "k", "--wait", "0", "--metrics", "busy.prom", "--", "true"]).code, 75);
    let busy = Samples::read(&world.path("busy.prom"));
    assert_eq!((busy.get("kvlock_busy_total"), busy.get("kvlock_last_run_exit_code")), (1.0, 75.0));
    assert_eq!(busy.sum("kvlock_grants_total", &[]), None);

    let waiter = world.start(["run", "k", "--metrics", "ended.prom", "--", "true"]);
    world.await_waiters("k", 1);
    waiter.signal(Signal::TERM);
    assert_eq!(waiter.wait().code, 128 + 15);
    let ended = Samples::read(&world.path("ended.prom"));
    assert_eq!(ended.get("kvlock_last_run_exit_code"), 143.0);
    assert_eq!(ended.sum("kvlock_wait_seconds_count", &[("outcome", "abandoned")]), Some(1.0));
    drop(holder);

    let running = world.start_script("lost", &["--lease", "2s", "--metrics", "lost.prom"], "echo > ready; sleep 60");
    eventually("the start", || world.path("ready").exists());
    assert_eq!(world.run(["break", "lost"]).code, 0);
    assert_eq!(running.wait().code, 74);
    let lost = Samples::read(&world.path("lost.prom"));
    assert_eq!((lost.get("kvlock_lost_total"), lost.get("kvlock_last_run_exit_code")), (1.0, 74.0));
    assert_eq!(lost.sum("kvlock_hold_seconds_count", &[("outcome", "lost")]), Some(1.0));

    world.server().kill();
    let output = world.run(["run", "k", "--ride-out", "0", "--metrics", "down.prom", "--", "true"]);
    assert_eq!(output.code, 69, "{output:?}");
    let down = Samples::read(&world.path("down.prom"));
    assert_eq!((down.get("kvlock_outages_total"), down.get("kvlock_last_run_exit_code")), (1.0, 69.0));
    assert_eq!(down.sum("kvlock_wait_failures_total", &[("reason", "unavailable")]), Some(1.0));
}

#[test]
fn every_subcommand_that_uses_a_store_leaves_a_file() {
    let world = World::local();
    let with = |name: &str, arguments: &[&str]| {
        let file = format!("{name}.prom");
        let output = world.run([&["--metrics", &file], arguments].concat());
        assert_eq!(output.code, 0, "{output:?}");
        let samples = Samples::read(&world.path(&file));
        assert_eq!(samples.get("kvlock_last_run_exit_code"), 0.0);
        (output.stdout.trim().to_string(), samples)
    };
    let (word, acquired) = with("acquire", &["acquire", "k"]);
    assert_eq!(acquired.get("kvlock_grants_total"), 1.0);
    let (word, renewed) = with("renew", &["renew", &word]);
    assert_eq!(renewed.get("kvlock_renewals_total"), 1.0);
    with("status", &["status", "k"]);
    with("release", &["release", &word]);
    with("break", &["break", "k"]);
    with("doctor", &["doctor"]);
    with("make", &["semaphore", "make", "pool", "2"]);
    let (_, permit) = with("permit", &["semaphore", "run", "pool", "--", "true"]);
    assert_eq!(permit.sum("kvlock_grants_total", &[("kind", "permit")]), Some(1.0));
    with("list", &["semaphore", "list"]);
}

#[test]
fn the_key_is_a_label_only_where_that_is_asked_for() {
    let world = World::local();
    let key = "a \"key\" with \\ and ü";
    world.ok(["run", key, "--metrics", "job.prom", "--metrics-key-label", "--", "true"]);
    let samples = Samples::read(&world.path("job.prom"));
    assert_eq!(samples.sum("kvlock_grants_total", &[("key", key)]), Some(1.0));
}

#[test]
fn a_file_that_cannot_be_written_is_refused_before_anything_is_locked() {
    let world = World::local();
    fs::create_dir(world.path("folder.prom")).unwrap();
    for (file, part) in [("missing/job.prom", "No such file"), ("folder.prom", "regular"), ("/dev/null", "regular")] {
        let output = world.run(["run", "k", "--metrics", file, "--", "sh", "-c", "echo ran > ran"]);
        assert_eq!(output.code, 64, "{output:?}");
        assert!(output.stderr.contains(part) && output.stderr.contains(file), "{output:?}");
        assert!(!world.path("ran").exists());
    }
    let output = world.kvlock.clone().with("KVLOCK_METRICS", "missing/job.prom").run(["status", "k"]);
    assert_eq!(output.code, 64, "{output:?}");
}

#[test]
fn a_file_that_cannot_be_written_any_more_changes_no_exit_code() {
    let world = World::local();
    fs::create_dir(world.path("there")).unwrap();
    let output = world.run(["run", "k", "--metrics", "there/job.prom", "--", "sh", "-c", "rmdir there; exit 3"]);
    assert_eq!(output.code, 3, "{output:?}");
    assert_eq!(output.stderr.lines().count(), 1, "{output:?}");
    assert!(output.stderr.contains("cannot write metrics to `there/job.prom`"), "{output:?}");
}

#[test]
fn the_command_does_not_replace_the_file_of_its_run() {
    let world = World::local();
    let kvlock = world.kvlock.clone().with("KVLOCK_METRICS", "job.prom");
    let output = kvlock.script("k", &[], "\"$KVLOCK\" run other -- true; ls -A; exit 3");
    assert_eq!(output.code, 3, "{output:?}");
    assert!(!output.stdout.contains("job.prom"), "{output:?}");
    assert_eq!(Samples::read(&world.path("job.prom")).get("kvlock_last_run_exit_code"), 3.0);
}

#[test]
fn nothing_but_the_file_is_left_in_its_folder_and_it_is_whole_at_any_time() {
    let world = World::local();
    fs::create_dir(world.path("there")).unwrap();
    let runs = (0..8).map(|_| world.start(["run", "k", "--metrics", "there/job.prom", "--", "true"]));
    let runs: Vec<_> = runs.collect();
    for run in runs {
        if let Ok(text) = fs::read_to_string(world.path("there/job.prom")) {
            assert!(text.contains("kvlock_last_run_exit_code") && text.ends_with('\n'), "{text}");
        }
        assert_eq!(run.wait().code, 0);
    }
    let left: Vec<_> = fs::read_dir(world.path("there")).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(left, ["job.prom"]);
}
