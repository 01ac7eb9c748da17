//! Many processes on one key: never two at once, whatever becomes of the server.

use std::io::{Read, Write};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use kvlock_tests::kvlock::eventually;
use rustix::process::Signal;

use super::{SECOND, World, in_both};

const PROCESSES: usize = 8;

#[test]
fn no_increment_is_lost_by_eight_processes() {
    in_both(|world| {
        world.kvlock.assert_no_increment_is_lost(40, &["--interval", "5ms"]);
        assert!(world.is_free("k"));
    });
}

/// Takes a lock of the kernel, which ends with the last process that has the file open: what is left of a command after
/// its lock is seen, too.
const JUDGE: &str = "exec 9>>judge; flock -n 9 || echo overlap >> overlaps";

#[test]
fn the_judge_of_overlaps_sees_one() {
    let world = World::local();
    let script = format!("{JUDGE}; echo > judged; while ! [ -e end ]; do sleep 0.05; done");
    let first = world.start_script("one", &[], &script);
    world.await_line("judged");
    assert_eq!(world.script("another", &[], JUDGE).code, 0);
    std::fs::write(world.path("end"), "").unwrap();
    assert_eq!(first.wait().code, 0);
    assert_eq!(world.read("overlaps"), "overlap\n");
}

#[test]
fn there_are_never_two_holders_while_the_server_is_killed_and_flushed() {
    let mut world = World::memcached();
    world.kvlock = world.kvlock.clone().with("KVLOCK_QUARANTINE", "3s").with("KVLOCK_LEASE", "2s");
    let kvlock = world.kvlock.clone();
    let (done, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let script = format!("{JUDGE}; sleep 0.2");
    std::thread::scope(|scope| {
        for _ in 0..PROCESSES {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let output = kvlock.script("k", &["--wait", "6s"], &script);
                    match output.code {
                        0 => done.fetch_add(1, Ordering::Relaxed),
                        69 | 74 | 75 => 0,
                        _ => panic!("{output:?}"),
                    };
                }
            });
        }
        let server = world.server.as_mut().unwrap();
        // More than those that were at it when it began.
        let progress = |when: &str| {
            let before = done.load(Ordering::Relaxed);
            eventually(&format!("work {when}"), || done.load(Ordering::Relaxed) > before + PROCESSES);
        };
        // However it ends, the threads end.
        let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| {
            // A new server is in quarantine as well.
            progress("at first");
            server.restart();
            progress("after the restart");
            server.flush();
            progress("after the flush");
        }));
        stop.store(true, Ordering::Relaxed);
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    assert_eq!(world.read("overlaps"), "");
}

/// How many stand in the line of `k`.
fn in_line(world: &mut World) -> usize {
    let address = world.server().addr();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.write_all(b"get kvlock:line:k\r\nquit\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let waiting = text.lines().find_map(|line| line.strip_prefix("waiting:"));
    waiting.map_or(0, |waiting| waiting.split_whitespace().count())
}

#[test]
fn a_waiter_that_gives_up_leaves_the_list_and_killed_ones_do_not_hold_up_the_next() {
    let mut world = World::memcached();
    let holder = world.hold("k", &[]);
    let waiters: Vec<_> = (0..6).map(|_| world.start(["run", "k", "--", "true"])).collect();
    eventually("six stand in line", || in_line(&mut world) == 6);
    let over = world.run(["run", "k", "--wait", "1s", "--", "true"]);
    assert_eq!((over.code, in_line(&mut world)), (75, 6), "{over:?}");
    for (left, waiter) in waiters.into_iter().enumerate().rev() {
        waiter.signal(Signal::INT);
        waiter.wait();
        assert_eq!(in_line(&mut world), left, "an interrupted wait leaves the line");
    }
    let killed: Vec<_> = (0..30).map(|_| world.start(["run", "k", "--", "true"])).collect();
    eventually("thirty stand in line", || in_line(&mut world) == 30);
    for waiter in killed {
        waiter.signal(Signal::KILL);
        waiter.wait();
    }
    let living = world.start(["run", "k", "--", "true"]);
    eventually("one more stands in line", || in_line(&mut world) == 31);
    std::thread::sleep(SECOND);
    holder.signal(Signal::TERM);
    holder.wait();
    let released = Instant::now();
    assert_eq!(living.wait().code, 0);
    // A tenth of a second, and what a busy machine adds.
    assert!(released.elapsed() < SECOND, "{:?}", released.elapsed());
}
