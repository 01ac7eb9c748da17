//! Signals and other events, in one queue for the main thread.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use anyhow::{Context, Result};
use nix::sys::signal::{SigHandler, SigSet, Signal, kill, killpg, raise};
use nix::unistd::{getpgrp, getpid};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::signal::*;
use signal_hook::iterator::Signals;

/// What the main thread waits for.
pub(super) enum Event {
    /// A signal came.
    Signal(i32),
    /// A lock is lost; it tells why.
    Lost,
}

impl Event {
    /// The signal, if it is one.
    pub(super) fn signal(self) -> Option<i32> {
        match self {
            Event::Signal(signal) => Some(signal),
            Event::Lost => None,
        }
    }
}

/// Signals that are passed on to the command; some end a wait.
const FORWARDED: [i32; 9] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM, SIGWINCH, SIGTSTP];

/// Whether a signal asks a command to end.
pub(super) fn interrupts(signal: i32) -> bool {
    matches!(signal, SIGHUP | SIGINT | SIGQUIT | SIGTERM)
}

/// Whether a signal that comes while no command runs ends kvlock, as it ends a process that does not listen.
pub(super) fn ends_a_wait(signal: i32) -> bool {
    interrupts(signal) || matches!(signal, SIGUSR1 | SIGUSR2 | SIGALRM)
}

/// Whether SIGXFSZ was ignored when we were started.
static XFSZ_IS_IGNORED: AtomicBool = AtomicBool::new(false);

/// Makes a file that reaches a limit an error of its write (EFBIG), rather than the end of a process that has a lock.
pub(super) fn survive_limits() {
    // SAFETY: nothing of ours is called for it.
    let before = unsafe { nix::sys::signal::signal(Signal::SIGXFSZ, SigHandler::SigIgn) };
    XFSZ_IS_IGNORED.store(matches!(before, Ok(SigHandler::SigIgn)), Ordering::Relaxed);
}

/// Gives the command what whoever started us has set for it. Called between fork and exec.
pub(super) fn die_of_limits() -> nix::Result<()> {
    if XFSZ_IS_IGNORED.load(Ordering::Relaxed) {
        return Ok(());
    }
    // SAFETY: as above.
    unsafe { nix::sys::signal::signal(Signal::SIGXFSZ, SigHandler::SigDfl) }.map(drop)
}

/// Ends us by this signal, and leaves no core: that is the command's to leave. Returns where nothing can end us so, as
/// the first process of a container.
pub(super) fn die_of(signal: i32) {
    let no_core = Rlimit { current: Some(0), ..getrlimit(Resource::Core) };
    let _ = setrlimit(Resource::Core, no_core);
    let Ok(signal) = Signal::try_from(signal) else { return };
    // SAFETY: nothing of ours is called by the default.
    let _ = unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) };
    let _ = SigSet::from(signal).thread_unblock();
    let _ = raise(signal);
}

/// Ends us by this signal, and sends it to all that share our process group.
pub(super) fn die_with_our_group_of(signal: i32) {
    if let Ok(signal) = Signal::try_from(signal) {
        // Before we end, so that a shell that waits for us has it by then.
        let _ = killpg(getpgrp(), signal);
    }
    die_of(signal);
}

/// Stops the whole process, until it is continued from outside.
pub(super) fn stop() {
    // The one signal that cannot be blocked or ignored; what can go wrong leaves us running.
    let _ = kill(getpid(), Signal::SIGSTOP);
}

/// Stops us and all that share our process group, as Ctrl-Z does.
pub(super) fn stop_group() {
    let _ = killpg(getpgrp(), Signal::SIGSTOP);
}

/// Takes over the process's signals from now on, before it has more than one thread.
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

/// Whoever else of our group uses the terminal while the command has it, as in `kvlock run … | less`, has the whole
/// group stopped: the command would go on while nobody renews its lock. Threads inherit the mask.
fn never_stop_for_the_terminal() -> nix::Result<()> {
    terminal_signals().thread_block()
}

/// The command inherits the mask too, and is to be stopped until it has the terminal. Called between fork and exec.
pub(super) fn may_stop_for_the_terminal() -> nix::Result<()> {
    terminal_signals().thread_unblock()
}

/// Stops our group as the terminal would, were it we who used it.
pub(super) fn stop_for_the_terminal() {
    let _ = killpg(getpgrp(), Signal::SIGTTIN);
    // It comes now: no other thread takes it.
    if terminal_signals().thread_unblock().is_ok() {
        let _ = never_stop_for_the_terminal();
    }
}

fn terminal_signals() -> SigSet {
    SigSet::from_iter([Signal::SIGTTIN, Signal::SIGTTOU])
}

/// The signals that whoever started us has us ignore, as `nohup` does: they stay ignored, for the command too. Bit n-1
/// is signal n; none where the system does not tell.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
