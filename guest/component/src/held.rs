//! What a grant holds: one key or permit, or several keys as one.

use alloc::string::String;
use alloc::vec::Vec;

use kvlock_machine::{
    Discard, DiscardAll, Grant, GrantError, Lease, Release, ReleaseAll, Released, Renew, RenewAll, Session, Time,
    Validity,
};

use crate::driver;

/// The grants of one grant.
#[derive(Clone)]
pub(crate) enum Held {
    One(Grant),
    /// Not empty: the first is that of the key that was named first.
    Several(Grant, Vec<Grant>),
}

impl Held {
    /// Returns what several keys, or one, hold; none for no key.
    pub(crate) fn of(grants: Vec<Grant>) -> Option<Self> {
        let mut rest = grants.into_iter();
        let first = rest.next()?;
        let rest: Vec<Grant> = rest.collect();
        Some(if rest.is_empty() { Held::One(first) } else { Held::Several(first, rest) })
    }

    pub(crate) fn first(&self) -> &Grant {
        let (Held::One(first) | Held::Several(first, _)) = self;
        first
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Grant> {
        let rest: &[Grant] = if let Held::Several(_, rest) = self { rest } else { &[] };
        [self.first()].into_iter().chain(rest)
    }

    fn grants(&self) -> Vec<Grant> {
        self.all().cloned().collect()
    }

    pub(crate) fn depth(&self, session: &Session) -> u32 {
        self.all().map(|grant| session.depth(grant)).min().unwrap_or_default()
    }

    pub(crate) fn validity(&self, session: &Session, now: Time) -> Validity {
        match self {
            Held::One(grant) => session.validity(grant, now),
            Held::Several(..) => session.validity_of_all(&self.grants(), now),
        }
    }

    pub(crate) fn renew(&self, session: &mut Session, lease: Option<Lease>) -> Result<(), GrantError> {
        match self {
            Held::One(grant) => driver::run(Renew::new(grant.clone(), lease), session),
            Held::Several(..) => driver::run(RenewAll::new(&self.grants(), lease), session),
        }
    }

    /// Gives all back. What is left, if the store failed, is to be given back by another call.
    pub(crate) fn release(&self, session: &mut Session) -> Result<Released, (GrantError, Option<Held>)> {
        match self {
            Held::One(grant) => driver::run(Release::new(grant.clone()), session).map_err(|error| (error, None)),
            Held::Several(..) => driver::run(ReleaseAll::new(self.grants()), session).map_err(|unreleased| {
                let is_of_the_store = matches!(unreleased.error, GrantError::Store(_));
                (unreleased.error, Held::of(unreleased.left).filter(|_| is_of_the_store))
            }),
        }
    }

    pub(crate) fn discard(&self, session: &mut Session) {
        match self {
            Held::One(grant) => driver::run(Discard::new(grant.clone()), session),
            Held::Several(..) => driver::run(DiscardAll::new(self.grants()), session),
        }
    }

    pub(crate) fn waive_minimum(&self, session: &mut Session) {
        self.all().for_each(|grant| session.waive_minimum(grant));
    }

    pub(crate) fn write_out(&self, session: &mut Session, now: Time) -> Result<String, GrantError> {
        match self {
            Held::One(grant) => session.write_out(grant, now),
            Held::Several(..) => session.write_out_all(&self.grants(), now),
        }
    }
}
