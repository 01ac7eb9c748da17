//! At a terminal the command is what a shell's job in the foreground is.

use kvlock_tests::Terminal;
use kvlock_tests::kvlock::{eventually, is_alive};
use rustix::process::Signal;

use super::{SECOND, World};

impl World {
    fn terminal(&self, script: &str) -> Terminal {
        Terminal::start(&self.command(["run", "k", "--", "sh", "-c", script]))
    }
}

#[test]
fn the_command_may_read_the_terminal() {
    let world = World::local();
    let mut terminal = world.terminal("echo ready; read line; echo \"read: $line.\"; exit 6");
    terminal.await_text("ready");
    terminal.type_in("some words\r");
    terminal.await_text("read: some words.");
    assert_eq!(terminal.program.exit(), 6);
}

#[test]
fn ctrl_c_ends_the_command_and_frees_the_lock() {
    let world = World::local();
    let mut terminal = world.terminal("echo $$ > pid; echo ready; sleep 60");
    terminal.await_text("ready");
    let child: u32 = world.await_line("pid").parse().unwrap();
    terminal.type_in("\x03");
    assert_eq!(terminal.program.exit(), 130);
    assert!(!is_alive(child) && world.is_free("k"));
}

#[test]
fn ctrl_c_ends_a_wait() {
    let world = World::local();
    let _holder = world.hold("k", &["--owner", "somebody"]);
    let mut terminal = world.terminal("echo ran");
    // The live line tells for whom we wait.
    terminal.await_text("somebody");
    terminal.type_in("\x03");
    assert_eq!(terminal.program.exit(), 130);
    assert!(!terminal.screen().contains("ran"));
}

#[test]
fn the_live_line_names_what_is_waited_for() {
    let world = World::local();
    let _holder = world.hold("k", &["--owner", "somebody"]);
    let terminal = world.terminal("echo ran");
    terminal.await_text("`k`: held by somebody");
    world.ok(["semaphore", "make", "pool", "1"]);
    let _permit = world.hold_permit("pool", &["--owner", "alice"]);
    let terminal = Terminal::start(&world.command(["semaphore", "run", "pool", "--", "true"]));
    terminal.await_text("`pool`: 1 of 1 permits are held");
}

#[test]
fn the_live_line_counts_a_quarantine_down() {
    let mut world = World::memcached();
    world.server().restart();
    let kvlock = world.kvlock.clone().with("KVLOCK_QUARANTINE", "60s");
    let terminal = Terminal::start(&kvlock.command(["run", "k", "--", "true"]));
    terminal.await_text("`k`: in quarantine");
    let told = || {
        let screen = terminal.screen();
        let left = screen.split("quarantine for ").skip(1).filter_map(|rest| rest.split(" s more").next());
        left.filter_map(|left| left.parse().ok()).collect::<Vec<f64>>()
    };
    eventually("three seconds less", || {
        let told = told();
        told.iter().any(|left| *left < told[0] - 3.0)
    });
    let told = told();
    assert!(told.is_sorted_by(|earlier, later| earlier >= later), "{told:?}");
    assert!(told.len() > 5, "counted down step by step: {told:?}");
}

#[test]
fn ctrl_c_ends_the_wait_of_a_semaphore_that_shrinks_and_the_new_size_stands() {
    let world = World::local();
    world.ok(["semaphore", "make", "pool", "2"]);
    let _holders = ["alice", "bob"].map(|owner| world.hold_permit("pool", &["--owner", owner]));
    let mut terminal = Terminal::start(&world.command(["semaphore", "make", "pool", "1"]));
    terminal.await_text("`pool` has 1 permit, 2 held");
    terminal.type_in("\x03");
    assert_eq!(terminal.program.exit(), 130);
    terminal.await_text("the new size stands");
}

#[test]
fn the_live_line_is_not_shown_when_it_must_not_be() {
    let world = World::local();
    let _holder = world.hold("k", &["--owner", "somebody"]);
    let mut quiet = Terminal::start(&world.command(["run", "k", "-q", "--wait", "1s", "--", "true"]));
    assert_eq!(quiet.program.exit(), 75);
    assert!(!quiet.screen().contains("waiting"), "{}", quiet.screen());
    world.run(["run", "k", "--wait", "1s", "--", "true"]).assert_says(75, &[]);
}

#[test]
fn ctrl_z_stops_both_and_cont_resumes_both() {
    let world = World::local();
    let mut terminal = world.terminal("echo $$ > pid; echo ready; read line; echo \"read: $line.\"; exit 6");
    terminal.await_text("ready");
    let child: u32 = world.await_line("pid").parse().unwrap();
    terminal.type_in("\x1a");
    let id = terminal.program.id();
    eventually("the stop", || [child, id].into_iter().all(is_stopped));
    terminal.program.signal(Signal::CONT);
    eventually("the resumption", || ![child, id].into_iter().any(is_stopped));
    terminal.type_in("words\r");
    terminal.await_text("read: words.");
    assert_eq!(terminal.program.exit(), 6);
}

#[test]
fn a_shell_stops_and_resumes_it_like_any_job() {
    let world = World::local();
    let shell = world.command_of("sh".as_ref(), ["-i", "-m"]);
    let mut terminal = Terminal::start(&shell);
    terminal.type_in("PS1=; stty -echo\r");
    terminal.type_in("\"$KVLOCK\" run k -- sh -c 'echo re\"\"ady; read l; echo \"read: $l.\"'\r");
    terminal.await_text("ready");
    let shell = terminal.program.id();
    eventually("the command's turn", || terminal.foreground().is_some_and(|group| group != shell));
    terminal.type_in("\x1a");
    // What is typed before is lost: Ctrl-Z empties the terminal's queue.
    eventually("the shell's turn", || terminal.foreground() == Some(shell));
    terminal.type_in("echo in the \"sh\"ell\r");
    terminal.await_text("in the shell");
    assert!(!world.is_free("k"));
    terminal.type_in("fg\r");
    eventually("the command's turn", || terminal.foreground().is_some_and(|group| group != shell));
    terminal.type_in("words\r");
    terminal.await_text("read: words.");
    terminal.type_in("echo after: $?\r");
    terminal.await_text("after: 0");
    terminal.type_in("exit 12\r");
    assert_eq!(terminal.program.exit(), 12);
    assert!(world.is_free("k"));
}

#[test]
fn a_lock_that_ended_while_all_was_stopped_is_told_and_the_command_ended() {
    // On a busy machine a short lock may end before it is stopped.
    let stopped = ["3s", "12s", "48s"].into_iter().find_map(|lease| {
        let world = World::local();
        let options = ["run", "k", "--lease", lease, "--", "sh", "-c", "echo ready; sleep 300; echo went on"];
        let mut terminal = Terminal::start(&world.command(options));
        terminal.await_text("ready");
        terminal.type_in("\x1a");
        let id = terminal.program.id();
        eventually("the stop, or the end", || is_stopped(id) || !is_alive(id));
        is_stopped(id).then_some((world, terminal))
    });
    let (world, mut terminal) = stopped.expect("a machine that is not too busy to renew a lock in 48 s");
    assert_eq!(world.run(["run", "k", "--", "true"]).code, 0);
    terminal.program.signal(Signal::CONT);
    assert_eq!(terminal.program.exit(), 74);
    eventually("the message", || terminal.screen().contains("lost"));
    assert!(!terminal.screen().contains("went on"));
}

/// A command that writes a line again and again, and says who it is.
const TICKS: &str = "echo $$ > pid; while :; do echo >> ticks; sleep 0.05; done";

impl World {
    /// The command that does so, to be run by a shell. Not `sh` itself: Ctrl-Z may stop the child that `sh` starts with
    /// vfork before that has become `sleep`, and `sh`, which waits for it, is then never stopped.
    fn ticks(&self) -> &'static str {
        std::fs::write(self.path("ticker"), TICKS).unwrap();
        "exec bash ticker"
    }

    /// Waits for a line that is written from now on.
    fn await_tick(&self) {
        let before = self.read("ticks").len();
        eventually("a tick", || self.read("ticks").len() > before);
    }
}

#[test]
fn without_a_terminal_tstp_stops_both_and_cont_resumes_both() {
    let world = World::local();
    let holder = world.start_script("k", &[], world.ticks());
    let child: u32 = world.await_line("pid").parse().unwrap();
    holder.signal(Signal::TSTP);
    eventually("the stop", || [child, holder.id()].into_iter().all(is_stopped));
    holder.signal(Signal::CONT);
    eventually("the resumption", || ![child, holder.id()].into_iter().any(is_stopped));
    world.await_tick();
    assert!(!world.is_free("k"));
    holder.signal(Signal::TERM);
    assert_eq!(holder.wait().code, 143);
    assert!(world.is_free("k"));
}

#[test]
fn a_command_that_ignores_tstp_goes_on_and_keeps_the_lock() {
    let world = World::local();
    let holder = world.start_script("k", &["--lease", "2s"], &format!("trap '' TSTP; {}", world.ticks()));
    world.await_line("pid");
    holder.signal(Signal::TSTP);
    std::thread::sleep(SECOND * 3);
    world.await_tick();
    assert!(!is_stopped(holder.id()) && !world.is_free("k"));
    holder.signal(Signal::TERM);
    assert_eq!(holder.wait().code, 143);
}

#[test]
fn tstp_stops_a_wait_which_goes_on_afterwards() {
    let world = World::local();
    let holder = world.hold("k", &[]);
    let waiter = world.start(["run", "k", "--", "echo", "ran"]);
    world.await_waiters("k", 1);
    waiter.signal(Signal::TSTP);
    eventually("the stop", || is_stopped(waiter.id()));
    holder.signal(Signal::TERM);
    assert_eq!(holder.wait().code, 143);
    waiter.signal(Signal::CONT);
    let output = waiter.wait();
    assert_eq!((output.code, output.stdout.as_str()), (0, "ran\n"), "{output:?}");
}

#[test]
fn others_at_the_terminal_do_not_stop_it() {
    let world = World::local();
    let holder = world.start_script("k", &[], world.ticks());
    world.await_line("pid");
    for signal in [Signal::TTIN, Signal::TTOU] {
        holder.signal(signal);
        std::thread::sleep(SECOND / 4);
        assert!(!is_stopped(holder.id()), "{signal:?}");
    }
    holder.signal(Signal::TERM);
    assert_eq!(holder.wait().code, 143);
}

#[test]
fn a_command_in_a_pipeline_may_read_the_terminal() {
    let world = World::local();
    for pipeline in ["echo x | \"$KVLOCK\" run k -- sh -c SCRIPT", "\"$KVLOCK\" run k -- sh -c SCRIPT | cat"] {
        let script = "'echo re\"\"ady; read y < /dev/tty; echo \"got $y.\"'";
        let shell = world.command_of("sh".as_ref(), ["-c", &pipeline.replace("SCRIPT", script)]);
        let mut terminal = Terminal::start(&shell);
        terminal.await_text("ready");
        terminal.type_in("words\r");
        terminal.await_text("got words.");
        assert_eq!(terminal.program.exit(), 0, "{pipeline}");
        assert!(world.is_free("k"));
    }
}

#[test]
fn a_command_under_two_locks_in_a_pipeline_may_read_the_terminal() {
    let world = World::local();
    std::fs::write(world.path("ask"), "echo ready; read y < /dev/tty; echo \"got $y.\"").unwrap();
    std::fs::write(world.path("inner"), "\"$KVLOCK\" run inner -- sh ask; exit $?").unwrap();
    for inner in ["\"$KVLOCK\" run inner -- sh ask", "sh inner"] {
        let pipeline = format!("echo x | \"$KVLOCK\" run outer -- {inner} | cat");
        let mut terminal = Terminal::start(&world.command_of("sh".as_ref(), ["-c", &pipeline]));
        terminal.await_text("ready");
        terminal.type_in("words\r");
        terminal.await_text("got words.");
        assert_eq!(terminal.program.exit(), 0, "{inner}");
        assert!(world.is_free("inner") && world.is_free("outer"));
    }
}

#[test]
fn ctrl_z_and_ctrl_c_reach_a_command_in_a_pipeline() {
    let world = World::local();
    let shell = world.command_of("sh".as_ref(), ["-i", "-m"]);
    let mut terminal = Terminal::start(&shell);
    terminal.type_in("PS1=; stty -echo\r");
    terminal.type_in(&format!("\"$KVLOCK\" run k -- sh -c '{}' | cat\r", world.ticks()));
    let child: u32 = world.await_line("pid").parse().unwrap();
    let shell = terminal.program.id();
    terminal.type_in("\x1a");
    eventually("the stop", || is_stopped(child) && terminal.foreground() == Some(shell));
    terminal.type_in("fg\r");
    world.await_tick();
    terminal.type_in("\x03");
    eventually("the end", || !is_alive(child) && terminal.foreground() == Some(shell));
    assert!(world.is_free("k"));
    terminal.type_in("exit 12\r");
    assert_eq!(terminal.program.exit(), 12);
}

#[test]
fn ctrl_z_stops_a_whole_pipeline_whose_command_has_the_terminal() {
    let world = World::local();
    let shell = world.command_of("sh".as_ref(), ["-i", "-m"]);
    let mut terminal = Terminal::start(&shell);
    terminal.type_in("PS1=; stty -echo\r");
    let script = "echo $$ > pid; read y < /dev/tty; echo \"got $y.\"";
    terminal.type_in(&format!("\"$KVLOCK\" run k -- sh -c '{script}' | cat\r"));
    let child: u32 = world.await_line("pid").parse().unwrap();
    eventually("the command's turn", || terminal.foreground() == Some(child));
    let shell = terminal.program.id();
    terminal.type_in("\x1a");
    eventually("the shell's turn", || is_stopped(child) && terminal.foreground() == Some(shell));
    terminal.type_in("fg\r");
    eventually("the command's turn", || terminal.foreground() == Some(child));
    terminal.type_in("words\r");
    terminal.await_text("got words.");
    terminal.type_in("exit 12\r");
    assert_eq!(terminal.program.exit(), 12);
    assert!(world.is_free("k"));
}

#[test]
fn in_the_background_it_leaves_the_terminal_to_the_shell_until_it_is_in_the_foreground_again() {
    let world = World::local();
    let shell = world.command_of("sh".as_ref(), ["-i", "-m"]);
    let mut terminal = Terminal::start(&shell);
    terminal.type_in("PS1=; stty -echo\r");
    terminal.type_in("\"$KVLOCK\" run k -- sh -c 'echo $$ > pid; echo re\"\"ady; read l; echo \"read: $l.\"'\r");
    terminal.await_text("ready");
    let child: u32 = world.await_line("pid").parse().unwrap();
    let shell = terminal.program.id();
    eventually("the command's turn", || terminal.foreground() == Some(child));
    terminal.type_in("\x1a");
    eventually("the shell's turn", || terminal.foreground() == Some(shell));
    terminal.type_in("bg\r");
    // It goes on, wants to read, and is stopped for that.
    std::thread::sleep(SECOND * 3 / 2);
    assert_eq!(terminal.foreground(), Some(shell));
    terminal.type_in("echo in the \"sh\"ell\r");
    terminal.await_text("in the shell");
    eventually("the stop", || is_stopped(child));
    assert!(!world.is_free("k"));
    terminal.type_in("fg\r");
    eventually("the command's turn", || terminal.foreground() == Some(child));
    terminal.type_in("words\r");
    terminal.await_text("read: words.");
    terminal.type_in("exit 12\r");
    assert_eq!(terminal.program.exit(), 12);
    assert!(world.is_free("k"));
}

fn is_stopped(id: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
}
