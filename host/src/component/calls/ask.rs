//! Calls about asking for a lock, and being asked.

use crate::component::bindings::exports::kvlock::lock::mutex as wit;
use crate::component::guest::{Guest, call};
use crate::component::values::{AskId, AskPlace, GrantId, Placed};
use crate::error::{GrantError, StatusError};
use crate::status::{Ask, Asked};

impl Guest {
    /// Asks the holder of a lock or a permit.
    pub(crate) async fn ask(&mut self, place: &AskPlace, note: Option<&str>) -> Result<Placed, StatusError> {
        let asked = match place {
            AskPlace::Lock(key) => {
                let exports = self.exports.kvlock_lock_mutex().session();
                call(&mut self.store, exports.func_ask(), (self.session, &**key, note)).await
            }
            AskPlace::Permit(name, permit) => {
                let exports = self.exports.kvlock_lock_semaphore();
                call(&mut self.store, exports.func_ask_permit(), (self.session, &**name, *permit, note)).await
            }
        };
        self.answer(place.name(), asked)
    }

    /// Tells what became of an ask.
    pub(crate) async fn look_after(&mut self, about: &str, ask: AskId) -> Result<Asked, StatusError> {
        let looked = call(&mut self.store, self.exports.kvlock_lock_mutex().asking().func_look(), (ask.0,)).await;
        let state: wit::AskState = self.answer(about, looked)?;
        Ok(state.into())
    }

    /// Tells who asks for a grant.
    pub(crate) async fn wanted(&mut self, key: &str, grant: GrantId) -> Result<Option<Ask>, GrantError> {
        let wanted = call(&mut self.store, self.exports.kvlock_lock_mutex().grant().func_wanted(), (grant.0,)).await;
        let wanted: Option<wit::Ask> = self.answer(key, wanted)?;
        Ok(wanted.map(Ask::from))
    }
}
