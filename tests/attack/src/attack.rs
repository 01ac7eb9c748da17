//! One attack, and many.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;
use kvlock_platforms::GuestStore;

use crate::adversary::Adversary;
use crate::history::{self, Event, Nanos, What};
use crate::judge::{Promise, Sum, Violation, judge, sum};
use crate::mix::{MIXES, Mix};
use crate::worker::{PERMITS, Task, calm};

/// How much of the history around a violation is told.
const AROUND: Nanos = 4_000_000_000;
/// The most lines of it.
const LINES: usize = 120;

/// One run.
#[derive(Debug, Clone)]
pub struct Attack {
    /// What goes wrong.
    pub mix: Mix,
    /// What the adversary's and the clients' choices begin with.
    pub seed: u64,
    /// How long it goes wrong.
    pub length: Duration,
    /// How many clients.
    pub workers: u32,
    /// The program that is a client when it is given `worker` and a [`Task`].
    pub program: PathBuf,
}

/// What came of a run.
#[derive(Debug)]
pub struct Report {
    /// What was seen.
    pub sum: Sum,
    /// The promises that were broken.
    pub violations: Vec<Violation>,
    history: Vec<Event>,
}

/// Runs an attack to its end.
pub fn attack(attack: &Attack) -> Result<Report> {
    let folder = tempfile::tempdir()?;
    let mut dice = fastrand::Rng::with_seed(attack.seed);
    let compiled = folder.path().join("store.cwasm");
    if attack.mix.guests {
        std::fs::write(&compiled, GuestStore::compile().map_err(anyhow::Error::msg)?)?;
    }
    let task = |number: u32| Task {
        url: String::new(),
        guest: (attack.mix.guests && number.is_multiple_of(2)).then(|| compiled.clone()),
        folder: folder.path().to_owned(),
        owner: format!("w{number}"),
        incarnation: 0,
        seed: dice.u64(..),
        habits: attack.mix.habits,
        length: attack.length.as_secs(),
    };
    let tasks = (0..attack.workers).map(task).collect();
    let mut adversary = Adversary::start(attack.mix, attack.seed, tasks, folder.path(), &attack.program)?;
    adversary.attack(attack.length)?;
    std::fs::write(calm(folder.path()), "")?;
    let ended = adversary.wait();
    drop(adversary);
    let history = history::read(folder.path())?;
    let room = !attack.mix.engine.is_small();
    let promise = Promise { exclusion: !attack.mix.evicts, room, permits: PERMITS };
    let mut violations = judge(&history, promise);
    if let Err(error) = ended {
        let at = history.last().map_or(0, |event| event.at);
        violations.push(Violation { promise: "a client ends when it is asked to", text: error.to_string(), at });
    }
    Ok(Report { sum: sum(&history), violations, history })
}

impl Report {
    /// What the adversary did, in its words.
    pub fn faults(&self) -> impl Iterator<Item = &str> {
        self.history.iter().filter_map(|event| match &event.what {
            What::Fault(told) => Some(told.as_str()),
            _ => None,
        })
    }
}

impl fmt::Display for Report {
    /// The first violation, and what happened around it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(first) = self.violations.first() else { return write!(f, "no promise is broken") };
        writeln!(f, "broken: {}\n{}", first.promise, first.text)?;
        let around = self.history.iter().filter(|event| event.at.abs_diff(first.at) < AROUND).collect::<Vec<_>>();
        let middle = around.partition_point(|event| event.at <= first.at);
        let (from, to) = (middle.saturating_sub(LINES * 2 / 3), (middle + LINES / 3).min(around.len()));
        for event in &around[from..to] {
            writeln!(f, "{} {:<10} {:?}", event.at, event.who, event.what)?;
        }
        write!(f, "{} promises broken in all", self.violations.len())
    }
}

/// Attacks until a time is over.
#[derive(Debug, Clone)]
pub struct Campaign {
    /// How long.
    pub budget: Duration,
    /// The first attack's seed.
    pub seed: u64,
    /// What goes wrong; none: each mix in turn.
    pub mix: Option<Mix>,
    /// How long it goes wrong in each attack.
    pub length: Duration,
    /// How many attacks at a time, each on a server of its own.
    pub lanes: u32,
    /// See [`Attack::program`].
    pub program: PathBuf,
}

/// Attacks, prints a line for each, and what is wrong if something is; tells whether no promise was broken.
pub fn campaign(campaign: &Campaign) -> Result<bool> {
    let began = Instant::now();
    let (mut sum, mut attacks) = (Sum::default(), 0);
    while attacks == 0 || began.elapsed() + campaign.length < campaign.budget {
        let lanes: Vec<Attack> = (attacks..attacks + u64::from(campaign.lanes)).map(|n| campaign.nth(n)).collect();
        let reports = std::thread::scope(|scope| {
            let running: Vec<_> = lanes.iter().map(|lane| scope.spawn(|| attack(lane))).collect();
            running.into_iter().map(|lane| lane.join().expect("a lane does not panic")).collect::<Vec<_>>()
        });
        for (lane, report) in lanes.iter().zip(reports) {
            let report = report?;
            let Sum { grants, failures, losses, faults } = report.sum;
            println!(
                "seed {}, mix {}: {faults} faults, {grants} grants, {failures} failures, {losses} of them losses",
                lane.seed, lane.mix.name
            );
            if !report.violations.is_empty() {
                println!("{report}\nTo repeat it: {}", lane.command());
                return Ok(false);
            }
            sum += report.sum;
        }
        attacks += u64::from(campaign.lanes);
    }
    let Sum { grants, failures, losses, faults } = sum;
    println!(
        "Real servers under attack: {attacks} attacks from seed {} on, {faults} faults, {grants} grants, {failures} \
         failures, {losses} of them losses; no promise is broken. {:.0} s",
        campaign.seed,
        began.elapsed().as_secs_f64()
    );
    Ok(true)
}

impl Campaign {
    fn nth(&self, number: u64) -> Attack {
        let seed = self.seed.wrapping_add(number);
        // By the seed, so that the seed alone repeats it.
        let turn = usize::try_from(seed % MIXES.len() as u64).unwrap_or(0);
        let mix = self.mix.unwrap_or(MIXES[turn]);
        Attack { mix, seed, length: self.length, workers: 5, program: self.program.clone() }
    }
}

impl Attack {
    /// The command that repeats it, as far as an attack on real processes can be repeated.
    fn command(&self) -> String {
        let length = humantime::format_duration(self.length);
        let Attack { mix, seed, .. } = self;
        format!("cargo run -p kvlock-attack -- --budget {length} --length {length} --seed {seed} --mix {}", mix.name)
    }
}
