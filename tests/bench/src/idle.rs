//! What a lock costs that is free and that nobody else wants, where others want it now and then: a session that had to
//! wait before beside one that is new each time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use kvlock::{Client, Session};

use crate::Effort;
use crate::results::{Figure, Goal, Results, Spread, quantile};
use crate::servers;

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(4);
const MEMBERS: u32 = 8;
const HOLD: Duration = Duration::from_millis(5);

/// Of each round: the median of the milliseconds from a call to its grant, and the per cent of calls that took three
/// milliseconds or more.
#[derive(Default)]
struct Rounds {
    medians: Vec<f64>,
    paused: Vec<f64>,
}

pub(crate) fn measure(results: &mut Results, effort: Effort) -> Result<()> {
    let server = servers::memcached();
    let url = server.url();
    // What the first contact with a server takes is no pause for a lock.
    Client::connect(&url)?.session().quarantine(Duration::ZERO).open()?.lock("warm").acquire()?.release()?;
    for load in [0.25, 0.5] {
        let (mut kept, mut new) = (Rounds::default(), Rounds::default());
        for _ in 0..effort.rounds(ROUNDS) {
            kept.add(&crowd(&url, load, true, effort.length(ROUND))?);
            new.add(&crowd(&url, load, false, effort.length(ROUND))?);
        }
        let percent = load * 100.0;
        let group = results.group(
            &format!("A free lock at a load of {percent} %"),
            "Eight clients hold one lock for 5 ms each and think in between. Counted are calls that find it free, with \
             nobody waiting: how long each takes, and how many of them had to pause.",
        );
        let ratio = Spread::of_ratios(&kept.medians, &new.medians);
        let kept_median = Figure::new("a session that is kept", Spread::of(&kept.medians), "ms");
        group.add(kept_median.against("a new session", ratio).goal(Goal::AtMost(1.0)));
        group.add(Figure::new("a session that is kept: paused", Spread::of(&kept.paused), "%").goal(Goal::AtMost(5.0)));
        group.add(Figure::new("a new session", Spread::of(&new.medians), "ms"));
        group.add(Figure::new("a new session: paused", Spread::of(&new.paused), "%"));
    }
    Ok(())
}

impl Rounds {
    fn add(&mut self, millis: &[f64]) {
        let paused = millis.iter().filter(|millis| **millis >= 3.0).count();
        self.medians.push(quantile(millis, 0.5));
        self.paused.push(100.0 * paused as f64 / millis.len() as f64);
    }
}

/// What the calls took that found the lock free, sorted.
fn crowd(url: &str, load: f64, keeps: bool, length: Duration) -> Result<Vec<f64>> {
    let thinking = HOLD.mul_f64(f64::from(MEMBERS) / load - 1.0);
    // Who holds the lock or waits for it.
    let wanted = AtomicUsize::new(0);
    let end = Instant::now() + length;
    let member = |number: u32| -> Result<Vec<f64>> {
        // A client of its own: those of one client stand in line within the process.
        let client = Client::connect(url)?;
        let open = || -> Result<Session> { Ok(client.session().quarantine(Duration::ZERO).open()?) };
        let (mut session, mut millis, mut dice) = (open()?, Vec::new(), u64::from(number) + 1);
        loop {
            // Any generator will do: it spreads the calls.
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            std::thread::sleep(thinking.mul_f64((dice >> 40) as f64 / f64::from(1_u32 << 23)));
            if Instant::now() >= end {
                return Ok(millis);
            }
            if !keeps {
                session = open()?;
            }
            let alone = wanted.fetch_add(1, Ordering::SeqCst) == 0;
            let called = Instant::now();
            let grant = session.lock("free").acquire()?;
            if alone {
                millis.push(called.elapsed().as_secs_f64() * 1e3);
            }
            std::thread::sleep(HOLD);
            grant.release()?;
            wanted.fetch_sub(1, Ordering::SeqCst);
        }
    };
    let mut millis = std::thread::scope(|scope| {
        let members: Vec<_> = (0..MEMBERS)
            .map(|number| {
                scope.spawn({
                    let member = &member;
                    move || member(number)
                })
            })
            .collect();
        members.into_iter().map(|member| member.join().expect("nobody panics")).collect::<Result<Vec<_>>>()
    })?
    .concat();
    millis.sort_by(f64::total_cmp);
    Ok(millis)
}
