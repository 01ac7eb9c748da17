//! The replies to a request: where they end, and what they say. Nothing here knows a connection.

use alloc::format;
use alloc::vec::Vec;

use crate::codec::Codec;
use crate::failure::Failure;
use crate::number::number;
use crate::refusal::{foreign, refusal};
use crate::reply::{MAX_VALUE, MetaReply};
use crate::stats::Stats;

/// The longest reply line that is believed. memcached's longest repeats a key of 250 bytes and some flags.
const MAX_LINE: usize = 8 * 1024;

/// The most lines of a reply to `stats`; memcached 1.6 sends about a hundred.
const MAX_STATS: usize = 1000;

/// The codes of meta commands, and what `add` and `cas` are answered.
const REPLIES: [&[u8]; 12] =
    [b"HD", b"VA", b"EN", b"NS", b"EX", b"NF", b"MN", b"ME", b"STORED", b"NOT_STORED", b"EXISTS", b"NOT_FOUND"];

/// Finds the end of the replies to one request among the bytes that arrive, without reading what they say.
#[derive(Debug, Clone)]
pub struct Frame {
    replies: usize,
    lists: usize,
    /// Where the replies that are complete end.
    end: usize,
    /// How many bytes of the next line are known to have no end.
    searched: usize,
    /// How many lines of the present list have been seen.
    lines: usize,
}

impl Frame {
    pub(crate) fn new(replies: usize, lists: usize) -> Frame {
        Frame { replies, lists, end: 0, searched: 0, lines: 0 }
    }

    /// Looks at all bytes that have come since the request was sent, and returns how many of them are its replies; none
    /// while more must come.
    ///
    /// Where memcached refuses, or where something else than memcached answers, the replies end with that: the operation
    /// fails when it reads it, and the connection is of no more use.
    pub fn advance(&mut self, bytes: &[u8]) -> Option<usize> {
        while self.replies > 0 || self.lists > 0 {
            let unread = bytes.get(self.end..)?;
            let Some(length) = memchr::memchr(b'\n', unread.get(self.searched..)?) else {
                self.searched = unread.len();
                return (self.searched > MAX_LINE).then_some(bytes.len());
            };
            let length = self.searched.saturating_add(length).saturating_add(1);
            let line = without_end(unread.get(..length)?);
            let part = if self.replies > 0 { self.reply(line) } else { self.stat(line) };
            let whole = match part {
                Part::Line => length,
                Part::Value(value) => length.saturating_add(value).saturating_add(2),
                Part::Last => return Some(self.end.saturating_add(length)),
            };
            if unread.len() < whole {
                // It begins with a line that is looked at once more when the value is there.
                return None;
            }
            (self.end, self.searched) = (self.end.saturating_add(whole), 0);
            self.count(line);
        }
        Some(self.end)
    }

    fn reply(&self, line: &[u8]) -> Part {
        let (word, rest) = line.split_at(line.iter().position(|byte| *byte == b' ').unwrap_or(line.len()));
        match word {
            b"VA" => {
                let length = rest.get(1..).unwrap_or_default().split(|byte| *byte == b' ').next().and_then(number);
                match length.and_then(|length| usize::try_from(length).ok()) {
                    Some(length) if length <= MAX_VALUE => Part::Value(length),
                    _ => Part::Last,
                }
            }
            // A server from before the meta commands says no more of them, and goes on to its statistics.
            b"ERROR" if rest.is_empty() && self.lists > 0 => Part::Line,
            word if REPLIES.contains(&word) => Part::Line,
            _ => Part::Last,
        }
    }

    fn stat(&self, line: &[u8]) -> Part {
        let goes_on = line == b"END" || line.starts_with(b"STAT ") && self.lines < MAX_STATS;
        if goes_on { Part::Line } else { Part::Last }
    }

    fn count(&mut self, line: &[u8]) {
        if self.replies > 0 {
            self.replies = self.replies.saturating_sub(1);
        } else if line == b"END" {
            (self.lists, self.lines) = (self.lists.saturating_sub(1), 0);
        } else {
            self.lines = self.lines.saturating_add(1);
        }
    }
}

/// What a line is a part of.
enum Part {
    /// Of a reply that goes no further.
    Line,
    /// Of a reply with a value of so many bytes behind it.
    Value(usize),
    /// Of something after which nothing is to be waited for.
    Last,
}

/// The replies to one request, read one by one.
#[derive(Debug)]
pub struct Replies<'b>(&'b [u8]);

impl<'b> Replies<'b> {
    /// Takes the bytes that a [`Frame`] has found the end of.
    pub fn new(bytes: &'b [u8]) -> Self {
        Replies(bytes)
    }

    /// Reads the reply of one line to a classic command.
    ///
    /// # Errors
    /// [`Failure::Refused`] where the server refuses, [`Failure::Foreign`] for what is no reply.
    pub fn line(&mut self) -> Result<&'b [u8], Failure> {
        let (line, rest) = memchr::memchr(b'\n', self.0)
            .and_then(|end| self.0.split_at_checked(end.saturating_add(1)))
            .ok_or_else(|| foreign(self.0))?;
        self.0 = rest;
        let line = without_end(line);
        refusal(line)?;
        Ok(line)
    }

    /// Reads the reply to a meta command.
    ///
    /// # Errors
    /// As [`line`](Self::line), and [`Failure::Refused`] for a value that is too large.
    pub fn meta<C: Codec>(&mut self) -> Result<MetaReply, Failure> {
        let (mut reply, length) = MetaReply::read::<C>(self.line()?)?;
        reply.value = length.map(|length| self.block(length)).transpose()?;
        Ok(reply)
    }

    /// Reads the reply to `stats` or one of its kin.
    ///
    /// # Errors
    /// As [`line`](Self::line), and [`Failure::Foreign`] for a reply without an end.
    pub fn stats(&mut self) -> Result<Stats, Failure> {
        let mut stats = Stats::default();
        for _ in 0..MAX_STATS {
            let line = self.line()?;
            if line == b"END" {
                return Ok(stats);
            }
            let text = core::str::from_utf8(line).map_err(|_| foreign(line))?;
            let (name, value) = text
                .strip_prefix("STAT ")
                .map(|stat| stat.split_once(' ').unwrap_or((stat, "")))
                .ok_or_else(|| foreign(line))?;
            stats.0.push((name.into(), value.into()));
        }
        Err(Failure::Foreign(format!("its reply to `stats` has more than {MAX_STATS} lines")))
    }

    /// Reads a data block of `length` bytes and the line end after it.
    fn block(&mut self, length: usize) -> Result<Vec<u8>, Failure> {
        let (block, rest) = self.0.split_at_checked(length.saturating_add(2)).ok_or_else(|| foreign(self.0))?;
        self.0 = rest;
        Ok(block.strip_suffix(b"\r\n").ok_or_else(|| foreign(block))?.to_vec())
    }
}

fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Code, Plain};

    /// The length of the replies in `bytes`, however they arrive.
    fn taken(frame: &Frame, bytes: &[u8]) -> Option<usize> {
        let at_once = frame.clone().advance(bytes);
        let mut bit_by_bit = frame.clone();
        let found = (0..=bytes.len()).find_map(|length| bit_by_bit.advance(&bytes[..length]));
        assert_eq!(at_once, found, "{}", bytes.escape_ascii());
        at_once
    }

    #[test]
    fn the_replies_to_a_request_end_where_the_next_ones_begin_however_they_arrive() {
        for (replies, lists, bytes) in [
            (3, 0, &b"STORED\r\nHD c7 f1\r\nHD c3\r\n"[..]),
            (3, 0, b"NOT_STORED\nEN\nEN\n"),
            (1, 0, b"VA 4 c1\r\nEN\r\n\r\n"),
            (2, 0, b"VA 0 c1\r\n\r\nEN\r\n"),
            (1, 1, b"EN\r\nSTAT a b c\r\nSTAT d\r\nEND\r\n"),
            (1, 1, b"ERROR\r\nSTAT a b\r\nEND\r\n"),
            (0, 2, b"END\r\nSTAT a b\r\nEND\r\n"),
            (0, 0, b""),
        ] {
            let frame = Frame::new(replies, lists);
            assert_eq!(taken(&frame, &[bytes, b"HD c9\r\nEND\r\n"].concat()), Some(bytes.len()));
            for short in 0..bytes.len() {
                assert_eq!(taken(&frame, &bytes[..short]), None, "{short} bytes of {}", bytes.escape_ascii());
            }
        }
    }

    #[test]
    fn nothing_is_waited_for_behind_a_refusal_or_what_memcached_does_not_say() {
        for (replies, lists, bytes) in [
            (3, 0, &b"SERVER_ERROR out of memory storing object\r\n"[..]),
            (3, 0, b"ERROR\r\n"),
            (1, 1, b"ERROR Too many open connections\r\n"),
            (2, 0, b"HTTP/1.1 400 Bad Request\r\n"),
            (2, 0, b"hd\n"),
            (1, 0, b"VA x\r\n"),
            (1, 0, b"VA 99999999\r\n"),
            (0, 1, b"HD\r\n"),
        ] {
            let taken = taken(&Frame::new(replies, lists), &[bytes, b"HD\r\n"].concat());
            assert_eq!(taken, Some(bytes.len()));
            let mut replies = Replies::new(bytes);
            let failed = if lists == 1 { replies.stats().is_err() } else { replies.meta::<Plain>().is_err() };
            assert!(failed, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_line_or_a_list_without_end_is_cut_off() {
        let line = [b'x'; MAX_LINE + 1];
        assert_eq!(Frame::new(1, 0).advance(&line), Some(line.len()));
        assert!(matches!(Replies::new(&line).line(), Err(Failure::Foreign(_))));
        let list = b"STAT a b\r\n".repeat(MAX_STATS + 1);
        assert_eq!(Frame::new(0, 1).advance(&list), Some(list.len()));
        assert!(matches!(Replies::new(&list).stats(), Err(Failure::Foreign(_))));
    }

    #[test]
    fn a_value_is_read_with_the_line_ends_in_it_and_must_end_as_it_says() {
        let reply = Replies::new(b"VA 4 c1\r\nEN\r\n\r\n").meta::<Plain>().unwrap();
        assert_eq!((reply.code, reply.value.as_deref()), (Code::Va, Some(&b"EN\r\n"[..])));
        for wrong in [&b"VA 4 c1\r\nENDE--"[..], b"VA 4 c1\r\nEND"] {
            assert!(matches!(Replies::new(wrong).meta::<Plain>(), Err(Failure::Foreign(_))));
        }
    }
}
