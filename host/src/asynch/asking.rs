//! Asking for locks, for tasks.

use std::sync::Arc;
use std::time::Duration;

use crate::debug::debug_fields;
use crate::error::StatusError;
use crate::owner::Tasks;
use crate::status::Asked;

use super::same_setters;

/// How to ask for a lock or a permit: see [`crate::asking::AskRequest`].
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> { futures_lite::future::block_on(async {
/// use kvlock::status::Asked;
///
/// let client = kvlock::asynch::Client::connect("memory:")?;
/// let mut held = client.lock("report").acquire().await?;
/// let other = client.session().open().await?;
/// let asked = other.ask("report").wait(std::time::Duration::ZERO).run().await?;
/// assert!(matches!(asked, Asked::Unheard(_)));
/// assert!(held.wanted().await?.is_some());
/// held.release().await?;
/// # Ok(()) }) }
/// ```
#[derive(Clone)]
#[must_use = "nobody is asked until it is run"]
pub struct AskRequest(crate::asking::AskRequest, Arc<Tasks>);

debug_fields!(AskRequest, |it| request = it.0);

impl AskRequest {
    pub(super) fn new(tasks: Arc<Tasks>, request: crate::asking::AskRequest) -> Self {
        AskRequest(request, tasks)
    }

    same_setters! { "asking::AskRequest":
        note(note: impl Into<String>)
        wait(wait: Duration)
    }

    /// Asks, and waits until the holder has heard it or has given the lock back. If the future is dropped, the ask may
    /// be made all the same.
    ///
    /// # Errors
    ///
    /// As [`crate::asking::AskRequest::run`].
    pub async fn run(&self) -> Result<Asked, StatusError> {
        let request = self.0.clone();
        self.1.runner().run(Box::pin(async move { request.carried_out().await })).await
    }
}
