//! The component itself, through the library, over a store that lies.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kvlock::clock::{Clock, VirtualClock};
use kvlock::store::{DeleteOutcome, Entry, EraInfo, Finding, KvStore, Memory, StoreError, Ttl, Version, WriteOutcome};
use kvlock::{Client, Session};
use kvlock_machine as machine;

use crate::machines::liar::Liar;
use crate::tape::Tape;

/// After so many calls the store refuses everything.
const PATIENCE: u32 = 3_000;
const OPERATIONS: u32 = 12;

struct Lies {
    teller: Mutex<Teller>,
    clock: Arc<VirtualClock>,
}

struct Teller {
    tape: Tape,
    liar: Liar,
    calls: u32,
}

/// Every operation ends with a value or an error, a trap among them; and a session on another store does not notice.
pub(crate) fn component(data: &[u8]) {
    let clock = Arc::new(VirtualClock::new());
    let teller = Mutex::new(Teller { tape: Tape::new(data), liar: Liar::default(), calls: 0 });
    let client = Client::with_store(Lies { teller, clock: clock.clone() }).with_clock(clock.clone());
    let open = || client.session().namespace("n").owner("me").open().expect("legal options");
    let mut tape = Tape::new(data);
    let mut session = open();
    for _ in 0..OPERATIONS {
        if !operate(&session, &mut tape) {
            // It trapped, and is of no more use.
            session = open();
        }
        if tape.has_ended() {
            break;
        }
    }
    let honest = Client::with_store(Memory::new(clock.clone())).with_clock(clock);
    let grant = honest.session().open().expect("legal options").lock("k").acquire().expect("nobody holds it");
    grant.release().expect("it is held");
}

/// Whether the session is whole after it.
fn operate(session: &Session, tape: &mut Tape) -> bool {
    let second = Duration::from_secs(1);
    let key = tape.pick(&["a", "b"]);
    let semaphore = session.semaphore("s");
    match tape.byte() % 8 {
        0..3 => {
            if let Ok(mut grant) = session.lock(key).reentrant().wait(second).acquire() {
                let _ = (grant.validity(), grant.renew());
                let _ = grant.release();
            }
        }
        3 => drop(session.break_lock(key)),
        4 => drop(semaphore.make(3).wait(second).run()),
        5 => drop(semaphore.permit().wait(second).acquire()),
        6 => drop((session.semaphores(), semaphore.status(), semaphore.break_permit(0))),
        _ => drop(session.status(key)),
    }
    session.resume("no grant").is_err_and(|error| matches!(error, kvlock::error::SessionError::Invalid(_)))
}

impl Lies {
    fn ask(&self, request: machine::Request) -> machine::Reply {
        let mut teller = self.teller.lock().unwrap_or_else(PoisonError::into_inner);
        let Teller { tape, liar, calls } = &mut *teller;
        *calls += 1;
        if *calls > PATIENCE {
            return Liar::refusal(&request);
        }
        self.clock.sleep(tape.delay());
        liar.reply(tape, &request)
    }
}

impl KvStore for Lies {
    fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        match self.ask(machine::Request::Get { key: key.into() }) {
            machine::Reply::Entry(reply) => reply.map(|entry| entry.map(entry_out)).map_err(error_out),
            _ => Err(mixed_up()),
        }
    }

    fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Entry>>, StoreError> {
        match self.ask(machine::Request::GetMany { keys: keys.iter().map(|key| key.as_str().into()).collect() }) {
            machine::Reply::Entries(reply) => {
                reply.map(|entries| entries.into_iter().map(|entry| entry.map(entry_out)).collect()).map_err(error_out)
            }
            _ => Err(mixed_up()),
        }
    }

    fn add(&self, key: &str, value: &[u8], _: Ttl) -> Result<WriteOutcome, StoreError> {
        let ttl = machine::Ttl::Forever;
        written(self.ask(machine::Request::Add { key: key.into(), value: value.into(), ttl }))
    }

    fn replace(&self, key: &str, value: &[u8], _: Ttl, if_version: Version) -> Result<WriteOutcome, StoreError> {
        let (ttl, if_version) = (machine::Ttl::Forever, version_in(if_version));
        written(self.ask(machine::Request::Replace { key: key.into(), value: value.into(), ttl, if_version }))
    }

    fn delete(&self, key: &str, if_version: Version) -> Result<DeleteOutcome, StoreError> {
        match self.ask(machine::Request::Delete { key: key.into(), if_version: version_in(if_version) }) {
            machine::Reply::Delete(reply) => reply.map_err(error_out).map(|outcome| match outcome {
                machine::DeleteOutcome::Deleted => DeleteOutcome::Deleted,
                machine::DeleteOutcome::Conflict(version) => DeleteOutcome::Conflict(version.map(version_out)),
                machine::DeleteOutcome::Absent => DeleteOutcome::Absent,
            }),
            _ => Err(mixed_up()),
        }
    }

    fn era(&self, key: &str) -> Result<EraInfo, StoreError> {
        match self.ask(machine::Request::Era { key: key.into() }) {
            machine::Reply::Era(reply) => {
                reply.map(|machine::EraInfo { id, lossless_for }| EraInfo { id, lossless_for }).map_err(error_out)
            }
            _ => Err(mixed_up()),
        }
    }

    fn diagnose(&self) -> Vec<Finding> {
        Vec::new()
    }
}

fn written(reply: machine::Reply) -> Result<WriteOutcome, StoreError> {
    let machine::Reply::Write(reply) = reply else { return Err(mixed_up()) };
    reply.map_err(error_out).map(|outcome| match outcome {
        machine::WriteOutcome::Written(version) => WriteOutcome::Written(version_out(version)),
        machine::WriteOutcome::Conflict(version) => WriteOutcome::Conflict(version.map(version_out)),
        machine::WriteOutcome::Absent => WriteOutcome::Absent,
    })
}

fn entry_out(entry: machine::Entry) -> Entry {
    let time_left = entry.time_left.map(|left| match left {
        machine::Ttl::After(length) => Ttl::After(length),
        machine::Ttl::Forever => Ttl::Forever,
    });
    Entry { value: entry.value, version: version_out(entry.version), time_left }
}

fn version_out(machine::Version { era, number }: machine::Version) -> Version {
    Version { era, number }
}

fn version_in(Version { era, number }: Version) -> machine::Version {
    machine::Version { era, number }
}

fn error_out(error: machine::StoreError) -> StoreError {
    match error {
        machine::StoreError::Unavailable(text) => StoreError::Unavailable(text),
        machine::StoreError::UnknownOutcome(text) => StoreError::UnknownOutcome(text),
        machine::StoreError::Rejected(text) => StoreError::Rejected(text),
        machine::StoreError::Invalid(text) => StoreError::Invalid(text),
    }
}

/// The types of this side allow no answer to another question.
fn mixed_up() -> StoreError {
    StoreError::UnknownOutcome("mixed up".into())
}
