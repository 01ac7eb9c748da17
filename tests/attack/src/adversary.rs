//! The adversary: does to server, network and clients what the dice say, and puts it right after a while.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use kvlock_testkit::{MemcachedServer, process};
use kvlock_tests::{Mode, Proxy};
use rustix::process::{Pid, Signal, kill_process};

use crate::fill::fill;
use crate::history::{Journal, What};
use crate::mix::{Blow, Mix};
use crate::worker::Task;

/// The pause between two faults, in milliseconds. Most of them last longer, and so several are there at a time.
const PAUSE: std::ops::Range<u64> = 100..900;
const RETRY: Duration = Duration::from_millis(20);
/// How long a fault of one request is waited for.
const ONE: Duration = Duration::from_millis(300);
/// How long most faults last, in milliseconds: less than a lease, or more.
const LASTS: std::ops::Range<u64> = 50..4_500;
/// The time after which everybody must have come to an end in peace.
const PATIENCE: Duration = Duration::from_secs(60);

/// Server, network and clients.
pub(crate) struct Adversary {
    dice: fastrand::Rng,
    journal: Journal,
    mix: Mix,
    server: MemcachedServer,
    state: ServerState,
    proxy: Proxy,
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
    Server,
    Network,
    Worker(usize),
}

impl Adversary {
    pub(crate) fn start(mix: Mix, seed: u64, tasks: Vec<Task>, folder: &Path, program: &Path) -> Result<Adversary> {
        let server = MemcachedServer::start_with(mix.server);
        let proxy = Proxy::start(&server.addr());
        let url = format!("memcached://{}", proxy.addr());
        let workers = tasks.into_iter().map(|task| Worker::start(Task { url: url.clone(), ..task }, program));
        Ok(Adversary {
            dice: fastrand::Rng::with_seed(seed),
            journal: Journal::create(folder, "adversary")?,
            mix,
            server,
            state: ServerState::Runs,
            proxy,
            workers: workers.collect::<Result<_>>()?,
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
        for cure in [Cure::Server, Cure::Network].into_iter().chain((0..self.workers.len()).map(Cure::Worker)) {
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
        if self.state == ServerState::Dead {
            return Ok(None);
        }
        self.server.kill();
        self.state = ServerState::Dead;
        if self.dice.bool() {
            self.cure(Cure::Server)?;
            return Ok(Some("the server is killed, and started again at once".into()));
        }
        let gone = self.millis(100..2500);
        self.later(gone, Cure::Server);
        Ok(Some(format!("the server is killed, for {gone:?}")))
    }

    fn flush(&mut self) -> Option<String> {
        (self.state == ServerState::Runs).then(|| {
            self.server.flush();
            "the server is flushed".to_string()
        })
    }

    fn stop_server(&mut self, lasts: Duration) -> Option<String> {
        (self.state == ServerState::Runs).then(|| {
            self.server.stop();
            self.state = ServerState::Stopped;
            self.later(lasts, Cure::Server);
            format!("the server is stopped for {lasts:?}")
        })
    }

    fn fill(&mut self) -> Result<Option<String>> {
        if self.state != ServerState::Runs {
            return Ok(None);
        }
        let before = self.server.stat("evictions");
        fill(&self.server.addr(), self.dice.u64(..), !self.mix.server.contains(&"-M"))?;
        Ok(Some(format!("the server is filled, and evicts {}", self.server.stat("evictions") - before)))
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
            self.proxy.set(mode);
            self.later(lasts, Cure::Network);
            format!("network: {mode:?} for {lasts:?}")
        })
    }

    fn cure(&mut self, cure: Cure) -> Result<()> {
        match (cure, self.state) {
            (Cure::Network, _) => self.proxy.set(Mode::Pass),
            (Cure::Server, ServerState::Runs) => {}
            (Cure::Server, ServerState::Stopped) => self.server.cont(),
            (Cure::Server, ServerState::Dead) => self.server.restart(),
            (Cure::Worker(index), _) => return self.revive(index),
        }
        if cure == Cure::Server {
            self.state = ServerState::Runs;
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
