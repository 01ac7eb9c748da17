//! The nonces of a session.
//!
//! A nonce must differ from every other: with two alike, a session takes another's record for its own. And nobody may
//! guess one from others, since a written grant is as good as the lock. So nonces come from a secure generator, seeded
//! for each session: asking the host for each was a tenth of the cost of an acquire and a release over memory. The time
//! is mixed in. A snapshot of a machine or an instance copies a session, and the copies draw the same numbers, but not
//! in the same nanosecond.

use chacha20::ChaCha12Rng;
use chacha20::rand_core::{Rng, SeedableRng};

use crate::records::Nonce;
use crate::values::Time;

/// The nonces of one session.
#[derive(Debug)]
pub struct Nonces(ChaCha12Rng);

impl Nonces {
    /// Takes 256 bits of a secure generator, new for each session.
    pub fn new(seed: [u64; 4]) -> Self {
        let mut bytes = <ChaCha12Rng as SeedableRng>::Seed::default();
        for (bytes, number) in bytes.chunks_exact_mut(8).zip(seed) {
            bytes.copy_from_slice(&number.to_le_bytes());
        }
        Nonces(ChaCha12Rng::from_seed(bytes))
    }

    /// Draws the next, at a time by the session's clock.
    pub fn draw(&mut self, now: Time) -> Nonce {
        let mut half = || u128::from(self.0.next_u64() ^ now.as_nanos());
        Nonce(half() << 64 | half())
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use super::*;

    const SEED: [u64; 4] = [1, 2, 3, 4];

    #[test]
    fn neither_a_nonce_nor_a_half_of_one_comes_twice_though_the_clock_stands_still() {
        let mut nonces = Nonces::new(SEED);
        let drawn: BTreeSet<_> = (0..10_000).map(|_| nonces.draw(Time::from_nanos(0)).0).collect();
        let halves: BTreeSet<_> = drawn.iter().flat_map(|nonce| [(nonce >> 64) as u64, *nonce as u64]).collect();
        assert_eq!((drawn.len(), halves.len()), (10_000, 20_000));
    }

    #[test]
    fn every_part_of_the_seed_makes_another_sequence() {
        let first = |seed| Nonces::new(seed).draw(Time::from_nanos(0));
        for part in 0..4 {
            let mut other = SEED;
            other[part] += 1;
            assert_ne!(first(SEED), first(other));
        }
    }

    #[test]
    fn a_copy_of_a_session_draws_another_nonce_at_another_time() {
        let at = |nanos| Nonces::new(SEED).draw(Time::from_nanos(nanos));
        assert_ne!(at(1), at(2));
    }
}
