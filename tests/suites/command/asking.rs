//! `kvlock ask`: a polite break, and who hears it.

use kvlock_tests::kvlock::eventually;
use serde_json::Value;

use super::{World, in_both};

fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line:?}"))
}

/// A command that notes each signal of its trap in the file `asked`, and goes on.
const NOTES: &str = "trap 'echo asked >> asked' USR1; touch ready; while :; do sleep 0.05; done";

#[test]
fn a_command_gets_the_signal_once_for_each_ask_and_who_asks_sees_that_it_was_heard() {
    in_both(|world| {
        let options =
            ["run", "k", "--owner", "worker", "--lease", "1s", "--on-wanted", "USR1", "--", "sh", "-c", NOTES];
        let mut holder = world.start(options);
        eventually("the command", || world.path("ready").exists());
        for times in 1..=2 {
            let told = world.ok(["ask", "k", "--owner", "deploy", "--note", "the release waits"]);
            assert!(told.starts_with("k: heard; it is held by worker"), "{told}");
            eventually("the signal", || world.read("asked").lines().count() == times);
        }
        // Several renewals later it is the same.
        let now = std::time::Instant::now();
        eventually("some renewals", || now.elapsed() > std::time::Duration::from_secs(2));
        assert_eq!(world.read("asked").lines().count(), 2);
        assert!(holder.is_running() && !world.is_free("k"));
        holder.signal(rustix::process::Signal::TERM);
        holder.exit();
    });
}

#[test]
fn a_command_that_is_to_end_gives_the_lock_back() {
    let world = World::local();
    let mut holder = world.hold("k", &["--lease", "1s", "--on-wanted", "TERM"]);
    let told = world.ok(["ask", "k"]);
    assert!(told.starts_with("k: heard; ") || told == "k: given back; it is free", "{told}");
    assert_eq!(holder.exit(), 143, "as the command: it died of the signal");
    eventually("a free lock", || world.is_free("k"));
    assert_eq!(world.ok(["ask", "k"]), "k: free, nobody to ask");
}

#[test]
fn without_the_option_a_line_says_who_asks_and_why() {
    let world = World::local();
    let holder = world.start(["run", "k", "--lease", "1s", "--", "sh", "-c", "touch ready; exec sleep 60"]);
    eventually("the command", || world.path("ready").exists());
    world.ok(["ask", "k", "--owner", "deploy", "--note", "the release waits"]);
    holder.signal(rustix::process::Signal::TERM);
    let output = holder.wait();
    assert!(output.stderr.contains("`k`: deploy (") && output.stderr.contains(") asks for it: \"the release waits\""));
    assert_eq!(output.stderr.matches("asks for it").count(), 1, "{output:?}");
}

#[test]
fn what_nobody_hears_is_told_and_what_is_given_back_meanwhile_too() {
    in_both(|world| {
        let word = world.ok(["acquire", "k", "--owner", "script", "--lease", "10m"]);
        let unheard = world.run(["ask", "k", "--wait", "0"]);
        assert_eq!(unheard.code, 75);
        assert!(unheard.stdout.starts_with("k: asked, and not heard yet; it is held by script"), "{unheard:?}");
        let waits = world.run(["ask", "k", "--wait", "1s", "--json"]);
        assert_eq!((waits.code, &json(&waits.stdout)["asked"]), (75, &"unheard".into()));
        // The script hears it when it renews.
        let renewed = world.run(["renew", &word]);
        assert!(renewed.stderr.contains("asks for it") && renewed.code == 0, "{renewed:?}");
        let word = renewed.stdout.trim().to_string();
        let again = json(&world.ok(["renew", &word, "--json"]));
        assert!(again["wanted"]["owner"].is_string() && again["wanted"]["host"].is_string(), "{again}");
        let asks = world.start(["ask", "k", "--json", "--wait", "1m"]);
        world.ok(["release", again["grant"].as_str().unwrap()]);
        let output = asks.wait();
        let told = json(&output.stdout);
        let fine = told["asked"] == "released" || told["asked"] == "free" || told["asked"] == "heard";
        assert!(output.code == 0 && fine, "{told}");
    });
}

#[test]
fn nobody_is_asked_where_nobody_works() {
    in_both(|world| {
        assert_eq!(json(&world.ok(["ask", "k", "--json"]))["asked"], "free");
        let kept = world.ok(["acquire", "k", "--at-least", "1h", "--owner", "hourly"]);
        world.ok(["release", &kept]);
        let told = world.run(["ask", "k"]);
        assert!(told.code == 75 && told.stdout.starts_with("k: nobody to ask; it is released by hourly"), "{told:?}");
        assert_eq!(json(&world.run(["ask", "k", "--json"]).stdout)["asked"], "kept");
        for bad in ["", "one\ntwo"] {
            let refused = world.run(["ask", "k", "--note", bad]);
            assert!(refused.code == 64 && refused.stderr.contains("the note has"), "{refused:?}");
        }
        assert_eq!(world.run(["ask", "k", "--store", "memcached://127.0.0.1:1"]).code, 69);
    });
}

#[test]
fn readers_are_all_asked_and_permits_by_their_number() {
    in_both(|world| {
        let _readers = ["one", "two"].map(|owner| world.hold("data", &["--shared", "--lease", "1s", "--owner", owner]));
        let told = world.ok(["ask", "data"]);
        assert!(told.starts_with("data: heard; it is shared by 2 readers"), "{told}");
        world.ok(["semaphore", "make", "pool", "2"]);
        let _held = world.hold_permit("pool", &["--lease", "1s", "--owner", "encoder"]);
        let status = json(&world.ok(["semaphore", "status", "pool", "--json"]));
        let permit = status["holders"][0]["permit"].as_u64().unwrap();
        let told = world.ok(["semaphore", "ask", "pool", &permit.to_string()]);
        assert!(told.starts_with(&format!("pool: permit {permit}: heard; it is held by encoder")), "{told}");
        let free = json(&world.ok(["semaphore", "ask", "pool", &(1 - permit).to_string(), "--json"]));
        assert_eq!((&free["asked"], &free["semaphore"]), (&"free".into(), &"pool".into()));
        let unknown = world.run(["semaphore", "ask", "pond", "0"]);
        assert_eq!(unknown.code, 64, "{unknown:?}");
        assert_eq!(world.run(["semaphore", "ask", "pool", "7"]).code, 64);
    });
}

#[test]
fn a_signal_ends_the_wait_and_the_ask_stands() {
    let world = World::local();
    world.ok(["acquire", "k", "--lease", "10m"]);
    let asks = world.start(["ask", "k", "--wait", "1m", "--owner", "deploy"]);
    kvlock_tests::kvlock::await_listener(asks.id(), rustix::process::Signal::INT);
    eventually("an ask in the store", || {
        std::fs::read(world.path("locks.db")).is_ok_and(|file| file.windows(6).any(|part| part == b"\nask: "))
    });
    asks.signal(rustix::process::Signal::INT);
    let output = asks.wait();
    assert!(output.code == 130 && output.stderr.contains("the ask stands"), "{output:?}");
}

#[test]
fn a_signal_that_is_none_is_refused() {
    let world = World::local();
    for bad in ["NOSUCH", "0", "-1", "999"] {
        let refused = world.run(["run", "k", &format!("--on-wanted={bad}"), "--", "true"]);
        assert!(refused.code == 64 && refused.stderr.contains("give the name of a signal"), "{bad}: {refused:?}");
    }
    for fine in ["USR1", "SIGUSR1", "usr1", "10"] {
        world.ok(["run", "k", "--on-wanted", fine, "--", "true"]);
    }
}
