//! The options that all waits have, and their setters.

use std::sync::Arc;
use std::time::Duration;

use crate::ride_out::RideOut;
use crate::store::Ttl;

/// How long a grant lasts unless renewed, when nobody says otherwise.
pub const DEFAULT_LEASE: Duration = Duration::from_secs(30);
/// The longest pause between two tries, when nobody says otherwise.
pub const DEFAULT_INTERVAL: Duration = Duration::from_millis(50);

/// How long to wait, and how long to hold what was waited for.
#[derive(Debug, Clone)]
pub(crate) struct WaitOptions {
    pub(crate) lease: Ttl,
    /// None: for ever.
    pub(crate) wait: Option<Duration>,
    pub(crate) interval: Duration,
    pub(crate) ride_out: RideOut,
    /// What it is held for.
    pub(crate) note: Option<Arc<str>>,
}

impl Default for WaitOptions {
    fn default() -> Self {
        let (lease, ride_out) = (Ttl::After(DEFAULT_LEASE), RideOut::default());
        WaitOptions { lease, wait: None, interval: DEFAULT_INTERVAL, ride_out, note: None }
    }
}

impl WaitOptions {
    /// Returns the same, but for one try.
    pub(crate) fn once(&self) -> Self {
        WaitOptions { wait: Some(Duration::ZERO), ..self.clone() }
    }
}

/// Makes the setters of a builder whose field `options` is a [`WaitOptions`]. The builder tells what each is about.
macro_rules! wait_setters {
    ($(#[$doc:meta])* lease $($rest:tt)*) => {
        $(#[$doc])*
        pub fn lease(mut self, lease: impl Into<crate::store::Ttl>) -> Self {
            self.options.lease = lease.into();
            self
        }

        crate::acquire::options::wait_setters! { $($rest)* }
    };
    ($(#[$doc:meta])* wait $($rest:tt)*) => {
        $(#[$doc])*
        pub fn wait(mut self, wait: std::time::Duration) -> Self {
            self.options.wait = Some(wait);
            self
        }

        crate::acquire::options::wait_setters! { $($rest)* }
    };
    ($(#[$doc:meta])* interval $($rest:tt)*) => {
        $(#[$doc])*
        pub fn interval(mut self, interval: std::time::Duration) -> Self {
            self.options.interval = interval;
            self
        }

        crate::acquire::options::wait_setters! { $($rest)* }
    };
    ($(#[$doc:meta])* note $($rest:tt)*) => {
        $(#[$doc])*
        pub fn note(mut self, note: impl Into<String>) -> Self {
            self.options.note = Some(note.into().into());
            self
        }

        crate::acquire::options::wait_setters! { $($rest)* }
    };
    ($(#[$doc:meta])* ride_out $($rest:tt)*) => {
        $(#[$doc])*
        pub fn ride_out(mut self, longest: std::time::Duration) -> Self {
            self.options.ride_out.set(longest);
            self
        }

        /// Sets how long to ride out an outage that the session's first call finds. Any other is ridden out as
        /// [`ride_out`](Self::ride_out) says, which is to be called before this.
        pub fn ride_out_first(mut self, longest: std::time::Duration) -> Self {
            self.options.ride_out.set_first(longest);
            self
        }

        crate::acquire::options::wait_setters! { $($rest)* }
    };
    () => {};
}
pub(crate) use wait_setters;
