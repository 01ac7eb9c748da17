//! Advice on a command line that cannot be used.

use std::ffi::OsString;
use std::io::IsTerminal;

use clap::builder::{Resettable, StyledStr};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, Error};
use serde_json::{Value, json};

use crate::report::error::{self, Kind};
use crate::report::{exit, output, stderr};

/// The likely intention of a user who gives a command but no subcommand.
const RUN: &str = "to run a command under a lock: kvlock run KEY -- COMMAND";

/// The heading of the options that every subcommand has.
const OF_ALL: &str = "Options of every subcommand";

/// Options of other lock commands, and the options that replace them here.
const HABITS: [(&[&str], &str, &str); 5] = [
    (&["--nb", "--try"], "wait", "to try once, give '--wait 0'"),
    (&["--timeout"], "wait", "to wait for so long, give '--wait DURATION'"),
    (&["--ttl", "--session-ttl", "--expire"], "lease", "to hold it for so long, give '--lease DURATION'"),
    (&["--conflict"], "conflict_exit_code", "give '--conflict-exit-code CODE'"),
    (&["--command", "-c"], "command", "no shell is involved; for one, end with '-- sh -c \"COMMAND\"'"),
];

/// Returns the same error with tips, or the help. The usage is that of the subcommand, whatever the environment sets.
pub(crate) fn explain(command: Command, words: &[OsString], error: &Error) -> Error {
    let mut built = command.clone();
    built.build();
    let mut command = with_usage(command, &built);
    if !error.use_stderr() {
        command = for_reading(as_help(command));
    }
    let mut error = match command.try_get_matches_from(words) {
        Err(error) => error,
        // They were wrong a moment ago, and the changed usage does not affect that.
        Ok(_) => return built.error(ErrorKind::UnknownArgument, "these arguments do not go together"),
    };
    let words: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let words = Words { subcommand: subcommand_of(&words, &built), words: &words };
    let mut tips = words.tips(&error);
    if error.kind() != ErrorKind::UnknownArgument {
        tips.splice(0..0, tips_of(&error));
    }
    if let Some(ContextValue::String(arg)) = error.get(ContextKind::InvalidArg)
        && let Some(name) = arg.strip_prefix('[').and_then(|arg| arg.strip_suffix(']'))
    {
        let required = ContextValue::String(format!("<{name}>"));
        error.insert(ContextKind::InvalidArg, required);
    }
    if !tips.is_empty() {
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(tips));
    }
    error
}

/// Gives each subcommand its plain usage. By default an error shows every given argument as required, and the
/// environment gives many.
fn with_usage(command: Command, built: &Command) -> Command {
    command.override_usage(usage(built)).mut_subcommands(|subcommand| {
        match built.find_subcommand(subcommand.get_name()) {
            Some(built) => with_usage(subcommand, built),
            None => subcommand,
        }
    })
}

/// Gives all of the help at once, with each option on a line of its own.
fn as_help(command: Command) -> Command {
    let about = command.get_long_about().cloned();
    let command = match about {
        Some(about) => command.about(about).long_about(Resettable::Reset),
        None => command,
    };
    command.mut_subcommands(as_help)
}

/// Prepares the arguments for a reader: the options of every subcommand stand apart, and a word is required even if an
/// option can replace it.
pub(crate) fn for_reading(command: Command) -> Command {
    let heading = |arg: Arg| if arg.is_global_set() { arg.help_heading(OF_ALL) } else { arg };
    let required = |arg: Arg| {
        let is_word = ["key", "keys", "name", "permits", "permit"].contains(&arg.get_id().as_str());
        if is_word && arg.is_positional() { arg.required_unless_present(Resettable::Reset).required(true) } else { arg }
    };
    command.mut_args(heading).mut_args(required).mut_subcommands(for_reading)
}

/// Returns the usage. It shows a key or a name as required, even if an option can replace it.
fn usage(built: &Command) -> String {
    let usage = built.clone().render_usage().to_string();
    let required = |usage: String, what: &str| usage.replace(&format!("[{what}]"), &format!("<{what}>"));
    let usage = ["KEY", "KEYS", "NAME", "PERMITS", "PERMIT"].into_iter().fold(usage, required);
    usage.trim_start_matches("Usage:").trim().to_string()
}

fn subcommand_of<'a>(words: &[String], built: &'a Command) -> &'a Command {
    let (mut subcommand, mut words) = (built, words.iter().skip(1));
    while let Some(word) = words.next().filter(|word| *word != "--") {
        if option(subcommand, word).is_some_and(takes_value) {
            words.next();
        }
        subcommand = subcommand.find_subcommand(word).unwrap_or(subcommand);
    }
    subcommand
}

/// Returns the option that a word without a value is.
fn option<'a>(subcommand: &'a Command, word: &str) -> Option<&'a Arg> {
    let long = word.strip_prefix("--")?;
    subcommand.get_arguments().find(|arg| arg.get_long() == Some(long))
}

fn takes_value(arg: &Arg) -> bool {
    arg.get_action().takes_values()
}

/// Says what is wrong with the command line, or prints the help that was asked for. Returns the exit code.
pub(crate) fn say(error: &Error) -> u8 {
    if !error.use_stderr() {
        return match error.print() {
            Ok(()) => 0,
            Err(failure) => {
                let failure = output::not_written(&failure);
                let code = error::status_of(&failure).code();
                error::say(&failure, code);
                code
            }
        };
    }
    if stderr::speaks_json() {
        output::write_line(as_json(error));
    } else {
        // `print` would wait for a reader that has stopped.
        let text = error.render();
        let text = if is_plain() { text.to_string() } else { text.ansi().to_string() };
        stderr::say(text.as_bytes());
    }
    stderr::flush();
    exit::USAGE
}

/// Returns true if stderr takes no colours.
fn is_plain() -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    !std::io::stderr().is_terminal() || is_set("NO_COLOR") || std::env::var_os("TERM").is_none_or(|term| term == "dumb")
}

/// Returns the error as one object.
fn as_json(error: &Error) -> Value {
    let text = error.render().to_string();
    let message = text.split("\n\n").next().unwrap_or_default().trim_start_matches("error:");
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    let tips: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("  tip: ")).collect();
    let usage = text.lines().find_map(|line| line.strip_prefix("Usage: "));
    let error = json!({
        "kind": Kind::Usage, "message": message, "exit_code": exit::USAGE, "tips": tips, "usage": usage,
    });
    json!({ "error": error })
}

fn tips_of(error: &Error) -> Vec<StyledStr> {
    match error.get(ContextKind::Suggested) {
        Some(ContextValue::StyledStrs(tips)) => tips.clone(),
        _ => Vec::new(),
    }
}

/// The words of a command line, and their subcommand.
struct Words<'a> {
    subcommand: &'a Command,
    words: &'a [String],
}

impl Words<'_> {
    fn tips(&self, error: &Error) -> Vec<StyledStr> {
        let named: Vec<String> = [ContextKind::InvalidArg, ContextKind::PriorArg]
            .into_iter()
            .flat_map(|kind| match error.get(kind) {
                Some(ContextValue::String(text)) => vec![text.clone()],
                Some(ContextValue::Strings(texts)) => texts.clone(),
                _ => Vec::new(),
            })
            .collect();
        let mut tips = match error.kind() {
            ErrorKind::UnknownArgument => named.first().map(|word| self.of_stray(word)).unwrap_or_default(),
            ErrorKind::MissingRequiredArgument => self.of_missing(&named),
            // The word behind it is an option by itself.
            ErrorKind::InvalidValue => {
                let option = named.first().and_then(|arg| arg.split(' ').next());
                let at = self.options().position(|word| Some(word.as_str()) == option);
                at.and_then(|at| self.words.get(at + 1)).and_then(|word| self.of_value(word)).into_iter().collect()
            }
            ErrorKind::ValueValidation => self.with_one_dash("-").into_iter().collect(),
            ErrorKind::InvalidSubcommand if self.has_command() => vec![RUN.to_string()],
            _ => Vec::new(),
        };
        tips.extend(named.iter().filter_map(|arg| self.of_variable(arg)));
        tips.into_iter().map(StyledStr::from).collect()
    }

    /// Returns tips on an unknown option, or a word too many.
    fn of_stray(&self, word: &str) -> Vec<String> {
        let takes_command = self.subcommand.get_positionals().any(Arg::is_last_set);
        let mut tips = Vec::new();
        if let Some(tip) = self.of_value(word) {
            tips.push(tip);
        } else if word.starts_with('-') {
            tips.extend(self.meant_by(word));
            tips.extend(self.spelled(word));
        } else if !takes_command && self.options().all(|given| given != word) {
            tips.push(RUN.to_string());
        } else if let Some(what) = self.subject().filter(|_| !takes_command || self.has_command()) {
            tips.push(format!("only one {what} can be given; quote one that has spaces"));
        }
        if takes_command && !self.has_command() {
            tips.push(self.command_behind());
        }
        tips
    }

    fn of_missing(&self, named: &[String]) -> Vec<String> {
        let mut tips = Vec::new();
        if named.iter().any(|name| name.contains("<COMMAND>")) {
            tips.push(self.command_behind());
        } else if self.has_command() && named.iter().any(|name| name == "<KEY>" || name == "<NAME>") {
            tips.extend(self.subject().map(|what| format!("the {what} comes before '--', and the command after it")));
        }
        tips
    }

    /// Returns the tip on a word that looks like an option but was meant as the value of the option before it.
    fn of_value(&self, word: &str) -> Option<String> {
        let at = self.options().position(|given| given == word)?;
        let before = self.words.get(at.checked_sub(1)?)?;
        option(self.subcommand, before).filter(|arg| word.starts_with('-') && takes_value(arg))?;
        Some(format!("a value that begins with '-' is given as '{before}={word}'"))
    }

    /// Returns the tip on an option that comes from the environment.
    fn of_variable(&self, arg: &str) -> Option<String> {
        let option = arg.split(['=', ' ', '[', '<']).next()?;
        let arg = self::option(self.subcommand, option)?;
        let variable = arg.get_env().filter(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))?;
        let is_on_the_line = || {
            let short = arg.get_short().map(|short| format!("-{short}"));
            let is_it = |word: &String| word.split('=').next() == Some(option) || short.as_ref() == Some(word);
            self.options().any(is_it)
        };
        (!is_on_the_line()).then(|| format!("'{option}' comes from the variable {}", variable.to_string_lossy()))
    }

    /// Returns the tip on an option of another command, or on one dash in place of two.
    fn meant_by(&self, word: &str) -> Option<String> {
        let name = word.split('=').next().unwrap_or(word);
        let has = |id: &str| self.subcommand.get_arguments().any(|arg| arg.get_id() == id);
        let habit = HABITS.iter().find(|(words, id, _)| words.contains(&name) && has(id));
        // By now, only the first letter of a word with one dash is left.
        self.with_one_dash(name).or_else(|| habit.map(|(_, _, tip)| tip.to_string()))
    }

    /// Returns the tip on a long option that is given with one dash. Its first letter may be an option of its own.
    fn with_one_dash(&self, beginning: &str) -> Option<String> {
        let is_it = |given: &&String| given.starts_with(beginning) && given.len() > 2 && !given.starts_with("--");
        let given = self.options().find(is_it)?.split('=').next()?.trim_start_matches('-');
        let long = self.subcommand.get_arguments().filter_map(Arg::get_long).find(|long| *long == given)?;
        Some(format!("a similar argument exists: '--{long}'"))
    }

    /// Returns the tip on a key or a name that looks like an option.
    fn spelled(&self, word: &str) -> Option<String> {
        let what = self.subject()?;
        if what == "grant" {
            return Some("a grant is one word that begins with 'kvlock1.'".to_string());
        }
        let option = if what == "key" { "--key" } else { "--name" };
        Some(format!("a {what} that begins with '-' is given as '{option}={word}'"))
    }

    /// Returns what the first word of the subcommand stands for.
    fn subject(&self) -> Option<&'static str> {
        let first = self.subcommand.get_positionals().next()?.get_id();
        match first.as_str() {
            "key" | "keys" => Some("key"),
            "name" => Some("name"),
            "grant" => Some("grant"),
            _ => None,
        }
    }

    fn command_behind(&self) -> String {
        format!("the command comes after '--': {}", usage(self.subcommand))
    }

    fn has_command(&self) -> bool {
        self.words.iter().any(|word| word == "--")
    }

    /// Returns the words that may be options.
    fn options(&self) -> impl Iterator<Item = &String> {
        self.words.iter().take_while(|word| *word != "--")
    }
}
