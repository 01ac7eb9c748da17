//! What only kvlock's own tests need; the rest is in `kvlock-testkit`.
#![warn(missing_docs)]

pub mod calls;
pub mod certificates;
pub mod faults;
pub mod kvlock;
pub mod npm;
pub mod proxy;
pub mod python;
pub mod standing_clock;
pub mod table;
pub mod terminal;
pub mod tree;
pub mod watch;

pub use certificates::Certificates;
pub use kvlock::Kvlock;
pub use proxy::{Mode, Proxy};
pub use standing_clock::StandingClock;
pub use table::Table;
pub use terminal::Terminal;
pub use watch::Watch;
