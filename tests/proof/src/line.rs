//! The line beside a lock, read as anybody could: it is text. It decides nothing about who holds the lock, and has
//! promises of its own.

use crate::news::News;
use crate::owner::Work;
use crate::promise::Promise;
use crate::start::{line_key, store_key};
use crate::truth::Source;
use crate::world::World;

/// Whether the store calls a line so.
pub(crate) fn is_line(key: &str) -> bool {
    key.starts_with(&line_key(""))
}

/// Who stands in a line: numbers, those who came first first; none for what is no line.
pub(crate) fn tickets(value: &[u8]) -> Option<Vec<String>> {
    let text = std::str::from_utf8(value).ok()?.strip_prefix("kvlock/1 line\n")?;
    let waiting = text.lines().find_map(|line| line.strip_prefix("waiting: "))?;
    let number = |word: &str| u64::from_str_radix(word.trim_start_matches('~'), 16).map(|number| number.to_string());
    waiting.split(' ').map(number).collect::<Result<_, _>>().ok()
}

fn ticket(nonce: u128) -> String {
    (nonce >> 64).to_string()
}

impl World {
    /// Who stands in a line.
    pub(crate) fn line(&self, key: &str) -> Vec<String> {
        self.store.entry(key).and_then(|stored| tickets(&stored.value)).unwrap_or_default()
    }

    /// How many stand before an acquisition of a key.
    pub(crate) fn place_in_line(&self, key: &str, nonce: u128) -> Option<usize> {
        self.line(&line_key(key)).iter().position(|other| *other == ticket(nonce))
    }

    /// Somebody wrote a line that was this one before.
    pub(crate) fn lined_up(&mut self, source: &Source, before: &[String], key: &str) {
        let (after, own) = (self.line(key), ticket(source.nonce));
        let stand_as_they_stood = |others: &[String]| {
            let mut left = before.iter();
            others.iter().all(|other| left.any(|one| one == other))
        };
        // Whoever joins stands behind those who are left, and whoever leaves is gone. A line may be taken away.
        let in_order = match after.split_last() {
            Some((last, others)) if *last == own => {
                self.news.note(News::JOINED);
                stand_as_they_stood(others)
            }
            Some(_) => !after.contains(&own) && stand_as_they_stood(&after),
            None => self.store.entry(key).is_none(),
        };
        let mut gone = before.iter().filter(|one| **one != own && !after.contains(one));
        if !in_order || gone.any(|one| self.waits(key, one)) {
            self.broken = self.broken.or(Some(Promise::LineInOrder));
        }
    }

    /// Whether an acquisition waits still that has written no record yet.
    fn waits(&self, key: &str, who: &str) -> bool {
        let waiting = |op: &crate::owner::Op| {
            matches!(op.work, Work::Acquire(_)) && ticket(op.source.nonce) == who && line_key(op.key) == key
        };
        let has_written = |op: &crate::owner::Op| {
            let key = store_key(op.key);
            self.truth.holds.iter().any(|hold| hold.key == key && hold.nonce == op.source.nonce)
        };
        self.ops().any(|op| waiting(op) && !has_written(op))
    }
}
