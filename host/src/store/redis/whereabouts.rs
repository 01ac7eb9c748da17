//! Where the master is: at a place that the URL names, or where sentinels or the nodes of a cluster say.

use std::fmt;
use std::sync::Arc;

use kvlock_protocol::Failure;

use super::super::place::Place;
use super::super::socket::wire::Timeouts;
use super::cluster::Nodes;
use super::sentinel::Sentinels;

/// Where the master is.
pub(super) enum Whereabouts {
    Fixed(Arc<Place>),
    Watched(Arc<Sentinels>),
    /// The master of one of the hashes of a cluster.
    Clustered(Arc<Nodes>, Arc<str>),
}

impl Whereabouts {
    /// Finds the master's place.
    pub(super) fn place(&self, timeouts: Timeouts) -> Result<Arc<Place>, Failure> {
        match self {
            Whereabouts::Fixed(place) => Ok(Arc::clone(place)),
            Whereabouts::Watched(sentinels) => sentinels.master(timeouts).map(Arc::new),
            Whereabouts::Clustered(nodes, hash) => nodes.master(hash, timeouts).map(Arc::new),
        }
    }

    /// Whether the master may be elsewhere by now, and somebody can tell.
    pub(super) fn may_move(&self) -> bool {
        !matches!(self, Whereabouts::Fixed(_))
    }
}

impl fmt::Display for Whereabouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Whereabouts::Fixed(place) => place.fmt(f),
            Whereabouts::Watched(sentinels) => sentinels.fmt(f),
            Whereabouts::Clustered(nodes, _) => nodes.fmt(f),
        }
    }
}
