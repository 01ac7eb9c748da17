//! Readers of text: records, written grants, names.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kvlock_machine::{
    Key, MAX_STORE_KEY_BYTES, Namespace, Nonce, Record, Session, SessionOptions, Text, Time, Validity,
};
use sha2::{Digest, Sha256};

/// What of a foreign value is shown to a person, in bytes: its beginning, escaped.
const LONGEST_EXCERPT: usize = 600;

/// A value in the store: what is read as a record is written the same again, and anything else is shown harmlessly.
pub(crate) fn record(data: &[u8]) {
    match Record::decode(data) {
        Ok(record) => assert_eq!(record.encode(), data),
        Err(excerpt) => {
            assert!(excerpt.len() <= LONGEST_EXCERPT, "{} bytes of excerpt", excerpt.len());
            assert!(!excerpt.chars().any(char::is_control), "{excerpt:?}");
        }
    }
}

/// A written grant, as it stands and with a checksum that fits: it is refused, or taken up as a grant that nobody may
/// rely on before the store has confirmed it.
pub(crate) fn grant(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    resume(&text);
    let sum = Sha256::digest(data);
    let whole = [&sum[..4], data].concat();
    resume(&format!("kvlock1.{}", URL_SAFE_NO_PAD.encode(whole)));
}

fn resume(written: &str) {
    let now = Time::from_nanos(1_000_000_000);
    let mut session = session(now);
    match session.resume(written, Nonce(1), now) {
        Ok(grant) => {
            assert_eq!(session.validity(&grant, now), Validity::Unconfirmed);
            assert!(session.depth(&grant) > 0);
            let again = session.write_out(&grant, now).expect("it is not lost");
            let same = session.resume(&again, Nonce(2), now).expect("what we wrote we read");
            assert_eq!((same.key(), same.token()), (grant.key(), grant.token()));
        }
        Err(invalid) => assert!(!invalid.to_string().is_empty()),
    }
}

fn session(now: Time) -> Session {
    let options = SessionOptions {
        owner: Text::owner("fuzz").expect("a legal name"),
        label: Text::label("").expect("a legal label"),
        namespace: Namespace::new("n").expect("a legal namespace"),
        quarantine: None,
        unix_time: Some(1_795_230_245_678_000_000),
    };
    Session::open(options, now).expect("legal options")
}

/// A user's string in all places where one may stand: refused, or a store key that every store takes.
pub(crate) fn names(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _ = (Text::owner(&text), Text::label(&text), Key::semaphore(&text));
    let namespace = Namespace::new(text.get(..text.len().min(64)).unwrap_or("n"));
    let namespace = namespace.unwrap_or_else(|_| Namespace::new("n").expect("a legal namespace"));
    let Ok(key) = Key::new(&text) else { return };
    assert_eq!(key.as_str(), text);
    let stored = namespace.store_key(&key);
    assert!(stored.len() <= MAX_STORE_KEY_BYTES, "{stored}");
    assert!(stored.bytes().all(|byte| byte > b' ' && byte != 0x7f), "{stored:?}");
}

/// A store's URL, but of no file: the reader of `local:` takes any path. Nothing is sent by taking one.
pub(crate) fn urls(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let text = if text.starts_with("local:") { "local".into() } else { text };
    for url in [text.to_string(), format!("memcached://{text}"), format!("redis://{text}")] {
        let Err(error) = kvlock::Client::connect(&url) else { continue };
        assert!(!error.to_string().contains(char::is_control), "{error:?}");
    }
}
