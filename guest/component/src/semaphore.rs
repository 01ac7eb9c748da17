//! The exported interface `semaphore`.

use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::ops::ControlFlow;
use core::time::Duration;

use kvlock_machine::{AcquirePermit, AskFor, Break, Invalid, Key, Lease, List, LockOptions, Resize, Size, Ttl};

use crate::acquiring::Acquiring;
use crate::bindings::exports::kvlock::lock::mutex::{Acquisition, Asked, Broken, SessionBorrow};
use crate::bindings::exports::kvlock::lock::semaphore as wit;
use crate::convert;
use crate::driver::{self, Polled};
use crate::mutex::{self, Component, Session, Shared};

/// The resource `resizing`.
pub(crate) struct Resizing {
    session: Shared,
    polled: RefCell<Polled<Resize>>,
}

impl wit::Guest for Component {
    type Resizing = Resizing;

    fn make(
        session: SessionBorrow<'_>,
        name: String,
        permits: u32,
        options: wit::ResizeOptions,
    ) -> Result<wit::Resizing, String> {
        resize(session, &name, Size::of(permits), options).map_err(convert::invalid)
    }

    fn destroy(session: SessionBorrow<'_>, name: String, options: wit::ResizeOptions) -> Result<wit::Resizing, String> {
        resize(session, &name, Ok(Size::NONE), options).map_err(convert::invalid)
    }

    fn acquire(session: SessionBorrow<'_>, name: String, options: wit::PermitOptions) -> Result<Acquisition, String> {
        let session = session.get::<Session>().shared();
        let acquire = permit(&session, &name, options).map_err(convert::invalid)?;
        Ok(mutex::Acquisition::resource(&session, Polled::Fresh(Acquiring::Permit(acquire))))
    }

    fn status(session: SessionBorrow<'_>, name: String) -> Result<Option<wit::SemaphoreStatus>, wit::KeyError> {
        let name = Key::semaphore(&name).map_err(convert::invalid_key)?;
        Ok(list(session, List::one(name))?.pop())
    }

    fn list(session: SessionBorrow<'_>) -> Result<Vec<wit::SemaphoreStatus>, wit::KeyError> {
        list(session, List::all())
    }

    fn ask_permit(
        session: SessionBorrow<'_>,
        name: String,
        permit: u32,
        note: Option<String>,
    ) -> Result<Asked, wit::KeyError> {
        let name = Key::semaphore(&name).map_err(convert::invalid_key)?;
        let session = session.get::<Session>().shared();
        let (note, nonce) = (convert::note(note)?, session.nonce(driver::now()));
        let machine = AskFor::permit(&session.borrow(), &name, permit, note, nonce);
        mutex::ask(&session, machine)
    }

    fn break_permit(
        session: SessionBorrow<'_>,
        name: String,
        permit: u32,
        if_token: Option<u64>,
    ) -> Result<Broken, wit::KeyError> {
        let name = Key::semaphore(&name).map_err(convert::invalid_key)?;
        let session = session.get::<Session>().shared();
        let mut session = session.borrow_mut();
        let machine = Break::permit(&session, &name, permit).if_token(if_token);
        driver::run(machine, &mut session).map(convert::broken).map_err(convert::key_error)
    }
}

fn list(session: SessionBorrow<'_>, list: List) -> Result<Vec<wit::SemaphoreStatus>, wit::KeyError> {
    let listed = driver::run(list, &mut session.get::<Session>().shared().borrow_mut()).map_err(convert::key_error)?;
    Ok(listed.into_iter().map(convert::semaphore_status).collect())
}

fn resize(
    session: SessionBorrow<'_>,
    name: &str,
    size: Result<Size, Invalid>,
    options: wit::ResizeOptions,
) -> Result<wit::Resizing, Invalid> {
    let name = Key::semaphore(name)?;
    // A size has no lease.
    let options = lock_options(Lease::new(Ttl::Forever)?, options.wait, options.interval)?;
    let session = session.get::<Session>().shared();
    let resize = Resize::new(name, size?, &options, session.nonce(driver::now()));
    Ok(wit::Resizing::new(Resizing { session, polled: RefCell::new(Polled::Fresh(resize)) }))
}

fn permit(session: &Shared, name: &str, options: wit::PermitOptions) -> Result<AcquirePermit, Invalid> {
    let lease = Lease::new(convert::ttl_in(options.lease))?;
    let wit::PermitOptions { wait, interval, note, .. } = options;
    let options = lock_options(lease, wait, interval)?.note(note.as_deref())?;
    Ok(AcquirePermit::new(Key::semaphore(name)?, options, session.nonce(driver::now())))
}

fn lock_options(lease: Lease, wait: Option<u64>, interval: u64) -> Result<LockOptions, Invalid> {
    LockOptions::new(lease).wait(wait.map(Duration::from_nanos))?.interval(Duration::from_nanos(interval))
}

impl Resizing {
    /// Drives the machine until its outcome or its next pause.
    fn advance(&self) -> ControlFlow<Result<Option<u32>, wit::ResizeError>, wit::ResizePending> {
        let Some((mut resize, event)) = self.polled.borrow_mut().take() else {
            return ControlFlow::Break(Err(wit::ResizeError::Ended));
        };
        match driver::advance(&mut resize, &mut self.session.borrow_mut(), driver::now(), event) {
            ControlFlow::Break(outcome) => ControlFlow::Break(outcome.map_err(convert::resize_error)),
            ControlFlow::Continue(pause) => {
                let status = convert::semaphore_status(resize.status().clone());
                let outage = resize.outage().cloned().map(convert::store_error_out);
                self.polled.replace(Polled::Waiting(resize));
                ControlFlow::Continue(wit::ResizePending { pause: kvlock_machine::nanos(pause), status, outage })
            }
        }
    }
}

impl wit::GuestResizing for Resizing {
    fn poll(&self) -> wit::ResizeProgress {
        match self.advance() {
            ControlFlow::Continue(pending) => wit::ResizeProgress::Pending(pending),
            ControlFlow::Break(Ok(before)) => wit::ResizeProgress::Done(before),
            ControlFlow::Break(Err(error)) => wit::ResizeProgress::Failed(error),
        }
    }

    fn block(&self) -> Result<Option<u32>, wit::ResizeError> {
        driver::block(|| self.advance(), |pending| pending.pause)
    }
}
