//! Contenders that take turns, so that whatever disturbs the machine disturbs all of them.

use std::time::Instant;

use anyhow::{Context, Result};

/// Something to be timed.
pub(crate) struct Contender<'a> {
    name: &'static str,
    /// Does it so many times.
    work: Box<dyn FnMut(usize) -> Result<()> + 'a>,
}

impl<'a> Contender<'a> {
    pub(crate) fn new(name: &'static str, work: impl FnMut(usize) -> Result<()> + 'a) -> Self {
        Contender { name, work: Box::new(work) }
    }
}

/// Lets each work `times` times in each of `rounds` rounds, after one that does not count; the seconds that one time
/// took, for each contender and round. Who begins changes from round to round.
pub(crate) fn take_turns(contenders: &mut [Contender], rounds: usize, times: usize) -> Result<Vec<Vec<f64>>> {
    let count = contenders.len();
    let mut samples = vec![Vec::with_capacity(rounds); count];
    for round in 0..=rounds {
        for turn in 0..count {
            let place = (round + turn) % count;
            let contender = &mut contenders[place];
            let started = Instant::now();
            (contender.work)(times).with_context(|| contender.name.to_owned())?;
            let took = started.elapsed().as_secs_f64() / times as f64;
            if round > 0 {
                samples[place].push(took);
            }
        }
    }
    Ok(samples)
}
