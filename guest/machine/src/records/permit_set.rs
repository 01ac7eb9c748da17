//! The permit numbers that a semaphore has: a set, written as ranges.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// Most permits of a semaphore: to count those in use takes a read of each.
pub const MAX_PERMITS: u32 = 1_000_000;

/// Ranges in order, with both ends, that neither overlap nor touch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct PermitSet(Vec<(u32, u32)>);

impl PermitSet {
    /// Returns the first `count` numbers.
    pub(crate) fn first(count: u32) -> Self {
        let mut numbers = PermitSet::default();
        numbers.grow_to(count);
        numbers
    }

    pub(crate) fn len(&self) -> u32 {
        self.0.iter().map(|range| length(*range)).sum()
    }

    pub(crate) fn contains(&self, number: u32) -> bool {
        self.0.iter().any(|&(low, high)| (low..=high).contains(&number))
    }

    /// Returns up to `count` numbers, the smaller ones first, without the first `skip`.
    pub(crate) fn part(&self, mut skip: u32, count: usize) -> Vec<u32> {
        let mut part = Vec::new();
        for &(low, high) in &self.0 {
            if skip >= length((low, high)) {
                skip -= length((low, high));
                continue;
            }
            part.extend((low + skip..=high).take(count.saturating_sub(part.len())));
            skip = 0;
        }
        part
    }

    /// Returns up to `count` numbers from a position on, and round the end, none twice. The position is reduced to the
    /// count of all.
    pub(crate) fn round(&self, from: u32, count: usize) -> Vec<u32> {
        let position = from.checked_rem(self.len()).unwrap_or(0);
        let mut round = self.part(position, count);
        let before = usize::try_from(position).unwrap_or(usize::MAX);
        round.extend(self.part(0, before.min(count - round.len())));
        round
    }

    /// Adds the smallest missing numbers until there are `count`.
    pub(crate) fn grow_to(&mut self, count: u32) {
        let mut missing = count.saturating_sub(self.len());
        let mut next = 0;
        let mut grown: Vec<(u32, u32)> = Vec::new();
        for &(low, high) in &self.0 {
            let gap = (low - next).min(missing);
            push(&mut grown, next, gap);
            missing -= gap;
            push(&mut grown, low, length((low, high)));
            next = high.saturating_add(1);
        }
        push(&mut grown, next, missing);
        self.0 = grown;
    }

    /// Takes a number out.
    pub(crate) fn remove(&mut self, number: u32) {
        let Some(at) = self.0.iter().position(|&(low, high)| (low..=high).contains(&number)) else { return };
        let (low, high) = self.0.remove(at);
        if number < high {
            self.0.insert(at, (number + 1, high));
        }
        if low < number {
            self.0.insert(at, (low, number - 1));
        }
    }

    /// Writes the set as `0-2,5,7-9`, or as nothing.
    pub(crate) fn encode(&self) -> String {
        let mut text = String::new();
        for &(low, high) in &self.0 {
            if !text.is_empty() {
                text.push(',');
            }
            text += &if low == high { format!("{low}") } else { format!("{low}-{high}") };
        }
        text
    }

    /// Reads what [`encode`](Self::encode) writes. The caller writes it again to refuse another spelling.
    pub(crate) fn decode(text: &str) -> Option<Self> {
        let mut ranges = Vec::new();
        for range in text.split(',').filter(|range| !range.is_empty()) {
            let (low, high) = range.split_once('-').unwrap_or((range, range));
            let (low, high): (u32, u32) = (low.parse().ok()?, high.parse().ok()?);
            let follows = ranges.last().is_none_or(|&(_, last): &(u32, u32)| last < low && low - last > 1);
            // Beyond it no semaphore has numbers, and a sum of lengths stays far from the limits of its type.
            if low > high || high >= MAX_PERMITS || !follows {
                return None;
            }
            ranges.push((low, high));
        }
        Some(PermitSet(ranges))
    }
}

fn length((low, high): (u32, u32)) -> u32 {
    high - low + 1
}

/// Appends the `count` numbers from `low` on.
fn push(ranges: &mut Vec<(u32, u32)>, low: u32, count: u32) {
    if count == 0 {
        return;
    }
    let high = low + (count - 1);
    match ranges.last_mut() {
        Some(last) if last.1.checked_add(1) == Some(low) => last.1 = high,
        _ => ranges.push((low, high)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_ranges_are_the_set_that_they_stand_for(
            start in 0u32..40, changes in proptest::collection::vec((any::<bool>(), 0u32..60), 0..30),
        ) {
            let mut numbers = PermitSet::first(start);
            let mut set: BTreeSet<u32> = (0..start).collect();
            for (grow, number) in changes {
                if grow {
                    numbers.grow_to(number);
                    let missing: Vec<u32> = (0..200).filter(|number| !set.contains(number)).collect();
                    let short = (number as usize).saturating_sub(set.len());
                    set.extend(&missing[..short]);
                } else {
                    numbers.remove(number);
                    set.remove(&number);
                }
                prop_assert_eq!(numbers.len() as usize, set.len());
                prop_assert_eq!(numbers.part(0, usize::MAX), set.iter().copied().collect::<Vec<_>>());
                prop_assert_eq!(numbers.part(3, 5), set.iter().copied().skip(3).take(5).collect::<Vec<_>>());
                let round: Vec<u32> = set.iter().cycle().skip(3).take(set.len().min(50)).copied().collect();
                if set.len() > 3 {
                    prop_assert_eq!(numbers.round(3, 50), round);
                }
                prop_assert_eq!(numbers.contains(number), set.contains(&number));
                prop_assert_eq!(PermitSet::decode(&numbers.encode()), Some(numbers.clone()));
            }
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "[0-9,-]{0,40}") {
            if let Some(numbers) = PermitSet::decode(&text) {
                prop_assert!(numbers.len() <= MAX_PERMITS);
            }
        }
    }

    #[test]
    fn ranges_out_of_order_or_out_of_bounds_are_refused() {
        for bad in ["3-1", "1,1", "2,1", "0-4,3", "1-2-3", "x", "1000000", "0-4294967295"] {
            assert_eq!(PermitSet::decode(bad), None, "{bad}");
        }
    }
}
