//! Staying awake for a reply that is about to come.
//!
//! A thread that sleeps until its reply is there leaves a core with nothing to do. To wake both again takes longer than
//! a server on the same machine takes to answer: 25 µs of 50 on a virtual machine of two cores. A thread that spins
//! in the meantime is answered in half the time, and has used little more processor time than falling asleep and waking
//! would have. But where the server is far away it would be waste, and where somebody else needs the core, harm. So
//! each connection measures both now and then, and spins only while that saves enough of the time for what it spends:
//! adaptive spinning, as mutexes do it.
//!
//! Only a system call tells whether bytes have come, and an exchange is to make no more of them than two. So the thread
//! spins for as long as replies have taken lately, and then reads once.

use std::time::Duration;

/// For how long to spin at most: about twice what falling asleep and waking cost.
pub(in crate::store) const LIMIT: Duration = Duration::from_micros(50);

/// How many exchanges of a new connection are no measure of the later ones.
const WARM_UP: u32 = 32;

/// How many exchanges are measured of each kind.
const TRIAL: usize = 32;

/// For how many exchanges a trial is believed that found for sleeping. The system moves threads between cores, and the
/// next trial finds out. It costs little, because it ends when it has spun in vain some times.
const SLEEP: u32 = 2048;

/// The same where it found for spinning: its other half, asleep, costs more, and that replies come later is seen anyway.
const SPIN: u32 = 8192;

/// A read that takes longer has slept: its reply had not come.
const AT_ONCE: Duration = Duration::from_micros(3);

/// What a guess that was too short grows by, besides its eighth: so that it leaves zero, too.
const STEP: Duration = Duration::from_nanos(250);

/// Whether to spin for replies and how long, as one connection has learned it.
#[derive(Debug)]
pub(super) struct Spinner {
    limit: Duration,
    course: Course,
    /// How long to spin: most replies are there by then.
    guess: Duration,
    /// How long each exchange of the present trial took.
    trial: Vec<Duration>,
}

#[derive(Debug)]
enum Course {
    /// Nothing is measured, for this many more exchanges.
    Sleep {
        left: u32,
    },
    TrySleeping,
    /// `slept` is what an exchange took without spinning.
    TrySpinning {
        slept: Duration,
    },
    Spin {
        left: u32,
        slept: Duration,
    },
}

impl Spinner {
    pub(super) fn new(limit: Duration) -> Spinner {
        let course = Course::Sleep { left: WARM_UP };
        Spinner { limit, course, guess: Duration::ZERO, trial: Vec::new() }
    }

    /// Returns how long to spin for the reply to a request that has just been sent; none where it need not be measured,
    /// either.
    pub(super) fn plan(&mut self) -> Option<Duration> {
        match &mut self.course {
            Course::Sleep { left: 0 } => self.course = Course::TrySleeping,
            Course::Sleep { left } => {
                *left -= 1;
                return None;
            }
            Course::TrySleeping => {}
            Course::TrySpinning { .. } | Course::Spin { .. } => return Some(self.guess),
        }
        Some(Duration::ZERO)
    }

    /// Learns from an exchange that was planned: how long it took as a whole, and its read alone.
    pub(super) fn learn(&mut self, whole: Duration, read: Duration) {
        self.course = match self.course {
            Course::Sleep { .. } => return,
            Course::TrySleeping => match self.measure(whole) {
                Some(slept) => self.begin(slept),
                None => return,
            },
            Course::TrySpinning { slept } => {
                self.adjust(read);
                match self.measure(whole) {
                    _ if self.is_too_long(slept) => self.sleep(),
                    // To fall asleep and to wake takes a part of that time from the processor, too.
                    Some(spun) if spun + self.guess / 2 > slept => self.sleep(),
                    Some(_) => Course::Spin { left: SPIN, slept },
                    None => return,
                }
            }
            Course::Spin { left, slept } => {
                self.adjust(read);
                // Others have come to want the core, or it was chance: that is to be found out.
                let over = left == 0 || self.is_too_long(slept);
                if over { Course::TrySleeping } else { Course::Spin { left: left - 1, slept } }
            }
        };
    }

    fn begin(&mut self, slept: Duration) -> Course {
        self.guess = slept / 4;
        if self.is_too_long(slept) { self.sleep() } else { Course::TrySpinning { slept } }
    }

    fn sleep(&mut self) -> Course {
        self.trial.clear();
        Course::Sleep { left: SLEEP }
    }

    /// Returns true if more is spent than could be saved.
    fn is_too_long(&self, slept: Duration) -> bool {
        self.guess > self.limit.min(slept / 2)
    }

    /// Makes the guess a little shorter if the reply was there by then, and much longer if it was not. To fall asleep
    /// after all costs more than to stay awake some more.
    fn adjust(&mut self, read: Duration) {
        self.guess = if read <= AT_ONCE { self.guess - self.guess / 64 } else { self.guess + self.guess / 8 + STEP };
    }

    /// Takes an exchange down; gives the median at the end of a trial.
    fn measure(&mut self, whole: Duration) -> Option<Duration> {
        self.trial.push(whole);
        if self.trial.len() < TRIAL {
            return None;
        }
        let mut trial = std::mem::take(&mut self.trial);
        Some(*trial.select_nth_unstable(TRIAL / 2).1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MICROSECOND: Duration = Duration::from_micros(1);

    /// What decides how long an exchange takes.
    struct World {
        /// How long the server takes from the request on.
        answer: Duration,
        /// How long it takes to wake a sleeper.
        wake: Duration,
        /// Whether the server gets on while its client spins.
        apart: bool,
    }

    impl World {
        const NEAR: World = World { answer: Duration::from_micros(15), wake: Duration::from_micros(25), apart: true };

        /// Makes exchanges; tells for how long was spun, and how many times that was for nothing.
        fn play(&self, spinner: &mut Spinner, times: u32) -> (Duration, u32) {
            let (mut spun, mut in_vain) = (Duration::ZERO, 0);
            for _ in 0..times {
                let Some(spin) = spinner.plan() else { continue };
                let there = if self.apart { self.answer } else { spin + self.answer };
                let read = if spin >= there { MICROSECOND } else { there - spin + self.wake };
                spinner.learn(spin + read, read);
                spun += spin;
                in_vain += u32::from(spin > Duration::ZERO && read > MICROSECOND);
            }
            (spun, in_vain)
        }
    }

    #[test]
    fn a_server_that_answers_at_once_from_another_core_is_waited_for_awake() {
        let mut spinner = Spinner::new(LIMIT);
        let (spun, in_vain) = World::NEAR.play(&mut spinner, 8000);
        assert!(spun > 7800 * 14 * MICROSECOND && spun < 8000 * 20 * MICROSECOND, "{spun:?}");
        assert!(in_vain < 8000 / 8, "{in_vain}");
    }

    #[test]
    fn a_server_on_the_own_core_is_waited_for_asleep() {
        // It gets the core when its client sleeps, or as soon as the request is sent.
        for (answer, apart) in [(World::NEAR.answer, false), (Duration::ZERO, true)] {
            let world = World { answer, wake: MICROSECOND, apart };
            let (spun, _) = world.play(&mut Spinner::new(LIMIT), 8000);
            assert!(spun < 8000 * MICROSECOND / 10, "{answer:?}: {spun:?}");
        }
    }

    #[test]
    fn a_server_far_away_is_waited_for_asleep() {
        for answer in [60, 100, 150, 200, 1000, 100_000] {
            let world = World { answer: answer * MICROSECOND, ..World::NEAR };
            let (spun, _) = world.play(&mut Spinner::new(LIMIT), 8000);
            assert!(spun < 8000 * answer * MICROSECOND / 100, "{answer}: {spun:?}");
        }
    }

    #[test]
    fn a_spinning_thread_notices_that_the_server_takes_longer_and_later_that_it_does_not() {
        let mut spinner = Spinner::new(LIMIT);
        World::NEAR.play(&mut spinner, 1000);
        let busy = World { answer: 60 * MICROSECOND, ..World::NEAR };
        let (spun, _) = busy.play(&mut spinner, 8000);
        assert!(spun < 100 * LIMIT, "{spun:?}");
        World::NEAR.play(&mut spinner, 2500);
        let (_, in_vain) = World::NEAR.play(&mut spinner, 1000);
        assert!(matches!(spinner.course, Course::Spin { .. }), "{spinner:?}");
        assert!(in_vain < 1000 / 8, "{in_vain}");
    }

    #[test]
    fn whose_limit_is_zero_never_spins() {
        let (spun, _) = World::NEAR.play(&mut Spinner::new(Duration::ZERO), 100_000);
        assert_eq!(spun, Duration::ZERO);
    }
}
