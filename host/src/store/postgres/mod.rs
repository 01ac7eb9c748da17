//! The store `postgres://`: locks where the data already is.
//!
//! How the contract maps to PostgreSQL, and why (`sql.rs` has the statements):
//!
//! | contract | one statement that |
//! |---|---|
//! | `get`, `get-many` | reads the era and the rows of these keys |
//! | `add` | reads the era and the row; inserts if there is none, or takes over one that has ended |
//! | `replace` | reads the era; updates the row that has this number and has not ended |
//! | `delete` | likewise; the row stays as a tombstone |
//! | `keys` | reads the era and the keys of the rows that begin so |
//! | `era` | reads `kvlock.life` and compares server, timeline and database (`era.rs` has the reasoning) |
//! | `watch` | listens, on a connection of its own, for what each delete notifies (`watcher.rs`) |
//!
//! A version's number is `nextval('kvlock.number')`, drawn while the row is held. The row tells when the entry ends, by
//! the server's clock.
//!
//! - **Atomic**: a statement is a transaction of its own. There is no `BEGIN` and no advisory lock that a lock would rest
//!   on, so a pooler in transaction mode does no harm.
//! - **Durable**: the statement sets `synchronous_commit` for its own commit. If an administrator cancels the wait for a
//!   synchronous standby, the server answers success and a warning, and the caller hears *outcome unknown*.
//! - **Never twice**: a statement is sent again only if it was not sent, or if the server said that it rolled back.
//! - **Bounded**: a statement that waits for a row is given up by the server (`lock_timeout`) before we give up waiting
//!   for the server. A connection that did not answer in time is dropped.
//! - **Its own thread**: tokio-postgres runs on a runtime of one thread, which starts at the first call.

mod conninfo;
mod doctor;
mod engine;
mod era;
mod failure;
mod link;
mod passfile;
mod place;
mod pool;
mod schema;
mod sql;
mod stream;
mod tls;
mod watcher;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_postgres::Row;

use kvlock_protocol::MAX_VALUE;

use self::conninfo::{Conninfo, Process};
use self::engine::Engine;

use self::failure::Failure;
use self::link::{Value, field, foreign};
use self::pool::Answer;
use self::sql::Statement;
use super::{
    DeleteOutcome, Entry, EraInfo, Finding, Keys, KvStore, OnGone, Severity, StoreError, Ttl, Version, Watch,
    WriteOutcome, check_key, check_value,
};
use crate::fork::PerProcess;

/// A longer ttl is for ever, so that no sum leaves PostgreSQL's range of times.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86400);

/// One write in so many sweeps out what has been of no use for an hour.
const SWEEP_EVERY: u64 = 256;

/// How many bytes a list of keys may have: some hundred thousand of them.
const LISTING: u64 = 64 << 20;

/// How many bytes a row has beside its value.
const ROW: u64 = 1024;

/// A store in a PostgreSQL database, version 13 or newer.
///
/// Several threads share a few connections, which are made when they are needed and kept. A call returns within about
/// two timeouts for connecting and as many for the answer.
///
/// # Example
///
/// ```no_run
/// use std::time::Duration;
/// use kvlock::store::{KvStore, Postgres, Ttl, WriteOutcome};
///
/// let store = Postgres::connect("postgres://app@db1,db2/app?sslmode=verify-full")?;
/// if let WriteOutcome::Written(version) = store.add("job", b"me", Ttl::After(Duration::from_secs(30)))? {
///     // … the work …
///     store.delete("job", version)?;
/// }
/// # Ok::<(), kvlock::store::StoreError>(())
/// ```
pub struct Postgres {
    info: Conninfo,
    /// A fork has neither its parent's connections nor the thread that they live on.
    engine: PerProcess<Mutex<Option<Arc<Engine>>>>,
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Postgres")
            .field("places", &self.info.places)
            .field("user", &self.info.user)
            .field("database", &self.info.database)
            .finish_non_exhaustive()
    }
}

impl Postgres {
    /// Takes a URL as libpq has it, `postgres://[user[:password]@][host[:port]][,…][/database][?parameter=value&…]`, with
    /// libpq's variables and files for what it leaves out: `PGHOST`, `PGUSER`, `PGPASSFILE` and so on. Nothing is sent
    /// yet.
    ///
    /// Two parameters are kvlock's own: `timeout` for an answer (`2s` unless set) and `connections` (8 at most unless
    /// set).
    ///
    /// # Errors
    ///
    /// [`StoreError::Invalid`] for what is no such URL, and for files of `sslrootcert`, `sslcert` or `sslkey` that are of
    /// no use; it names the part that is wrong, and shows no password.
    pub fn connect(url: &str) -> Result<Postgres, StoreError> {
        let info = Conninfo::parse(url, &Process)?;
        Ok(Postgres { info, engine: PerProcess::new(Mutex::default()) })
    }

    /// Makes the tables if they are not there, and gives these roles the right to use them.
    ///
    /// # Errors
    ///
    /// [`StoreError::Rejected`] if the role may not do that.
    pub fn migrate(&self, grant_to: &[&str]) -> Result<(), StoreError> {
        let grant_to: Vec<String> = grant_to.iter().map(ToString::to_string).collect();
        self.engine()?.call(|pool| async move { pool.migrate(&grant_to).await })
    }

    /// Returns the SQL of [`migrate`](Self::migrate), for a person to read and run.
    pub fn migration(grant_to: &[&str]) -> String {
        schema::text(&grant_to.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    /// Returns the thread of this process. The first call starts it.
    fn engine(&self) -> Result<Arc<Engine>, StoreError> {
        let engine = self.engine.get_or_recreate(Mutex::default);
        let mut engine = engine.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(engine) = &*engine {
            return Ok(Arc::clone(engine));
        }
        let started = Engine::start(self.info.clone());
        let started = started.map_err(|error| StoreError::Unavailable(format!("no thread for PostgreSQL: {error}")))?;
        Ok(Arc::clone(engine.insert(Arc::new(started))))
    }

    fn read(&self, keys: Vec<String>) -> Result<Vec<Option<Entry>>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let engine = self.engine()?;
        let asked = Instant::now();
        let wanted = keys.clone();
        let expected = (keys.len() as u64).saturating_mul(MAX_VALUE as u64 + ROW);
        let rows = engine.call(|pool| async move {
            pool.read(Statement::Get, || vec![Box::new(wanted.clone()) as Value], expected).await
        })?;
        let entries = rows.iter().map(|row| entry(row, asked.elapsed())).collect::<Result<Vec<_>, _>>();
        let entries = entries.map_err(|failure| failure.before_a_write().explain(&engine.pool.name()))?;
        let find = |key: &String| entries.iter().flatten().find(|(own, _)| own == key).map(|(_, entry)| entry.clone());
        Ok(keys.iter().map(find).collect())
    }

    fn write(
        &self,
        statement: Statement,
        era: Option<u64>,
        values: impl Fn(i64) -> Vec<Value> + Send + Sync + 'static,
    ) -> Result<Option<Answer>, StoreError> {
        let era = match era.map(i64::try_from) {
            Some(Err(_)) => return Ok(None),
            Some(Ok(era)) => Some(era),
            None => None,
        };
        self.engine()?.call(|pool| async move { pool.write(statement, era, values).await })
    }

    fn written(&self, era: i64, number: i64) -> WriteOutcome {
        let version = version(era, number);
        if version.number.is_multiple_of(SWEEP_EVERY)
            && let Ok(engine) = self.engine()
        {
            engine.start_call(|pool| async move { pool.sweep().await });
        }
        WriteOutcome::Written(version)
    }
}

impl KvStore for Postgres {
    fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        check_key(key)?;
        Ok(self.read(vec![key.to_string()])?.pop().flatten())
    }

    fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Entry>>, StoreError> {
        keys.iter().try_for_each(|key| check_key(key))?;
        self.read(keys.to_vec())
    }

    fn add(&self, key: &str, value: &[u8], ttl: Ttl) -> Result<WriteOutcome, StoreError> {
        check_key(key)?;
        check_value(value)?;
        let (key, value, ttl) = (key.to_string(), value.to_vec(), micros(ttl));
        let answer = self.write(Statement::Add, None, move |era| {
            vec![Box::new(key.clone()), Box::new(value.clone()), Box::new(ttl), Box::new(era)]
        })?;
        Ok(match answer {
            Some(Answer { era, written: Some(number), .. }) => self.written(era, number),
            Some(Answer { era, held, .. }) => WriteOutcome::Conflict(held.map(|number| version(era, number))),
            None => WriteOutcome::Conflict(None),
        })
    }

    fn replace(&self, key: &str, value: &[u8], ttl: Ttl, if_version: Version) -> Result<WriteOutcome, StoreError> {
        check_key(key)?;
        check_value(value)?;
        let Ok(number) = i64::try_from(if_version.number) else { return Ok(WriteOutcome::Conflict(None)) };
        let (key, value, ttl) = (key.to_string(), value.to_vec(), micros(ttl));
        let answer = self.write(Statement::Replace, Some(if_version.era), move |era| {
            vec![Box::new(key.clone()), Box::new(value.clone()), Box::new(ttl), Box::new(era), Box::new(number)]
        })?;
        Ok(match answer {
            None => WriteOutcome::Conflict(None),
            Some(Answer { era, written: Some(number), .. }) => self.written(era, number),
            Some(Answer { held: None, .. }) => WriteOutcome::Absent,
            Some(Answer { era, held: Some(held), .. }) => WriteOutcome::Conflict(other(era, held, if_version)),
        })
    }

    fn delete(&self, key: &str, if_version: Version) -> Result<DeleteOutcome, StoreError> {
        check_key(key)?;
        let Ok(number) = i64::try_from(if_version.number) else { return Ok(DeleteOutcome::Conflict(None)) };
        let key = key.to_string();
        let answer = self.write(Statement::Delete, Some(if_version.era), move |era| {
            vec![Box::new(key.clone()), Box::new(era), Box::new(number)]
        })?;
        Ok(match answer {
            None => DeleteOutcome::Conflict(None),
            Some(Answer { written: Some(_), .. }) => DeleteOutcome::Deleted,
            Some(Answer { held: None, .. }) => DeleteOutcome::Absent,
            Some(Answer { era, held: Some(held), .. }) => DeleteOutcome::Conflict(other(era, held, if_version)),
        })
    }

    fn era(&self, key: &str) -> Result<EraInfo, StoreError> {
        check_key(key)?;
        let seen = self.engine()?.call(|pool| async move { pool.era().await })?;
        let lasted = match seen.era.is_whole {
            true => Duration::MAX,
            false => Duration::from_micros(seen.era.age.max(0).unsigned_abs()),
        };
        let lossless_for = seen.since.map_or(lasted, |since| lasted.min(since.elapsed()));
        Ok(EraInfo { id: seen.era.id.unsigned_abs(), lossless_for })
    }

    fn keys(&self, prefix: &str) -> Result<Keys, StoreError> {
        let (engine, prefix) = (self.engine()?, prefix.to_string());
        let rows = engine.call(|pool| async move {
            pool.read(Statement::Keys, || vec![Box::new(prefix.clone()) as Value], LISTING).await
        })?;
        let keys = rows.iter().filter_map(|row| field::<Option<String>>(row, 1).transpose()).collect::<Result<_, _>>();
        Ok(Keys::exact(keys.map_err(|failure: Failure| failure.before_a_write().explain(&engine.pool.name()))?))
    }

    fn watch(&self, key: &str, on_gone: OnGone) -> Option<Watch> {
        let engine = self.engine().ok()?;
        let watch = engine.watcher.watch(key, on_gone);
        let watcher = Arc::clone(&engine.watcher);
        engine.start_call(|pool| watcher.listen(pool));
        Some(watch)
    }

    fn diagnose(&self) -> Vec<Finding> {
        let found =
            self.engine().and_then(|engine| engine.call(|pool| async move { Ok(doctor::diagnose(&pool).await) }));
        found.unwrap_or_else(|error| {
            let subject = self.info.places.first().map(ToString::to_string).unwrap_or_default();
            vec![Finding::new(subject, "reachable", Severity::Unfit, error.to_string())]
        })
    }
}

/// Reads a row of `get`: the key with its entry, or none if the row is there for the era alone. `age` is what has passed
/// since the question was sent.
fn entry(row: &Row, age: Duration) -> Result<Option<(String, Entry)>, Failure> {
    let (Some(key), Some(number)) = (field::<Option<String>>(row, 1)?, field::<Option<i64>>(row, 2)?) else {
        return Ok(None);
    };
    let left = match field::<Option<i64>>(row, 3)? {
        None => Ttl::Forever,
        Some(left) => {
            let left = u64::try_from(left).map_err(|_| foreign("an entry that ends before it is read"))?;
            Ttl::After(Duration::from_micros(left).saturating_sub(age))
        }
    };
    let value = field::<Option<Vec<u8>>>(row, 4)?.unwrap_or_default();
    Ok(Some((key, Entry { value, version: version(field(row, 0)?, number), time_left: Some(left) })))
}

/// Returns the version that a conflict tells. The statement saw the version that was asked for if somebody else wrote
/// while it waited.
fn other(era: i64, held: i64, asked: Version) -> Option<Version> {
    Some(version(era, held)).filter(|held| *held != asked)
}

/// Makes a version. Neither part is negative: an era begins by the clock, and numbers are drawn from 1 on.
fn version(era: i64, number: i64) -> Version {
    Version { era: era.unsigned_abs(), number: number.unsigned_abs() }
}

/// Converts a ttl to microseconds, rounded up; none for ever.
fn micros(ttl: Ttl) -> Option<i64> {
    match ttl {
        Ttl::After(ttl) if ttl <= LONGEST => i64::try_from(ttl.as_nanos().div_ceil(1000)).ok(),
        Ttl::After(_) | Ttl::Forever => None,
    }
}
