//! What `kvlock doctor` says about a Redis or Valkey server, or about the masters of a cluster.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kvlock_protocol::Failure;

use super::super::{EraInfo, Finding, Severity, StoreError};
use super::bucket::Mode;
use super::info::{Info, version};
use super::link::Link;
use super::refusal;
use super::reply::{Reply, foreign};
use super::server::Server;
use super::whereabouts::Whereabouts;

/// The oldest version whose scripts may ask for the time and then write, and that picks random fields of a hash.
const OLDEST: [u32; 3] = [6, 2, 0];

/// How far a server's clock may be from ours.
const CLOCK_DIFFERENCE: Duration = Duration::from_secs(2);

/// A share of its memory, in percent, from which on a server is called full.
const FULL: u64 = 90;

/// The longest that replicas may be silent before a master refuses writes: a lease has to outlast it.
const LONGEST_LAG: u64 = 10;

/// Looks at each master of a store: at the first bucket that it has. Stops at what makes the rest unknowable.
pub(super) fn diagnose(servers: &[Arc<Server>]) -> Vec<Finding> {
    let mut report = Report { subject: String::new(), findings: Vec::new() };
    let mut looked_at = Vec::new();
    for server in servers {
        report.subject = server.whereabouts.to_string();
        match &server.whereabouts {
            Whereabouts::Fixed(_) => {}
            Whereabouts::Watched(sentinels) => {
                for (place, told) in sentinels.survey(server.timeouts) {
                    report.sentinel(&place, told);
                }
            }
            Whereabouts::Clustered(nodes, hash) => match nodes.master(hash, server.timeouts) {
                Ok(master) => report.subject = master.to_string(),
                Err(failure) => {
                    report.add("reachable", Severity::Unfit, server.on_read(failure).to_string());
                    break;
                }
            },
        }
        if looked_at.contains(&report.subject) {
            continue;
        }
        looked_at.push(report.subject.clone());
        if let Err(error) = examine(server, &mut report) {
            report.add("reachable", Severity::Unfit, error.to_string());
        }
    }
    report.findings
}

fn examine(server: &Server, report: &mut Report) -> Result<(), StoreError> {
    let failed = |failure| server.on_read(failure);
    let started = Instant::now();
    let mut link = server.bare(server.timeouts)?;
    let took = started.elapsed();
    let info = Info::ask(&mut link).map_err(failed)?;
    report.add("reachable", Severity::Ok, format!("connected in {:.1} ms", took.as_secs_f64() * 1e3));
    report.version(server, &info);
    let mode = server.setup.bucket.mode;
    if !report.role(&info, mode) {
        return Ok(());
    }
    if mode == Mode::Cluster {
        report.cluster(&mut link).map_err(failed)?;
    }
    match server.survey() {
        Ok(connections) => {
            report.add("one master", Severity::Ok, format!("{connections} connections lead to the same process"));
        }
        Err(error) => report.add("one master", Severity::Unfit, error.to_string()),
    }
    match server.era() {
        Ok(told) => report.era(told, &info),
        Err(error) => report.add("era", Severity::Unfit, error.to_string()),
    }
    report.clock(&mut link).map_err(failed)?;
    report.replicas(server, &info, &mut link).map_err(failed)?;
    report.eviction(&info);
    report.memory(&info);
    report.persistence(&info);
    report.idle(server, &mut link).map_err(failed)
}

struct Report {
    subject: String,
    findings: Vec<Finding>,
}

impl Report {
    fn add(&mut self, check: &'static str, severity: Severity, text: impl Into<String>) {
        self.findings.push(Finding::new(self.subject.clone(), check, severity, text));
    }

    fn sentinel(&mut self, place: &str, told: Result<Info, String>) {
        let told = match told {
            Ok(told) => told,
            Err(why) => return self.add("sentinel", Severity::Warning, format!("sentinel {place}: {why}")),
        };
        let of = |name| told.text(name).unwrap_or("?");
        let text = format!(
            "sentinel {place} says {}:{}, watched by {} more, quorum {}, down after {} ms",
            of("ip"),
            of("port"),
            of("num-other-sentinels"),
            of("quorum"),
            of("down-after-milliseconds")
        );
        let others = told.number("num-other-sentinels").unwrap_or(0);
        match others {
            2.. => self.add("sentinel", Severity::Ok, text.escape_debug().to_string()),
            _ => self.add(
                "sentinel",
                Severity::Warning,
                format!("{}: with fewer than three, none is left to decide once one is lost", text.escape_debug()),
            ),
        }
    }

    fn version(&mut self, server: &Server, info: &Info) {
        let of_valkey = info.text("valkey_version").map(|text| ("Valkey", text));
        let of_redis = || ("Redis", info.text("redis_version").unwrap_or("unknown"));
        let (name, text) = of_valkey.unwrap_or_else(of_redis);
        let shown = text.escape_debug();
        match version(text) {
            Some(version) if version >= OLDEST => self.add("version", Severity::Ok, format!("{name} {shown}")),
            _ => self.add(
                "version",
                Severity::Unfit,
                format!("{name} {shown}: scripts do what locks need from 6.2 on; upgrade {}", server.engine),
            ),
        }
    }

    /// Whether it is a server to lock on.
    fn role(&mut self, info: &Info, wanted: Mode) -> bool {
        let mode = info.text("redis_mode").unwrap_or("?").escape_debug().to_string();
        let role = info.text("role").unwrap_or("?").escape_debug().to_string();
        match (mode.as_str(), role.as_str()) {
            (mode, "master") if mode == wanted.name() => {
                self.add("role", Severity::Ok, "master");
                return true;
            }
            ("standalone", "slave") => {
                self.add("role", Severity::Unfit, "a replica: name the master, or its sentinels")
            }
            ("standalone", _) if wanted == Mode::Cluster => self.add("role", Severity::Unfit, refusal::NO_NODE),
            ("cluster", _) if wanted == Mode::Standalone => self.add("role", Severity::Unfit, refusal::A_NODE),
            _ => self.add("role", Severity::Unfit, format!("mode {mode}, role {role}: name a master of its own")),
        }
        false
    }

    fn cluster(&mut self, link: &mut Link) -> Result<(), Failure> {
        let reply = link.ask(&[b"CLUSTER", b"INFO"])?;
        let told = Info::parse(reply.text().unwrap_or_default());
        let of = |name| told.text(name).unwrap_or("?").escape_debug().to_string();
        let text = format!(
            "state {}, {} masters, {} slots served",
            of("cluster_state"),
            of("cluster_size"),
            of("cluster_slots_ok")
        );
        match told.text("cluster_state") {
            Some("ok") => self.add("cluster", Severity::Ok, text),
            _ => self.add(
                "cluster",
                Severity::Unfit,
                format!("{text}: bring its nodes back, and give each slot a master"),
            ),
        }
        Ok(())
    }

    fn era(&mut self, told: EraInfo, info: &Info) {
        let uptime = Duration::from_secs(info.number("uptime_in_seconds").unwrap_or(0));
        let text = format!(
            "era {}; the server is up for {}, and has lost nothing for {} at least",
            told.id,
            ago(uptime),
            ago(told.lossless_for)
        );
        self.add("era", Severity::Ok, text);
        if let Some(era) = self.findings.last_mut() {
            era.lossless_for = Some(told.lossless_for);
        }
    }

    fn clock(&mut self, link: &mut Link) -> Result<(), Failure> {
        let before = unix_now();
        let reply = link.ask(&[b"TIME"])?;
        let after = unix_now();
        let [seconds, micros] = reply.items() else { return Err(foreign(b"no time")) };
        let told = Duration::from_secs(seconds.number().unwrap_or(0))
            + Duration::from_micros(micros.number().unwrap_or(0).min(999_999));
        let difference = before.saturating_sub(told).max(told.saturating_sub(after));
        if difference > CLOCK_DIFFERENCE {
            let text = format!(
                "the server's clock is {} s from ours: leases end by the server's clock, and a step forward ends them \
                 early; set it by NTP, and never step it",
                difference.as_secs()
            );
            self.add("clock", Severity::Warning, text);
        } else {
            let text = format!("within {} s of ours", CLOCK_DIFFERENCE.as_secs());
            self.add("clock", Severity::Ok, text);
        }
        Ok(())
    }

    fn replicas(&mut self, server: &Server, info: &Info, link: &mut Link) -> Result<(), Failure> {
        let count = info.number("connected_slaves").unwrap_or(0);
        let asked = u64::from(server.setup.replicas);
        if count < asked {
            let text = format!("{count} are connected, and `replicas={asked}` asks for more: nothing is granted");
            self.add("replicas", Severity::Unfit, text);
            return Ok(());
        }
        if count == 0 {
            self.add("replicas", Severity::Ok, "none: a restart ends all locks, and nobody takes its place");
            return Ok(());
        }
        let least = setting(link, "min-replicas-to-write")?.and_then(|text| text.parse::<u64>().ok());
        let lag = setting(link, "min-replicas-max-lag")?.and_then(|text| text.parse::<u64>().ok());
        match (asked, least, lag) {
            (0, ..) => self.add(
                "replicas",
                Severity::Warning,
                format!(
                    "{count}: if the master is cut off or frozen while one of them is promoted, both grant the same lock, with \
                     tokens in order; `?replicas=1` in the URL prevents that"
                ),
            ),
            (_, None, _) => self.add(
                "replicas",
                Severity::Warning,
                format!("{count}: cannot tell whether min-replicas-to-write is 1 or more, as it should be"),
            ),
            (_, Some(0), _) => self.add(
                "replicas",
                Severity::Warning,
                format!(
                    "{count}: a master that is cut off takes writes that will be lost: set min-replicas-to-write to 1 and \
                     min-replicas-max-lag to {LONGEST_LAG} or less"
                ),
            ),
            (_, Some(least), Some(lag)) if lag > LONGEST_LAG => self.add(
                "replicas",
                Severity::Warning,
                format!("{count}, {least} needed for a write, silent for up to {lag} s: set min-replicas-max-lag to 10 or less"),
            ),
            (_, Some(least), _) => {
                self.add("replicas", Severity::Ok, format!("{count}, {least} needed for a write, {asked} for a grant"));
            }
        }
        Ok(())
    }

    fn eviction(&mut self, info: &Info) {
        let evicted = info.number("evicted_keys").unwrap_or(0);
        let limit = info.number("maxmemory").unwrap_or(0);
        match info.text("maxmemory_policy") {
            _ if limit == 0 => self.add("eviction", Severity::Ok, "no limit of memory: nothing is evicted"),
            Some("noeviction") => {
                self.add("eviction", Severity::Ok, "a full server refuses writes, and drops no lock (noeviction)");
            }
            Some(policy) if policy.starts_with("volatile-") => {
                let text = format!("{policy}: kvlock's hash has no ttl, and is never evicted");
                self.add("eviction", Severity::Ok, text);
            }
            Some(policy) => self.add(
                "eviction",
                Severity::Unfit,
                format!(
                    "{}: a full server drops all locks at once ({evicted} keys were evicted so far): set maxmemory-policy to \
                     noeviction or volatile-lru",
                    policy.escape_debug()
                ),
            ),
            None => self.add("eviction", Severity::Warning, "cannot tell the maxmemory-policy: it must not be allkeys-…"),
        }
    }

    fn memory(&mut self, info: &Info) {
        let (used, limit) = (info.number("used_memory").unwrap_or(0), info.number("maxmemory").unwrap_or(0));
        let percent = used.saturating_mul(100).checked_div(limit).unwrap_or(0);
        let text = match limit {
            0 => format!("{:.1} MiB used, without a limit", mebibytes(used)),
            _ => format!("{:.1} of {:.1} MiB used", mebibytes(used), mebibytes(limit)),
        };
        if percent >= FULL {
            self.add("memory", Severity::Warning, format!("{text}: give it more (maxmemory)"));
        } else {
            self.add("memory", Severity::Ok, text);
        }
    }

    fn persistence(&mut self, info: &Info) {
        let aof = info.number("aof_enabled") == Some(1);
        let failed = info.text("rdb_last_bgsave_status").is_some_and(|status| status != "ok");
        if failed {
            let text = "the last snapshot failed: the server may refuse writes until one succeeds; look into its log";
            return self.add("persistence", Severity::Warning, text);
        }
        let kept =
            if aof { "semaphores outlive a restart (append-only file)" } else { "a restart may lose semaphores" };
        self.add("persistence", Severity::Ok, format!("{kept}; a restart ends all locks"));
    }

    fn idle(&mut self, server: &Server, link: &mut Link) -> Result<(), Failure> {
        match setting(link, "timeout")?.as_deref() {
            None => self.add("settings", Severity::Ok, "CONFIG is hidden, as managed services do"),
            Some("0") => {
                let hash = &server.setup.bucket.hash;
                self.add("settings", Severity::Ok, format!("idle connections stay open; the data is in `{hash}`"));
            }
            Some(seconds) => {
                let text =
                    format!("connections that are idle for {} s are closed, and opened again", seconds.escape_debug());
                self.add("settings", Severity::Ok, text);
            }
        }
        Ok(())
    }
}

/// A setting of the server; none if it does not tell.
fn setting(link: &mut Link, name: &str) -> Result<Option<String>, Failure> {
    match link.ask(&[b"CONFIG", b"GET", name.as_bytes()]) {
        Ok(reply) => Ok(reply.items().get(1).and_then(Reply::text).map(String::from)),
        Err(Failure::Refused(_)) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// A length of time as a person says it.
fn ago(length: Duration) -> impl std::fmt::Display {
    humantime::format_duration(Duration::from_secs(length.as_secs()))
}

fn unix_now() -> Duration {
    // A clock before 1970 shows as a difference of half a century, which is what it is.
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[expect(clippy::cast_precision_loss, reason = "for display with one decimal")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}
