//! Owners of a thread each.

use std::cell::RefCell;
use std::convert::Infallible;
use std::thread::ThreadId;

use thread_local::ThreadLocal;

use crate::error::SessionError;
use crate::session::{Session, SessionBuilder};

/// A session for each thread that asks for one; another if its component failed.
pub(crate) struct Sessions {
    builder: SessionBuilder,
    /// A place that its thread left is given to a new thread, with what is in it.
    of_threads: ThreadLocal<RefCell<Option<OfThread>>>,
}

struct OfThread {
    thread: ThreadId,
    session: Session,
}

impl Sessions {
    pub(crate) fn new(builder: SessionBuilder) -> Self {
        Sessions { builder, of_threads: ThreadLocal::new() }
    }

    /// Returns the session of the calling thread, and opens it if there is none.
    pub(crate) fn of_this_thread(&self) -> Result<Session, SessionError> {
        self.get(SessionBuilder::open)
    }

    /// Returns the same where the options are the defaults, which are legal.
    pub(crate) fn of_defaults(&self) -> Session {
        let Ok(session) = self.get(|builder| Ok::<_, Infallible>(builder.open_unchecked()));
        session
    }

    fn get<E>(&self, open: impl FnOnce(SessionBuilder) -> Result<Session, E>) -> Result<Session, E> {
        let thread = std::thread::current().id();
        let mut place = self.of_threads.get_or_default().borrow_mut();
        if let Some(known) = &*place
            && known.thread == thread
            && known.session.owner.is_usable()
        {
            return Ok(known.session.clone());
        }
        let session = open(self.builder.clone())?;
        *place = Some(OfThread { thread, session: session.clone() });
        Ok(session)
    }
}
