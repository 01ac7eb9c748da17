//! The `kvlock` command: arguments in, one subcommand a file, exit codes out.

mod commands;
mod options;
mod orphans;
mod report;
mod signals;
mod supervise;
mod textfile;
mod wait;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::commands::{
    acquire, ask, break_lock, component, doctor, list, man, migrate, release, renew, run, semaphore, status,
};
use crate::options::global::Global;
use crate::options::{args, duration, tips, variables};
use crate::report::exit::Status;
use crate::report::{error, log, output, stderr};
use crate::textfile::Textfile;

const ABOUT: &str = "Run commands under a distributed lock";

const EXAMPLES: &str = "\
Examples:
  Run a backup on one machine at a time, wherever it is started:
    kvlock --store memcached://cache1:11211 run backup -- ./backup.sh

  Skip the run if another one is still going:
    kvlock run report --wait 0 --conflict-exit-code 0 -- ./report.sh

  Run at most once an hour, on however many machines cron starts it:
    kvlock run hourly --wait 0 --at-least 1h -- ./job.sh

  Hold a lock over several commands of a script, which exits as the last one does:
    grant=$(kvlock acquire deploy --lease 10m) || exit
    trap 'kvlock release \"$grant\"' EXIT
    trap 'exit 1' HUP INT TERM
    ./deploy.sh

  Who has the lock, who has what else, and is the server fit for locks?
    kvlock status backup
    kvlock list
    kvlock --store memcached://cache1:11211 doctor

Exit codes: the command's own, 128+n if it died of signal n, and those of kvlock:
  64 usage   69 store unavailable or unfit   70 internal, a bug   71 no memory, no room
  74 lock lost while the command ran   75 busy or timed out   77 not the holder
  126/127 command cannot run / is not found";

/// The command line.
#[derive(Parser)]
#[command(name = "kvlock", version, about = ABOUT, after_help = EXAMPLES, disable_help_subcommand = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(run::Run),
    Acquire(acquire::Acquire),
    Release(release::Release),
    Renew(renew::Renew),
    Status(status::Status),
    List(list::List),
    Ask(ask::Ask),
    Break(break_lock::Break),
    Semaphore(semaphore::Semaphore),
    /// Check if a store is fit for locks
    Doctor,
    Migrate(migrate::Migrate),
    Component(component::Component),
    Man(man::Man),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Runs the command. Every way out of it is an exit code.
fn main() -> ExitCode {
    signals::survive_limits();
    let words: Vec<OsString> = std::env::args_os().collect();
    if wants_json(&words) {
        stderr::speak_json();
    }
    let cli = match parse_quickly(&words).map_or_else(|| parse(&words), Ok) {
        Ok(cli) => cli,
        Err(error) => return tips::say(&error).into(),
    };
    log::begin(cli.global.verbose);
    let is_quiet = cli.global.quiet;
    let textfile = match cli.textfile().transpose() {
        Ok(textfile) => textfile,
        Err(error) => return fail(&error, is_quiet).end(),
    };
    let ended = cli.run();
    let status = ended.as_ref().map_or_else(|error| fail(error, is_quiet), |status| *status);
    if let Some(textfile) = textfile {
        textfile.write(status, ended.is_ok());
    }
    status.end()
}

/// Says why a subcommand failed. Returns how kvlock ends.
fn fail(error: &anyhow::Error, is_quiet: bool) -> Status {
    let status = error::status_of(error);
    // --quiet lets errors through. An outcome for which the user chose exit code 0 is no error.
    if status.code() != 0 || !is_quiet {
        error::say(error, status.code());
    }
    status
}

/// Returns the whole command line, as clap knows it.
fn command_line() -> clap::Command {
    duration::named(Cli::command())
}

/// Returns true if the words or the environment ask for JSON. The words may be wrong otherwise.
fn wants_json(words: &[OsString]) -> bool {
    let by_variable = || std::env::var_os("KVLOCK_JSON").is_some_and(|value| variables::is_on(&value));
    words.iter().take_while(|word| *word != "--").any(|word| word == "--json") || by_variable()
}

/// Returns the command line with one subcommand alone: to set up all of them takes longer than to read most lines.
fn command_line_of(subcommand: &str) -> Option<clap::Command> {
    let (name, augment): (_, fn(clap::Command) -> clap::Command) = match subcommand {
        "run" => ("run", run::Run::augment_args),
        "acquire" => ("acquire", acquire::Acquire::augment_args),
        "release" => ("release", release::Release::augment_args),
        "renew" => ("renew", renew::Renew::augment_args),
        _ => return None,
    };
    let bare = Global::augment_args(clap::Command::new("kvlock").disable_help_subcommand(true));
    Some(duration::named(bare.subcommand(augment(clap::Command::new(name)))))
}

/// Reads the words and the environment as [`parse`] does, if nothing is wrong with them. The word that is taken for the
/// subcommand may be something else: then the words are wrong here.
fn parse_quickly(words: &[OsString]) -> Option<Cli> {
    let before_command = words.iter().skip(1).take_while(|word| *word != "--");
    let command = before_command.filter_map(|word| word.to_str()).find_map(command_line_of)?;
    let matches = variables::by_value(command).try_get_matches_from(words).ok()?;
    if variables::contradiction(&matches).or_else(|| args::no_word(&matches, words)).is_some() {
        return None;
    }
    read(&matches).ok()
}

/// Reads the words of the command line, and the environment.
fn parse(words: &[OsString]) -> Result<Cli, clap::Error> {
    let mut command = variables::by_value(command_line());
    let matches = command.try_get_matches_from_mut(words);
    let matches = matches.map_err(|error| tips::explain(variables::by_value(command_line()), words, &error))?;
    if let Some((kind, text)) = variables::contradiction(&matches).or_else(|| args::no_word(&matches, words)) {
        return Err(asked(&mut command, &matches).error(kind, text));
    }
    read(&matches).map_err(|error| error.format(&mut command))
}

/// Reads what clap has found.
fn read(matches: &ArgMatches) -> Result<Cli, clap::Error> {
    let mut cli = Cli::from_arg_matches(matches)?;
    // A switch on the command line overrides a variable that says the opposite.
    match variables::is_given(matches, "verbose") {
        true => cli.global.quiet = false,
        false if cli.global.quiet => cli.global.verbose = 0,
        false => {}
    }
    Ok(cli)
}

/// Returns the subcommand that the user asked for.
fn asked<'a>(command: &'a mut clap::Command, matches: &ArgMatches) -> &'a mut clap::Command {
    match matches.subcommand() {
        Some((name, matches)) if command.find_subcommand(name).is_some() => {
            asked(command.find_subcommand_mut(name).expect("it was found"), matches)
        }
        _ => command,
    }
}

impl Cli {
    /// Begins the file that --metrics names, for a subcommand that uses a store.
    fn textfile(&self) -> Option<Result<Textfile>> {
        let path = self.global.metrics.as_deref().filter(|_| self.command.uses_a_store())?;
        Some(Textfile::begin(path))
    }

    fn run(self) -> Result<Status> {
        let global = &self.global;
        if self.command.prints_what_it_changed() {
            output::check_stdout()?;
        }
        match self.command {
            Command::Run(run) => run.run(global),
            Command::Acquire(acquire) => acquire.run(global),
            Command::Release(release) => release.run(global),
            Command::Renew(renew) => renew.run(global),
            Command::Status(status) => status.run(global),
            Command::List(list) => list.run(global),
            Command::Ask(ask) => ask.run(global),
            Command::Break(break_lock) => break_lock.run(global),
            Command::Semaphore(semaphore) => semaphore.run(global),
            Command::Doctor => doctor::run(global),
            Command::Migrate(migrate) => migrate.run(global),
            Command::Component(component) => component.run(global),
            Command::Man(man) => man.run(command_line()),
            Command::Completions { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut command_line(), "kvlock", &mut script);
                output::bytes(&script)?;
                Ok(Status::SUCCESS)
            }
        }
    }
}

impl Command {
    fn uses_a_store(&self) -> bool {
        !matches!(self, Command::Component(_) | Command::Man(_) | Command::Completions { .. })
    }

    fn prints_what_it_changed(&self) -> bool {
        match self {
            Command::Acquire(_) | Command::Renew(_) | Command::Ask(_) | Command::Break(_) | Command::Migrate(_) => true,
            Command::Semaphore(semaphore) => semaphore.prints_what_it_changed(),
            _ => false,
        }
    }
}
