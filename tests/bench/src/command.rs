//! `kvlock run` beside the commands that people use for the same.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::Effort;
use crate::results::{Figure, Goal, Results, Spread};
use crate::servers;
use crate::turns::{Contender, take_turns};

const ROUNDS: usize = 400;
/// The command is a path, so that nobody searches for it.
const TRUE: &str = "/bin/true";

pub(crate) fn measure(results: &mut Results, effort: Effort) -> Result<()> {
    let (server, etcd, folder) = (servers::memcached(), servers::etcd()?, tempfile::tempdir()?);
    let kvlock = kvlock_binary()?;
    let file = folder.path().join("lock");
    let endpoint = format!("--endpoints=http://127.0.0.1:{}", etcd.port);
    let contenders = &mut [
        Contender::new("flock", |_| runs(Command::new("flock").arg(&file).arg(TRUE))),
        Contender::new("kvlock run", |_| runs(kvlock_run(&kvlock, &server.url()).arg(TRUE))),
        Contender::new("etcdctl lock", |_| {
            let mut command = Command::new("etcdctl");
            runs(command.env("ETCDCTL_API", "3").args([endpoint.as_str(), "lock", "k", TRUE]))
        }),
        Contender::new("no lock", |_| runs(&mut Command::new(TRUE))),
    ];
    let samples = take_turns(contenders, effort.rounds(ROUNDS), 1)?;
    let [flock, run, etcdctl, none] = samples.as_slice() else { bail!("four contenders") };
    let figure = |name: &str, samples: &[f64]| Figure::new(name, Spread::of(samples).scaled(1e3), "ms");
    let group = results.group(
        "Command",
        "What it takes to run `true` under a lock, from start to end of the command. kvlock's store is a memcached and \
         etcdctl's an etcd of one member; flock has a file.",
    );
    group.add(figure("no lock", none));
    group.add(figure("flock FILE", flock));
    group.add(
        figure("kvlock run, memcached", run).against("flock", Spread::of_ratios(run, flock)).goal(Goal::AtMost(1.7)),
    );
    group.add(figure("etcdctl lock", etcdctl).against("kvlock", Spread::of_ratios(etcdctl, run)));
    let size = fs::metadata(&kvlock)?.len() as f64 / 1e6;
    group.add(Figure::new("size of the binary, stripped", Spread::exactly(size), "MB").goal(Goal::AtMost(8.0)));
    Ok(())
}

/// Begins to run what follows under a lock.
pub(crate) fn kvlock_run(kvlock: &Path, url: &str) -> Command {
    let mut command = Command::new(kvlock);
    command.args(["--store", url, "--quarantine", "0", "run", "k", "--"]);
    command
}

/// The command that was built beside this one.
pub(crate) fn kvlock_binary() -> Result<PathBuf> {
    let kvlock = std::env::current_exe()?.with_file_name("kvlock");
    ensure!(kvlock.exists(), "{} is missing: cargo xtask bench builds it", kvlock.display());
    Ok(kvlock)
}

pub(crate) fn runs(command: &mut Command) -> Result<()> {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status();
    let status = status.with_context(|| format!("{:?} is missing", command.get_program()))?;
    ensure!(status.success(), "{:?} failed", command.get_program());
    Ok(())
}
