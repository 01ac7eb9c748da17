//! The command is started while the lock is held, or not at all.

use kvlock_tests::kvlock::{Output, Running, binary};

use super::World;

impl World {
    /// Runs `kvlock run` with some of its system calls held up, the command's among them until it is executed.
    fn run_held_up(&self, calls: &str, arguments: &[&str]) -> Output {
        let (inject, kvlock) = (format!("inject={calls}"), binary().to_str().expect("its path is text"));
        let strace = ["-f", "-o", "/dev/null", "-e", &inject, "--", kvlock, "run"];
        Running::start(self.command_of("strace".as_ref(), strace.iter().chain(arguments))).wait()
    }
}

#[test]
fn a_command_whose_start_takes_longer_than_the_lease_does_not_run_and_the_loss_is_told() {
    let world = World::local();
    // As the process is made, as the child sets itself up, and as the command is executed.
    for calls in ["clone,clone3,vfork:delay_enter=3000000", "setpgid:delay_exit=3000000", "execve:delay_enter=3000000"]
    {
        let output = world.run_held_up(calls, &["k", "--lease", "1s", "--", "sh", "-c", "echo > ran"]);
        assert_eq!(output.code, 74, "{calls}: {output:?}");
        assert!(!world.path("ran").exists(), "{calls}");
        assert!(output.stderr.contains("lock lost: its lease ended before the command could be started"), "{output:?}");
        // What strace has to say is not ours.
        assert_eq!(output.stderr.lines().filter(|line| line.starts_with("kvlock: ")).count(), 1, "{output:?}");
    }
}

#[test]
fn a_command_that_starts_slowly_within_the_lease_runs() {
    let world = World::local();
    for calls in ["clone,clone3,vfork:delay_enter=100000", "execve:delay_enter=100000"] {
        let output = world.run_held_up(calls, &["k", "--", "sh", "-c", "sleep 1; exit 9"]);
        assert_eq!(output.code, 9, "{calls}: {output:?}");
        assert!(world.is_free("k"));
    }
}

#[test]
fn nothing_of_the_look_at_the_clock_is_left_to_a_command_that_runs_for_longer() {
    let world = World::local();
    let output = world.script("k", &["--lease", "1s"], "cat /proc/$$/timers; sleep 3; exit 9");
    assert_eq!((output.code, output.stdout.as_str()), (9, ""), "{output:?}");
}
