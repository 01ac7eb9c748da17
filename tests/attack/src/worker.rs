//! A client: a process with a real session that locks, works and unlocks, and writes down what it is told.

mod kinds;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use kvlock::{Client, Grant, LockGuard, Session, Validity, error::GrantError, renewal::AutoRenew};
use kvlock_platforms::{GuestStore, Platform};
use serde::{Deserialize, Serialize};

use crate::history::{Answer, Journal, Kind, Nanos, Op, What, now};
use crate::mix::Habits;
use kinds::kind_of;

/// The longest lease in use, and so the quarantine.
const LONGEST_LEASE: Duration = Duration::from_secs(3);
/// The keys that are fought over.
const KEYS: [&str; 2] = ["red", "blue"];
/// The semaphore.
const SEMAPHORE: &str = "printers";
/// Its permits.
pub(crate) const PERMITS: u32 = 2;
/// When nothing goes wrong any more, everybody gets everything within this time: a quarantine, a lease that a dead
/// process left, which memcached may keep for four seconds longer, and a few turns.
const GETS_THROUGH: Duration = Duration::from_secs(25);
/// A worker whose attacker has gone ends by itself.
const ABANDONED: Duration = Duration::from_secs(120);

/// What a worker is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Task {
    /// The store.
    pub url: String,
    /// The component that is the store, compiled; none for a native client.
    pub guest: Option<PathBuf>,
    /// Where histories and written grants go, and where the file `calm` tells that the faults are over.
    pub folder: PathBuf,
    /// The owner's name.
    pub owner: String,
    /// How often a process of this name was started before.
    pub incarnation: u32,
    /// What its choices begin with.
    pub seed: u64,
    /// Its habits.
    pub habits: Habits,
    /// How long the faults go on, in seconds.
    pub length: u64,
}

/// Where a file tells that the faults are over.
pub(crate) fn calm(folder: &Path) -> PathBuf {
    folder.join("calm")
}

/// Works until the faults are over, and once more in peace.
pub fn work(task: &Task) -> Result<()> {
    let client = connect(task)?;
    let quarantine = if task.habits.hasty { Duration::ZERO } else { LONGEST_LEASE };
    let session = client.session().owner(&task.owner).quarantine(quarantine).open()?;
    let journal = Journal::create(&task.folder, &format!("{}.{}", task.owner, task.incarnation))?;
    let dice = fastrand::Rng::with_seed(task.seed);
    let mut worker = Worker { task, session, journal, dice, calls: 0, holds: 0 };
    let abandoned = now() + nanos(Duration::from_secs(task.length) + ABANDONED);
    while !calm(&task.folder).exists() && now() < abandoned {
        worker.turn()?;
    }
    worker.last_turns()
}

fn connect(task: &Task) -> Result<Client> {
    let Some(compiled) = &task.guest else { return Ok(Client::connect(&task.url)?) };
    let store = GuestStore::from_compiled(compiled, &Platform::with_store(&task.url));
    Ok(Client::with_store(store.map_err(anyhow::Error::msg)?))
}

struct Worker<'t> {
    task: &'t Task,
    session: Session,
    journal: Journal,
    dice: fastrand::Rng,
    calls: u64,
    holds: u64,
}

/// What a worker has.
struct Held {
    number: u64,
    lease: Duration,
    reentrant: bool,
    /// One for each level.
    grants: Vec<Grant>,
}

/// How to acquire.
#[derive(Clone, Copy)]
struct Wish {
    key: &'static str,
    lease: Duration,
    wait: Duration,
    reentrant: bool,
    adopt: bool,
    at_least: Duration,
}

impl Worker<'_> {
    fn turn(&mut self) -> Result<()> {
        self.pause(0, 60);
        match self.dice.u32(0..100) {
            0..4 if self.task.habits.break_locks => self.break_lock(),
            0..12 => self.take_up(),
            _ => {
                let wish = self.wish();
                match self.acquire(wish)? {
                    Ok(held) if self.dice.u32(0..5) == 0 && !self.task.habits.reckless => self.hold_kept(held),
                    Ok(held) => self.hold(held),
                    Err(_) => Ok(()),
                }
            }
        }
    }

    fn wish(&mut self) -> Wish {
        let chance = |dice: &mut fastrand::Rng, of: u32| dice.u32(0..of) == 0;
        let dice = &mut self.dice;
        Wish {
            key: if chance(dice, 4) { SEMAPHORE } else { KEYS[dice.usize(0..KEYS.len())] },
            lease: Duration::from_millis(dice.u64(1000..=3000)),
            wait: Duration::from_millis(if chance(dice, 4) { 0 } else { dice.u64(0..4000) }),
            reentrant: chance(dice, 3),
            adopt: self.task.habits.adopt && chance(dice, 4),
            at_least: Duration::from_millis(if chance(dice, 20) { dice.u64(0..1500) } else { 0 }),
        }
    }

    fn acquire(&mut self, wish: Wish) -> Result<Result<Held, Kind>> {
        let Wish { key, lease, wait, reentrant, adopt, at_least } = wish;
        let millis = |length: Duration| u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
        let (owner, lock) = (self.task.owner.clone(), key != SEMAPHORE);
        let (adopt, reentrant) = (adopt && lock, reentrant && lock);
        let op = Op::Acquire { key: key.into(), owner, lease: millis(lease), wait: millis(wait), adopt };
        let call = self.invoke(op)?;
        let acquired = if lock {
            let lock = self.session.lock(key).lease(lease).wait(wait).at_least(at_least);
            let lock = if adopt { lock.adopt() } else { lock };
            if reentrant { lock.reentrant().acquire() } else { lock.acquire() }
        } else {
            self.session.semaphore(key).permit().lease(lease).wait(wait).acquire()
        };
        match acquired {
            Ok(grant) => {
                // A grant that was given away may still be the session's own, and this one nested in it.
                let fresh = grant.depth().is_ok_and(|depth| depth <= 1);
                self.granted(call, &grant, fresh)?;
                Ok(Ok(Held { number: self.holds, lease, reentrant, grants: vec![grant] }))
            }
            Err(error) => {
                let kind = self.failed(call, kind_of(error.kind()), &error)?;
                if kind == Kind::UnknownSemaphore {
                    // The server forgot it. A failure shows at the next acquire.
                    let _ = self.session.semaphore(SEMAPHORE).make(PERMITS).wait(Duration::ZERO).run();
                }
                Ok(Err(kind))
            }
        }
    }

    /// Works for a while, relying on the grant for as long as it says that it is valid, then gives it back.
    fn hold(&mut self, mut held: Held) -> Result<()> {
        // Mostly short, so that much happens; some are longer than a lease.
        let percent = if self.dice.u32(0..3) == 0 { 160 } else { 25 };
        let end = now() + nanos(held.lease * self.dice.u32(1..percent) / 100);
        let end = if self.task.habits.reckless { now() + nanos(held.lease * 5) } else { end };
        let mut until = self.trust(&held)?;
        while now() < until.min(end) {
            self.pause(2, 80);
            if now() >= until {
                break;
            }
            until = match self.dice.u32(0..100) {
                _ if self.task.habits.reckless => until,
                0..25 => self.renew(&mut held, until)?,
                25..35 if held.reentrant && held.grants.len() < 3 => self.nest(&mut held, until)?,
                35..45 if held.grants.len() > 1 => self.release_one(&mut held, until)?,
                45..47 => return self.write_out(held),
                _ => until,
            };
        }
        self.journal.note(What::Outside { hold: held.number })?;
        self.give_back(held)
    }

    /// The same, with a thread that renews.
    fn hold_kept(&mut self, mut held: Held) -> Result<()> {
        let end = now() + nanos(held.lease * self.dice.u32(1..200) / 100);
        let (number, Some(grant)) = (held.number, held.grants.pop()) else { return Ok(()) };
        let kept = grant.auto_renew(AutoRenew::default());
        let mut told = 0;
        while let Some(until) = valid_until(&kept).filter(|_| now() < end) {
            // It counts down between two renewals; a millisecond is what it takes to ask.
            if until > told + 1_000_000 {
                told = until;
                self.journal.note(What::Inside { hold: number, until })?;
            }
            self.pause(5, 40);
        }
        self.journal.note(What::Outside { hold: number })?;
        let call = self.invoke(Op::Release { hold: number })?;
        let released = kept.release();
        self.done(call, released.map(drop).map_err(|error| (kind_of(error.kind()), error)))?;
        Ok(())
    }

    /// Asks how long the grant is valid, and relies on it for so long from before it was asked on.
    fn trust(&mut self, held: &Held) -> Result<Nanos> {
        let asked = now();
        let Some(grant) = held.grants.last() else { return Ok(0) };
        let until = match grant.validity() {
            _ if self.task.habits.reckless => Nanos::MAX,
            Ok(Validity::Valid(left)) => asked + nanos(left),
            _ => return Ok(0),
        };
        self.journal.note_at(asked, What::Inside { hold: held.number, until })?;
        Ok(until)
    }

    fn renew(&mut self, held: &mut Held, until: Nanos) -> Result<Nanos> {
        let call = self.invoke(Op::Renew { hold: held.number })?;
        let renewed = held.grants.last_mut().context("held")?.renew();
        self.after(held, until, call, renewed)
    }

    fn nest(&mut self, held: &mut Held, until: Nanos) -> Result<Nanos> {
        let key = held.grants.last().context("held")?.key().to_string();
        let call = self.invoke(Op::Nest { hold: held.number })?;
        let lock = self.session.lock(key).lease(held.lease).wait(Duration::from_millis(500)).reentrant();
        match lock.acquire() {
            Ok(grant) if held.grants.last().is_some_and(|outer| outer.token() == grant.token()) => {
                held.grants.push(grant);
                self.done(call, Ok::<_, (Kind, String)>(()))?;
                self.trust(held)
            }
            Ok(grant) => {
                // The outer one ended meanwhile, and this one is new: nothing that the outer one guarded is safe.
                self.granted(call, &grant, true)?;
                self.journal.note(What::Outside { hold: held.number })?;
                let (number, lease) = (self.holds, held.lease);
                self.give_back(Held { number, lease, reentrant: true, grants: vec![grant] })?;
                Ok(0)
            }
            Err(error) => {
                let kind = self.failed(call, kind_of(error.kind()), &error)?;
                Ok(if kind == Kind::Lost { 0 } else { until })
            }
        }
    }

    fn release_one(&mut self, held: &mut Held, until: Nanos) -> Result<Nanos> {
        let call = self.invoke(Op::Release { hold: held.number })?;
        let released = held.grants.pop().context("held")?.release();
        self.after(held, until, call, released.map(drop))
    }

    /// What is known after a call with the grant.
    fn after(&mut self, held: &Held, until: Nanos, call: u64, result: Result<(), GrantError>) -> Result<Nanos> {
        match self.done(call, result.map_err(|error| (kind_of(error.kind()), error)))? {
            None => self.trust(held),
            Some(Kind::Lost) => Ok(0),
            Some(_) => Ok(until),
        }
    }

    fn give_back(&mut self, mut held: Held) -> Result<()> {
        if self.dice.u32(0..25) == 0 {
            held.grants.drain(..).for_each(Grant::forget);
            return Ok(());
        }
        while let Some(grant) = held.grants.pop() {
            let call = self.invoke(Op::Release { hold: held.number })?;
            let released = grant.release();
            self.done(call, released.map(drop).map_err(|error| (kind_of(error.kind()), error)))?;
        }
        Ok(())
    }

    /// Leaves the grant to whoever finds it.
    fn write_out(&mut self, mut held: Held) -> Result<()> {
        self.journal.note(What::Outside { hold: held.number })?;
        let call = self.invoke(Op::WriteOut { hold: held.number })?;
        let innermost = held.grants.pop().context("held")?;
        held.grants.drain(..).for_each(Grant::forget);
        match innermost.write_out() {
            Ok(word) => {
                self.done(call, Ok::<_, (Kind, String)>(()))?;
                let path = self.task.folder.join(format!("{}.{}.{call}", self.task.owner, self.task.incarnation));
                // Whole or not at all.
                fs::write(&path, word)?;
                Ok(fs::rename(&path, path.with_extension(format!("{call}.word")))?)
            }
            Err(error) => self.failed(call, kind_of(error.kind()), &error).map(drop),
        }
    }

    /// Takes up a grant that somebody wrote out.
    fn take_up(&mut self) -> Result<()> {
        let Some(word) = self.find_word()? else { return Ok(()) };
        let call = self.invoke(Op::Resume)?;
        let grant = match self.session.resume(&word) {
            Ok(grant) => grant,
            Err(error) => return self.failed(call, Kind::AlreadyHeld, &error).map(drop),
        };
        self.granted(call, &grant, false)?;
        let depth = grant.depth().unwrap_or(1);
        let mut held =
            Held { number: self.holds, lease: Duration::from_secs(1), reentrant: depth > 1, grants: vec![grant] };
        // Half of them give it back without a question.
        if self.dice.bool() && self.renew(&mut held, 0)? > 0 {
            return self.hold(held);
        }
        self.give_back(held)
    }

    fn find_word(&mut self) -> Result<Option<String>> {
        for entry in fs::read_dir(&self.task.folder)? {
            let path = entry?.path();
            let mine = path.with_extension(format!("{}.{}.mine", self.task.owner, self.calls));
            if path.extension().is_some_and(|extension| extension == "word") && fs::rename(&path, &mine).is_ok() {
                return Ok(Some(fs::read_to_string(mine)?));
            }
        }
        Ok(None)
    }

    fn break_lock(&mut self) -> Result<()> {
        let key = KEYS[self.dice.usize(0..KEYS.len())];
        let call = self.invoke(Op::Break { key: key.into() })?;
        match self.session.break_lock(key) {
            Ok(_) => self.done(call, Ok::<_, (Kind, String)>(())).map(drop),
            Err(kvlock::error::StatusError::Store { error, .. }) => {
                self.failed(call, kind_of(error.kind()), &error).map(drop)
            }
            Err(error) => self.failed(call, Kind::Bug, &error).map(drop),
        }
    }

    /// When nothing goes wrong any more, everything is to be had.
    fn last_turns(&mut self) -> Result<()> {
        let end = now() + nanos(GETS_THROUGH);
        for key in [KEYS[0], KEYS[1], SEMAPHORE] {
            let (lease, at_least) = (Duration::from_secs(1), Duration::ZERO);
            loop {
                let wait = Duration::from_nanos(end.saturating_sub(now()));
                match self.acquire(Wish { key, lease, wait, reentrant: false, adopt: false, at_least })? {
                    Ok(held) => {
                        self.trust(&held)?;
                        self.journal.note(What::Outside { hold: held.number })?;
                        held.grants.into_iter().for_each(drop);
                        break;
                    }
                    // It forgot one, or wrote one out: that one's lease is a matter of seconds.
                    Err(why) if now() >= end => {
                        let why = format!("{why:?} after {GETS_THROUGH:?}");
                        self.journal.note(What::Stuck { key: key.into(), why })?;
                        break;
                    }
                    Err(_) => self.pause(20, 100),
                }
            }
        }
        Ok(())
    }

    fn invoke(&mut self, op: Op) -> Result<u64> {
        self.calls += 1;
        self.journal.note(What::Invoke { call: self.calls, op })?;
        Ok(self.calls)
    }

    fn granted(&mut self, call: u64, grant: &Grant, fresh: bool) -> Result<()> {
        self.holds += 1;
        let permit = grant.permit().map(|permit| format!("#{permit}")).unwrap_or_default();
        let key = format!("{}{permit}", grant.key());
        let answer = Answer::Granted { hold: self.holds, key, token: grant.token(), fresh };
        self.journal.note(What::Answer { call, answer })
    }

    /// Notes what became of a call, and tells how it failed if it did.
    fn done(&mut self, call: u64, result: Result<(), (Kind, impl ToString)>) -> Result<Option<Kind>> {
        match result {
            Ok(()) => self.journal.note(What::Answer { call, answer: Answer::Done }).map(|()| None),
            Err((kind, error)) => self.failed(call, kind, &error).map(Some),
        }
    }

    fn failed(&mut self, call: u64, kind: Kind, error: &impl ToString) -> Result<Kind> {
        let answer = Answer::Failed { kind, text: error.to_string() };
        self.journal.note(What::Answer { call, answer })?;
        Ok(kind)
    }

    fn pause(&mut self, from: u64, to: u64) {
        std::thread::sleep(Duration::from_millis(self.dice.u64(from..=to)));
    }
}

fn nanos(length: Duration) -> Nanos {
    u64::try_from(length.as_nanos()).unwrap_or(Nanos::MAX)
}

fn valid_until(kept: &LockGuard) -> Option<Nanos> {
    let asked = now();
    let left = kept.valid_for().filter(|left| !left.is_zero() && kept.lost().is_none())?;
    Some(asked + nanos(left))
}
