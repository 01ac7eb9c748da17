//! The connections of a store, and what is done on one of them: a statement, sent again only if it was not sent.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_postgres::Row;

use super::super::StoreError;
use super::conninfo::Conninfo;
use super::era::{self, Era, Home};
use super::failure::Failure;
use super::link::{Link, Value, field, foreign, lock_timeout};
use super::schema;
use super::sql::{Sql, Statement};

/// How often something is tried that was not done: a connection that had ended, an era that began meanwhile, others who
/// were faster.
const TRIES: usize = 6;

/// A connection that was idle for longer is probed first: a write on one that was cut off unseen has no known outcome.
const PROBE_AFTER: Duration = Duration::from_secs(30);

/// How many bytes the answer to a write has at most.
const ROW: u64 = 4096;

/// The connections of a store.
pub(super) struct Pool {
    pub(super) info: Conninfo,
    pub(super) sql: Sql,
    free: Arc<Semaphore>,
    idle: Mutex<Vec<Link>>,
    /// The places at which a pooler answers.
    pooled: Mutex<HashSet<String>>,
    seen: Mutex<Option<Seen>>,
}

/// The last era that this client has seen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub(super) era: Era,
    /// When this server took the place of another one.
    pub(super) since: Option<Instant>,
}

/// What a write answers: the era, the number that was written, and the number that was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) era: i64,
    pub(super) written: Option<i64>,
    pub(super) held: Option<i64>,
}

/// A connection in use. It is kept if it is good.
struct Lease<'a> {
    pool: &'a Pool,
    link: Option<Link>,
    is_new: bool,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        // A future that was dropped in the middle of a statement leaves a connection that is not good.
        if let Some(link) = self.link.take().filter(Link::is_good) {
            lock(&self.pool.idle).push(link);
        }
    }
}

impl Pool {
    pub(super) fn new(info: Conninfo) -> Pool {
        let (free, sql) = (Arc::new(Semaphore::new(info.connections)), Sql::new(lock_timeout(info.timeout)));
        let (idle, pooled, seen) = (Mutex::default(), Mutex::default(), Mutex::default());
        Pool { info, sql, free, idle, pooled, seen }
    }

    /// Names the store in an error.
    pub(super) fn name(&self) -> String {
        let places: Vec<String> = self.info.places.iter().map(ToString::to_string).collect();
        places.join(",")
    }

    /// Returns the last era that was seen.
    pub(super) fn seen(&self) -> Option<Seen> {
        *lock(&self.seen)
    }

    /// Sends a write for the era that goes on, or for that of a version. None if that era is over.
    pub(super) async fn write(
        &self,
        statement: Statement,
        era: Option<i64>,
        values: impl Fn(i64) -> Vec<Value>,
    ) -> Result<Option<Answer>, StoreError> {
        let mut last = None;
        for _ in 0..TRIES {
            let mut lease = self.lease(false).await?;
            let now = self.seen().map_or(0, |seen| seen.era.id);
            let wanted = era.unwrap_or(now);
            // Eras only grow.
            if wanted < now {
                return Ok(None);
            }
            let place = lease.link().place.to_string();
            let failure = match lease.ask(statement, &values(wanted), ROW).await {
                Ok(rows) => match answer(&rows) {
                    Ok(Some(answer)) if answer.era == wanted => return Ok(Some(answer)),
                    Ok(Some(answer)) if era.is_some() && answer.era >= now => return Ok(None),
                    // Another era, or none: nothing was done.
                    Ok(_) => {
                        self.settle(&mut lease).await.map_err(|failure| failure.explain(&place))?;
                        continue;
                    }
                    Err(failure) => {
                        lease.link().distrust();
                        failure
                    }
                },
                Err(failure) => failure,
            };
            last = Some(self.recover(&mut lease, failure).await.map_err(|failure| failure.explain(&place))?);
        }
        Err(self.given_up(last))
    }

    /// Sends a read, and again on a new connection if an earlier one fails. Each row begins with the era.
    pub(super) async fn read(
        &self,
        statement: Statement,
        values: impl Fn() -> Vec<Value>,
        expected: u64,
    ) -> Result<Vec<Row>, StoreError> {
        let (mut last, mut fresh) = (None, false);
        for _ in 0..TRIES {
            let mut lease = self.lease(fresh).await?;
            let now = self.seen().map_or(0, |seen| seen.era.id);
            let place = lease.link().place.to_string();
            let failure = match lease.ask(statement, &values(), expected).await.map_err(Failure::before_a_write) {
                Ok(rows) => match rows.first().map(|row| field::<i64>(row, 0)).transpose() {
                    Ok(Some(era)) if era == now => return Ok(rows),
                    Ok(_) => {
                        self.settle(&mut lease).await.map_err(|failure| failure.explain(&place))?;
                        continue;
                    }
                    Err(failure) => {
                        lease.link().distrust();
                        failure.before_a_write()
                    }
                },
                Err(failure) => failure,
            };
            if matches!(failure, Failure::NotDone(_)) && !lease.is_new && !lease.link().is_good() {
                fresh = true;
                last = Some(failure);
                continue;
            }
            last = Some(self.recover(&mut lease, failure).await.map_err(|failure| failure.explain(&place))?);
        }
        Err(self.given_up(last))
    }

    /// Looks at the era that goes on, now.
    pub(super) async fn era(&self) -> Result<Seen, StoreError> {
        let mut fresh = false;
        loop {
            let mut lease = self.lease(fresh).await?;
            // A new connection has just looked.
            let settled = if lease.is_new { Ok(()) } else { self.settle(&mut lease).await };
            let failure = match (settled, self.seen()) {
                (Ok(()), Some(seen)) => return Ok(seen),
                (Ok(()), None) => Failure::NotDone("no era".to_string()),
                // The connection of an earlier call.
                (Err(_), _) if !lease.link().is_good() && !lease.is_new => {
                    fresh = true;
                    continue;
                }
                (Err(failure), _) => failure,
            };
            return Err(failure.explain(&lease.link().place.to_string()));
        }
    }

    /// Sweeps out what has been of no use for long. Whoever happens to write does it, and nobody waits for it.
    pub(super) async fn sweep(&self) {
        let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() else { return };
        let Some(link) = lock(&self.idle).pop().filter(Link::is_good) else { return };
        let mut lease = Lease { pool: self, link: Some(link), is_new: false, _permit: permit };
        if let Err(failure) = lease.ask(Statement::Sweep, &[], ROW).await {
            tracing::debug!(?failure, "PostgreSQL: the sweep of old entries");
        }
    }

    /// Opens a connection beside the others, to look around or to make the tables.
    pub(super) async fn dial(&self) -> Result<Link, Failure> {
        Link::dial(&self.info, &self.pooled).await
    }

    /// Makes the tables, and gives these roles the right to use them.
    pub(super) async fn migrate(&self, grant_to: &[String]) -> Result<(), StoreError> {
        let name = self.name();
        let mut link = self.dial().await.map_err(|failure| failure.explain(&name))?;
        schema::make(&mut link, &self.sql, grant_to).await.map_err(|failure| failure.explain(&name))?;
        let era = self.settle_on(&mut link).await.map_err(|failure| failure.explain(&name))?;
        self.note(era);
        Ok(())
    }

    /// Takes a connection of an earlier call that is good, or makes one; `fresh` leaves out those of earlier calls.
    async fn lease(&self, fresh: bool) -> Result<Lease<'_>, StoreError> {
        let wait = self.info.timeout;
        let permit = timeout(wait, Arc::clone(&self.free).acquire_owned()).await;
        let Ok(Ok(permit)) = permit else {
            let (count, wait) = (self.info.connections, humantime::format_duration(wait));
            let why = format!("all {count} connections were in use for {wait}: set `connections` in the URL");
            return Err(Failure::NotDone(why).explain(&self.name()));
        };
        let mut lease = Lease { pool: self, link: None, is_new: false, _permit: permit };
        if !fresh && let Some(link) = self.take_idle().await {
            lease.link = Some(link);
            return Ok(lease);
        }
        let opened = async {
            let mut link = self.dial().await?;
            let era = self.settle_on(&mut link).await?;
            self.note(era);
            Ok(link)
        };
        let link = opened.await.map_err(|failure: Failure| failure.explain(&self.name()))?;
        (lease.link, lease.is_new) = (Some(link), true);
        Ok(lease)
    }

    /// Takes a connection of an earlier call that is good still.
    async fn take_idle(&self) -> Option<Link> {
        loop {
            let mut link = lock(&self.idle).pop()?;
            if link.is_good() && (link.idle() < PROBE_AFTER || link.probe().await) {
                return Some(link);
            }
        }
    }

    /// Deals with what kept a statement from being done, so that it can be sent again; or returns the failure.
    async fn recover(&self, lease: &mut Lease<'_>, failure: Failure) -> Result<Failure, Failure> {
        match failure {
            // The connection of an earlier call.
            Failure::Closed(_) if !lease.is_new => {}
            Failure::Overtaken(_) => {}
            Failure::Unprepared(_) => lease.link().forget_prepared(),
            Failure::NoSchema(_) => self.settle(lease).await?,
            other => return Err(other),
        }
        Ok(failure)
    }

    fn given_up(&self, last: Option<Failure>) -> StoreError {
        let last = last.unwrap_or_else(|| Failure::NotDone("its era changes all the time".to_string()));
        last.explain(&self.name())
    }

    /// Finds out the era that goes on, and makes what is missing for one.
    async fn settle(&self, lease: &mut Lease<'_>) -> Result<(), Failure> {
        let era = self.settle_on(lease.link()).await?;
        self.note(era);
        Ok(())
    }

    pub(super) async fn settle_on(&self, link: &mut Link) -> Result<Era, Failure> {
        let seen = self.seen().map(|seen| seen.era.id);
        let there = match era::look(link, &self.sql).await {
            Err(Failure::NoSchema(_)) => {
                schema::make(link, &self.sql, &[]).await?;
                None
            }
            there => there?,
        };
        match there.filter(|era| seen.is_none_or(|seen| era.id >= seen)) {
            Some(era) => Ok(era),
            None => era::establish(link, &self.sql, seen).await,
        }
    }

    fn note(&self, era: Era) {
        let mut seen = lock(&self.seen);
        let since = match *seen {
            // Another connection has seen a later one meanwhile.
            Some(known) if known.era.id > era.id => return,
            Some(known) if is_moved(known.era.home, era.home) => Some(Instant::now()),
            Some(known) => known.since,
            None => None,
        };
        *seen = Some(Seen { era, since });
    }
}

fn is_moved(before: Home, now: Home) -> bool {
    before != now
}

impl Lease<'_> {
    fn link(&mut self) -> &mut Link {
        // INVARIANT: it is taken out when the lease ends, and not before.
        self.link.as_mut().expect("a lease has its link")
    }

    async fn ask(&mut self, statement: Statement, values: &[Value], expected: u64) -> Result<Vec<Row>, Failure> {
        let sql = &self.pool.sql;
        // INVARIANT: as above; borrowed by field, so that the statements can be read beside it.
        let link = self.link.as_mut().expect("a lease has its link");
        link.ask(sql, statement, values, expected).await
    }
}

/// Reads what a write answers; none if there is no era.
fn answer(rows: &[Row]) -> Result<Option<Answer>, Failure> {
    let row = rows.first().ok_or_else(|| foreign("no row"))?;
    let Some(era) = field(row, 0)? else { return Ok(None) };
    Ok(Some(Answer { era, written: field(row, 1)?, held: field(row, 2)? }))
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere cannot leave what is in it half changed.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
