//! The outcomes of calls about grants and tries: plain values.

use std::time::Duration;

/// How long a grant is surely valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Validity {
    /// For this long, counted from before its request left and less a margin for drifting clocks.
    Valid(Duration),
    /// Until released: the lease is for ever.
    Unlimited,
    /// Not known until it is renewed: the grant was written out or resumed, or a release of it was not answered.
    Unconfirmed,
    /// It is over.
    Lost,
}

/// What follows a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NextTry {
    /// The lock is released. Nothing more to do.
    Finished,
    /// Poll again after this long: the lock is reserved until then and somewhat longer, unless the caller said that it
    /// comes later than that. A caller that comes later than the reservation lasts stops all others for that time.
    RetryAfter(Duration),
    /// That was the last try: the lock is released.
    Exhausted,
    /// It ran within another try of the session, whose lock it is: that one is to be reported as a conflict.
    Outermost,
}
