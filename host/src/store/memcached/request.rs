//! The commands of an acquire and a release, written into bytes that are there already.
//!
//! The crate would allocate memory for each of their parts, and `core::fmt` was a third of the instructions that an acquire
//! and a release took in this store.

/// The read of the epoch item. Ready-made, because it stands behind every command.
const EPOCH_READ: &[u8] = b"mg kvlock:epoch c\r\n";

/// What a write does.
#[derive(Clone, Copy)]
pub(super) enum Write {
    Add,
    Cas(u64),
}

/// A command, word by word.
struct Command<'r>(&'r mut Vec<u8>);

impl<'r> Command<'r> {
    fn new(request: &'r mut Vec<u8>, name: &str) -> Self {
        request.extend_from_slice(name.as_bytes());
        Command(request)
    }

    fn word(self, word: &str) -> Self {
        self.0.push(b' ');
        self.0.extend_from_slice(word.as_bytes());
        self
    }

    fn number(self, number: u64) -> Self {
        self.word(itoa::Buffer::new().format(number))
    }

    /// Returns a flag with its number, as `C42`.
    fn flag(self, flag: u8, number: u64) -> Self {
        self.0.extend_from_slice(&[b' ', flag]);
        self.0.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        self
    }

    fn end(self) {
        self.0.extend_from_slice(b"\r\n");
    }
}

/// Adds a write of `value`, to be kept until `expiry`. Its client flags are `mark`.
pub(super) fn push_write(request: &mut Vec<u8>, write: Write, key: &str, mark: u32, expiry: u64, value: &[u8]) {
    let name = match write {
        Write::Add => "add",
        Write::Cas(_) => "cas",
    };
    let command = Command::new(request, name).word(key).number(mark.into()).number(expiry).number(value.len() as u64);
    match write {
        Write::Add => command.end(),
        Write::Cas(cas) => command.number(cas).end(),
    }
    request.extend_from_slice(value);
    request.extend_from_slice(b"\r\n");
}

pub(super) fn push_delete(request: &mut Vec<u8>, key: &str, cas: u64) {
    Command::new(request, "md").word(key).flag(b'C', cas).end();
}

/// Asks what the key has, and in which era.
pub(super) fn push_reads(request: &mut Vec<u8>, key: &str) {
    Command::new(request, "mg").word(key).word("c f").end();
    push_epoch(request);
}

pub(super) fn push_epoch(request: &mut Vec<u8>) {
    request.extend_from_slice(EPOCH_READ);
}

#[cfg(test)]
mod tests {
    use memcache::exp::{MetaCommand, MetaOp};

    use super::*;
    use crate::store::memcached::connection::push;
    use crate::store::memcached::epoch;

    #[test]
    fn the_commands_written_here_are_those_that_the_crate_would_write() {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        push_delete(&mut ours, "key", u64::MAX);
        push_reads(&mut ours, "key");
        push(&mut theirs, MetaCommand::new(MetaOp::Delete, "key").flag(format!("C{}", u64::MAX)));
        push(&mut theirs, MetaCommand::new(MetaOp::Get, "key").flag("c").flag("f"));
        push(&mut theirs, MetaCommand::new(MetaOp::Get, epoch::KEY).flag("c"));
        assert_eq!(String::from_utf8_lossy(&ours), String::from_utf8_lossy(&theirs));
    }
}
