//! Clocks: the one that leases are measured by, and the one of the tests.

use std::num::NonZeroU64;
use std::pin::Pin;
use std::sync::Mutex;
use std::time::Duration;

use async_io::Timer;
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

    /// Returns what a task awaits until `pause` has passed. This one sleeps there and then, which is right for a clock
    /// that a sleep moves on. One that runs by itself returns a timer: a thread that sleeps runs no other tasks.
    fn sleep_async(&self, pause: Duration) -> Pause {
        self.sleep(pause);
        Box::pin(std::future::ready(()))
    }

    /// Returns what a task awaits until `longest` has passed, or sooner: a clock that runs by itself returns a timer,
    /// and what wakes the task is seen to elsewhere. This one sleeps, as [`park`](Self::park) does.
    fn park_async(&self, longest: Duration) -> Pause {
        self.sleep_async(longest.min(LONGEST_SLEEP))
    }
}

/// A pause of a task.
pub type Pause = Pin<Box<dyn Future<Output = ()> + Send>>;

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

    fn sleep_async(&self, pause: Duration) -> Pause {
        Box::pin(async move { _ = Timer::after(pause).await })
    }

    fn park_async(&self, longest: Duration) -> Pause {
        self.sleep_async(longest)
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
