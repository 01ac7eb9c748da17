//! Converts between the types of the WIT and those of the machines. They say the same: nothing is decided here.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use core::time::Duration;

use kvlock_machine::{self as machine, nanos};

use crate::bindings::exports::kvlock::lock::{mutex as wit, semaphore};
use crate::bindings::kvlock::lock::{kv_store as kv, types};

/// Makes functions that convert an enum to the one with the same cases.
macro_rules! same_cases {
    ($($name:ident: $from:ty => $to:ty { $($case:ident $(($inner:ident => $converted:expr))?),+ $(,)? })*) => {$(
        pub(crate) fn $name(value: $from) -> $to {
            type Given = $from;
            type Wanted = $to;
            match value {
                $(Given::$case $(($inner))? => Wanted::$case $(($converted))?,)+
            }
        }
    )*};
}

same_cases! {
    ttl_out: machine::Ttl => types::Ttl { After(length => nanos(length)), Forever }
    ttl_in: types::Ttl => machine::Ttl { After(length => Duration::from_nanos(length)), Forever }
    write_outcome: kv::WriteOutcome => machine::WriteOutcome {
        Written(version => version_in(version)),
        Conflict(version => version.map(version_in)),
        Absent,
    }
    delete_outcome: kv::DeleteOutcome => machine::DeleteOutcome {
        Deleted,
        Conflict(version => version.map(version_in)),
        Absent,
    }
    store_error: types::StoreError => machine::StoreError {
        Unavailable(text => text), UnknownOutcome(text => text), Rejected(text => text), Invalid(text => text)
    }
    store_error_out: machine::StoreError => types::StoreError {
        Unavailable(text => text), UnknownOutcome(text => text), Rejected(text => text), Invalid(text => text)
    }
    broken: machine::Broken => wit::Broken { Free, Ended(ended => holder(ended)), Other(other => holder(other)) }
    validity: machine::Validity => wit::Validity { Valid(left => nanos(left)), Unlimited, Unconfirmed, Lost }
    released: machine::Released => wit::Released {
        Freed,
        Nested(depth => depth),
        Kept(left => nanos(left)),
        HandedOver(handed => handed_out(handed)),
    }
    ask_state: machine::AskState => wit::AskState {
        Unheard(asked => holder(asked)),
        Heard(asked => holder(asked)),
        Released(present => present.map(holder)),
    }
    key_state: machine::KeyState => wit::KeyState {
        Free,
        Held(held => holder(held)),
        Reserved(reserved => holder(reserved)),
        Kept(kept => holder(kept)),
        Corrupt(excerpt => excerpt),
    }
}

pub(crate) fn version_out(version: machine::Version) -> types::Version {
    types::Version { era: version.era, number: version.number }
}

fn version_in(version: types::Version) -> machine::Version {
    machine::Version { era: version.era, number: version.number }
}

/// Returns one of several writes; none for what is no write, which no machine asks for among them.
pub(crate) fn write(request: machine::Request) -> Option<kv::Write> {
    match request {
        machine::Request::Add { key, value, ttl } => {
            Some(kv::Write::Add(kv::Addition { key: key.to_string(), value, ttl: ttl_out(ttl) }))
        }
        machine::Request::Replace { key, value, ttl, if_version } => {
            let (key, ttl, if_version) = (key.to_string(), ttl_out(ttl), version_out(if_version));
            Some(kv::Write::Replace(kv::Replacement { key, value, ttl, if_version }))
        }
        machine::Request::Delete { key, if_version } => {
            Some(kv::Write::Delete(kv::Deletion { key: key.to_string(), if_version: version_out(if_version) }))
        }
        machine::Request::Get { .. }
        | machine::Request::GetMany { .. }
        | machine::Request::Era { .. }
        | machine::Request::All(_) => None,
    }
}

/// Returns the reply to one of several writes.
pub(crate) fn write_answer(is_delete: bool, answer: Result<kv::WriteAnswer, types::StoreError>) -> machine::Reply {
    match answer {
        Ok(kv::WriteAnswer::Written(outcome)) => machine::Reply::Write(Ok(write_outcome(outcome))),
        Ok(kv::WriteAnswer::Deleted(outcome)) => machine::Reply::Delete(Ok(delete_outcome(outcome))),
        Err(error) if is_delete => machine::Reply::Delete(Err(store_error(error))),
        Err(error) => machine::Reply::Write(Err(store_error(error))),
    }
}

pub(crate) fn entry(entry: kv::Entry) -> machine::Entry {
    let kv::Entry { value, version, time_left } = entry;
    machine::Entry { value, version: version_in(version), time_left: time_left.map(ttl_in) }
}

pub(crate) fn era(era: kv::EraInfo) -> machine::EraInfo {
    machine::EraInfo { id: era.id, lossless_for: Duration::from_nanos(era.lossless_for) }
}

pub(crate) fn session_options(options: wit::SessionOptions) -> Result<machine::SessionOptions, machine::Invalid> {
    Ok(machine::SessionOptions {
        owner: machine::Text::owner(&options.owner)?,
        label: machine::Text::label(&options.label)?,
        namespace: machine::Namespace::new(&options.namespace)?,
        quarantine: options.quarantine.map(Duration::from_nanos),
        unix_time: options.unix_time,
    })
}

pub(crate) fn lock_options(options: wit::LockOptions) -> Result<machine::LockOptions, machine::Invalid> {
    let mode = match options.mode {
        wit::Mode::Plain => machine::Mode::Plain,
        wit::Mode::Reentrant => machine::Mode::Reentrant,
        wit::Mode::Shared => machine::Mode::Shared,
    };
    machine::LockOptions::new(machine::Lease::new(ttl_in(options.lease))?)
        .mode(mode)
        .adopt(options.adopt)
        .wait(options.wait.map(Duration::from_nanos))?
        .interval(Duration::from_nanos(options.interval))?
        .at_least(Duration::from_nanos(options.at_least))?
        .note(options.note.as_deref())
}

pub(crate) fn holder(holder: machine::Holder) -> wit::Holder {
    let machine::Holder { key, owner, label, note, since, lease, depth, token, readers, time_left, permit, reserved } =
        holder;
    let (lease, time_left) = (ttl_out(lease), time_left.map(ttl_out));
    wit::Holder { key, owner, label, note, since, lease, depth, token, readers, time_left, permit, reserved }
}

fn boxed_holder(boxed: Option<Box<machine::Holder>>) -> Option<wit::Holder> {
    boxed.map(|boxed| holder(*boxed))
}

pub(crate) fn waiting_for(waiting: machine::WaitingFor) -> wit::WaitingFor {
    match waiting {
        machine::WaitingFor::Turn => wit::WaitingFor::Turn,
        machine::WaitingFor::Holder(boxed) => wit::WaitingFor::Holder(holder(*boxed)),
        machine::WaitingFor::Exhausted { size, held, holder } => {
            wit::WaitingFor::Exhausted(wit::Exhausted { size, held, holder: boxed_holder(holder) })
        }
        machine::WaitingFor::Quarantine(left) => wit::WaitingFor::Quarantine(nanos(left)),
        machine::WaitingFor::Outage(error) => wit::WaitingFor::Outage(store_error_out(error)),
    }
}

/// Says which argument is not legal, and what is.
pub(crate) fn invalid(invalid: machine::Invalid) -> String {
    invalid.to_string()
}

pub(crate) fn invalid_key(invalid: machine::Invalid) -> wit::KeyError {
    wit::KeyError::Invalid(invalid.to_string())
}

/// Traps. A machine driven out of order is a bug of this crate.
fn out_of_order() -> ! {
    unreachable!("a machine was driven out of order")
}

pub(crate) fn acquire_error(error: machine::AcquireError) -> wit::AcquireError {
    match error {
        machine::AcquireError::Busy { waited, waiting_for: reason } => {
            wit::AcquireError::Busy(wit::Busy { waited: nanos(waited), waiting_for: waiting_for(reason) })
        }
        machine::AcquireError::AlreadyHeld => wit::AcquireError::AlreadyHeld,
        machine::AcquireError::HeldInOtherMode => wit::AcquireError::HeldInOtherMode,
        machine::AcquireError::ReservesAnother(key) => wit::AcquireError::ReservesAnother(key),
        machine::AcquireError::Lost(holder) => wit::AcquireError::Lost(boxed_holder(holder)),
        machine::AcquireError::Corrupt(excerpt) => wit::AcquireError::Corrupt(excerpt),
        machine::AcquireError::Unknown => wit::AcquireError::Unknown,
        machine::AcquireError::Invalid(invalid) => wit::AcquireError::Invalid(invalid.to_string()),
        machine::AcquireError::Store(error) => wit::AcquireError::Store(store_error_out(error)),
        machine::AcquireError::OutOfOrder => out_of_order(),
    }
}

pub(crate) fn grant_error(error: machine::GrantError) -> wit::GrantError {
    match error {
        machine::GrantError::Lost(holder) => wit::GrantError::Lost(boxed_holder(holder)),
        machine::GrantError::Invalid(invalid) => wit::GrantError::Invalid(invalid.to_string()),
        machine::GrantError::Store(error) => wit::GrantError::Store(store_error_out(error)),
        machine::GrantError::OutOfOrder => out_of_order(),
    }
}

pub(crate) fn key_error(error: machine::KeyError) -> wit::KeyError {
    match error {
        machine::KeyError::Corrupt(excerpt) => wit::KeyError::Corrupt(excerpt),
        machine::KeyError::Invalid(invalid) => wit::KeyError::Invalid(invalid.to_string()),
        machine::KeyError::Store(error) => wit::KeyError::Store(store_error_out(error)),
        machine::KeyError::OutOfOrder => out_of_order(),
    }
}

pub(crate) fn key_status(status: machine::KeyStatus) -> wit::KeyStatus {
    let machine::KeyStatus { state, quarantine, waiters } = status;
    wit::KeyStatus { state: key_state(state), quarantine: quarantine.map(nanos), waiters }
}

pub(crate) fn ask(ask: machine::Ask) -> wit::Ask {
    let machine::Ask { id, owner, label, note, since } = ask;
    wit::Ask { id, owner, label, note, since }
}

/// Checks the note of an ask.
pub(crate) fn note(note: Option<String>) -> Result<Option<machine::Text>, wit::KeyError> {
    note.map(|note| machine::Text::note(&note)).transpose().map_err(invalid_key)
}

pub(crate) fn standing(standing: machine::Standing) -> wit::Standing {
    match standing {
        machine::Standing::Lock(status) => wit::Standing::Lock(key_status(status)),
        machine::Standing::Permit(held) => wit::Standing::Permit(holder(held)),
        machine::Standing::Semaphore { name, size } => wit::Standing::Semaphore(wit::StandingSemaphore { name, size }),
        machine::Standing::Corrupt(excerpt) => wit::Standing::Corrupt(excerpt),
    }
}

pub(crate) fn semaphore_status(status: machine::SemaphoreStatus) -> semaphore::SemaphoreStatus {
    let machine::SemaphoreStatus { name, size, holders, quarantine } = status;
    let holders = holders.into_iter().map(holder).collect();
    semaphore::SemaphoreStatus { name, size, holders, quarantine: quarantine.map(nanos) }
}

pub(crate) fn resize_error(error: machine::ResizeError) -> semaphore::ResizeError {
    match error {
        machine::ResizeError::StillHeld(status) => semaphore::ResizeError::StillHeld(semaphore_status(status)),
        machine::ResizeError::Superseded(size) => semaphore::ResizeError::Superseded(size),
        machine::ResizeError::Unknown => semaphore::ResizeError::Unknown,
        machine::ResizeError::Corrupt(excerpt) => semaphore::ResizeError::Corrupt(excerpt),
        machine::ResizeError::Store(error) => semaphore::ResizeError::Store(store_error_out(error)),
        machine::ResizeError::OutOfOrder => out_of_order(),
    }
}

pub(crate) fn claim_out(claim: machine::Claim) -> wit::Claim {
    wit::Claim { store_key: claim.store_key().to_string(), value: claim.value() }
}

fn handed_out(handed: machine::HandedOver) -> wit::HandedOver {
    let machine::HandedOver { version, sent, chain_length, first } = handed;
    let sent = nanos(sent.since(machine::Time::from_nanos(0)));
    wit::HandedOver { version: version_out(version), sent, chain_length, first }
}

pub(crate) fn handed_in(handed: wit::HandedOver) -> machine::HandedOver {
    let wit::HandedOver { version, sent, chain_length, first } = handed;
    machine::HandedOver { version: version_in(version), sent: machine::Time::from_nanos(sent), chain_length, first }
}
