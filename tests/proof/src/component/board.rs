//! A schedule: the sessions, the store, the clock, and what is promised of them all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use kvlock::clock::{Clock, VirtualClock};
use kvlock::store::{Entry, Fault, KvStore, Memory, Ttl};
use kvlock::{Client, Session};
use kvlock_testkit::Hooked;

use super::chaos::{self, Chaos};
use super::dice::Dice;
use super::player::{KEYS, Player};
use crate::promise::Promise;

/// Moves of a schedule.
const MOVES: u32 = 60;
/// How deep moves lie in each other: a call during which another session calls, during which a third does.
const DEEPEST: u32 = 2;
/// The longest lease of a schedule, and so the quarantine.
const QUARANTINE: Duration = Duration::from_secs(10);

/// What a schedule came to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Played {
    /// Moves of sessions.
    pub moves: u64,
    /// Grants given.
    pub grants: u64,
    /// Calls that met a fault.
    pub faults: u64,
}

/// A broken promise.
#[derive(Debug, Clone)]
pub struct Violation {
    /// The seed of its schedule.
    pub seed: u64,
    /// The promise.
    pub promise: Promise,
    /// The schedule, a line for each step.
    pub story: Vec<String>,
}

/// Everything of a schedule. Each part has a lock of its own: sessions move while others are inside a call.
pub(crate) struct Board {
    pub(crate) force: bool,
    pub(crate) nested: bool,
    same_name: bool,
    clock: Arc<VirtualClock>,
    memory: Memory,
    client: Client,
    dice: Mutex<Dice>,
    players: Mutex<Vec<Arc<Mutex<Player>>>>,
    facts: Mutex<Facts>,
    story: Option<Mutex<Vec<String>>>,
    depth: AtomicU32,
}

#[derive(Default)]
struct Facts {
    fair: bool,
    played: Played,
    broken: Option<Promise>,
    highest: BTreeMap<&'static str, u64>,
    /// Until when each player is sure of a key, and its token.
    sure: BTreeMap<(usize, &'static str), (Duration, u64)>,
    /// The tokens of the records that were rewritten, in that order.
    rewritten: Vec<u64>,
    /// The tokens of the records that their owners deleted or left for their minimum time.
    given_back: BTreeSet<u64>,
    /// The tokens that were given before the last loss of everything.
    forgotten: u64,
}

/// Plays the schedule of a seed.
pub fn play(seed: u64) -> Result<Played, Box<Violation>> {
    play_on(seed, true)
}

/// The same on a store that forgets entries before their time: a control, for it must break a promise.
pub fn play_on_an_unfit_store(seed: u64) -> Result<Played, Box<Violation>> {
    play_on(seed, false)
}

fn play_on(seed: u64, fit: bool) -> Result<Played, Box<Violation>> {
    let board = Board::new(seed, fit, false);
    board.run().map_err(|promise| {
        // Once more, and told.
        let board = Board::new(seed, fit, true);
        let again = board.run().err();
        let mut story = board.story.as_ref().map(|story| lock(story).clone()).unwrap_or_default();
        story.push(format!("broken: {}", again.unwrap_or(promise)));
        Box::new(Violation { seed, promise, story })
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Board {
    fn new(seed: u64, fit: bool, told: bool) -> Arc<Board> {
        let mut dice = Dice::new(seed);
        let (force, nested, same_name) = (dice.percent(40), dice.percent(50), dice.percent(50));
        let players = 2 + dice.below(2) as usize;
        let mut randomness = Dice::new(dice.draw());
        let clock = Arc::new(VirtualClock::new());
        let memory = Memory::new(clock.clone());
        let board = Arc::new_cyclic(|board| {
            let chaos = Hooked::new(memory.clone(), Chaos { board: board.clone(), memory: memory.clone(), fit });
            let client = Client::with_store(chaos).with_clock(clock.clone());
            Board {
                force,
                nested,
                same_name,
                clock,
                memory,
                client: client.with_random(move || randomness.draw()),
                dice: Mutex::new(dice),
                players: Mutex::default(),
                facts: Mutex::default(),
                story: told.then(Mutex::default),
                depth: AtomicU32::new(0),
            }
        });
        let sessions = (0..players).filter_map(|number| Some(Player::new(number, board.open(number)?)));
        let players = sessions.map(|player| Arc::new(Mutex::new(player))).collect();
        *lock(&board.players) = players;
        board
    }

    fn run(&self) -> Result<Played, Promise> {
        for _ in 0..MOVES {
            self.step()?;
        }
        let ended = self.end();
        for player in lock(&self.players).drain(..) {
            lock(&player).abandon();
        }
        ended?;
        Ok(lock(&self.facts).played)
    }

    pub(crate) fn open(&self, number: usize) -> Option<Session> {
        let name = if self.same_name { "same".into() } else { format!("owner {number}") };
        self.client.session().owner(name).label("").quarantine(QUARANTINE).open().ok()
    }

    pub(crate) fn roll<T>(&self, decide: impl FnOnce(&mut Dice) -> T) -> T {
        decide(&mut lock(&self.dice))
    }

    pub(crate) fn now(&self) -> Duration {
        self.clock.now()
    }

    pub(crate) fn tell(&self, line: impl FnOnce() -> String) {
        if let Some(story) = &self.story {
            let depth = self.depth.load(Ordering::Relaxed) as usize;
            let line = format!("{:>12.6} s  {}{}", self.now().as_secs_f64(), "  ".repeat(depth), line());
            lock(story).push(line);
        }
    }

    /// One move: of the world, or of a session that is not inside a call.
    fn step(&self) -> Result<(), Promise> {
        match self.roll(|dice| dice.below(100)) {
            0 => self.lose_all(),
            1..=7 => {
                let by = self.roll(|dice| dice.millis(4000));
                self.tell(|| format!("time goes on by {by:?}"));
                self.clock.advance(by);
            }
            8..=27 => self.go_to_next(),
            28..=33 => self.deliver_late(),
            34 if self.force => {
                let key = KEYS[self.roll(|dice| dice.below(2)) as usize];
                self.tell(|| format!("the store evicts {key}"));
                self.memory.evict(&store_key(key));
            }
            _ => self.step_of_a_player()?,
        }
        self.check()
    }

    fn step_of_a_player(&self) -> Result<(), Promise> {
        let players = lock(&self.players).clone();
        let pick = self.roll(|dice| dice.below(players.len() as u64)) as usize;
        // Who is inside a call cannot move.
        let Ok(mut player) = players[pick].try_lock() else { return Ok(()) };
        lock(&self.facts).played.moves += 1;
        player.step(self)
    }

    /// What others do while a call is under way.
    pub(crate) fn meanwhile(&self) {
        if lock(&self.facts).fair
            || self.depth.load(Ordering::Relaxed) >= DEEPEST
            || !self.roll(|dice| dice.percent(12))
        {
            return;
        }
        self.depth.fetch_add(1, Ordering::Relaxed);
        for _ in 0..self.roll(|dice| 1 + dice.below(4)) {
            if let Err(promise) = self.step() {
                lock(&self.facts).broken.get_or_insert(promise);
            }
        }
        self.depth.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn fault(&self) -> Option<Fault> {
        if lock(&self.facts).fair {
            return None;
        }
        let fault = self.roll(chaos::fault);
        lock(&self.facts).played.faults += u64::from(fault.is_some());
        fault
    }

    /// Time goes on to when somebody's pause is over.
    fn go_to_next(&self) {
        let players = lock(&self.players).clone();
        let due = players.iter().filter_map(|player| Some(player.try_lock().ok()?.wait.as_ref()?.due));
        if let Some(pause) = due.min().and_then(|due| due.checked_sub(self.now())) {
            self.clock.advance(pause);
        }
    }

    fn lose_all(&self) {
        self.tell(|| "the store loses everything: a new era".into());
        self.memory.new_era(Duration::ZERO);
        // Tokens of an era are larger than its number.
        let era = self.memory.era(&store_key(KEYS[0])).map_or(0, |era| era.id);
        lock(&self.facts).forgotten = era;
    }

    fn deliver_late(&self) {
        let entries = || KEYS.map(|key| self.memory.peek(&store_key(key)));
        let before = entries();
        self.memory.deliver_late();
        for ((key, before), after) in KEYS.into_iter().zip(before).zip(entries()) {
            let nonce = |entry: &Option<Entry>| entry.as_ref().and_then(chaos::mark).map(|mark| mark.nonce);
            if nonce(&before) == nonce(&after) {
                self.changed(self.now(), &store_key(key), before, after);
            } else {
                // Several were executed at once: a delete and an add look like a replace.
                self.changed(self.now(), &store_key(key), before, None);
            }
        }
    }

    /// A call may have changed what is under a key since this time.
    pub(crate) fn changed(&self, since: Duration, key: &str, before: Option<Entry>, after: Option<Entry>) {
        let version = |entry: &Option<Entry>| entry.as_ref().map(|entry| entry.version);
        if version(&before) == version(&after) {
            return;
        }
        let left = before.as_ref().and_then(|entry| entry.time_left);
        // Nobody counts on what the store may have dropped by now.
        let is_over = matches!(left, Some(Ttl::After(left)) if since + left <= self.now() + chaos::LONGER);
        let [before, after] = [before, after].map(|entry| entry.as_ref().and_then(chaos::mark));
        let mut facts = lock(&self.facts);
        match (&before, &after) {
            (Some(before), Some(after)) if before.nonce != after.nonce && !self.force => {
                if is_over && !facts.sure.values().any(|(until, token)| *token == before.token && *until > self.now()) {
                    return;
                }
                facts.broken.get_or_insert(Promise::OthersUntouched);
                drop(facts);
                self.tell(|| format!("    {key} was somebody else's"));
            }
            (Some(before), Some(after)) if before.token == after.token => {
                facts.rewritten.push(after.token);
                if after.depth == 0 {
                    facts.given_back.insert(after.token);
                }
            }
            (Some(before), _) => {
                facts.given_back.insert(before.token);
            }
            (None, _) => {}
        }
    }

    pub(crate) fn writes(&self) -> usize {
        lock(&self.facts).rewritten.len()
    }

    pub(crate) fn rewritten_since(&self, since: usize, token: u64) -> bool {
        lock(&self.facts).rewritten[since..].contains(&token)
    }

    pub(crate) fn was_given_back(&self, token: u64) -> bool {
        lock(&self.facts).given_back.contains(&token)
    }

    /// Whether a grant can have ended by nothing but its owner and time.
    pub(crate) fn is_plain(&self, token: u64) -> bool {
        !self.force && token > lock(&self.facts).forgotten
    }

    pub(crate) fn highest(&self, key: &str) -> u64 {
        lock(&self.facts).highest.get(key).copied().unwrap_or(0)
    }

    pub(crate) fn count_grant(&self, key: &'static str, token: u64) {
        let mut facts = lock(&self.facts);
        facts.played.grants += 1;
        let highest = facts.highest.entry(key).or_default();
        *highest = token.max(*highest);
    }

    pub(crate) fn believe(&self, player: usize, key: &'static str, sure: Option<(Duration, u64)>) {
        let mut facts = lock(&self.facts);
        match sure {
            Some(sure) => drop(facts.sure.insert((player, key), sure)),
            None => drop(facts.sure.remove(&(player, key))),
        }
    }

    /// Who asks for a shorter lease relies on that from then on, whenever it is written.
    pub(crate) fn rely_until(&self, player: usize, key: &'static str, until: Duration) {
        if let Some((sure, _)) = lock(&self.facts).sure.get_mut(&(player, key)) {
            *sure = until.min(*sure);
        }
    }

    pub(crate) fn stop_relying(&self, player: usize, key: &str) {
        lock(&self.facts).sure.retain(|(other, held), _| *other != player || *held != key);
    }

    /// Whether a player can be sure of a grant, and the store has its record.
    pub(crate) fn stands_and_is_sure(&self, player: usize, key: &str, token: u64) -> bool {
        let entry = self.memory.peek(&store_key(key));
        let stands = entry.as_ref().and_then(chaos::mark).is_some_and(|mark| mark.token == token && mark.depth > 0);
        let facts = lock(&self.facts);
        let sure = facts.sure.iter().find(|((other, held), _)| *other == player && *held == key);
        stands && sure.is_some_and(|(_, (until, sure))| *sure == token && *until > self.now())
    }

    /// What holds at every moment.
    fn check(&self) -> Result<(), Promise> {
        let now = self.now();
        let facts = lock(&self.facts);
        if let Some(promise) = facts.broken {
            return Err(promise);
        }
        if self.force {
            return Ok(());
        }
        for key in KEYS {
            let sure = facts.sure.iter().filter(|((_, held), (until, _))| *held == key && *until > now);
            let sure: Vec<(Duration, u64)> = sure.map(|(_, sure)| *sure).collect();
            if sure.len() > 1 {
                return Err(Promise::OneHolder);
            }
            let Some((until, token)) = sure.first().filter(|(_, token)| *token > facts.forgotten) else { continue };
            let entry = self.memory.peek(&store_key(key));
            let kept = entry.as_ref().and_then(|entry| Some((chaos::mark(entry)?, entry.time_left?)));
            let honest = kept.is_some_and(|(mark, left)| {
                let left = if let kvlock::store::Ttl::After(left) = left { left } else { Duration::MAX };
                mark.token == *token && *until <= now.saturating_add(left)
            });
            if !honest {
                return Err(Promise::HonestValidity);
            }
        }
        Ok(())
    }

    /// Nothing goes wrong any more: every wait comes to its end, and every key can be had.
    fn end(&self) -> Result<(), Promise> {
        self.tell(|| "from here on nothing goes wrong any more".into());
        lock(&self.facts).fair = true;
        self.deliver_late();
        let players = lock(&self.players).clone();
        for _ in 0..100_000 {
            let mut waits = false;
            for player in &players {
                let mut player = lock(player);
                if player.wait.as_ref().is_some_and(|wait| wait.due <= self.now()) {
                    player.poll(self)?;
                    player.believe(self);
                    self.check()?;
                }
                waits |= player.wait.is_some();
            }
            if !waits {
                return self.have_every_key(&players);
            }
            self.go_to_next();
        }
        Err(Promise::EverybodyEnds)
    }

    fn have_every_key(&self, players: &[Arc<Mutex<Player>>]) -> Result<(), Promise> {
        for player in players {
            lock(player).abandon();
        }
        self.clock.advance(Duration::from_secs(60));
        let last = self.open(players.len()).ok_or(Promise::NoNonsense)?;
        for key in KEYS {
            let lock = last.lock(key).wait(Duration::from_secs(5));
            let grant = lock.acquire().map_err(|_| Promise::EverybodyEnds)?;
            if grant.token() <= self.highest(key) {
                return Err(Promise::TokensGrow);
            }
        }
        Ok(())
    }
}

fn store_key(key: &str) -> String {
    format!("kvlock:lock:{key}")
}
