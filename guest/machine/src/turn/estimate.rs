//! How long a turn takes, and how far that is to be trusted.

use core::time::Duration;

use crate::records::{LONGEST_TURN, corrected, rounded};

/// A turn ends up to this part of its length sooner or later than expected.
pub(super) const ERROR: u32 = 6;

/// The estimated time from one grant to the next.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct TurnEstimate {
    length: Option<Duration>,
    /// Whether anybody measured the length; if not, it is a first guess.
    is_measured: bool,
    /// A measurement that the estimate does not contain so far: this session's, or what a holder announced.
    measured: Option<Duration>,
    /// Whether the session measured turns of this key when it had the key before.
    is_remembered: bool,
    /// Whether holders' records are the only source, and this waiter saw no turn begin and end.
    only_told: bool,
    /// How long the last turn took that this waiter saw begin and end. Turns of newcomers count, too.
    last: Option<Duration>,
}

impl TurnEstimate {
    /// Starts with what the session measured when it had the key before.
    pub(super) fn remembering(turn: Duration) -> Self {
        TurnEstimate { measured: Some(turn.min(LONGEST_TURN)), is_remembered: true, ..TurnEstimate::default() }
    }

    pub(super) fn length(&self) -> Option<Duration> {
        self.length
    }

    pub(super) fn is_measured(&self) -> bool {
        self.is_measured
    }

    /// Takes in what the record of another holder announces, and the length of the turn that ended.
    pub(super) fn announce(&mut self, announced: Option<Duration>, ended: Option<Duration>, listed: Option<Duration>) {
        self.last = ended.or(self.last);
        // A holder that takes the lock once has no other way to tell.
        let announced = announced.map(|turn| turn.min(LONGEST_TURN));
        // The figure may be that of a crowd that was served, whose tickets still stand in the list.
        let is_known = self.is_measured || self.measured.is_some() || listed.is_some();
        self.only_told |= announced.is_some() && !is_known;
        self.only_told &= self.last.is_none();
        self.measured = self.measured.or(announced);
    }

    /// Takes in what a look found: the figure of the list, and how long the look before was ago if the key changed
    /// hands since.
    pub(super) fn learn(&mut self, listed: Option<Duration>, changed_hands_in: Option<Duration>) {
        if self.length.is_none() {
            // It may have changed hands more than once.
            self.length = changed_hands_in.map(|time| time / 2);
        }
        self.is_measured |= listed.is_some() || self.measured.is_some();
        // The list carries what all have measured; this session's measurement is added to it once.
        let length = match self.measured.take() {
            Some(measured) => Some(corrected(listed, measured)),
            None => listed.or(self.length),
        };
        self.length = length.map(|length| believable(length, self.last).min(LONGEST_TURN));
    }

    /// Takes this length if none is known.
    pub(super) fn guess(&mut self, length: Duration) {
        self.length.get_or_insert(length);
    }

    /// Returns the figure to be told to others, if turns took this long while this session waited, and the last one it
    /// saw took `last`.
    pub(super) fn to_tell(&self, length: Duration, last: Option<Duration>) -> Duration {
        rounded(believable(length, last.or(self.last)))
    }

    /// Returns true if a waiter may sleep on the estimate. A figure that holders announced is not enough. And a turn
    /// that a crash made long is told on until somebody sees another: such a length must have been seen.
    pub(super) fn is_trusted(&self, interval: Duration) -> bool {
        let is_seen = self.is_remembered || self.last.is_some();
        !self.only_told && (is_seen || self.length <= Some(interval))
    }
}

/// Cuts a length to what was seen last: newcomers have turns, too, and what is told may be of another time.
fn believable(length: Duration, last: Option<Duration>) -> Duration {
    last.map_or(length, |last| length.min(last + last / ERROR))
}
