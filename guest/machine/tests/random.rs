//! Random schedules: owners that do anything in any order on a store that fails in any way.
//!
//! What holds in all of them:
//! - at most one owner's grant of a key is valid (nested grants are one);
//! - the token of a later grant is larger;
//! - a renewal or release that is reported as success happened;
//! - nobody writes over what is not a record of ours, or over somebody else's record unasked: a lock that is handed
//!   over goes to whom it was given, or to nobody;
//! - no machine calls on and on without a pause;
//! - when the store is well again, every key can be had.
//!
//! A failure names the seed; [`one`] runs it alone.

mod support;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use kvlock_machine::{Acquire, AcquireError, Grant, GrantError, Mode, Release, Released, Renew, Validity};
use support::store::store_key;
use support::{Drive, Fault, Op, Owner, Random, World, lease, millis, secs, seeds, waiting};

const SEEDS: u64 = 60000;
const MOVES: u32 = 150;
const KEYS: [&str; 2] = ["k", "l"];

#[test]
fn no_schedule_breaks_what_a_lock_promises() {
    all(false);
}

#[test]
fn no_schedule_with_breaks_adoptions_evictions_and_foreign_values_lies_about_what_happened() {
    all(true);
}

fn all(force: bool) {
    let handed_over: u32 = seeds(SEEDS, |seed| one(seed, force)).sum();
    assert!(u64::from(handed_over) > SEEDS / 10, "{handed_over} locks were handed over: they show too little");
}

/// How many locks were handed over.
fn one(seed: u64, force: bool) -> u32 {
    let mut game = Game::new(seed, force);
    for _ in 0..MOVES {
        game.play();
        game.check();
    }
    game.end()
}

struct Game {
    world: World,
    random: Random,
    /// Whether locks may be broken, adopted, evicted and written over too.
    force: bool,
    mode: Mode,
    players: Vec<Player>,
    tokens: HashMap<&'static str, u64>,
    /// Who may write over whose record, by nonces.
    heirs: HashSet<(String, String)>,
    handed_over: u32,
    lost_at: Duration,
    checked: usize,
}

struct Player {
    owner: Owner,
    grants: Vec<Held>,
    at: Option<Work>,
}

#[derive(Clone)]
struct Held {
    key: &'static str,
    grant: Grant,
    nonce: String,
    since: Duration,
}

/// How an acquisition began.
struct Start {
    key: &'static str,
    nonce: String,
    began: Duration,
}

enum Work {
    Acquiring {
        op: Op<Acquire>,
        start: Start,
    },
    Renewing {
        op: Op<Renew>,
        held: Held,
        began: Duration,
    },
    /// Perhaps to somebody who waits: whose number, and the nonce of the acquisition.
    Releasing {
        op: Op<Release>,
        held: Held,
        heir: Option<(usize, String)>,
    },
}

impl Work {
    fn drive(&mut self) -> &mut dyn Drive {
        match self {
            Work::Acquiring { op, .. } => op,
            Work::Renewing { op, .. } => op,
            Work::Releasing { op, .. } => op,
        }
    }
}

impl Game {
    fn new(seed: u64, force: bool) -> Self {
        let (mut world, mut random) = (World::new(), Random(seed));
        world.servers.slack = secs(random.below(2) * 2);
        let same_name = random.percent(50);
        let players = (0..2 + random.below(2)).map(|index| {
            let name = if same_name { "same".into() } else { format!("owner {index}") };
            Player { owner: world.owner(&name), grants: Vec::new(), at: None }
        });
        let players = players.collect();
        let mode = if random.percent(50) { Mode::Plain } else { Mode::Reentrant };
        let (tokens, lost_at) = (HashMap::new(), Duration::ZERO);
        let heirs = HashSet::new();
        Game { world, random, force, mode, players, tokens, heirs, handed_over: 0, lost_at, checked: 0 }
    }

    fn play(&mut self) {
        self.world.weather = self.random.weather(secs(5));
        match self.random.below(100) {
            0 => {
                self.world.servers.lose(0, self.world.now);
                self.lost_at = self.world.now;
            }
            1..=6 => {
                let pause = millis(self.random.below(4000));
                self.world.advance(pause);
            }
            7 => {
                // Somebody gives up, or crashed.
                let player = self.player();
                self.players[player].at = None;
            }
            8..=10 if self.force => self.meddle(),
            11..=40 => self.begin(),
            _ => self.go_on(),
        }
    }

    fn meddle(&mut self) {
        let (key, owner) = (self.key(), self.players[0].owner);
        match self.random.below(3) {
            0 => drop(self.world.break_lock(owner, key)),
            1 => self.world.servers.evict(key),
            _ if self.random.percent(10) => self.world.servers.set(key, b"foreign"),
            _ => {}
        }
    }

    fn begin(&mut self) {
        let index = self.player();
        if self.players[index].at.is_some() {
            return self.go_on();
        }
        let owner = self.players[index].owner;
        let length = 1 + self.random.below(10);
        let grants = self.players[index].grants.len() as u64;
        let work = if grants == 0 || self.random.percent(30) {
            let (key, wait) = (self.key(), secs(self.random.below(40)));
            let at_least = secs(if self.random.percent(20) { self.random.below(12) } else { 0 });
            let adopt = self.force && self.random.percent(30);
            let options = waiting(length, wait).mode(self.mode).adopt(adopt).at_least(at_least).unwrap();
            let nonce = self.world.nonce();
            let machine =
                Acquire::new(self.world.session(owner), kvlock_machine::Key::new(key).unwrap(), options, nonce);
            let nonce = format!("nonce: {:032x}\n", { nonce.0 });
            {
                let start = Start { key, nonce, began: self.world.now };
                Work::Acquiring { op: Op::new(&self.world, owner, machine), start }
            }
        } else {
            let held = self.players[index].grants[self.random.below(grants) as usize].clone();
            if self.random.percent(50) {
                let length = self.random.percent(50).then(|| lease(secs(length)));
                let op = Op::new(&self.world, owner, Renew::new(held.grant.clone(), length));
                Work::Renewing { op, held, began: self.world.now }
            } else {
                self.releasing(owner, held)
            }
        };
        self.players[index].at = Some(work);
    }

    /// To somebody who waits for the key, if there is one.
    fn releasing(&mut self, owner: Owner, held: Held) -> Work {
        let mut heir = None;
        for (index, player) in self.players.iter_mut().enumerate() {
            if let Some(Work::Acquiring { op, start }) = &mut player.at
                && start.key == held.key
                && let Some(claim) = self.world.claim(op)
            {
                self.heirs.insert((held.nonce.clone(), start.nonce.clone()));
                heir = Some((claim, (index, start.nonce.clone())));
            }
        }
        let (claim, heir) = heir.unzip();
        let release = match claim {
            Some(claim) => Release::to(held.grant.clone(), claim),
            None => Release::new(held.grant.clone()),
        };
        Work::Releasing { op: Op::new(&self.world, owner, release), held, heir }
    }

    /// Moves whoever is due first, or anybody, late.
    fn go_on(&mut self) {
        let busy = self.players.iter_mut().enumerate();
        let mut due: Vec<_> =
            busy.filter_map(|(index, player)| Some((player.at.as_mut()?.drive().due()?, index))).collect();
        due.sort();
        if due.is_empty() {
            return;
        }
        let pick = if self.random.percent(90) { 0 } else { self.random.below(due.len() as u64) as usize };
        let index = due[pick].1;
        let mut work = self.players[index].at.take().unwrap();
        work.drive().step(&mut self.world);
        if work.drive().due().is_some() {
            self.players[index].at = Some(work);
            return;
        }
        match work {
            Work::Acquiring { mut op, start } => self.acquired(index, start, op.outcome().unwrap()),
            Work::Renewing { mut op, held, began } => self.renewed(index, &held, began, op.outcome().unwrap()),
            Work::Releasing { mut op, held, heir } => self.released(index, &held, heir, op.outcome().unwrap()),
        }
    }

    fn acquired(&mut self, index: usize, start: Start, outcome: Result<Grant, AcquireError>) {
        let Start { key, nonce, began } = start;
        match outcome {
            Ok(grant) => {
                let grants = &mut self.players[index].grants;
                let outer = grants.iter().find(|held| held.grant == grant).cloned();
                let held = outer.unwrap_or_else(|| {
                    let last = self.tokens.insert(key, grant.token()).unwrap_or(0);
                    // A grant that was adopted before its answer came is lost, but nobody knows yet.
                    assert!(grant.token() > last || self.force, "{} after {last}", grant.token());
                    Held { key, grant, nonce, since: began }
                });
                grants.push(held);
            }
            Err(AcquireError::Corrupt(_)) => assert!(self.force),
            Err(AcquireError::OutOfOrder | AcquireError::Invalid(_)) => panic!("{outcome:?}"),
            Err(_) => {}
        }
    }

    fn renewed(&mut self, index: usize, held: &Held, began: Duration, outcome: Result<(), GrantError>) {
        match outcome {
            Ok(()) => {
                let mut history = self.world.servers.history.iter().rev();
                let written = history.any(|write| {
                    write.at >= began && contains(&write.after, &held.nonce) && write.key == store_key(held.key)
                });
                assert!(written, "a renewal that did not happen");
            }
            Err(GrantError::Store(_)) => {}
            Err(GrantError::Lost(_)) => self.forget(index, held),
            Err(error) => panic!("{error:?}"),
        }
    }

    fn released(
        &mut self,
        index: usize,
        held: &Held,
        heir: Option<(usize, String)>,
        outcome: Result<Released, GrantError>,
    ) {
        match outcome {
            Ok(Released::HandedOver(handed)) => {
                let mut history = self.world.servers.history.iter().rev();
                let (heir, nonce) = heir.expect("it had somebody to go to");
                assert!(history.any(|write| contains(&write.before, &held.nonce) && contains(&write.after, &nonce)));
                self.forget(index, held);
                self.handed_over += 1;
                // It may have given up, or be asking: then it finds out by itself.
                if let Some(Work::Acquiring { op, start }) = &mut self.players[heir].at
                    && start.nonce == nonce
                    && op.is_idle()
                {
                    op.hand(&self.world, handed);
                }
            }
            Ok(Released::Nested(_)) => {
                let grants = &mut self.players[index].grants;
                let one = grants.iter().position(|other| other.grant == held.grant).unwrap();
                grants.remove(one);
            }
            Ok(Released::Freed | Released::Kept(_)) => {
                let mut history = self.world.servers.history.iter().rev();
                let happened = history.any(|write| {
                    // By a hand-over now, or by an earlier one that was not answered.
                    let heir = write.after.as_deref().and_then(nonce);
                    let taken = heir.is_some_and(|heir| self.heirs.contains(&(held.nonce.clone(), heir)));
                    let ended = write.after.is_none() || contains(&write.after, "depth: 0\n") || taken;
                    ended && contains(&write.before, &held.nonce)
                });
                // What was lost with everything else, or by force, while the answer was awaited is free as well.
                assert!(happened || self.lost_at >= held.since || self.force, "a release that did not happen");
                self.forget(index, held);
            }
            Err(GrantError::Store(_)) => {}
            Err(GrantError::Lost(_)) => self.forget(index, held),
            Err(error) => panic!("{error:?}"),
        }
    }

    fn forget(&mut self, index: usize, held: &Held) {
        assert_eq!(self.world.validity(self.players[index].owner, &held.grant), Validity::Lost);
        self.players[index].grants.retain(|other| other.grant != held.grant);
    }

    fn check(&mut self) {
        for key in KEYS.into_iter().filter(|_| !self.force) {
            let holders = self.players.iter().filter(|player| {
                let mut grants = player.grants.iter().filter(|held| held.key == key);
                grants.any(|held| {
                    let validity = self.world.validity(player.owner, &held.grant);
                    matches!(validity, Validity::Valid(_) | Validity::Unlimited)
                })
            });
            assert!(holders.count() <= 1, "two valid grants of {key}");
        }
        let history = &self.world.servers.history[self.checked..];
        for write in history {
            assert!(!contains(&write.before, "foreign"), "a foreign value was written over");
            if let (Some(before), Some(after), false) = (&write.before, &write.after, self.force) {
                let (before, after) = (nonce(before), nonce(after));
                let handed_over = || before.clone().zip(after.clone()).is_some_and(|pair| self.heirs.contains(&pair));
                let may = before == after || handed_over() || write.outlived;
                assert!(may, "somebody else's record was written over");
            }
        }
        self.checked += history.len();
    }

    /// The store is well again, and all that was held is over.
    fn end(mut self) -> u32 {
        self.world.weather = Fault::Fine;
        self.world.advance(secs(60));
        let last = self.world.acquainted("last");
        for key in KEYS {
            if self.world.servers.text(key, self.world.now).is_some_and(|text| text == "foreign") {
                continue;
            }
            let grant = self.world.acquire(last, key, waiting(5, secs(1))).unwrap();
            assert!(grant.token() > self.tokens.get(key).copied().unwrap_or(0));
        }
        self.handed_over
    }

    fn player(&mut self) -> usize {
        self.random.below(self.players.len() as u64) as usize
    }

    fn key(&mut self) -> &'static str {
        KEYS[self.random.below(2) as usize]
    }
}

fn contains(value: &Option<Vec<u8>>, text: &str) -> bool {
    value.as_ref().is_some_and(|value| String::from_utf8_lossy(value).contains(text))
}

fn nonce(value: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(value);
    text.lines().find(|line| line.starts_with("nonce: ")).map(|line| format!("{line}\n"))
}
