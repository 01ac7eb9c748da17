//! Results on stdout, and notes on stderr, as JSON or as lines of text.

use std::fmt::Display;
use std::io::{ErrorKind, Write};
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use kvlock::status::Ask;
use kvlock::store::Ttl;
use kvlock::{Grant, Holder, Validity};
use rustix::io::Errno;
use serde::Serialize;
use serde_json::{Map, Value};
use signal_hook::consts::SIGPIPE;

use crate::report::exit::{self, Exit};
use crate::report::stderr;
pub(crate) use crate::report::stderr::moment;

/// Prints one line of JSON.
pub(crate) fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    bytes(&line)
}

/// Prints one line of text.
pub(crate) fn line(text: impl Display) -> anyhow::Result<()> {
    bytes(format!("{}\n", one_line(text)).as_bytes())
}

/// Prints bytes on stdout.
pub(crate) fn bytes(bytes: &[u8]) -> anyhow::Result<()> {
    check_stdout()?;
    let mut stdout = std::io::stdout();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|error| not_written(&error))
}

/// Returns the error of a failed write. If the reader has gone, the exit code is that of SIGPIPE, which Rust programs
/// ignore.
pub(crate) fn not_written(error: &std::io::Error) -> anyhow::Error {
    let code = if error.kind() == ErrorKind::BrokenPipe { exit::of_signal(SIGPIPE) } else { exit::SYSTEM };
    Exit::new(code, format!("cannot write to stdout: {error}")).into()
}

/// Fails if stdout was closed when kvlock started, because nobody would learn the result. A subcommand that changes
/// something asks first.
pub(crate) fn check_stdout() -> anyhow::Result<()> {
    if WAS_CLOSED.load(Ordering::Relaxed) {
        return Err(Exit::new(exit::SYSTEM, "stdout is closed, and nobody would learn the result: redirect it").into());
    }
    Ok(())
}

static WAS_CLOSED: AtomicBool = AtomicBool::new(false);

/// Checks stdout in a constructor of the C library: before `main`, Rust's runtime opens /dev/null in place of a closed
/// descriptor.
#[used]
#[unsafe(link_section = ".init_array")]
static LOOK_AT_STDOUT: extern "C" fn() = {
    extern "C" fn look() {
        // SAFETY: a question about a number, which need not be a descriptor.
        let stdout = unsafe { BorrowedFd::borrow_raw(1) };
        WAS_CLOSED.store(rustix::io::fcntl_getfd(stdout) == Err(Errno::BADF), Ordering::Relaxed);
    }
    look
};

/// Prints a note on stderr.
pub(crate) fn say(text: impl Display) {
    write_line(stderr::note(text));
}

/// Writes one line on stderr.
pub(crate) fn write_line(line: impl Display) {
    stderr::say(format!("{line}\n").as_bytes());
}

/// Shortens a key or a name so that it fits on a line with other words.
pub(crate) fn short(name: &str) -> String {
    const MOST: usize = 40;
    let cut: String = name.chars().take(MOST).collect();
    let rest = if name.chars().nth(MOST).is_some() { "…" } else { "" };
    format!("{}{rest}", one_line(cut))
}

/// Escapes control characters. Keys and names may come from anyone, and must not control our terminal.
pub(crate) fn one_line(text: impl Display) -> String {
    let escape = |c: char| match c {
        c if c.is_control() || turns_text_round(c) => c.escape_default().to_string(),
        c => c.to_string(),
    };
    text.to_string().chars().map(escape).collect()
}

/// Returns true for a character that changes the direction in which others are shown: a name that has one could seem to
/// be another.
fn turns_text_round(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The holder of a key.
#[derive(Serialize)]
pub(crate) struct HolderJson<'a> {
    owner: &'a str,
    host: &'a str,
    /// Left out if it gave none.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a str>,
    since: Option<String>,
    until: Option<String>,
    /// Seconds; null if it has no end.
    lease: Option<f64>,
    depth: u32,
    /// How many share the lock; left out if one has it alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    readers: Option<u32>,
    /// Text, because a double cannot hold all digits.
    token: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    permit: Option<u32>,
}

impl<'a> From<&'a Holder> for HolderJson<'a> {
    fn from(holder: &'a Holder) -> Self {
        let lease = match holder.lease {
            Ttl::After(lease) => Some(lease.as_secs_f64()),
            Ttl::Forever => None,
        };
        HolderJson {
            owner: &holder.owner,
            host: &holder.label,
            note: holder.note.as_deref(),
            since: holder.since.map(moment),
            until: holder.until.map(moment),
            lease,
            depth: holder.depth,
            readers: Some(holder.readers).filter(|readers| *readers > 0),
            token: holder.token.to_string(),
            permit: holder.permit,
        }
    }
}

/// A grant that another process will take up.
#[derive(Serialize)]
pub(crate) struct GrantJson {
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    permit: Option<u32>,
    owner: String,
    token: String,
    /// The tokens of several keys, by key; left out if there is one key.
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens: Option<Value>,
    /// Until when the grant is certain to last; null if it has no end.
    deadline: Option<String>,
    pub(crate) grant: String,
    /// Who asks for it; left out if nobody does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) wanted: Option<AskJson>,
}

/// Somebody who asks for a lock.
#[derive(Serialize)]
pub(crate) struct AskJson {
    owner: String,
    host: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    since: Option<String>,
}

impl From<Ask> for AskJson {
    fn from(ask: Ask) -> Self {
        let Ask { owner, label, note, since, .. } = ask;
        AskJson { owner, host: label, note, since: since.map(moment) }
    }
}

impl GrantJson {
    pub(crate) fn new(grant: Grant) -> anyhow::Result<Self> {
        let deadline = match grant.validity()? {
            Validity::Valid(left) => SystemTime::now().checked_add(left).map(moment),
            _ => None,
        };
        let (key, owner, token) = (grant.key().to_string(), grant.owner().to_string(), grant.token().to_string());
        let (permit, tokens) = (grant.permit(), tokens(&grant));
        Ok(GrantJson { key, permit, owner, token, tokens, deadline, grant: grant.write_out()?, wanted: None })
    }

    pub(crate) fn print(&self, as_json: bool) -> anyhow::Result<()> {
        if as_json {
            return print_json(self);
        }
        line(&self.grant)
    }
}

/// Returns the tokens of several keys as an object; none if the grant is of one key.
pub(crate) fn tokens(grant: &Grant) -> Option<Value> {
    let tokens: Map<String, Value> =
        grant.tokens().map(|(key, token)| (key.to_string(), Value::from(token.to_string()))).collect();
    (tokens.len() > 1).then_some(Value::Object(tokens))
}

/// Returns the end of a line about a store in quarantine.
pub(crate) fn quarantine(left: Option<Duration>) -> String {
    left.map(|left| format!("; nothing is granted for {:.1} s more (quarantine)", left.as_secs_f64()))
        .unwrap_or_default()
}

/// Formats a moment as whole Unix seconds, rounded down. A shell can calculate with them.
pub(crate) fn unix_seconds(time: SystemTime) -> String {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs().to_string()
}
