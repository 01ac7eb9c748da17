//! The command's streams are its own, and so are its arguments.

use std::io::Write;
use std::process::Stdio;

use kvlock_tests::kvlock::{Output, Running};

use super::{World, in_both};

#[test]
fn bytes_go_through_as_they_are() {
    let world = World::local();
    let bytes: Vec<u8> = (0..1 << 20).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let mut command = world.command(["run", "k", "--", "cat"]);
    command.stdin(Stdio::piped());
    let mut running = Running::start(command);
    let mut stdin = running.stdin();
    let sent = bytes.clone();
    let writer = std::thread::spawn(move || stdin.write_all(&sent).unwrap());
    let (code, _, [stdout, stderr]) = running.wait_bytes();
    writer.join().unwrap();
    assert_eq!((code, stderr.as_slice()), (0, &b""[..]));
    assert!(stdout == bytes, "{} bytes came back of {}", stdout.len(), bytes.len());
}

#[test]
fn stdin_that_the_command_does_not_read_is_left_to_the_next() {
    let world = World::local();
    let mut command = world.command_of("sh".as_ref(), ["-c", "\"$KVLOCK\" run k -- true; cat"]);
    command.stdin(Stdio::piped());
    let mut running = Running::start(command);
    running.stdin().write_all(b"for the next").unwrap();
    assert_eq!(running.wait().stdout, "for the next");
}

#[test]
fn stdout_and_stderr_have_what_the_command_wrote_and_nothing_else() {
    in_both(|world| {
        let output = world.script("k", &[], "printf 'out\\r\\n\\001'; printf err >&2; exit 3");
        assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (3, "out\r\n\u{1}", "err"));
    });
}

#[test]
fn no_shell_is_involved() {
    let world = World::local();
    let arguments = ["run", "k", "--", "printf", "%s|", "$HOME", "a b", "*", "; exit 9", "--lease", "-q", "--", ""];
    assert_eq!(world.ok(arguments), "$HOME|a b|*|; exit 9|--lease|-q|--||");
}

#[test]
fn the_command_inherits_no_descriptor_and_no_signal_mask_of_ours() {
    in_both(|world| {
        // Others may have left us some: what counts is the difference.
        for script in ["ls /proc/self/fd | wc -l", "ulimit -a; umask; pwd; ps -o ni= $$"] {
            let without = Running::start(world.command_of("sh".as_ref(), ["-c", script])).wait();
            let within = world.script("k", &[], script);
            assert_eq!((within.code, within.stdout), (0, without.stdout), "{script}");
        }
        for line in world.ok(["run", "k", "--", "grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"]).lines() {
            let signals = u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap();
            // The C library has 32 and 33 for itself.
            assert_eq!(signals & 0x7fff_ffff, 0, "{line}");
        }
    });
}

#[test]
fn streams_that_are_closed_are_no_obstacle() {
    let world = World::local();
    for closed in ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"] {
        let script = format!("\"$KVLOCK\" run k {closed} -- sh -c 'echo > ran; exit 5'");
        assert_eq!(Running::start(world.command_of("sh".as_ref(), ["-c", &script])).wait().code, 5, "{closed}");
        std::fs::remove_file(world.path("ran")).unwrap();
    }
}

impl World {
    /// Runs `kvlock` by a shell that redirects it.
    fn redirected(&self, arguments: &str, redirection: &str) -> Output {
        let script = format!("\"$KVLOCK\" {arguments} {redirection}");
        Running::start(self.command_of("sh".as_ref(), ["-c", &script])).wait()
    }
}

#[test]
fn a_result_that_cannot_be_printed_is_an_error_and_no_lock_is_left_that_nobody_can_release() {
    let world = World::local();
    world.ok(["semaphore", "make", "pool", "2"]);
    for arguments in [
        "acquire k",
        "--json acquire k",
        "semaphore acquire pool",
        "semaphore make pool 2",
        "semaphore break pool 0",
        "semaphore list",
        "semaphore status pool",
        "break k",
        "status k",
        "doctor",
        "component -",
        "completions bash",
    ] {
        for (redirection, part) in [(">&-", "stdout is closed"), ("> /dev/full", "cannot write to stdout: No space")] {
            let output = world.redirected(arguments, redirection);
            assert_eq!(output.code, 71, "{arguments} {redirection}: {output:?}");
            assert!(output.stderr.lines().count() == 1 && output.stderr.contains(part), "{output:?}");
        }
        assert!(world.is_free("k") && world.ok(["semaphore", "status", "pool"]).contains("0 of 2"), "{arguments}");
    }
    assert_eq!(world.redirected("--help", "> /dev/full").code, 71);
}

#[test]
fn with_stdout_closed_nothing_is_changed() {
    let world = World::local();
    world.ok(["semaphore", "make", "pool", "2"]);
    let grant = world.ok(["acquire", "k", "--lease", "60s"]);
    for arguments in [&*format!("renew {grant}"), "break k", "semaphore make pool 3", "semaphore destroy pool"] {
        assert_eq!(world.redirected(arguments, ">&-").code, 71, "{arguments}");
    }
    assert!(world.ok(["semaphore", "status", "pool"]).contains("0 of 2"));
    // A renewed grant has another word.
    world.ok(["release", &grant]);
}

#[test]
fn a_stderr_that_takes_nothing_changes_neither_the_exit_code_nor_the_lock() {
    let world = World::local();
    let to_full = |arguments: &str| {
        let script = format!("\"$KVLOCK\" {arguments} 2> /dev/full");
        Running::start(world.command_of("sh".as_ref(), ["-c", &script])).wait().code
    };
    assert_eq!(to_full("-v run k -- true"), 0);
    assert_eq!(to_full("-vv run k --retry-on 9 --retries 1 -- sh -c 'exit 9'"), 9);
    assert!(world.is_free("k"));
    let _holder = world.hold("k", &[]);
    assert_eq!(to_full("run k --wait 0 -- true"), 75);
}
