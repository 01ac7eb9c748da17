//! The store: a list of servers, each of which keeps a part of the keys.

use alloc::string::String;
use alloc::vec::Vec;

use kvlock_protocol::{
    DeleteOutcome, Entry, EraInfo, Error, Ttl, Version, WriteOutcome, check_memcached_key, check_value, choose, finish,
    requests,
};

use crate::bindings::wasi::cli::environment::get_environment;
use crate::bindings::wasi::random::random::get_random_u64;
use crate::server::{Link, Server};
use crate::settings::Settings;

/// A store on one or several memcached servers.
#[derive(Debug)]
pub(crate) struct Store {
    servers: Vec<Server>,
    /// The client flags of the next write, another number for each: by them it knows its own.
    mark: u32,
}

impl Store {
    /// Makes the store that the environment names. Nothing is sent.
    pub(crate) fn open() -> Result<Store, Error> {
        let Settings { servers, greeting, timeouts } = Settings::read(get_environment())?;
        let server = |address| Server::new(address, greeting.clone(), timeouts);
        let servers = servers.into_iter().map(server).collect();
        #[expect(clippy::cast_possible_truncation, reason = "half of the bits are as random as all of them")]
        let mark = get_random_u64() as u32;
        Ok(Store { servers, mark })
    }

    fn server(&mut self, key: &str) -> Result<&mut Server, Error> {
        check_memcached_key(key)?;
        let chosen = choose(&self.servers, key);
        self.servers.get_mut(chosen).ok_or_else(|| Error::Invalid(String::from("the list of servers is empty")))
    }

    fn next_mark(&mut self) -> u32 {
        self.mark = self.mark.wrapping_add(1);
        self.mark
    }

    pub(crate) fn get_many(&mut self, keys: &[String]) -> Result<Vec<Option<Entry>>, Error> {
        keys.iter().try_for_each(|key| check_memcached_key(key))?;
        let mut entries: Vec<Option<Entry>> = keys.iter().map(|_| None).collect();
        for (server, places) in requests(&self.servers, keys) {
            let Some(server) = self.servers.get_mut(server) else { continue };
            let keys: Vec<_> = places.iter().filter_map(|place| keys.get(*place)).map(String::as_str).collect();
            let found = server.read(|Link { socket, talk }| finish(talk.get(socket, &keys)))?;
            for (place, entry) in places.into_iter().zip(found) {
                if let Some(slot) = entries.get_mut(place) {
                    *slot = entry;
                }
            }
        }
        Ok(entries)
    }

    pub(crate) fn add(&mut self, key: &str, value: &[u8], ttl: Ttl) -> Result<WriteOutcome, Error> {
        check_value(value)?;
        let mark = self.next_mark();
        self.server(key)?.write(|Link { socket, talk }| finish(talk.add(socket, key, value, ttl, mark)))
    }

    pub(crate) fn replace(
        &mut self,
        key: &str,
        value: &[u8],
        ttl: Ttl,
        version: Version,
    ) -> Result<WriteOutcome, Error> {
        check_value(value)?;
        let mark = self.next_mark();
        self.server(key)?.write(|Link { socket, talk }| finish(talk.replace(socket, key, value, ttl, version, mark)))
    }

    pub(crate) fn delete(&mut self, key: &str, version: Version) -> Result<DeleteOutcome, Error> {
        self.server(key)?.write(|Link { socket, talk }| finish(talk.delete(socket, key, version)))
    }

    pub(crate) fn era(&mut self, key: &str) -> Result<EraInfo, Error> {
        self.server(key)?.era()
    }
}
