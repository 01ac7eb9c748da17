//! Which server of a list keeps a key.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::ToString;
use core::fmt;

use sha2::{Digest, Sha256};

/// Returns the index of the server that keeps `key`: rendezvous (highest random weight) hashing.
///
/// Every client must choose the same server, on whatever platform and in whatever order it was given the list. Hence a
/// hash that a standard defines, over the server's name and the key. A server that is down keeps its keys: choosing
/// another one for the time being would give a lock to two holders. Taking a server out of the list moves only the keys
/// that it kept.
pub fn choose(servers: impl ExactSizeIterator<Item = impl fmt::Display>, key: &str) -> usize {
    if servers.len() == 1 {
        return 0;
    }
    let key = beside_its_lock(key);
    let weighed = servers.enumerate().map(|(index, server)| (weight(&server.to_string(), &key), index));
    weighed.max().map_or(0, |(_, index)| index)
}

/// Returns the key of the lock that a wait list is for. The list stands on the lock's own server, so that one request
/// reads both, and a slow server stalls nobody that waits for a lock on another one.
fn beside_its_lock(key: &str) -> Cow<'_, str> {
    match key.split_once(":line") {
        Some((namespace, rest)) if !namespace.contains(':') && rest.starts_with([':', '#']) => {
            format!("{namespace}:lock{rest}").into()
        }
        _ => key.into(),
    }
}

fn weight(server: &str, key: &str) -> [u8; 32] {
    // Neither a server's name nor a key can contain the separator.
    Sha256::new().chain_update(server).chain_update([0]).chain_update(key).finalize().into()
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn a_wait_list_stands_on_the_server_of_its_lock_and_nothing_else_is_moved() {
        for (key, kept_like) in [
            ("n:line:k", "n:lock:k"),
            ("n:line#0f", "n:lock#0f"),
            ("n:lock:a:line:b", "n:lock:a:line:b"),
            ("n:linear:k", "n:linear:k"),
            ("n:permit:1:k", "n:permit:1:k"),
        ] {
            assert_eq!(beside_its_lock(key), kept_like);
        }
    }

    #[test]
    fn the_choice_of_a_server_never_changes_between_releases() {
        let servers = ["a:11211", "b:11211", "c:11211"];
        let chosen: [_; 8] = core::array::from_fn(|n| servers[choose(servers.iter(), &format!("key-{n}"))]);
        // By Python's hashlib. A change here would move locks that are held.
        assert_eq!(chosen.map(|server| &server[..1]).concat(), "bcabbcbc");
        let reversed: Vec<_> = servers.iter().rev().collect();
        for (n, server) in chosen.iter().enumerate() {
            assert_eq!(reversed[choose(reversed.iter(), &format!("key-{n}"))], server);
        }
    }
}
