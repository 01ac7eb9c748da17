//! Many processes on one key: never two at once, whatever becomes of the server.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use kvlock_tests::kvlock::eventually;

use super::{World, in_both};

const PROCESSES: usize = 8;

#[test]
fn no_increment_is_lost_by_eight_processes() {
    const ROUNDS: usize = 40;
    in_both(|world| {
        std::fs::write(world.path("file"), "0\n").unwrap();
        std::thread::scope(|scope| {
            for _ in 0..PROCESSES {
                scope.spawn(|| {
                    for _ in 0..ROUNDS {
                        let options = ["--interval", "5ms"];
                        let output = world.script("k", &options, "read n < file; echo $((n+1)) > file");
                        assert_eq!((output.code, output.stderr.as_str()), (0, ""));
                    }
                });
            }
        });
        assert_eq!(world.read("file"), format!("{}\n", PROCESSES * ROUNDS));
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
