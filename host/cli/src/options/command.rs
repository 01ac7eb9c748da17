//! The command that is run under a lock or a permit, and how it is ended.

use std::ffi::OsString;

use crate::options::duration::HumanDuration;

/// How long a command has between TERM and KILL if its lock is lost and nobody says otherwise.
const DEFAULT_GRACE: &str = "5s";

/// A command, and how it is ended.
#[derive(clap::Args)]
pub(crate) struct CommandArgs {
    /// End the command after this long, as if the lock were lost
    #[arg(long, env = "KVLOCK_MAX_HOLD")]
    pub(crate) max_hold: Option<HumanDuration>,
    /// Time between TERM and KILL when the lock is lost; at most a quarter of the lease
    #[arg(long, env = "KVLOCK_GRACE", default_value = DEFAULT_GRACE)]
    pub(crate) grace: HumanDuration,
    /// What to do if the command has ended and left processes running in its group
    #[arg(long, env = "KVLOCK_LINGER", value_name = "WHAT", default_value = "release")]
    pub(crate) linger: Linger,
    /// The command and its arguments; no shell is involved
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

/// What to do about processes that the command has left in its group.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Linger {
    /// Release the lock, and say so
    Release,
    /// Keep the lock until they have ended, too
    Wait,
    /// End them: TERM, and KILL after the grace
    Kill,
}
