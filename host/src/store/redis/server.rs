//! One store: its connections, which server they lead to, and what a failure means to the caller.
//!
//! **Which server.** A lock is worth what the server remembers of it. Each connection shows the id of the server's
//! process:
//!
//! - **The same as before**: the same server, wherever it is found.
//! - **Another, while the one known still answers as a master**: two servers under one name. Each would have a holder of
//!   its own, so nothing is done on either until there is one again.
//! - **Another, and the one known is gone or has become a replica**: its locks went with it, as far as they were not
//!   replicated. The era that it shows is above all that this client has seen. Unless it was started since the one
//!   known was asked last, it was there already and may have granted the same locks: for this client, its contents
//!   count from now on.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kvlock_protocol::Failure;

use super::super::socket::stream::Peer;
use super::super::socket::wire::{Timeouts, Wire};
use super::super::{EraInfo, StoreError};
use super::bucket::Mode;
use super::link::{Link, Seen, Setup};
use super::whereabouts::Whereabouts;
use crate::fork::PerProcess;

/// How many calls are under way at once. A server executes one after the other, so more of them would only be in line
/// there; whoever comes later waits here. In a cluster each bucket has so many.
const MOST: usize = 32;
const MOST_OF_A_BUCKET: usize = 4;

/// A connection that has been idle for longer is looked at before it is used, because a write on a connection that the
/// server has closed has no known outcome. In a busy loop the look would cost more than it can find.
const LOOK_AFTER: Duration = Duration::from_millis(10);

/// How often a name is looked at again that led to two servers, and sentinels are asked again where the master is.
const RECHECK: Duration = Duration::from_secs(3);

/// How often a name is looked up and dialed to find out whether it leads to one master: a balancer that chooses at
/// random between two is missed once in 128 times.
const ROUNDS: usize = 8;

/// By how much a server's uptime, in whole seconds, may be less than it is.
const SLACK: Duration = Duration::from_secs(2);

/// One store, at whichever server is its master.
pub(super) struct Server {
    pub(super) engine: &'static str,
    pub(super) whereabouts: Whereabouts,
    pub(super) timeouts: Timeouts,
    pub(super) setup: Setup,
    /// On a connection that a fork shares with its parent, each would read the other's replies.
    shared: PerProcess<Arc<(Mutex<State>, Condvar)>>,
}

/// What this process has seen of it.
#[derive(Default)]
struct State {
    /// Connections of earlier calls.
    idle: Vec<Link>,
    /// How many calls are under way, and who waits for a turn, by their tickets.
    calls: usize,
    line: VecDeque<u64>,
    tickets: u64,
    seen: Seen,
    known: Option<Known>,
    /// The addresses that were compared with the server known, or did not answer: they are not waited for again.
    compared: Vec<Peer>,
    /// Why nothing is done, and since when.
    unfit: Option<(String, Instant)>,
    /// How many writes had no known outcome, where replicas are to have them.
    doubtful: u64,
    /// How many of them the replicas have by now, or never will.
    settled: u64,
}

/// The server that the connections lead to.
#[derive(Debug, Clone)]
struct Known {
    run: String,
    /// When it was asked last.
    used: Instant,
    /// Since when its contents count, if it has taken another server's place.
    since: Option<Instant>,
}

/// One of the calls that are under way.
struct Turn<'s>(&'s Server);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.calls -= 1;
        if !state.line.is_empty() {
            self.0.shared().1.notify_all();
        }
    }
}

impl Server {
    pub(super) fn new(engine: &'static str, whereabouts: Whereabouts, timeouts: Timeouts, setup: Setup) -> Server {
        Server { engine, whereabouts, timeouts, setup, shared: PerProcess::new(Arc::default()) }
    }

    /// The era, as far as its age counts for this client.
    pub(super) fn era(&self) -> Result<EraInfo, StoreError> {
        let age = self.read(Link::begin)?;
        let since = self.state().known.as_ref().and_then(|known| known.since);
        let lossless_for = since.map_or(age.lossless, |since| age.lossless.min(since.elapsed()));
        Ok(EraInfo { id: age.era, lossless_for })
    }

    /// Returns which write was the last of those that may not be at the replicas; none if all are. Before what it
    /// wrote is believed, they must confirm.
    pub(super) fn doubts(&self) -> Option<u64> {
        let state = self.state();
        (state.doubtful > state.settled).then_some(state.doubtful)
    }

    /// Says that the replicas have all writes up to one.
    pub(super) fn settle(&self, doubts: u64) {
        let mut state = self.state();
        state.settled = state.settled.max(doubts);
    }

    /// Does something that changes nothing. What fails on a connection of an earlier call is tried on a new one.
    pub(super) fn read<T>(&self, ask: impl Fn(&mut Link) -> Result<T, Failure>) -> Result<T, StoreError> {
        let retries = |failure: &Failure| matches!(failure, Failure::NotSent(_) | Failure::NoAnswer(_));
        self.call(ask, retries, |failure| self.on_read(failure))
    }

    /// Does something that changes an entry. Nothing is tried twice of which a byte has been sent.
    pub(super) fn write<T>(&self, act: impl Fn(&mut Link) -> Result<T, Failure>) -> Result<T, StoreError> {
        let answer = self.call(act, |failure| matches!(failure, Failure::NotSent(_)), |failure| self.on_write(failure));
        if self.setup.replicas > 0 && matches!(answer, Err(StoreError::UnknownOutcome(_))) {
            self.state().doubtful += 1;
        }
        answer
    }

    fn call<T>(
        &self,
        act: impl Fn(&mut Link) -> Result<T, Failure>,
        retries: impl Fn(&Failure) -> bool,
        explain: impl Fn(Failure) -> StoreError,
    ) -> Result<T, StoreError> {
        let _turn = self.turn()?;
        self.check_fit()?;
        if let Some(mut link) = self.pooled() {
            match act(&mut link) {
                Err(failure) if retries(&failure) => self.state().seen.join(link.seen),
                answer => return self.finish(link, answer.map_err(explain)),
            }
        }
        let mut link = self.open()?;
        let answer = act(&mut link);
        self.finish(link, answer.map_err(explain))
    }

    /// Waits for a turn, for as long as an answer may take.
    fn turn(&self) -> Result<Turn<'_>, StoreError> {
        let shared = self.shared();
        let mut state = self.state();
        let own = state.tickets;
        state.tickets += 1;
        state.line.push_back(own);
        let most = match self.setup.bucket.mode {
            Mode::Standalone => MOST,
            Mode::Cluster => MOST_OF_A_BUCKET,
        };
        let must_wait = |state: &mut State| state.calls >= most || state.line.front() != Some(&own);
        let waited = shared.1.wait_timeout_while(state, self.timeouts.operation, must_wait);
        let (mut state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        state.line.retain(|ticket| *ticket != own);
        if !state.line.is_empty() {
            // Another one is first by now.
            shared.1.notify_all();
        }
        if waited.timed_out() {
            return Err(StoreError::Unavailable(format!(
                "{self}: {most} other calls of this process are under way, and it was not our turn within {:?}",
                self.timeouts.operation
            )));
        }
        state.calls += 1;
        Ok(Turn(self))
    }

    /// A connection of an earlier call that is good still.
    fn pooled(&self) -> Option<Link> {
        loop {
            // The pool is not locked while we look.
            let mut state = self.state();
            let mut link = state.idle.pop()?;
            link.seen.join(state.seen);
            drop(state);
            let idle = link.wire.idle();
            let is_good = idle < LOOK_AFTER || link.wire.is_quiet();
            if is_good && (idle < RECHECK || !self.whereabouts.may_move()) {
                return Some(link);
            }
        }
    }

    /// Opens a connection without looking at what answers.
    pub(super) fn bare(&self, timeouts: Timeouts) -> Result<Link, StoreError> {
        let failed = |failure| self.on_read(failure);
        let place = self.whereabouts.place(timeouts).map_err(failed)?;
        let peers = place.peers(timeouts.connect).map_err(failed)?;
        let mut dialing = place.dial(&peers, timeouts);
        let Some(wire) = dialing.next() else { return Err(failed(dialing.failure())) };
        Link::bare(wire, &self.setup).map_err(failed)
    }

    /// Opens a connection to the master, and compares it with what is known.
    fn open(&self) -> Result<Link, StoreError> {
        let failed = |failure| self.on_read(failure);
        let place = self.whereabouts.place(self.timeouts).map_err(failed)?;
        let peers = place.peers(self.timeouts.connect).map_err(failed)?;
        let mut dialing = place.dial(&peers, self.timeouts);
        let seen = self.state().seen;
        let link = loop {
            let Some(wire) = dialing.next() else { return Err(failed(dialing.failure())) };
            let peer = wire.peer.clone();
            match Link::new(wire, &self.setup, seen) {
                Ok(link) => break link,
                // A replica, or a server that is being started: another address may lead to the master.
                Err(Failure::NotSent(why) | Failure::NoAnswer(why)) => dialing.failed.push((peer, why)),
                Err(failure) => return Err(failed(failure)),
            }
        };
        let compared = self.state().compared.clone();
        if peers.iter().any(|peer| peer != link.peer() && !compared.contains(peer)) {
            dialing.hurry();
            while let Some(wire) = dialing.next() {
                self.compare(&link, wire)?;
            }
            let link = self.admit(link)?;
            self.state().compared = peers;
            return Ok(link);
        }
        self.admit(link)
    }

    /// Compares another address of the name with a connection to the master.
    fn compare(&self, link: &Link, wire: Wire) -> Result<(), StoreError> {
        // A replica, or what does not answer, grants no lock.
        match Link::new(wire, &self.setup, link.seen) {
            Ok(other) if other.run != link.run => Err(self.two_servers(link, &other)),
            _ => Ok(()),
        }
    }

    /// Takes note of which server a connection leads to. Gives it back, unless the one known is another and answers.
    fn admit(&self, link: Link) -> Result<Link, StoreError> {
        loop {
            let mut state = self.state();
            let known = match &mut state.known {
                Some(known) if known.run != link.run => known.clone(),
                known => {
                    known.get_or_insert_with(|| Known { run: link.run.clone(), used: Instant::now(), since: None });
                    state.seen.join(link.seen);
                    return Ok(link);
                }
            };
            let rival = state.idle.pop();
            drop(state);
            if let Some(mut rival) = rival.filter(|rival| rival.run == known.run) {
                match rival.wire.is_quiet().then(|| rival.begin()) {
                    Some(Ok(_)) if rival.run != link.run => return Err(self.two_servers(&link, &rival)),
                    // Nor will the others have an answer, and each would take its time.
                    Some(Err(_)) => self.state().idle.clear(),
                    _ => {}
                }
                continue;
            }
            let mut state = self.state();
            if !state.idle.is_empty() {
                continue;
            }
            let restarted = link.uptime + SLACK < known.used.elapsed();
            let since = if restarted { None } else { Some(Instant::now()) };
            state.known = Some(Known { run: link.run.clone(), used: Instant::now(), since });
            state.compared.clear();
            state.seen.join(link.seen);
            return Ok(link);
        }
    }

    /// Brings a connection back after a call, unless it is of no more use.
    fn finish<T>(&self, mut link: Link, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        self.state().seen.join(link.seen);
        let answer = answer?;
        if link.wire.is_clean() {
            let mut state = self.state();
            match state.known.as_mut().filter(|known| known.run == link.run) {
                Some(known) => known.used = link.wire.used(),
                None => {
                    // Meanwhile another connection has led elsewhere. What was done is done, and is told; the next call
                    // is refused, if there are two masters.
                    drop(state);
                    let Ok(admitted) = self.admit(link) else { return Ok(answer) };
                    (link, state) = (admitted, self.state());
                }
            }
            if state.unfit.is_none() {
                state.idle.push(link);
            }
        }
        Ok(answer)
    }

    /// Refuses where two masters were found, unless there is only one now.
    fn check_fit(&self) -> Result<(), StoreError> {
        {
            let mut state = self.state();
            let Some((why, since)) = &mut state.unfit else { return Ok(()) };
            if since.elapsed() < RECHECK {
                return Err(StoreError::Rejected(why.clone()));
            }
            *since = Instant::now();
        }
        self.survey()?;
        self.state().unfit = None;
        Ok(())
    }

    /// Connects several times, and compares what the connections lead to. Gives how many there were.
    pub(super) fn survey(&self) -> Result<usize, StoreError> {
        let failed = |failure| self.on_read(failure);
        // Kept open: a balancer may prefer the server that has fewer.
        let mut open: Vec<Link> = Vec::new();
        for _ in 0..ROUNDS {
            let place = self.whereabouts.place(self.timeouts).map_err(failed)?;
            let peers = place.peers(self.timeouts.connect).map_err(failed)?;
            let mut dialing = place.dial(&peers, self.timeouts);
            dialing.hurry_after_first();
            while let Some(wire) = dialing.next() {
                // A replica, or what does not answer, grants no lock.
                let Ok(link) = Link::new(wire, &self.setup, self.state().seen) else { continue };
                if let Some(other) = open.iter().find(|other| other.run != link.run) {
                    return Err(self.two_servers(other, &link));
                }
                open.push(link);
            }
        }
        Ok(open.len())
    }

    fn two_servers(&self, one: &Link, other: &Link) -> StoreError {
        let show = |link: &Link| format!("{} (run id {})", link.peer(), link.run.get(..8).unwrap_or(&link.run));
        let why = format!(
            "{self}: it leads to two masters, {} and {}, and each would grant the same locks: name one server only",
            show(one),
            show(other)
        );
        let mut state = self.state();
        state.idle.clear();
        state.compared.clear();
        state.unfit = Some((why.clone(), Instant::now()));
        StoreError::Rejected(why)
    }

    fn shared(&self) -> &Arc<(Mutex<State>, Condvar)> {
        self.shared.get_or_recreate(Arc::default)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere cannot leave the state half changed.
        self.shared().0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a failure means where nothing was to be changed.
    pub(super) fn on_read(&self, failure: Failure) -> StoreError {
        match failure {
            Failure::NotSent(why) | Failure::NoAnswer(why) => StoreError::Unavailable(format!("{self}: {why}")),
            Failure::Refused(why) => StoreError::Rejected(format!("{self}: {why}")),
            Failure::Foreign(why) => {
                StoreError::Invalid(format!("{} does not speak Redis's protocol: {why}", self.whereabouts))
            }
        }
    }

    /// What a failure means where a write was to be executed.
    fn on_write(&self, failure: Failure) -> StoreError {
        match failure {
            Failure::NotSent(why) => StoreError::Unavailable(format!("{self}: {why}")),
            Failure::NoAnswer(why) | Failure::Foreign(why) => StoreError::UnknownOutcome(format!("{self}: {why}")),
            Failure::Refused(why) => StoreError::Rejected(format!("{self}: {why}")),
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.engine, self.whereabouts)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.whereabouts.to_string().fmt(f)
    }
}
