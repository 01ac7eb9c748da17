//! A request: commands, and how many replies they have. Those of an acquire and a release are written into bytes that are
//! there already.
//!
//! For these the crate `memcache` would allocate memory for each of their parts, and `core::fmt` was a third of the instructions that an acquire
//! and a release took in this store.

use alloc::vec::Vec;
use core::fmt;

use crate::codec::Codec;
use crate::replies::Frame;

/// A request that is not longer is read by memcached in one go, by TLS too.
const ONE_RECORD: usize = 8 * 1024;

/// The read of the epoch item. Ready-made, because it stands behind every command.
const EPOCH_READ: &[u8] = b"mg kvlock:epoch c\r\n";

/// What a write does.
#[derive(Clone, Copy)]
pub(crate) enum Write {
    Add,
    Cas(u64),
}

/// Commands to be sent in one piece, and how many replies they have.
#[derive(Default)]
pub struct Request {
    bytes: Vec<u8>,
    /// Where a second piece begins.
    pause: Option<usize>,
    /// How many replies of a line, or of a line and a value, it has.
    replies: usize,
    /// How many lists of statistics follow them.
    lists: usize,
}

impl Request {
    /// Asks for statistics: `stats`, or `stats settings`.
    pub fn for_stats(command: &str) -> Request {
        let mut request = Request::default();
        request.stats(command);
        request
    }

    pub(crate) fn with_room(room: usize) -> Request {
        Request { bytes: Vec::with_capacity(room), ..Request::default() }
    }

    /// Returns all that is to be sent.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the same in two pieces, where memcached wants to be given time between them if it is spoken to by TLS: it
    /// leaves what stands behind a long value in the same record until more comes.
    pub fn pieces(&self) -> Option<(&[u8], &[u8])> {
        self.bytes.split_at_checked(self.pause?)
    }

    /// Returns what finds the end of its replies.
    pub fn frame(&self) -> Frame {
        Frame::new(self.replies, self.lists)
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        (self.pause, self.replies, self.lists) = (None, 0, 0);
    }

    pub(crate) fn shrink_to(&mut self, room: usize) {
        self.bytes.shrink_to(room);
    }

    /// Adds a classic write of `value`, to be kept until `expiry`. Its client flags are `mark`.
    pub(crate) fn write(&mut self, write: Write, key: &str, mark: u32, expiry: u64, value: &[u8]) {
        let name = match write {
            Write::Add => "add",
            Write::Cas(_) => "cas",
        };
        let command = self.command(name).word(key).number(mark.into()).number(expiry).number(value.len() as u64);
        match write {
            Write::Add => command.end(),
            Write::Cas(cas) => command.number(cas).end(),
        }
        self.bytes.extend_from_slice(value);
        self.bytes.extend_from_slice(b"\r\n");
        if self.bytes.len() > ONE_RECORD {
            self.pause = Some(self.bytes.len());
        }
    }

    pub(crate) fn delete(&mut self, key: &str, cas: u64) {
        self.command("md").word(key).flag(b'C', cas).end();
    }

    /// Asks what the key has.
    pub(crate) fn read(&mut self, key: &str) {
        self.command("mg").word(key).word("c f").end();
    }

    /// Asks in which era that is.
    pub(crate) fn epoch(&mut self) {
        self.replies = self.replies.saturating_add(1);
        self.bytes.extend_from_slice(EPOCH_READ);
    }

    /// Asks for what each letter of `flags` stands for.
    pub(crate) fn get<C: Codec>(&mut self, key: &str, flags: &[u8]) {
        self.replies = self.replies.saturating_add(1);
        C::get(&mut self.bytes, key, flags);
    }

    /// Adds a command of the login. The key is of no matter.
    pub(crate) fn login(&mut self, text: &str) {
        self.command("set").word("kvlock:login 0 0").number(text.len() as u64).end();
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// Asks for statistics, behind all other commands.
    pub(crate) fn stats(&mut self, command: &str) {
        self.lists = self.lists.saturating_add(1);
        self.bytes.extend_from_slice(command.as_bytes());
        self.bytes.extend_from_slice(b"\r\n");
    }

    fn command(&mut self, name: &str) -> Command<'_> {
        self.replies = self.replies.saturating_add(1);
        self.bytes.extend_from_slice(name.as_bytes());
        Command(&mut self.bytes)
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What it says may be a password.
        write!(f, "{} bytes", self.bytes.len())
    }
}

/// A command, word by word.
struct Command<'r>(&'r mut Vec<u8>);

impl Command<'_> {
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

#[cfg(test)]
mod tests {
    use alloc::string::String;

    use super::*;
    use crate::codec::Plain;
    use crate::epoch::KEY;

    #[test]
    fn the_read_of_the_epoch_that_is_ready_made_is_the_one_that_would_be_written() {
        let (mut made, mut written) = (Request::default(), Request::default());
        made.epoch();
        written.get::<Plain>(KEY, b"c");
        assert_eq!(String::from_utf8_lossy(made.bytes()), String::from_utf8_lossy(written.bytes()));
    }

    #[test]
    fn a_request_is_sent_in_two_pieces_where_its_value_is_long() {
        let mut request = Request::default();
        request.write(Write::Add, "k", 7, 32, b"short");
        assert!(request.pieces().is_none());
        request.clear();
        request.write(Write::Cas(3), "k", 7, 32, &[b'x'; ONE_RECORD]);
        request.epoch();
        let (first, second) = request.pieces().unwrap();
        assert!(first.starts_with(b"cas k 7 32 8192 3\r\n") && second == EPOCH_READ);
    }
}
