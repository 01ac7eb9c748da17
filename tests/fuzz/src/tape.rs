//! Bytes as a source of choices.

use std::time::Duration;

/// A tape that begins again at its end, so that whoever chooses by it never stops, and an endless loop shows itself.
pub(crate) struct Tape {
    bytes: Vec<u8>,
    at: usize,
}

impl Tape {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Tape { bytes: bytes.to_vec(), at: 0 }
    }

    /// Whether all of it was read once.
    pub(crate) fn has_ended(&self) -> bool {
        self.at >= self.bytes.len()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let byte = self.bytes.get(self.at.checked_rem(self.bytes.len()).unwrap_or(0)).copied().unwrap_or(0);
        self.at += 1;
        byte
    }

    /// One out of `parts` times.
    pub(crate) fn once_in(&mut self, parts: u8) -> bool {
        self.byte() % parts == parts - 1
    }

    pub(crate) fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.byte()) % choices.len()].clone()
    }

    /// Small numbers mostly, and those at the limits of their type.
    pub(crate) fn number(&mut self) -> u64 {
        match self.byte() {
            255 => u64::MAX,
            254 => u64::MAX - 1,
            253 => u64::from(u32::MAX),
            small => u64::from(small % 16),
        }
    }

    /// Nothing mostly, and what a network, an outage or a night may take.
    pub(crate) fn delay(&mut self) -> Duration {
        const DELAYS: [Duration; 8] = [
            Duration::ZERO,
            Duration::ZERO,
            Duration::ZERO,
            Duration::from_micros(200),
            Duration::from_millis(2),
            Duration::from_millis(100),
            Duration::from_secs(29),
            Duration::from_secs(7200),
        ];
        self.pick(&DELAYS)
    }

    /// Up to 63 bytes as they stand.
    pub(crate) fn bytes(&mut self) -> Vec<u8> {
        let length = self.byte() % 64;
        (0..length).map(|_| self.byte()).collect()
    }
}
