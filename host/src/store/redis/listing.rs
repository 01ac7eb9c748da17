//! The keys that are in a bucket.

use std::collections::BTreeSet;

use kvlock_protocol::Failure;

use super::super::check_key;
use super::link::{Link, unexpected};
use super::reply::Reply;

/// How many fields are looked at by one request: with their values, which come along, a few hundred kilobytes.
const FIELDS_PER_REQUEST: &[u8] = b"500";

/// Lists the entries whose keys begin so. Each that is there all the while is found; those that are over are, too.
pub(super) fn keys(link: &mut Link, prefix: &str) -> Result<Vec<String>, Failure> {
    let (hash, pattern) = (link.bucket.hash.clone(), pattern(prefix));
    // A hash that is resized meanwhile may tell a field twice.
    let (mut keys, mut cursor) = (BTreeSet::new(), b"0".to_vec());
    loop {
        let words: [&[u8]; 7] =
            [b"HSCAN", hash.as_bytes(), &cursor, b"MATCH", pattern.as_bytes(), b"COUNT", FIELDS_PER_REQUEST];
        let reply = link.ask(&words).map_err(Failure::before_a_write)?;
        let [Reply::Text(next), fields] = reply.items() else { return Err(unexpected(&reply)) };
        // Fields and values in turn. What is no entry of ours has a space in its name.
        let names = fields.items().iter().step_by(2).filter_map(Reply::text);
        keys.extend(names.filter(|name| check_key(name).is_ok()).map(String::from));
        if next == b"0" {
            return Ok(keys.into_iter().collect());
        }
        cursor.clone_from(next);
    }
}

/// Returns the pattern of what begins so.
fn pattern(prefix: &str) -> String {
    let escape = |c: char| if "*?[]^-\\".contains(c) { format!("\\{c}") } else { c.to_string() };
    format!("{}*", prefix.chars().map(escape).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_pattern_would_take_for_more_is_escaped() {
        assert_eq!(pattern("n:lock:a*[b]\\?"), "n:lock:a\\*\\[b\\]\\\\\\?*");
    }
}
