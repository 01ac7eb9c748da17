//! Processes that inherit nothing. Every process that a test starts begins here, so that it behaves the same whoever
//! runs the tests: under `nohup`, in the background, with low limits, in a strange environment. Clippy refuses
//! `Command::new` elsewhere.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
use rustix::fs::Mode;
use rustix::process::{Pid, Resource, getrlimit, kill_process, kill_process_group, setrlimit, umask};

/// The variables that a process keeps; all others are ours to set.
const KEPT: [&str; 3] = ["PATH", "LD_LIBRARY_PATH", "TMPDIR"];

/// What it has beside them.
const KNOWN: [(&str, &str); 3] = [("LANG", "C.UTF-8"), ("TERM", "xterm"), ("TZ", "UTC")];

/// Limits are as high as they may be raised, but these: no dumps, and what a login has of stack and descriptors.
const AT_MOST: [(Resource, u64); 3] = [(Resource::Core, 0), (Resource::Stack, 8 << 20), (Resource::Nofile, 1 << 16)];

/// Prepares a program that inherits nothing but where programs and libraries are: no signal is ignored or
/// blocked, limits and the mask of new files are known, the environment is a small one, and stdin is empty.
#[must_use]
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = tool(program);
    command.env_clear().envs(KEPT.iter().filter_map(|name| Some((name, std::env::var_os(name)?)))).envs(KNOWN);
    command
}

/// Prepares a program that works for the tests and is not what they test: cargo, or an installer. It keeps the
/// environment, in which its user has told it where to find what.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one place")]
pub fn tool(program: impl AsRef<OsStr>) -> Command {
    hear_of_children();
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    // SAFETY: the closure runs in the forked child before exec, and makes system calls only, which are safe there; it
    // allocates nothing.
    unsafe { command.pre_exec(start_afresh) };
    command
}

/// Prepares cargo as a person starts it. What the cargo that runs the tests has told them of themselves is taken out: with
/// it, some build scripts and all that needs them would run again, and once more after the tests.
#[must_use]
pub fn cargo() -> Command {
    let mut cargo = tool(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let of_a_package =
        |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") || name == "OUT_DIR";
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(of_a_package)) {
        cargo.env_remove(name);
    }
    cargo
}

/// Kills a process that leads a group of its own, with all that it has started there, and waits for its end. One that
/// has ended by itself is left alone.
pub fn kill_group(leader: &mut Child) {
    if let Ok(None) = leader.try_wait() {
        // It may end meanwhile, which is as good.
        let _ = kill_process_group(Pid::from_child(leader), rustix::process::Signal::KILL);
    }
    let _ = leader.wait();
}

/// Stops a process (SIGSTOP), and returns when none of its threads runs any more: the signal alone says that they will
/// not run on for long. A process that has ended is left alone.
///
/// # Panics
///
/// If it runs on for ten seconds.
pub fn freeze(process: Pid) {
    let deadline = Instant::now() + Duration::from_secs(10);
    if kill_process(process, rustix::process::Signal::STOP).is_err() {
        return;
    }
    while !is_stopped(process) {
        assert!(Instant::now() < deadline, "process {process:?} does not stop");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn is_stopped(process: Pid) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{}/task", process.as_raw_nonzero()));
    let state = |thread: std::fs::DirEntry| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).ok()?;
        // The name before it may have blanks and brackets.
        stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next())
    };
    // A thread that has ended meanwhile has no state.
    threads.into_iter().flatten().flatten().filter_map(state).all(|state| matches!(state, 'T' | 't' | 'Z' | 'X'))
}

/// Undoes what this process has inherited, but for its environment: called first in `main`, and in a child before it
/// becomes another program.
pub fn start_afresh() -> io::Result<()> {
    // The standard library keeps SIGPIPE from killing us, and not from killing whom we start.
    for number in Signal::iterator().filter(|number| *number != Signal::SIGPIPE) {
        // KILL and STOP refuse.
        let _ = by_default(number);
    }
    SigSet::empty().thread_set_mask()?;
    umask(Mode::WGRP | Mode::WOTH);
    for resource in LIMITS {
        let mut limit = getrlimit(resource);
        let most = AT_MOST.iter().find(|(limited, _)| *limited == resource).map(|(_, most)| *most);
        limit.current = limit.maximum.into_iter().chain(most).min();
        setrlimit(resource, limit)?;
    }
    Ok(())
}

/// Lets this process wait for its children even if it was told to ignore their ends: they would vanish.
pub fn hear_of_children() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| by_default(Signal::SIGCHLD).expect("SIGCHLD can be reset"));
}

/// All limits that can make a program fail.
const LIMITS: [Resource; 8] = [
    Resource::As,
    Resource::Core,
    Resource::Cpu,
    Resource::Data,
    Resource::Fsize,
    Resource::Nofile,
    Resource::Nproc,
    Resource::Stack,
];

fn by_default(number: Signal) -> nix::Result<()> {
    // SAFETY: the default handler runs no code of ours.
    unsafe { signal(number, SigHandler::SigDfl) }.map(drop)
}
