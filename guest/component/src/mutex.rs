//! The exported interface `mutex`.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::{Cell, Ref, RefCell, RefMut};
use core::ops::ControlFlow;

use kvlock_machine::{
    Acquire, AcquireAll, AcquireShared, AskFor, Break, Claim, Discard, Downgrade, Event, FollowAsk, HandedOver, Hear,
    Inspect, Key, Lease, Nonce, Nonces, PlacedAsk, Release, Status, Time,
};

use crate::acquiring::Acquiring;
use crate::bindings::exports::kvlock::lock::mutex as wit;
use crate::convert;
use crate::driver::{self, Polled};
use crate::held::Held;

/// The component's exports.
pub(crate) struct Component;

impl wit::Guest for Component {
    type Session = Session;
    type Acquisition = Acquisition;
    type Grant = Grant;
    type Asking = Asking;
}

/// A session of the machines, and the source of its nonces.
#[derive(Clone)]
pub(crate) struct Shared(Rc<State>);

struct State {
    session: RefCell<kvlock_machine::Session>,
    /// None until the first is drawn: a session that only reads needs no random numbers.
    nonces: RefCell<Option<Nonces>>,
}

/// Two borrows never meet: an instance cannot be entered while a call of it runs.
impl Shared {
    fn new(session: kvlock_machine::Session) -> Self {
        Shared(Rc::new(State { session: RefCell::new(session), nonces: RefCell::new(None) }))
    }

    pub(crate) fn borrow(&self) -> Ref<'_, kvlock_machine::Session> {
        self.0.session.borrow()
    }

    pub(crate) fn borrow_mut(&self) -> RefMut<'_, kvlock_machine::Session> {
        self.0.session.borrow_mut()
    }

    /// Draws a nonce: no other acquisition has the same.
    pub(crate) fn nonce(&self, now: Time) -> Nonce {
        self.0.nonces.borrow_mut().get_or_insert_with(driver::nonces).draw(now)
    }
}

/// The resource `session`.
pub(crate) struct Session(Shared);

/// The resource `acquisition`.
pub(crate) struct Acquisition {
    session: Shared,
    polled: RefCell<Polled<Acquiring>>,
    /// The key that it waits for, or at which it has ended.
    key: RefCell<String>,
    /// A hand-over that the machine has not seen.
    handed: Cell<Option<HandedOver>>,
    /// How often the lock was freed, as the store says, since the machine was told.
    freed: Cell<u32>,
}

/// The resource `asking`.
pub(crate) struct Asking {
    session: Shared,
    ask: PlacedAsk,
}

/// The resource `grant`.
pub(crate) struct Grant {
    session: Shared,
    held: RefCell<Held>,
    whose: Whose,
    released: Cell<bool>,
}

/// Who gives back a grant that is dropped.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    /// The drop itself.
    Own,
    /// The conflict retry that the grant is of.
    Retry,
}

/// Drives the machine until its outcome or its next pause.
fn advance(acquiring: &mut Acquiring, session: &Shared, now: Time, event: Event) -> Advanced {
    match driver::advance(acquiring, &mut session.borrow_mut(), now, event) {
        ControlFlow::Break(Ok(held)) => ControlFlow::Break(Ok(Grant::granted(session, held, Whose::Own))),
        ControlFlow::Break(Err(error)) => ControlFlow::Break(Err(convert::acquire_error(error))),
        ControlFlow::Continue(pause) => {
            let waiting_for = convert::waiting_for(acquiring.waiting_for().clone());
            ControlFlow::Continue(wit::Pending { pause: kvlock_machine::nanos(pause), waiting_for })
        }
    }
}

impl Session {
    pub(crate) fn shared(&self) -> Shared {
        self.0.clone()
    }

    fn acquire(&self, key: &str, options: wit::LockOptions, now: Time) -> Result<Acquiring, wit::AcquireError> {
        let invalid = |invalid: kvlock_machine::Invalid| wit::AcquireError::Invalid(invalid.to_string());
        let is_shared = options.mode == wit::Mode::Shared;
        let (session, options) = (self.0.borrow(), convert::lock_options(options).map_err(invalid)?);
        let (key, nonce) = (session.key(key).map_err(invalid)?, self.0.nonce(now));
        if is_shared {
            let acquire = AcquireShared::new(&session, key, options, nonce).map_err(invalid)?;
            return Ok(Acquiring::Shared(Box::new(acquire)));
        }
        Ok(Acquiring::Lock(Acquire::new(&session, key, options, nonce)))
    }
}

impl wit::GuestSession for Session {
    fn open(options: wit::SessionOptions) -> Result<wit::Session, String> {
        let options = convert::session_options(options).map_err(convert::invalid)?;
        let session = kvlock_machine::Session::open(options, driver::now()).map_err(convert::invalid)?;
        Ok(wit::Session::new(Session(Shared::new(session))))
    }

    fn lock(&self, key: String, options: wit::LockOptions) -> Result<wit::Acquisition, wit::AcquireError> {
        Ok(Acquisition::resource(&self.0, Polled::Fresh(self.acquire(&key, options, driver::now())?)))
    }

    fn lock_all(&self, keys: Vec<String>, options: wit::LockOptions) -> Result<wit::Acquisition, wit::AcquireError> {
        let invalid = |invalid: kvlock_machine::Invalid| wit::AcquireError::Invalid(invalid.to_string());
        let (session, options) = (self.0.borrow(), convert::lock_options(options).map_err(invalid)?);
        let keys = keys.iter().map(|key| session.key(key)).collect::<Result<Vec<_>, _>>().map_err(invalid)?;
        let acquire = AcquireAll::new(&session, &keys, options, self.0.nonce(driver::now())).map_err(invalid)?;
        Ok(Acquisition::resource(&self.0, Polled::Fresh(Acquiring::Several(Box::new(acquire)))))
    }

    fn try_lock(&self, key: String, options: wit::LockOptions) -> Result<wit::Tried, wit::AcquireError> {
        let now = driver::now();
        let mut acquiring = self.acquire(&key, options, now)?;
        match advance(&mut acquiring, &self.0, now, Event::Start) {
            ControlFlow::Break(granted) => granted.map(wit::Tried::Granted),
            ControlFlow::Continue(pending) => {
                let acquisition = Acquisition::resource(&self.0, Polled::Waiting(acquiring));
                Ok(wit::Tried::Waiting(wit::Waiting { acquisition, pending }))
            }
        }
    }

    fn resume(&self, written: String) -> Result<wit::Grant, String> {
        let now = driver::now();
        let grants = self.0.borrow_mut().resume_all(&written, || self.0.nonce(now), now).map_err(convert::invalid)?;
        let held = Held::of(grants).ok_or_else(|| "not a written grant: it is empty".to_string())?;
        Ok(Grant::resource(&self.0, held, Whose::Own))
    }

    fn status(&self, keys: Vec<String>) -> Result<Vec<wit::KeyStatus>, wit::KeyError> {
        let keys = keys.iter().map(|key| Key::new(key)).collect::<Result<_, _>>().map_err(convert::invalid_key)?;
        let statuses = driver::run(Status::new(keys), &mut self.0.borrow_mut()).map_err(convert::key_error)?;
        Ok(statuses.into_iter().map(convert::key_status).collect())
    }

    fn inspect(&self, store_keys: Vec<String>) -> Result<Vec<Option<wit::Standing>>, wit::KeyError> {
        let mut session = self.0.borrow_mut();
        let machine = Inspect::new(&session, &store_keys);
        let found = driver::run(machine, &mut session).map_err(convert::key_error)?;
        Ok(found.into_iter().map(|standing| standing.map(convert::standing)).collect())
    }

    fn ask(&self, key: String, note: Option<String>) -> Result<wit::Asked, wit::KeyError> {
        let key = Key::new(&key).map_err(convert::invalid_key)?;
        let (note, nonce) = (convert::note(note)?, self.0.nonce(driver::now()));
        let machine = AskFor::lock(&self.0.borrow(), &key, note, nonce);
        ask(&self.0, machine)
    }

    fn break_(&self, key: String, if_token: Option<u64>) -> Result<wit::Broken, wit::KeyError> {
        let key = Key::new(&key).map_err(convert::invalid_key)?;
        let mut session = self.0.borrow_mut();
        let machine = Break::new(&session, &key).if_token(if_token);
        driver::run(machine, &mut session).map(convert::broken).map_err(convert::key_error)
    }
}

/// Asks for a lock or a permit.
pub(crate) fn ask(session: &Shared, machine: AskFor) -> Result<wit::Asked, wit::KeyError> {
    let asked = driver::run(machine, &mut session.borrow_mut()).map_err(convert::key_error)?;
    Ok(match asked {
        kvlock_machine::Asked::Free => wit::Asked::Free,
        kvlock_machine::Asked::Reserved(holder) => wit::Asked::Reserved(convert::holder(holder)),
        kvlock_machine::Asked::Kept(holder) => wit::Asked::Kept(convert::holder(holder)),
        kvlock_machine::Asked::Placed(ask, holder) => {
            let asking = wit::Asking::new(Asking { session: session.clone(), ask: *ask });
            wit::Asked::Placed(wit::PlacedAsk { asking, holder: convert::holder(holder) })
        }
    })
}

impl wit::GuestAsking for Asking {
    fn look(&self) -> Result<wit::AskState, wit::KeyError> {
        let machine = FollowAsk::new(self.ask.clone());
        driver::run(machine, &mut self.session.borrow_mut()).map(convert::ask_state).map_err(convert::key_error)
    }
}

impl Acquisition {
    pub(crate) fn resource(session: &Shared, polled: Polled<Acquiring>) -> wit::Acquisition {
        let (session, polled) = (session.clone(), RefCell::new(polled));
        let (key, handed, freed) = (RefCell::default(), Cell::new(None), Cell::new(0));
        wit::Acquisition::new(Acquisition { session, polled, key, handed, freed })
    }

    fn advance(&self) -> Advanced {
        let Some((mut acquiring, event)) = self.polled.borrow_mut().take() else {
            let error = wit::AcquireError::Invalid("this acquisition has ended; begin another".to_string());
            return ControlFlow::Break(Err(error));
        };
        let event = match (self.handed.take(), self.freed.take(), &acquiring, event) {
            (Some(handed), _, Acquiring::Lock(_), _) => Event::HandedOver(handed),
            (None, times @ 1.., Acquiring::Lock(_) | Acquiring::Shared(_) | Acquiring::Several(_), Event::Woken) => {
                Event::Freed(times)
            }
            (_, _, _, event) => event,
        };
        let advanced = advance(&mut acquiring, &self.session, driver::now(), event);
        if advanced.is_continue() {
            self.polled.replace(Polled::Waiting(acquiring));
        } else if let ControlFlow::Break(Err(_)) = &advanced {
            self.key.replace(acquiring.key().to_string());
        }
        advanced
    }
}

impl Drop for Acquisition {
    /// Gives back a lock that was handed over, and leaves the queue. A drop reports no failure.
    fn drop(&mut self) {
        let session = &mut self.session.borrow_mut();
        let leave = match self.polled.get_mut().get_mut() {
            Some(Acquiring::Lock(acquire)) => {
                if let Some(handed) = self.handed.take()
                    && let ControlFlow::Break(Ok(grant)) =
                        driver::advance(acquire, session, driver::now(), Event::HandedOver(handed))
                {
                    driver::run(Discard::new(grant), session);
                }
                acquire.leave()
            }
            Some(Acquiring::Shared(acquire)) => acquire.leave(),
            Some(Acquiring::Several(acquire)) => {
                let abandon = acquire.abandon(session);
                driver::run(abandon, session);
                None
            }
            Some(Acquiring::Permit(_)) | None => None,
        };
        if let Some(leave) = leave {
            driver::run(leave, session);
        }
    }
}

impl wit::GuestAcquisition for Acquisition {
    fn poll(&self) -> wit::Progress {
        progress(self.advance())
    }

    fn block(&self) -> Result<wit::Grant, wit::AcquireError> {
        block(|| self.advance())
    }

    fn key(&self) -> String {
        match self.polled.borrow_mut().get_mut() {
            Some(acquiring) => acquiring.key().to_string(),
            None => self.key.borrow().clone(),
        }
    }

    fn claim(&self) -> Option<wit::Claim> {
        let mut polled = self.polled.borrow_mut();
        let Some(Acquiring::Lock(acquire)) = polled.get_mut() else { return None };
        acquire.claim(&self.session.borrow(), driver::now()).map(convert::claim_out)
    }

    fn watched_key(&self) -> Option<String> {
        match self.polled.borrow_mut().get_mut() {
            Some(Acquiring::Lock(acquire)) => Some(acquire.store_key().to_string()),
            Some(Acquiring::Shared(acquire)) => Some(acquire.store_key().to_string()),
            Some(Acquiring::Several(acquire)) => acquire.store_key().map(|key| key.to_string()),
            Some(Acquiring::Permit(_)) | None => None,
        }
    }

    fn freed(&self) {
        self.freed.set(self.freed.get().saturating_add(1));
    }

    fn take(&self, handed: wit::HandedOver) {
        self.handed.set(Some(convert::handed_in(handed)));
    }
}

/// The state of a wait: its next pause, or its outcome.
pub(crate) type Advanced = ControlFlow<Result<wit::Granted, wit::AcquireError>, wit::Pending>;

pub(crate) fn progress(advanced: Advanced) -> wit::Progress {
    match advanced {
        ControlFlow::Continue(pending) => wit::Progress::Pending(pending),
        ControlFlow::Break(Ok(granted)) => wit::Progress::Granted(granted),
        ControlFlow::Break(Err(error)) => wit::Progress::Failed(error),
    }
}

pub(crate) fn block(advance: impl FnMut() -> Advanced) -> Result<wit::Grant, wit::AcquireError> {
    driver::block(advance, |pending| pending.pause).map(|granted| granted.grant)
}

impl Grant {
    pub(crate) fn granted(session: &Shared, held: Held, whose: Whose) -> wit::Granted {
        let (token, permit) = (held.first().token(), held.first().permit());
        wit::Granted { grant: Grant::resource(session, held, whose), token, permit }
    }

    fn resource(session: &Shared, held: Held, whose: Whose) -> wit::Grant {
        let (session, held) = (session.clone(), RefCell::new(held));
        wit::Grant::new(Grant { session, held, whose, released: Cell::new(false) })
    }

    fn unreleased(&self) -> Result<Held, wit::GrantError> {
        if self.released.get() { Err(wit::GrantError::AlreadyReleased) } else { Ok(self.held.borrow().clone()) }
    }

    fn release_held(&self, held: &Held) -> Result<wit::Released, wit::GrantError> {
        let released = held.release(&mut self.session.borrow_mut()).map_err(|(error, left)| {
            if let Some(left) = left {
                self.held.replace(left);
            }
            convert::grant_error(error)
        })?;
        self.released.set(true);
        Ok(convert::released(released))
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        if self.whose == Whose::Own && !self.released.get() {
            self.held.borrow().discard(&mut self.session.borrow_mut());
        }
    }
}

impl wit::GuestGrant for Grant {
    fn key(&self) -> String {
        self.held.borrow().first().key().to_string()
    }

    fn keys(&self) -> Vec<wit::HeldKey> {
        let (session, now) = (self.session.borrow(), driver::now());
        let held_key = |grant: &kvlock_machine::Grant| wit::HeldKey {
            key: grant.key().to_string(),
            token: grant.token(),
            validity: convert::validity(session.validity(grant, now)),
        };
        self.held.borrow().all().map(held_key).collect()
    }

    fn owner(&self) -> String {
        self.held.borrow().first().owner().to_string()
    }

    fn token(&self) -> u64 {
        self.held.borrow().first().token()
    }

    fn permit(&self) -> Option<u32> {
        self.held.borrow().first().permit()
    }

    fn depth(&self) -> u32 {
        if self.released.get() { 0 } else { self.held.borrow().depth(&self.session.borrow()) }
    }

    fn validity(&self) -> wit::Validity {
        if self.released.get() {
            return wit::Validity::Lost;
        }
        convert::validity(self.held.borrow().validity(&self.session.borrow(), driver::now()))
    }

    fn renew(&self, lease: Option<wit::Ttl>) -> Result<(), wit::GrantError> {
        let held = self.unreleased()?;
        let lease = lease.map(|ttl| Lease::new(convert::ttl_in(ttl))).transpose();
        let lease = lease.map_err(|invalid| wit::GrantError::Invalid(convert::invalid(invalid)))?;
        held.renew(&mut self.session.borrow_mut(), lease).map_err(convert::grant_error)
    }

    fn wanted(&self) -> Result<Option<wit::Ask>, wit::GrantError> {
        for grant in self.unreleased()?.all() {
            let machine = Hear::new(grant.clone());
            let asked = driver::run(machine, &mut self.session.borrow_mut()).map_err(convert::grant_error)?;
            if let Some(asked) = asked {
                return Ok(Some(convert::ask(asked)));
            }
        }
        Ok(None)
    }

    fn release(&self) -> Result<wit::Released, wit::GrantError> {
        self.release_held(&self.unreleased()?)
    }

    fn hand_over(&self, successor: wit::Claim) -> Result<wit::Released, wit::GrantError> {
        let held = self.unreleased()?;
        let claim = Claim::new(&successor.store_key, &successor.value);
        let claim = claim.map_err(|invalid| wit::GrantError::Invalid(convert::invalid(invalid)))?;
        let Held::One(grant) = held else { return self.release_held(&held) };
        let released = driver::run(Release::to(grant, claim), &mut self.session.borrow_mut());
        let released = released.map_err(convert::grant_error)?;
        self.released.set(true);
        Ok(convert::released(released))
    }

    fn downgrade(&self) -> Result<(), wit::GrantError> {
        let Held::One(grant) = self.unreleased()? else {
            let text = "several keys at once cannot be downgraded: release them, and share them";
            return Err(wit::GrantError::Invalid(text.to_string()));
        };
        driver::run(Downgrade::new(grant), &mut self.session.borrow_mut()).map_err(convert::grant_error)
    }

    fn waive_minimum(&self) {
        if !self.released.get() {
            self.held.borrow().waive_minimum(&mut self.session.borrow_mut());
        }
    }

    fn write_out(&self) -> Result<String, wit::GrantError> {
        let held = self.unreleased()?;
        held.write_out(&mut self.session.borrow_mut(), driver::now()).map_err(convert::grant_error)
    }
}
