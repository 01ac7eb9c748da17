//! Whoever reads stderr may stop to: nothing waits for that.

use std::io::{PipeReader, Read, Write};
use std::time::Instant;

use kvlock_tests::Terminal;
use kvlock_tests::kvlock::{Running, eventually};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::Signal;

use super::{SECOND, World};

impl World {
    /// Starts `kvlock` with a stderr that is full.
    fn start_stuck(&self, arguments: &[&str]) -> (Running, PipeReader) {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let flags = fcntl_getfl(&writer).unwrap();
        fcntl_setfl(&writer, flags | OFlags::NONBLOCK).unwrap();
        while writer.write(b"full\n").is_ok() {}
        fcntl_setfl(&writer, flags).unwrap();
        let mut command = self.command(arguments);
        command.stderr(writer);
        (Running::start(command), reader)
    }
}

#[test]
fn a_healthy_job_is_not_ended_for_want_of_a_reader() {
    let world = World::local();
    let job = "sleep 4 2> /dev/null; exit 9";
    let (running, _reader) = world.start_stuck(&["run", "k", "-vv", "--lease", "1s", "--", "sh", "-c", job]);
    assert_eq!(running.wait().code, 9);
    assert!(world.is_free("k"));
}

#[test]
fn what_there_was_room_for_is_written_when_the_reader_goes_on() {
    let world = World::local();
    let job = "sleep 2 2> /dev/null; echo > done; exec sleep 60 2> /dev/null";
    let (running, mut reader) = world.start_stuck(&["run", "k", "-vv", "--lease", "1s", "--", "sh", "-c", job]);
    world.await_line("done");
    let reads = std::thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).map(|_| text)
    });
    running.signal(Signal::TERM);
    assert_eq!(running.wait().code, 143);
    let text = reads.join().unwrap().unwrap();
    let granted = text.find("granted").expect("the grant is told");
    let released = text.find("released").expect("the release is told");
    assert!(granted < released, "{text}");
}

#[test]
fn an_error_does_not_keep_it_from_ending() {
    let world = World::local();
    let holder = world.hold("k", &[]);
    let (running, _reader) = world.start_stuck(&["run", "k", "--wait", "0", "--", "true"]);
    assert_eq!(running.wait().code, 75);
    holder.signal(Signal::TERM);
    assert_eq!(holder.wait().code, 143);
}

#[test]
fn a_usage_error_does_not_keep_it_from_ending() {
    let world = World::local();
    for arguments in [&["run", "k", "--laese", "1s", "--", "true"][..], &["--json", "acquire"], &["nothing"]] {
        let (mut running, _reader) = world.start_stuck(arguments);
        assert_eq!(running.exit(), 64, "{arguments:?}");
    }
}

#[test]
fn a_loss_ends_the_command_in_time() {
    let world = World::local();
    let job = "trap '' TERM; echo $$ > pid; while :; do sleep 0.1; done 2> /dev/null";
    let options = ["run", "k", "-vv", "--lease", "4s", "--max-hold", "1s", "--grace", "1s", "--", "sh", "-c", job];
    let begun = Instant::now();
    let (running, _reader) = world.start_stuck(&options);
    assert_eq!(running.wait().code, 74);
    assert!(begun.elapsed() < 20 * SECOND, "{:?}", begun.elapsed());
}

#[test]
fn a_terminal_that_is_stopped_keeps_nobody_from_the_lock() {
    let world = World::local();
    let holder = world.hold("k", &["--owner", "somebody"]);
    let mut terminal = Terminal::start(&world.command(["run", "k", "--", "sh", "-c", "echo > ran < /dev/null"]));
    terminal.await_text("somebody");
    // Ctrl-S.
    terminal.type_in("\x13");
    std::thread::sleep(SECOND);
    holder.signal(Signal::TERM);
    assert_eq!(holder.wait().code, 143);
    eventually("the command", || world.path("ran").exists());
    assert_eq!(terminal.program.exit(), 0);
}
