//! Random schedules of owners that try work under one lock, on a store that fails in any way.
//!
//! What holds in all of them:
//! - the lock of at most one try is valid;
//! - a try has the token of the try before only if nobody had the lock in between, else a larger one than anybody had;
//! - a try that is told that nobody else had the lock since the last report, or since its first request was executed or
//!   found the lock free, is told the truth;
//! - what is told as finished was released; what is told as lost is;
//! - there are no more tries than were asked for;
//! - when the store is well again, the lock can be had.
//!
//! A failure names the seed; [`one`] runs it alone.

mod support;

use std::time::Duration;

use kvlock_machine::{
    AcquireError, BeginTry, GrantError, Key, NextTry, Report, Retry, RetryOptions, Try, Unreported, Validity,
    WorkOutcome,
};
use support::store::Write;
use support::{Drive, Fault, Op, Owner, Random, World, lease, millis, secs, seeds, waiting};

const SEEDS: u64 = 2000;
const MOVES: u32 = 200;
const TRIES: u32 = 4;

#[test]
fn no_schedule_breaks_what_a_conflict_retry_promises() {
    let (mut reserved, mut undisturbed) = (0, 0);
    for (found, told) in seeds(SEEDS, one) {
        (reserved, undisturbed) = (reserved + found, undisturbed + told);
    }
    assert!(undisturbed > reserved, "and first tries, too: {undisturbed}");
    assert!(reserved > SEEDS, "reservations are found: {reserved}");
}

/// Tells how often a try found its reservation, and how often it was told that nobody else had had the lock.
fn one(seed: u64) -> (u64, u64) {
    let mut game = Game::new(seed);
    for _ in 0..MOVES {
        game.play();
        game.check();
    }
    game.end();
    (game.reserved, game.undisturbed)
}

struct Game {
    world: World,
    random: Random,
    players: Vec<Player>,
    /// The largest token that anybody was given.
    token: u64,
    reserved: u64,
    undisturbed: u64,
    lost_at: Duration,
}

struct Player {
    owner: Owner,
    at: At,
    /// The token of the try before.
    token: Option<u64>,
    /// From this write of the store on nobody else has had the lock, if the try is told so.
    since: Option<usize>,
    /// The line that marks records of the present try's hold, and of the acquisition under way.
    nonces: [String; 2],
}

impl Player {
    fn new(owner: Owner) -> Self {
        Player { owner, at: At::Nowhere, token: None, since: None, nonces: Default::default() }
    }
}

enum At {
    Nowhere,
    Between(Retry),
    Beginning(Op<BeginTry>),
    Running(Try),
    Reporting { op: Op<Report>, work: WorkOutcome, running: Try },
}

impl Game {
    fn new(seed: u64) -> Self {
        let (mut world, mut random) = (World::new(), Random(seed));
        world.servers.slack = secs(random.below(2) * 2);
        let players = (0..3).map(|_| Player::new(world.owner("same"))).collect();
        Game { world, random, players, token: 0, reserved: 0, undisturbed: 0, lost_at: Duration::ZERO }
    }

    fn play(&mut self) {
        self.world.weather = self.random.weather(secs(3));
        match self.random.below(500) {
            0 => {
                self.world.servers.lose(0, self.world.now);
                self.lost_at = self.world.now;
                // What is written into a young store is no grant.
                self.players.iter_mut().for_each(|player| player.since = None);
            }
            1..=30 => {
                let pause = millis(self.random.below(1500));
                self.world.advance(pause);
            }
            31..=35 => {
                // It crashed, and another takes its place.
                let index = self.random.below(3) as usize;
                self.players[index] = Player::new(self.world.owner("same"));
            }
            _ => self.go_on(),
        }
    }

    /// Moves whoever is due first, or anybody, late.
    fn go_on(&mut self) {
        let due = |player: &Player| match &player.at {
            At::Beginning(op) => op.due(),
            At::Reporting { op, .. } => op.due(),
            At::Nowhere | At::Between(_) | At::Running(_) => Some(Duration::ZERO),
        };
        let late = self.random.below(4) == 0;
        let first = (0..3).min_by_key(|index| due(&self.players[*index])).filter(|_| !late);
        let index = first.unwrap_or(self.random.below(3) as usize);
        let owner = self.players[index].owner;
        let at = std::mem::replace(&mut self.players[index].at, At::Nowhere);
        self.players[index].at = match at {
            At::Nowhere => {
                self.players[index].token = None;
                self.players[index].since = None;
                At::Between(self.new_retry())
            }
            At::Between(retry) => {
                let nonce = self.world.nonce();
                self.players[index].nonces[1] = format!("nonce: {:032x}\n", { nonce.0 });
                At::Beginning(Op::new(&self.world, owner, retry.begin(nonce)))
            }
            At::Beginning(mut op) => {
                if op.is_executing() && self.is_sure() {
                    let found_free = self.executed(op.due()) == self.world.servers.history.len();
                    let since = self.players[index].since.filter(|_| !found_free);
                    self.players[index].since = Some(since.unwrap_or_else(|| self.executed(None)));
                }
                op.step(&mut self.world);
                match op.outcome() {
                    Some(begun) => self.begun(index, begun),
                    None => At::Beginning(op),
                }
            }
            At::Running(running) => {
                let late = self.random.below(4) == 0;
                let conflict = WorkOutcome::Conflict(late.then_some(secs(3)));
                let work = [conflict, conflict, WorkOutcome::Committed, WorkOutcome::Failed];
                let work = work[self.random.below(4) as usize];
                // Who comes late on purpose counts from when it comes.
                let comes_late = work == WorkOutcome::Conflict(Some(secs(3)));
                self.players[index].since = (!comes_late && self.is_sure()).then(|| self.executed(None));
                At::Reporting { op: Op::new(&self.world, owner, running.clone().report(work)), work, running }
            }
            At::Reporting { mut op, work, running } => {
                op.step(&mut self.world);
                match op.outcome() {
                    Some(reported) => self.reported(index, work, &running, reported),
                    None => At::Reporting { op, work, running },
                }
            }
        };
    }

    /// How many writes were executed by then, but that of the record which is there.
    fn executed(&mut self, by: Option<Duration>) -> usize {
        self.world.advance_to(by.unwrap_or(self.world.now));
        let now = self.world.now;
        let there = self.world.servers.entry("k", now).map(|entry| entry.value);
        let history = &self.world.servers.history;
        let written = there.and_then(|there| history.iter().rposition(|write| write.after.as_ref() == Some(&there)));
        written.unwrap_or(history.len())
    }

    /// Whether what is written is held: not in a store that is young, or was.
    fn is_sure(&self) -> bool {
        self.lost_at == Duration::ZERO
    }

    /// Whether nobody but this player had the lock to work under since then.
    fn is_alone_since(&self, index: usize, since: usize) -> bool {
        let of_others = |value: &[u8]| {
            let text = String::from_utf8_lossy(value);
            let own = self.players[index].nonces.iter().any(|nonce| text.contains(nonce));
            text.starts_with("kvlock/1 lock") && !text.contains("\nreserved: ") && !own
        };
        let history = &self.world.servers.history[since..];
        // Its own add found the lock free, however late it was executed.
        let is_own_add = |write: &Write| {
            let text = String::from_utf8_lossy(write.after.as_deref().unwrap_or_default()).into_owned();
            write.before.is_none() && text.contains(&self.players[index].nonces[1])
        };
        let from = history.iter().rposition(is_own_add).unwrap_or_default();
        !history[from..].iter().any(|write| write.after.as_deref().is_some_and(of_others))
    }

    fn new_retry(&mut self) -> Retry {
        let (length, wait) = (secs(1 + self.random.below(5)), secs(self.random.below(20)));
        let options = RetryOptions::new(lease(length)).wait(Some(wait)).unwrap().tries(TRIES).unwrap();
        let options = options.reserve(millis(1 + self.random.below(3000))).unwrap();
        let name = [None, None, Some("one"), Some("other")][self.random.below(4) as usize];
        let options = options.reservation(name).unwrap();
        Retry::new(Key::new("k").unwrap(), options, self.random.below(u64::MAX).into())
    }

    fn begun(&mut self, index: usize, begun: Result<Try, AcquireError>) -> At {
        match begun {
            Ok(running) => {
                let token = running.grant().token();
                assert!(running.number() <= TRIES);
                if let Some(since) = self.players[index].since.filter(|_| !running.is_overtaken()) {
                    assert!(self.is_alone_since(index, since), "somebody else had the lock meanwhile");
                    self.undisturbed += 1;
                }
                if self.players[index].token.replace(token) == Some(token) {
                    assert_eq!(token, self.token, "somebody else had the lock in between");
                    self.reserved += 1;
                } else {
                    assert!(token > self.token, "{token} after {}", self.token);
                    self.token = token;
                    self.players[index].nonces.swap(0, 1);
                }
                At::Running(running)
            }
            Err(AcquireError::Busy { .. } | AcquireError::Store(_) | AcquireError::AlreadyHeld) => At::Nowhere,
            Err(error) => panic!("{error:?}"),
        }
    }

    fn reported(
        &mut self,
        index: usize,
        work: WorkOutcome,
        running: &Try,
        reported: Result<NextTry, Unreported>,
    ) -> At {
        let owner = self.players[index].owner;
        let validity = self.world.validity(owner, running.grant());
        match reported {
            Ok(NextTry::Finished) => {
                assert!(!matches!(work, WorkOutcome::Conflict(_)));
                assert_eq!(validity, Validity::Lost, "it is released");
                let nonce = &self.players[index].nonces[0];
                let is_ours = |value: &[u8]| String::from_utf8_lossy(value).contains(nonce);
                let mut history = self.world.servers.history.iter();
                let released =
                    history.any(|write| write.after.is_none() && write.before.as_deref().is_some_and(is_ours));
                // What the store lost while the answer was awaited is free as well.
                assert!(released || self.lost_at > Duration::ZERO, "a release that did not happen");
                At::Nowhere
            }
            Ok(NextTry::RetryAfter(pause, retry)) => {
                assert!(
                    running.number() < TRIES
                        && pause <= if work == WorkOutcome::Conflict(None) { millis(100) } else { secs(3) }
                );
                At::Between(*retry)
            }
            Ok(NextTry::Exhausted) => {
                assert!(matches!(work, WorkOutcome::Conflict(_)));
                assert_eq!((running.number(), validity), (TRIES, Validity::Lost));
                At::Nowhere
            }
            Err(Unreported { error: GrantError::Lost(_), again: None }) => {
                assert!(!matches!(work, WorkOutcome::Conflict(_)));
                assert_eq!(validity, Validity::Lost);
                At::Nowhere
            }
            Err(Unreported { error: GrantError::Store(_), again: Some(running) }) => {
                assert!(!matches!(work, WorkOutcome::Conflict(_)));
                At::Running(*running)
            }
            other => panic!("{other:?}"),
        }
    }

    fn check(&self) {
        let holds = |player: &&Player| {
            let (At::Running(running) | At::Reporting { running, .. }) = &player.at else { return false };
            matches!(self.world.validity(player.owner, running.grant()), Validity::Valid(_))
        };
        assert!(self.players.iter().filter(holds).count() <= 1, "the locks of two tries are valid");
    }

    /// The store is well again, and all that was held is over.
    fn end(&mut self) {
        self.world.weather = Fault::Fine;
        self.world.advance(secs(60));
        let last = self.world.acquainted("last");
        let grant = self.world.acquire(last, "k", waiting(5, secs(1))).unwrap();
        assert!(grant.token() > self.token);
    }
}
