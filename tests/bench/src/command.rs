//! `kvlock run` beside the commands that people use for the same.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::Effort;
use crate::report::{Figure, Goal, Report};
use crate::servers;
use crate::spread::Spread;
use crate::turns::{Contender, take_turns};

const GROUP: &str = "command, running `true`";
const ROUNDS: usize = 400;
/// The command is a path, so that nobody searches for it.
const TRUE: &str = "/bin/true";

pub(crate) fn measure(report: &mut Report, effort: Effort) -> Result<()> {
    let (server, etcd, folder) = (servers::memcached(), servers::etcd()?, tempfile::tempdir()?);
    let kvlock = kvlock_binary()?;
    let file = folder.path().join("lock");
    let endpoint = format!("--endpoints=http://127.0.0.1:{}", etcd.port);
    let contenders = &mut [
        Contender::new("flock", |_| runs(Command::new("flock").arg(&file).arg(TRUE))),
        Contender::new("kvlock run", |_| {
            let mut command = Command::new(&kvlock);
            command.args(["--store", &server.url(), "--quarantine", "0", "run", "k", "--", TRUE]);
            runs(&mut command)
        }),
        Contender::new("etcdctl lock", |_| {
            let mut command = Command::new("etcdctl");
            runs(command.env("ETCDCTL_API", "3").args([endpoint.as_str(), "lock", "k", TRUE]))
        }),
        Contender::new("no lock", |_| runs(&mut Command::new(TRUE))),
    ];
    let samples = take_turns(contenders, effort.rounds(ROUNDS), 1)?;
    let [flock, run, etcdctl, none] = samples.as_slice() else { bail!("four contenders") };
    let figure = |name: &str, samples: &[f64]| Figure::new(GROUP, name, Spread::of(samples).scaled(1e3), "ms");
    report.add(figure("no lock", none));
    report.add(figure("flock FILE", flock));
    report.add(
        figure("kvlock run, memcached", run).against("flock", Spread::of_ratios(run, flock)).goal(Goal::AtMost(2.5)),
    );
    report.add(figure("etcdctl lock", etcdctl).against("kvlock", Spread::of_ratios(etcdctl, run)));
    let size = fs::metadata(&kvlock)?.len() as f64 / 1e6;
    report.add(Figure::new(GROUP, "size of the binary", Spread::exactly(size), "MB").goal(Goal::AtMost(8.0)));
    Ok(())
}

/// The command that was built beside this one.
fn kvlock_binary() -> Result<PathBuf> {
    let kvlock = std::env::current_exe()?.with_file_name("kvlock");
    ensure!(kvlock.exists(), "{} is missing: cargo xtask bench builds it", kvlock.display());
    Ok(kvlock)
}

fn runs(command: &mut Command) -> Result<()> {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status();
    let status = status.with_context(|| format!("{:?} is missing", command.get_program()))?;
    ensure!(status.success(), "{:?} failed", command.get_program());
    Ok(())
}
