//! An instance of the component with a session open in it.

use std::time::Duration;

use wasmtime::component::ResourceAny;

use crate::component::Instance;
use crate::component::bindings::exports::kvlock::lock::mutex as wit;
use crate::environment::Environment;

/// A session that is opened so fast knows what time it is. By that time others estimate when the lock is theirs.
const PUNCTUAL: Duration = Duration::from_micros(30);
/// How often to try to open it so fast.
const TIMES_TO_OPEN: u32 = 5;

pub(crate) struct Guest {
    pub(crate) instance: Instance,
    pub(crate) session: ResourceAny,
    unreleased: Vec<Unreleased>,
}

/// A lock that could not be given back when its grant was.
struct Unreleased {
    key: String,
    grant: ResourceAny,
}

impl Guest {
    /// Makes an instance and opens a session in it; the text tells which option is not legal.
    pub(super) fn open(
        environment: &Environment,
        options: impl Fn() -> wit::SessionOptions,
    ) -> wasmtime::Result<Result<Self, String>> {
        let mut instance = Instance::new(environment)?;
        let mut times_left = TIMES_TO_OPEN;
        loop {
            let began = environment.clock.now();
            let resource = instance.exports.kvlock_lock_mutex().session();
            let session = match resource.call_open(&mut instance.store, &options())? {
                Ok(session) => session,
                Err(text) => return Ok(Err(text)),
            };
            // The options told what time it was. The first call of an instance takes a while, and any may be interrupted.
            times_left -= 1;
            if environment.clock.now().saturating_sub(began) <= PUNCTUAL || times_left == 0 {
                return Ok(Ok(Guest { instance, session, unreleased: Vec::new() }));
            }
            session.resource_drop(&mut instance.store)?;
        }
    }

    /// Remembers a lock that could not be given back, because the store failed.
    pub(crate) fn leave_unreleased(&mut self, key: String, grant: ResourceAny) {
        self.unreleased.push(Unreleased { key, grant });
    }

    /// See [`super::Owner::release_again`]; tells how many are settled by now.
    pub(super) fn release_again(&mut self, key: &str) -> wasmtime::Result<usize> {
        let mut done = 0;
        if self.unreleased.is_empty() {
            return Ok(done);
        }
        let of_key = |unreleased: &Unreleased| unreleased.key == key;
        let (again, others): (Vec<_>, _) = std::mem::take(&mut self.unreleased).into_iter().partition(of_key);
        self.unreleased = others;
        for unreleased in again {
            let exports = self.instance.exports.kvlock_lock_mutex().grant();
            match exports.call_release(&mut self.instance.store, unreleased.grant)? {
                Err(wit::GrantError::Store(_)) => self.unreleased.push(unreleased),
                Ok(_) | Err(_) => {
                    unreleased.grant.resource_drop(&mut self.instance.store)?;
                    done += 1;
                }
            }
        }
        Ok(done)
    }
}
