//! `--also`: several keys at once.

use rustix::process::Signal;
use serde_json::Value;

use super::{SECOND, World, in_both};

#[test]
fn a_command_runs_under_all_keys_or_not_at_all() {
    in_both(|world| {
        let script = "for key in a b c; do \"$KVLOCK\" status --exit-code $key > /dev/null; echo $?; done";
        let output = world.script("b", &["--also", "a", "--also", "c"], script);
        assert_eq!((output.code, output.stdout.as_str()), (0, "75\n75\n75\n"), "{output:?}");
        let holder = world.hold("c", &[]);
        let busy = world.run(["run", "b", "--also", "a", "--also", "c", "--wait", "0", "--", "true"]);
        busy.assert_refused(75, &["`c`"]);
        assert!(world.is_free("a") && world.is_free("b"));
        holder.signal(Signal::TERM);
        holder.wait();
        assert_eq!(world.run(["run", "b", "--also", "a", "--also", "c", "-n", "--", "true"]).code, 0);
    });
}

#[test]
fn the_command_finds_the_token_of_each_key() {
    in_both(|world| {
        let script = "echo $KVLOCK_KEY $KVLOCK_TOKEN; echo \"$KVLOCK_TOKENS\"; \"$KVLOCK\" status --json b";
        let output = world.script("b", &["--also", "a", "--also", "b"], script);
        let mut lines = output.stdout.lines();
        let first: Vec<&str> = lines.next().unwrap().split(' ').collect();
        let tokens: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
        let status: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
        assert_eq!(first, ["b", tokens["b"].as_str().unwrap()], "{output:?}");
        assert_eq!(status["holder"]["token"], tokens["b"]);
        assert_eq!(tokens.as_object().unwrap().len(), 2, "a key that is named twice is one key");
        let alone = world.script("b", &["--also", "b"], "echo ${KVLOCK_TOKENS-none}");
        assert_eq!(alone.stdout, "none\n");
    });
}

#[test]
fn commands_that_name_the_same_keys_in_other_orders_take_turns() {
    in_both(|world| {
        let script = "n=$(cat counter 2> /dev/null || echo 0); sleep 0.02; echo $((n + 1)) > counter";
        let running: Vec<_> = [["a", "b", "c"], ["c", "b", "a"], ["b", "c", "a"], ["c", "a", "b"]]
            .iter()
            .map(|[first, second, third]| {
                world.start(["run", first, "--also", second, "--also", third, "--", "sh", "-c", script])
            })
            .collect();
        for command in running {
            assert_eq!(command.wait().code, 0);
        }
        assert_eq!(world.read("counter"), "4\n");
    });
}

#[test]
fn one_limit_counts_for_the_whole_wait_and_what_was_taken_is_given_back() {
    let world = World::local();
    let _holder = world.hold("b", &[]);
    let output = world.run(["run", "a", "--also", "b", "--wait", "1s", "--", "true"]);
    output.assert_refused(75, &["`b`"]);
    super::assert_waited(&output);
    assert!(world.is_free("a"));
}

#[test]
fn a_wait_that_is_interrupted_while_half_is_held_leaves_nothing_behind() {
    in_both(|world| {
        let _holder = world.hold("b", &[]);
        let waiting = world.start(["run", "a", "--also", "b", "--", "true"]);
        kvlock_tests::kvlock::eventually("the first key", || !world.is_free("a"));
        waiting.signal(Signal::INT);
        let output = waiting.wait();
        assert_eq!(output.code, 130, "{output:?}");
        assert!(world.is_free("a"));
    });
}

#[test]
fn a_waiter_that_is_killed_while_half_is_held_is_followed_when_its_lease_has_ended() {
    let world = World::local();
    let holder = world.hold("b", &[]);
    let waiting = world.start(["run", "a", "--also", "b", "--lease", "2s", "--", "true"]);
    kvlock_tests::kvlock::eventually("the first key", || !world.is_free("a"));
    waiting.signal(Signal::KILL);
    waiting.wait();
    holder.signal(Signal::TERM);
    holder.wait();
    assert_eq!(world.run(["run", "b", "--also", "a", "--wait", "30s", "--", "true"]).code, 0);
}

#[test]
fn if_one_key_is_lost_the_command_ends_and_the_others_are_given_back() {
    in_both(|world| {
        let running = world.start([
            "run",
            "a",
            "--also",
            "b",
            "--also",
            "c",
            "--lease",
            "1500ms",
            "--",
            "sh",
            "-c",
            "echo > ready; sleep 60",
        ]);
        kvlock_tests::kvlock::eventually("the command", || world.path("ready").exists());
        world.ok(["break", "b"]);
        let output = running.wait();
        output.assert_refused(74, &["`b`: lock lost"]);
        assert!(world.is_free("a") && world.is_free("b") && world.is_free("c"));
        std::fs::remove_file(world.path("ready")).unwrap();
    });
}

#[test]
fn a_word_of_several_keys_is_renewed_and_released_as_one() {
    in_both(|world| {
        let acquired: Value = serde_json::from_str(&world.ok(["acquire", "b", "--also", "a", "--json"])).unwrap();
        let tokens = acquired["tokens"].as_object().unwrap();
        assert_eq!((acquired["key"].as_str(), acquired["token"].as_str()), (Some("b"), tokens["b"].as_str()));
        let word = acquired["grant"].as_str().unwrap();
        let renewed = world.ok(["renew", word]);
        world.run(["release", word]).assert_refused(77, &[]);
        let released: Value = serde_json::from_str(&world.ok(["release", "--json", &renewed])).unwrap();
        assert_eq!(released["keys"], serde_json::json!(["b", "a"]), "{released}");
        assert!(world.is_free("a") && world.is_free("b"));
        world.run(["release", &renewed]).assert_refused(77, &["`b` and 1 more"]);
    });
}

#[test]
fn readers_share_all_keys_and_nobody_has_one_of_them_alone() {
    let world = World::local();
    let reader = world.hold("a", &["--also", "b", "--shared"]);
    assert_eq!(world.run(["run", "b", "--also", "c", "--shared", "-n", "--", "true"]).code, 0);
    assert_eq!(world.run(["run", "c", "--also", "b", "-n", "--", "true"]).code, 75);
    drop(reader);
}

#[test]
fn a_nested_run_of_keys_that_the_outer_one_has_runs_at_once_and_of_others_is_refused() {
    let world = World::local();
    for (inner, code) in
        [("run b --reentrant", 0), ("run b --also a --reentrant", 0), ("run b --also z --reentrant", 64)]
    {
        let script = format!("\"$KVLOCK\" {inner} -n -- true");
        let output = world.script("a", &["--also", "b", "--also", "c"], &script);
        assert_eq!(output.code, code, "{inner}: {output:?}");
    }
}

#[test]
fn a_minimum_hold_keeps_all_keys_and_what_did_not_run_keeps_none() {
    let world = World::local();
    assert_eq!(world.run(["run", "a", "--also", "b", "--at-least", "1h", "--", "true"]).code, 0);
    assert!(!world.is_free("a") && !world.is_free("b"));
    assert_eq!(world.run(["run", "c", "--also", "a", "--at-least", "1h", "-n", "--", "true"]).code, 75);
    assert!(world.is_free("c"));
    let failed = ["run", "d", "--also", "e", "--at-least", "1h", "--unless-failed", "--", "false"];
    assert_eq!(world.run(failed).code, 1);
    assert!(world.is_free("d") && world.is_free("e"));
}

#[test]
fn an_outage_while_half_is_held_is_ridden_out() {
    let mut world = World::memcached();
    let holder = world.hold("b", &["--lease", "60s"]);
    let waiting = world.start(["run", "a", "--also", "b", "--lease", "60s", "--wait", "90s", "--", "true"]);
    kvlock_tests::kvlock::eventually("the first key", || !world.is_free("a"));
    world.server().stop();
    std::thread::sleep(2 * SECOND);
    world.server().cont();
    holder.signal(Signal::TERM);
    holder.wait();
    let output = waiting.wait();
    assert_eq!(output.code, 0, "{output:?}");
}

#[test]
fn soft_mode_runs_without_any_of_the_keys_while_the_store_is_down() {
    let mut world = World::memcached();
    world.server().kill();
    let output = world.run(["run", "a", "--also", "b", "--soft", "--", "sh", "-c", "echo ${KVLOCK_TOKENS-none}"]);
    assert_eq!((output.code, output.stdout.as_str()), (0, "none\n"), "{output:?}");
}

#[test]
fn what_several_keys_cannot_have_is_refused_by_the_command_line() {
    let world = World::local();
    let retried = world.run(["run", "a", "--also", "b", "--retry-on", "3", "--", "true"]);
    assert_eq!(retried.code, 64, "{retried:?}");
    let empty = world.run(["run", "a", "--also", "", "--", "true"]);
    assert_eq!(empty.code, 64, "{empty:?}");
}
