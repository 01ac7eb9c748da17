//! A store that lies: any answer, to any question, in any order.

use std::sync::Arc;
use std::time::Duration;

use kvlock_machine::{DeleteOutcome, Entry, EraInfo, Reply, Request, StoreError, Ttl, Version, WriteOutcome};

use crate::tape::Tape;

/// What the store was told, from which it makes its lies.
#[derive(Default)]
pub(crate) struct Liar {
    /// Values that were written, or would have been.
    values: Vec<Vec<u8>>,
    versions: Vec<Version>,
    /// How many versions it made up.
    made_up: u64,
}

impl Liar {
    pub(crate) fn reply(&mut self, tape: &mut Tape, request: &Request) -> Reply {
        self.listen(request);
        // A driver that mixes its answers up.
        if tape.once_in(64) {
            return self.misdirected(tape);
        }
        match request {
            Request::Get { key } => Reply::Entry(self.or_fails(tape, |liar, tape| liar.entry(tape, key))),
            Request::GetMany { keys } => Reply::Entries(self.or_fails(tape, |liar, tape| liar.entries(tape, keys))),
            Request::Add { .. } | Request::Replace { .. } => Reply::Write(self.or_fails(tape, Liar::write)),
            Request::Delete { .. } => Reply::Delete(self.or_fails(tape, Liar::delete)),
            Request::Era { .. } => Reply::Era(self.or_fails(tape, Liar::era)),
            Request::All(requests) => Reply::All(requests.iter().map(|request| self.reply(tape, request)).collect()),
        }
    }

    /// The answer of a store that has had enough.
    pub(crate) fn refusal(request: &Request) -> Reply {
        let refused = || StoreError::Rejected("enough".into());
        match request {
            Request::Get { .. } => Reply::Entry(Err(refused())),
            Request::GetMany { .. } => Reply::Entries(Err(refused())),
            Request::Add { .. } | Request::Replace { .. } => Reply::Write(Err(refused())),
            Request::Delete { .. } => Reply::Delete(Err(refused())),
            Request::Era { .. } => Reply::Era(Err(refused())),
            Request::All(requests) => Reply::All(requests.iter().map(Liar::refusal).collect()),
        }
    }

    fn listen(&mut self, request: &Request) {
        if let Request::Add { value, .. } | Request::Replace { value, .. } = request {
            self.values.push(value.clone());
        }
    }

    fn misdirected(&mut self, tape: &mut Tape) -> Reply {
        match tape.byte() % 5 {
            0 => Reply::Entry(Ok(None)),
            1 => Reply::Entries(Ok(vec![None; usize::from(tape.byte() % 4)])),
            2 => Reply::Write(Ok(self.write(tape))),
            3 => Reply::Delete(Ok(self.delete(tape))),
            _ => Reply::Era(Ok(self.era(tape))),
        }
    }

    fn or_fails<T>(
        &mut self,
        tape: &mut Tape,
        answer: impl FnOnce(&mut Self, &mut Tape) -> T,
    ) -> Result<T, StoreError> {
        match tape.byte() % 16 {
            0 => Err(StoreError::Unavailable("no".into())),
            1 | 2 => Err(StoreError::UnknownOutcome("?".into())),
            3 if tape.once_in(8) => Err(StoreError::Rejected("no!".into())),
            4 if tape.once_in(8) => Err(StoreError::Invalid("what?".into())),
            _ => Ok(answer(self, tape)),
        }
    }

    fn entries(&mut self, tape: &mut Tape, keys: &[Arc<str>]) -> Vec<Option<Entry>> {
        let mut entries: Vec<_> = keys.iter().map(|key| self.entry(tape, key)).collect();
        match tape.byte() {
            0 => entries.push(None),
            1 => drop(entries.pop()),
            _ => {}
        }
        entries
    }

    fn entry(&mut self, tape: &mut Tape, key: &str) -> Option<Entry> {
        let value = self.value(tape, key)?;
        let time_left =
            tape.pick(&[None, Some(Ttl::Forever), Some(Ttl::After(Duration::ZERO)), Some(Ttl::After(Duration::MAX))]);
        Some(Entry { value, version: self.version(tape), time_left })
    }

    fn value(&mut self, tape: &mut Tape, key: &str) -> Option<Vec<u8>> {
        match tape.byte() % 8 {
            0 | 1 => None,
            2..4 => self.values.last().cloned(),
            4 if !self.values.is_empty() => Some(tape.pick(&self.values)),
            5 => Some(damaged(tape, self.values.last()?.clone())),
            6 => Some(tape.bytes()),
            _ => Some(made_up(tape, key).into_bytes()),
        }
    }

    fn write(&mut self, tape: &mut Tape) -> WriteOutcome {
        match tape.byte() % 8 {
            0 => WriteOutcome::Conflict(None),
            1 => WriteOutcome::Conflict(Some(self.version(tape))),
            2 => WriteOutcome::Absent,
            _ => WriteOutcome::Written(self.version(tape)),
        }
    }

    fn delete(&mut self, tape: &mut Tape) -> DeleteOutcome {
        match tape.byte() % 4 {
            0 => DeleteOutcome::Conflict(Some(self.version(tape))),
            1 => DeleteOutcome::Absent,
            _ => DeleteOutcome::Deleted,
        }
    }

    fn era(&mut self, tape: &mut Tape) -> EraInfo {
        let lossless_for =
            tape.pick(&[Duration::MAX, Duration::ZERO, Duration::from_secs(29), Duration::from_secs(30)]);
        let last = self.versions.last().map_or(7, |version| version.era);
        EraInfo { id: if tape.once_in(4) { tape.number() } else { last }, lossless_for }
    }

    /// One that was told before, the next after the last, or any.
    fn version(&mut self, tape: &mut Tape) -> Version {
        let version = match tape.byte() % 4 {
            0 if !self.versions.is_empty() => tape.pick(&self.versions),
            1 => Version { era: tape.number(), number: tape.number() },
            _ => {
                self.made_up += 1;
                Version { era: self.versions.last().map_or(7, |version| version.era), number: 100 + self.made_up }
            }
        };
        self.versions.push(version);
        version
    }
}

fn damaged(tape: &mut Tape, mut value: Vec<u8>) -> Vec<u8> {
    let at = usize::from(tape.byte()) % value.len().max(1);
    match value.get_mut(at) {
        Some(byte) if tape.once_in(2) => *byte = tape.byte(),
        _ => value.truncate(at),
    }
    value
}

/// A text as kvlock writes it, of what nobody ever did.
fn made_up(tape: &mut Tape, key: &str) -> String {
    let (kind, name) = key.strip_prefix("n:").and_then(|key| key.split_once(':')).unwrap_or((key, "k"));
    match kind {
        "semaphore" => {
            let last = tape.pick(&[0_u32, 1, 2, 5, 600]);
            let permits = tape.pick(&[0, 1, last, last + 1]);
            format!("kvlock/1 semaphore\nkey: {name}\npermits: {permits}\nnumbers: 0-{last}\n").replace("0-0\n", "0\n")
        }
        "line" => line(tape, name),
        "n:semaphores" => ["", "key: a\n", "key: a\nkey: s\n", "key: s\n"]
            .get(usize::from(tape.byte() % 4))
            .map(|names| format!("kvlock/1 semaphores\n{names}"))
            .unwrap_or_default(),
        _ => {
            let (heading, key) = match name.split_once(':') {
                Some((number, semaphore)) if kind == "permit" => ("permit", format!("{semaphore}\npermit: {number}")),
                _ => ("lock", name.to_string()),
            };
            let owner = tape.pick(&["me", "somebody"]);
            let nonce = tape.number();
            let mode = tape.pick(&["plain", "reentrant"]);
            let depth = tape.pick(&[0, 1, 2, u32::MAX]);
            let lease = tape.pick(&["0.001s", "30s", "forever"]);
            let token = tape.pick(&["", "token: 1\n", "token: 108\n", "token: 18446744073709551615\n"]);
            format!(
                "kvlock/1 {heading}\nkey: {key}\nowner: {owner}\nhost: \nnonce: {nonce:016x}{nonce:016x}\nmode: {mode}\n\
                 depth: {depth}\nlease: {lease}\n{token}"
            )
        }
    }
}

/// A line in which somebody stands often, and too many for too long.
fn line(tape: &mut Tape, key: &str) -> String {
    let turn = tape.pick(&["", "0s", "0.000001s", "3600s", "18446744073709551615.999999999s"]);
    let turn = if turn.is_empty() { String::new() } else { format!("turn: {turn}\n") };
    let (first, others) = (tape.number(), tape.pick(&[1, 2, 16]));
    let marks = tape.pick(&["", "~", "~~~", "~~~~~~~~~~~~~~~~"]);
    let tickets =
        (0..tape.pick(&[1, 3, 64, 65, 3000])).map(|n| format!("{marks}{:016x}", first.wrapping_add(n % others)));
    format!("kvlock/1 line\nkey: {key}\n{turn}waiting: {}\n", tickets.collect::<Vec<_>>().join(" "))
}
