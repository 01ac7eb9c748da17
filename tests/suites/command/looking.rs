//! What shows: status, break, doctor, component, completions, help.

use kvlock_testkit::{MemcachedServer, process};
use kvlock_tests::Kvlock;
use kvlock_tests::kvlock::eventually;
use serde_json::Value;

use super::{World, in_both};

fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line:?}"))
}

#[test]
fn the_status_tells_owner_since_and_until() {
    in_both(|world| {
        assert_eq!(world.ok(["status", "k"]), "k: free");
        let _holder = world.hold("k", &["--owner", "somebody", "--lease", "20s"]);
        let text = world.ok(["status", "k", "other"]);
        let [held, free] = text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
        for part in ["k: held by somebody", " since 2", ", until 2", "unless renewed"] {
            assert!(held.contains(part), "{part}: {text}");
        }
        assert_eq!(free, "other: free");
        let text = world.ok(["--json", "status", "k", "other"]);
        let [held, free] = text.lines().map(json).collect::<Vec<_>>().try_into().unwrap();
        assert_eq!((&held["key"], &held["state"]), (&"k".into(), &"held".into()));
        assert_eq!((&held["holder"]["owner"], &held["holder"]["lease"]), (&"somebody".into(), &20.0.into()));
        for field in ["since", "until"] {
            assert!(held["holder"][field].as_str().is_some_and(|text| text.ends_with('Z')), "{held}");
        }
        assert_eq!((&free["state"], &free["holder"]), (&"free".into(), &Value::Null));
    });
}

#[test]
fn in_quarantine_nothing_is_called_free() {
    let world = World::memcached();
    world.ok(["semaphore", "make", "pool", "2"]);
    let quarantine = ["--quarantine", "1h"];
    for look in [["status", "k"].as_slice(), &["semaphore", "status", "pool"], &["semaphore", "list"]] {
        let text = world.ok(look.iter().chain(&quarantine));
        assert!(text.contains("; nothing is granted for 3") && text.contains("(quarantine)"), "{text}");
        let told = json(&world.ok(look.iter().chain(&quarantine).chain(&["--json"])));
        let left = told["quarantine"].as_f64().expect("seconds");
        assert!((3000.0..=3600.0).contains(&left), "{told}");
        assert!(!text.contains("free") && told["state"] != "free", "{text} {told}");
        assert_eq!(json(&world.ok(look.iter().chain(&["--json"])))["quarantine"], Value::Null);
    }
    assert_eq!(world.run(["status", "k", "--exit-code", "--quarantine", "1h"]).code, 75);
    // What is not there may have been forgotten, too.
    let unknown = world.run(["semaphore", "status", "pond", "--quarantine", "1h"]);
    assert!(unknown.code == 64 && unknown.stderr.contains("(quarantine)"), "{unknown:?}");
    world.ok(["semaphore", "destroy", "pool"]);
    let none = world.run(["semaphore", "list", "--quarantine", "1h"]);
    assert!(none.code == 0 && none.stdout.is_empty() && none.stderr.contains("(quarantine)"), "{none:?}");
    assert_eq!(world.run(["semaphore", "list"]).stderr, "");
    assert_eq!(world.run(["status", "k", "--exit-code"]).code, 0);
}

#[test]
fn the_status_counts_waiters() {
    in_both(|world| {
        let _holder = world.hold("k", &[]);
        let _waiter = world.start(["run", "k", "--", "true"]);
        eventually("a waiter", || json(&world.ok(["status", "k", "--json"]))["waiters"] == 1);
        let text = world.ok(["status", "k"]);
        assert!(text.ends_with("; 1 waiting"), "{text}");
    });
}

#[test]
fn breaking_tells_whose_the_lock_was() {
    in_both(|world| {
        assert_eq!(world.ok(["break", "k"]), "k: free, nothing to break");
        world.ok(["acquire", "k", "--owner", "somebody"]);
        let text = world.ok(["break", "k"]);
        assert!(text.starts_with("k: broken") && text.contains("somebody") && text.lines().count() == 1, "{text}");
        world.ok(["acquire", "k", "--owner", "somebody"]);
        assert_eq!(json(&world.ok(["break", "k", "--json"]))["broken"]["owner"], "somebody");
        assert_eq!(json(&world.ok(["break", "k", "--json"]))["broken"], Value::Null);
    });
}

#[test]
fn breaking_with_the_token_of_the_status_ends_that_grant_and_no_other() {
    in_both(|world| {
        let seen = world.ok(["acquire", "k", "--owner", "seen"]);
        let status = world.ok(["status", "k"]);
        let token = status.rsplit("token ").next().unwrap();
        world.ok(["release", &seen]);
        let held = world.ok(["acquire", "k", "--owner", "next", "--lease", "5m"]);
        let other = world.run(["break", "k", "--if-token", token]);
        assert_eq!(other.code, 77, "{other:?}");
        assert!(other.stdout.starts_with("k: not broken") && other.stdout.contains("held by next"), "{other:?}");
        let told = json(&world.run(["break", "k", "--if-token", token, "--json"]).stdout);
        assert_eq!((&told["broken"], &told["holder"]["owner"]), (&Value::Null, &"next".into()));
        world.ok(["renew", &held]);
        let status = world.ok(["status", "k"]);
        let ended = world.ok(["break", "k", "--if-token", status.rsplit("token ").next().unwrap()]);
        assert!(ended.starts_with("k: broken; it was held by next"), "{ended}");
        assert!(ended.contains("; it may be at work until 2") && !ended.contains("unless"), "{ended}");
        assert!(world.is_free("k"));
    });
}

#[test]
fn a_key_or_name_cannot_write_on_the_terminal() {
    in_both(|world| {
        let key = "a\u{1b}[31m\nb";
        world.ok(["acquire", key, "--owner", "red\u{1b}[31m\nname"]);
        let busy = world.run(["run", key, "--wait", "0", "--", "true"]);
        busy.assert_says(75, &[]);
        for text in [busy.stderr, world.ok(["status", key]), world.ok(["break", key]), world.ok(["break", key])] {
            assert_eq!(text.lines().count(), 1, "{text:?}");
            assert!(!text.contains('\u{1b}'), "{text:?}");
        }
        assert_eq!(json(&world.ok(["status", "--json", key]))["key"], key);
    });
}

#[test]
fn the_doctor_is_content_with_a_good_store() {
    in_both(|world| {
        let text = world.ok(["doctor"]);
        assert!(text.lines().count() > 3 && !text.contains("UNFIT"), "{text}");
        assert!(text.lines().last().unwrap().starts_with("fit"), "{text}");
        for finding in world.ok(["doctor", "--json"]).lines().map(json) {
            assert!(["ok", "warning"].contains(&finding["severity"].as_str().unwrap()), "{finding}");
            assert!(finding["subject"].is_string() && finding["check"].is_string() && finding["text"].is_string());
        }
    });
}

#[test]
fn the_doctor_gives_69_for_an_unfit_or_dead_server() {
    let mut server = MemcachedServer::start_with(&["-C"]);
    let folder = tempfile::tempdir().unwrap();
    let kvlock = Kvlock::on(&server.url(), folder.path());
    for part in ["-C", "refused"] {
        let output = kvlock.run(["doctor"]);
        assert_eq!(output.code, 69, "{output:?}");
        let unfit: Vec<_> = output.stdout.lines().filter(|line| line.starts_with("UNFIT")).collect();
        assert!(unfit.len() == 1 && unfit[0].contains(part), "{output:?}");
        assert!(output.stdout.lines().last().unwrap().starts_with("unfit: "), "{output:?}");
        server.kill();
    }
}

#[test]
fn the_component_comes_out_byte_by_byte() {
    let world = World::local();
    assert_eq!(world.ok(["component"]), "");
    assert!(std::fs::read(world.path("kvlock.wasm")).unwrap() == kvlock::COMPONENT);
    let (code, _, [stdout, _]) = world.start(["component", "-"]).wait_bytes();
    assert!(code == 0 && stdout == kvlock::COMPONENT);
    assert_eq!(world.run(["component", "no-such-folder/x.wasm"]).code, 64);
}

#[test]
fn the_component_tells_its_version_its_digest_and_its_size() {
    let world = World::local();
    let told = json(&world.ok(["component", "c.wasm", "--json"]));
    let sum = process::command("sha256sum").arg(world.path("c.wasm")).output().unwrap();
    let digest = String::from_utf8(sum.stdout).unwrap().split(' ').next().unwrap().to_string();
    assert_eq!(told["sha256"], digest);
    assert_eq!((&told["path"], &told["version"]), (&"c.wasm".into(), &env!("CARGO_PKG_VERSION").into()));
    assert_eq!(told["size"], std::fs::metadata(world.path("c.wasm")).unwrap().len());
}

#[test]
fn there_are_completions_for_every_shell() {
    let world = World::local();
    for shell in ["bash", "zsh", "fish"] {
        let script = world.ok(["completions", shell]);
        assert!(script.contains("kvlock") && script.contains("quarantine"), "{shell}");
    }
    let bash = world.ok(["completions", "bash"]);
    std::fs::write(world.path("completions"), bash).unwrap();
    let check = process::command("bash").arg("-n").arg(world.path("completions")).status().unwrap();
    assert!(check.success());
}

#[test]
fn the_help_teaches() {
    let world = World::local();
    let help = world.ok(["--help"]);
    for part in
        ["Examples:", "kvlock run", "kvlock acquire", "Exit codes", "memcached://", "64", "69", "74", "75", "77"]
    {
        assert!(help.contains(part), "{part}: {help}");
    }
    let run = world.ok(["run", "--help"]);
    for part in ["KVLOCK_TOKEN", "KVLOCK_DEADLINE", "TERM", "74", "no shell"] {
        assert!(run.contains(part), "{part}: {run}");
    }
    for subcommand in ["acquire", "release", "renew", "break"] {
        let help = world.ok([subcommand, "--help"]);
        let about = help.split("\n\nUsage:").next().unwrap();
        assert!(about.len() > 80, "{subcommand}: {about}");
    }
    assert!(world.ok(["--version"]).starts_with("kvlock 0."));
    assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
    for line in help.split("Exit codes").nth(1).unwrap().lines() {
        assert!(line.chars().count() <= 90, "it is not wrapped: {line}");
    }
    for part in ["<KEY>", "Options:\n      --also", "\nOptions of every subcommand:\n      --store"] {
        assert!(run.contains(part), "{part}: {run}");
    }
}

#[test]
fn the_script_in_the_help_exits_as_its_last_command_does_and_releases_only_what_it_has() {
    let world = World::local();
    let help = world.ok(["--help"]);
    let lines = help.lines().skip_while(|line| !line.contains("Hold a lock over")).skip(1);
    let lines: Vec<_> = lines.take_while(|line| !line.trim().is_empty()).collect();
    let script = lines.join("\n").replace("kvlock ", "\"$KVLOCK\" ");
    assert!(script.contains("./deploy.sh") && script.contains("acquire deploy"), "{script}");
    std::fs::write(world.path("script"), script).unwrap();
    let write = |text: &str| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::write(world.path("deploy.sh"), format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(world.path("deploy.sh"), std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    let start = |shell: &str| kvlock_tests::kvlock::Running::start(world.command_of(shell.as_ref(), ["script"]));
    for shell in ["sh", "bash"] {
        for code in [0, 7] {
            write(&format!("touch ran; \"$KVLOCK\" status --exit-code deploy; [ $? = 75 ] && exit {code}"));
            let output = start(shell).wait();
            assert_eq!((output.code, output.stderr.as_str()), (code, ""), "{shell}: {output:?}");
            assert!(world.is_free("deploy"));
            std::fs::remove_file(world.path("ran")).unwrap();
        }
        write("echo $PPID > pid; sleep 1");
        let mut interrupted = start(shell);
        world.await_line("pid");
        interrupted.signal(rustix::process::Signal::TERM);
        assert_ne!(interrupted.exit(), 0, "{shell}");
        assert!(world.is_free("deploy"), "{shell}: released by who is interrupted");
        std::fs::remove_file(world.path("pid")).unwrap();

        let holder = world.hold("deploy", &[]);
        write("touch ran");
        let mut command = world.command_of(shell.as_ref(), ["script"]);
        command.env("KVLOCK_WAIT", "0");
        let busy = kvlock_tests::kvlock::Running::start(command).wait();
        assert_eq!(busy.code, 75, "{shell}: {busy:?}");
        assert!(!world.path("ran").exists() && !world.is_free("deploy"));
        drop(holder);
        world.ok(["break", "deploy"]);
    }
}

#[test]
fn a_reader_that_has_gone_is_no_reason_to_panic() {
    let world = World::local();
    let script = "\"$KVLOCK\" run --help | true; \"$KVLOCK\" completions bash | true; \"$KVLOCK\" status a b c | true; \
        \"$KVLOCK\" doctor | true; \"$KVLOCK\" component - | true";
    let command = world.command_of("sh".as_ref(), ["-c", script]);
    let output = kvlock_tests::kvlock::Running::start(command).wait();
    assert!(!output.stderr.contains("panicked"), "{output:?}");
}

#[test]
fn in_quarantine_doctor_says_for_how_long() {
    let mut world = World::memcached();
    world.server().flush();
    let doctor = |quarantine: &str| world.kvlock.clone().with("KVLOCK_QUARANTINE", quarantine).ok(["doctor", "--json"]);
    let told = doctor("1h");
    let line = told.lines().find(|line| line.contains("\"quarantine\":")).expect("a finding with the field");
    let told = json(line);
    let left = told["quarantine"].as_f64().unwrap();
    assert!((3000.0..=3600.0).contains(&left), "{told}");
    assert!(told["check"] == "quarantine" && told["severity"] == "warning", "{told}");
    let plain = world.kvlock.clone().with("KVLOCK_QUARANTINE", "1h").ok(["doctor"]);
    assert!(plain.contains("quarantine: nothing is granted for 3"), "{plain}");
    assert!(!doctor("0").contains("quarantine"));
}
