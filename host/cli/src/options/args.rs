//! Arguments that several subcommands share.

use std::ffi::OsString;
use std::ops::Deref;
use std::time::Duration;

use clap::ArgMatches;
use clap::error::ErrorKind;
use kvlock::{Lock, Session, semaphore::PermitRequest};

use crate::options::duration::{HumanDuration, OrForever};
use crate::report::exit::{self, Exit};

/// The arguments of a lock.
#[derive(clap::Args)]
pub(crate) struct LockArgs {
    #[command(flatten)]
    pub(crate) key: Key,
    /// Lock this key as well, all or none; give it again for more keys
    #[arg(long, env = "KVLOCK_ALSO", value_name = "KEY", action = clap::ArgAction::Append, allow_hyphen_values = true)]
    also: Vec<String>,
    #[command(flatten)]
    pub(crate) hold: HoldArgs,
    /// Take over the lock from an earlier run with the same --owner
    #[arg(long, env = "KVLOCK_ADOPT", requires = "owner")]
    adopt: bool,
    /// Share the lock: any number of readers have it at once, and nobody has it alone
    #[arg(short = 's', long, env = "KVLOCK_SHARED", conflicts_with_all = ["adopt", "at_least"], overrides_with = "exclusive")]
    shared: bool,
    /// Have the lock alone, as without --shared
    #[arg(short = 'x', long, env = "KVLOCK_EXCLUSIVE", overrides_with = "shared")]
    exclusive: bool,
    /// Keep the key taken for this long, even if it is released sooner
    #[arg(long, env = "KVLOCK_AT_LEAST", default_value = "0")]
    at_least: HumanDuration,
}

/// The key of a lock.
#[derive(clap::Args)]
pub(crate) struct Key {
    /// The key: any string; give one that begins with `-` as --key=-x
    #[arg(value_name = "KEY", required_unless_present = "spelled_key")]
    key: Option<String>,
    #[arg(id = "spelled_key", long = "key", value_name = "KEY", hide = true, conflicts_with = "key")]
    spelled: Option<String>,
}

/// The name of a semaphore.
#[derive(clap::Args)]
pub(crate) struct Name {
    /// The semaphore's name; give one that begins with `-` as --name=-x
    #[arg(value_name = "NAME", required_unless_present = "spelled_name")]
    name: Option<String>,
    #[arg(id = "spelled_name", long = "name", value_name = "NAME", hide = true, conflicts_with = "name")]
    spelled: Option<String>,
}

/// The name of a semaphore, if a number follows. With `--name`, the number is the only word.
#[derive(clap::Args)]
pub(crate) struct NameBefore {
    /// The semaphore's name; give one that begins with `-` as --name=-x
    #[arg(value_name = "NAME", required_unless_present = "spelled_name")]
    name: Option<String>,
    #[arg(id = "spelled_name", long = "name", value_name = "NAME", hide = true)]
    spelled: Option<String>,
}

impl NameBefore {
    /// Returns the name and the number. With `--name`, the first word is the number.
    pub(crate) fn with(
        self,
        number: Option<u32>,
        what: &str,
        read: fn(&str) -> Result<u32, String>,
    ) -> Result<(String, u32), Exit> {
        match (self.name, self.spelled, number) {
            (Some(name), None, Some(number)) => Ok((name, number)),
            (Some(text), Some(name), None) => match read(&text) {
                Ok(number) => Ok((name, number)),
                Err(error) => Err(Exit::usage(format!("invalid value '{text}' for '{what}': {error}"))),
            },
            (_, _, None) => Err(Exit::usage(format!("{what} is missing"))),
            (_, _, Some(_)) => Err(Exit::usage("the name is given twice: once as a word, and once by --name")),
        }
    }
}

impl Deref for Key {
    type Target = str;

    fn deref(&self) -> &str {
        self.key.as_ref().or(self.spelled.as_ref()).map_or("", String::as_str)
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        self.name.as_ref().or(self.spelled.as_ref()).map_or("", String::as_str)
    }
}

/// Returns the error of a `-` that is given as a key or a name. Other subcommands read a grant from stdin for it, so it
/// counts only behind `--`.
pub(crate) fn no_word(matches: &ArgMatches, words: &[OsString]) -> Option<(ErrorKind, String)> {
    let mut last = matches;
    while let Some((_, below)) = last.subcommand() {
        last = below;
    }
    let is_dash =
        |id| last.try_get_many::<String>(id).ok().flatten().is_some_and(|mut words| words.any(|it| it == "-"));
    let stands_free = words.iter().take_while(|word| *word != "--").any(|word| word == "-");
    let (_, option) = [("key", "key"), ("keys", "key"), ("name", "name")].into_iter().find(|(id, _)| is_dash(id))?;
    let told = || (ErrorKind::InvalidValue, format!("a {option} that begins with `-` is given as `--{option}=-`"));
    stands_free.then(told)
}

/// The arguments of a permit.
#[derive(clap::Args)]
pub(crate) struct PermitArgs {
    #[command(flatten)]
    pub(crate) name: Name,
    #[command(flatten)]
    pub(crate) hold: HoldArgs,
}

/// How to wait for a lock or a permit, and how to hold it.
#[derive(clap::Args)]
pub(crate) struct HoldArgs {
    /// How long the lease lasts unless it is renewed, or `forever`
    #[arg(long, env = "KVLOCK_LEASE", default_value = "30s")]
    pub(crate) lease: OrForever,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
    /// Your name, shown to waiters [default: host, process and thread]
    #[arg(long, env = "KVLOCK_OWNER", value_name = "NAME")]
    pub(crate) owner: Option<String>,
    /// What it is for: one line, shown by `status`, `list` and to waiters
    #[arg(long, env = "KVLOCK_NOTE", value_name = "TEXT")]
    pub(crate) note: Option<String>,
    /// Exit with this code instead of 75 if it is busy
    #[arg(short = 'E', long, env = "KVLOCK_CONFLICT_EXIT_CODE", value_name = "CODE", default_value_t = exit::BUSY)]
    pub(crate) conflict_exit_code: u8,
}

/// How to wait: for a lock, for a permit, or for permits that have to come back.
#[derive(clap::Args)]
pub(crate) struct WaitArgs {
    /// How long to wait; 0 tries once [default: forever]
    #[arg(short = 'w', long, env = "KVLOCK_WAIT")]
    wait: Option<OrForever>,
    /// Try once, as --wait 0 does
    #[arg(short = 'n', long, env = "KVLOCK_NONBLOCK")]
    nonblock: bool,
    /// How long to ride out an outage, or `forever`; 0 fails at once [default: as long as the wait lasts]
    #[arg(long, env = "KVLOCK_RIDE_OUT")]
    ride_out: Option<OrForever>,
    /// The longest pause between two tries
    #[arg(long, env = "KVLOCK_INTERVAL", default_value = "50ms")]
    pub(crate) interval: HumanDuration,
}

/// How long to ride out outages; none means as long as the wait lasts.
#[derive(Clone, Copy)]
pub(crate) struct Patience {
    /// An outage that the first try finds.
    pub(crate) first: Option<Duration>,
    /// Any other.
    pub(crate) later: Option<Duration>,
}

/// How long to wait for a store that never answered, if nobody says how long to wait. Its address may be wrong.
const FIRST_CONTACT: Duration = Duration::from_secs(10);

/// Has a request of the library wait as `WaitArgs` say: a lock, a permit, a conflict retry or a resize.
macro_rules! waiting {
    ($request:expr, $args:expr) => {{
        let mut request = $request.interval($args.interval.0);
        if let Some(limit) = $args.limit() {
            request = request.wait(limit);
        }
        let patience = $args.patience();
        if let Some(longest) = patience.later {
            request = request.ride_out(longest);
        }
        if let Some(longest) = patience.first {
            request = request.ride_out_first(longest);
        }
        request
    }};
}
pub(crate) use waiting;

/// Has a request of the library bear the note of `HoldArgs`.
macro_rules! noted {
    ($request:expr, $hold:expr) => {
        match &$hold.note {
            Some(note) => $request.note(note),
            None => $request,
        }
    };
}
pub(crate) use noted;

impl LockArgs {
    /// Returns all keys, in the order in which they are given, each once.
    pub(crate) fn keys(&self) -> Vec<&str> {
        let mut keys: Vec<&str> = vec![&*self.key];
        for key in &self.also {
            if !keys.contains(&key.as_str()) {
                keys.push(key);
            }
        }
        keys
    }

    /// Names the lock for people.
    pub(crate) fn name(&self) -> String {
        /// How many keys a line names.
        const NAMED: usize = 3;
        let keys = self.keys();
        let named = keys.iter().take(NAMED).copied().collect::<Vec<_>>().join("`, `");
        match keys.len().saturating_sub(NAMED) {
            0 => named,
            more => format!("{named}` and `{more} more"),
        }
    }

    /// Returns the lock of all keys.
    pub(crate) fn lock(&self, session: &Session) -> Lock {
        self.apply(session.lock_all(self.keys()))
    }

    fn apply(&self, lock: Lock) -> Lock {
        let lock = waiting!(lock.lease(self.hold.lease).at_least(self.at_least.0), self.hold.wait);
        let lock = noted!(lock, self.hold);
        match self {
            LockArgs { adopt: true, .. } => lock.adopt(),
            LockArgs { shared: true, exclusive: false, .. } => lock.shared(),
            _ => lock,
        }
    }
}

impl PermitArgs {
    pub(crate) fn apply(&self, permit: PermitRequest) -> PermitRequest {
        noted!(waiting!(permit.lease(self.hold.lease), self.hold.wait), self.hold)
    }
}

impl WaitArgs {
    /// Returns how long to wait; none means for ever.
    pub(crate) fn limit(&self) -> Option<Duration> {
        self.wait().and_then(|wait| wait.0)
    }

    fn wait(&self) -> Option<OrForever> {
        if self.nonblock { Some(OrForever(Some(Duration::ZERO))) } else { self.wait }
    }

    pub(crate) fn patience(&self) -> Patience {
        match (self.ride_out, self.wait()) {
            (Some(OrForever(longest)), _) => Patience { first: longest, later: longest },
            (None, Some(_)) => Patience { first: None, later: None },
            (None, None) => Patience { first: Some(FIRST_CONTACT), later: None },
        }
    }

    /// Returns true if the user said how long to ride out an outage.
    pub(crate) fn says_how_long_to_ride_out(&self) -> bool {
        self.ride_out.is_some()
    }
}
