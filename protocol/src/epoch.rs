//! Eras: how a lost memory is noticed.
//!
//! memcached forgets everything when it is restarted or flushed, and does not say so. So every server keeps an *epoch
//! item*: an item without ttl under [`KEY`]. While it is there, with the CAS value that it got when it was made,
//! nothing was flushed and the process is the same one. When it is gone, an era has ended, and the first client to
//! notice makes the next one.
//!
//! **The numbers.** All of them come from memcached's CAS counter: one counter a process, which starts at 1 and is
//! raised by every write to whatever key.
//!
//! - The era's id is `start × 1 000 000 000 + cas of the epoch item × 1 000 + r`. `start` is the second in which the
//!   server was started: `time - uptime` of its `stats`, a constant of the process. `r` is the last three digits of the
//!   epoch item's random number, so that two servers that start together hardly ever have an era's id in common.
//! - A version's number is the item's CAS value.
//!
//! So their sum, the fencing token, is `start × 1 000 000 000` and some CAS values. Within a process both only grow.
//! Over a restart it grows because a process makes fewer than 999 000 writes a second, taken over its life. So `start`
//! plus a thousand times its writes, read as nanoseconds, stays behind the wall clock at which its successor starts.
//! For the one case that this leaves open, two processes started within the same second, no era is begun before the
//! server has lived for more than a second ([`SETTLED`]). Two cases remain: a server whose wall clock is set back over
//! a restart by more than the old process had lived, and another server in its place that started earlier. A client
//! that has seen an era with a larger id ends the present one and begins another *above* what it has seen. The epoch
//! item says so, and all clients count from there: tokens do not fall, and nothing that was granted beside the larger
//! era is believed.
//!
//! **Which server.** The epoch item has a random number, so that it tells its server from every other: see
//! [`Identity`]. What follows from another identity than before is decided by
//! [`Known`](crate::Known).
//!
//! **What was not lost.** An era that is young to us need not be young. The first client of a server that has been up
//! for a month makes its epoch item today, and nothing was lost for a month. The server's counters tell
//! ([`LOSSES`](crate::LOSSES)). They only grow, and they are read *after* the epoch item. If they are zero then,
//! nothing was lost between the server's start and that reading. A later flush takes the epoch item with it, and so
//! ends the claim. If they are not zero, or the era was begun above another server's, the claim begins with the epoch
//! item. An operator who sends `stats reset` after a flush, or deletes the epoch item by hand, defeats this. The
//! eviction of a single lock while the epoch item stays ends no era: only the counter shows it, and `kvlock doctor`
//! warns of it.
//!
//! **Survivors.** The epoch item itself can be evicted, while other items stay. They stay as they are. A lock among
//! them is taken until its ttl is over. Its holder, whose version is of the era that ended, is told all the same that
//! it is lost. A value that is not kvlock's is left alone, whenever it was written.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use crate::codec::{Code, Codec};
use crate::contract::{EraInfo, shown};
use crate::failure::Failure;
use crate::mark::{self, Identity, Mark};
use crate::refusal::said;
use crate::replies::Replies;
use crate::request::{Request, Write};
use crate::stats::{ServerClock, ServerVersion, Stats};
use crate::transport::Transport;

/// The key of the epoch item.
pub(crate) const KEY: &str = "kvlock:epoch";

/// The oldest memcached whose `md` compares CAS values; before, it answered EX to everyone.
pub const OLDEST: ServerVersion = ServerVersion([1, 6, 13]);

/// How old a connection to a server must be before an era is begun there, if the server is young itself. With one
/// second behind it, its successor starts in a later second.
const SETTLED: Duration = Duration::from_millis(1050);

/// An uptime that only a server shows that has lived for more than a second: uptime starts at 2, and the first tick
/// after may come at once.
const SETTLED_UPTIME: u64 = 4;

/// How often a young server is asked again.
const PAUSE: Duration = Duration::from_millis(50);

/// How often to make an epoch item that is gone again when it is read back. More than that is no accident.
const ATTEMPTS: usize = 3;

/// By how much the id of an era of another process must be larger: the versions that were given out in the smaller one
/// fit between them.
const ROOM: u64 = 500_000_000;

/// The time taken off a length of time told by the server: uptime starts at 2, and whole seconds are up to one too
/// many.
const SLACK: u64 = 3;

/// A server's era as one connection last saw it.
#[derive(Debug, Clone, Copy)]
pub struct Epoch {
    /// The era's id.
    pub id: u64,
    /// Whose era it is.
    pub identity: Identity,
    /// What the id was to exceed, besides the server's start.
    above: Option<u64>,
    /// For how long nothing had been lost when it was seen.
    lossless: Duration,
    /// Whether the server had lost anything then since its start.
    pub has_losses: bool,
    /// The server's clock then.
    pub clock: ServerClock,
    /// When that was, by the transport's clock.
    pub seen: Duration,
    /// Unix seconds, by the server's clock, at which the epoch item was made.
    pub made: u64,
}

impl Epoch {
    /// Tells the era as of now.
    pub fn info(&self, now: Duration) -> EraInfo {
        EraInfo { id: self.id, lossless_for: self.lossless.saturating_add(now.saturating_sub(self.seen)) }
    }

    /// Finds out a server's era, and begins one where there is none that is later than `previous`, which is what this
    /// client saw last under the server's name.
    ///
    /// # Errors
    /// What the server refuses, or why it has no answer.
    pub async fn establish(transport: &mut impl Transport, previous: Option<&Epoch>) -> Result<Epoch, Failure> {
        let mut sight = Sight::take(transport).await?;
        for _ in 0..ATTEMPTS {
            if let Some(epoch) = sight.epoch()?.filter(|epoch| previous.is_none_or(|previous| epoch.follows(previous)))
            {
                return Ok(epoch);
            }
            sight = begin(transport, sight, previous).await?;
        }
        match sight.epoch()? {
            Some(epoch) if previous.is_none_or(|previous| epoch.follows(previous)) => Ok(epoch),
            _ => Err(Failure::NotSent(format!(
                "its epoch item `{KEY}` is gone as soon as it is made: is the server being flushed, or out of memory?"
            ))),
        }
    }

    /// One that no server showed.
    #[cfg(test)]
    pub(crate) fn made_up(
        id: u64,
        identity: Identity,
        lossless: Duration,
        has_losses: bool,
        clock: ServerClock,
        seen: Duration,
    ) -> Epoch {
        let made = clock.started();
        Epoch { id, identity, above: None, lossless, has_losses, clock, seen, made }
    }

    /// Returns true if it is that era, or a later one whose tokens are larger.
    fn follows(&self, previous: &Epoch) -> bool {
        if self.identity == previous.identity {
            true
        } else if self.identity.may_be_one_process(previous.identity) {
            // One process counts on: that the id is larger is enough.
            self.id > previous.id
        } else {
            self.id >= previous.id.saturating_add(ROOM)
        }
    }
}

/// What a server showed: its epoch item, and after that its `stats`.
#[derive(Debug)]
pub struct Sight {
    item: Option<Item>,
    clock: ServerClock,
    process: u64,
    losses: u64,
    seen: Duration,
}

#[derive(Debug)]
struct Item {
    cas: u64,
    value: Vec<u8>,
}

impl Sight {
    /// Looks, and changes nothing.
    ///
    /// # Errors
    /// What the server refuses, or why it has no answer.
    pub async fn take<T: Transport>(transport: &mut T) -> Result<Sight, Failure> {
        let mut request = Request::default();
        ask::<T::Codec>(&mut request);
        let mut replies = Replies::new(transport.exchange(&request).await?);
        Seen::read::<T::Codec>(&mut replies)?.at(transport.now())
    }

    /// Checks if the server is the one of this identity.
    ///
    /// # Errors
    /// [`Failure::Refused`] where somebody else has written the epoch item.
    pub fn is_of(&self, identity: Identity) -> Result<bool, Failure> {
        Ok(self.epoch()?.is_some_and(|epoch| epoch.identity == identity))
    }

    /// Returns which server it is, as a person reads it, with the help of what shows Unix seconds.
    pub fn shown(&self, date: fn(u64) -> String) -> String {
        match self.epoch() {
            Ok(Some(epoch)) => epoch.identity.shown(date),
            _ => format!("{}, no epoch yet", mark::process(self.process, self.clock.started(), date)),
        }
    }

    /// Returns the epoch, if the item is there and was made in this server's life.
    fn epoch(&self) -> Result<Option<Epoch>, Failure> {
        let Some(item) = &self.item else { return Ok(None) };
        let mark = Mark::parse(&item.value).ok_or_else(|| {
            Failure::Refused(format!(
                "the key `{KEY}` holds something that kvlock did not write: `{}`; delete it or use another server",
                said(&item.value)
            ))
        })?;
        let clock = self.clock;
        // Copied here from another server or an earlier life, by a tool that dumps and restores.
        if mark.started != clock.started() {
            return Ok(None);
        }
        // Where the era had to be begun above another server's, what was granted there may be in use yet.
        let since = if self.losses == 0 && mark.above.is_none() { 0 } else { mark.uptime };
        Ok(Some(Epoch {
            id: mark.era(item.cas),
            identity: Identity { started: mark.started, process: self.process, base: item.cas, id: mark.id },
            above: mark.above,
            lossless: Duration::from_secs(clock.uptime.saturating_sub(since).saturating_sub(SLACK)),
            has_losses: self.losses > 0,
            clock,
            seen: self.seen,
            made: mark.started.saturating_add(mark.uptime),
        }))
    }

    /// Returns what the mark of an era that follows `previous` must say that it exceeds, if this server's start is not
    /// enough.
    fn above(&self, previous: Option<&Epoch>) -> Option<u64> {
        let previous = previous?;
        let (started, now) = (self.clock.started(), self.clock.now);
        if previous.identity.started == started && previous.identity.process == self.process {
            return previous.above;
        }
        let enough = previous.id.saturating_add(ROOM);
        // As long as clocks agree, no server has a token that is ahead of the time.
        (Mark::start(started) < enough).then(|| enough.max(Mark::start(now)))
    }
}

/// The replies to [`ask`].
struct Seen {
    item: Option<Item>,
    stats: Stats,
}

impl Seen {
    fn read<C: Codec>(replies: &mut Replies<'_>) -> Result<Seen, Failure> {
        // A server from before the meta commands says ERROR; its `stats` tell the version, and that is the better text.
        let reply = match replies.meta::<C>() {
            Err(Failure::Refused(text)) if text == "ERROR" => None,
            reply => Some(reply?),
        };
        let stats = replies.stats()?;
        check_version(&stats)?;
        let reply = reply.ok_or_else(|| Failure::Refused("it does not know the meta commands".to_string()))?;
        let item = match (reply.code, reply.number(b'c'), reply.value) {
            (Code::En, ..) => None,
            (Code::Va, Some(0), _) => {
                return Err(Failure::Refused(
                    "it runs without CAS, and nobody can lock on that: start memcached without -C".to_string(),
                ));
            }
            (Code::Va, Some(cas), Some(value)) => Some(Item { cas, value }),
            (code, ..) => return Err(Failure::Foreign(format!("it answers `mg` with {code:?}"))),
        };
        Ok(Seen { item, stats })
    }

    fn at(self, seen: Duration) -> Result<Sight, Failure> {
        let Seen { item, stats } = self;
        let clock = ServerClock::read(&stats)
            .ok_or_else(|| Failure::Foreign("its `stats` show no sensible time and uptime".to_string()))?;
        let process = stats.number("pid").unwrap_or(0);
        Ok(Sight { item, clock, process, losses: stats.losses(), seen })
    }
}

/// Begins an era, unless somebody else was faster, and looks again.
async fn begin<T: Transport>(transport: &mut T, sight: Sight, previous: Option<&Epoch>) -> Result<Sight, Failure> {
    if sight.clock.uptime < SETTLED_UPTIME && transport.age() < SETTLED {
        wait_until_settled(transport).await?;
        return Sight::take(transport).await;
    }
    let mut request = Request::default();
    let outdated = sight.item.as_ref();
    if let Some(item) = outdated {
        request.delete(KEY, item.cas);
    }
    let mark = Mark::new(sight.clock, transport.random()?, sight.above(previous)).to_string();
    request.write(Write::Add, KEY, 0, 0, mark.as_bytes());
    ask::<T::Codec>(&mut request);
    let mut replies = Replies::new(transport.exchange(&request).await?);
    if outdated.is_some() {
        replies.meta::<T::Codec>()?;
    }
    replies.line()?;
    Seen::read::<T::Codec>(&mut replies)?.at(transport.now())
}

/// Adds what [`Seen::read`] needs.
fn ask<C: Codec>(request: &mut Request) {
    request.get::<C>(KEY, b"vc");
    request.stats("stats");
}

/// Waits, for as long as [`SETTLED`] at most.
async fn wait_until_settled(transport: &mut impl Transport) -> Result<(), Failure> {
    while let Some(left) = SETTLED.checked_sub(transport.age()).filter(|left| !left.is_zero()) {
        transport.pause(left.min(PAUSE)).await?;
    }
    Ok(())
}

fn check_version(stats: &Stats) -> Result<(), Failure> {
    let text = stats.text("version").unwrap_or_default();
    let version = ServerVersion::parse(text)
        .ok_or_else(|| Failure::Foreign(format!("its `stats` show the version `{}`", shown(text))))?;
    if version < OLDEST {
        return Err(Failure::Refused(format!(
            "it is memcached {version}, and the conditional delete that locks need works from {OLDEST} on: upgrade it"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sight(cas: u64, made_at: u64, now: u64, losses: u64) -> Sight {
        let value = Mark { started: 1_000, uptime: made_at, id: Some(77_123), above: None }.to_string().into_bytes();
        let clock = ServerClock { now: 1_000 + now, uptime: now };
        Sight { item: Some(Item { cas, value }), clock, process: 42, losses, seen: Duration::ZERO }
    }

    fn epoch(sight: &Sight) -> Epoch {
        sight.epoch().unwrap().unwrap()
    }

    #[test]
    fn a_server_that_lost_nothing_is_as_old_as_its_uptime_and_any_other_as_its_epoch_item() {
        assert_eq!(epoch(&sight(7, 5_000, 5_010, 0)).lossless, Duration::from_secs(5_007));
        assert_eq!(epoch(&sight(7, 5_000, 5_010, 1)).lossless, Duration::from_secs(7));
        assert_eq!(epoch(&sight(7, 5_000, 5_001, 1)).lossless, Duration::ZERO);
    }

    #[test]
    fn an_era_above_that_of_another_server_is_as_old_as_its_epoch_item() {
        let mut raised = sight(7, 5_000, 5_010, 0);
        let mark = Mark { started: 1_000, uptime: 5_000, id: Some(7), above: Some(1 << 60) };
        raised.item = Some(Item { cas: 7, value: mark.to_string().into_bytes() });
        assert_eq!(epoch(&raised).lossless, Duration::from_secs(7));
    }

    #[test]
    fn an_epoch_item_of_another_life_of_the_server_is_none() {
        let mut copied = sight(7, 5, 9, 0);
        copied.clock.now += 1;
        assert!(copied.epoch().unwrap().is_none());
        assert!(!copied.is_of(epoch(&sight(7, 5, 9, 0)).identity).unwrap());
    }

    #[test]
    fn a_foreign_value_under_the_epoch_key_is_refused_and_shown() {
        let mut foreign = sight(7, 5, 9, 0);
        foreign.item = Some(Item { cas: 7, value: b"42".into() });
        let Err(Failure::Refused(text)) = foreign.epoch() else { panic!("it was accepted") };
        assert!(text.contains(KEY) && text.contains("`42`"), "{text}");
    }

    #[test]
    fn an_era_of_another_server_follows_only_with_room_for_the_tokens_of_the_earlier_one() {
        let first = epoch(&sight(7, 5, 9, 0));
        let elsewhere = |id| Epoch { id, identity: Identity { process: 43, ..first.identity }, ..first };
        assert!(first.follows(&first));
        assert!(!elsewhere(first.id).follows(&first) && !elsewhere(first.id + 1).follows(&first));
        assert!(elsewhere(first.id + ROOM).follows(&first));
        // What was flushed counts on.
        let flushed = epoch(&sight(8, 5, 9, 1));
        assert!(flushed.follows(&first) && !first.follows(&flushed));
    }

    #[test]
    fn an_era_that_would_not_follow_is_begun_above_what_was_seen() {
        let mut previous = epoch(&sight(7, 5, 9, 0));
        let older = Sight { process: 43, ..sight(7, 5, 9, 0) };
        let above = older.above(Some(&previous)).unwrap();
        assert!(above >= previous.id + ROOM && above >= Mark::start(older.clock.now));
        let mut later = older;
        later.clock.now += 2_000;
        assert_eq!(later.above(Some(&previous)), None);
        assert_eq!(later.above(None), None);
        // A flush does not take back what was said before it.
        previous.above = Some(1 << 60);
        assert_eq!(sight(8, 5, 9, 1).above(Some(&previous)), Some(1 << 60));
    }
}
