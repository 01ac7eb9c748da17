//! `kvlock list`.

use std::time::{Duration, SystemTime};

use anyhow::Result;
use kvlock::listing::{ListFilter, ListedLock, ListedSemaphore, Listing};
use kvlock::status::KeyState;
use kvlock::store::Ttl;
use kvlock::{Holder, Session};
use serde_json::{Value, json};

use crate::options::duration::HumanDuration;
use crate::options::global::Global;
use crate::report::error;
use crate::report::exit::Status;
use crate::report::output::{self, HolderJson};
use crate::report::table::{self, Column};
use crate::signals::{self, Events};
use crate::wait;

/// Print who holds what: all locks, permits and reservations of the namespace
///
/// Each line has a lock or a permit, who has it, for how long, how many wait, and its note. On a terminal, long values
/// are cut to its width. A memcached lists what it has while others go on: a lock that came or went at that moment may be
/// missing. All other stores are exact.
#[derive(clap::Args)]
pub(crate) struct List {
    /// Only keys and semaphores whose name begins so
    #[arg(long, env = "KVLOCK_PREFIX", value_name = "TEXT")]
    prefix: Option<String>,
    /// Only what has been held for longer than this
    #[arg(long, env = "KVLOCK_OLDER_THAN")]
    older_than: Option<HumanDuration>,
    /// Only what this owner has
    #[arg(long, env = "KVLOCK_OWNER", value_name = "NAME")]
    owner: Option<String>,
    /// Print it again and again until Ctrl-C: on a terminal in the same place
    #[arg(long, env = "KVLOCK_WATCH")]
    watch: bool,
    /// The pause between two looks of --watch
    #[arg(long, env = "KVLOCK_EVERY", default_value = "2s")]
    every: HumanDuration,
}

/// The shortest pause of --watch: a store is there for locks.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

const COLUMNS: [Column; 10] = [
    Column { name: "KEY", may_be_cut: true, to_the_right: false },
    Column { name: "STATE", may_be_cut: false, to_the_right: false },
    Column { name: "OWNER", may_be_cut: true, to_the_right: false },
    Column { name: "AGE", may_be_cut: false, to_the_right: true },
    Column { name: "WAITERS", may_be_cut: false, to_the_right: true },
    Column { name: "NOTE", may_be_cut: true, to_the_right: false },
    Column { name: "UNTIL", may_be_cut: false, to_the_right: false },
    Column { name: "SINCE", may_be_cut: false, to_the_right: false },
    Column { name: "HOST", may_be_cut: true, to_the_right: false },
    Column { name: "TOKEN", may_be_cut: false, to_the_right: false },
];

impl List {
    pub(crate) fn run(self, global: &Global) -> Result<Status> {
        if self.watch {
            let (_, events) = signals::listen()?;
            return self.watch(global, &events);
        }
        let listing = global.session(None)?.list(&self.filter())?;
        self.say_what_is_not_there(&listing, global);
        if global.json {
            objects(&listing).iter().try_for_each(output::print_json)?;
        } else {
            let lines = text(&listing, table::size_of_stdout().map(|(width, _)| width));
            lines.iter().try_for_each(output::line)?;
        }
        Ok(Status::SUCCESS)
    }

    fn filter(&self) -> ListFilter {
        let mut filter = ListFilter::all();
        if let Some(prefix) = &self.prefix {
            filter = filter.prefix(prefix);
        }
        if let Some(owner) = &self.owner {
            filter = filter.owner(owner);
        }
        if let Some(HumanDuration(age)) = self.older_than {
            filter = filter.older_than(age);
        }
        filter
    }

    fn is_filtered(&self) -> bool {
        self.prefix.is_some() || self.owner.is_some() || self.older_than.is_some()
    }

    /// Says on stderr what the list itself does not tell.
    fn say_what_is_not_there(&self, listing: &Listing, global: &Global) {
        if global.quiet {
            return;
        }
        if !listing.is_exact {
            output::say("memcached lists no snapshot: what came or went meanwhile may be missing");
        }
        let Listing { locks, semaphores, corrupt, .. } = listing;
        if locks.is_empty() && semaphores.is_empty() && corrupt.is_empty() {
            let what = if self.is_filtered() { "nothing of that kind is held" } else { "nothing is held" };
            output::say(format_args!("{what} in the namespace `{}`", global.namespace));
        }
    }

    fn watch(&self, global: &Global, events: &Events) -> Result<Status> {
        let (session, filter) = (global.session(None)?, self.filter());
        let mut is_first = true;
        loop {
            let listing = look(&session, &filter)?;
            match (table::size_of_stdout().filter(|_| !global.json), listing) {
                (Some((width, height)), listing) => {
                    let lines = match &listing {
                        Ok(listing) => text(listing, Some(width)),
                        Err(error) => vec![error.clone()],
                    };
                    output::bytes(frame(&self.heading(global, &listing), lines, (width, height), is_first).as_bytes())?;
                }
                (None, Ok(listing)) if global.json => {
                    let mut objects = objects(&listing);
                    let at = output::moment(SystemTime::now());
                    objects.push(json!({ "listed": objects.len(), "exact": listing.is_exact, "at": at }));
                    objects.iter().try_for_each(output::print_json)?;
                }
                (None, Ok(listing)) => {
                    let heading = self.heading(global, &Ok(listing.clone()));
                    let lines = text(&listing, None);
                    std::iter::once(&heading).chain(&lines).try_for_each(output::line)?;
                }
                (None, Err(error)) => output::say(error),
            }
            is_first = false;
            if let Some(signal) = wait::pause(self.every.0.max(SHORTEST_PAUSE), events) {
                return Ok(Status::Killed(signal));
            }
        }
    }

    fn heading(&self, global: &Global, listing: &Result<Listing, String>) -> String {
        let at = humantime::format_rfc3339_seconds(SystemTime::now());
        let Ok(Listing { locks, semaphores, corrupt, .. }) = listing else { return at.to_string() };
        let count = |count: usize, one: &str| format!("{count} {one}{}", if count == 1 { "" } else { "s" });
        let mut heading = format!(
            "{at}  {}, {} in `{}`, every {}",
            count(locks.len(), "lock"),
            count(semaphores.len(), "semaphore"),
            global.namespace,
            humantime::format_duration(self.every.0.max(SHORTEST_PAUSE)),
        );
        if !corrupt.is_empty() {
            heading += &format!(", {} not kvlock's", corrupt.len());
        }
        heading
    }
}

/// Lists, or tells why the store does not answer now. Any other error ends the watch.
fn look(session: &Session, filter: &ListFilter) -> Result<Result<Listing, String>> {
    match session.list(filter) {
        Ok(listing) => Ok(Ok(listing)),
        Err(error) if error.kind().is_outage() => Ok(Err(error::message(&error.into()))),
        Err(error) => Err(error.into()),
    }
}

/// Returns what draws a whole terminal anew: a heading, and as many lines as there is room for.
fn frame(heading: &str, mut lines: Vec<String>, (width, height): (usize, usize), is_first: bool) -> String {
    // The heading, and the line on which the cursor stands.
    let room = height.saturating_sub(2).max(1);
    if lines.len() > room {
        let more = lines.len() - (room - 1);
        lines.truncate(room - 1);
        lines.push(format!("… and {more} more"));
    }
    let mut frame = String::from(if is_first { "\x1b[2J\x1b[H" } else { "\x1b[H" });
    for line in std::iter::once(heading).chain(lines.iter().map(String::as_str)) {
        frame += &table::cut(&output::one_line(line), width);
        frame += "\x1b[K\r\n";
    }
    frame + "\x1b[J"
}

/// Returns the lines of the table; none if there is nothing in it.
fn text(listing: &Listing, width: Option<usize>) -> Vec<String> {
    let mut rows = Vec::new();
    for ListedLock { key, state, waiters, .. } in &listing.locks {
        let Some(holder) = state.holder() else { continue };
        let name = match state {
            KeyState::Reserved(_) => "reserved".to_string(),
            KeyState::Kept(_) => "kept".to_string(),
            _ if holder.readers > 0 => format!("shared {}", holder.readers),
            _ => "held".to_string(),
        };
        rows.push(row(key, name, Some(holder), Some(*waiters)));
    }
    for ListedSemaphore { name, size, held, holders, .. } in &listing.semaphores {
        let state = if *size == 0 { format!("{held} held, ending") } else { format!("{held} of {size} held") };
        rows.push(row(name, state, None, None));
        for holder in holders {
            rows.push(row(name, format!("permit {}", holder.permit.unwrap_or_default()), Some(holder), None));
        }
    }
    for corrupt in &listing.corrupt {
        let mut row = row(&corrupt.store_key, "corrupt".to_string(), None, None);
        row[5] = format!("not a kvlock record: {}", corrupt.excerpt);
        rows.push(row);
    }
    if rows.is_empty() { Vec::new() } else { table::lines(&COLUMNS, &rows, width) }
}

fn row(name: &str, state: String, holder: Option<&Holder>, waiters: Option<u32>) -> [String; 10] {
    let seconds = |moment| humantime::format_rfc3339_seconds(moment).to_string();
    let [owner, held_for, note, until, since, host, token] = match holder {
        Some(holder) => [
            holder.owner.clone(),
            age(holder).map(short).unwrap_or_default(),
            holder.note.clone().unwrap_or_default(),
            match holder.time_left {
                Some(Ttl::Forever) => "released".to_string(),
                _ => holder.until.map(seconds).unwrap_or_default(),
            },
            holder.since.map(seconds).unwrap_or_default(),
            holder.label.clone(),
            holder.token.to_string(),
        ],
        None => Default::default(),
    };
    let waiters = waiters.map(|waiters| waiters.to_string()).unwrap_or_default();
    [name.to_string(), state, owner, held_for, waiters, note, until, since, host, token]
}

/// Returns for how long it has been held, by the holder's clock and ours.
fn age(holder: &Holder) -> Option<Duration> {
    Some(SystemTime::now().duration_since(holder.since?).unwrap_or(Duration::ZERO))
}

/// Formats an age by its two largest units.
fn short(age: Duration) -> String {
    let seconds = age.as_secs();
    let units = [(86400, 'd'), (3600, 'h'), (60, 'm'), (1, 's')];
    let first = units.iter().position(|(length, _)| seconds >= *length).unwrap_or(units.len() - 1);
    let mut left = seconds;
    let mut text = String::new();
    for (length, unit) in units.iter().skip(first).take(2) {
        text += &format!("{}{unit}", left / length);
        left %= length;
    }
    text
}

fn objects(listing: &Listing) -> Vec<Value> {
    let holder = |holder: &Holder| {
        let mut told = json!(HolderJson::from(holder));
        told["age"] = json!(age(holder).map(|age| age.as_secs_f64()));
        told
    };
    let lock = |lock: &ListedLock| {
        let state = match lock.state {
            KeyState::Reserved(_) => "reserved",
            KeyState::Kept(_) => "kept",
            _ => "held",
        };
        json!({
            "key": lock.key, "state": state, "holder": lock.state.holder().map(holder), "waiters": lock.waiters,
        })
    };
    let semaphore = |semaphore: &ListedSemaphore| {
        let ListedSemaphore { name, size, held, holders, .. } = semaphore;
        let holders: Vec<Value> = holders.iter().map(holder).collect();
        json!({ "semaphore": name, "size": size, "held": held, "holders": holders })
    };
    let locks = listing.locks.iter().map(lock);
    let corrupt = listing
        .corrupt
        .iter()
        .map(|corrupt| json!({ "entry": corrupt.store_key, "state": "corrupt", "excerpt": corrupt.excerpt }));
    locks.chain(listing.semaphores.iter().map(semaphore)).chain(corrupt).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_has_its_two_largest_units() {
        for (seconds, text) in
            [(0, "0s"), (59, "59s"), (60, "1m0s"), (3725, "1h2m"), (90_000, "1d1h"), (864_000, "10d0h")]
        {
            assert_eq!(short(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn a_frame_never_has_more_lines_than_the_terminal_and_begins_where_the_last_one_did() {
        let lines: Vec<String> = (0..500).map(|n| format!("line {n}")).collect();
        let drawn = frame("heading", lines.clone(), (40, 10), false);
        assert!(drawn.starts_with("\x1b[Hheading\x1b[K\r\nline 0\x1b[K\r\n") && drawn.ends_with("\x1b[J"), "{drawn:?}");
        assert_eq!(drawn.matches("\r\n").count(), 9);
        assert!(drawn.contains("line 6\x1b[K\r\n… and 493 more"), "{drawn:?}");
        assert!(frame("heading", lines, (40, 1), true).starts_with("\x1b[2J\x1b[Hheading"));
    }
}
