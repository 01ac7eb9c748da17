//! What really happened, kept beside the machines and never shown to them: every hold that was written, and its fate.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kvlock_machine::Version;

use crate::promise::Promise;

/// What a record tells, read as anybody could: it is text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Mark {
    /// Tells one acquisition from every other.
    pub nonce: u128,
    /// The owner's name.
    pub owner: String,
    /// How often it is held; 0 for a record that is only kept for its minimum time.
    pub depth: u32,
    /// The hold's fencing token: the record's, or before it was written twice the entry's own.
    pub token: u64,
}

impl Mark {
    /// Reads a record of this version; none for what is not one.
    pub(crate) fn read(value: &[u8], version: Version) -> Option<Mark> {
        let text = std::str::from_utf8(value).ok()?;
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        Some(Mark {
            nonce: u128::from_str_radix(field("nonce")?, 16).ok()?,
            owner: field("owner")?.into(),
            depth: field("depth")?.parse().ok()?,
            token: match field("token") {
                Some(token) => token.parse().ok()?,
                None => version.era + version.number,
            },
        })
    }
}

/// What became of a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Fate {
    /// Its record is in the store.
    Standing,
    /// Released by its owner; its record may be kept for a minimum time.
    GivenBack,
    /// Its time was over.
    Expired,
    /// Broken, adopted or evicted.
    Taken,
    /// Lost with everything else.
    Forgotten,
    /// Taken back or written anew by the acquisition that wrote it.
    Withdrawn,
}

/// A hold: from the write that made it on. Its token names it, for no other has the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Hold {
    /// Its fencing token.
    pub token: u64,
    /// The store key.
    pub key: String,
    /// Who acquired it.
    pub owner: usize,
    /// Who may use it, as it was written last: whoever wrote it, and those who took that up.
    pub users: Vec<usize>,
    /// How often its record was written since it was made.
    pub writes: u32,
    /// Who gave it back.
    pub ended_by: Option<usize>,
    /// The nonce of its acquisition.
    pub nonce: u128,
    /// What became of it.
    pub fate: Fate,
    /// Its acquisition reported it.
    pub granted: bool,
    /// Until when the key is to stay taken, as its user asked.
    pub keep: Option<Duration>,
    /// A request to release it was sent and not answered.
    pub release_in_doubt: bool,
}

/// What is being done by whoever sends a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Doing {
    /// An acquisition with a nonce of its own; whether it may adopt.
    Acquiring {
        /// Whether it may take over a record of its owner's name.
        adopt: bool,
    },
    /// A renewal.
    Renewing,
    /// A release.
    Releasing,
    /// A break.
    Breaking,
    /// An ask, and a look at what became of it.
    Asking,
    /// A look whether somebody asks.
    Hearing,
}

/// Who sent a request, and for what.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Source {
    /// The owner's number.
    pub owner: usize,
    /// Its name.
    pub name: &'static str,
    /// The number of the machine that sent it.
    pub op: u32,
    /// What for.
    pub doing: Doing,
    /// The nonce of the hold or of the acquisition; zero for a break.
    pub nonce: u128,
    /// Whose claim a release has: the owner's number and the acquisition's nonce.
    pub heir: Option<(usize, u128)>,
}

/// All holds that matter still, and the largest tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Truth {
    /// Those that somebody believes in, may be told of, or that are in the store.
    pub holds: Vec<Hold>,
    /// The largest token that was reported for a store key.
    pub highest: BTreeMap<String, u64>,
    /// Whom asks that were written asked, by the halves of nonces: for each ask.
    pub asks: BTreeMap<u64, Vec<u64>>,
    /// Who wrote that it has heard one.
    pub heard: BTreeSet<u64>,
}

/// What a write did, for the machine that sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing that matters to its outcome.
    None,
    /// It changed the record of a hold that stood.
    Rewrote,
    /// It deleted the record of the hold with this token.
    Broke(u64),
}

impl Truth {
    /// The hold of a token.
    pub(crate) fn hold(&self, token: u64) -> Option<&Hold> {
        self.holds.iter().find(|hold| hold.token == token)
    }

    /// The same, to be changed.
    pub(crate) fn hold_mut(&mut self, token: u64) -> Option<&mut Hold> {
        self.holds.iter_mut().find(|hold| hold.token == token)
    }

    /// Whether the hold of a token stands.
    pub(crate) fn stands(&self, token: u64) -> bool {
        self.hold(token).is_some_and(|hold| hold.fate == Fate::Standing)
    }

    /// The hold of a token is over, unless it was already.
    pub(crate) fn end(&mut self, token: u64, fate: Fate) {
        if let Some(hold) = self.hold_mut(token).filter(|hold| hold.fate == Fate::Standing) {
            hold.fate = fate;
        }
    }

    /// The same, and this owner gave it back.
    fn give_back(&mut self, token: u64, owner: usize) {
        if let Some(hold) = self.hold_mut(token).filter(|hold| hold.fate == Fate::Standing) {
            (hold.fate, hold.ended_by) = (Fate::GivenBack, Some(owner));
        }
    }

    /// Everything is lost.
    pub(crate) fn forget_all(&mut self) {
        for hold in self.holds.iter_mut().filter(|hold| hold.fate == Fate::Standing) {
            hold.fate = Fate::Forgotten;
        }
    }

    /// A record that stood though its time was over was replaced by that of a waiter: none of its writers may believe in
    /// it any more.
    pub(crate) fn taken_over(&mut self, source: &Source, key: &str, before: &Mark, after: &Mark) {
        self.end(before.token, Fate::Expired);
        self.made(source, key, after);
    }

    /// A write was executed: what was there, and what is there now.
    pub(crate) fn written(
        &mut self,
        source: &Source,
        key: &str,
        before: Option<&Mark>,
        after: Option<&Mark>,
    ) -> Result<Effect, Promise> {
        if let Some(before) = before {
            self.may_touch(source, before, after)?;
        }
        match (before, after) {
            (None, None) => Ok(Effect::None),
            (None, Some(after)) => {
                self.made(source, key, after);
                Ok(Effect::None)
            }
            (Some(before), None) => Ok(self.deleted(source, before)),
            (Some(before), Some(after)) => Ok(self.replaced(source, key, before, after)),
        }
    }

    /// Each changes its own record only; but whoever breaks may, and whoever adopts from its own name.
    fn may_touch(&self, source: &Source, before: &Mark, after: Option<&Mark>) -> Result<(), Promise> {
        let hold = self.hold(before.token);
        let own = hold.is_some_and(|hold| hold.users.contains(&source.owner));
        let its = own && hold.is_some_and(|hold| hold.nonce == source.nonce);
        let allowed = match source.doing {
            Doing::Breaking => after.is_none(),
            Doing::Asking | Doing::Hearing => false,
            Doing::Renewing => its && after.is_some_and(|after| after.depth > 0 && after.token == before.token),
            Doing::Releasing => {
                let heir = source.heir.map(|(_, nonce)| nonce);
                its && after.is_none_or(|after| after.token == before.token || heir == Some(after.nonce))
            }
            Doing::Acquiring { adopt } => {
                let nested = hold.is_some_and(|hold| hold.granted && hold.fate == Fate::Standing);
                let adopts = adopt && before.owner == source.name && before.depth > 0 && after.is_some();
                own && (before.nonce == source.nonce || nested && after.is_some()) || adopts
            }
        };
        if allowed { Ok(()) } else { Err(Promise::OthersUntouched) }
    }

    fn made(&mut self, source: &Source, key: &str, mark: &Mark) {
        if self.hold(mark.token).is_none() {
            let owner = source.heir.filter(|(_, nonce)| *nonce == mark.nonce).map_or(source.owner, |(heir, _)| heir);
            self.holds.push(Hold {
                token: mark.token,
                key: key.into(),
                owner,
                users: vec![owner],
                writes: 0,
                ended_by: None,
                nonce: mark.nonce,
                fate: Fate::Standing,
                granted: false,
                keep: None,
                release_in_doubt: false,
            });
        }
    }

    fn deleted(&mut self, source: &Source, before: &Mark) -> Effect {
        match source.doing {
            Doing::Breaking => {
                self.end(before.token, Fate::Taken);
                Effect::Broke(before.token)
            }
            Doing::Acquiring { .. } => {
                self.end(before.token, Fate::Withdrawn);
                Effect::None
            }
            // Neither may: it is broken already.
            Doing::Asking | Doing::Hearing => Effect::None,
            Doing::Renewing | Doing::Releasing => {
                self.give_back(before.token, source.owner);
                Effect::None
            }
        }
    }

    fn replaced(&mut self, source: &Source, key: &str, before: &Mark, after: &Mark) -> Effect {
        if before.token != after.token {
            match source.doing {
                Doing::Releasing => self.give_back(before.token, source.owner),
                _ if before.nonce == after.nonce => self.end(before.token, Fate::Withdrawn),
                _ => self.end(before.token, Fate::Taken),
            }
            self.made(source, key, after);
            return Effect::None;
        }
        if !self.stands(after.token) {
            return Effect::None;
        }
        if let Some(hold) = self.hold_mut(after.token) {
            // Whatever others have of it is of no use any more.
            (hold.users, hold.writes) = (vec![source.owner], hold.writes + 1);
        }
        if after.depth == 0 {
            self.give_back(after.token, source.owner);
        }
        Effect::Rewrote
    }
}
