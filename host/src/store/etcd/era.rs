//! Eras: how a loss is noticed that etcd itself does not tell.
//!
//! etcd loses nothing by itself. What loses is a snapshot that is restored, a data folder that is deleted, or a hand that
//! deletes our keys. So a cluster has a key [`ERA`] with the era's id and the id of the cluster, and each transaction
//! compares it. An era is over if
//!
//! - the key is gone, or another stands there;
//! - it was written in another cluster: a snapshot was restored under a new token;
//! - the cluster's revision is below one that this client has seen: a snapshot was restored under the same token. The ids
//!   of cluster and members are the same then, and a client that comes later cannot see it.
//!
//! **The numbers.** An era's id is the wall clock's nanoseconds when it was begun, or more: above each era that its
//! client has seen or found, by at least [`ROOM`], so that `era + number` grows. [`LAST`] keeps the id of the last era
//! even if somebody deletes the key of the era, as an operator has to after restoring under the same token.
//!
//! **What was not lost.** The first era of a cluster was begun over nothing. Every other one was begun over a loss, and
//! says so. etcd tells no time, so the key [`QUARANTINE`] stands beside such an era under a lease of an hour: what has
//! passed of the lease has passed since the loss. A leader that changes starts the lease again, which makes the time
//! shorter, and is safe. After the hour the wall clock counts, and never tells less than the hour.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::super::EraInfo;
use super::cluster::{Budget, Cluster, Kind};
use super::failure::Failure;
use super::leases;
use super::wire::{Header, Kv, StatusReply, if_created, if_value, if_written, put, range, txn};

/// Where the era stands.
pub(super) const ERA: &[u8] = b"kvlock/era";

/// Where the id of the last era stands.
const LAST: &[u8] = b"kvlock/last-era";

/// What an era that was begun over a loss has beside it for an hour.
const QUARANTINE: &[u8] = b"kvlock/quarantine";

/// What entries are not called, because the keys above are.
pub(super) const RESERVED: [&str; 3] = ["era", "last-era", "quarantine"];

/// By how much an era's id is above the one before it at least, besides the writes that are known of: 18 minutes in
/// nanoseconds, as clocks differ, and far more writes than are unknown.
const ROOM: u64 = 1 << 40;

/// How long the lease of [`QUARANTINE`] is.
const HOUR: Duration = Duration::from_secs(3600);

/// How often an era is begun that is gone when it is read back. More than that is no accident.
const ATTEMPTS: usize = 4;

/// An era, as it stands in the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Era {
    pub(super) id: u64,
    cluster: u64,
    is_after_loss: bool,
    /// The text that it stands there as.
    text: Vec<u8>,
    /// The revision at which its key was made.
    created: u64,
}

impl Era {
    fn parse(kv: &Kv) -> Result<Era, Failure> {
        let era = std::str::from_utf8(&kv.value).ok().and_then(|text| {
            let mut words = text.split(' ');
            let (id, cluster, begun) = (words.next()?, words.next()?.strip_prefix("cluster=")?, words.next()?);
            let is_after_loss = match begun {
                "first" => false,
                "after-loss" => true,
                _ => return None,
            };
            let (id, cluster) = (id.parse().ok()?, u64::from_str_radix(cluster, 16).ok()?);
            words.next().is_none().then_some((id, cluster, is_after_loss))
        });
        let Some((id, cluster, is_after_loss)) = era else {
            let key = String::from_utf8_lossy(ERA);
            return Err(Failure::Refused(format!(
                "the key `{key}` has a value that is not kvlock's, and is left as it is"
            )));
        };
        Ok(Era { id, cluster, is_after_loss, text: kv.value.clone(), created: kv.create_revision })
    }

    fn text(id: u64, cluster: u64, is_after_loss: bool) -> String {
        format!("{id} cluster={cluster:x} {}", if is_after_loss { "after-loss" } else { "first" })
    }

    /// Returns what a transaction compares, so that it does nothing in another era.
    pub(super) fn conditions(&self) -> [Value; 2] {
        [if_created(ERA, self.created), if_value(ERA, &self.text)]
    }

    /// Returns if a transaction that compared the era, and was carried out, was so in a cluster that has lost nothing
    /// since `before`.
    pub(super) fn holds(&self, before: &Known, header: &Header) -> bool {
        header.cluster_id == self.cluster && header.revision >= before.revision
    }
}

/// What a client has seen.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) era: Arc<Era>,
    /// The largest revision.
    revision: u64,
    /// Since when the contents count, if they are not known to have been lost before the era began.
    since: Option<Instant>,
}

/// What a reply tells about the era.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Current(Arc<Era>),
    Over,
}

/// The eras as one process has seen them.
#[derive(Debug, Default)]
pub(super) struct Eras {
    known: Mutex<Option<Known>>,
}

impl Eras {
    /// Returns what has been seen so far: to be asked before a request is sent, and compared with its reply.
    pub(super) fn known(&self) -> Option<Known> {
        self.lock().clone()
    }

    /// Returns what has been seen, after finding out if nothing has been.
    pub(super) fn known_or_found(&self, cluster: &Cluster, budget: Budget) -> Result<Known, Failure> {
        if let Some(known) = self.known() {
            return Ok(known);
        }
        let era = self.establish(cluster, budget)?;
        // Another thread may have seen a later one meanwhile.
        Ok(self.known().unwrap_or(Known { era, revision: 0, since: None }))
    }

    /// Tells what a reply means that shows this era. `before` was known before the request was sent.
    pub(super) fn judge(&self, before: Option<&Known>, header: &Header, kv: Option<&Kv>) -> Result<Verdict, Failure> {
        match before {
            Some(before) if before.era.cluster != header.cluster_id => Ok(Verdict::Over),
            _ => self.judge_wherever(before, header, kv),
        }
    }

    /// Like [`judge`](Self::judge), for a cluster that may be another one than before.
    fn judge_wherever(&self, before: Option<&Known>, header: &Header, kv: Option<&Kv>) -> Result<Verdict, Failure> {
        let Some(kv) = kv else { return Ok(Verdict::Over) };
        let era = Era::parse(kv)?;
        if era.cluster != header.cluster_id || before.is_some_and(|before| !before.goes_on(&era, header)) {
            return Ok(Verdict::Over);
        }
        Ok(Verdict::Current(self.learn(era, header.revision)))
    }

    /// Notes a revision that a transaction has shown.
    pub(super) fn note(&self, era: &Era, revision: u64) {
        if let Some(known) = self.lock().as_mut().filter(|known| *known.era == *era) {
            known.revision = known.revision.max(revision);
        }
    }

    fn learn(&self, era: Era, revision: u64) -> Arc<Era> {
        let mut known = self.lock();
        match known.as_mut() {
            Some(same) if *same.era == era => {
                same.revision = same.revision.max(revision);
                Arc::clone(&same.era)
            }
            // Another thread has seen more.
            Some(later) if later.era.id > era.id => Arc::new(era),
            other => {
                let counts_from_now = other.is_some_and(|old| old.era.cluster != era.cluster || !era.is_after_loss);
                let era = Arc::new(era);
                let since = counts_from_now.then(Instant::now);
                *known = Some(Known { era: Arc::clone(&era), revision, since });
                era
            }
        }
    }

    /// Finds out the era, and begins one if there is none that goes on from what has been seen.
    pub(super) fn establish(&self, cluster: &Cluster, budget: Budget) -> Result<Arc<Era>, Failure> {
        for _ in 0..ATTEMPTS {
            let before = self.known();
            let look = txn(&[], &[range(ERA), range(LAST)], &[]);
            let mut reply = cluster.txn(Kind::Repeatable, &look, budget)?;
            let [era, last] = reply.take()?;
            let (era, last) = (era.found(ERA)?, last.found(LAST)?);
            if let Some(before) = before.as_ref().filter(|before| before.era.cluster != reply.header.cluster_id) {
                no_second_cluster(cluster, before.era.cluster, reply.header.cluster_id)?;
            }
            match self.judge_wherever(before.as_ref(), &reply.header, era.as_ref())? {
                Verdict::Current(era) => return Ok(era),
                Verdict::Over => begin(cluster, before.as_ref(), &reply.header, [era, last], budget)?,
            }
        }
        let key = String::from_utf8_lossy(ERA);
        Err(Failure::NotDone(format!("the key `{key}` is gone or another as soon as it is made: who deletes it?")))
    }

    /// Returns the era, and for how long nothing has been lost.
    pub(super) fn info(&self, cluster: &Cluster, budget: Budget) -> Result<EraInfo, Failure> {
        for _ in 0..ATTEMPTS {
            let before = self.known();
            let look = txn(&[], &[range(ERA), range(QUARANTINE)], &[]);
            let mut reply = cluster.txn(Kind::Repeatable, &look, budget)?;
            let [era, quarantine] = reply.take()?;
            let (era, quarantine) = (era.found(ERA)?, quarantine.found(QUARANTINE)?);
            let Verdict::Current(era) = self.judge(before.as_ref(), &reply.header, era.as_ref())? else {
                self.establish(cluster, budget)?;
                continue;
            };
            let told = match (era.is_after_loss, quarantine) {
                (false, _) => Duration::MAX,
                (true, Some(kv)) => leases::age(cluster, kv.lease, budget)?.unwrap_or(HOUR),
                (true, None) => HOUR.max(unix_now().saturating_sub(Duration::from_nanos(era.id))),
            };
            let since = self.known().filter(|known| known.era == era).and_then(|known| known.since);
            let lossless_for = since.map_or(told, |since| told.min(since.elapsed()));
            return Ok(EraInfo { id: era.id, lossless_for });
        }
        Err(Failure::NotDone("its era ends again and again".to_string()))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Known>> {
        // A panic elsewhere cannot leave it half changed.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Returns if an era that is found now is this one, with nothing rolled back, or one after it with larger tokens.
    fn goes_on(&self, era: &Era, header: &Header) -> bool {
        match *self.era == *era {
            true => header.revision >= self.revision,
            false => era.id >= self.era.id.saturating_add(self.revision),
        }
    }
}

/// Begins an era where these eras stand. Somebody else may be faster, which is as good.
fn begin(
    cluster: &Cluster,
    before: Option<&Known>,
    header: &Header,
    [present, last]: [Option<Kv>; 2],
    budget: Budget,
) -> Result<(), Failure> {
    let is_after_loss = before.is_some() || present.is_some() || last.is_some();
    let found = present.as_ref().and_then(|kv| Era::parse(kv).ok()).map(|era| era.id);
    let last = last.and_then(|kv| std::str::from_utf8(&kv.value).ok()?.parse::<u64>().ok());
    let seen = before.map(|before| before.era.id.saturating_add(before.revision));
    let above = [found, last, seen].into_iter().flatten().max();
    let lowest = above.map_or(0, |above| above.saturating_add(header.revision).saturating_add(ROOM));
    let id = u64::try_from(unix_now().as_nanos()).unwrap_or(0).max(lowest);
    let text = Era::text(id, header.cluster_id, is_after_loss);
    let mut writes = vec![put(ERA, text.as_bytes(), 0), put(LAST, id.to_string().as_bytes(), 0)];
    let mut quarantine = None;
    if is_after_loss {
        let lease = leases::grant(cluster, HOUR.as_secs(), budget)?.id;
        writes.push(put(QUARANTINE, text.as_bytes(), lease));
        quarantine = Some(lease);
    }
    let unless_changed = if_written(ERA, present.map_or(0, |kv| kv.mod_revision));
    let reply = cluster.txn(Kind::Write, &txn(&[unless_changed], &writes, &[]), budget)?;
    if let Some(lease) = quarantine.filter(|_| !reply.succeeded) {
        leases::revoke(cluster, lease);
    }
    Ok(())
}

/// Refuses a list of members of which some are of one cluster and some of another: each would grant the same lock.
fn no_second_cluster(cluster: &Cluster, known: u64, found: u64) -> Result<(), Failure> {
    for member in &cluster.members {
        let status: Result<StatusReply, Failure> =
            cluster.ask_member(member, "maintenance/status", json!({}).to_string().as_bytes());
        if status.is_ok_and(|status| status.header.cluster_id == known) {
            return Err(Failure::Refused(two_clusters(member, known, found)));
        }
    }
    Ok(())
}

/// Says that the members of a list are of two clusters.
pub(super) fn two_clusters(member: &impl std::fmt::Display, its: u64, other: u64) -> String {
    format!(
        "{member} is of the cluster {its:x}, and another server of the store's URL is of the cluster {other:x}: each would \
         grant the same lock; name members of one cluster only"
    )
}

fn unix_now() -> Duration {
    // A clock before 1970 gives an era that is above what was found, or else an early one.
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: u64 = 0xabc;

    fn header(revision: u64) -> Header {
        Header { cluster_id: CLUSTER, revision, ..Header::default() }
    }

    fn kv(text: &str) -> Kv {
        let mut kv = Kv::default();
        (kv.value, kv.create_revision, kv.mod_revision) = (text.into(), 1, 1);
        kv
    }

    fn era(id: u64, is_after_loss: bool) -> Kv {
        kv(&Era::text(id, CLUSTER, is_after_loss))
    }

    /// What a client judges of an era and a revision that it finds, after it has seen era 1,000 at the revision 50.
    fn judged(found: Option<&Kv>, header: &Header) -> Verdict {
        let eras = Eras::default();
        let first = eras.judge(None, &self::header(50), Some(&era(1_000, false))).unwrap();
        assert!(matches!(first, Verdict::Current(_)));
        eras.judge(eras.known().as_ref(), header, found).unwrap()
    }

    #[test]
    fn an_era_goes_on_until_it_is_gone_or_elsewhere_or_rolled_back() {
        let same = era(1_000, false);
        for revision in [50, 51] {
            assert!(matches!(judged(Some(&same), &header(revision)), Verdict::Current(_)), "{revision}");
        }
        assert_eq!(judged(Some(&same), &header(49)), Verdict::Over);
        assert_eq!(judged(None, &header(51)), Verdict::Over);
        assert_eq!(judged(Some(&same), &Header { cluster_id: 1, ..header(51) }), Verdict::Over);
        assert_eq!(judged(Some(&kv(&Era::text(2_000, 1, true))), &header(51)), Verdict::Over);
    }

    #[test]
    fn another_era_counts_if_its_tokens_are_larger_than_all_that_were_seen() {
        assert!(matches!(judged(Some(&era(1_050, true)), &header(7)), Verdict::Current(_)));
        assert_eq!(judged(Some(&era(1_049, true)), &header(51)), Verdict::Over);
    }

    #[test]
    fn an_era_that_does_not_tell_of_the_loss_counts_from_the_moment_it_is_seen() {
        for (is_after_loss, counts_from_now) in [(false, true), (true, false)] {
            let eras = Eras::default();
            eras.judge(None, &header(50), Some(&era(1_000, false))).unwrap();
            eras.judge(eras.known().as_ref(), &header(60), Some(&era(2_000, is_after_loss))).unwrap();
            let known = eras.known().unwrap();
            assert_eq!((known.era.id, known.since.is_some()), (2_000, counts_from_now));
        }
    }

    #[test]
    fn a_text_that_is_not_ours_is_refused() {
        for text in
            ["", "hello", "1 cluster=abc", "1 cluster=xyz first", "1 cluster=abc first more", "-1 cluster=abc first"]
        {
            let judged = Eras::default().judge(None, &header(1), Some(&kv(text)));
            assert!(matches!(judged, Err(Failure::Refused(_))), "{text}");
        }
    }
}
