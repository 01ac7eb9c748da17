//! Random numbers in stock: to fetch them from the system one by one would be a good part of what an acquire costs.

use std::time::Duration;

use crate::process::Process;

/// How many are fetched at a time: the 256 bytes that the kernel promises to give without a stop.
const STOCK: usize = 32;

/// Numbers of the system's secure generator that have not been used yet.
pub(crate) struct Stock {
    numbers: [u64; STOCK],
    left: usize,
    /// Who fetched them: what a fork inherits is its parent's.
    process: Process,
}

impl Stock {
    /// None in stock.
    pub(crate) fn new() -> Self {
        Stock { numbers: [0; STOCK], left: 0, process: Process::current() }
    }

    /// Draws one. `now` is mixed in, because the copies of a virtual machine have the same stock: they do not draw from
    /// it in the same nanosecond.
    pub(crate) fn draw(&mut self, now: Duration) -> Result<u64, getrandom::Error> {
        if self.left == 0 || !self.process.is_current() {
            self.fetch()?;
        }
        self.left -= 1;
        Ok(std::mem::take(&mut self.numbers[self.left]) ^ now.as_nanos() as u64)
    }

    fn fetch(&mut self) -> Result<(), getrandom::Error> {
        let mut numbers = [[0; 8]; STOCK];
        getrandom::fill(numbers.as_flattened_mut())?;
        *self = Stock { numbers: numbers.map(u64::from_ne_bytes), left: STOCK, process: Process::current() };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_number_is_drawn_twice() {
        let mut stock = Stock::new();
        let drawn: HashSet<_> = (0..10 * STOCK).map(|_| stock.draw(Duration::ZERO).unwrap()).collect();
        assert_eq!(drawn.len(), 10 * STOCK);
    }

    #[test]
    fn a_copy_of_the_machine_draws_other_numbers_at_another_time() {
        let mut stock = Stock::new();
        stock.draw(Duration::ZERO).unwrap();
        let mut copy = Stock { ..stock };
        assert_ne!(stock.draw(Duration::from_nanos(1)), copy.draw(Duration::from_nanos(2)));
    }
}
