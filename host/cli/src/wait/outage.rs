//! An outage that a wait rides out. Lines tell when it begins and when it ends.

use std::cell::Cell;
use std::time::Instant;

use kvlock::store::StoreError;

use crate::options::args::Patience;
use crate::options::global::Global;
use crate::report::output::{self, one_line};
use crate::wait::live_line::LiveLine;

/// The outage of a store, as a wait sees it.
pub(super) struct Outage<'a> {
    name: &'a str,
    patience: Patience,
    quiet: bool,
    /// When the first try began.
    begun: Instant,
    since: Option<Instant>,
    /// True if the store has answered.
    reached: &'a Cell<bool>,
}

impl<'a> Outage<'a> {
    pub(super) fn new(name: &'a str, patience: Patience, global: &Global, reached: &'a Cell<bool>) -> Self {
        let quiet = global.quiet || global.json;
        Outage { name, patience, quiet, begun: Instant::now(), since: None, reached }
    }

    /// Tells on one line that an outage begins, or that it is over.
    pub(super) fn see(&mut self, error: Option<&StoreError>, line: &LiveLine) {
        let (name, reached) = (output::short(self.name), self.reached.get());
        match (self.since, error) {
            (None, Some(error)) => {
                self.since = Some(if reached { Instant::now() } else { self.begun });
                let longest = if reached { self.patience.later } else { self.patience.first };
                let longest = match longest {
                    Some(longest) => format!("for {}", humantime::format_duration(longest)),
                    None => "as long as the wait lasts".to_string(),
                };
                self.say(line, format!("`{name}`: {error:#}; trying again {longest}"));
            }
            (Some(since), None) => {
                self.since = None;
                self.say(line, format!("`{name}`: the store answers again, after {}", passed(since)));
            }
            _ => {}
        }
        self.reached.set(reached || error.is_none());
    }

    fn say(&self, line: &LiveLine, text: String) {
        if !self.quiet {
            line.apart(|| output::say(one_line(text)));
        }
    }

    /// Adds to the error of a wait that an outage ended how long the store was tried.
    pub(super) fn gave_up<E: std::error::Error + Send + Sync + 'static>(&self, error: E) -> anyhow::Error {
        let error = anyhow::Error::new(error);
        match self.since {
            Some(since) => error.context(format!("gave up after {}", passed(since))),
            None => error,
        }
    }
}

/// Formats the time that has passed.
fn passed(since: Instant) -> String {
    format!("{:.1} s", since.elapsed().as_secs_f64())
}
