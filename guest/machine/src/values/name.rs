//! The names that users give, checked once, and the store's names. They are shared, not copied: every record and every
//! grant has some.

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use arrayvec::ArrayString;
use sha2::{Digest, Sha256};

use crate::values::invalid::Invalid;
use crate::values::text;

/// The longest key: far beyond any real one, and a record that holds it still fits every store's entry.
pub const MAX_KEY_BYTES: usize = 65_536;
/// The longest owner name, label and semaphore name: they are for people, and are written often.
pub const MAX_TEXT_BYTES: usize = 255;
/// The longest namespace: it leaves room in a store key for a kind and a SHA-256 in hexadecimal.
pub const MAX_NAMESPACE_BYTES: usize = 64;
/// The longest store key: memcached's limit (its doc/protocol.txt, "Keys").
pub const MAX_STORE_KEY_BYTES: usize = 250;

/// A lock's key: any string that is not empty, as its user wrote it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

impl Key {
    /// Checks a user's string.
    pub fn new(key: &str) -> Result<Self, Invalid> {
        match key.len() {
            0 => Err(Invalid::new("the key is empty; give one of 1 to 65536 bytes")),
            1..=MAX_KEY_BYTES => Ok(Key(key.into())),
            length => Err(Invalid::new(format!("the key has {length} bytes; at most {MAX_KEY_BYTES} are possible"))),
        }
    }

    /// Checks the name of a semaphore.
    pub fn semaphore(name: &str) -> Result<Self, Invalid> {
        match name.len() {
            0 => Err(Invalid::new("the semaphore's name is empty; give one of 1 to 255 bytes")),
            1..=MAX_TEXT_BYTES => Ok(Key(name.into())),
            length => Err(Invalid::new(format!("the semaphore's name has {length} bytes; at most 255 are possible"))),
        }
    }

    /// Returns the string.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns true if it is the very same string, without a look at its bytes.
    pub(crate) fn is_shared_with(&self, other: &Key) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// The subject of a record: a lock, or one permit of a semaphore.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RecordKey {
    /// The lock's key, or the semaphore's name.
    pub(crate) key: Key,
    /// The permit's number.
    pub(crate) permit: Option<u32>,
}

impl RecordKey {
    pub(crate) fn lock(key: &Key) -> Self {
        RecordKey { key: key.clone(), permit: None }
    }

    pub(crate) fn permit(semaphore: &Key, number: u32) -> Self {
        RecordKey { key: semaphore.clone(), permit: Some(number) }
    }
}

impl fmt::Display for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.permit {
            None => write!(f, "lock \"{}\"", self.key.0),
            Some(number) => write!(f, "permit {number} of \"{}\"", self.key.0),
        }
    }
}

/// The name of an owner, or a label.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Text {
    text: Arc<str>,
    /// Whether it needs no escapes in a record: it is written into many, and checked once.
    plain: bool,
}

impl Text {
    /// Checks an owner's name, which must not be empty.
    pub fn owner(name: &str) -> Result<Self, Invalid> {
        if name.is_empty() {
            return Err(Invalid::new("the owner's name is empty; give one of 1 to 255 bytes"));
        }
        Self::label(name)
    }

    /// Checks the name of a unit of work, which must not be empty.
    pub fn unit(name: &str) -> Result<Self, Invalid> {
        if name.is_empty() || name.len() > MAX_TEXT_BYTES {
            let length = name.len();
            return Err(Invalid::new(format!("the reservation's name has {length} bytes; 1 to 255 are possible")));
        }
        Self::label(name)
    }

    /// Checks a note, which says in one line what somebody holds a lock for.
    pub fn note(note: &str) -> Result<Self, Invalid> {
        if note.is_empty() || note.len() > MAX_TEXT_BYTES {
            let length = note.len();
            return Err(Invalid::new(format!("the note has {length} bytes; 1 to 255 are possible")));
        }
        if let Some(control) = note.chars().find(|character| character.is_control()) {
            let control = control.escape_default();
            return Err(Invalid::new(format!("the note has the control character `{control}`; give one line of text")));
        }
        Self::label(note)
    }

    /// Checks a label, which may be empty.
    pub fn label(label: &str) -> Result<Self, Invalid> {
        if label.len() > MAX_TEXT_BYTES {
            let length = label.len();
            return Err(Invalid::new(format!("an owner's name or label has {length} bytes; at most 255 are possible")));
        }
        Ok(Text { text: label.into(), plain: text::is_plain(label) })
    }

    /// Returns the string.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Writes it into a record.
    pub(crate) fn push_to(&self, record: &mut Vec<u8>) {
        if self.plain {
            record.extend_from_slice(self.text.as_bytes());
        } else {
            text::push_escaped(record, &self.text);
        }
    }
}

/// The first part of every store key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Namespace(Arc<str>);

impl Namespace {
    /// Checks a user's namespace: printable ASCII without the characters that join the parts of store keys.
    pub fn new(name: &str) -> Result<Self, Invalid> {
        let legal = |byte: u8| byte.is_ascii_graphic() && byte != b':' && byte != b'#';
        if name.is_empty() || name.len() > MAX_NAMESPACE_BYTES || !name.bytes().all(legal) {
            return Err(Invalid::new(
                "a namespace has 1 to 64 printable ASCII characters, without spaces, `:` and `#`",
            ));
        }
        Ok(Namespace(name.into()))
    }

    /// Returns the string.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns true if it is the very same string: the holds of a session in its own namespace share it, unless they
    /// were resumed from elsewhere.
    pub(crate) fn is_shared_with(&self, other: &Namespace) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Returns the store's name for a lock: `<namespace>:lock:<key>` if that is legal in every store, otherwise
    /// `<namespace>:lock#<SHA-256 of the key>`. The two never meet: a namespace has neither `:` nor `#`.
    pub fn store_key(&self, key: &Key) -> Arc<str> {
        self.named(":lock", key)
    }

    /// Returns the store's name for a lock, or for a permit: `<namespace>:permit:<number>:<semaphore>`.
    pub(crate) fn place(&self, place: &RecordKey) -> Arc<str> {
        match place.permit {
            None => self.store_key(&place.key),
            Some(number) => self.named(&format!(":permit:{number}"), &place.key),
        }
    }

    /// Returns the store's name for the wait list of a lock.
    pub(crate) fn wait_list(&self, key: &Key) -> Arc<str> {
        self.named(":line", key)
    }

    /// Returns the store's name for the ask for a lock, or for a permit: `<namespace>:permit-ask:<number>:<semaphore>`.
    pub(crate) fn ask(&self, place: &RecordKey) -> Arc<str> {
        match place.permit {
            None => self.named(":ask", &place.key),
            Some(number) => self.named(&format!(":permit-ask:{number}"), &place.key),
        }
    }

    /// Returns the store's name for the definition of a semaphore.
    pub(crate) fn semaphore(&self, name: &Key) -> Arc<str> {
        self.named(":semaphore", name)
    }

    /// Returns the store's name for the list of all semaphores.
    pub(crate) fn semaphores(&self) -> Arc<str> {
        [&*self.0, ":semaphores"].concat().into()
    }

    /// Returns what an entry of this store key is; none if it is not of this namespace, or of no kind that tells of
    /// holders.
    pub(crate) fn kind_of(&self, store_key: &str) -> Option<EntryKind> {
        let rest = store_key.strip_prefix(&*self.0)?.strip_prefix(':')?;
        let (kind, named) = rest.split_at(rest.find([':', '#'])?);
        Some(match kind {
            "lock" => EntryKind::Lock { wait_list: [&*self.0, ":line", named].concat().into() },
            "permit" => EntryKind::Permit,
            "semaphore" => EntryKind::Semaphore,
            _ => return None,
        })
    }

    /// Builds a name on the stack, so that it is allocated once.
    fn named(&self, kind: &str, key: &Key) -> Arc<str> {
        let length = self.0.len() + kind.len() + 1 + key.0.len();
        let legal = |byte: u8| byte > b' ' && byte != 0x7f;
        let plain = length <= MAX_STORE_KEY_BYTES && key.0.bytes().all(legal);
        let mut name = ArrayString::<MAX_STORE_KEY_BYTES>::new();
        name.push_str(&self.0);
        name.push_str(kind);
        if plain {
            name.push(':');
            name.push_str(&key.0);
        } else {
            name.push('#');
            let digest: [u8; 32] = Sha256::digest(key.0.as_bytes()).into();
            text::hex(digest).as_flattened().iter().for_each(|digit| name.push(char::from(*digit)));
        }
        Arc::from(name.as_str())
    }
}

/// What an entry of the store is, by its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EntryKind {
    /// The record of a lock, beside which this list stands.
    Lock {
        wait_list: Arc<str>,
    },
    Permit,
    /// The definition of a semaphore.
    Semaphore,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_plain_key_stays_readable_in_the_store() {
        let key = Key::new("report/2026").unwrap();
        assert_eq!(Namespace::new("kvlock").unwrap().store_key(&key).as_ref(), "kvlock:lock:report/2026");
    }

    #[test]
    fn empty_and_oversized_names_are_refused() {
        assert!(Key::new("").is_err());
        assert!(Key::new(&"k".repeat(MAX_KEY_BYTES)).is_ok());
        assert!(Key::new(&"k".repeat(MAX_KEY_BYTES + 1)).is_err());
        assert!(Text::owner("").is_err());
        assert!(Text::label(&"x".repeat(256)).is_err());
        for bad in ["", "a\nb", "\u{1b}[2J", "\u{9b}2J", &"x".repeat(256)] {
            assert!(Text::note(bad).is_err(), "{bad:?}");
        }
        assert!(Text::note(&"x".repeat(255)).is_ok());
        for bad in ["", "a b", "a:b", "a#b", "ä", &"n".repeat(65)] {
            assert!(Namespace::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_wait_list_of_a_lock_is_found_by_the_locks_own_name() {
        let namespace = Namespace::new("n").unwrap();
        for key in ["k", "a:b", "with a space", &"long".repeat(99)] {
            let key = Key::new(key).unwrap();
            let wait_list = namespace.wait_list(&key);
            assert_eq!(namespace.kind_of(&namespace.store_key(&key)), Some(EntryKind::Lock { wait_list }));
            assert_eq!(namespace.kind_of(&namespace.wait_list(&key)), None);
            assert_eq!(namespace.kind_of(&namespace.place(&RecordKey::permit(&key, 3))), Some(EntryKind::Permit));
            assert_eq!(namespace.kind_of(&namespace.semaphore(&key)), Some(EntryKind::Semaphore));
        }
        for other in ["n", "n:", "n:lock", "m:lock:k", "nn:lock:k", "n:semaphores", "kvlock:epoch"] {
            assert_eq!(namespace.kind_of(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn every_key_gets_a_legal_store_key_of_its_own(a in ".{1,300}", b in "(?s).{1,300}") {
            let namespace = Namespace::new("n").unwrap();
            let stored = namespace.store_key(&Key::new(&a).unwrap());
            prop_assert!(stored.len() <= MAX_STORE_KEY_BYTES);
            prop_assert!(stored.bytes().all(|byte| byte > b' ' && byte != 0x7f));
            let other = namespace.store_key(&Key::new(&b).unwrap());
            prop_assert_eq!(stored == other, a == b);
        }
    }
}
