//! A file that is no database, a damaged one, or one of somebody else.

use std::fs;
use std::sync::LazyLock;

use kvlock::store::{KvStore, Local, Ttl, WriteOutcome};

use crate::tape::Tape;

/// A store's file with an entry in it.
static WHOLE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder for a while");
    let path = folder.path().join("locks.db");
    let store = Local::open(&path).expect("a new file");
    store.add("held", b"v", Ttl::Forever).expect("nobody has it");
    drop(store);
    fs::read(path).expect("it was written")
});

/// Opens the bytes, or a whole file with some of its bytes changed or cut, and works with it.
pub(crate) fn local(data: &[u8]) {
    let folder = tempfile::tempdir().expect("a folder for a while");
    let path = folder.path().join("locks.db");
    fs::write(&path, contents(data)).expect("the folder can be written");
    let Ok(store) = Local::open(&path) else { return };
    let _ = (store.get("held"), store.get_many(&["a".into(), "held".into()]), store.era("held"));
    if let Ok(WriteOutcome::Written(version)) = store.add("k", b"v", Ttl::Forever) {
        if let Ok(Some(entry)) = store.get("k") {
            assert_eq!((entry.value.as_slice(), entry.version), (b"v".as_slice(), version));
        }
        let _ = (store.replace("k", b"w", Ttl::Forever, version), store.delete("k", version));
    }
    assert!(!store.diagnose().is_empty());
}

fn contents(data: &[u8]) -> Vec<u8> {
    let mut tape = Tape::new(data);
    if tape.once_in(4) {
        return data.to_vec();
    }
    let mut whole = WHOLE.clone();
    while !tape.has_ended() {
        let at = (usize::from(tape.byte()) << 8 | usize::from(tape.byte())) % whole.len();
        whole[at] = tape.byte();
    }
    if tape.once_in(4) {
        whole.truncate(whole.len() * usize::from(tape.byte()) / 256);
    }
    whole
}
