//! Options from environment variables, and contradictions between options.

use std::convert::Infallible;
use std::ffi::OsStr;

use clap::builder::Resettable;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::options::duration::HumanDuration;

/// Lets the value of a variable set each option of a command and of its subcommands.
///
/// An empty variable counts as unset: that is how unit files and crontabs take one back. So does the variable of a
/// switch that leaves the switch off. A switch excludes or requires other options only if it is on.
pub(crate) fn by_value(command: Command) -> Command {
    command.mut_subcommands(by_value).mut_args(|arg| {
        let value = arg.get_env().and_then(std::env::var_os);
        let is_off = value.is_some_and(|value| value.is_empty() || (is_switch(&arg) && !is_on(&value)));
        let arg = if is_off { arg.env(Resettable::Reset) } else { arg };
        match arg.get_action() {
            ArgAction::SetTrue => arg.value_parser(switch),
            ArgAction::Count => arg.value_parser(count),
            _ => arg,
        }
    })
}

/// Returns true if this value of its variable turns a switch on. `0`, `no`, `off`, `false` and the empty string do not.
pub(crate) fn is_on(value: &OsStr) -> bool {
    let value = value.to_string_lossy().trim().to_lowercase();
    !matches!(value.as_str(), "" | "0" | "no" | "off" | "false")
}

pub(crate) fn is_switch(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::SetTrue | ArgAction::Count)
}

fn switch(value: &str) -> Result<bool, Infallible> {
    Ok(is_on(value.as_ref()))
}

/// Returns how often a counted switch is given.
pub(crate) fn count(value: &str) -> Result<u8, Infallible> {
    Ok(value.trim().parse().unwrap_or(is_on(value.as_ref()).into()))
}

/// Returns the contradiction between arguments each of which is valid. A variable counts only if it applies: a user
/// who sets it for many commands does not mean each of them.
pub(crate) fn contradiction(matches: &ArgMatches) -> Option<(ErrorKind, String)> {
    let (given, at_all) = (|id| is_given(matches, id), |id| source(matches, id).is_some());
    if given("quiet") && given("verbose") {
        let what = "--quiet and --verbose say the opposite of each other";
        return Some((ErrorKind::ArgumentConflict, what.to_string()));
    }
    if (given("retries") || given("reserve")) && !at_all("retry_on") {
        let what = "--retries and --reserve need --retry-on: the exit code that means a conflict";
        return Some((ErrorKind::MissingRequiredArgument, what.to_string()));
    }
    let (_, last) = matches.subcommand()?;
    if given("unless_failed") && one::<HumanDuration>(last, "at_least").is_none_or(|at_least| at_least.0.is_zero()) {
        let what = "--unless-failed needs --at-least: how long the key stays taken if the command does not fail";
        return Some((ErrorKind::MissingRequiredArgument, what.to_string()));
    }
    if at_all("retry_on") && one::<HumanDuration>(last, "at_least").is_some_and(|at_least| !at_least.0.is_zero()) {
        let what = "--retry-on and --at-least exclude each other: the key is kept for the next try, not for a time";
        return Some((ErrorKind::ArgumentConflict, what.to_string()));
    }
    if adopts_by_inheritance(last) {
        let what = "--adopt under `kvlock run` needs --owner: KVLOCK_OWNER is the name of that run, and everything it \
            starts has that name";
        return Some((ErrorKind::MissingRequiredArgument, what.to_string()));
    }
    None
}

/// Returns true if an argument stands on the command line.
pub(crate) fn is_given(matches: &ArgMatches, id: &str) -> bool {
    source(matches, id) == Some(ValueSource::CommandLine)
}

/// Returns the source of an argument of the innermost subcommand that has it.
fn source(matches: &ArgMatches, id: &str) -> Option<ValueSource> {
    let below = matches.subcommand().and_then(|(_, matches)| source(matches, id));
    below.or_else(|| matches.try_contains_id(id).ok().filter(|there| *there).and_then(|_| matches.value_source(id)))
}

/// Returns the value of an argument, if the subcommand has it.
fn one<T: Clone + Send + Sync + 'static>(matches: &ArgMatches, id: &str) -> Option<T> {
    matches.try_get_one(id).ok().flatten().cloned()
}

/// Returns true if `--adopt` would take over a lock in the name of the run that started us. All the commands that the
/// run started would take it from each other.
fn adopts_by_inheritance(matches: &ArgMatches) -> bool {
    let under_another = std::env::var_os("KVLOCK_KEY").is_some_and(|key| !key.is_empty());
    let by_variable = || matches.value_source("owner") == Some(ValueSource::EnvVariable);
    one(matches, "adopt") == Some(true) && under_another && by_variable()
}
