//! One connection to a server: how it is made, and one statement on it.

use std::collections::HashSet;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::NoTls;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{AsyncMessage, Client, Connection, Row};

use super::conninfo::Conninfo;
use super::failure::{Failure, is_cancelled_wait, is_of_a_pooler};
use super::place::Place;
use super::sql::{FACTS, Sql, Statement};
use super::stream::Metered;

/// The oldest server that has all that the statements use: `pg_current_xact_id`.
const OLDEST: i32 = 130_000;

/// What a server may say at most before and after each answer: notices, parameters, errors.
const SMALL_TALK: u64 = 1 << 20;

/// The value of one parameter of a statement.
pub(super) type Value = Box<dyn ToSql + Sync + Send>;

/// One connection.
pub(super) struct Link {
    /// Where it leads.
    pub(super) place: Place,
    client: Client,
    driver: JoinHandle<()>,
    heard: Arc<Heard>,
    /// What is told to whoever listens: as much as the meter lets through.
    notes: UnboundedReceiver<String>,
    meter: Arc<AtomicU64>,
    /// A pooler is between us and the server. Nothing can be prepared or set on the connection.
    pub(super) is_pooled: bool,
    prepared: [Prepared; Statement::COUNT],
    timeout: Duration,
    is_broken: bool,
    used: Instant,
    pub(super) version: i32,
}

/// How far a statement is prepared: once it is sent a second time, that pays.
#[derive(Default)]
enum Prepared {
    #[default]
    Never,
    Once,
    Ready(tokio_postgres::Statement),
}

/// What a server said that is no answer.
#[derive(Debug, Default)]
struct Heard {
    /// A commit did not wait for its standby.
    cancelled_wait: AtomicBool,
    /// Why the connection ended.
    end: Mutex<Option<String>>,
}

impl Drop for Link {
    fn drop(&mut self) {
        // The client's end alone would let it wait for answers.
        self.driver.abort();
    }
}

impl Link {
    /// Connects to the first of the places that can be written to. A place that was found to lead to a pooler is noted
    /// in `pooled`.
    pub(super) async fn dial(info: &Conninfo, pooled: &Mutex<HashSet<String>>) -> Result<Link, Failure> {
        let (mut texts, mut is_outage) = (Vec::new(), false);
        for place in &info.places {
            match Link::dial_one(info, place, pooled).await {
                Ok(link) => return Ok(link),
                Err(failure) => {
                    is_outage |= !matches!(failure, Failure::Refused(_));
                    let why = failure.into_text();
                    texts.push(if info.places.len() > 1 { format!("{place}: {why}") } else { why });
                }
            }
        }
        let text = texts.join("; ");
        Err(if is_outage { Failure::NotDone(text) } else { Failure::Refused(text) })
    }

    async fn dial_one(info: &Conninfo, place: &Place, pooled: &Mutex<HashSet<String>>) -> Result<Link, Failure> {
        let key = place.to_string();
        let is_pooled = pooled.lock().unwrap_or_else(PoisonError::into_inner).contains(&key);
        let dialing = async {
            if !is_pooled {
                match Link::open(info, place, true).await {
                    Err((_, true)) => {}
                    opened => return opened.map_err(|(failure, _)| failure),
                }
            }
            Link::open(info, place, false).await.map_err(|(failure, _)| failure)
        };
        let limit = info.connect_timeout;
        let late = || Failure::NotDone(format!("no connection within {}", humantime::format_duration(limit)));
        let link = timeout(limit, dialing).await.unwrap_or_else(|_| Err(late()))?;
        if link.is_pooled {
            pooled.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
        }
        Ok(link)
    }

    /// Connects and logs in. With `settings` they are asked for as the connection's own; a pooler refuses that, which
    /// the error tells.
    async fn open(info: &Conninfo, place: &Place, settings: bool) -> Result<Link, (Failure, bool)> {
        let plain = |failure| (failure, false);
        let (mut config, (password, note)) = (info.config.clone(), info.password_for(place));
        if let Some(password) = password {
            config.password(password.reveal());
        }
        let mark = if settings { mark().map_err(plain)? } else { String::new() };
        if settings {
            let own = settings_of(info.timeout, &mark);
            config.options(match config.get_options() {
                Some(theirs) => format!("{own} {theirs}"),
                None => own,
            });
        }
        let meter = Arc::new(AtomicU64::new(SMALL_TALK));
        let stream = Metered::connect(place, info.keepalive, Arc::clone(&meter)).await;
        let stream = stream.map_err(|why| plain(Failure::NotDone(why)))?;
        let heard = Arc::new(Heard::default());
        let (note_to, notes) = unbounded_channel();
        let connector = match place {
            Place::Host { name, .. } if config.get_ssl_mode() != SslMode::Disable => {
                info.tls.connector(name).map_err(|error| plain(Failure::Refused(error.to_string())))?
            }
            _ => None,
        };
        let login = |error: tokio_postgres::Error| {
            (Failure::of_login(&error, note.as_deref()), settings && is_of_a_pooler(&error))
        };
        let (client, driver) = match connector {
            Some(connector) => {
                let (client, connection) = config.connect_raw(stream, connector).await.map_err(login)?;
                (client, tokio::spawn(drive(connection, Arc::clone(&heard), note_to)))
            }
            None => {
                config.ssl_mode(SslMode::Disable);
                let (client, connection) = config.connect_raw(stream, NoTls).await.map_err(login)?;
                (client, tokio::spawn(drive(connection, Arc::clone(&heard), note_to)))
            }
        };
        let mut link = Link {
            place: place.clone(),
            client,
            driver,
            heard,
            notes,
            meter,
            is_pooled: true,
            prepared: Default::default(),
            timeout: info.timeout,
            is_broken: false,
            used: Instant::now(),
            version: 0,
        };
        link.look(&mark).await.map_err(plain)?;
        Ok(link)
    }

    /// Finds out if the server can be written to, and if our settings have arrived.
    async fn look(&mut self, mark: &str) -> Result<(), Failure> {
        let rows = self.rows(FACTS, &[], SMALL_TALK).await.map_err(Failure::before_a_write)?;
        let row = rows.first().ok_or_else(|| foreign("no row"))?;
        let (is_read_only, version): (bool, i32) = (field(row, 0)?, field(row, 1)?);
        let told: String = field(row, 2)?;
        if version < OLDEST {
            let version = version / 10_000;
            return Err(Failure::Refused(format!("it is PostgreSQL {version}: kvlock needs 13 or newer")));
        }
        if is_read_only {
            return Err(Failure::NotDone("it is a standby, or read-only".to_string()));
        }
        self.version = version;
        self.is_pooled = mark.is_empty() || told != mark;
        Ok(())
    }

    /// Returns true if it can be used again.
    pub(super) fn is_good(&self) -> bool {
        !self.is_broken && !self.client.is_closed()
    }

    /// Notes that its answers are not PostgreSQL's. It is not used again.
    pub(super) fn distrust(&mut self) {
        self.is_broken = true;
    }

    /// Returns since when it was not used.
    pub(super) fn idle(&self) -> Duration {
        self.used.elapsed()
    }

    /// Asks for a sign of life.
    pub(super) async fn probe(&mut self) -> bool {
        self.meter.store(SMALL_TALK, Ordering::Relaxed);
        matches!(timeout(self.timeout, self.client.check_connection()).await, Ok(Ok(())))
    }

    /// Sends one of the statements. `expected` is how many bytes the rows of its answer may have.
    pub(super) async fn ask(
        &mut self,
        sql: &Sql,
        statement: Statement,
        values: &[Value],
        expected: u64,
    ) -> Result<Vec<Row>, Failure> {
        let prepared = self.prepare(sql, statement).await.map_err(Failure::before_a_write)?;
        let rows = match prepared {
            Some(prepared) => {
                self.check_open()?;
                self.expect(expected);
                let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| &**value as _).collect();
                let asked = timeout(self.timeout, self.client.query(&prepared, &values)).await;
                self.heard_all(asked)?
            }
            None => {
                let types = statement.types().iter().cloned();
                let values: Vec<(&(dyn ToSql + Sync), Type)> =
                    values.iter().map(|value| &**value as _).zip(types).collect();
                self.rows(sql.text(statement), &values, expected).await?
            }
        };
        if statement.is_write() && self.heard.cancelled_wait.swap(false, Ordering::Relaxed) {
            return Err(Failure::NoAnswer("the wait for a synchronous standby was cancelled".to_string()));
        }
        Ok(rows)
    }

    /// Sends a statement that is not prepared, and returns its rows.
    pub(super) async fn rows(
        &mut self,
        text: &str,
        values: &[(&(dyn ToSql + Sync), Type)],
        expected: u64,
    ) -> Result<Vec<Row>, Failure> {
        self.check_open()?;
        self.expect(expected);
        let asked = timeout(self.timeout, self.client.query_typed(text, values)).await;
        self.heard_all(asked)
    }

    /// Sends a statement that is not prepared, and returns how many rows it changed.
    pub(super) async fn execute(&mut self, text: &str, values: &[(&(dyn ToSql + Sync), Type)]) -> Result<u64, Failure> {
        self.check_open()?;
        self.expect(SMALL_TALK);
        let asked = timeout(self.timeout, self.client.execute_typed(text, values)).await;
        self.heard_all(asked)
    }

    /// Sends statements that have no values and no rows of interest, separated by `;`.
    pub(super) async fn run(&mut self, text: &str) -> Result<(), Failure> {
        self.check_open()?;
        self.expect(SMALL_TALK);
        let asked = timeout(self.timeout, self.client.batch_execute(text)).await;
        self.heard_all(asked)
    }

    /// Returns the next thing that is told to whoever listens; none if the connection has ended.
    pub(super) async fn note(&mut self) -> Option<String> {
        self.meter.store(SMALL_TALK, Ordering::Relaxed);
        self.notes.recv().await
    }

    /// Notes that nothing can be prepared on it.
    pub(super) fn forget_prepared(&mut self) {
        self.is_pooled = true;
        self.prepared = Default::default();
    }

    async fn prepare(&mut self, sql: &Sql, statement: Statement) -> Result<Option<tokio_postgres::Statement>, Failure> {
        if self.is_pooled {
            return Ok(None);
        }
        let place = statement as usize;
        match &self.prepared[place] {
            Prepared::Ready(ready) => return Ok(Some(ready.clone())),
            Prepared::Never => {
                self.prepared[place] = Prepared::Once;
                return Ok(None);
            }
            Prepared::Once => {}
        }
        self.check_open()?;
        self.expect(SMALL_TALK);
        let prepared = self.client.prepare_typed(sql.text(statement), statement.types());
        let prepared = timeout(self.timeout, prepared).await;
        let prepared = self.heard_all(prepared)?;
        self.prepared[place] = Prepared::Ready(prepared.clone());
        Ok(Some(prepared))
    }

    fn check_open(&self) -> Result<(), Failure> {
        if !self.client.is_closed() {
            return Ok(());
        }
        let end = self.heard.end.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Err(Failure::Closed(end.unwrap_or_else(|| "the server closed the connection".to_string())))
    }

    fn expect(&mut self, bytes: u64) {
        self.heard.cancelled_wait.store(false, Ordering::Relaxed);
        // Until the answer is there: whoever drops this in between has a connection of no use.
        self.is_broken = true;
        self.meter.store(bytes.saturating_add(SMALL_TALK), Ordering::Relaxed);
    }

    /// Returns what became of a statement. A connection that did not answer is not used again: a late answer would look
    /// like that to the next statement.
    fn heard_all<T>(
        &mut self,
        asked: Result<Result<T, tokio_postgres::Error>, tokio::time::error::Elapsed>,
    ) -> Result<T, Failure> {
        (self.used, self.is_broken) = (Instant::now(), false);
        let failure = match asked {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => {
                let failure = Failure::of_statement(&error);
                // 57014 and others may end a statement that has committed, and waited for its standby.
                match self.heard.cancelled_wait.load(Ordering::Relaxed) {
                    true => Failure::NoAnswer("the wait for a synchronous standby was cancelled".to_string()),
                    false => failure,
                }
            }
            Err(_) => {
                let limit = humantime::format_duration(self.timeout);
                Failure::NoAnswer(format!("no answer within {limit}"))
            }
        };
        self.is_broken |= matches!(failure, Failure::NoAnswer(_));
        Err(failure)
    }
}

/// Reads a column.
pub(super) fn field<'a, T: tokio_postgres::types::FromSql<'a>>(row: &'a Row, column: usize) -> Result<T, Failure> {
    row.try_get(column).map_err(|error| foreign(&error.to_string()))
}

/// Returns the failure of an answer that PostgreSQL does not give.
pub(super) fn foreign(what: &str) -> Failure {
    Failure::NoAnswer(format!("an answer that is not PostgreSQL's: {what}"))
}

/// Returns the settings of a connection. The server gives a slow statement up before we stop waiting for the server,
/// so that the outcome is known.
fn settings_of(timeout: Duration, mark: &str) -> String {
    let millis = timeout.as_millis().max(1);
    format!(
        "-c kvlock.connection={mark} -c default_transaction_isolation=read\\ committed -c statement_timeout={} \
         -c lock_timeout={}",
        (millis * 3 / 4).max(1),
        lock_timeout(timeout).as_millis().max(1),
    )
}

/// Returns how long a statement may wait for a row or a table.
pub(super) fn lock_timeout(timeout: Duration) -> Duration {
    timeout / 2
}

/// Makes a word that no other connection has.
fn mark() -> Result<String, Failure> {
    let random = getrandom::u64().map_err(|error| Failure::NotDone(format!("no randomness: {error}")))?;
    Ok(format!("{random:016x}"))
}

async fn drive<S, T>(mut connection: Connection<S, T>, heard: Arc<Heard>, notes: UnboundedSender<String>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        match poll_fn(|cx| connection.poll_message(cx)).await {
            Some(Ok(AsyncMessage::Notice(notice))) => {
                if is_cancelled_wait(&notice) {
                    heard.cancelled_wait.store(true, Ordering::Relaxed);
                }
                tracing::debug!(severity = notice.severity(), "PostgreSQL says: {}", notice.message());
            }
            Some(Ok(AsyncMessage::Notification(told))) => {
                // Whoever listened has ended, and the connection will.
                let _ = notes.send(told.payload().to_string());
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                let why = Failure::of_statement(&error).into_text();
                *heard.end.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
                return;
            }
            None => return,
        }
    }
}
