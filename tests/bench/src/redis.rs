//! Acquire and release on Redis, against a lock that is a key and a script.

use std::time::Duration;

use anyhow::{Result, bail};
use kvlock::Client;
use kvlock_testkit::RedisServer;

use crate::Effort;
use crate::contended;
use crate::cores::Server;
use crate::results::{Figure, Goal, Results, Spread};
use crate::rivals::Redlock;
use crate::turns::{Contender, take_turns};

const ROUNDS: usize = 200;
const PAIRS: usize = 100;

pub(crate) fn measure(results: &mut Results, effort: Effort) -> Result<()> {
    uncontended(results, effort)?;
    let server = RedisServer::start();
    contended::between_processes(results, effort, "Redis", server.url())
}

fn uncontended(results: &mut Results, effort: Effort) -> Result<()> {
    let Some((server, _here)) = Server::Beside.start(|| Ok(RedisServer::start()))? else { return Ok(()) };
    let group = results.group(
        "Uncontended, on Redis",
        "One client takes a lock and gives it back, on one core with the server. The rival is rslock on tokio's runtime of \
         one thread: it sets a key, and deletes it by a script. kvlock also checks in each call if the server has lost \
         anything, and draws a fencing token.",
    );
    let session = Client::connect(&server.url())?.session().quarantine(Duration::ZERO).open()?;
    let rslock = Redlock::connect(server.port(), tokio::runtime::Builder::new_current_thread())?;
    let contenders = &mut [
        Contender::new("rslock", |times| rslock.pairs(times)),
        Contender::new("kvlock", |times| {
            (0..times).try_for_each(|_| {
                session.lock("k").acquire()?.release()?;
                Ok(())
            })
        }),
    ];
    let samples = take_turns(contenders, effort.rounds(ROUNDS), PAIRS)?;
    let [rslock, kvlock] = samples.as_slice() else { bail!("two contenders") };
    let figure = |name: &str, samples: &[f64]| Figure::new(name, Spread::of(samples).scaled(1e6), "µs");
    group.add(figure("rslock", rslock));
    group.add(
        figure("kvlock on Redis", kvlock).against("rslock", Spread::of_ratios(kvlock, rslock)).goal(Goal::AtMost(1.3)),
    );
    Ok(())
}
