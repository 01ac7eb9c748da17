//! Owners of a thread each.

use std::cell::RefCell;
use std::thread::ThreadId;

use thread_local::ThreadLocal;

use crate::error::SessionError;
use crate::session::{Session, SessionBuilder};

/// A session for each thread that asks for one.
pub(super) struct Sessions {
    builder: SessionBuilder,
    /// A place that its thread left is given to a new thread, with what is in it.
    of_threads: ThreadLocal<RefCell<Option<OfThread>>>,
}

struct OfThread {
    thread: ThreadId,
    session: Session,
}

impl Sessions {
    pub(super) fn new(builder: SessionBuilder) -> Self {
        Sessions { builder, of_threads: ThreadLocal::new() }
    }

    pub(super) fn of_this_thread(&self) -> Result<Session, SessionError> {
        let thread = std::thread::current().id();
        let mut place = self.of_threads.get_or_default().borrow_mut();
        if let Some(known) = &*place
            && known.thread == thread
            && known.session.owner.is_own_process()
        {
            return Ok(known.session.clone());
        }
        let session = self.builder.clone().open()?;
        *place = Some(OfThread { thread, session: session.clone() });
        Ok(session)
    }

    pub(super) fn forget_this_thread(&self) {
        self.of_threads.get_or_default().take();
    }
}
