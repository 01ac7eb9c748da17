//! The command that is run under a lock or a permit, and how it is ended.

use std::ffi::OsString;

use nix::sys::signal::Signal;

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
    /// Send the command this signal, such as USR1 or TERM, each time that somebody asks for the lock (`kvlock ask`)
    #[arg(long, env = "KVLOCK_ON_WANTED", value_name = "SIGNAL", value_parser = signal)]
    pub(crate) on_wanted: Option<Signal>,
    /// What to do if the command has ended and left processes running in its group
    #[arg(long, env = "KVLOCK_LINGER", value_name = "WHAT", default_value = "release")]
    pub(crate) linger: Linger,
    /// The command and its arguments; no shell is involved
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

/// Reads the name of a signal, with SIG or without, or its number.
fn signal(text: &str) -> Result<Signal, String> {
    let named = || {
        let name = text.to_uppercase();
        format!("SIG{}", name.strip_prefix("SIG").unwrap_or(&name)).parse().ok()
    };
    let signal = match text.parse::<i32>() {
        Ok(number) => Signal::try_from(number).ok(),
        Err(_) => named(),
    };
    signal.ok_or_else(|| "give the name of a signal, such as USR1 or TERM, or its number".to_string())
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
