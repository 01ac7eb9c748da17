//! Clocks: the one that leases are measured by, and the one of the tests.

use std::num::NonZeroU64;
use std::sync::Mutex;
use std::time::Duration;

use rustix::thread::{current_timer_slack, set_current_timer_slack};

/// The monotonic clock that the component sees as `wasi:clocks/monotonic-clock`.
///
/// An implementation MUST NOT go back, and SHOULD run on while the machine is suspended: the server's leases do.
pub trait Clock: Send + Sync + 'static {
    /// Returns the time since some fixed start.
    fn now(&self) -> Duration;

    /// Returns once `pause` has passed.
    fn sleep(&self, pause: Duration);

    /// Returns once `longest` has passed, or sooner: a clock that runs by itself returns as soon as the thread is
    /// unparked ([`std::thread::park_timeout`]). This one sleeps, for a moment only, since it cannot be woken.
    fn park(&self, longest: Duration) {
        self.sleep(longest.min(LONGEST_SLEEP));
    }
}

/// How long a thread sleeps at most that waits for something to be told it: what it is told meanwhile comes so late.
const LONGEST_SLEEP: Duration = Duration::from_millis(50);

/// The system's `CLOCK_BOOTTIME`, which unlike [`std::time::Instant`] on Linux counts the time that the machine was
/// suspended.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::exhaustive_structs, reason = "it has no parts")]
pub struct BootClock;

impl Clock for BootClock {
    fn now(&self) -> Duration {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        // Both halves are non-negative for a clock that starts at boot.
        Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
    }

    fn sleep(&self, pause: Duration) {
        punctually(pause, || std::thread::sleep(pause));
    }

    fn park(&self, longest: Duration) {
        punctually(longest, || std::thread::park_timeout(longest));
    }
}

/// Pauses longer than this may be a little longer still: Linux lets a sleep take up to 50 µs more, to wake less often
/// (`PR_SET_TIMERSLACK`).
const LONG: Duration = Duration::from_millis(5);

/// Pauses without the slack of the system's timers, if the pause is short. The next waiter looks every few dozen
/// microseconds, for a moment, if the lock is free.
fn punctually(pause: Duration, wait: impl FnOnce()) {
    let usual = if pause < LONG { current_timer_slack().ok() } else { None };
    if usual.is_some() {
        // What is not done makes the pause longer, and no difference else.
        let _ = set_current_timer_slack(NonZeroU64::new(1));
    }
    wait();
    if let Some(usual) = usual {
        let _ = set_current_timer_slack(NonZeroU64::new(usual));
    }
}

/// A clock that stands still until it is told otherwise: minutes of waiting take no time.
///
/// A sleep moves it on at once, so a blocking call on one thread runs through its pauses. With several sessions on one
/// thread, poll their acquisitions and [`advance`](Self::advance) the clock between polls.
#[derive(Debug, Default)]
pub struct VirtualClock {
    now: Mutex<Duration>,
}

impl VirtualClock {
    /// Returns a clock that starts at an hour, so that a test can look back.
    pub fn new() -> Self {
        VirtualClock { now: Mutex::new(Duration::from_secs(3600)) }
    }

    /// Moves the clock on.
    pub fn advance(&self, by: Duration) {
        let mut now = self.now.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        *now = now.saturating_add(by);
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Duration {
        *self.now.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn sleep(&self, pause: Duration) {
        self.advance(pause);
    }
}
