//! The statements, and the tables that they use.
//!
//! Each operation is one statement, so that it is atomic, and works through a pooler that gives every statement another
//! connection. Every statement looks at `kvlock.life` first: the row's era decides whether anything is done.
//!
//! **Tombstones.** A released or expired entry keeps its row. `INSERT … VALUES (nextval(…))` draws its number before it
//! has the key; if the row were gone, a number drawn long ago could be written after a larger one. With the row there,
//! `ON CONFLICT DO UPDATE` draws again once it has the row. Rows are swept out when they have been of no use for an
//! hour, which is longer than any statement runs.
//!
//! **The clock** is `clock_timestamp()`: `now()` stands still while a statement waits for a row.
//!
//! **Flushed.** `set_config('synchronous_commit', …, true)` within the statement counts at its commit, whatever the
//! server, the database or the role has for a default. `lock_timeout` likewise bounds how long a statement whose client
//! has gone may wait for a row, and so may be executed late.
//!
//! **Told to waiters.** A delete notifies those who listen. All commits that notify wait for each other, for the flush
//! too. So a delete first asks if anybody listens: listeners hold an advisory lock. It does not notify either if the
//! server's queue of notifications is half full, because a full one makes the delete fail.

use std::time::Duration;

use tokio_postgres::types::Type;

/// The advisory lock that is held while an era is begun or tables are made: "kvlock" in ASCII.
const ADVISORY: i64 = 0x6b76_6c6f_636b;

/// The advisory lock that listeners share, so that deletes know of them.
const LISTENED: i64 = ADVISORY + 1;

/// The channel on which a delete tells its key.
const CHANNEL: &str = "kvlock_gone";

/// Which row of `kvlock.life` counts: the one that was written here. A row that came with a dump was written by another
/// transaction, and a database made of another one as a template has another number.
const IS_HERE: &str = "made = life.xmin AND base = (SELECT oid FROM pg_database WHERE datname = current_database())";

/// The cluster's history, as `00000001`: a promoted standby has a larger one.
const TIMELINE: &str = "substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)";

/// What the tables are made by, in order: what each makes, and how.
pub(super) const OBJECTS: [Object; 5] = [
    Object { is_there: "to_regnamespace('kvlock') IS NOT NULL", make: "CREATE SCHEMA IF NOT EXISTS kvlock" },
    Object {
        is_there: "to_regclass('kvlock.eras') IS NOT NULL",
        make: "CREATE TABLE IF NOT EXISTS kvlock.eras (
    era bigint PRIMARY KEY,
    began timestamptz NOT NULL,
    whole boolean NOT NULL,     -- nothing was lost when it began
    durable boolean NOT NULL,   -- fsync and full_page_writes were on
    system bigint NOT NULL,     -- which server, which history of it, which database
    timeline text NOT NULL,
    base oid NOT NULL,
    made xid NOT NULL           -- by which transaction: a restored dump has another one
)",
    },
    Object {
        is_there: "to_regclass('kvlock.life') IS NOT NULL",
        make: "CREATE UNLOGGED TABLE IF NOT EXISTS kvlock.life (
    one boolean PRIMARY KEY CHECK (one),
    era bigint NOT NULL,
    began timestamptz NOT NULL,
    whole boolean NOT NULL,
    system bigint NOT NULL,
    timeline text NOT NULL,
    base oid NOT NULL,
    made xid NOT NULL
)",
    },
    Object {
        is_there: "to_regclass('kvlock.number') IS NOT NULL",
        make: "CREATE SEQUENCE IF NOT EXISTS kvlock.number",
    },
    // No other index, so that updates stay in their page (HOT).
    Object {
        is_there: "to_regclass('kvlock.entries') IS NOT NULL",
        make: "CREATE TABLE IF NOT EXISTS kvlock.entries (
    key text COLLATE \"C\" PRIMARY KEY,
    number bigint NOT NULL,
    ends timestamptz NOT NULL,
    written timestamptz NOT NULL,
    value bytea
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000)",
    },
];

/// One thing of the schema.
pub(super) struct Object {
    /// An expression that is true if it is there.
    pub(super) is_there: &'static str,
    pub(super) make: &'static str,
}

/// Returns what lets a role use the schema.
pub(super) fn grants(role: &str) -> [String; 3] {
    let role = format!("\"{}\"", role.replace('"', "\"\""));
    [
        format!("GRANT USAGE ON SCHEMA kvlock TO {role}"),
        format!("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA kvlock TO {role}"),
        format!("GRANT SELECT, USAGE, UPDATE ON SEQUENCE kvlock.number TO {role}"),
    ]
}

/// A statement that is sent often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Statement {
    Add,
    Replace,
    Delete,
    Get,
    Era,
    Sweep,
    Keys,
}

impl Statement {
    pub(super) const COUNT: usize = 7;

    /// Returns the types of its parameters.
    pub(super) fn types(self) -> &'static [Type] {
        match self {
            Statement::Add => &[Type::TEXT, Type::BYTEA, Type::INT8, Type::INT8],
            Statement::Replace => &[Type::TEXT, Type::BYTEA, Type::INT8, Type::INT8, Type::INT8],
            Statement::Delete => &[Type::TEXT, Type::INT8, Type::INT8],
            Statement::Get => &[Type::TEXT_ARRAY],
            Statement::Keys => &[Type::TEXT],
            Statement::Era | Statement::Sweep => &[],
        }
    }

    /// Returns true if it changes an entry.
    pub(super) fn is_write(self) -> bool {
        matches!(self, Statement::Add | Statement::Replace | Statement::Delete)
    }
}

/// The texts of the statements of one store.
#[derive(Debug)]
pub(super) struct Sql {
    texts: [String; Statement::COUNT],
    begin: String,
}

impl Sql {
    /// Writes the statements. None of them waits for a row longer than `lock_timeout`.
    pub(super) fn new(lock_timeout: Duration) -> Sql {
        let settings = format!(
            "set_config('synchronous_commit', 'on', true), set_config('lock_timeout', '{}', true)",
            lock_timeout.as_millis().max(1)
        );
        // Settings first: a common table expression with a volatile function is computed as it stands, and the others
        // read it before they touch an entry.
        let life = format!("l AS MATERIALIZED (SELECT era, {settings} FROM kvlock.life WHERE {IS_HERE})");
        let held = "held AS (SELECT number FROM kvlock.entries WHERE key = $1 AND ends > clock_timestamp())";
        let answer = "SELECT (SELECT era FROM l), (SELECT number FROM w), (SELECT number FROM held)";
        let ends = "coalesce(clock_timestamp() + $3 * interval '1 us', 'infinity')";
        // A busy lock is looked at before anything is written: a conflict would be a commit, and a flush, of its own.
        let add = format!(
            "WITH {life}, {held}, w AS (
                INSERT INTO kvlock.entries AS t (key, number, ends, written, value)
                SELECT $1, nextval('kvlock.number'), {ends}, clock_timestamp(), $2
                FROM l WHERE era = $4 AND NOT EXISTS (SELECT FROM held)
                ON CONFLICT (key) DO UPDATE SET
                    number = nextval('kvlock.number'), ends = {ends}, written = clock_timestamp(), value = EXCLUDED.value
                WHERE t.ends <= clock_timestamp() RETURNING number
            ) {answer}"
        );
        let replace = format!(
            "WITH {life}, {held}, w AS (
                UPDATE kvlock.entries
                SET number = nextval('kvlock.number'), ends = {ends}, written = clock_timestamp(), value = $2
                WHERE key = $1 AND number = $5 AND ends > clock_timestamp()
                    AND EXISTS (SELECT FROM l WHERE era = $4) RETURNING number
            ) {answer}"
        );
        // In the past whatever happens to the server's clock.
        let delete = format!(
            "WITH {life}, {held}, w AS (
                UPDATE kvlock.entries SET ends = '-infinity', written = clock_timestamp(), value = NULL
                WHERE key = $1 AND number = $3 AND ends > clock_timestamp()
                    AND EXISTS (SELECT FROM l WHERE era = $2) RETURNING number
            ) {answer}, (SELECT pg_notify('{CHANNEL}', $1) FROM w WHERE
                CASE WHEN pg_try_advisory_lock({LISTENED}) THEN NOT pg_advisory_unlock({LISTENED})
                ELSE pg_notification_queue_usage() < 0.5 END)"
        );
        let get = format!(
            "SELECT life.era, e.key, e.number, CASE WHEN e.ends < 'infinity' THEN
                greatest(0, floor(extract(epoch FROM e.ends - clock_timestamp()) * 1000000))::bigint END, e.value
            FROM kvlock.life LEFT JOIN kvlock.entries AS e ON e.key = ANY($1) AND e.ends > clock_timestamp()
            WHERE {IS_HERE}"
        );
        let keys = format!(
            "SELECT life.era, e.key FROM kvlock.life
            LEFT JOIN kvlock.entries AS e ON starts_with(e.key, $1) AND e.ends > clock_timestamp()
            WHERE {IS_HERE}"
        );
        let era = format!(
            "SELECT era, whole, floor(extract(epoch FROM clock_timestamp() - began) * 1000000)::bigint, system, base
            FROM kvlock.life
            WHERE {IS_HERE} AND system = (SELECT system_identifier FROM pg_control_system()) AND timeline = {TIMELINE}"
        );
        let old = "ends < clock_timestamp() - interval '1 hour' AND written < clock_timestamp() - interval '1 hour'";
        let sweep = format!(
            "DELETE FROM kvlock.entries WHERE key IN
                (SELECT key FROM kvlock.entries WHERE {old} LIMIT 1000 FOR UPDATE SKIP LOCKED)"
        );
        let begin = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT {settings}; SELECT pg_advisory_xact_lock({ADVISORY})"
        );
        Sql { texts: [add, replace, delete, get, era, sweep, keys], begin }
    }

    /// Returns the text of a statement.
    pub(super) fn text(&self, statement: Statement) -> &str {
        let place = match statement {
            Statement::Add => 0,
            Statement::Replace => 1,
            Statement::Delete => 2,
            Statement::Get => 3,
            Statement::Era => 4,
            Statement::Sweep => 5,
            Statement::Keys => 6,
        };
        &self.texts[place]
    }

    /// Returns what begins a transaction that nobody else is in.
    pub(super) fn begin(&self) -> &str {
        &self.begin
    }
}

/// Listens for deletes, and lets them know of it.
pub(super) fn listen() -> String {
    format!("LISTEN {CHANNEL}; SELECT pg_advisory_lock_shared({LISTENED})")
}

/// Asks a new connection if it can write, which version the server has, and if our settings have arrived.
pub(super) const FACTS: &str = "SELECT current_setting('transaction_read_only') = 'on', \
    current_setting('server_version_num')::int, coalesce(current_setting('kvlock.connection', true), '')";

/// Asks for the last era that was begun, and where we are now: see `era.rs`.
pub(super) fn history() -> String {
    format!(
        "SELECT (SELECT system_identifier FROM pg_control_system()) AS system, {TIMELINE} AS timeline, \
            (SELECT oid FROM pg_database WHERE datname = current_database()) AS base, \
            current_setting('fsync') = 'on' AND current_setting('full_page_writes') = 'on' AS durable, \
            floor(extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now, \
            (SELECT last_value FROM kvlock.number) AS number, \
            (SELECT count(*) FROM kvlock.life) AS lives, \
            e.era, e.durable AS was_durable, e.system AS last_system, e.timeline AS last_timeline, e.base AS last_base, \
            e.is_native \
        FROM (SELECT 1) AS here \
        LEFT JOIN (SELECT *, made = xmin AS is_native FROM kvlock.eras ORDER BY era DESC LIMIT 1) AS e ON true"
    )
}

/// Writes a new era down: its number, whether nothing was lost, whether commits are really flushed.
pub(super) fn begin_era() -> String {
    format!(
        "INSERT INTO kvlock.eras (era, began, whole, durable, system, timeline, base, made) \
        SELECT $1, clock_timestamp(), $2, $3, system_identifier, {TIMELINE}, \
            (SELECT oid FROM pg_database WHERE datname = current_database()), pg_current_xact_id()::xid \
        FROM pg_control_system()"
    )
}

/// Drops whatever row of `kvlock.life` there is.
pub(super) const END_LIFE: &str = "DELETE FROM kvlock.life";

/// Lets the era of this number live.
pub(super) const BEGIN_LIFE: &str = "INSERT INTO kvlock.life (one, era, began, whole, system, timeline, base, made) \
    SELECT true, era, began, whole, system, timeline, base, pg_current_xact_id()::xid FROM kvlock.eras WHERE era = $1";

/// Lets numbers go on behind this one.
pub(super) const JUMP: &str = "SELECT setval('kvlock.number', $1)";
