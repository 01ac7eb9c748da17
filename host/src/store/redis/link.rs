//! The operations of the store, as commands on one connection.
//!
//! Each operation is one script that looks at the era before it does anything, so that what it answers is of that era.
//! With `replicas=N`, each write has a `WAIT` behind it in the same request. Where fewer replicas have the write than
//! asked for, it is done and may be lost: its outcome is unknown, and so that nobody takes it for done by reading it
//! back, the next reads write something themselves and wait for that.

use std::io::Write;
use std::time::Duration;

use kvlock_protocol::{Failure, Login};

use super::super::socket::stream::Peer;
use super::super::socket::wire::Wire;
use super::super::{DeleteOutcome, Entry, Ttl, Version, WriteOutcome};
use super::bucket::{Bucket, Mode};
use super::refusal;
use super::reply::{Reply, foreign};
use super::script::{BEGIN, CALL, Script};

/// How often an operation is begun again because an era ended under it.
const ATTEMPTS: usize = 3;

/// Longer than any lock lasts: what is to be kept for longer is kept for ever.
const LONGEST_TTL: u128 = 1 << 50;

/// Room for the commands of a write, with usual keys: as much is kept.
const ROOM: usize = 1024;

/// How connections to a server are set up, and what is asked of it.
#[derive(Debug, Clone)]
pub(super) struct Setup {
    pub(super) login: Option<Login>,
    pub(super) database: u32,
    /// How many replicas must have a grant.
    pub(super) replicas: u32,
    /// How long to wait for them.
    pub(super) patience: Duration,
    pub(super) bucket: Bucket,
}

impl Setup {
    /// Returns how to ask where a master is: of sentinels or nodes, which need no bucket for that.
    pub(super) fn to_ask(login: Option<Login>, patience: Duration) -> Setup {
        Setup { login, database: 0, replicas: 0, patience, bucket: Bucket::default() }
    }
}

/// What a client has seen of a store: an era, and the largest token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) era: u64,
    pub(super) token: u64,
}

/// A connection to a server, and what it showed last.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) wire: Wire,
    pub(super) era: u64,
    /// The server's process.
    pub(super) run: String,
    pub(super) uptime: Duration,
    pub(super) seen: Seen,
    pub(super) bucket: Bucket,
    request: Vec<u8>,
}

/// An era, and how old its contents are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Age {
    pub(super) era: u64,
    pub(super) lossless: Duration,
}

impl Seen {
    fn note(&mut self, version: Version) {
        self.era = self.era.max(version.era);
        self.token = self.token.max(version.era.saturating_add(version.number));
    }

    pub(super) fn join(&mut self, other: Seen) {
        *self = Seen { era: self.era.max(other.era), token: self.token.max(other.token) };
    }
}

impl Link {
    /// Logs in, and finds out the era.
    pub(super) fn new(wire: Wire, setup: &Setup, seen: Seen) -> Result<Link, Failure> {
        let mut link = Link::bare(wire, setup)?;
        link.seen = seen;
        link.begin().map_err(Failure::before_a_write)?;
        Ok(link)
    }

    /// Logs in.
    pub(super) fn bare(mut wire: Wire, setup: &Setup) -> Result<Link, Failure> {
        let mut request = Vec::with_capacity(ROOM);
        let mut commands = 0;
        if let Some(Login { user, password }) = &setup.login {
            let password = password.as_ref().map_or("", |password| password.reveal()).as_bytes();
            match user.is_empty() {
                true => push(&mut request, &[b"AUTH", password]),
                false => push(&mut request, &[b"AUTH", user.as_bytes(), password]),
            }
            commands += 1;
        }
        if setup.database != 0 {
            push(&mut request, &[b"SELECT", setup.database.to_string().as_bytes()]);
            commands += 1;
        }
        if commands > 0 {
            wire.send(&request)?;
            for _ in 0..commands {
                match Reply::read(&mut wire).map_err(Failure::before_a_write)? {
                    Reply::Error(text) => return Err(refusal::failure(&text, setup.bucket.mode)),
                    Reply::Status(_) => {}
                    other => return Err(unexpected(&other)),
                }
            }
        }
        let (bucket, seen) = (setup.bucket.clone(), Seen::default());
        Ok(Link { wire, era: 0, run: String::new(), uptime: Duration::ZERO, seen, bucket, request })
    }

    /// Where it leads.
    pub(super) fn peer(&self) -> &Peer {
        &self.wire.peer
    }

    /// Finds out the era, and begins one where there is none that counts.
    pub(super) fn begin(&mut self) -> Result<Age, Failure> {
        let digits = |number: u64| if number == 0 { String::new() } else { format!("{number:019}") };
        let [era, token] = [self.seen.era, self.seen.token].map(digits);
        let wanted = self.bucket.mode;
        let reply = self.run(&BEGIN, &[era.as_bytes(), token.as_bytes(), wanted.name().as_bytes()], 0)?;
        let [status, era, age, about] = reply.items() else { return Err(unexpected(&reply)) };
        let [mode, role, run, uptime] = about.items() else { return Err(unexpected(&reply)) };
        match status.text() {
            Some("same" | "begun") => {}
            Some("foreign") => {
                return Err(Failure::Refused(format!(
                    "the key `{}` holds something that kvlock did not write: delete it, or use another database",
                    self.bucket.hash
                )));
            }
            Some("unfit") => {
                return Err(unfit(wanted, mode.text().unwrap_or_default(), role.text().unwrap_or_default()));
            }
            _ => return Err(unexpected(&reply)),
        }
        let (Some(era), Some(age), Some(run)) = (era.number(), age.number(), run.text()) else {
            return Err(unexpected(&reply));
        };
        self.era = era;
        self.run = run.to_string();
        self.uptime = Duration::from_secs(uptime.number().unwrap_or(0));
        self.seen.note(Version { era, number: 0 });
        Ok(Age { era, lossless: Duration::from_millis(age) })
    }

    /// Reads entries. `confirm` is how many replicas must have what was written before.
    pub(super) fn get(
        &mut self,
        keys: &[&str],
        confirm: u32,
        patience: Duration,
    ) -> Result<Vec<Option<Entry>>, Failure> {
        let operation: &[u8] = if confirm > 0 { b"confirm" } else { b"get" };
        for _ in 0..ATTEMPTS {
            let era = self.era.to_string();
            let mut words = vec![operation, era.as_bytes()];
            words.extend(keys.iter().map(|key| key.as_bytes()));
            let reply = self.waiting(&words, confirm, patience, 0).map_err(Failure::before_a_write)?;
            match (status(&reply)?, &reply.items()[1..]) {
                ("era", _) => self.begin().map(|_| ()).map_err(Failure::before_a_write)?,
                ("entries", entries) if entries.len() == keys.len() => {
                    return entries.iter().map(|entry| self.entry(entry)).collect();
                }
                ("foreign", [key]) => return Err(self.not_ours(key)),
                _ => return Err(unexpected(&reply)),
            }
        }
        Err(restless())
    }

    fn entry(&mut self, entry: &Reply) -> Result<Option<Entry>, Failure> {
        let [number, left, Reply::Text(value)] = entry.items() else {
            return if entry.items().is_empty() { Ok(None) } else { Err(unexpected(entry)) };
        };
        let left = match (left.text(), left.number()) {
            (Some("-1"), _) => Ttl::Forever,
            (_, Some(left)) => Ttl::After(Duration::from_millis(left)),
            _ => return Err(unexpected(entry)),
        };
        let version = self.version(number).ok_or_else(|| unexpected(entry))?;
        Ok(Some(Entry { value: value.clone(), version, time_left: Some(left) }))
    }

    pub(super) fn add(&mut self, key: &str, value: &[u8], ttl: Ttl, setup: &Setup) -> Result<WriteOutcome, Failure> {
        for _ in 0..ATTEMPTS {
            let era = self.era.to_string();
            let words: [&[u8]; 5] = [b"add", era.as_bytes(), key.as_bytes(), value, &milliseconds(ttl)];
            let reply = self.waiting(&words, setup.replicas, setup.patience, 0)?;
            match (status(&reply)?, &reply.items()[1..]) {
                ("era", _) => self.begin().map(|_| ()).map_err(Failure::before_a_write)?,
                ("written", [number]) => return self.written(number, &reply),
                ("conflict", [number]) => return Ok(WriteOutcome::Conflict(self.version(number))),
                ("foreign", [key]) => return Err(self.not_ours(key)),
                _ => return Err(unexpected(&reply)),
            }
        }
        Err(restless())
    }

    pub(super) fn replace(
        &mut self,
        key: &str,
        value: &[u8],
        ttl: Ttl,
        version: Version,
        setup: &Setup,
    ) -> Result<WriteOutcome, Failure> {
        let (era, number) = (version.era.to_string(), version.number.to_string());
        for _ in 0..ATTEMPTS {
            let words: [&[u8]; 6] =
                [b"replace", era.as_bytes(), key.as_bytes(), value, &milliseconds(ttl), number.as_bytes()];
            let reply = self.waiting(&words, setup.replicas, setup.patience, 0)?;
            match (status(&reply)?, &reply.items()[1..]) {
                ("era", _) if self.is_over(version)? => return Ok(WriteOutcome::Conflict(None)),
                ("era", _) => {}
                ("written", [number]) => return self.written(number, &reply),
                ("absent", []) => return Ok(WriteOutcome::Absent),
                ("conflict", [number]) => return Ok(WriteOutcome::Conflict(self.version(number))),
                ("foreign", [key]) => return Err(self.not_ours(key)),
                _ => return Err(unexpected(&reply)),
            }
        }
        Err(restless())
    }

    pub(super) fn delete(&mut self, key: &str, version: Version) -> Result<DeleteOutcome, Failure> {
        let (era, number) = (version.era.to_string(), version.number.to_string());
        for _ in 0..ATTEMPTS {
            let words: [&[u8]; 6] = [b"delete", era.as_bytes(), key.as_bytes(), b"", b"", number.as_bytes()];
            let reply = self.run(&CALL, &words, 0)?;
            match (status(&reply)?, &reply.items()[1..]) {
                ("era", _) if self.is_over(version)? => return Ok(DeleteOutcome::Conflict(None)),
                ("era", _) => {}
                ("deleted", []) => return Ok(DeleteOutcome::Deleted),
                ("absent", []) => return Ok(DeleteOutcome::Absent),
                ("conflict", [number]) => return Ok(DeleteOutcome::Conflict(self.version(number))),
                ("foreign", [key]) => return Err(self.not_ours(key)),
                _ => return Err(unexpected(&reply)),
            }
        }
        Err(restless())
    }

    /// Whether the era of a version is not the present one. Nothing was done so far.
    fn is_over(&mut self, version: Version) -> Result<bool, Failure> {
        self.begin().map_err(Failure::before_a_write)?;
        Ok(self.era != version.era)
    }

    fn written(&mut self, number: &Reply, reply: &Reply) -> Result<WriteOutcome, Failure> {
        self.version(number).map(WriteOutcome::Written).ok_or_else(|| unexpected(reply))
    }

    fn version(&mut self, number: &Reply) -> Option<Version> {
        let version = Version { era: self.era, number: number.number()? };
        self.seen.note(version);
        Some(version)
    }

    /// Runs an operation, and waits until as many replicas have what it wrote.
    fn waiting(&mut self, words: &[&[u8]], replicas: u32, patience: Duration, loads: usize) -> Result<Reply, Failure> {
        if replicas == 0 {
            return self.run(&CALL, words, 0);
        }
        let wait = [replicas.to_string(), patience.as_millis().max(1).to_string()];
        push_script(&mut self.request, CALL.digest(), &self.bucket.hash, words);
        push(&mut self.request, &[b"WAIT", wait[0].as_bytes(), wait[1].as_bytes()]);
        self.wire.send(&self.request)?;
        let reply = Reply::read(&mut self.wire)?;
        let acknowledged = Reply::read(&mut self.wire)?;
        let reply = match reply {
            Reply::Error(text) if refusal::is_no_script(&text) && loads < ATTEMPTS => {
                self.load(&CALL)?;
                return self.waiting(words, replicas, patience, loads + 1);
            }
            Reply::Error(text) => return Err(refusal::failure(&text, self.bucket.mode)),
            reply => reply,
        };
        let was_written = matches!(status(&reply)?, "written" | "entries");
        match acknowledged {
            Reply::Number(count) if count >= i64::from(replicas) => Ok(reply),
            // Nothing was written: nobody need have it.
            _ if !was_written => Ok(reply),
            Reply::Number(count) => Err(Failure::NoAnswer(format!(
                "{count} of {replicas} replicas have acknowledged it within {patience:?}"
            ))),
            Reply::Error(text) => Err(Failure::NoAnswer(format!(
                "it answers `{}` to WAIT, which `replicas` asks for",
                text.escape_debug()
            ))),
            other => Err(unexpected(&other)),
        }
    }

    /// Runs a script, and gives it to the server first if the server does not have it.
    fn run(&mut self, script: &Script, words: &[&[u8]], loads: usize) -> Result<Reply, Failure> {
        push_script(&mut self.request, script.digest(), &self.bucket.hash, words);
        self.wire.send(&self.request)?;
        self.request.shrink_to(ROOM);
        match Reply::read(&mut self.wire)? {
            Reply::Error(text) if refusal::is_no_script(&text) && loads < ATTEMPTS => {
                self.load(script)?;
                self.run(script, words, loads + 1)
            }
            Reply::Error(text) => Err(refusal::failure(&text, self.bucket.mode)),
            reply => Ok(reply),
        }
    }

    fn load(&mut self, script: &Script) -> Result<(), Failure> {
        let reply = self.ask(&[b"SCRIPT", b"LOAD", script.text.as_bytes()]).map_err(Failure::before_a_write)?;
        match reply.text() {
            Some(digest) if digest == script.digest() => Ok(()),
            _ => Err(unexpected(&reply)),
        }
    }

    fn not_ours(&self, key: &Reply) -> Failure {
        let (key, hash) = (key.text().unwrap_or_default().escape_debug(), &self.bucket.hash);
        Failure::Refused(format!("the field `{key}` of `{hash}` holds something that kvlock did not write: HDEL it"))
    }

    /// Wakes whoever listens to a channel.
    pub(super) fn publish(&mut self, channel: &str) -> Result<(), Failure> {
        self.ask(&[b"PUBLISH", channel.as_bytes(), b""]).map(drop)
    }

    /// Sends a command that is none of the store's operations.
    pub(super) fn ask(&mut self, words: &[&[u8]]) -> Result<Reply, Failure> {
        self.request.clear();
        push(&mut self.request, words);
        self.wire.send(&self.request)?;
        match Reply::read(&mut self.wire)? {
            Reply::Error(text) => Err(refusal::failure(&text, self.bucket.mode)),
            reply => Ok(reply),
        }
    }
}

/// Appends a command to a request.
pub(super) fn push(request: &mut Vec<u8>, words: &[&[u8]]) {
    // Writing to a vector does not fail.
    let _ = write!(request, "*{}\r\n", words.len());
    for word in words {
        let _ = write!(request, "${}\r\n", word.len());
        request.extend_from_slice(word);
        request.extend_from_slice(b"\r\n");
    }
}

/// Begins a request by the call of a script.
fn push_script(request: &mut Vec<u8>, digest: &str, hash: &str, words: &[&[u8]]) {
    request.clear();
    let mut command: Vec<&[u8]> = vec![b"EVALSHA", digest.as_bytes(), b"1", hash.as_bytes()];
    command.extend(words);
    push(request, &command);
}

/// The ttl of a write in whole milliseconds, rounded up; 0 for ever. A clock that is being set right may be faster than
/// ours by a two-thousandth: twice as much is added.
fn milliseconds(ttl: Ttl) -> Vec<u8> {
    let milliseconds = match ttl {
        Ttl::After(length) => {
            let whole = length.as_nanos().div_ceil(1_000_000).max(1);
            Some(whole + whole / 1000 + 1).filter(|milliseconds| *milliseconds < LONGEST_TTL)
        }
        Ttl::Forever => None,
    };
    milliseconds.unwrap_or(0).to_string().into_bytes()
}

/// The first word of a script's reply.
fn status(reply: &Reply) -> Result<&str, Failure> {
    reply.items().first().and_then(Reply::text).ok_or_else(|| unexpected(reply))
}

fn unfit(wanted: Mode, mode: &str, role: &str) -> Failure {
    match (mode, role) {
        ("sentinel", _) => Failure::Refused("it is a sentinel: give redis+sentinel://host:port/master-name".into()),
        ("standalone", _) if wanted == Mode::Cluster => Failure::Refused(refusal::NO_NODE.into()),
        ("cluster", _) if wanted == Mode::Standalone => Failure::Refused(refusal::A_NODE.into()),
        ("standalone" | "cluster", "slave") => Failure::NotSent("it is a replica, and only the master decides".into()),
        _ => Failure::Refused(format!(
            "`INFO` tells the mode `{}` and the role `{}`: it is no server that kvlock knows",
            mode.escape_debug(),
            role.escape_debug()
        )),
    }
}

pub(super) fn unexpected(reply: &Reply) -> Failure {
    foreign(format!("{reply:?}").as_bytes())
}

fn restless() -> Failure {
    Failure::NotSent("it loses its contents again and again: is it being flushed?".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ttl_is_rounded_up_and_a_thousandth_is_added() {
        let cases = [(0, "2"), (1, "2"), (1_000_000, "2"), (1_000_001, "3"), (30_000_000_000, "30031")];
        for (nanos, milliseconds) in cases {
            let ttl = Ttl::After(Duration::from_nanos(nanos));
            assert_eq!(String::from_utf8(super::milliseconds(ttl)).unwrap(), milliseconds, "{nanos} ns");
        }
        for forever in [Ttl::Forever, Ttl::After(Duration::MAX)] {
            assert_eq!(super::milliseconds(forever), b"0");
        }
    }

    #[test]
    fn a_command_says_how_long_each_word_is() {
        let mut request = Vec::new();
        push(&mut request, &[b"SET", b"a b", b"\r\n"]);
        assert_eq!(request, b"*3\r\n$3\r\nSET\r\n$3\r\na b\r\n$2\r\n\r\n\r\n");
    }
}
