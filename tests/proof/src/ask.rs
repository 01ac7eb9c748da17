//! Asks beside a lock, read as anybody could: they are text. They decide nothing about who holds the lock, and have a
//! promise of their own.

use kvlock_machine::PlacedAsk;

use crate::promise::Promise;
use crate::start::ask_key;
use crate::truth::{Doing, Fate, Source};
use crate::world::World;

/// An ask as it stands in the store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AskText {
    /// Which it is.
    pub id: u64,
    /// Whom it asks, by the halves of their nonces.
    pub of: Vec<u64>,
    /// Who of them has heard it.
    pub heard: Vec<u64>,
}

impl AskText {
    /// Reads one; none for what is no ask.
    pub(crate) fn read(value: &[u8]) -> Option<AskText> {
        let text = std::str::from_utf8(value).ok()?.strip_prefix("kvlock/1 ask\n")?;
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let tickets = |text: &str| text.split(' ').map(|word| u64::from_str_radix(word, 16).ok()).collect();
        Some(AskText {
            id: half(u128::from_str_radix(field("ask")?, 16).ok()?),
            of: tickets(field("of")?)?,
            heard: field("heard").map_or(Some(Vec::new()), tickets)?,
        })
    }
}

/// Whether the store calls asks so.
pub(crate) fn is_ask(key: &str) -> bool {
    key.starts_with(&ask_key(""))
}

/// The half of a nonce that names whose it is.
pub(crate) fn half(nonce: u128) -> u64 {
    (nonce >> 64) as u64
}

impl World {
    /// What is asked for under a store key.
    pub(crate) fn ask_text(&self, key: &str) -> Option<AskText> {
        AskText::read(&self.store.entry(key)?.value)
    }

    /// Somebody wrote an ask, over this one if there was one.
    pub(crate) fn asked(&mut self, source: &Source, before: Option<&AskText>, key: &str) {
        let after = self.ask_text(key);
        let is_true = match (source.doing, after) {
            (Doing::Asking, Some(after)) => {
                let is_unheard = after.heard.is_empty() && after.id == half(source.nonce);
                self.truth.edit().asks.insert(after.id, after.of);
                is_unheard
            }
            // It takes its own away.
            (Doing::Asking, None) => {
                let own = self.owners[source.owner].asked.as_ref().map(PlacedAsk::id);
                before.is_some_and(|before| Some(before.id) == own)
            }
            (Doing::Hearing, Some(after)) => {
                let own = half(source.nonce);
                let others = before.map_or(&[][..], |before| &before.heard);
                let adds_itself = after.heard.split_last().is_some_and(|(last, rest)| *last == own && rest == others);
                self.truth.edit().heard.insert(own);
                adds_itself && before.is_some_and(|before| before.id == after.id && before.of == after.of)
            }
            (Doing::Hearing, None) => false,
            _ => false,
        };
        if !is_true {
            self.broken = self.broken.or(Some(Promise::AsksAreTrue));
        }
    }

    /// Whether a holder of this nonce was asked by this ask.
    pub(crate) fn was_asked(&self, id: u64, nonce: u128) -> bool {
        self.truth.asks.get(&id).is_some_and(|of| of.contains(&half(nonce)))
    }

    /// Whether one of those that an owner has asked has the lock.
    pub(crate) fn asked_one_stands(&self, id: u64) -> bool {
        let Some(of) = self.truth.asks.get(&id) else { return false };
        self.truth.holds.iter().any(|hold| hold.fate == Fate::Standing && of.contains(&half(hold.nonce)))
    }

    /// Whether one of those that an ask was for has said that it has heard.
    pub(crate) fn asked_one_has_heard(&self, id: u64) -> bool {
        self.truth.asks.get(&id).is_some_and(|of| of.iter().any(|ticket| self.truth.heard.contains(ticket)))
    }
}
