//! An instance of the component with a session open in it.

use std::time::{Duration, SystemTime};

use wasmtime::Store;
use wasmtime::component::ResourceAny;

use super::bindings::Kvlock;
use super::bindings::exports::kvlock::lock::mutex as wit;
use super::bounds::{self, Bounds, HostState};
use super::convert::{At, nanos};
use super::imports::Imports;
use super::linked::{NoInstance, instance_pre, trap};
use super::values::{GrantId, Resource};
use crate::environment::Environment;
use crate::error::{CallError, SessionError};

/// A session that is opened so fast knows what time it is. By that time others estimate when the lock is theirs.
const PUNCTUAL: Duration = Duration::from_micros(30);
/// How often to try to open it so fast.
const TIMES_TO_OPEN: u32 = 5;

/// How to open a session.
pub(crate) struct SessionOptions<'a> {
    pub(crate) owner: &'a str,
    pub(crate) label: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) quarantine: Option<Duration>,
}

pub(crate) struct Guest {
    pub(super) store: Store<HostState>,
    pub(super) exports: Kvlock,
    pub(super) session: ResourceAny,
    has_trapped: bool,
    /// Locks that could not be given back when their grants were.
    pub(super) unreleased: Vec<(String, GrantId)>,
}

impl Guest {
    /// Makes an instance and opens a session in it. Sends nothing.
    pub(crate) fn open(environment: &Environment, options: &SessionOptions<'_>) -> Result<Self, SessionError> {
        let opened = Guest::try_open(environment, options);
        opened.map_err(|error| SessionError::Component(trap(&error)))?.map_err(SessionError::Invalid)
    }

    fn try_open(environment: &Environment, options: &SessionOptions<'_>) -> wasmtime::Result<Result<Self, String>> {
        let pre = instance_pre()?;
        let mut store =
            Store::new(pre.engine(), HostState { imports: Imports::of(environment.clone()), bounds: Bounds::new() });
        bounds::impose(&mut store);
        let exports = pre.instantiate(&mut store).map_err(|error| error.context(NoInstance))?;
        let mut times_left = TIMES_TO_OPEN;
        loop {
            let began = environment.clock.now();
            let session = match exports.kvlock_lock_mutex().session().call_open(&mut store, &options.out())? {
                Ok(session) => session,
                Err(text) => return Ok(Err(text)),
            };
            // The options told what time it was. The first call of an instance takes a while, and any may be interrupted.
            times_left -= 1;
            if environment.clock.now().saturating_sub(began) <= PUNCTUAL || times_left == 0 {
                return Ok(Ok(Guest { store, exports, session, has_trapped: false, unreleased: Vec::new() }));
            }
            session.resource_drop(&mut store)?;
        }
    }

    /// Drops a resource. The resources of an instance that trapped are gone with it.
    pub(crate) fn drop_resource(&mut self, resource: impl Resource) {
        self.drop_any(resource.any());
    }

    fn drop_any(&mut self, resource: ResourceAny) {
        self.has_trapped |= resource.resource_drop(&mut self.store).is_err();
    }

    /// Returns the answer to a call about a key or a name.
    pub(super) fn answer<T: Into<U>, U, W: At<E>, E: CallError>(
        &mut self,
        about: &str,
        answer: wasmtime::Result<Result<T, W>>,
    ) -> Result<U, E> {
        match self.returned(about, answer)? {
            Ok(value) => Ok(value.into()),
            Err(error) => Err(error.at(about)),
        }
    }

    /// Returns what a call returned that tells no error of its own.
    pub(super) fn returned<T, E: CallError>(&mut self, about: &str, returned: wasmtime::Result<T>) -> Result<T, E> {
        returned.map_err(|error| {
            self.has_trapped = true;
            E::component(about, trap(&error))
        })
    }

    /// Opens a session so and closes it again, to find out if its options are legal.
    pub(crate) fn check(&mut self, options: &SessionOptions<'_>) -> Result<(), SessionError> {
        let opened = self.exports.kvlock_lock_mutex().session().call_open(&mut self.store, &options.out());
        let session: ResourceAny = self.answer("", opened)?;
        self.drop_any(session);
        Ok(())
    }

    /// Gives the next call its share of what an instance may take.
    pub(crate) fn begin_call(&mut self) {
        bounds::renew(&mut self.store);
        self.store.data_mut().imports.in_doubt = false;
    }

    /// Tells if the last call left a write behind that may be in the store, or could not take it out.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.store.data().imports.in_doubt
    }

    /// Tells if the store has ever answered it.
    pub(crate) fn has_reached_the_store(&self) -> bool {
        self.store.data().imports.reached
    }

    /// Tells if a call of it trapped: then nobody can enter it any more.
    pub(crate) fn has_trapped(&self) -> bool {
        self.has_trapped
    }
}

impl SessionOptions<'_> {
    fn out(&self) -> wit::SessionOptions {
        wit::SessionOptions {
            owner: self.owner.to_string(),
            label: self.label.to_string(),
            namespace: self.namespace.to_string(),
            quarantine: self.quarantine.map(nanos),
            unix_time: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok().map(nanos),
        }
    }
}
