//! What `kvlock doctor` says about a memcached server.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use std::fmt;

use kvlock_protocol::{
    Failure, LOSSES, OLDEST, Replies, Request, ServerClock, ServerVersion, Stats, Transport, two_servers,
};

use super::super::{Finding, Severity, StoreError};
use super::connection::Connection;
use super::link::Link;
use super::server::Server;

/// How far a server's clock may be from ours: it counts whole seconds and lags behind by up to one.
const CLOCK_DIFFERENCE: u64 = 2;

/// A share of its memory, in percent, from which on a server is called full.
const FULL: u64 = 90;

/// Looks at one server. Stops at what makes the rest unknowable.
pub(super) fn diagnose(server: &Server) -> Vec<Finding> {
    let mut report = Report { subject: server.to_string(), findings: Vec::new() };
    if let Err(error) = examine(server, &mut report) {
        report.add("reachable", Severity::Unfit, error.to_string());
    }
    report.findings
}

fn examine(server: &Server, report: &mut Report) -> Result<(), StoreError> {
    let started = Instant::now();
    let mut connection = server.dial()?;
    let dialed = started.elapsed();
    let failed = |failure| server.on_read(failure);
    ask(&mut connection, "stats").map_err(failed).and_then(|stats| {
        report.add("reachable", Severity::Ok, format!("connected in {:.1} ms", dialed.as_secs_f64() * 1e3));
        let settings = ask(&mut connection, "stats settings").map_err(failed)?;
        version(&stats, report);
        cas(&settings, report);
        if report.findings.iter().all(|finding| finding.severity != Severity::Unfit) {
            let mut link = Link::new(connection).map_err(failed)?;
            one_server(server, &mut link, report).map_err(failed)?;
            era(&link, &stats, report);
        }
        losses(&stats, report);
        memory(&stats, report);
        eviction(&settings, report);
        clock(&stats, report);
        flush(&settings, report);
        Ok(())
    })
}

fn ask(connection: &mut Connection, command: &str) -> Result<Stats, Failure> {
    Replies::new(connection.ask(&Request::for_stats(command))?).stats()
}

/// Checks that the name leads to one server, whichever connection is asked.
fn one_server(server: &Server, link: &mut Link, report: &mut Report) -> Result<(), Failure> {
    let survey = server.survey(link)?;
    for (address, why) in &survey.silent {
        let text = format!("{address} does not answer ({why}), and must lead to the same server when it does");
        // A server that listens on one kind of address only.
        let severity = if server.to_string().starts_with("localhost:") { Severity::Ok } else { Severity::Warning };
        report.add("address", severity, text);
    }
    let count = |count: usize, one, many| format!("{count} {}", if count == 1 { one } else { many });
    match survey.difference {
        Some(difference) => report.add("one server", Severity::Unfit, two_servers(&difference)),
        None => report.add(
            "one server",
            Severity::Ok,
            format!(
                "{} to {} lead to {}",
                count(survey.dials, "connection", "connections"),
                count(survey.addresses.len(), "address", "addresses"),
                link.epoch().identity.shown(Connection::date)
            ),
        ),
    }
    Ok(())
}

fn version(stats: &Stats, report: &mut Report) {
    let shown = stats.text("version").unwrap_or("unknown").escape_debug().to_string();
    match ServerVersion::parse(&shown) {
        Some(version) if version >= OLDEST => report.add("version", Severity::Ok, format!("memcached {shown}")),
        _ => report.add(
            "version",
            Severity::Unfit,
            format!("memcached {shown}: the conditional delete that locks need works from {OLDEST} on; upgrade it"),
        ),
    }
}

fn cas(settings: &Stats, report: &mut Report) {
    if settings.text("cas_enabled") == Some("no") {
        report.add("cas", Severity::Unfit, "CAS is off, and nobody can lock on that: start memcached without -C");
    } else {
        report.add("cas", Severity::Ok, "CAS is on");
    }
}

fn era(link: &Link, stats: &Stats, report: &mut Report) {
    let epoch = link.epoch();
    let info = epoch.info(link.connection.now());
    let uptime = Duration::from_secs(stats.number("uptime").unwrap_or(0));
    let since = unix_now().saturating_sub(Duration::from_secs(epoch.made));
    report.add(
        "era",
        Severity::Ok,
        format!(
            "era {} began {} ago; the server is up for {}, and has lost nothing for {} at least",
            info.id,
            ago(since),
            ago(uptime),
            ago(info.lossless_for)
        ),
    );
    if let Some(era) = report.findings.last_mut() {
        era.lossless_for = Some(info.lossless_for);
    }
}

fn losses(stats: &Stats, report: &mut Report) {
    let lost: Vec<_> = LOSSES
        .iter()
        .filter_map(|name| stats.number(name).filter(|count| *count > 0).map(|count| format!("{name} {count}")))
        .collect();
    if lost.is_empty() {
        report.add("losses", Severity::Ok, "no flush and no eviction since the server's start");
    } else {
        let text = format!(
            "{} since the server's start: give locks a server of their own, with enough memory",
            lost.join(", ")
        );
        report.add("losses", Severity::Warning, text);
    }
}

fn memory(stats: &Stats, report: &mut Report) {
    let (used, limit) = (stats.number("bytes").unwrap_or(0), stats.number("limit_maxbytes").unwrap_or(0));
    let percent = used.saturating_mul(100).checked_div(limit).unwrap_or(0);
    let text = format!("{:.1} of {:.1} MiB used", mebibytes(used), mebibytes(limit));
    if percent >= FULL {
        report.add("memory", Severity::Warning, format!("{text}: give it more (memcached -m)"));
    } else {
        report.add("memory", Severity::Ok, text);
    }
}

fn eviction(settings: &Stats, report: &mut Report) {
    let off = settings.text("evictions") == Some("off");
    let temporary = settings.number("temporary_ttl").filter(|_| settings.text("temp_lru") == Some("yes"));
    match (off, temporary) {
        (true, _) => report.add("eviction", Severity::Ok, "a full server refuses writes, and drops no lock (-M)"),
        (false, Some(seconds)) => report.add(
            "eviction",
            Severity::Ok,
            format!(
                "entries of up to {seconds} s are never evicted; leases of up to {} s are safe",
                seconds.saturating_sub(2)
            ),
        ),
        (false, None) => report.add(
            "eviction",
            Severity::Warning,
            "a full server drops locks that are held: start memcached with `-o temporary_ttl=61` (keeps leases of up \
             to 59 s), or give locks a server of their own with -M",
        ),
    }
    if settings.text("slab_reassign") == Some("yes") && settings.number("slab_automove").unwrap_or(0) > 0 {
        report.add(
            "slab moves",
            Severity::Ok,
            "memory may be moved between item sizes, which can drop an item in use: `-o no_slab_reassign` on a server \
             of its own prevents it",
        );
    }
}

fn clock(stats: &Stats, report: &mut Report) {
    let Some(clock) = ServerClock::read(stats) else {
        return report.add("clock", Severity::Unfit, "`stats` shows no sensible time and uptime: is it memcached?");
    };
    let difference = unix_now().as_secs().abs_diff(clock.now);
    if difference > CLOCK_DIFFERENCE {
        let text = format!(
            "the server's clock is {difference} s from ours: leases do not depend on it, but times shown do, and \
             tokens if it is set back at a restart; set it by NTP"
        );
        report.add("clock", Severity::Warning, text);
    } else {
        report.add("clock", Severity::Ok, format!("within {CLOCK_DIFFERENCE} s of ours"));
    }
}

fn flush(settings: &Stats, report: &mut Report) {
    match settings.text("flush_enabled") {
        Some("no") => report.add("flush", Severity::Ok, "flush_all is off (-F)"),
        _ => report.add(
            "flush",
            Severity::Ok,
            "any client may drop all locks by flush_all, which ends the era; start memcached with -F to forbid it",
        ),
    }
}

/// Returns a length of time as a person says it.
fn ago(length: Duration) -> impl fmt::Display {
    humantime::format_duration(Duration::from_secs(length.as_secs()))
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

fn unix_now() -> Duration {
    // A clock before 1970 shows as a difference of half a century, which is what it is.
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[expect(clippy::cast_precision_loss, reason = "for display with one decimal")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}
