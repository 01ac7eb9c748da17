//! Signals and other events, as the main thread receives them. It waits for signals itself: a thread for them would have
//! to be started at each run, and woken at the end of each command.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::{SigHandler, SigSet, Signal, kill, killpg, raise};
use nix::unistd::{getpgrp, getpid};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::signal::*;
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;

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

/// Receives events.
pub(super) struct Events {
    /// A signal, and a sent event, makes the stream readable.
    signals: RefCell<SignalDelivery<UnixStream, SignalOnly>>,
    /// Signals that came, and were not received so far.
    came: RefCell<VecDeque<i32>>,
    sent: mpsc::Receiver<Event>,
}

/// Sends events from any thread.
#[derive(Clone)]
pub(super) struct Sender {
    events: mpsc::Sender<Event>,
    wake: Arc<UnixStream>,
}

impl Events {
    /// Returns the next event. None if none comes in this time.
    pub(super) fn recv_timeout(&self, length: Duration) -> Option<Event> {
        let until = Instant::now().checked_add(length);
        loop {
            let mut came = self.came.borrow_mut();
            let mut signals = self.signals.borrow_mut();
            came.extend(signals.pending());
            if let Some(event) = came.pop_front().map(Event::Signal).or_else(|| self.sent.try_recv().ok()) {
                return Some(event);
            }
            let left = until.map_or(length, |until| until.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return None;
            }
            let left = Timespec::try_from(left).ok();
            // A signal interrupts it, and is then there.
            let _ = poll(&mut [PollFd::new(signals.get_read(), PollFlags::IN)], left.as_ref());
        }
    }

    /// Returns the events that are there.
    pub(super) fn try_iter(&self) -> impl Iterator<Item = Event> {
        std::iter::from_fn(|| self.recv_timeout(Duration::ZERO))
    }
}

impl Sender {
    /// Sends an event. After the main loop, nobody receives it.
    pub(super) fn send(&self, event: Event) {
        if self.events.send(event).is_ok() {
            // A stream that is full wakes the main thread as well.
            let _ = (&*self.wake).write(&[0]);
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
pub(super) fn listen() -> Result<(Sender, Events)> {
    never_stop_for_the_terminal().context("cannot block signals")?;
    let ignored = ignored();
    let wanted = FORWARDED.into_iter().filter(|signal| ignored >> (signal - 1) & 1 == 0);
    let listening = || {
        let (read, write) = UnixStream::pair()?;
        let wake = write.try_clone()?;
        wake.set_nonblocking(true)?;
        let signals = SignalDelivery::with_pipe(read, write, SignalOnly, wanted.chain([SIGCHLD]))?;
        std::io::Result::Ok((signals, wake))
    };
    let (signals, wake) = listening().context("cannot listen for signals")?;
    let (events, sent) = mpsc::channel();
    let events_of_main = Events { signals: RefCell::new(signals), came: RefCell::default(), sent };
    Ok((Sender { events, wake: Arc::new(wake) }, events_of_main))
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
