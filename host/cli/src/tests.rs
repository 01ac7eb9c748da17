//! Tests of the whole command line, as clap knows it.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command as Process;

use clap::builder::Resettable;
use clap::error::ErrorKind;
use clap::{Arg, Command};

use super::{command_line, command_line_of};
use crate::commands::man::Man;
use crate::options::variables::{by_value, contradiction, count, is_on, is_switch};

/// An option of a subcommand.
struct Known {
    subcommand: Vec<String>,
    id: String,
    long: String,
    /// None: an argument that is spelled as an option.
    variable: Option<String>,
    is_switch: bool,
}

impl Known {
    fn name(&self) -> String {
        format!("{} --{}", self.subcommand.join(" "), self.long)
    }

    /// Returns the option with this value, on the command line; a switch that is off is not there.
    fn on_the_line(&self, value: &str) -> Vec<String> {
        match self.is_switch {
            true => vec![format!("--{}", self.long); usize::from(is_on(value.as_ref()))],
            false => vec![format!("--{}={value}", self.long)],
        }
    }
}

/// Returns every option of every subcommand, as clap knows them.
fn known() -> Vec<Known> {
    fn walk(command: &Command, path: &[String], found: &mut Vec<Known>) {
        for subcommand in command.get_subcommands() {
            let path = [path, &[subcommand.get_name().to_string()]].concat();
            walk(subcommand, &path, found);
        }
        if command.has_subcommands() {
            return;
        }
        for arg in command.get_arguments() {
            let Some(long) = arg.get_long().filter(|long| !["help", "version"].contains(long)) else { continue };
            let variable = arg.get_env().map(|name| name.to_string_lossy().into_owned());
            let (id, long, is_switch) = (arg.get_id().to_string(), long.to_string(), is_switch(arg));
            found.push(Known { subcommand: path.to_vec(), id, long, variable, is_switch });
        }
    }
    let mut command = command_line();
    command.build();
    let mut found = Vec::new();
    walk(&command, &[], &mut found);
    found
}

/// Returns what a subcommand cannot do without: `1` is a key, a name and a number.
fn required(subcommand: &[String]) -> Vec<String> {
    let mut command = command_line();
    command.build();
    let command = subcommand.iter().fold(&command, |command, name| command.find_subcommand(name).unwrap());
    let mut words = Vec::new();
    for arg in command.get_positionals() {
        let values = arg.get_possible_values();
        words.extend(arg.is_last_set().then(|| "--".to_string()));
        words.push(values.first().map_or("1".to_string(), |value| value.get_name().to_string()));
    }
    words
}

/// Returns the command as it is where no variable is set.
fn without_variables(command: Command) -> Command {
    command.mut_subcommands(without_variables).mut_args(|arg| arg.env(Resettable::Reset))
}

/// Returns what the value of an option is after all, or the error that it leads to.
fn outcome(command: Command, option: &Known, words: &[String]) -> String {
    let required = required(&option.subcommand);
    let subcommand = option.subcommand.iter();
    let words: Vec<OsString> =
        ["kvlock".to_string()].iter().chain(subcommand).chain(words).chain(&required).map(OsString::from).collect();
    let matches = match by_value(command).try_get_matches_from(words) {
        Ok(matches) => matches,
        Err(error) => return format!("{:?}", error.kind()),
    };
    if let Some((kind, _)) = contradiction(&matches) {
        return format!("{kind:?}");
    }
    let mut last = &matches;
    while let Some((_, below)) = last.subcommand() {
        last = below;
    }
    match last.try_get_raw(&option.id) {
        Ok(Some(values)) if option.is_switch => format!("{:?}", values.map(is_on).collect::<Vec<_>>()),
        Ok(values) => format!("{:?}", values.map(Iterator::collect::<Vec<_>>)),
        Err(error) => error.to_string(),
    }
}

const VALUES: [&str; 8] = ["1", "true", "yes", "0", "false", "no", "off", ""];
const IN_ANOTHER_PROCESS: &str = "tests::tells_the_outcome_of_every_option_on_request";
/// Of which variable's options; empty: of all.
const TELL: &str = "TELL_THE_OUTCOME_OF_EVERY_OPTION";

/// Tells what becomes of every option where nothing is given but by the environment, and where it is given as well.
#[test]
fn tells_the_outcome_of_every_option_on_request() {
    let Some(of) = std::env::var_os(TELL) else { return };
    for option in known().into_iter().filter(|option| of.is_empty() || option.variable.as_deref() == of.to_str()) {
        println!(
            "\ntold {}\t{}\t{}",
            option.name(),
            outcome(command_line(), &option, &[]),
            outcome(command_line(), &option, &option.on_the_line("1"))
        );
    }
}

/// Returns the outcomes in an environment with these variables, and no other of ours; of the options of one, or of all.
fn outcomes_with(variables: &[(&str, &str)], of: &str) -> Vec<(String, String, String)> {
    let mut process = Process::new(std::env::current_exe().unwrap());
    process.args(["--exact", IN_ANOTHER_PROCESS, "--nocapture", "--test-threads=1"]);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("KVLOCK_")) {
        process.env_remove(name);
    }
    let output = process.env(TELL, of).envs(variables.iter().copied()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    let told = text.lines().filter_map(|line| line.strip_prefix("told "));
    let parts = told.map(|line| line.split('\t').map(String::from).collect::<Vec<_>>());
    let told: Vec<_> = parts.map(|parts| <[_; 3]>::try_from(parts).unwrap().into()).collect();
    assert!(!told.is_empty(), "{text}");
    told
}

#[test]
fn every_option_has_a_variable_of_its_name_and_is_what_the_variable_says() {
    let options = known();
    assert!(options.len() > 100, "{} options", options.len());
    let mut variables: Vec<&str> = Vec::new();
    for option in &options {
        let Some(variable) = &option.variable else {
            assert!(["key", "name"].contains(&option.long.as_str()), "{} has no variable", option.name());
            continue;
        };
        assert_eq!(*variable, format!("KVLOCK_{}", option.long.replace('-', "_").to_uppercase()));
        variables.push(variable);
    }
    variables.sort_unstable();
    variables.dedup();
    for variable in variables {
        let options: Vec<&Known> =
            options.iter().filter(|option| option.variable.as_deref() == Some(variable)).collect();
        let nothing_given = outcomes_with(&[], variable);
        for value in VALUES {
            let told = outcomes_with(&[(variable, value)], variable);
            assert_eq!(told.len(), options.len());
            for ((option, told), nothing) in options.iter().zip(told).zip(&nothing_given) {
                let (name, by_variable, _) = told;
                if value.is_empty() || (option.is_switch && !is_on(value.as_ref())) {
                    assert_eq!(by_variable, nothing.1, "{name}: {variable}={value} is as nothing");
                    continue;
                }
                let on_the_line = outcome(without_variables(command_line()), option, &option.on_the_line(value));
                // Of what is of use beside another option only, a variable is no mistake.
                let is_at_rest = ["retries", "reserve", "unless_failed"].contains(&option.id.as_str());
                let is_same = by_variable == on_the_line || (is_at_rest && on_the_line == "MissingRequiredArgument");
                assert!(is_same, "{name}: {variable}={value} is {by_variable}, and on the line {on_the_line}");
            }
        }
    }
}

#[test]
fn every_argument_is_explained_on_one_short_line() {
    fn walk(command: &Command) {
        for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            let name = format!("{} {}", command.get_name(), arg.get_id());
            assert!((8..=110).contains(&help.len()) && !help.contains('\n'), "{name}: {help}");
            assert!(arg.get_long_help().is_none(), "{name} takes more than a line");
        }
        command.get_subcommands().for_each(walk);
    }
    walk(&command_line());
}

#[test]
fn switches_that_are_off_exclude_nothing_and_need_nothing() {
    let options = known();
    let nothing_given = outcomes_with(&[], "");
    let switches: Vec<&str> =
        options.iter().filter(|option| option.is_switch).filter_map(|option| option.variable.as_deref()).collect();
    for value in ["0", "false", ""] {
        let off: Vec<(&str, &str)> = switches.iter().map(|name| (*name, value)).collect();
        assert_eq!(outcomes_with(&off, ""), nothing_given, "all switches are `{value}`");
    }
}

#[test]
fn a_minimum_hold_of_nothing_excludes_no_retry() {
    let outcome = |value: &str| {
        let words = ["kvlock", "run", "k", "--retry-on", "3", "--at-least", value, "--", "true"];
        let matches = by_value(without_variables(command_line())).try_get_matches_from(words).unwrap();
        contradiction(&matches).map(|(kind, _)| kind)
    };
    assert_eq!(outcome("0"), None);
    assert_eq!(outcome("0s"), None);
    assert_eq!(outcome("1s"), Some(ErrorKind::ArgumentConflict));
}

#[test]
fn a_variable_says_how_often_a_counted_switch_is_given() {
    for (value, times) in [("0", 0), ("1", 1), ("2", 2), ("true", 1), ("yes", 1), ("false", 0), ("300", 1)] {
        assert_eq!(count(value), Ok(times), "{value}");
    }
}

#[test]
fn every_subcommand_has_a_manual_page_that_names_each_of_its_options() {
    let folder = tempfile::tempdir().unwrap();
    assert!(Man { folder: folder.path().join("man1") }.run(command_line()).is_ok());
    fn check(command: &Command, folder: &Path) {
        let name = command.get_display_name().unwrap_or("kvlock");
        let page = std::fs::read_to_string(folder.join(format!("{name}.1"))).expect(name);
        for long in command.get_arguments().filter(|arg| !arg.is_hide_set()).filter_map(Arg::get_long) {
            assert!(page.contains(&format!("\\-\\-{}", long.replace('-', "\\-"))), "{name}: --{long}");
        }
        command.get_subcommands().for_each(|subcommand| check(subcommand, folder));
    }
    let mut command = command_line();
    command.build();
    check(&command, &folder.path().join("man1"));
}

#[test]
fn what_is_read_quickly_is_what_is_read_by_the_whole_command_line() {
    for line in [
        "kvlock run k -- true",
        "kvlock --store memcached://a run k --wait 10s -v -- run acquire",
        "kvlock run --json --namespace acquire k --retries 3 --retry-on 1,2 -- sh -c true",
        "kvlock acquire --owner me --adopt -- -k",
        "kvlock renew word --lease forever -q",
        "kvlock release - --metrics release.prom",
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        let (name, quickly) = words.iter().find_map(|word| Some((*word, command_line_of(word)?))).unwrap();
        let [quickly, whole] = [quickly, command_line()].map(|command| {
            let matches = by_value(without_variables(command)).try_get_matches_from(&words).unwrap();
            matches.subcommand_matches(name).unwrap().clone()
        });
        assert_eq!(quickly, whole, "{line}");
    }
}
