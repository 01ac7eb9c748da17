//! Medians and their spread.

use serde::{Deserialize, Serialize};

/// What many samples of one quantity come to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    /// A tenth of the samples is below.
    pub(crate) p10: f64,
    /// A tenth of the samples is above.
    pub(crate) p90: f64,
    pub(crate) samples: usize,
}

impl Spread {
    pub(crate) fn of(samples: &[f64]) -> Spread {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |part| quantile(&sorted, part);
        Spread { median: at(0.5), p10: at(0.1), p90: at(0.9), samples: sorted.len() }
    }

    /// The ratios of samples that were taken side by side.
    pub(crate) fn of_ratios(above: &[f64], below: &[f64]) -> Spread {
        Spread::of(&above.iter().zip(below).map(|(above, below)| above / below).collect::<Vec<_>>())
    }

    /// A quantity that was counted, not measured.
    pub(crate) fn exactly(value: f64) -> Spread {
        Spread::of(&[value])
    }

    pub(crate) fn scaled(self, factor: f64) -> Spread {
        Spread { median: self.median * factor, p10: self.p10 * factor, p90: self.p90 * factor, ..self }
    }
}

/// The value below which this part of the samples lies; they are sorted.
pub(crate) fn quantile(sorted: &[f64], part: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((part * last as f64).round() as usize).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_the_median_and_the_tenths_at_both_ends() {
        let samples: Vec<f64> = (0..=100).rev().map(f64::from).collect();
        assert_eq!(Spread::of(&samples), Spread { median: 50.0, p10: 10.0, p90: 90.0, samples: 101 });
    }

    #[test]
    fn ratios_are_taken_sample_by_sample() {
        assert_eq!(Spread::of_ratios(&[2.0, 40.0, 6.0], &[1.0, 20.0, 3.0]).median, 2.0);
    }
}
