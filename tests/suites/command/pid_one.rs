//! As the first process of a container.

use kvlock_tests::kvlock::{Running, binary};
use rustix::process::Signal;

use super::World;

impl World {
    /// Starts `kvlock run k` as the first process of a new process namespace.
    fn start_first(&self, options: &[&str], script: &str) -> Running {
        let kvlock = binary().to_str().expect("its path is text");
        let unshare = ["--pid", "--fork", "--kill-child", "--mount-proc", "--", kvlock, "run", "k"];
        let command = ["--", "sh", "-c", script];
        Running::start(self.command_of("unshare".as_ref(), unshare.iter().chain(options).chain(&command)))
    }
}

/// Waits until nobody is a zombie, for a minute at most.
const NO_ZOMBIES: &str = "for i in $(seq 600); do ps -eo stat= | grep -q Z || exit 9; sleep 0.1; done; ps -ef; exit 1";

#[test]
fn orphans_are_reaped_and_the_commands_status_is_its_own() {
    let world = World::local();
    let script = format!("for i in 1 2 3 4 5; do (sleep 0.1 &); done; sleep 0.5; {NO_ZOMBIES}");
    let output = world.start_first(&[], &script).wait();
    assert_eq!(output.code, 9, "{output:?}");
    assert!(world.is_free("k"));
}

#[test]
fn among_many_orphans_the_command_is_not_mistaken() {
    let world = World::local();
    // They end at the same time as it.
    let script = "for i in $(seq 50); do (sh -c 'sleep 0.2; exit 3' &); done; sleep 0.2; exit 9";
    for _ in 0..5 {
        assert_eq!(world.start_first(&["-q"], script).wait().code, 9);
    }
}

#[test]
fn orphans_are_reaped_while_it_waits_for_the_lock() {
    let world = World::local();
    let first = world.start_script("other", &[], "echo > ready; exec sleep 60");
    world.await_line("ready");
    // The second try of the command waits for the first to be over, and has left an orphan.
    let script = "[ \"$KVLOCK_TRY\" = 2 ] && exit 9; (sleep 0.3 &); exit 1";
    let output = world.start_first(&["--retry-on", "1", "-q"], script).wait();
    assert_eq!(output.code, 9, "{output:?}");
    first.signal(Signal::TERM);
    assert_eq!(first.wait().code, 143);
}

#[test]
fn a_command_that_died_of_a_signal_is_told_by_the_exit_code() {
    let world = World::local();
    assert_eq!(world.start_first(&[], "kill -TERM $$").wait().code, 143);
}
