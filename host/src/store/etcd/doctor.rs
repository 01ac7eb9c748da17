//! What `kvlock doctor` says about an etcd cluster.

use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha1::{Digest, Sha1};

use super::super::{Finding, Severity};
use super::cluster::{Cluster, Kind};
use super::era::{ERA, Eras, two_clusters};
use super::failure::Failure;
use super::version;
use super::wire::{AlarmsReply, Member, MembersReply, StatusReply, range, txn};

/// A read that takes longer than this is slow: a renewal takes as long.
const SLOW: Duration = Duration::from_millis(500);

/// The limit of the size unless etcd is told another, in bytes.
const USUAL_QUOTA: u64 = 2 << 30;

/// A share of that limit, in percent, from which on a cluster is called full.
const FULL: u64 = 80;

/// The token of a cluster that was given none.
const DEFAULT_TOKEN: &str = "etcd-cluster";

/// How long to look if leaders change.
const LOOK: Duration = Duration::from_millis(300);

/// Looks at each member that the URL names, and at the cluster.
pub(super) fn diagnose(cluster: &Cluster, eras: &Eras) -> Vec<Finding> {
    let mut report = Report::default();
    let before = members(cluster, &mut report);
    let list: Result<MembersReply, Failure> = ask(cluster, "cluster/member/list");
    if let Some((member, status)) = before.iter().flatten().next() {
        report.subject.clone_from(member);
        read(cluster, &mut report);
        match &list {
            Ok(list) => structure(list, status, &mut report),
            Err(failure) => report.failed("members", failure.clone()),
        }
        alarms(cluster, &mut report);
        space(&before, &mut report);
        let count = list.as_ref().map_or(0, |list| list.members.len());
        for (member, status) in before.iter().flatten() {
            let (severity, text) = version::judge(&status.version, count);
            report.add_about(member, "version", severity, text);
        }
        leaders(cluster, &before, &mut report);
        login(cluster, &mut report);
        era(cluster, eras, &mut report);
    }
    report.findings
}

type Statuses = Vec<Option<(String, StatusReply)>>;

fn ask<T: DeserializeOwned>(cluster: &Cluster, path: &str) -> Result<T, Failure> {
    cluster.ask(Kind::Repeatable, path, &json!({}), cluster.budget())
}

fn status(cluster: &Cluster, at: usize) -> Result<StatusReply, Failure> {
    cluster.ask_member(&cluster.members[at], "maintenance/status", b"{}")
}

/// Asks each member of the URL how it is: whether it answers, and of which cluster it is.
fn members(cluster: &Cluster, report: &mut Report) -> Statuses {
    let mut statuses: Statuses = Vec::new();
    for (at, member) in cluster.members.iter().enumerate() {
        report.subject = member.to_string();
        let asked = Instant::now();
        let status = match status(cluster, at) {
            Ok(status) => status,
            Err(failure) => {
                // The others do its work; without any, nobody does.
                report.failed_with(
                    "reachable",
                    if cluster.members.len() > 1 { Severity::Warning } else { Severity::Unfit },
                    failure,
                );
                statuses.push(None);
                continue;
            }
        };
        let took = asked.elapsed().as_secs_f64() * 1e3;
        report.add("reachable", Severity::Ok, format!("answered in {took:.1} ms"));
        let other = statuses.iter().flatten().map(|(_, other)| other.header.cluster_id);
        if let Some(other) = other.into_iter().find(|other| *other != status.header.cluster_id) {
            report.add("one cluster", Severity::Unfit, two_clusters(member, status.header.cluster_id, other));
        }
        if status.is_learner {
            let text = "it is a learner, which refuses writes: promote it, or leave it out of the store's URL";
            report.add("learner", Severity::Warning, text);
        }
        statuses.push(Some((member.to_string(), status)));
    }
    if statuses.iter().all(Option::is_none) && statuses.len() > 1 {
        report.add("reachable", Severity::Unfit, "no member of the store's URL answers");
    }
    statuses
}

/// Whether a quorum answers, and how fast.
fn read(cluster: &Cluster, report: &mut Report) {
    let asked = Instant::now();
    if let Err(failure) = cluster.txn(Kind::Repeatable, &txn(&[], &[range(ERA)], &[]), cluster.budget()) {
        return report.failed("quorum", failure);
    }
    let took = asked.elapsed();
    let text = format!("a consistent read took {:.1} ms", took.as_secs_f64() * 1e3);
    match took > SLOW {
        true => {
            let text = format!("{text}, and so does a renewal: look at the disks and the network, and use long leases");
            report.add("quorum", Severity::Warning, text);
        }
        false => report.add("quorum", Severity::Ok, text),
    }
}

fn structure(list: &MembersReply, status: &StatusReply, report: &mut Report) {
    let voters = list.members.iter().filter(|member| !member.is_learner).count();
    let text = match voters {
        0 | 1 => "one member: locks survive its restart, and there are none while it is away".to_string(),
        2 => "two members: there are no locks while either is away; three survive the loss of one".to_string(),
        _ => format!("{voters} members vote; locks survive the loss of {}", (voters - 1) / 2),
    };
    report.add("members", Severity::Ok, text);
    if status.leader == 0 {
        report.add("leader", Severity::Unfit, "there is no leader: too few members are up, or cannot reach each other");
    }
    let by_default = list.members.iter().any(|member| member_id(member, DEFAULT_TOKEN) == member.id);
    let cluster = list.header.cluster_id;
    let text = match by_default {
        true => format!(
            "cluster {cluster:x} has the default token, so nobody can tell a restored snapshot from it: restore under \
             another --initial-cluster-token, or delete the key `kvlock/era` before clients come back"
        ),
        false => format!("cluster {cluster:x} has a token of its own: restore a snapshot under another one"),
    };
    report.add("token", Severity::Ok, text);
}

/// Returns the id that etcd gives to a member of a new cluster.
fn member_id(member: &Member, token: &str) -> u64 {
    let mut peers = member.peers.clone();
    peers.sort();
    let hash = Sha1::digest([peers.concat().as_bytes(), token.as_bytes()].concat());
    hash.iter().take(8).fold(0, |id, byte| id << 8 | u64::from(*byte))
}

fn alarms(cluster: &Cluster, report: &mut Report) {
    let body: Value = json!({ "action": "GET" });
    let alarms: Result<AlarmsReply, Failure> =
        cluster.ask(Kind::Repeatable, "maintenance/alarm", &body, cluster.budget());
    match alarms {
        Ok(AlarmsReply { alarms }) if alarms.is_empty() => report.add("alarms", Severity::Ok, "none"),
        Ok(AlarmsReply { alarms }) => {
            for alarm in alarms {
                let advice = match alarm.alarm.as_str() {
                    "NOSPACE" => {
                        "no lock is granted: compact and defragment, or raise --quota-backend-bytes; then `etcdctl alarm \
                         disarm`"
                    }
                    "CORRUPT" => "members differ in what they have: replace the one that is wrong",
                    _ => "see etcd's own log",
                };
                report.add("alarms", Severity::Unfit, format!("{}: {advice}", alarm.alarm.escape_debug()));
            }
        }
        // The root role may ask, and others may not.
        Err(Failure::Refused(_)) => report.add("alarms", Severity::Ok, "this user may not ask for them"),
        Err(failure) => report.failed("alarms", failure),
    }
}

fn space(statuses: &Statuses, report: &mut Report) {
    let Some((member, status)) = statuses.iter().flatten().max_by_key(|(_, status)| status.size) else { return };
    let quota = if status.quota > 0 { status.quota } else { USUAL_QUOTA };
    let percent = status.size.saturating_mul(100) / quota;
    let of = if status.quota > 0 { "its quota of" } else { "the usual quota of" };
    let text = format!("{:.1} MiB, {percent} % of {of} {} MiB", mebibytes(status.size), quota >> 20);
    match percent >= FULL {
        true => {
            let text = format!("{text}: beyond it no lock is granted; compact and defragment, or raise it");
            report.add_about(member, "space", Severity::Warning, text);
        }
        false => report.add_about(member, "space", Severity::Ok, text),
    }
}

/// Whether the leader stays for a moment.
fn leaders(cluster: &Cluster, before: &Statuses, report: &mut Report) {
    std::thread::sleep(LOOK);
    for (at, earlier) in before.iter().enumerate() {
        let (Some((_, earlier)), Ok(now)) = (earlier, status(cluster, at)) else { continue };
        let text = match now.term == earlier.term {
            true => format!("term {}, and the same a moment later", now.term),
            false => {
                let text = format!(
                    "the leader changed from term {} to {} while it was looked at: look at the load, the disks and the \
                     network",
                    earlier.term, now.term
                );
                return report.add("leader", Severity::Warning, text);
            }
        };
        return report.add("leader", Severity::Ok, text);
    }
}

fn login(cluster: &Cluster, report: &mut Report) {
    if cluster.is_login_needless() {
        let text = "there is a login, and the cluster lets everybody in: `etcdctl auth enable`";
        report.add("login", Severity::Warning, text);
    }
}

fn era(cluster: &Cluster, eras: &Eras, report: &mut Report) {
    let info = match eras.info(cluster, cluster.budget()) {
        Ok(info) => info,
        Err(failure) => return report.failed("era", failure),
    };
    let since = match info.lossless_for {
        Duration::MAX => "nothing is known to have been lost".to_string(),
        lossless => format!("nothing was lost for {} s at least", lossless.as_secs()),
    };
    report.add("era", Severity::Ok, format!("{}, {since}", info.id));
    if let Some(era) = report.findings.last_mut() {
        era.lossless_for = Some(info.lossless_for);
    }
}

#[derive(Default)]
struct Report {
    subject: String,
    findings: Vec<Finding>,
}

impl Report {
    fn add(&mut self, check: &'static str, severity: Severity, text: impl Into<String>) {
        self.findings.push(Finding::new(self.subject.clone(), check, severity, text));
    }

    fn add_about(&mut self, subject: &str, check: &'static str, severity: Severity, text: impl Into<String>) {
        self.findings.push(Finding::new(subject, check, severity, text));
    }

    fn failed(&mut self, check: &'static str, failure: Failure) {
        self.failed_with(check, Severity::Unfit, failure);
    }

    fn failed_with(&mut self, check: &'static str, severity: Severity, failure: Failure) {
        self.add(check, severity, failure.of_read().to_string());
    }
}

#[expect(clippy::cast_precision_loss, reason = "for display with one decimal")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_of_a_cluster_with_the_default_token_is_known_by_its_id() {
        let peers = vec!["http://127.0.0.1:23800".to_string()];
        let member = Member { id: 3_319_814_642_761_637_952, peers, is_learner: false };
        assert_eq!(member_id(&member, DEFAULT_TOKEN), member.id);
        assert_ne!(member_id(&member, "another"), member.id);
    }
}
