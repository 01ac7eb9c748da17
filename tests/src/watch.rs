//! Time as this machine can keep it. A bound on real time is told for a machine that does nothing else; whoever shares
//! the machine makes everything on it slower, and that is measured beside the test.

use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// How much processor time a sample takes: longer than a thread runs before others get their turn.
const WORK: Duration = Duration::from_millis(6);
/// The pause between two samples: the measurement is not to slow down what it measures.
const PAUSE: Duration = Duration::from_millis(60);

/// A watch that was started. It knows how slow the machine was while it ran.
#[derive(Debug, Clone, Copy)]
pub struct Watch(Instant);

impl Watch {
    /// Starts a watch.
    pub fn start() -> Watch {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| drop(std::thread::spawn(sample)));
        Watch(Instant::now())
    }

    /// Returns how long it has run, in real time.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    /// Fails if what ended now took longer than it may on a machine that does nothing else.
    #[track_caller]
    pub fn assert_within(&self, bound: Duration) {
        self.assert_took_within(self.elapsed(), bound);
    }

    /// Fails if what took so long since the start took longer than it may on a machine that does nothing else.
    #[track_caller]
    pub fn assert_took_within(&self, took: Duration, bound: Duration) {
        if took >= bound {
            let slowness = self.slowness();
            assert!(
                took < bound.mul_f64(slowness),
                "{took:?}, at most {bound:?} where a machine is not {slowness:.1} times as slow"
            );
        }
    }

    /// How many times as long as without others the machine took for the slowest piece of work since the start.
    fn slowness(&self) -> f64 {
        loop {
            let samples = SAMPLES.lock().unwrap_or_else(PoisonError::into_inner);
            let since = samples.iter().rev().take_while(|sample| sample.ended > self.0);
            if let Some(slowness) = since.map(|sample| sample.slowness).max_by(f64::total_cmp) {
                return slowness;
            }
            drop(samples);
            std::thread::sleep(PAUSE);
        }
    }
}

struct Sample {
    ended: Instant,
    slowness: f64,
}

static SAMPLES: Mutex<Vec<Sample>> = Mutex::new(Vec::new());

/// Works and pauses for ever.
fn sample() {
    loop {
        let (began, used) = (Instant::now(), processor_time());
        let mut worked = Duration::ZERO;
        while worked < WORK {
            worked = processor_time() - used;
        }
        let ended = Instant::now();
        let slowness = (ended - began).as_secs_f64() / worked.as_secs_f64();
        SAMPLES.lock().unwrap_or_else(PoisonError::into_inner).push(Sample { ended, slowness: slowness.max(1.0) });
        std::thread::sleep(PAUSE);
    }
}

/// The processor time that this thread has had.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
