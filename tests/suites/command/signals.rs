//! Signals reach the command; while there is none yet they end the wait.

use kvlock_tests::Watch;
use kvlock_tests::kvlock::{Running, eventually};
use rustix::process::{Pid, Signal, kill_process};

use super::{SECOND, World, in_both};

const SIGNALS: [(Signal, &str); 6] = [
    (Signal::TERM, "TERM"),
    (Signal::HUP, "HUP"),
    (Signal::INT, "INT"),
    (Signal::USR1, "USR1"),
    (Signal::USR2, "USR2"),
    (Signal::QUIT, "QUIT"),
];

#[test]
fn signals_are_passed_on_and_the_exit_code_is_the_commands() {
    let world = World::local();
    for (signal, name) in SIGNALS {
        let script = format!(
            "trap 'echo got {name}; exit 40' {name}; echo > ready-{name}; while :; do sleep 1; done 2> /dev/null"
        );
        let holder = world.start_script(name, &[], &script);
        eventually("the start", || world.path(&format!("ready-{name}")).exists());
        holder.signal(signal);
        let output = holder.wait();
        assert_eq!((output.code, output.stdout), (40, format!("got {name}\n")));
        assert!(world.is_free(name));
    }
}

#[test]
fn a_command_may_go_on_after_a_signal_and_keeps_the_lock() {
    let world = World::local();
    let script = "trap 'echo > told' TERM; echo > ready; while ! [ -e end ]; do sleep 0.05; done; exit 9";
    let mut holder = world.start_script("k", &[], script);
    eventually("the start", || world.path("ready").exists());
    holder.signal(Signal::TERM);
    eventually("the signal", || world.path("told").exists());
    assert!(holder.is_running() && !world.is_free("k"));
    std::fs::write(world.path("end"), "").unwrap();
    assert_eq!(holder.exit(), 9);
}

#[test]
fn a_signal_ends_a_wait_at_once_and_nothing_is_held_after() {
    in_both(|world| {
        // Nothing but the terminal's size and its stop is for the command only.
        for (signal, _) in SIGNALS.into_iter().chain([(Signal::ALARM, "ALRM")]) {
            let code = 128 + signal.as_raw();
            let key = &format!("k{code}");
            let holder = world.hold(key, &[]);
            let mut waiter = world.start(["run", key, "--", "sh", "-c", "echo > ran"]);
            world.await_waiters(key, 1);
            assert!(waiter.is_running());
            let told = Watch::start();
            waiter.signal(signal);
            let output = waiter.wait();
            told.assert_within(SECOND / 2);
            output.assert_says(code, &[]);
            world.await_waiters(key, 0);
            holder.signal(Signal::TERM);
            assert_eq!(holder.wait().code, 143);
            assert!(world.is_free(key) && !world.path("ran").exists());
        }
    });
}

#[test]
fn a_stopped_command_hears_a_signal_that_asks_it_to_end() {
    let world = World::local();
    let holder = world.start_script("k", &[], "echo $$ > pid; exec sleep 60");
    let child = Pid::from_raw(world.await_line("pid").parse().unwrap()).unwrap();
    kill_process(child, Signal::STOP).unwrap();
    let told = Watch::start();
    holder.signal(Signal::TERM);
    assert_eq!(holder.wait().code, 143);
    told.assert_within(SECOND * 5);
    assert!(world.is_free("k"));
}

#[test]
fn a_signal_that_is_ignored_from_the_start_stays_ignored() {
    let world = World::local();
    for (signal, name) in [(Signal::HUP, "HUP"), (Signal::INT, "INT")] {
        let command = format!("echo > ready-{name}; sleep 1; echo survived");
        let script = format!("trap '' {name}; exec \"$KVLOCK\" run k -- sh -c '{command}'");
        let holder = Running::start(world.command_of("sh".as_ref(), ["-c", &script]));
        world.await_line(&format!("ready-{name}"));
        holder.signal(signal);
        let output = holder.wait();
        assert_eq!((output.code, output.stdout.as_str()), (0, "survived\n"), "{output:?}");
    }
}

#[test]
fn the_command_leads_a_process_group_of_its_own() {
    let world = World::local();
    let holder = world.start_script("k", &[], "echo $$; ps -o pgid= -p $$; ps -o pgid= -p $PPID; echo $PPID");
    let id = holder.id();
    let output = holder.wait();
    let numbers: Vec<u32> = output.stdout.split_whitespace().map(|number| number.parse().unwrap()).collect();
    let [child, group, parents_group, parent] = numbers[..] else { panic!("{output:?}") };
    assert_eq!((child, parent), (group, id));
    assert_ne!(group, parents_group);
}
