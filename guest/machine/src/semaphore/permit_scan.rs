//! What a waiter remembers about an exhausted semaphore, so that a try need not read all of a large one.

use alloc::vec::Vec;

use crate::records::PermitSet;
use crate::values::Time;

/// The numbers of one look: with the definition, three times the keys of a semaphore of ten.
pub(super) const LOOK: usize = 31;
/// How many of them at most may be numbers whose leases have ended. The others come in turn: otherwise holders that
/// renew late would keep the look at the same numbers.
const ENDED: usize = LOOK / 2;

/// Looks at a part of the numbers at a time, in turn. Those whose leases have ended come first.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct PermitScan {
    /// How many were held when all were read last.
    pub(super) held: u32,
    /// Where among the numbers the next look begins.
    next: u32,
    ends: LeaseEnds,
}

/// The numbers whose leases end first, and when; as many as one look may take.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct LeaseEnds(Vec<(Time, u32)>);

impl PermitScan {
    /// Starts after all numbers were read.
    pub(super) fn new(held: u32, from: u32, ends: LeaseEnds) -> Self {
        PermitScan { held, next: from, ends }
    }

    /// Returns the numbers to look at now.
    pub(super) fn look(&mut self, numbers: &PermitSet, now: Time) -> Vec<u32> {
        let mut look = self.ends.take_ended(now);
        look.retain(|number| numbers.contains(*number));
        let turn = numbers.round(self.next, LOOK - look.len());
        self.next =
            self.next.wrapping_add(u32::try_from(turn.len()).unwrap_or(0)).checked_rem(numbers.len()).unwrap_or(0);
        look.retain(|number| !turn.contains(number));
        look.extend(turn);
        look
    }

    /// Notes when the numbers of a look that found none free may be free.
    pub(super) fn note(&mut self, ends: LeaseEnds) {
        ends.0.into_iter().for_each(|(end, number)| self.ends.note(number, end));
    }
}

impl LeaseEnds {
    pub(super) fn note(&mut self, number: u32, end: Time) {
        self.0.retain(|(_, noted)| *noted != number);
        let place = self.0.partition_point(|(noted, _)| *noted <= end);
        self.0.insert(place, (end, number));
        self.0.truncate(ENDED);
    }

    fn take_ended(&mut self, now: Time) -> Vec<u32> {
        let ended = self.0.partition_point(|(end, _)| *end <= now);
        self.0.drain(..ended).map(|(_, number)| number).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;

    #[test]
    fn every_number_comes_in_turn_though_there_are_always_some_whose_leases_have_ended() {
        let numbers = PermitSet::first(1000);
        let mut watch = PermitScan::new(1000, 990, LeaseEnds::default());
        let mut seen = BTreeSet::new();
        for _ in 0..1000usize.div_ceil(LOOK - ENDED) {
            for number in 0..100 {
                watch.ends.note(number, Time::from_nanos(0));
            }
            let look = watch.look(&numbers, Time::from_nanos(1));
            assert!(look.len() <= LOOK && look.iter().collect::<BTreeSet<_>>().len() == look.len(), "{look:?}");
            seen.extend(look);
        }
        assert_eq!(seen.len(), 1000);
    }

    #[test]
    fn a_number_is_looked_at_when_its_lease_has_ended_and_once() {
        let numbers = PermitSet::first(1000);
        let mut watch = PermitScan::new(1000, 0, LeaseEnds::default());
        watch.ends.note(700, Time::from_nanos(5));
        assert!(!watch.look(&numbers, Time::from_nanos(4)).contains(&700));
        assert!(watch.look(&numbers, Time::from_nanos(5)).contains(&700));
        assert!(!watch.look(&numbers, Time::from_nanos(6)).contains(&700));
    }

    #[test]
    fn a_small_semaphore_is_read_as_a_whole() {
        let numbers = PermitSet::first(10);
        let mut watch = PermitScan::new(10, 7, LeaseEnds::default());
        for _ in 0..3 {
            assert_eq!(
                watch.look(&numbers, Time::from_nanos(1)).into_iter().collect::<BTreeSet<_>>(),
                (0..10).collect()
            );
        }
    }
}
