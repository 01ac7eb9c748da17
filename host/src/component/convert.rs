//! Between the types of the WIT and those of the library. They say the same; nothing is decided here.

use std::time::{Duration, SystemTime};

use super::bindings::exports::kvlock::lock::{conflict_retry, mutex, semaphore};
use super::bindings::kvlock::lock::{kv_store as wit, types};
use super::values::{Granted, HandedOver, Pending, Placed, Release, Target, Tried};
use crate::error::{AcquireError, CallError, GrantError, ResizeError, StatusError};
use crate::holder::{Holder, WaitingFor};
use crate::listing::Standing;
use crate::outcome::{NextTry, Validity};
use crate::status::{Ask, Asked, Broken, KeyState, KeyStatus, SemaphoreStatus};
use crate::store;

/// An error of the WIT, of which the library tells what it is about.
pub(super) trait At<E> {
    fn at(self, about: &str) -> E;
}

/// Returns nanoseconds as the WIT has them. They can say 584 years at most; the component refuses what is too long.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Returns what is left of a wait after this time elsewhere.
pub(super) fn wait_left(target: &Target, waited: Duration) -> Option<u64> {
    target.wait.map(|wait| nanos(wait.saturating_sub(waited)))
}

/// Converts an enum to the one with the same cases, by a function or by `From`.
macro_rules! same_cases {
    (match $value:ident, $from:ty => $to:ty { $($case:ident $(($inner:ident => $converted:expr))?),+ $(,)? }) => {{
        type Given = $from;
        type Wanted = $to;
        match $value {
            $(Given::$case $(($inner))? => Wanted::$case $(($converted))?,)+
        }
    }};
    ($($name:ident: $from:ty => $to:ty { $($cases:tt)* })*) => {$(
        pub(super) fn $name(value: $from) -> $to {
            same_cases!(match value, $from => $to { $($cases)* })
        }
    )*};
    ($($from:ty => $to:ty { $($cases:tt)* })*) => {$(
        impl From<$from> for $to {
            fn from(value: $from) -> Self {
                same_cases!(match value, $from => $to { $($cases)* })
            }
        }
    )*};
}

same_cases! {
    ttl: types::Ttl => store::Ttl { After(length => Duration::from_nanos(length)), Forever }
    ttl_out: store::Ttl => types::Ttl { After(length => nanos(length)), Forever }
    write_outcome: store::WriteOutcome => wit::WriteOutcome {
        Written(version => version_out(version)),
        Conflict(version => version.map(version_out)),
        Absent,
    }
    delete_outcome: store::DeleteOutcome => wit::DeleteOutcome {
        Deleted,
        Conflict(version => version.map(version_out)),
        Absent,
    }
    error: store::StoreError => types::StoreError {
        Unavailable(text => text), UnknownOutcome(text => text), Rejected(text => text), Invalid(text => text)
    }
    error_in: types::StoreError => store::StoreError {
        Unavailable(text => text), UnknownOutcome(text => text), Rejected(text => text), Invalid(text => text)
    }
}

same_cases! {
    mutex::KeyState => KeyState {
        Free,
        Held(holder => boxed(holder)),
        Reserved(holder => boxed(holder)),
        Kept(holder => boxed(holder)),
        Corrupt(excerpt => excerpt),
    }
    mutex::Broken => Broken { Free, Ended(holder => boxed(holder)), Other(holder => boxed(holder)) }
    mutex::Validity => Validity { Valid(left => Duration::from_nanos(left)), Unlimited, Unconfirmed, Lost }
    mutex::Released => Release {
        Freed,
        Nested(depth => depth),
        Kept(left => Duration::from_nanos(left)),
        HandedOver(handed => HandedOver(handed)),
    }
    conflict_retry::NextTry => NextTry {
        Finished, RetryAfter(pause => Duration::from_nanos(pause)), Exhausted, Outermost
    }
}

/// Returns one of several writes.
pub(super) fn write(write: wit::Write) -> store::Write {
    match write {
        wit::Write::Add(wit::Addition { key, value, ttl: length }) => {
            store::Write::Add { key, value, ttl: ttl(length) }
        }
        wit::Write::Replace(wit::Replacement { key, value, ttl: length, if_version }) => {
            store::Write::Replace { key, value, ttl: ttl(length), if_version: version(if_version) }
        }
        wit::Write::Delete(wit::Deletion { key, if_version }) => {
            store::Write::Delete { key, if_version: version(if_version) }
        }
    }
}

pub(super) fn version(version: types::Version) -> store::Version {
    store::Version { era: version.era, number: version.number }
}

fn version_out(version: store::Version) -> types::Version {
    types::Version { era: version.era, number: version.number }
}

pub(super) fn entry(entry: store::Entry) -> wit::Entry {
    let store::Entry { value, version, time_left } = entry;
    wit::Entry { value, version: version_out(version), time_left: time_left.map(ttl_out) }
}

pub(super) fn era(era: store::EraInfo) -> wit::EraInfo {
    wit::EraInfo { id: era.id, lossless_for: nanos(era.lossless_for) }
}

impl From<mutex::Holder> for Holder {
    fn from(holder: mutex::Holder) -> Self {
        let mutex::Holder { key, owner, label, note, since, lease, depth, token, readers, time_left, permit, reserved } =
            holder;
        let time_left = time_left.map(ttl);
        let until = match time_left {
            Some(store::Ttl::After(left)) => SystemTime::now().checked_add(left),
            Some(store::Ttl::Forever) | None => None,
        };
        let since = since.and_then(moment);
        Holder {
            key,
            owner,
            label,
            note,
            since,
            lease: ttl(lease),
            depth,
            token,
            readers,
            time_left,
            until,
            permit,
            reserved,
        }
    }
}

fn moment(unix_nanos: u64) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_nanos(unix_nanos))
}

fn boxed(holder: mutex::Holder) -> Box<Holder> {
    Box::new(holder.into())
}

impl From<mutex::WaitingFor> for WaitingFor {
    fn from(waiting: mutex::WaitingFor) -> Self {
        match waiting {
            mutex::WaitingFor::Turn => WaitingFor::Turn,
            mutex::WaitingFor::Holder(holder) => WaitingFor::Holder(boxed(holder)),
            mutex::WaitingFor::Exhausted(mutex::Exhausted { size, held, holder }) => {
                WaitingFor::Exhausted { size, held, holder: holder.map(boxed) }
            }
            mutex::WaitingFor::Quarantine(left) => WaitingFor::Quarantine(Duration::from_nanos(left)),
            mutex::WaitingFor::Outage(error) => WaitingFor::Outage(error_in(error)),
        }
    }
}

impl From<mutex::KeyStatus> for KeyStatus {
    fn from(status: mutex::KeyStatus) -> Self {
        let mutex::KeyStatus { state, quarantine, waiters } = status;
        KeyStatus { state: state.into(), quarantine: quarantine.map(Duration::from_nanos), waiters }
    }
}

impl From<mutex::Ask> for Ask {
    fn from(ask: mutex::Ask) -> Self {
        let mutex::Ask { id, owner, label, note, since } = ask;
        Ask { id, owner, label, note, since: since.and_then(moment) }
    }
}

impl From<mutex::AskState> for Asked {
    fn from(state: mutex::AskState) -> Self {
        match state {
            mutex::AskState::Unheard(holder) => Asked::Unheard(boxed(holder)),
            mutex::AskState::Heard(holder) => Asked::Heard(boxed(holder)),
            mutex::AskState::Released(holder) => Asked::Released(holder.map(boxed)),
        }
    }
}

impl From<mutex::Asked> for Placed {
    fn from(asked: mutex::Asked) -> Self {
        match asked {
            mutex::Asked::Free => Placed { state: Asked::Free, id: None },
            mutex::Asked::Reserved(holder) => Placed { state: Asked::Reserved(boxed(holder)), id: None },
            mutex::Asked::Kept(holder) => Placed { state: Asked::Kept(boxed(holder)), id: None },
            mutex::Asked::Placed(mutex::PlacedAsk { asking, holder }) => {
                Placed { state: Asked::Unheard(boxed(holder)), id: Some(asking.into()) }
            }
        }
    }
}

impl From<mutex::Standing> for Standing {
    fn from(standing: mutex::Standing) -> Self {
        match standing {
            mutex::Standing::Lock(status) => Standing::Lock(status.into()),
            mutex::Standing::Permit(holder) => Standing::Permit(holder.into()),
            mutex::Standing::Semaphore(mutex::StandingSemaphore { name, size }) => Standing::Semaphore { name, size },
            mutex::Standing::Corrupt(excerpt) => Standing::Corrupt(excerpt),
        }
    }
}

impl From<semaphore::SemaphoreStatus> for SemaphoreStatus {
    fn from(status: semaphore::SemaphoreStatus) -> Self {
        let semaphore::SemaphoreStatus { name, size, holders, quarantine } = status;
        let holders = holders.into_iter().map(Holder::from).collect();
        SemaphoreStatus { name, size, holders, quarantine: quarantine.map(Duration::from_nanos) }
    }
}

impl From<mutex::Granted> for Granted {
    fn from(granted: mutex::Granted) -> Self {
        let mutex::Granted { grant, token, permit } = granted;
        Granted { grant: grant.into(), token, permit }
    }
}

impl From<mutex::Pending> for Pending {
    fn from(pending: mutex::Pending) -> Self {
        let mutex::Pending { pause, waiting_for } = pending;
        Pending { pause: Duration::from_nanos(pause), waiting_for: waiting_for.into() }
    }
}

impl From<mutex::Tried> for Tried {
    fn from(tried: mutex::Tried) -> Self {
        match tried {
            mutex::Tried::Granted(granted) => Tried::Granted(granted.into()),
            mutex::Tried::Waiting(mutex::Waiting { acquisition, pending }) => {
                Tried::Waiting(acquisition.into(), pending.into())
            }
        }
    }
}

impl At<AcquireError> for mutex::AcquireError {
    fn at(self, key: &str) -> AcquireError {
        let key = key.to_string();
        match self {
            mutex::AcquireError::Busy(mutex::Busy { waited, waiting_for }) => {
                AcquireError::Busy { key, waited: Duration::from_nanos(waited), waiting_for: waiting_for.into() }
            }
            mutex::AcquireError::AlreadyHeld => AcquireError::AlreadyHeld { key },
            mutex::AcquireError::HeldInOtherMode => AcquireError::HeldInOtherMode { key },
            mutex::AcquireError::ReservesAnother(other) => AcquireError::ReservesAnother { key, other },
            mutex::AcquireError::Lost(holder) => AcquireError::Lost { key, holder: holder.map(boxed) },
            mutex::AcquireError::Corrupt(excerpt) => AcquireError::Corrupt { key, excerpt },
            mutex::AcquireError::Unknown => AcquireError::UnknownSemaphore { key },
            mutex::AcquireError::Invalid(reason) => AcquireError::Invalid { key, reason },
            mutex::AcquireError::Store(error) => AcquireError::Store { key, error: error_in(error) },
        }
    }
}

impl At<GrantError> for mutex::GrantError {
    fn at(self, key: &str) -> GrantError {
        let key = key.to_string();
        match self {
            mutex::GrantError::Lost(holder) => GrantError::Lost { key, holder: holder.map(boxed) },
            mutex::GrantError::AlreadyReleased => GrantError::AlreadyReleased { key },
            mutex::GrantError::Invalid(reason) => GrantError::Invalid { key, reason },
            mutex::GrantError::Store(error) => GrantError::Store { key, error: error_in(error) },
        }
    }
}

impl At<StatusError> for mutex::KeyError {
    fn at(self, key: &str) -> StatusError {
        let key = key.to_string();
        match self {
            mutex::KeyError::Corrupt(excerpt) => StatusError::Corrupt { key, excerpt },
            mutex::KeyError::Invalid(reason) => StatusError::Invalid { key, reason },
            mutex::KeyError::Store(error) => StatusError::Store { key, error: error_in(error) },
        }
    }
}

impl At<ResizeError> for semaphore::ResizeError {
    fn at(self, name: &str) -> ResizeError {
        let name = name.to_string();
        match self {
            semaphore::ResizeError::StillHeld(status) => ResizeError::StillHeld { name, status: status.into() },
            semaphore::ResizeError::Superseded(size) => ResizeError::Superseded { name, size },
            semaphore::ResizeError::Unknown => ResizeError::Unknown { name },
            semaphore::ResizeError::Corrupt(excerpt) => ResizeError::Corrupt { name, excerpt },
            semaphore::ResizeError::Ended => ResizeError::invalid(&name, "this resizing has ended; begin another"),
            semaphore::ResizeError::Store(error) => ResizeError::Store { name, error: error_in(error) },
        }
    }
}

/// The WIT tells only what is not legal.
impl<E: CallError> At<E> for String {
    fn at(self, about: &str) -> E {
        E::invalid(about, self)
    }
}
