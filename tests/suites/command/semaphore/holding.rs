//! Permits: commands that run with one, scripts that have one in hand, and how permits come back.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kvlock_tests::Watch;
use kvlock_tests::kvlock::{await_listener, eventually, is_alive};
use rustix::process::Signal;

use super::super::{SECOND, World, in_both};
use super::{end, json};

#[test]
fn as_many_commands_as_the_size_run_at_a_time() {
    in_both(|world| {
        world.make("pool", 2);
        let (first, second) = (world.hold_permit("pool", &["--owner", "somebody"]), world.hold_permit("pool", &[]));
        let refused = world.try_permit("pool");
        refused.assert_says(75, &["`pool` is busy: 2 of 2 permits are held", "one is held by", "since", "until"]);
        let code = ["run", "pool", "--wait", "0", "--conflict-exit-code", "9", "--", "true"];
        assert_eq!(world.semaphore(&code).code, 9);
        assert_eq!(world.semaphore(&["acquire", "pool", "--wait", "0"]).code, 75);
        end(first);
        assert_eq!(world.try_permit("pool").code, 0);
        end(second);
        assert_eq!(world.held("pool"), 0);
    });
}

#[test]
fn a_command_waits_for_a_permit_as_long_as_was_asked_for_or_until_one_is_back() {
    in_both(|world| {
        world.make("pool", 1);
        let holder = world.hold_permit("pool", &[]);
        let output = world.semaphore(&["run", "pool", "--wait", "1s", "--", "true"]);
        assert_eq!(output.code, 75, "{output:?}");
        assert!(output.took >= SECOND, "{output:?}");
        output.assert_within(SECOND * 8 / 5);
        super::super::assert_waited(&output);
        let mut waiter = world.start(["semaphore", "run", "pool", "--", "echo", "my turn"]);
        std::thread::sleep(SECOND / 2);
        assert!(waiter.is_running());
        end(holder);
        let output = waiter.wait();
        assert_eq!((output.code, output.stdout.as_str()), (0, "my turn\n"));
    });
}

#[test]
fn the_command_is_told_the_semaphore_permit_owner_token_and_deadline() {
    let script = "echo \"$KVLOCK_KEY|$KVLOCK_OWNER|$KVLOCK_PERMIT|$KVLOCK_TOKEN|$KVLOCK_DEADLINE\"; \
                  \"$KVLOCK\" semaphore status --json \"$KVLOCK_KEY\"";
    in_both(|world| {
        world.make("a pool", 3);
        let before = SystemTime::now();
        let options = ["run", "a pool", "--owner", "an owner", "--lease", "20s", "--", "sh", "-c", script];
        let output = world.semaphore(&options);
        let (variables, status) = output.stdout.split_once('\n').unwrap_or_else(|| panic!("{output:?}"));
        let parts: Vec<&str> = variables.split('|').collect();
        let [key, owner, permit, token, deadline] = parts[..] else { panic!("{output:?}") };
        assert_eq!((key, owner), ("a pool", "an owner"));
        let holder = &json(status)["holders"][0];
        assert_eq!((holder["permit"].to_string().as_str(), holder["token"].as_str().unwrap()), (permit, token));
        assert!((0..3).contains(&permit.parse().unwrap()), "{permit}");
        let deadline = UNIX_EPOCH + Duration::from_secs_f64(deadline.parse().unwrap());
        let left = deadline.duration_since(before).unwrap();
        assert!(left > 18 * SECOND && left < 21 * SECOND, "{left:?}");
    });
}

#[test]
fn a_lock_under_a_permit_has_no_permit_of_its_own() {
    let world = World::local();
    world.make("pool", 1);
    let nested = "\"$KVLOCK\" run k -- sh -c 'echo $KVLOCK_KEY ${KVLOCK_PERMIT-none}'";
    let output = world.semaphore(&["run", "pool", "--", "sh", "-c", nested]);
    assert_eq!((output.code, output.stdout.as_str()), (0, "k none\n"));
}

#[test]
fn the_exit_code_is_the_commands_own_and_the_permit_is_back() {
    let world = World::local();
    world.make("pool", 1);
    for code in [0, 1, 64, 75, 255] {
        let output = world.semaphore(&["run", "pool", "--", "sh", "-c", &format!("exit {code}")]);
        assert_eq!((output.code, output.stderr.as_str()), (code, ""));
    }
    let killed = world.semaphore(&["run", "pool", "--", "sh", "-c", "kill -9 $$; sleep 5"]);
    assert_eq!((killed.code, killed.stderr.as_str()), (137, ""));
    std::fs::write(world.path("text"), "no program").unwrap();
    for (program, code) in [("./text", 126), ("no-such-program", 127)] {
        let output = world.semaphore(&["run", "pool", "--", program]);
        output.assert_says(code, &[]);
    }
    assert_eq!(world.held("pool"), 0);
}

#[test]
fn signals_are_passed_on_to_a_command_with_a_permit() {
    let world = World::local();
    world.make("pool", 1);
    for (signal, name) in [(Signal::TERM, "TERM"), (Signal::INT, "INT"), (Signal::USR1, "USR1")] {
        let script = format!("trap 'exit 40' {name}; echo > ready-{name}; while :; do sleep 0.1; done");
        let holder = world.start(["semaphore", "run", "pool", "--", "sh", "-c", &script]);
        eventually("the start", || world.path(&format!("ready-{name}")).exists());
        holder.signal(signal);
        assert_eq!(holder.wait().code, 40);
        assert_eq!(world.held("pool"), 0);
    }
}

#[test]
fn a_signal_ends_the_wait_for_a_permit_at_once_and_nothing_is_held_after() {
    in_both(|world| {
        world.make("pool", 1);
        let holder = world.hold_permit("pool", &[]);
        let mut waiter = world.start(["semaphore", "run", "pool", "--", "sh", "-c", "echo > ran"]);
        await_listener(waiter.id(), Signal::INT);
        std::thread::sleep(SECOND / 4);
        assert!(waiter.is_running());
        let told = Watch::start();
        waiter.signal(Signal::INT);
        let output = waiter.wait();
        told.assert_within(SECOND / 2);
        output.assert_says(130, &["`pool`: the wait was interrupted"]);
        end(holder);
        assert!(world.held("pool") == 0 && !world.path("ran").exists());
    });
}

#[test]
fn a_permit_is_renewed_for_as_long_as_the_command_runs() {
    in_both(|world| {
        world.make("pool", 1);
        let holder = world.hold_permit("pool", &["--lease", "1s"]);
        let started = Instant::now();
        // Past what memcached keeps a lease of a second, too.
        while started.elapsed() < 5 * SECOND {
            assert_eq!(world.try_permit("pool").code, 75);
            std::thread::sleep(SECOND / 5);
        }
        end(holder);
    });
}

#[test]
fn a_broken_permit_ends_its_command_with_74_and_others_run_on() {
    in_both(|world| {
        world.make("pool", 2);
        let other = world.hold_permit("pool", &["--lease", "2s", "--owner", "other"]);
        let number = world.standing("pool")["holders"][0]["permit"].to_string();
        let options = ["semaphore", "run", "pool", "--lease", "2s", "--owner", "broken", "--"];
        let broken = world.start(options.iter().chain(&["sh", "-c", "echo $$ $KVLOCK_PERMIT > pid; exec sleep 60"]));
        let line = world.await_line("pid");
        let (pid, permit) = line.split_once(' ').unwrap();
        assert_ne!(permit, number);
        let told = world.ok(["semaphore", "break", "pool", permit]);
        assert!(told.starts_with(&format!("pool: permit {permit}: broken; it was held by broken")), "{told}");
        let again = world.ok(["semaphore", "break", "pool", permit]);
        assert_eq!(again, format!("pool: permit {permit}: free, nothing to break"));
        let output = broken.wait();
        output.assert_says(74, &["`pool`", "lost"]);
        assert!(!is_alive(pid.parse().unwrap()));
        assert_eq!(world.standing("pool")["holders"][0]["owner"], "other");
        end(other);
    });
}

#[test]
fn a_permit_acquired_in_one_process_is_renewed_in_another_and_released_in_a_third() {
    in_both(|world| {
        world.make("pool", 2);
        let acquire = ["semaphore", "acquire", "pool", "--lease", "20s", "--owner", "me", "--json"];
        let (first, second) = (json(&world.ok(acquire)), json(&world.ok(acquire)));
        assert_eq!((&first["key"], &first["owner"]), (&"pool".into(), &"me".into()), "{first}");
        assert_ne!(first["permit"], second["permit"]);
        assert_eq!(world.try_permit("pool").code, 75);
        let renewed = world.ok(["renew", first["grant"].as_str().unwrap(), "--lease", "40s"]);
        let old = world.run(["release", first["grant"].as_str().unwrap()]);
        old.assert_says(77, &[]);
        assert_eq!(world.ok(["release", &renewed]), "");
        assert_eq!(world.held("pool"), 1);
        assert_eq!(world.standing("pool")["holders"][0]["permit"], second["permit"]);
        let word = world.ok(["semaphore", "acquire", "pool"]);
        assert!(!word.contains(char::is_whitespace), "{word}");
        assert_eq!(world.try_permit("pool").code, 75);
    });
}

#[test]
fn a_permit_is_broken_by_the_token_that_was_seen_and_by_no_other() {
    in_both(|world| {
        world.make("pool", 1);
        let seen = world.ok(["semaphore", "acquire", "pool"]);
        let token = world.standing("pool")["holders"][0]["token"].as_str().unwrap().to_owned();
        world.ok(["release", &seen]);
        let held = world.ok(["semaphore", "acquire", "pool", "--owner", "next"]);
        let break_it = |token: &str| world.semaphore(&["break", "pool", "0", "--if-token", token]);
        let other = break_it(&token);
        assert!(other.code == 77 && other.stdout.contains("held by next"), "{other:?}");
        world.ok(["renew", &held]);
        let token = world.standing("pool")["holders"][0]["token"].as_str().unwrap().to_owned();
        let ended = break_it(&token);
        assert!(ended.code == 0 && ended.stdout.contains("broken"), "{ended:?}");
        assert_eq!((world.held("pool"), break_it(&token).code), (0, 0));
    });
}

#[test]
fn the_permit_of_a_killed_holder_comes_back_after_the_lease_and_not_before() {
    in_both(|world| {
        // memcached keeps whole seconds and two more.
        let late = if world.server.is_some() { 5 * SECOND } else { 2 * SECOND };
        world.make("pool", 1);
        let started = Instant::now();
        let holder = world.hold_permit("pool", &["--lease", "3s"]);
        let granted = Watch::start();
        holder.signal(Signal::KILL);
        assert_eq!(world.try_permit("pool").code, 75);
        assert_eq!(world.semaphore(&["run", "pool", "--", "true"]).code, 0);
        assert!(started.elapsed() > 3 * SECOND, "before the lease ended: {:?}", started.elapsed());
        granted.assert_within(3 * SECOND + late);
    });
}
