//! Requests and replies of etcd's JSON gateway, as far as they are used here.
//!
//! Bytes are base64, and numbers of 64 bits are text. A field that is false, zero or empty is left out of a reply.

use std::fmt::Display;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Error, IgnoredAny};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::failure::Failure;

/// What every reply begins with.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub(super) struct Header {
    #[serde(deserialize_with = "number")]
    pub(super) cluster_id: u64,
    #[serde(deserialize_with = "number")]
    pub(super) member_id: u64,
    /// The revision of the contents when the request was carried out.
    #[serde(deserialize_with = "number")]
    pub(super) revision: u64,
    /// The term of the leader that the member knew then.
    #[serde(deserialize_with = "number")]
    pub(super) raft_term: u64,
}

/// What stands under a key.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Kv {
    #[serde(deserialize_with = "bytes")]
    pub(super) key: Vec<u8>,
    #[serde(deserialize_with = "bytes")]
    pub(super) value: Vec<u8>,
    #[serde(deserialize_with = "number")]
    pub(super) create_revision: u64,
    #[serde(deserialize_with = "number")]
    pub(super) mod_revision: u64,
    #[serde(deserialize_with = "number")]
    pub(super) lease: i64,
}

/// The reply to a transaction.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct TxnReply {
    pub(super) header: Header,
    pub(super) succeeded: bool,
    responses: Vec<Response>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Response {
    response_range: Option<RangeReply>,
    response_put: Option<IgnoredAny>,
    response_delete_range: Option<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RangeReply {
    kvs: Vec<Kv>,
}

/// A page of a list of keys.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct KeysReply {
    pub(super) kvs: Vec<Kv>,
    pub(super) more: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LeaseReply {
    pub(super) header: Header,
    #[serde(rename = "ID", deserialize_with = "number")]
    pub(super) id: i64,
    /// The length granted; of a lease that is kept alive, what is left, and 0 if it is over.
    #[serde(rename = "TTL", deserialize_with = "number")]
    pub(super) ttl: i64,
    /// The length granted, if what is left of a lease was asked for.
    #[serde(rename = "grantedTTL", deserialize_with = "number")]
    pub(super) granted: i64,
}

/// The one reply in a stream that was asked once.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Streamed {
    pub(super) result: LeaseReply,
}

/// A line of a stream of what was deleted.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WatchReply {
    pub(super) result: Events,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Events {
    pub(super) events: Vec<Event>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Event {
    pub(super) kv: Kv,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct TokenReply {
    pub(super) token: String,
}

/// How a member is.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct StatusReply {
    pub(super) header: Header,
    pub(super) version: String,
    #[serde(rename = "dbSize", deserialize_with = "number")]
    pub(super) size: u64,
    /// The limit of the size. Only etcd 3.6 and later tell it.
    #[serde(rename = "dbSizeQuota", deserialize_with = "number")]
    pub(super) quota: u64,
    #[serde(deserialize_with = "number")]
    pub(super) leader: u64,
    #[serde(rename = "raftTerm", deserialize_with = "number")]
    pub(super) term: u64,
    #[serde(rename = "isLearner")]
    pub(super) is_learner: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct MembersReply {
    pub(super) header: Header,
    pub(super) members: Vec<Member>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Member {
    #[serde(rename = "ID", deserialize_with = "number")]
    pub(super) id: u64,
    #[serde(rename = "peerURLs")]
    pub(super) peers: Vec<String>,
    #[serde(rename = "isLearner")]
    pub(super) is_learner: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AlarmsReply {
    pub(super) alarms: Vec<Alarm>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Alarm {
    pub(super) alarm: String,
}

impl TxnReply {
    /// Takes the replies to the operations, of which there must be as many.
    ///
    /// # Errors
    /// [`Failure::Foreign`] if they are not those that etcd gives.
    pub(super) fn take<const N: usize>(&mut self) -> Result<[Done; N], Failure> {
        let done: Vec<Done> = std::mem::take(&mut self.responses).into_iter().map(Done).collect();
        done.try_into().map_err(|done: Vec<Done>| unlike_etcd(format!("{} replies to {N} operations", done.len())))
    }

    /// Like [`take`](Self::take), for a number of operations that is only known when the program runs.
    pub(super) fn take_all(&mut self, count: usize) -> Result<Vec<Done>, Failure> {
        if self.responses.len() != count {
            return Err(unlike_etcd(format!("{} replies to {count} operations", self.responses.len())));
        }
        Ok(std::mem::take(&mut self.responses).into_iter().map(Done).collect())
    }
}

/// The reply to one operation of a transaction.
#[derive(Debug)]
pub(super) struct Done(Response);

impl Done {
    /// Takes what a range of one key has found.
    pub(super) fn found(self, key: &[u8]) -> Result<Option<Kv>, Failure> {
        let range = self.0.response_range.ok_or_else(|| unlike_etcd("no range".to_string()))?;
        match <[Kv; 1]>::try_from(range.kvs) {
            Ok([kv]) if kv.key == key && kv.mod_revision > 0 => Ok(Some(kv)),
            Err(none) if none.is_empty() => Ok(None),
            _ => Err(unlike_etcd("a range of other keys than was asked for".to_string())),
        }
    }

    /// Checks that it was a put.
    pub(super) fn put(self) -> Result<(), Failure> {
        self.0.response_put.map(drop).ok_or_else(|| unlike_etcd("no put".to_string()))
    }

    /// Checks that it was a deletion.
    pub(super) fn deleted(self) -> Result<(), Failure> {
        self.0.response_delete_range.map(drop).ok_or_else(|| unlike_etcd("no deletion".to_string()))
    }
}

/// Returns a failure about a reply that etcd does not give.
pub(super) fn unlike_etcd(what: String) -> Failure {
    Failure::Foreign(format!("does not speak etcd's protocol: {what}"))
}

/// Returns a transaction: `success` if all of `compare` hold, else `failure`.
pub(super) fn txn(compare: &[Value], success: &[Value], failure: &[Value]) -> Value {
    json!({ "compare": compare, "success": success, "failure": failure })
}

pub(super) fn if_value(key: &[u8], value: &[u8]) -> Value {
    json!({ "target": "VALUE", "result": "EQUAL", "key": base64(key), "value": base64(value) })
}

/// Compares the revision at which the key was made; 0 if it is not there.
pub(super) fn if_created(key: &[u8], revision: u64) -> Value {
    json!({ "target": "CREATE", "result": "EQUAL", "key": base64(key), "create_revision": revision.to_string() })
}

/// Compares the revision at which the key was written; 0 if it is not there.
pub(super) fn if_written(key: &[u8], revision: u64) -> Value {
    json!({ "target": "MOD", "result": "EQUAL", "key": base64(key), "mod_revision": revision.to_string() })
}

pub(super) fn range(key: &[u8]) -> Value {
    json!({ "request_range": { "key": base64(key) } })
}

/// Asks for all but the value.
pub(super) fn range_without_value(key: &[u8]) -> Value {
    json!({ "request_range": { "key": base64(key), "keys_only": true } })
}

/// Writes, under a lease unless it is 0.
pub(super) fn put(key: &[u8], value: &[u8], lease: i64) -> Value {
    json!({ "request_put": { "key": base64(key), "value": base64(value), "lease": lease.to_string() } })
}

/// Asks to be told of all that is deleted under a prefix.
pub(super) fn watch_deletes(prefix: &[u8]) -> Value {
    let end = behind(prefix);
    json!({ "create_request": { "key": base64(prefix), "range_end": base64(&end), "filters": ["NOPUT"] } })
}

/// Asks for the keys under a prefix, from one of them on, in their order.
pub(super) fn range_of_keys(from: &[u8], prefix: &[u8], limit: u32) -> Value {
    let end = behind(prefix);
    json!({ "key": base64(from), "range_end": base64(&end), "keys_only": true, "limit": limit.to_string() })
}

/// Returns the first key behind all that begin with a prefix, which ends in a byte of ASCII.
fn behind(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}

pub(super) fn delete(key: &[u8]) -> Value {
    json!({ "request_delete_range": { "key": base64(key) } })
}

pub(super) fn lease(id: i64) -> Value {
    json!({ "ID": id.to_string() })
}

fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Text(String),
    Unsigned(u64),
    Signed(i64),
}

fn number<'de, D: Deserializer<'de>, N: FromStr<Err: Display>>(deserializer: D) -> Result<N, D::Error> {
    let text = match Number::deserialize(deserializer)? {
        Number::Text(text) => text,
        Number::Unsigned(number) => number.to_string(),
        Number::Signed(number) => number.to_string(),
    };
    text.parse().map_err(D::Error::custom)
}

fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    STANDARD.decode(String::deserialize(deserializer)?).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(text: &str) -> TxnReply {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_reply_is_read_with_what_is_left_out() {
        let mut reply = reply(
            r#"{"header":{"cluster_id":"14841639068965178418","member_id":"1","revision":"7","raft_term":"2"},
                "succeeded":true,"responses":[{"response_range":{"header":{"revision":"7"},"kvs":[{"key":"aw==",
                "create_revision":"3","mod_revision":"5","version":"1","lease":"9"}],"count":"1"}},
                {"response_range":{"header":{}}},{"response_put":{"header":{"revision":"7"}}}]}"#,
        );
        assert_eq!((reply.header.cluster_id, reply.header.revision), (14841639068965178418, 7));
        let [first, second, third] = reply.take().unwrap();
        let kv = first.found(b"k").unwrap().unwrap();
        assert_eq!((kv.create_revision, kv.mod_revision, kv.lease, kv.value.len()), (3, 5, 9, 0));
        assert!(second.found(b"k").unwrap().is_none());
        third.put().unwrap();
    }

    #[test]
    fn a_reply_that_etcd_does_not_give_is_refused() {
        let one = r#"{"responses":[{"response_range":{"kvs":[{"key":"aw==","mod_revision":"5"}]}}]}"#;
        assert!(matches!(reply(one).take::<2>(), Err(Failure::Foreign(_))));
        let [other_key] = reply(one).take().unwrap();
        assert!(matches!(other_key.found(b"other"), Err(Failure::Foreign(_))));
        let [no_put] = reply(one).take().unwrap();
        assert!(matches!(no_put.put(), Err(Failure::Foreign(_))));
        for text in [r#"{"header":{"revision":"-1"}}"#, r#"{"header":{"revision":"x"}}"#, "7"] {
            assert!(serde_json::from_str::<TxnReply>(text).is_err(), "{text}");
        }
    }
}
