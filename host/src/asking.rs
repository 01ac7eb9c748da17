//! Asking a holder to give its lock or permit back: a polite break.
//!
//! ```
//! use std::time::Duration;
//! use kvlock::status::Asked;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let client = kvlock::Client::connect("memory:")?;
//! let mut held = client.lock("report").acquire()?;
//!
//! let other = client.session().open()?;
//! let asked = other.ask("report").note("the release waits").wait(Duration::ZERO).run()?;
//! assert!(matches!(asked, Asked::Unheard(_))); // it has just been asked
//!
//! let ask = held.wanted()?.expect("somebody asks"); // a guard does this after each renewal
//! assert_eq!(ask.note.as_deref(), Some("the release waits"));
//! held.release()?;
//! assert_eq!(other.ask("report").run()?, Asked::Free);
//! # Ok(())
//! # }
//! ```
//!
//! The holder learns it at its next renewal, which is due after a third of its lease: see
//! [`LockGuard::wanted`](crate::LockGuard::wanted) and [`AutoRenew::on_wanted`](crate::renewal::AutoRenew::on_wanted). It
//! need not do anything. Asking never costs a holder its lock, and never frees one.

use std::sync::Arc;
use std::time::Duration;

use crate::component::{AskId, AskPlace, Placed};
use crate::debug::debug_fields;
use crate::environment::Callers;
use crate::error::StatusError;
use crate::now::now;
use crate::owner::Owner;
use crate::status::Asked;

/// How long to wait for a holder to hear, when nobody says otherwise: with the usual lease it looks every ten seconds.
pub const DEFAULT_WAIT: Duration = Duration::from_secs(30);
/// The first and the longest pause between two looks.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));

/// How to ask for a lock or a permit. Each option has a default that serves.
#[derive(Clone)]
#[must_use = "nobody is asked until it is run"]
pub struct AskRequest {
    owner: Owner,
    place: AskPlace,
    note: Option<Arc<str>>,
    wait: Duration,
}

/// An ask that was made, for callers that look for themselves. Dropping it leaves the ask in the store, where it ends
/// after a lease of the holder's, and a minute at least.
#[must_use = "it tells what became of the ask"]
pub struct Asking {
    owner: Owner,
    place: AskPlace,
    state: Asked,
    /// None if nobody is asked.
    id: Option<AskId>,
}

debug_fields!(AskRequest, |it| about = it.place.name(), wait = it.wait);
debug_fields!(Asking, |it| about = it.place.name(), state = it.state);

impl AskRequest {
    pub(crate) fn new(owner: Owner, place: AskPlace) -> Self {
        AskRequest { owner, place, note: None, wait: DEFAULT_WAIT }
    }

    /// Sets why it is asked for: one line of 1 to 255 bytes without control characters.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into().into());
        self
    }

    /// Sets how long to wait for the holder to hear, or to give the lock back: 30 s unless set. Zero only asks.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// Asks, and waits until the holder has heard it or has given the lock back.
    ///
    /// # Errors
    ///
    /// [`StatusError`] if nobody could be asked, or the store does not answer at the end of the wait.
    pub fn run(&self) -> Result<Asked, StatusError> {
        now(self.carried_out())
    }

    /// Asks, and does not wait.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub fn begin(&self) -> Result<Asking, StatusError> {
        now(self.begun())
    }

    async fn begun(&self) -> Result<Asking, StatusError> {
        let (owner, place) = (self.owner.here().clone(), self.place.clone());
        let note = self.note.as_deref();
        let Placed { state, id } = owner.enter::<StatusError>(place.name()).await?.ask(&place, note).await?;
        if let Asked::Unheard(holder) = &state {
            tracing::info!(key = place.name(), token = holder.token, "asked for; it is {}", holder.who());
        }
        Ok(Asking { owner, place, state, id })
    }

    /// Does what [`run`](Self::run) does.
    pub(crate) async fn carried_out(&self) -> Result<Asked, StatusError> {
        let mut asking = self.begun().await?;
        let clock = asking.owner.clock().clone();
        let (begun, (mut pause, longest)) = (clock.now(), PAUSES);
        loop {
            let left = self.wait.saturating_sub(clock.now().saturating_sub(begun));
            if asking.is_over() || left.is_zero() {
                return Ok(asking.state.clone());
            }
            match asking.owner.callers() {
                Callers::Threads => clock.sleep(pause.min(left)),
                Callers::Tasks => clock.sleep_async(pause.min(left)).await,
            }
            pause = (pause * 2).min(longest);
            match asking.looked().await {
                // An outage may end before the wait does.
                Err(error) if error.kind().is_outage() && pause < left => {}
                Err(error) => return Err(error),
                Ok(()) => {}
            }
        }
    }
}

impl Asking {
    /// Returns what was found last.
    pub fn state(&self) -> &Asked {
        &self.state
    }

    /// Returns true if there is nothing more to wait for: nobody is asked, or it was heard.
    pub fn is_over(&self) -> bool {
        !matches!(self.state, Asked::Unheard(_))
    }

    /// Looks at what became of it, by one call of the store.
    ///
    /// # Errors
    ///
    /// [`StatusError`] if the store does not answer; it can be asked again.
    pub fn look(&mut self) -> Result<&Asked, StatusError> {
        now(self.looked())?;
        Ok(&self.state)
    }

    async fn looked(&mut self) -> Result<(), StatusError> {
        let Some(id) = self.id else { return Ok(()) };
        let name = self.place.name();
        self.state = self.owner.enter::<StatusError>(name).await?.look_after(name, id).await?;
        Ok(())
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        if let Some(id) = self.id
            && self.owner.is_own_process()
        {
            self.owner.discard(id);
        }
    }
}
