//! An instance of the component with a session open in it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use wasmtime::Store;
use wasmtime::component::{ComponentNamedList, Lift, Lower, ResourceAny, TypedFunc};

use super::bindings::Kvlock;
use super::bindings::exports::kvlock::lock::mutex as wit;
use super::bounds::{self, Bounds, HostState};
use super::convert::{At, nanos};
use super::imports::Imports;
use super::linked::{NoInstance, instance_pre, trap};
use super::values::{GrantId, Resource};
use crate::environment::{Callers, Environment};
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
    pub(super) unreleased: Vec<(Vec<Arc<str>>, GrantId)>,
}

impl Guest {
    /// Makes an instance and opens a session in it. Sends nothing.
    pub(crate) async fn open(environment: &Environment, options: &SessionOptions<'_>) -> Result<Self, SessionError> {
        let opened = Guest::try_open(environment, options).await;
        opened.map_err(|error| SessionError::Component(trap(&error)))?.map_err(SessionError::Invalid)
    }

    async fn try_open(
        environment: &Environment,
        options: &SessionOptions<'_>,
    ) -> wasmtime::Result<Result<Self, String>> {
        let pre = instance_pre(environment.callers())?;
        let mut store =
            Store::new(pre.engine(), HostState { imports: Imports::of(environment.clone()), bounds: Bounds::new() });
        bounds::impose(&mut store);
        let exports = match environment.callers() {
            Callers::Threads => pre.instantiate(&mut store),
            Callers::Tasks => pre.instantiate_async(&mut store).await,
        };
        let exports = exports.map_err(|error| error.context(NoInstance))?;
        let mut times_left = TIMES_TO_OPEN;
        loop {
            let began = environment.clock.now();
            let session =
                match call(&mut store, exports.kvlock_lock_mutex().session().func_open(), (&options.out(),)).await? {
                    Ok(session) => session,
                    Err(text) => return Ok(Err(text)),
                };
            // The options told what time it was. The first call of an instance takes a while, and any may be interrupted.
            times_left -= 1;
            if environment.clock.now().saturating_sub(began) <= PUNCTUAL || times_left == 0 {
                return Ok(Ok(Guest { store, exports, session, has_trapped: false, unreleased: Vec::new() }));
            }
            drop_any(&mut store, session).await?;
        }
    }

    /// Drops a resource. The resources of an instance that trapped are gone with it.
    pub(crate) async fn drop_resource(&mut self, resource: impl Resource) {
        self.drop_any(resource.any()).await;
    }

    async fn drop_any(&mut self, resource: ResourceAny) {
        self.has_trapped |= drop_any(&mut self.store, resource).await.is_err();
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
    pub(crate) async fn check(&mut self, options: &SessionOptions<'_>) -> Result<(), SessionError> {
        let opened =
            call(&mut self.store, self.exports.kvlock_lock_mutex().session().func_open(), (&options.out(),)).await;
        let session: ResourceAny = self.answer("", opened)?;
        self.drop_any(session).await;
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

    /// Notes that a call of it did not come to an end.
    pub(crate) fn abandon(&mut self) {
        self.has_trapped = true;
    }

    /// Tells if it has nothing left behind that another owner would find.
    pub(crate) fn is_clean(&self) -> bool {
        !self.has_trapped && self.unreleased.is_empty()
    }
}

/// Calls a function of an instance. A task awaits what its imports await; a thread blocks in them.
pub(super) async fn call<P, R>(
    store: &mut Store<HostState>,
    function: TypedFunc<P, R>,
    params: P,
) -> wasmtime::Result<R::Value>
where
    P: ComponentNamedList + Lower,
    R: ComponentNamedList + Lift + Returned + 'static,
{
    let returned = match store.data().imports.callers() {
        Callers::Threads => function.call(store, params),
        // In a box: what waits elsewhere is the smaller for it.
        Callers::Tasks => Box::pin(function.call_async(store, params)).await,
    };
    returned.map(R::value)
}

/// What a function returns, as wasmtime has it: a tuple of at most one.
pub(super) trait Returned {
    type Value;

    fn value(self) -> Self::Value;
}

impl Returned for () {
    type Value = ();

    fn value(self) {}
}

impl<T> Returned for (T,) {
    type Value = T;

    fn value(self) -> T {
        self.0
    }
}

async fn drop_any(store: &mut Store<HostState>, resource: ResourceAny) -> wasmtime::Result<()> {
    match store.data().imports.callers() {
        Callers::Threads => resource.resource_drop(store),
        Callers::Tasks => Box::pin(resource.resource_drop_async(store)).await,
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
