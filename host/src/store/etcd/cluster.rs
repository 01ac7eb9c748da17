//! Asks a cluster: one member after the other as long as nothing was done, logged in if there is a login.
//!
//! Members are alternatives. A write goes to another member only if it is known that nothing was done: no connection,
//! or an answer that says so. What changes nothing may be asked again wherever it got no answer. The member that
//! answered last is asked first the next time, and one that failed is not.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::failure::{Failure, Meaning, meaning, shown};
use super::http::Http;
use super::settings::{Credential, Settings};
use super::wire::{TokenReply, TxnReply, unlike_etcd};

/// How often one request is sent to a member that lets us log in and then refuses what that gave.
const LOG_INS: usize = 3;

/// If a request can be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It changes nothing, or nothing that matters if it is done twice.
    Repeatable,
    /// It is sent once.
    Write,
}

/// Until when a call may begin another request. Each of them ends by itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    began: Instant,
    length: Duration,
}

impl Budget {
    fn is_over(self) -> bool {
        self.began.elapsed() >= self.length
    }

    /// Returns if what failed did so soon enough to be tried at the same member again.
    fn is_young(self) -> bool {
        self.began.elapsed() < self.length / 4
    }
}

/// A cluster, and what is known of the way to it.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) members: Vec<Member>,
    http: Http,
    login: Option<Credential>,
    length: Duration,
    /// Which member is asked first.
    first: AtomicUsize,
    token: Mutex<Token>,
}

/// A member as the URL names it.
#[derive(Debug)]
pub(super) struct Member {
    name: String,
    base: String,
}

/// What shows that we have logged in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Token {
    #[default]
    Unknown,
    /// The cluster asks nobody to log in.
    Needless,
    Text(String),
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Cluster {
    pub(super) fn new(settings: &Settings) -> Cluster {
        let scheme = if settings.secure.is_some() { "https" } else { "http" };
        let member = |name: String| Member { base: format!("{scheme}://{name}/v3/"), name };
        Cluster {
            members: settings.servers.iter().map(|server| member(server.to_string())).collect(),
            http: Http::new(settings),
            login: settings.login.clone(),
            length: settings.timeouts.connect + settings.timeouts.answer,
            first: AtomicUsize::new(0),
            token: Mutex::default(),
        }
    }

    /// Begins the time in which a call may begin requests.
    pub(super) fn budget(&self) -> Budget {
        Budget { began: Instant::now(), length: self.length }
    }

    /// Sends a transaction.
    pub(super) fn txn(&self, kind: Kind, txn: &Value, budget: Budget) -> Result<TxnReply, Failure> {
        let reply: TxnReply = self.ask(kind, "kv/txn", txn, budget)?;
        if reply.header.cluster_id == 0 || reply.header.revision == 0 {
            return Err(unlike_etcd("a reply without a revision".to_string()));
        }
        Ok(reply)
    }

    /// Sends a request, and returns what the first member answers that does.
    pub(super) fn ask<T: DeserializeOwned>(
        &self,
        kind: Kind,
        path: &str,
        body: &Value,
        budget: Budget,
    ) -> Result<T, Failure> {
        if budget.is_over() {
            return Err(Failure::NotDone(format!("{}: what came before took too long", self.members[0])));
        }
        let body = body.to_string();
        let (count, first) = (self.members.len(), self.first.load(Ordering::Relaxed));
        let mut reasons: Vec<String> = Vec::new();
        for turn in 0.. {
            // Around once; and once more for a connection that had waited for too long.
            let goes_on = match turn {
                0 => true,
                _ if turn < count => !budget.is_over(),
                _ => turn == count && kind == Kind::Repeatable && budget.is_young(),
            };
            if !goes_on {
                break;
            }
            let at = (first + turn) % count;
            let member = &self.members[at];
            match self.ask_member(member, path, body.as_bytes()) {
                Ok(reply) => {
                    self.first.store(at, Ordering::Relaxed);
                    return Ok(reply);
                }
                Err(Failure::NotDone(why)) => reasons.push(why),
                Err(Failure::NoAnswer(why)) if kind == Kind::Repeatable => reasons.push(why),
                Err(failure) => {
                    if matches!(failure, Failure::NoAnswer(_) | Failure::Foreign(_)) {
                        self.first.store((at + 1) % count, Ordering::Relaxed);
                    }
                    return Err(failure);
                }
            }
        }
        self.first.store((first + 1) % count, Ordering::Relaxed);
        reasons.dedup();
        Err(Failure::NotDone(reasons.join("; ")))
    }

    /// Asks the member that answered last for a stream of lines, and reads it for as long as it may last.
    pub(super) fn stream(
        &self,
        path: &str,
        body: &Value,
        length: Duration,
        on_line: impl FnMut(&[u8]),
    ) -> Result<(), Failure> {
        let member = &self.members[self.first.load(Ordering::Relaxed) % self.members.len()];
        let token = self.token(member)?;
        let text = if let Token::Text(text) = &token { Some(text.as_str()) } else { None };
        self.http.stream(&format!("{}{path}", member.base), text, body.to_string().as_bytes(), length, on_line)
    }

    /// Sends a request to one member, and logs in there if that is needed.
    pub(super) fn ask_member<T: DeserializeOwned>(
        &self,
        member: &Member,
        path: &str,
        body: &[u8],
    ) -> Result<T, Failure> {
        let body = self.exchange(member, path, body).map_err(|failure| failure.at(member))?;
        serde_json::from_slice(&body)
            .map_err(|error| unlike_etcd(format!("{} (`{}`)", shown(error.to_string().as_bytes()), shown(&body))))
            .map_err(|failure| failure.at(member))
    }

    fn exchange(&self, member: &Member, path: &str, body: &[u8]) -> Result<Vec<u8>, Failure> {
        let mut token = self.token(member)?;
        for _ in 0..LOG_INS {
            let text = if let Token::Text(text) = &token { Some(text.as_str()) } else { None };
            let answer = self.http.post(&format!("{}{path}", member.base), text, body)?;
            if answer.status == 200 && !is_error(&answer.body) {
                return Ok(answer.body);
            }
            match meaning(answer.status, &answer.body) {
                Meaning::LogIn(why) => token = self.log_in_again(member, &token, why)?,
                Meaning::Failed(failure) => return Err(failure),
                Meaning::NobodyLogsIn => return Err(Failure::NotDone(shown(&answer.body))),
            }
        }
        Err(Failure::NotDone("it refuses whom it has just let log in".to_string()))
    }

    /// Returns the token, after logging in if there is a login and no token yet.
    fn token(&self, member: &Member) -> Result<Token, Failure> {
        let Some(login) = &self.login else { return Ok(Token::Needless) };
        let known = self.known_token().clone();
        if known != Token::Unknown {
            return Ok(known);
        }
        let token = self.log_in(member, login)?;
        *self.known_token() = token.clone();
        Ok(token)
    }

    /// Logs in after a token was refused, unless another thread has done so meanwhile.
    fn log_in_again(&self, member: &Member, refused: &Token, why: String) -> Result<Token, Failure> {
        let Some(login) = &self.login else {
            return Err(Failure::Refused(format!(
                "{why}: it wants a login; write etcd://user:password@host, or set ETCDCTL_USER"
            )));
        };
        let known = self.known_token().clone();
        if known != *refused && known != Token::Unknown {
            return Ok(known);
        }
        let token = self.log_in(member, login)?;
        *self.known_token() = token.clone();
        Ok(token)
    }

    fn log_in(&self, member: &Member, login: &Credential) -> Result<Token, Failure> {
        let body = json!({ "name": login.user, "password": login.password.reveal() }).to_string();
        // Nothing of what was asked for has been sent yet.
        let undone = |failure| match failure {
            Failure::NoAnswer(why) => Failure::NotDone(why),
            other => other,
        };
        let answer = self.http.post(&format!("{}auth/authenticate", member.base), None, body.as_bytes());
        let answer = answer.map_err(undone)?;
        if answer.status == 200 {
            let reply: TokenReply = serde_json::from_slice(&answer.body).unwrap_or_default();
            return match reply.token.as_str() {
                "" => Err(Failure::NotDone("logging in gave no token".to_string())),
                _ => Ok(Token::Text(reply.token)),
            };
        }
        match meaning(answer.status, &answer.body) {
            Meaning::NobodyLogsIn => Ok(Token::Needless),
            Meaning::Failed(failure) => Err(undone(failure)),
            Meaning::LogIn(why) => Err(Failure::NotDone(why)),
        }
    }

    fn known_token(&self) -> MutexGuard<'_, Token> {
        // A panic elsewhere cannot leave it half changed.
        self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns if the cluster wants no login although there is one.
    pub(super) fn is_login_needless(&self) -> bool {
        self.login.is_some() && *self.known_token() == Token::Needless
    }
}

/// Returns if a stream begins with an error, which has the status of a success.
fn is_error(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(br#"{"error""#)
}
