//! Permits of small and of large semaphores.

use std::time::Duration;

use anyhow::{Result, bail};
use kvlock::store::Memcached;
use kvlock::{Client, Grant, Session, error::AcquireError};

use crate::Effort;
use crate::cores::Server;
use crate::count::Count;
use crate::results::{Figure, Group, Spread, thousands};
use crate::servers;
use crate::turns::{Contender, take_turns};

const SIZES: [u32; 2] = [10, 1_000];
const ROUNDS: usize = 40;
const PAIRS: usize = 20;
/// Nothing that is held ends while it is measured.
const LEASE: Duration = Duration::from_secs(3600);
const WAITERS: usize = 8;
const WAIT: Duration = Duration::from_secs(3);

/// A semaphore of which some permits are held.
struct Scene {
    size: u32,
    count: Count,
    session: Session,
    held: Vec<Grant>,
}

impl Scene {
    fn new(server: &str, size: u32, held: u32) -> Result<Scene> {
        let count = Count::default();
        let client = Client::with_store(count.of(Memcached::connect(server)?));
        let open = || client.session().quarantine(Duration::ZERO).open();
        let (session, holder) = (open()?, open()?);
        let name = name(size, held);
        holder.semaphore(&name).make(size).run()?;
        let hold = |_| Ok(holder.semaphore(&name).permit().lease(LEASE).acquire()?);
        let held = (0..held).map(hold).collect::<Result<_>>()?;
        Ok(Scene { size, count, session, held })
    }

    fn name(&self) -> String {
        name(self.size, self.held.len() as u32)
    }

    fn pairs(&self, times: usize) -> Result<()> {
        let semaphore = self.session.semaphore(self.name());
        (0..times).try_for_each(|_| {
            semaphore.permit().acquire()?.release()?;
            Ok(())
        })
    }
}

fn name(size: u32, held: u32) -> String {
    format!("{held}-of-{size}")
}

pub(super) fn measure(group: &mut Group, effort: Effort) -> Result<()> {
    let Some((server, _here)) = Server::Beside.start(|| Ok(servers::memcached()))? else { return Ok(()) };
    for size in SIZES {
        let scene = |held| Scene::new(&server.addr(), size, held);
        let scenes = [scene(0)?, scene(size / 2)?, scene(size - 1)?];
        let contenders = scenes.iter().map(|scene| Contender::new("permits", |times| scene.pairs(times)));
        let samples = take_turns(&mut contenders.collect::<Vec<_>>(), effort.rounds(ROUNDS), PAIRS)?;
        for (scene, of_scene) in scenes.iter().zip(&samples) {
            let before = scene.count.operations();
            scene.pairs(PAIRS)?;
            let operations = (scene.count.operations() - before) as f64 / PAIRS as f64;
            let name = format!("{} of {} permits held", scene.held.len(), thousands(size.into()));
            let figure = Figure::new(format!("{name}: one more"), Spread::of(of_scene).scaled(1e6), "µs");
            group.add(figure.against("none held", Spread::of_ratios(of_scene, &samples[0])));
            group
                .add(Figure::new(format!("{name}: one more"), Spread::exactly(operations), "store operations").aside());
        }
        let operations = Spread::exactly(waiting(&Scene::new(&server.addr(), size, size)?)?);
        group.add(Figure::new(
            format!("{WAITERS} threads wait for one of {} permits", thousands(size.into())),
            operations,
            "store operations a second",
        ));
    }
    Ok(())
}

/// Store operations a second of threads that wait for a permit when all are held.
fn waiting(scene: &Scene) -> Result<f64> {
    let before = scene.count.operations();
    let wait = || match scene.session.semaphore(scene.name()).permit().wait(WAIT).acquire() {
        Err(AcquireError::Busy { .. }) => Ok(()),
        Err(error) => Err(error.into()),
        Ok(_) => bail!("a permit was free"),
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..WAITERS).map(|_| scope.spawn(wait)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("no thread panics"))
    })?;
    Ok((scene.count.operations() - before) as f64 / WAIT.as_secs_f64())
}
