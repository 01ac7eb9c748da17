//! Where the master is: at a place that the URL names, or where the sentinels say.

use std::fmt;
use std::sync::Arc;

use super::super::place::Place;
use super::super::socket::failure::Failure;
use super::super::socket::wire::Timeouts;
use super::sentinel::Sentinels;

/// Where the master is.
pub(super) enum Whereabouts {
    Fixed(Arc<Place>),
    Watched(Sentinels),
}

impl Whereabouts {
    /// Finds the master's place.
    pub(super) fn place(&self, timeouts: Timeouts) -> Result<Arc<Place>, Failure> {
        match self {
            Whereabouts::Fixed(place) => Ok(Arc::clone(place)),
            Whereabouts::Watched(sentinels) => sentinels.master(timeouts).map(Arc::new),
        }
    }

    /// Whether the master may be elsewhere by now, and somebody can tell.
    pub(super) fn may_move(&self) -> bool {
        matches!(self, Whereabouts::Watched(_))
    }
}

impl fmt::Display for Whereabouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Whereabouts::Fixed(place) => place.fmt(f),
            Whereabouts::Watched(sentinels) => sentinels.fmt(f),
        }
    }
}
