//! A hundred processes at a semaphore of seven, and a killer among them.

use std::time::{Duration, Instant};

use kvlock_tests::Watch;
use kvlock_tests::kvlock::{Kvlock, Running, eventually};
use rustix::process::Signal;

use super::super::{SECOND, World};

const PROCESSES: usize = 100;
const SEATS: usize = 7;
const LEASE: Duration = SECOND.saturating_mul(3);

/// Takes one of seven seats, locks of the kernel, and complains where all are taken. A seat is free when the last
/// process that has its file open has ended, so what is left of a command after its permit is seen, too. Behind the
/// door is one at a time: while somebody looks for a seat nobody else takes one.
const JUDGE: &str = "exec 8>>door; flock 8; seat=0
    for n in 1 2 3 4 5 6 7; do exec 9>>seat-$n; if flock -n 9; then seat=$n; break; fi; done
    if [ $seat = 0 ]; then echo overlap >> overlaps; else echo $PPID > in-$seat; fi
    exec 8>&-; echo >> served; while ! [ -e go ]; do sleep 0.05; done; exec sleep $INSIDE";

/// Starts a command with a permit that takes a seat until the file `go` is there, and for so many seconds.
fn enter(kvlock: &Kvlock, name: &str, inside: &str) -> Running {
    let options = ["semaphore", "run", name, "--lease", "3s", "--interval", "1s", "--", "sh", "-c", JUDGE];
    kvlock.clone().with("INSIDE", inside).start(options)
}

#[test]
fn the_judge_of_seats_sees_an_eighth() {
    let world = World::local();
    world.make("eight", 8);
    let _seven: Vec<Running> = (0..SEATS).map(|_| enter(&world, "eight", "60")).collect();
    eventually("seven are in", || (1..=SEATS).all(|seat| world.path(&format!("in-{seat}")).exists()));
    assert_eq!(world.read("overlaps"), "");
    let _eighth = enter(&world, "eight", "60");
    assert_eq!(world.await_line("overlaps"), "overlap");
}

/// Numbers that look random and are the same each time (a linear congruential generator).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % bound
    }
}

/// Processes that come again as soon as they were served or killed.
struct Crowd<'a> {
    world: &'a World,
    processes: Vec<Running>,
    random: Random,
}

impl<'a> Crowd<'a> {
    fn gather(world: &'a World) -> Self {
        let processes = (0..PROCESSES).map(|_| enter(world, "pool", "0.2")).collect();
        Crowd { world, processes, random: Random(7) }
    }

    /// Lets those who have ended come again; how they ended is as it should be.
    fn go_on(&mut self) {
        for process in &mut self.processes {
            if !process.is_running() {
                let ended = std::mem::replace(process, enter(self.world, "pool", "0.2")).wait();
                // A machine that is too busy to renew in time ends the command in time.
                assert!([0, 74, 137].contains(&ended.code), "{ended:?}");
            }
        }
    }

    /// Kills anybody, most likely one that waits.
    fn kill_anybody(&mut self) {
        let victim = self.random.below(PROCESSES);
        self.processes[victim].signal(Signal::KILL);
    }

    /// Kills somebody who holds a permit; false if nobody of those who do lives.
    fn kill_a_holder(&mut self) -> bool {
        let status = self.world.standing("pool");
        let hosts: Vec<&str> =
            status["holders"].as_array().unwrap().iter().flat_map(|one| one["host"].as_str()).collect();
        let holds = |process: &&Running| hosts.iter().any(|host| host.ends_with(&format!(" pid {}", process.id())));
        let holders: Vec<&Running> = self.processes.iter().filter(holds).collect();
        if holders.is_empty() {
            return false;
        }
        holders[self.random.below(holders.len())].signal(Signal::KILL);
        true
    }

    fn kill_all(self) {
        for process in &self.processes {
            process.signal(Signal::KILL);
        }
        for process in self.processes {
            process.wait();
        }
    }
}

#[test]
fn never_more_than_seven_of_a_hundred_are_in_and_all_seven_permits_outlive_kill_9() {
    let world = World::memcached();
    world.make("pool", 7);
    let mut crowd = Crowd::gather(&world);
    eventually("seven are in", || (1..=SEATS).all(|seat| world.path(&format!("in-{seat}")).exists()));
    std::fs::write(world.path("go"), "").unwrap();
    let (began, mut holders_killed, mut anybody_killed) = (Instant::now(), 0, 0);
    let served = || world.read("served").lines().count();
    while began.elapsed() < 15 * SECOND || holders_killed < 5 || served() < PROCESSES / 2 {
        // A hundred that wait take a busy machine for themselves.
        assert!(began.elapsed() < 600 * SECOND, "{holders_killed} killed, {} served", served());
        crowd.go_on();
        // However fast the machine is: so many are killed for those who are served.
        if served() >= 2 * anybody_killed {
            crowd.kill_anybody();
            anybody_killed += 1;
        }
        if served() >= 8 * holders_killed {
            holders_killed += usize::from(crowd.kill_a_holder());
        }
        std::thread::sleep(SECOND / 50);
    }
    crowd.kill_all();
    let killed = Watch::start();
    assert_eq!(world.read("overlaps"), "");
    for _ in 0..SEATS {
        world.ok(["semaphore", "acquire", "pool", "--lease", "1m", "--wait", "20s"]);
    }
    // memcached keeps whole seconds and two more.
    killed.assert_within(LEASE + 4 * SECOND);
    assert_eq!((world.held("pool"), world.try_permit("pool").code), (7, 75));
}
