//! A connection and what is said on it.

use kvlock_protocol::{
    DeleteOutcome, Entry, Epoch, EraInfo, Failure, Identity, Likeness, Talk, Ttl, Version, WriteOutcome, finish,
};

use super::super::socket::stream::Peer;
use super::super::{Write, WriteAnswer};
use super::connection::Connection;
use super::flight;

/// A connection to a server, and the server's era as this connection last saw it.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) connection: Connection,
    talk: Talk,
    /// The server that this connection led to when the present call began.
    led_to: Identity,
    /// A part of a call failed on it, so that it is of no more use.
    is_spoiled: bool,
}

impl Link {
    pub(super) fn new(mut connection: Connection) -> Result<Link, Failure> {
        let talk = finish(Talk::begin(&mut connection))?;
        let led_to = talk.epoch().identity;
        Ok(Link { connection, talk, led_to, is_spoiled: false })
    }

    /// Returns where it leads.
    pub(super) fn peer(&self) -> &Peer {
        &self.connection.peer
    }

    pub(super) fn epoch(&self) -> Epoch {
        *self.talk.epoch()
    }

    /// Says that a call begins.
    pub(super) fn check_out(&mut self) {
        self.led_to = self.talk.epoch().identity;
    }

    /// Returns true if it led to the server of this identity when the present call began.
    pub(super) fn led_to(&self, identity: Identity) -> bool {
        self.led_to == identity
    }

    /// Sees to it that the server's era is a later one than that of the server whose place it has taken.
    pub(super) fn follow(&mut self, previous: &Epoch) -> Result<(), Failure> {
        finish(self.talk.follow(&mut self.connection, previous))
    }

    /// Finds out whether another connection leads to the same server.
    pub(super) fn likeness(&mut self, other: &mut Connection) -> Result<Likeness, Failure> {
        finish(self.talk.likeness(&mut self.connection, other))
    }

    /// Returns the era, asked now.
    pub(super) fn era(&mut self) -> Result<EraInfo, Failure> {
        finish(self.talk.era(&mut self.connection))
    }

    pub(super) fn get(&mut self, keys: &[&str]) -> Result<Vec<Option<Entry>>, Failure> {
        finish(self.talk.get(&mut self.connection, keys))
    }

    pub(super) fn add(&mut self, key: &str, value: &[u8], ttl: Ttl, mark: u32) -> Result<WriteOutcome, Failure> {
        finish(self.talk.add(&mut self.connection, key, value, ttl, mark))
    }

    pub(super) fn replace(
        &mut self,
        key: &str,
        value: &[u8],
        ttl: Ttl,
        version: Version,
        mark: u32,
    ) -> Result<WriteOutcome, Failure> {
        finish(self.talk.replace(&mut self.connection, key, value, ttl, version, mark))
    }

    /// Makes several writes at once. Fails if nothing of them was sent.
    pub(super) fn write_all(
        &mut self,
        writes: &[&Write],
        marks: impl Iterator<Item = u32>,
    ) -> Result<Vec<Result<WriteAnswer, Failure>>, Failure> {
        let before = self.epoch();
        let (answers, epoch) = flight::write_all(&mut self.connection, before, writes, marks);
        if epoch.identity != before.identity {
            self.talk = Talk::at(epoch);
        }
        self.is_spoiled |= answers.iter().any(Result::is_err);
        let unsent = |answer: &Result<_, Failure>| matches!(answer, Err(Failure::NotSent(_)));
        if answers.iter().all(unsent) {
            // Its first failure.
            return answers.into_iter().map(|answer| answer.map(Ok)).collect();
        }
        Ok(answers)
    }

    /// Returns true if it can be used again.
    pub(super) fn is_clean(&mut self) -> bool {
        !self.is_spoiled && self.connection.is_clean()
    }

    pub(super) fn delete(&mut self, key: &str, version: Version) -> Result<DeleteOutcome, Failure> {
        finish(self.talk.delete(&mut self.connection, key, version))
    }
}
