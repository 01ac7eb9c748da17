//! Why a request to a cluster has no answer, and what the errors of etcd mean.
//!
//! etcd answers with a gRPC code and a text, and the code alone tells little: 14 (unavailable) is the code of `no
//! leader`, which did nothing, and of `request timed out`, which is carried out as soon as there is a quorum again.

use serde::Deserialize;

use super::super::StoreError;

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// Nothing was done, and nothing will be.
    NotDone(String),
    /// It may have been done, or may be done yet.
    NoAnswer(String),
    /// The cluster refuses. It has done nothing.
    Refused(String),
    /// What answers is not etcd. It may have done anything.
    Foreign(String),
    /// The lease of the entry to be written is over. Nothing was done.
    LeaseGone,
}

impl Failure {
    /// Returns the same failure with the server that it is about.
    pub(super) fn at(self, server: &impl std::fmt::Display) -> Failure {
        let told = |why: String| format!("{server}: {why}");
        match self {
            Failure::NotDone(why) => Failure::NotDone(told(why)),
            Failure::NoAnswer(why) => Failure::NoAnswer(told(why)),
            Failure::Refused(why) => Failure::Refused(told(why)),
            Failure::Foreign(why) => Failure::Foreign(told(why)),
            Failure::LeaseGone => Failure::LeaseGone,
        }
    }

    /// Returns what a failure means if nothing was to be changed by the request.
    pub(super) fn of_read(self) -> StoreError {
        match self {
            Failure::Foreign(why) => StoreError::Invalid(format!("etcd {why}")),
            other => other.before_the_write(),
        }
    }

    /// Returns what a failure of a preparation means: the write itself was not sent.
    pub(super) fn before_the_write(self) -> StoreError {
        match self {
            Failure::Refused(why) => StoreError::Rejected(format!("etcd {why}")),
            Failure::NotDone(why) | Failure::NoAnswer(why) | Failure::Foreign(why) => {
                StoreError::Unavailable(format!("etcd {why}"))
            }
            Failure::LeaseGone => StoreError::Unavailable("etcd: leases end as soon as they are granted".to_string()),
        }
    }

    /// Returns what a failure of a write means.
    pub(super) fn of_write(self) -> StoreError {
        match self {
            Failure::NoAnswer(why) | Failure::Foreign(why) => StoreError::UnknownOutcome(format!("etcd {why}")),
            other => other.before_the_write(),
        }
    }
}

/// What an error of etcd means for the request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Nothing was done: log in, and ask again.
    LogIn(String),
    /// Nothing was done: there is nobody to log in to.
    NobodyLogsIn,
    Failed(Failure),
}

/// What an error with some text means.
type Reading = fn(String) -> Meaning;

/// Texts of etcd that say more than their code does. The first that is found in an error decides.
const TEXTS: [(&str, Reading); 17] = [
    ("invalid auth token", Meaning::LogIn),
    ("revision of auth store is old", Meaning::LogIn),
    ("revision in header is old", Meaning::LogIn),
    ("user name is empty", Meaning::LogIn),
    ("authentication is not enabled", |_| Meaning::NobodyLogsIn),
    ("requested lease not found", |_| Meaning::Failed(Failure::LeaseGone)),
    ("lease already exists", not_done),
    ("no leader", not_done),
    ("too many requests", not_done),
    ("not supported for learner", not_done),
    ("leader changed", no_answer),
    ("server stopped", no_answer),
    ("request timed out", no_answer),
    ("database space exceeded", |text| {
        refused(text, "compact and defragment etcd, or raise --quota-backend-bytes; then `etcdctl alarm disarm`")
    }),
    ("permission denied", |text| refused(text, "grant the user a role that may read and write the prefix `kvlock/`")),
    ("request is too large", |text| refused(text, "raise etcd's --max-request-bytes")),
    ("authentication failed", |text| refused(text, "check the user and the password")),
];

/// gRPC codes of requests that etcd refuses before it carries them out: invalid argument, not found, already exists,
/// permission denied, resource exhausted, failed precondition, out of range, unimplemented, data loss, unauthenticated.
const REFUSALS: [i64; 10] = [3, 5, 6, 7, 8, 9, 11, 12, 15, 16];

fn not_done(text: String) -> Meaning {
    Meaning::Failed(Failure::NotDone(text))
}

fn no_answer(text: String) -> Meaning {
    Meaning::Failed(Failure::NoAnswer(text))
}

fn refused(text: String, advice: &str) -> Meaning {
    Meaning::Failed(Failure::Refused(format!("{text}: {advice}")))
}

/// An error as the gateway writes it. Its text has moved between the fields from version to version.
#[derive(Deserialize, Default)]
#[serde(default)]
struct ErrorReply {
    error: Option<ErrorField>,
    message: Option<String>,
    code: i64,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ErrorField {
    Text(String),
    /// In a stream.
    Detail {
        #[serde(default)]
        message: String,
        #[serde(default)]
        grpc_code: i64,
    },
}

/// Tells what an answer means that is no success.
pub(super) fn meaning(status: u16, body: &[u8]) -> Meaning {
    let reply: ErrorReply = serde_json::from_slice(body).unwrap_or_default();
    let (text, code) = match (reply.message, reply.error) {
        (Some(text), _) | (None, Some(ErrorField::Text(text))) => (text, reply.code),
        (None, Some(ErrorField::Detail { message, grpc_code })) => (message, grpc_code),
        (None, None) => return Meaning::Failed(without_a_code(status, body)),
    };
    let shown = shown(text.as_bytes());
    if let Some((_, meaning)) = TEXTS.iter().find(|(part, _)| text.contains(part)) {
        return meaning(shown);
    }
    if REFUSALS.contains(&code) { Meaning::Failed(Failure::Refused(shown)) } else { no_answer(shown) }
}

/// What an answer means that etcd's gateway has not written.
fn without_a_code(status: u16, body: &[u8]) -> Failure {
    let text = shown(body);
    match status {
        404 => Failure::Refused(format!(
            "it has no JSON gateway (`404 {text}`): start etcd with --enable-grpc-gateway=true, or in its configuration \
             file `enable-grpc-gateway: true`"
        )),
        400 if text.contains("HTTPS server") => {
            Failure::Refused("it speaks TLS, and the store's URL does not: write etcds://".to_string())
        }
        // A balancer whose servers are away.
        500..=599 => Failure::NoAnswer(format!("it answers `{status} {text}`")),
        _ => Failure::Foreign(format!("does not speak etcd's protocol: it answers `{status} {text}`")),
    }
}

/// Returns the start of what was received, fit to be shown.
pub(super) fn shown(bytes: &[u8]) -> String {
    /// Longer than any error of etcd.
    const LONGEST: usize = 160;
    let start = &bytes[..bytes.len().min(LONGEST)];
    String::from_utf8_lossy(start).trim().escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_etcd(code: i64, text: &str) -> Meaning {
        let old = format!(r#"{{"error":"{text}","code":{code},"message":"{text}"}}"#);
        let new = format!(r#"{{"code":{code},"message":"{text}","details":[]}}"#);
        let stream = format!(r#"{{"error":{{"grpc_code":{code},"http_code":500,"message":"{text}"}}}}"#);
        let read = meaning(503, old.as_bytes());
        for other in [new, stream] {
            assert_eq!(meaning(503, other.as_bytes()), read, "{other}");
        }
        read
    }

    #[test]
    fn what_may_have_been_done_is_told_from_what_was_not() {
        for (code, text) in [
            (14, "etcdserver: request timed out"),
            (14, "etcdserver: request timed out, possibly due to previous leader failure"),
            (14, "etcdserver: leader changed"),
            (14, "etcdserver: server stopped"),
            (2, "context deadline exceeded"),
            (4, "context deadline exceeded"),
            (14, "transport is closing"),
            (99, "of a later version"),
        ] {
            assert!(matches!(of_etcd(code, text), Meaning::Failed(Failure::NoAnswer(_))), "{text}");
        }
        for (code, text) in [
            (14, "etcdserver: no leader"),
            (8, "etcdserver: too many requests"),
            (14, "etcdserver: rpc not supported for learner"),
        ] {
            assert!(matches!(of_etcd(code, text), Meaning::Failed(Failure::NotDone(_))), "{text}");
        }
        assert_eq!(of_etcd(5, "etcdserver: requested lease not found"), Meaning::Failed(Failure::LeaseGone));
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        for (code, text, advice) in [
            (8, "etcdserver: mvcc: database space exceeded", "quota-backend-bytes"),
            (7, "etcdserver: permission denied", "`kvlock/`"),
            (3, "etcdserver: request is too large", "max-request-bytes"),
            (3, "etcdserver: authentication failed, invalid user ID or password", "password"),
            (15, "etcdserver: corrupt cluster", "corrupt cluster"),
        ] {
            let Meaning::Failed(Failure::Refused(told)) = of_etcd(code, text) else { panic!("{text}") };
            assert!(told.contains(advice), "{told}");
        }
    }

    #[test]
    fn who_has_no_gateway_is_told_how_to_switch_it_on() {
        let Meaning::Failed(Failure::Refused(told)) = meaning(404, b"404 page not found\n") else { panic!() };
        assert!(told.contains("--enable-grpc-gateway=true"), "{told}");
        assert!(matches!(meaning(502, b"<html>"), Meaning::Failed(Failure::NoAnswer(_))));
        let Meaning::Failed(Failure::Foreign(told)) = meaning(418, b"\x1b[31m\n") else { panic!() };
        assert!(!told.contains(char::is_control), "{told:?}");
    }
}
