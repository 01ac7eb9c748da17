//! A grant that another process printed, and why it may be invalid.

use std::io::Read;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use kvlock::{Client, Grant, Holder, error::GrantError, store::lock_key};

use crate::options::global::Global;
use crate::report::exit::{self, Exit};
use crate::report::output;

/// The longest word: a hundred times the longest key, escaped twice.
const LONGEST: u64 = 100 << 20;

/// What the word of a grant says about it.
pub(super) struct Resumed {
    client: Client,
    namespace: String,
    /// Of each key.
    tokens: Vec<(String, u64)>,
    /// The lock or the permit, as messages name it.
    pub(super) name: String,
}

/// Takes up a grant. If the argument is `-`, the word comes from stdin and does not show in the list of processes.
pub(super) fn resume(argument: &str, global: &Global) -> Result<(Grant, Resumed)> {
    let mut word = argument.to_string();
    if argument == "-" {
        word.clear();
        std::io::stdin().take(LONGEST).read_to_string(&mut word).context("cannot read the grant from stdin")?;
        word = word.trim().to_string();
    }
    let client = global.client()?;
    let grant = global.session_of(&client, None)?.resume(&word)?;
    let tokens: Vec<_> = grant.tokens().map(|(key, token)| (key.to_string(), token)).collect();
    let key = output::short(grant.key());
    let name = match (grant.permit(), tokens.len()) {
        (Some(permit), _) => format!("permit {permit} of `{key}`"),
        (None, ..=1) => format!("`{key}`"),
        (None, count) => format!("`{key}` and {} more", count - 1),
    };
    Ok((grant, Resumed { client, namespace: global.namespace.clone(), tokens, name }))
}

impl Resumed {
    /// Returns the error of a grant that does not hold the lock any more. It says what is known of the reason.
    pub(super) fn explain(&self, error: GrantError) -> anyhow::Error {
        let text = match &error {
            GrantError::Lost { holder: Some(holder), .. } => self.beside(holder),
            GrantError::Lost { holder: None, .. } if self.is_of_another_life() => format!(
                "{}: the store has nothing of this grant: it is not the store that the grant was made on, or it has \
                 lost its contents since",
                self.name
            ),
            GrantError::Lost { holder: None, .. } | GrantError::AlreadyReleased { .. } => format!(
                "{} is not held by this grant any more, nor by another: it was released already or broken, its lease \
                 ended, or it was made on another store",
                self.name
            ),
            _ => return error.into(),
        };
        Exit::new(exit::NOT_HOLDER, output::one_line(text)).about(error).into()
    }

    /// Tells of the record that the store has: that of another holder, or a later one of this very grant.
    fn beside(&self, holder: &Holder) -> String {
        let name = if self.tokens.len() > 1 { &format!("`{}`", output::short(&holder.key)) } else { &self.name };
        match self.tokens.iter().any(|(key, token)| *key == holder.key && *token == holder.token) {
            true if holder.depth == 0 => format!("{name} was released already, and is kept for its minimum time"),
            true => format!(
                "{name}: this word is an old one: the grant was renewed since, and only the word that `kvlock renew` \
                 printed last is of use"
            ),
            false => format!("{name} is {holder}: this grant was released before or broken, or its lease ended"),
        }
    }

    /// Returns true if the contents of the store begin after the grant, or too long before it for its token. A token is
    /// the moment at which the contents began, in Unix nanoseconds, and the number of writes since.
    fn is_of_another_life(&self) -> bool {
        /// No store writes faster.
        const NANOS_PER_WRITE: u64 = 100;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        self.tokens.iter().any(|(key, token)| {
            // Of several servers it is the key's.
            let Ok(era) = self.client.store().era(&lock_key(&self.namespace, key)) else { return false };
            // Of a server whose clock is ahead of ours no age is known.
            let age = u64::try_from(now).ok().and_then(|now| now.checked_sub(era.id));
            *token < era.id || age.is_some_and(|age| token - era.id > age / NANOS_PER_WRITE)
        })
    }
}
