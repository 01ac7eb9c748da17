//! The pauses between tries.

use core::time::Duration;

/// The first pause: a few round trips on a local network.
const FIRST: Duration = Duration::from_millis(1);

/// The longest pause of those who spread out, in limits.
const MOST_SPREAD: u32 = 8;

/// Pauses that double up to a limit. Each is cut by up to a half at random, so that waiters do not march in step.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Backoff {
    pause: Duration,
    limit: Duration,
    random: u64,
}

impl Backoff {
    pub(crate) fn new(limit: Duration, seed: u128) -> Self {
        // Both halves of the seed are random; either would do.
        Backoff { pause: FIRST.min(limit), limit, random: seed as u64 }
    }

    pub(crate) fn next(&mut self) -> Duration {
        let whole = self.pause;
        self.pause = whole.saturating_mul(2).min(self.limit);
        self.cut(whole)
    }

    /// Returns a pause after this many times in a row in which somebody else was faster. All who want to write at once
    /// spread out, over more and more time: each that was faster was one before this.
    pub(crate) fn spread(&mut self, times: u32) -> Duration {
        let doubled_thrice = self.next().max(self.next()).max(self.next());
        doubled_thrice.saturating_mul(times.min(MOST_SPREAD))
    }

    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }

    /// Returns a pause of the limit's size, whatever those before were.
    pub(crate) fn settled(&mut self) -> Duration {
        self.cut(self.limit)
    }

    fn cut(&mut self, whole: Duration) -> Duration {
        let half = whole / 2;
        // 32 random bits are fine enough a grain for a pause.
        let share = u128::from(self.draw() >> 32);
        let cut = half.as_nanos().saturating_mul(share) >> 32;
        whole.saturating_sub(Duration::from_nanos(u64::try_from(cut).unwrap_or(0)))
    }

    /// Returns a random number below `bound`, which is not zero.
    pub(crate) fn random_below(&mut self, bound: u32) -> u32 {
        // A product of 32-bit numbers; its upper half is below the bound.
        let scaled = (self.draw() >> 32).wrapping_mul(u64::from(bound)) >> 32;
        u32::try_from(scaled).unwrap_or(0)
    }

    /// Draws a number by SplitMix64 (Steele, Lea and Flood 2014): small, and good enough to spread pauses.
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_limit_and_are_never_under_half_of_it_there() {
        let limit = Duration::from_millis(50);
        let mut backoff = Backoff::new(limit, 7);
        assert!(backoff.next() <= FIRST);
        for _ in 0..10 {
            backoff.next();
        }
        for _ in 0..1000 {
            let pause = backoff.next();
            assert!(pause <= limit && pause >= limit / 2, "{pause:?}");
        }
    }

    #[test]
    fn two_seeds_do_not_march_in_step() {
        let (mut one, mut two) = (Backoff::new(FIRST, 1), Backoff::new(FIRST, 2));
        assert!((0..10).any(|_| one.next() != two.next()));
    }
}
