//! Random schedules of a semaphore: owners that acquire, renew, release, resize and crash on a store that fails.
//!
//! What holds in all of them:
//! - no permit is granted beyond the size, and no number is held twice;
//! - a resizing that is reported as done is: no more are held than its size;
//! - no machine calls on and on without a pause;
//! - when the store is well again and all leases are over, the whole size can be had, and no more.
//!
//! A failure names the seed; [`one`] runs it alone.

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use kvlock_machine::{
    AcquireError, AcquirePermit, Grant, GrantError, Release, Released, Renew, Resize, ResizeError, Validity,
};
use support::{Drive, Fault, Op, Owner, Random, World, millis, once, secs, seeds, waiting};

const SEEDS: u64 = 3000;
const MOVES: u32 = 150;
/// No answer comes later than this after its request was executed.
const SLOWEST: Duration = Duration::from_secs(5);
const LONGEST_LEASE: Duration = Duration::from_secs(10);

#[test]
fn no_schedule_lets_more_in_than_the_size() {
    seeds(SEEDS, one).for_each(drop);
}

fn one(seed: u64) {
    let mut game = Game::new(seed);
    for _ in 0..MOVES {
        game.play();
        game.check();
    }
    game.end();
}

struct Game {
    world: World,
    random: Random,
    players: Vec<Player>,
    lost_at: Option<Duration>,
}

struct Player {
    owner: Owner,
    grants: Vec<Grant>,
    at: Option<Work>,
    /// When its last call left: what it comes to may rest on what stood then.
    asked: Duration,
}

enum Work {
    Acquiring(Op<AcquirePermit>),
    Renewing(Op<Renew>),
    Releasing(Op<Release>, Grant),
    Resizing(Op<Resize>, u32),
}

impl Work {
    fn drive(&mut self) -> &mut dyn Drive {
        match self {
            Work::Acquiring(op) => op,
            Work::Renewing(op) => op,
            Work::Releasing(op, _) => op,
            Work::Resizing(op, _) => op,
        }
    }
}

impl Game {
    fn new(seed: u64) -> Self {
        let (mut world, mut random) = (World::new(), Random(seed));
        world.servers.slack = secs(random.below(2) * 2);
        let players = (0..2 + random.below(2)).map(|index| Player {
            owner: world.owner(&format!("owner {index}")),
            grants: Vec::new(),
            at: None,
            asked: world.now,
        });
        let players: Vec<_> = players.collect();
        let size = 1 + random.below(3) as u32;
        assert_eq!(world.resize(players[0].owner, "pool", size), Ok(None));
        Game { world, random, players, lost_at: None }
    }

    fn play(&mut self) {
        self.world.weather = self.random.weather(SLOWEST);
        match self.random.below(100) {
            0 => {
                self.world.servers.lose(0, self.world.now);
                self.lost_at = Some(self.world.now);
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
            8..=45 => self.begin(),
            _ => self.go_on(),
        }
    }

    fn begin(&mut self) {
        let index = self.player();
        if self.players[index].at.is_some() {
            return self.go_on();
        }
        let owner = self.players[index].owner;
        let wait = secs(self.random.below(40));
        let held = self.players[index].grants.len() as u64;
        self.players[index].at = Some(match self.random.below(10) {
            0 => {
                let size = self.random.below(5) as u32;
                Work::Resizing(self.world.resizing(owner, "pool", size, wait), size)
            }
            1..=3 if held > 0 => {
                let grant = self.players[index].grants[self.random.below(held) as usize].clone();
                Work::Renewing(Op::new(&self.world, owner, Renew::new(grant, None)))
            }
            4..=6 if held > 0 => {
                let grant = self.players[index].grants[self.random.below(held) as usize].clone();
                Work::Releasing(Op::new(&self.world, owner, Release::new(grant.clone())), grant)
            }
            _ => {
                let options = waiting(1 + self.random.below(LONGEST_LEASE.as_secs()), wait);
                Work::Acquiring(self.world.acquiring_permit(owner, "pool", options))
            }
        });
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
        let calls = self.world.log.len();
        work.drive().step(&mut self.world);
        if self.world.log.len() > calls {
            self.players[index].asked = self.world.now;
        }
        if work.drive().due().is_some() {
            self.players[index].at = Some(work);
            return;
        }
        match work {
            Work::Acquiring(mut op) => self.acquired(index, op.outcome().unwrap()),
            Work::Renewing(mut op) => assert!(!matches!(op.outcome().unwrap(), Err(GrantError::OutOfOrder))),
            Work::Releasing(mut op, grant) => self.released(index, &grant, op.outcome().unwrap()),
            Work::Resizing(mut op, size) => self.resized(index, size, op.outcome().unwrap()),
        }
    }

    fn acquired(&mut self, index: usize, outcome: Result<Grant, AcquireError>) {
        match outcome {
            Ok(grant) => {
                self.players[index].grants.push(grant);
                let (valid, size) = (self.valid().len(), self.largest_size_since(self.players[index].asked));
                assert!(valid <= size, "{valid} permits of {size}");
            }
            Err(AcquireError::OutOfOrder | AcquireError::Invalid(_) | AcquireError::Corrupt(_)) => {
                panic!("{outcome:?}")
            }
            Err(_) => {}
        }
    }

    fn released(&mut self, index: usize, grant: &Grant, outcome: Result<Released, GrantError>) {
        match outcome {
            Ok(_) | Err(GrantError::Lost(_)) => {
                assert_eq!(self.world.validity(self.players[index].owner, grant), Validity::Lost);
                self.players[index].grants.retain(|other| other != grant);
            }
            Err(GrantError::Store(_)) => {}
            Err(error) => panic!("{error:?}"),
        }
    }

    fn resized(&mut self, index: usize, size: u32, outcome: Result<Option<u32>, ResizeError>) {
        match outcome {
            Ok(_) => {
                // A semaphore that was lost with its permits tells nothing of who is still at work.
                if self.lost_at.is_some_and(|lost_at| self.world.now - lost_at <= LONGEST_LEASE) {
                    return;
                }
                // Somebody may have given it another size since it was done.
                let most = self.largest_size_since(self.players[index].asked).max(size as usize);
                assert!(self.valid().len() <= most, "{} held of {most}", self.valid().len());
            }
            Err(ResizeError::OutOfOrder | ResizeError::Corrupt(_)) => panic!("{outcome:?}"),
            Err(_) => {}
        }
    }

    fn valid(&self) -> Vec<u32> {
        let grants = self.players.iter().flat_map(|player| player.grants.iter().map(move |grant| (player, grant)));
        let valid = grants.filter(|(player, grant)| {
            matches!(self.world.validity(player.owner, grant), Validity::Valid(_) | Validity::Unlimited)
        });
        valid.map(|(_, grant)| grant.permit().unwrap()).collect()
    }

    /// The largest size that the semaphore had since then.
    fn largest_size_since(&self, since: Duration) -> usize {
        let mut sizes = self.world.servers.history.iter().filter(|write| write.key == "n:semaphore:pool");
        let (mut last, mut largest) = (0, 0);
        for write in sizes.by_ref() {
            last = write.after.as_deref().map_or(0, size);
            if write.at < since {
                largest = last;
            } else {
                largest = largest.max(last);
            }
        }
        largest.max(last)
    }

    fn check(&mut self) {
        let valid = self.valid();
        assert_eq!(valid.iter().collect::<BTreeSet<_>>().len(), valid.len(), "a number held twice: {valid:?}");
    }

    /// The store is well again, and all that was held is over.
    fn end(mut self) {
        self.world.weather = Fault::Fine;
        self.world.advance(secs(60));
        let last = self.world.acquainted("last");
        let before = self.world.resize(last, "pool", 3).unwrap();
        for _ in 0..3 {
            self.world.permit(last, "pool", waiting(50, secs(1))).unwrap();
        }
        assert!(self.world.permit(last, "pool", once(50)).is_err(), "four of three, {before:?} before");
        assert_eq!(self.world.semaphores(last).len(), 1);
    }

    fn player(&mut self) -> usize {
        self.random.below(self.players.len() as u64) as usize
    }
}

fn size(value: &[u8]) -> usize {
    let text = String::from_utf8_lossy(value);
    text.lines().find_map(|line| line.strip_prefix("permits: ")).unwrap().parse().unwrap()
}
