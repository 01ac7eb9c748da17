//! What `kvlock doctor` says about a PostgreSQL server.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio_postgres::Row;

use super::super::{Finding, Severity};
use super::failure::Failure;
use super::link::{Link, field, foreign};
use super::pool::Pool;

/// How many bytes the answer to a question here has at most.
const ANSWER: u64 = 64 * 1024;

/// How far the server's clock may be from ours.
const CLOCK_DIFFERENCE: Duration = Duration::from_secs(2);

/// How long a transaction may be open before it is called old: it keeps the dead versions of a busy lock's row.
const OLD_SNAPSHOT: i64 = 600;

const QUESTION: &str = "SELECT current_setting('server_version'), \
    current_setting('fsync') = 'on', current_setting('full_page_writes') = 'on', \
    current_setting('synchronous_standby_names'), (SELECT count(*) FROM pg_stat_replication), \
    current_setting('default_transaction_isolation'), \
    current_setting('lock_timeout'), current_setting('statement_timeout'), \
    current_setting('max_connections')::bigint - current_setting('superuser_reserved_connections')::bigint \
        - (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'), \
    coalesce((SELECT max(extract(epoch FROM clock_timestamp() - xact_start)) FROM pg_stat_activity \
        WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'), 0)::bigint, \
    (SELECT count(*) FROM pg_replication_slots WHERE NOT active AND xmin IS NOT NULL), \
    floor(extract(epoch FROM clock_timestamp()) * 1000000)::bigint, \
    pg_backend_pid(), current_user::text, \
    coalesce((SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl), '')";

/// The rights that a store needs, in words of GRANT.
const RIGHTS: &str = "SELECT format('%s ON %s', upper(needed.what), needed.name) FROM (VALUES \
    ('select', 'kvlock.life'), ('insert', 'kvlock.life'), ('delete', 'kvlock.life'), \
    ('select', 'kvlock.eras'), ('insert', 'kvlock.eras'), \
    ('select', 'kvlock.entries'), ('insert', 'kvlock.entries'), ('update', 'kvlock.entries'), \
    ('delete', 'kvlock.entries')) AS needed (what, name) \
    WHERE NOT has_table_privilege(needed.name, needed.what) \
    UNION ALL SELECT format('%s ON SEQUENCE kvlock.number', upper(what)) \
    FROM unnest(ARRAY['usage', 'select', 'update']) AS what WHERE NOT has_sequence_privilege('kvlock.number', what)";

/// Looks at the server that the store would use. Stops at what makes the rest unknowable.
pub(super) async fn diagnose(pool: &Pool) -> Vec<Finding> {
    let mut report = Report { subject: pool.name(), findings: Vec::new() };
    let started = Instant::now();
    let mut link = match pool.dial().await {
        Ok(link) => link,
        Err(failure) => {
            let error = failure.before_a_write().explain(&report.subject);
            report.add("reachable", Severity::Unfit, error.to_string());
            return report.findings;
        }
    };
    report.subject = link.place.to_string();
    let dialed = started.elapsed().as_secs_f64() * 1e3;
    report.add("reachable", Severity::Ok, format!("connected in {dialed:.1} ms"));
    if let Err(failure) = examine(pool, &mut link, &mut report).await {
        report.add("answers", Severity::Unfit, failure.before_a_write().into_text());
    }
    report.findings
}

async fn examine(pool: &Pool, link: &mut Link, report: &mut Report) -> Result<(), Failure> {
    let asked = SystemTime::now();
    let rows = link.rows(QUESTION, &[], ANSWER).await?;
    let told = SystemTime::now();
    let row = rows.first().ok_or_else(|| foreign("no row"))?;
    report.add("version", Severity::Ok, format!("PostgreSQL {}", field::<String>(row, 0)?));
    report.add("role", Severity::Ok, format!("a primary; we are `{}`", field::<String>(row, 13)?));
    durability(row, report)?;
    replication(row, report)?;
    tables(pool, link, report).await?;
    pooler(row, link, report).await?;
    connections(pool, row, report)?;
    snapshots(row, report)?;
    clock(row, asked, told, report)?;
    encryption(row, report)
}

fn durability(row: &Row, report: &mut Report) -> Result<(), Failure> {
    let (fsync, full_pages) = (field::<bool>(row, 1)?, field::<bool>(row, 2)?);
    match (fsync, full_pages) {
        (true, true) => report.add("durability", Severity::Ok, "fsync and full_page_writes are on"),
        (fsync, _) => report.add(
            "durability",
            Severity::Unfit,
            format!(
                "{} is off: a crash of the machine may lose locks, or bring old ones back; switch it on",
                if fsync { "full_page_writes" } else { "fsync" }
            ),
        ),
    }
    Ok(())
}

fn replication(row: &Row, report: &mut Report) -> Result<(), Failure> {
    let (synchronous, standbys) = (field::<String>(row, 3)?, field::<i64>(row, 4)?);
    let (severity, text) = match (synchronous.trim(), standbys) {
        ("", 0) => (Severity::Ok, "no standby".to_string()),
        ("", count) => (
            Severity::Warning,
            format!(
                "{count} asynchronous standby or standbys: a promotion loses the last locks and begins an era, and an \
                 old primary that still runs goes on to grant; fence it, and set synchronous_standby_names"
            ),
        ),
        (names, 0) => (
            Severity::Warning,
            format!("synchronous_standby_names is `{names}`, and no standby is connected: every commit may wait"),
        ),
        (names, count) => (Severity::Ok, format!("{count} connected, synchronous_standby_names is `{names}`")),
    };
    report.add("replication", severity, text);
    Ok(())
}

async fn tables(pool: &Pool, link: &mut Link, report: &mut Report) -> Result<(), Failure> {
    let era = match pool.settle_on(link).await {
        Ok(era) => era,
        Err(failure @ (Failure::Refused(_) | Failure::NoRight(_) | Failure::NoSchema(_))) => {
            let place = report.subject.clone();
            report.add("tables", Severity::Unfit, failure.explain(&place).to_string());
            return Ok(());
        }
        Err(failure) => return Err(failure),
    };
    let lacking = link.rows(RIGHTS, &[], ANSWER).await?;
    let lacking = lacking.iter().map(|row| field(row, 0)).collect::<Result<Vec<String>, _>>()?;
    match lacking.as_slice() {
        [] => report.add("tables", Severity::Ok, "they are there, and may be used"),
        lacking => report.add(
            "tables",
            Severity::Unfit,
            format!("this role lacks {}: let their owner run `kvlock migrate ROLE`", lacking.join(", ")),
        ),
    }
    let age = Duration::from_secs(era.age.max(0).unsigned_abs() / 1_000_000);
    let begun = humantime::format_duration(age);
    let (text, lossless_for) = match era.is_whole {
        true => (format!("{}, begun {begun} ago with the tables", era.id), Duration::MAX),
        false => (format!("{}, begun {begun} ago, when contents may have been lost", era.id), age),
    };
    let finding = Finding::new(&report.subject, "era", Severity::Ok, text);
    report.findings.push(Finding { lossless_for: Some(lossless_for), ..finding });
    Ok(())
}

async fn pooler(row: &Row, link: &mut Link, report: &mut Report) -> Result<(), Failure> {
    let again = link.rows("SELECT pg_backend_pid()", &[], ANSWER).await?;
    let again: i32 = field(again.first().ok_or_else(|| foreign("no row"))?, 0)?;
    if !link.is_pooled && again == field::<i32>(row, 12)? {
        report.add("pooler", Severity::Ok, "none");
        return Ok(());
    }
    report.add("pooler", Severity::Ok, "there is one: statements are not prepared, and take longer");
    let isolation: String = field(row, 5)?;
    match isolation.as_str() {
        "read committed" => report.add("isolation", Severity::Ok, isolation),
        _ => report.add(
            "isolation",
            Severity::Warning,
            format!(
                "{isolation}: who waits for a lock's row fails, and tries again; ALTER ROLE … SET \
                     default_transaction_isolation = 'read committed'"
            ),
        ),
    }
    match (field::<String>(row, 6)?.as_str(), field::<String>(row, 7)?.as_str()) {
        (_, "0") => report.add(
            "timeouts",
            Severity::Warning,
            "statement_timeout is 0: a write whose client has gone may happen much later; ALTER ROLE … SET \
             statement_timeout = '2s', lock_timeout = '1s'",
        ),
        (lock, statement) => {
            report.add("timeouts", Severity::Ok, format!("lock_timeout is {lock}, statement_timeout is {statement}"))
        }
    }
    Ok(())
}

fn connections(pool: &Pool, row: &Row, report: &mut Report) -> Result<(), Failure> {
    let (left, wanted) = (field::<i64>(row, 8)?, pool.info.connections);
    let (severity, advice) = match usize::try_from(left).is_ok_and(|left| left >= wanted) {
        true => (Severity::Ok, String::new()),
        false => (
            Severity::Warning,
            format!(", and this store may use {wanted}: raise max_connections, or set `connections` in the URL"),
        ),
    };
    report.add("connections", severity, format!("{} are free{advice}", left.max(0)));
    Ok(())
}

fn snapshots(row: &Row, report: &mut Report) -> Result<(), Failure> {
    let (oldest, slots) = (field::<i64>(row, 9)?, field::<i64>(row, 10)?);
    let old = humantime::format_duration(Duration::from_secs(oldest.max(0).unsigned_abs()));
    let (severity, text) = match (oldest >= OLD_SNAPSHOT, slots) {
        (false, 0) => (Severity::Ok, format!("the oldest transaction that we may see is {old} old")),
        (true, _) => (
            Severity::Warning,
            format!("a transaction is open for {old}: the row of a busy lock grows and slows down until it ends"),
        ),
        (false, slots) => (
            Severity::Warning,
            format!(
                "{slots} replication slots that nobody uses keep old rows: the row of a busy lock grows; drop them"
            ),
        ),
    };
    report.add("snapshots", severity, text);
    Ok(())
}

fn clock(row: &Row, asked: SystemTime, told: SystemTime, report: &mut Report) -> Result<(), Failure> {
    let theirs = Duration::from_micros(field::<i64>(row, 11)?.max(0).unsigned_abs());
    let [asked, told] = [asked, told].map(|time| time.duration_since(UNIX_EPOCH).unwrap_or_default());
    let difference = asked.saturating_sub(theirs).max(theirs.saturating_sub(told));
    if difference > CLOCK_DIFFERENCE {
        let text = format!(
            "the server's clock is {:.1} s from ours: a lease ends by the server's clock alone, and ends early if that \
             is set forward; keep it right by NTP",
            difference.as_secs_f64()
        );
        report.add("clock", Severity::Warning, text);
    } else {
        report.add("clock", Severity::Ok, format!("within {} s of ours", CLOCK_DIFFERENCE.as_secs()));
    }
    Ok(())
}

fn encryption(row: &Row, report: &mut Report) -> Result<(), Failure> {
    let version: String = field(row, 14)?;
    let text = match version.as_str() {
        "" => "none: whoever reads along can break any lock".to_string(),
        version => version.to_string(),
    };
    report.add("encryption", Severity::Ok, text);
    Ok(())
}

struct Report {
    subject: String,
    findings: Vec<Finding>,
}

impl Report {
    fn add(&mut self, check: &'static str, severity: Severity, text: impl Into<String>) {
        let (subject, text) = (self.subject.clone(), text.into());
        self.findings.push(Finding::new(subject, check, severity, text));
    }
}
