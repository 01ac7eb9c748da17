//! `kvlock run` in scripts and at terminals: it ends as its command did, keeps or ends what that left, and gives the
//! terminal back as it was.

use std::os::unix::process::ExitStatusExt;

use kvlock_tests::Terminal;
use kvlock_tests::kvlock::{eventually, is_alive};
use rustix::process::Signal;

use super::{SECOND, World};

impl World {
    /// A terminal on which a shell runs a script.
    fn script_at_terminal(&self, shell: &str, script: &str) -> Terminal {
        std::fs::write(self.path("script"), script).unwrap();
        Terminal::start(&self.command_of(shell.as_ref(), ["script"]))
    }

    /// Waits until the process in this file has the terminal.
    fn await_foreground(&self, terminal: &Terminal, name: &str) {
        let child: u32 = self.await_line(name).parse().unwrap();
        eventually("the command's turn", || terminal.foreground() == Some(child));
    }
}

#[test]
fn it_dies_of_the_signal_that_its_command_died_of() {
    let world = World::local();
    for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::KILL, Signal::QUIT, Signal::SEGV, Signal::PIPE] {
        let script = format!("kill -{} $$", signal.as_raw());
        let status = world.command(["run", "k", "--", "sh", "-c", &script]).status().unwrap();
        assert_eq!(status.signal(), Some(signal.as_raw()), "{status:?}");
        assert!(!status.core_dumped() && world.is_free("k"));
    }
    // Real-time signals too are told, by the exit code.
    assert_eq!(world.script("k", &[], "kill -40 $$").code, 168);
}

#[test]
fn it_dies_of_the_signal_that_ended_its_wait() {
    let world = World::local();
    let _holder = world.hold("k", &[]);
    for arguments in [vec!["run", "k", "--", "true"], vec!["acquire", "k"]] {
        let mut command = world.command(&arguments);
        let mut waiter = command.spawn().unwrap();
        std::thread::sleep(SECOND / 2);
        rustix::process::kill_process(rustix::process::Pid::from_child(&waiter), Signal::INT).unwrap();
        assert_eq!(waiter.wait().unwrap().signal(), Some(Signal::INT.as_raw()), "{arguments:?}");
    }
}

/// Shells that end when what they wait for dies of Ctrl-C.
const SHELLS: [&str; 2] = ["bash", "sh"];

#[test]
fn ctrl_c_ends_the_script_around_it() {
    for shell in SHELLS {
        let world = World::local();
        let mut terminal = world.script_at_terminal(
            shell,
            "for i in 1 2; do \"$KVLOCK\" run k -- sh -c 'echo $$ > pid; exec sleep 60'; echo going on; done",
        );
        world.await_foreground(&terminal, "pid");
        terminal.type_in("\x03");
        assert_eq!(terminal.program.exit(), 130, "{shell}: {}", terminal.screen());
        assert!(!terminal.screen().contains("going on"), "{shell}");
        assert!(world.is_free("k"));
    }
}

#[test]
fn ctrl_c_during_the_wait_ends_the_script_around_it() {
    for shell in SHELLS {
        let world = World::local();
        let _holder = world.hold("k", &["--owner", "somebody"]);
        let mut terminal = world.script_at_terminal(shell, "\"$KVLOCK\" run k -- true; echo going on");
        terminal.await_text("somebody");
        terminal.type_in("\x03");
        assert_eq!(terminal.program.exit(), 130, "{shell}");
        assert!(!terminal.screen().contains("going on"), "{shell}");
    }
}

#[test]
fn a_script_goes_on_after_a_command_that_handles_ctrl_c_itself() {
    let world = World::local();
    let command = "trap 'exit 7' INT; echo $$ > pid; while :; do sleep 0.1; done";
    let mut terminal = world.script_at_terminal(
        "bash",
        &format!("\"$KVLOCK\" run k -- sh -c \"{}\"; echo told: $?", command.replace('$', "\\$")),
    );
    world.await_foreground(&terminal, "pid");
    terminal.type_in("\x03");
    terminal.await_text("told: 7");
    assert_eq!(terminal.program.exit(), 0);
}

#[test]
fn ctrl_c_ends_all_of_nested_locks_and_the_scripts_between_them() {
    let world = World::local();
    std::fs::write(
        world.path("inner"),
        "\"$KVLOCK\" run inner -- sh -c 'echo $$ > pid; exec sleep 60'; echo going on\n",
    )
    .unwrap();
    let mut terminal = world.script_at_terminal("bash", "\"$KVLOCK\" run outer -- bash inner; echo going on");
    world.await_foreground(&terminal, "pid");
    terminal.type_in("\x03");
    assert_eq!(terminal.program.exit(), 130, "{}", terminal.screen());
    assert!(!terminal.screen().contains("going on"), "{}", terminal.screen());
    assert!(world.is_free("inner") && world.is_free("outer"));
}

#[test]
fn ctrl_c_ends_make_and_xargs_around_it() {
    for around in ["make -f makefile", "echo 1 2 | xargs -n 1 -o sh step"] {
        let world = World::local();
        std::fs::write(world.path("step"), "\"$KVLOCK\" run k -- sh -c 'echo $$ > pid; exec sleep 60'\n").unwrap();
        std::fs::write(world.path("makefile"), "all:\n\tsh step\n\techo going on\n").unwrap();
        let mut terminal = world.script_at_terminal("bash", &format!("{around}; echo going on"));
        world.await_foreground(&terminal, "pid");
        terminal.type_in("\x03");
        assert_eq!(terminal.program.exit(), 130, "{around}: {}", terminal.screen());
        assert!(!terminal.screen().contains("going on\r\n"), "{}", terminal.screen());
        assert!(world.is_free("k"));
    }
}

#[test]
fn ctrl_c_ends_a_loop_of_an_interactive_shell_and_tries_nothing_again() {
    let world = World::local();
    let shell = world.command_of("bash".as_ref(), ["--norc", "-i"]);
    let mut terminal = Terminal::start(&shell);
    terminal.type_in("PS1=; stty -echo\r");
    let run = "\"$KVLOCK\" run k --retry-on 130 -- sh -c 'echo $$ > pid; exec sleep 60'";
    terminal.type_in(&format!("for i in 1 2; do {run}; echo going on; done\r"));
    world.await_foreground(&terminal, "pid");
    terminal.type_in("\x03");
    let shell = terminal.program.id();
    eventually("the shell's turn", || terminal.foreground() == Some(shell));
    terminal.type_in("echo told: $?\r");
    terminal.await_text("told: 130");
    assert!(!terminal.screen().contains("going on\r"), "{}", terminal.screen());
    assert!(world.is_free("k"));
    terminal.type_in("exit 12\r");
    assert_eq!(terminal.program.exit(), 12);
}

/// Leaves a process behind that works until it is told to end.
const LEAVES: &str = "sh -c 'echo $$ > left; while ! [ -e end ]; do sleep 0.05; done' > /dev/null 2>&1 & \
    while ! [ -s left ]; do sleep 0.01; done; exit 9";

#[test]
fn what_is_left_in_the_group_is_said_and_the_lock_is_free() {
    let world = World::local();
    for (option, said) in [("--linger=release", true), ("-q", false)] {
        let output = world.script("k", &[option], LEAVES);
        let left: u32 = world.await_line("left").parse().unwrap();
        assert!(is_alive(left) && world.is_free("k"));
        if said {
            output.assert_says(9, &[&format!("left running: {left} (sh)")]);
        } else {
            assert_eq!((output.code, output.stderr.as_str()), (9, ""), "{output:?}");
        }
        std::fs::write(world.path("end"), "").unwrap();
        eventually("its end", || !is_alive(left));
        for name in ["end", "left"] {
            std::fs::remove_file(world.path(name)).unwrap();
        }
    }
}

#[test]
fn lingering_keeps_the_lock_renewed_until_the_group_has_ended() {
    let world = World::local();
    let mut holder = world.start_script("k", &["--linger", "wait", "--lease", "1s"], LEAVES);
    let left: u32 = world.await_line("left").parse().unwrap();
    std::thread::sleep(SECOND * 3);
    assert!(holder.is_running() && is_alive(left) && !world.is_free("k"));
    std::fs::write(world.path("end"), "").unwrap();
    let output = holder.wait();
    assert_eq!((output.code, output.stderr.as_str()), (9, ""), "{output:?}");
    assert!(world.is_free("k") && !is_alive(left));
}

#[test]
fn what_lingers_is_ended_with_a_signal_or_if_the_lock_is_lost() {
    let world = World::local();
    let holder = world.start_script("k", &["--linger", "wait"], LEAVES);
    let left: u32 = world.await_line("left").parse().unwrap();
    std::thread::sleep(SECOND / 2);
    holder.signal(Signal::TERM);
    assert_eq!(holder.wait().code, 143);
    assert!(!is_alive(left) && world.is_free("k"));
    std::fs::remove_file(world.path("left")).unwrap();
    let holder = world.start_script("k", &["--linger", "wait", "--lease", "1s"], LEAVES);
    let left: u32 = world.await_line("left").parse().unwrap();
    world.ok(["break", "k"]);
    assert_eq!(holder.wait().code, 74);
    eventually("its end", || !is_alive(left));
}

#[test]
fn ctrl_c_ends_what_lingers_though_jobs_of_a_shell_do_not_hear_it() {
    let world = World::local();
    // A job is called `sh` until it executes `sleep`.
    let leaves = "sleep 600 & until grep -qx sleep /proc/$!/comm; do :; done; echo $! > left; exit 0";
    let script = format!("\"$KVLOCK\" run k --linger wait -- sh -c '{leaves}'; echo going on");
    let mut terminal = world.script_at_terminal("bash", &script);
    let left: u32 = world.await_line("left").parse().unwrap();
    terminal.await_text(&format!("waiting for what it left running: {left} (sleep)"));
    terminal.type_in("\x03");
    assert_eq!(terminal.program.exit(), 130, "{}", terminal.screen());
    assert!(!terminal.screen().contains("going on") && !is_alive(left) && world.is_free("k"));
}

#[test]
fn what_lingers_is_ended_at_once_if_that_is_wanted_and_killed_if_it_does_not_listen() {
    let world = World::local();
    for trap in ["", "trap '' TERM; "] {
        let script = format!("{trap}{LEAVES}");
        let output = world.script("k", &["--linger", "kill", "--grace", "500ms"], &script);
        assert_eq!((output.code, output.stderr.as_str()), (9, ""), "{output:?}");
        let left: u32 = world.await_line("left").parse().unwrap();
        assert!(!is_alive(left) && world.is_free("k"));
        std::fs::remove_file(world.path("left")).unwrap();
    }
}

#[test]
fn the_terminals_modes_are_as_they_were_if_the_command_was_ended_and_else_as_it_left_them() {
    let world = World::local();
    let raw = |pid| format!("sh -c 'stty raw -echo; echo $$ > {pid}; exec sleep 60'");
    let script = format!(
        "stty -a > before; \"$KVLOCK\" run k --lease 2s -- {}; stty -a > after; \"$KVLOCK\" run k -- {}
        stty -a > after-kill; \"$KVLOCK\" run k -- stty -echo; stty -a > after-stty; stty echo; echo > done",
        raw("lost"),
        raw("killed")
    );
    let terminal = &mut world.script_at_terminal("sh", &script);
    world.await_foreground(terminal, "lost");
    world.ok(["break", "k"]);
    world.await_foreground(terminal, "killed");
    let child = rustix::process::Pid::from_raw(world.await_line("killed").parse().unwrap()).unwrap();
    rustix::process::kill_process(child, Signal::KILL).unwrap();
    world.await_line("done");
    assert_eq!(terminal.program.exit(), 0);
    assert_eq!(world.read("after"), world.read("before"));
    assert_eq!(world.read("after-kill"), world.read("before"));
    assert!(world.read("after-stty").contains("-echo ") && !world.read("before").contains("-echo "));
}
