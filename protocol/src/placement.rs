//! Which server of a list keeps a key.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use sha2::{Digest, Sha256};

/// How many keys are asked for in one request, so that a request stays far below what a socket buffers.
const KEYS_PER_REQUEST: usize = 100;

/// Returns the index of the server that keeps `key`: rendezvous (highest random weight) hashing.
///
/// Every client must choose the same server, on whatever platform and in whatever order it was given the list. Hence a
/// hash that a standard defines, over the server's name and the key. A server that is down keeps its keys: choosing
/// another one for the time being would give a lock to two holders. Taking a server out of the list moves only the keys
/// that it kept.
pub fn choose(servers: &[impl fmt::Display], key: &str) -> usize {
    if servers.len() == 1 {
        return 0;
    }
    let key = beside_its_lock(key);
    let mut heaviest = (0, [0; 32]);
    for (index, server) in servers.iter().enumerate() {
        let weight = weight(&server.to_string(), &key);
        if weight >= heaviest.1 {
            heaviest = (index, weight);
        }
    }
    heaviest.0
}

/// Divides keys among servers and requests: for each request the index of its server, and the places of its keys, which
/// are [`KEYS_PER_REQUEST`] at most.
pub fn requests(servers: &[impl fmt::Display], keys: &[String]) -> Vec<(usize, Vec<usize>)> {
    let mut requests: Vec<(usize, Vec<usize>)> = Vec::new();
    for (place, key) in keys.iter().enumerate() {
        let chosen = choose(servers, key);
        let has_room = |request: &&mut (usize, Vec<usize>)| request.0 == chosen && request.1.len() < KEYS_PER_REQUEST;
        match requests.iter_mut().find(has_room) {
            Some((_, places)) => places.push(place),
            None => requests.push((chosen, vec![place])),
        }
    }
    requests
}

/// Returns the key of the lock or permit that an entry stands beside: a wait list, or an ask. It stands on the same
/// server, so that one request reads both, and a slow server stalls nobody that waits for a lock on another one.
fn beside_its_lock(key: &str) -> Cow<'_, str> {
    let Some((namespace, entry)) = key.split_once(':') else { return key.into() };
    for (kind, beside) in [("line", "lock"), ("ask", "lock"), ("permit-ask", "permit")] {
        if let Some(rest) = entry.strip_prefix(kind).filter(|rest| rest.starts_with([':', '#'])) {
            return format!("{namespace}:{beside}{rest}").into();
        }
    }
    key.into()
}

fn weight(server: &str, key: &str) -> [u8; 32] {
    // Neither a server's name nor a key can contain the separator.
    Sha256::new().chain_update(server).chain_update([0]).chain_update(key).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_list_and_an_ask_stand_on_the_server_of_their_lock_and_nothing_else_is_moved() {
        for (key, kept_like) in [
            ("n:line:k", "n:lock:k"),
            ("n:line#0f", "n:lock#0f"),
            ("n:ask:k", "n:lock:k"),
            ("n:ask#0f", "n:lock#0f"),
            ("n:permit-ask:3:pool", "n:permit:3:pool"),
            ("n:asking:k", "n:asking:k"),
            ("n:lock:a:line:b", "n:lock:a:line:b"),
            ("n:linear:k", "n:linear:k"),
            ("n:permit:1:k", "n:permit:1:k"),
        ] {
            assert_eq!(beside_its_lock(key), kept_like);
        }
    }

    #[test]
    fn keys_are_divided_among_their_servers_and_among_requests_that_are_not_too_long() {
        let keys: Vec<_> = (0..250).map(|n| format!("key-{n}")).collect();
        let requests = requests(&["a:11211", "b:11211"], &keys);
        assert!(requests.len() > 2 && requests.iter().all(|(_, places)| places.len() <= KEYS_PER_REQUEST));
        let mut all: Vec<_> = requests.iter().flat_map(|(_, places)| places.clone()).collect();
        all.sort_unstable();
        assert_eq!(all, (0..250).collect::<Vec<_>>());
        for (server, places) in requests {
            assert!(places.iter().all(|place| choose(&["a:11211", "b:11211"], &keys[*place]) == server));
        }
    }

    #[test]
    fn the_choice_of_a_server_never_changes_between_releases() {
        let servers = ["a:11211", "b:11211", "c:11211"];
        let chosen: [_; 8] = core::array::from_fn(|n| servers[choose(&servers, &format!("key-{n}"))]);
        // By Python's hashlib. A change here would move locks that are held.
        assert_eq!(chosen.map(|server| &server[..1]).concat(), "bcabbcbc");
        let reversed: Vec<_> = servers.iter().rev().collect();
        for (n, server) in chosen.iter().enumerate() {
            assert_eq!(reversed[choose(&reversed, &format!("key-{n}"))], server);
        }
    }
}
