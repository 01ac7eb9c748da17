//! Signals and other events, in one queue of the main thread.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use anyhow::{Context, Result};
use nix::sys::signal::{SigHandler, SigSet, Signal, kill, killpg, raise};
use nix::unistd::{getpgrp, getpid};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::signal::*;
use signal_hook::iterator::Signals;

/// An event that the main thread waits for.
pub(super) enum Event {
    /// A signal came.
    Signal(i32),
    /// A lock was lost; the lock tells why.
    Lost,
    /// Somebody asks for the lock, in words.
    Wanted(String),
}

impl Event {
    /// Returns the signal, if the event is one.
    pub(super) fn signal(self) -> Option<i32> {
        match self {
            Event::Signal(signal) => Some(signal),
            Event::Lost | Event::Wanted(_) => None,
        }
    }
}

/// Signals that kvlock passes on to the command. Some of them end a wait.
const FORWARDED: [i32; 9] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM, SIGWINCH, SIGTSTP];

/// Returns true if a signal asks a command to end.
pub(super) fn interrupts(signal: i32) -> bool {
    matches!(signal, SIGHUP | SIGINT | SIGQUIT | SIGTERM)
}

/// Returns true if a signal ends kvlock while no command runs, as it ends a process that does not catch it.
pub(super) fn ends_a_wait(signal: i32) -> bool {
    interrupts(signal) || matches!(signal, SIGUSR1 | SIGUSR2 | SIGALRM)
}

/// True if our parent had us ignore SIGXFSZ.
static XFSZ_IS_IGNORED: AtomicBool = AtomicBool::new(false);

/// Ignores SIGXFSZ. A file that reaches its limit is then an error of the write (EFBIG), and does not end a process
/// that has a lock.
pub(super) fn survive_limits() {
    // SAFETY: the kernel ignores the signal and calls no code of ours.
    let before = unsafe { nix::sys::signal::signal(Signal::SIGXFSZ, SigHandler::SigIgn) };
    XFSZ_IS_IGNORED.store(matches!(before, Ok(SigHandler::SigIgn)), Ordering::Relaxed);
}

/// Gives the command the action for SIGXFSZ that our parent has set. Called between fork and exec.
pub(super) fn die_of_limits() -> nix::Result<()> {
    if XFSZ_IS_IGNORED.load(Ordering::Relaxed) {
        return Ok(());
    }
    // SAFETY: as above.
    unsafe { nix::sys::signal::signal(Signal::SIGXFSZ, SigHandler::SigDfl) }.map(drop)
}

/// Ends kvlock by this signal. It leaves no core dump; the command may have left one. Returns if the signal cannot end
/// us, as in the first process of a container.
pub(super) fn die_of(signal: i32) {
    let no_core = Rlimit { current: Some(0), ..getrlimit(Resource::Core) };
    let _ = setrlimit(Resource::Core, no_core);
    let Ok(signal) = Signal::try_from(signal) else { return };
    // SAFETY: the default action calls no code of ours.
    let _ = unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) };
    let _ = SigSet::from(signal).thread_unblock();
    let _ = raise(signal);
}

/// Ends kvlock by this signal, and sends it to every process of our group.
pub(super) fn die_with_our_group_of(signal: i32) {
    if let Ok(signal) = Signal::try_from(signal) {
        // First, so that a shell that waits for us has received it when we end.
        let _ = killpg(getpgrp(), signal);
    }
    die_of(signal);
}

/// Stops the whole process until something outside continues it.
pub(super) fn stop() {
    // A process cannot block or ignore this signal. If sending it fails, we go on running.
    let _ = kill(getpid(), Signal::SIGSTOP);
}

/// Stops every process of our group, as Ctrl-Z does.
pub(super) fn stop_group() {
    let _ = killpg(getpgrp(), Signal::SIGSTOP);
}

/// Takes over the signals of this process. It must still have only one thread.
pub(super) fn listen() -> Result<(Sender<Event>, Receiver<Event>)> {
    never_stop_for_the_terminal().context("cannot block signals")?;
    let (sender, receiver) = channel();
    let ignored = ignored();
    let wanted = FORWARDED.into_iter().filter(|signal| ignored >> (signal - 1) & 1 == 0);
    let mut signals = Signals::new(wanted.chain([SIGCHLD])).context("cannot listen for signals")?;
    let events = sender.clone();
    let listener = std::thread::Builder::new().name("kvlock-signals".to_string());
    listener
        .spawn(move || {
            for signal in signals.forever() {
                if events.send(Event::Signal(signal)).is_err() {
                    return;
                }
            }
        })
        .context("cannot start a thread")?;
    Ok((sender, receiver))
}

/// Blocks the signals that stop a background job for using the terminal. While the command has the terminal, another
/// process of our group may use it, as in `kvlock run … | less`. The terminal would then stop the whole group, and
/// nobody would renew the lock of the command, which goes on. Threads inherit the mask.
fn never_stop_for_the_terminal() -> nix::Result<()> {
    terminal_signals().thread_block()
}

/// Unblocks these signals in the command, which inherits the mask. The terminal has to stop it until it has the
/// terminal. Called between fork and exec.
pub(super) fn may_stop_for_the_terminal() -> nix::Result<()> {
    terminal_signals().thread_unblock()
}

/// Stops our group as the terminal would if we used it.
pub(super) fn stop_for_the_terminal() {
    let _ = killpg(getpgrp(), Signal::SIGTTIN);
    // The signal arrives now: every other thread blocks it.
    if terminal_signals().thread_unblock().is_ok() {
        let _ = never_stop_for_the_terminal();
    }
}

fn terminal_signals() -> SigSet {
    SigSet::from_iter([Signal::SIGTTIN, Signal::SIGTTOU])
}

/// Returns the signals that our parent has us ignore, as `nohup` does. The command ignores them, too. Bit n-1 stands
/// for signal n. No bit is set if the system does not tell.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
