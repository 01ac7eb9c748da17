//! What does not depend on the machine: instructions, allocations, system calls.
//!
//! Each is counted from outside over a short and a longer run of the same process, and the difference divided: what
//! start and end cost falls out.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kvlock::Client;
use kvlock::clock::VirtualClock;
use kvlock_tests::Table;

use crate::results::{Figure, Goal, Results, Spread};
use crate::servers;

/// The shorter run is as long as it takes until everything is warm.
const RUNS: [u64; 2] = [1000, 3000];
/// How often each run is made.
const TRIES: usize = 3;

/// Acquires and releases.
#[derive(clap::Args)]
pub(crate) struct Pairs {
    /// A store's URL; none for a table in memory.
    #[arg(long)]
    store: Option<String>,
    #[arg(long)]
    pairs: u64,
}

impl Pairs {
    pub(crate) fn run(&self) -> Result<()> {
        let client = match &self.store {
            Some(url) => Client::connect(url)?,
            None => Client::with_store(Table::default()),
        };
        // Also because valgrind hides the kernel's own clock.
        let client = client.with_clock(Arc::new(VirtualClock::new()));
        let session = client.session().quarantine(Duration::ZERO).open()?;
        for _ in 0..self.pairs {
            session.lock("k").acquire()?.release()?;
        }
        Ok(())
    }
}

pub(crate) fn measure(results: &mut Results) -> Result<()> {
    let count = |name: &str, value: f64, unit: &str| Figure::new(name, Spread::exactly(value), unit);
    let group = results.group(
        "Counted",
        "What an acquire and a release come to on any machine, counted from outside by strace and valgrind. Over memory \
         it is the component and the host around it; over memcached, all of it.",
    );
    let server = servers::memcached();
    let strace = ["strace", "-f", "-qq"];
    let calls = |which: &str| {
        let tool = [&strace, ["-e", which].as_slice()].concat();
        per_pair(Some(&server.url()), &tool, |text| Some(text.lines().count() as u64))
    };
    // One write and one read for each of the two operations, and now and then a look at a connection that was idle.
    let input_and_output = calls("trace=%network,read,write,poll,ppoll")?;
    group.add(count("memcached: system calls on the socket", input_and_output, "calls").goal(Goal::AtMost(4.05)));
    group.add(count("memcached: system calls of all kinds", calls("trace=all")?, "calls"));
    let instructions = per_pair(None, &["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"], |text| {
        number_after(text, "Collected :")
    })?;
    group.add(count("memory: instructions", instructions, "instructions"));
    let allocations = per_pair(None, &["valgrind", "--tool=memcheck", "--undef-value-errors=no"], |text| {
        number_after(text, "total heap usage:")
    })?;
    group.add(count("memory: allocations of the host", allocations, "allocations"));
    let allocations =
        per_pair(Some(&server.url()), &["valgrind", "--tool=memcheck", "--undef-value-errors=no"], |text| {
            number_after(text, "total heap usage:")
        })?;
    group.add(count("memcached: allocations of the host", allocations, "allocations"));
    Ok(())
}

/// What a tool counts, for one acquire and release.
fn per_pair(store: Option<&str>, tool: &[&str], count: impl Fn(&str) -> Option<u64>) -> Result<f64> {
    let counted = |pairs: u64| {
        let mut command = Command::new(tool[0]);
        command.args(&tool[1..]).arg(std::env::current_exe()?).args(["pairs", "--pairs", &pairs.to_string()]);
        command.args(store.map(|url| format!("--store={url}"))).stdin(Stdio::null()).stdout(Stdio::null());
        let output =
            command.output().with_context(|| format!("{} is missing: cargo xtask bench installs it", tool[0]))?;
        let text = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{} failed: {text}", tool[0]);
        count(&text).with_context(|| format!("{} tells no number: {text}", tool[0]))
    };
    // What disturbs a run only adds to it.
    let least =
        |pairs| (0..TRIES).map(|_| counted(pairs)).try_fold(u64::MAX, |least, count| anyhow::Ok(least.min(count?)));
    let [short, long] = RUNS;
    Ok((least(long)? - least(short)?) as f64 / (long - short) as f64)
}

/// `… label 1,234 …`
fn number_after(text: &str, label: &str) -> Option<u64> {
    let (_, rest) = text.split_once(label)?;
    rest.split_whitespace().next()?.replace(',', "").parse().ok()
}
