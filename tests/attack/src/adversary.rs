//! The adversary: does to servers, network and clients what the dice say, and puts it right after a while.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use kvlock_testkit::process;
use kvlock_tests::{Mode, Proxy};
use rustix::process::{Pid, Signal, kill_process};

use crate::history::{Journal, What};
use crate::mix::{Blow, Mix};
use crate::servers::{self, Fate, Servers};
use crate::worker::Task;

/// The pause between two faults, in milliseconds. Most of them last longer, and so several are there at a time.
const PAUSE: std::ops::Range<u64> = 100..900;
const RETRY: Duration = Duration::from_millis(20);
/// How long a fault of one request is waited for.
const ONE: Duration = Duration::from_millis(300);
/// How long most faults last, in milliseconds: less than a lease, or more.
const LASTS: std::ops::Range<u64> = 50..4_500;
/// For how long a primary lives on that another has replaced, in milliseconds: the other one grants nothing at first.
const PARTED: std::ops::Range<u64> = 5_000..7_000;
/// The time after which everybody must have come to an end in peace.
const PATIENCE: Duration = Duration::from_secs(60);

/// Servers, network and clients.
pub(crate) struct Adversary {
    dice: fastrand::Rng,
    journal: Journal,
    mix: Mix,
    servers: Box<dyn Servers>,
    states: Vec<ServerState>,
    proxies: Vec<Proxy>,
    workers: Vec<Worker>,
    program: PathBuf,
    /// What is to be put right, and when.
    cures: Vec<(Instant, Cure)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ServerState {
    Runs,
    Stopped,
    Dead,
}

struct Worker {
    task: Task,
    child: Child,
    dead: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Cure {
    Server(usize),
    /// The former primary becomes a replica, and all clients get to the new one.
    Primary,
    Network,
    Worker(usize),
}

impl Adversary {
    pub(crate) fn start(mix: Mix, seed: u64, tasks: Vec<Task>, folder: &Path, program: &Path) -> Result<Adversary> {
        let servers = servers::start(mix.engine);
        let proxies: Vec<Proxy> = servers.upstreams().iter().map(|upstream| Proxy::start(upstream)).collect();
        let addresses: Vec<String> = proxies.iter().map(Proxy::addr).collect();
        let start = |(client, task)| Worker::start(Task { url: servers.url(&addresses, client), ..task }, program);
        let workers = tasks.into_iter().enumerate().map(start).collect::<Result<_>>()?;
        Ok(Adversary {
            dice: fastrand::Rng::with_seed(seed),
            journal: Journal::create(folder, "adversary")?,
            mix,
            states: vec![ServerState::Runs; servers.count()],
            servers,
            proxies,
            workers,
            program: program.to_owned(),
            cures: Vec::new(),
        })
    }

    /// Attacks for so long, then puts everything right.
    pub(crate) fn attack(&mut self, length: Duration) -> Result<()> {
        let end = Instant::now() + length;
        let mut next = Instant::now() + Duration::from_secs(1);
        while Instant::now() < end {
            let now = Instant::now();
            if let Some(index) = self.cures.iter().position(|(at, _)| *at <= now) {
                let (_, cure) = self.cures.swap_remove(index);
                self.cure(cure)?;
            } else if next <= now {
                // What is under way already is not begun once more: something else, then, and soon.
                let pause = if self.strike()? { self.millis(PAUSE) } else { RETRY };
                next = now + pause;
            } else {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        let servers = (0..self.states.len()).map(Cure::Server);
        let workers = (0..self.workers.len()).map(Cure::Worker);
        for cure in servers.chain([Cure::Primary, Cure::Network]).chain(workers) {
            self.cure(cure)?;
        }
        self.cures.clear();
        self.journal.note(What::Calm)
    }

    /// Waits until all workers have ended by themselves.
    pub(crate) fn wait(&mut self) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        for worker in &mut self.workers {
            loop {
                match worker.child.try_wait()? {
                    Some(status) if status.success() => break,
                    Some(status) => bail!("{} failed: {status}", worker.name()),
                    None if Instant::now() > end => bail!("{} does not end", worker.name()),
                    None => std::thread::sleep(Duration::from_millis(5)),
                }
            }
        }
        Ok(())
    }

    /// Does one thing, and tells whether it could be done.
    fn strike(&mut self) -> Result<bool> {
        let blow = self.dice.choice(self.mix.all_blows()).context("a mix has blows")?;
        let lasts = self.millis(LASTS);
        let told = match blow {
            Blow::KillServer => self.kill_server()?,
            Blow::Flush => self.flush(),
            Blow::StopServer => self.stop_server(lasts),
            Blow::FailOver => self.replace_primary(Fate::Crashes),
            Blow::CutOff => self.replace_primary(Fate::LivesOn),
            Blow::Fill => self.fill()?,
            Blow::StopWorker => self.stop_worker(lasts)?,
            Blow::KillWorker => self.kill_worker()?,
            Blow::Cut => self.network(Mode::CutBeforeRequest, lasts / 2),
            Blow::DropReplies => self.network(Mode::DropReply, lasts / 2),
            Blow::Once if self.dice.bool() => self.network(Mode::CutNextRequest, ONE),
            Blow::Once => self.network(Mode::DropNextReply, ONE),
            Blow::Blackhole => self.network(Mode::Blackhole, lasts),
            Blow::Hold => self.network(Mode::Hold, lasts),
            Blow::Late => self.network(Mode::DelayNext(lasts), ONE),
            Blow::Slow => {
                let by = self.millis(1..400);
                self.network(Mode::Delay(by), lasts)
            }
        };
        match told {
            Some(told) => self.journal.note(What::Fault(told)).map(|()| true),
            None => Ok(false),
        }
    }

    fn kill_server(&mut self) -> Result<Option<String>> {
        let Some(server) = self.pick_server(ServerState::Stopped) else { return Ok(None) };
        let name = self.name(server);
        self.servers.kill(server);
        self.states[server] = ServerState::Dead;
        if self.dice.bool() {
            self.cure(Cure::Server(server))?;
            return Ok(Some(format!("{name} is killed, and started again at once")));
        }
        let gone = self.millis(100..2500);
        self.later(gone, Cure::Server(server));
        Ok(Some(format!("{name} is killed, for {gone:?}")))
    }

    fn flush(&mut self) -> Option<String> {
        (self.all_run() && self.servers.flush()).then(|| "the server is flushed".to_string())
    }

    fn stop_server(&mut self, lasts: Duration) -> Option<String> {
        let server = self.pick_server(ServerState::Runs)?;
        self.servers.freeze(server);
        self.states[server] = ServerState::Stopped;
        self.later(lasts, Cure::Server(server));
        Some(format!("{} is stopped for {lasts:?}", self.name(server)))
    }

    fn fill(&mut self) -> Result<Option<String>> {
        if self.all_run() { self.servers.fill(self.dice.u64(..)) } else { Ok(None) }
    }

    fn replace_primary(&mut self, fate: Fate) -> Option<String> {
        if !self.all_run() || self.is_busy(Cure::Primary) || !self.servers.promote(fate) {
            return None;
        }
        // Where it lives on, the first proxy leads to it still.
        self.lead(if fate == Fate::LivesOn { 1 } else { 0 });
        let lasts = self.millis(PARTED);
        self.later(lasts, Cure::Primary);
        Some(format!("a replica takes the primary's place, which {fate:?} for {lasts:?}"))
    }

    /// Lets proxies from this one on lead to where they lead now.
    fn lead(&self, first: usize) {
        for (proxy, upstream) in self.proxies.iter().zip(self.servers.upstreams()).skip(first) {
            proxy.lead_to(&[&upstream]);
            proxy.hang_up();
        }
    }

    /// Returns a server that runs or, at worst, is in this state; none if enough of them are away.
    fn pick_server(&mut self, worst: ServerState) -> Option<usize> {
        let away = |state: &&ServerState| **state != ServerState::Runs;
        let server = self.dice.usize(0..self.states.len());
        let state = self.states[server];
        let is_one_more = state == ServerState::Runs;
        let has_room = self.states.iter().filter(away).count() < self.servers.most_away();
        ((is_one_more && has_room) || (state == worst && !is_one_more)).then_some(server)
    }

    fn all_run(&self) -> bool {
        self.states.iter().all(|state| *state == ServerState::Runs)
    }

    fn name(&self, server: usize) -> String {
        if self.states.len() == 1 { "the server".to_string() } else { format!("server {server}") }
    }

    fn stop_worker(&mut self, lasts: Duration) -> Result<Option<String>> {
        let index = self.dice.usize(0..self.workers.len());
        if self.is_busy(Cure::Worker(index)) {
            return Ok(None);
        }
        let worker = &self.workers[index];
        // It is noted that it stands before it does, and that it goes on after it does: a wait may be longer by that.
        self.journal.note(What::Stopped(worker.name()))?;
        worker.signal(Signal::STOP)?;
        self.later(lasts, Cure::Worker(index));
        Ok(Some(format!("{} is stopped for {lasts:?}", self.workers[index].name())))
    }

    fn kill_worker(&mut self) -> Result<Option<String>> {
        let index = self.dice.usize(0..self.workers.len());
        if self.is_busy(Cure::Worker(index)) {
            return Ok(None);
        }
        self.workers[index].kill()?;
        let gone = self.millis(1..1500);
        self.later(gone, Cure::Worker(index));
        Ok(Some(format!("{} is killed", self.workers[index].name())))
    }

    fn network(&mut self, mode: Mode, lasts: Duration) -> Option<String> {
        (!self.is_busy(Cure::Network)).then(|| {
            // One way to the servers, or all.
            let only = self.dice.usize(0..=self.proxies.len());
            let is_hit = |at: usize| only == at || only == self.proxies.len();
            let hit: Vec<usize> = (0..self.proxies.len()).filter(|at| is_hit(*at)).collect();
            hit.iter().for_each(|at| self.proxies[*at].set(mode));
            self.later(lasts, Cure::Network);
            format!("network {hit:?}: {mode:?} for {lasts:?}")
        })
    }

    fn cure(&mut self, cure: Cure) -> Result<()> {
        match cure {
            Cure::Network => self.proxies.iter().for_each(|proxy| proxy.set(Mode::Pass)),
            Cure::Primary => {
                if self.servers.rejoin() {
                    self.lead(0);
                }
            }
            Cure::Server(server) => match std::mem::replace(&mut self.states[server], ServerState::Runs) {
                ServerState::Runs => {}
                ServerState::Stopped => self.servers.thaw(server),
                ServerState::Dead => self.servers.start_again(server),
            },
            Cure::Worker(index) => return self.revive(index),
        }
        Ok(())
    }

    fn revive(&mut self, index: usize) -> Result<()> {
        let worker = &mut self.workers[index];
        if worker.dead {
            let task =
                Task { incarnation: worker.task.incarnation + 1, seed: self.dice.u64(..), ..worker.task.clone() };
            *worker = Worker::start(task, &self.program)?;
            return Ok(());
        }
        worker.signal(Signal::CONT)?;
        let name = worker.name();
        self.journal.note(What::Continued(name))
    }

    fn later(&mut self, after: Duration, cure: Cure) {
        self.cures.push((Instant::now() + after, cure));
    }

    fn is_busy(&self, cure: Cure) -> bool {
        self.cures.iter().any(|(_, other)| *other == cure)
    }

    fn millis(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.dice.u64(range))
    }
}

impl Worker {
    fn start(task: Task, program: &Path) -> Result<Worker> {
        let mut command = process::command(program);
        command.arg("worker").arg(serde_json::to_string(&task)?);
        let child = command.spawn().with_context(|| program.display().to_string())?;
        Ok(Worker { task, child, dead: false })
    }

    fn name(&self) -> String {
        format!("{}.{}", self.task.owner, self.task.incarnation)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        self.dead = true;
        Ok(())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // What has ended cannot be killed, and need not be.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
