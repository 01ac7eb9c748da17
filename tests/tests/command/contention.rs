//! Many processes on one key: never two at once, whatever becomes of the server.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::{SECOND, World, in_both};

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

/// Holds a lock of the kernel while it works, which ends with the last process that has the file open: what is left of
/// a command after its lock is seen, too.
const EXCLUSIVE: &str = "exec 9>>judge; flock -n 9 || echo overlap >> overlaps; sleep 0.2";

#[test]
fn the_judge_of_overlaps_sees_one() {
    let world = World::local();
    let first = world.start_script("one", &[], EXCLUSIVE);
    let second = world.start_script("another", &[], EXCLUSIVE);
    assert_eq!((first.wait().code, second.wait().code), (0, 0));
    assert_eq!(world.read("overlaps"), "overlap\n");
}

#[test]
fn there_are_never_two_holders_while_the_server_is_killed_and_flushed() {
    let mut world = World::memcached();
    world.kvlock = world.kvlock.clone().with("KVLOCK_QUARANTINE", "3s").with("KVLOCK_LEASE", "2s");
    let (kvlock, stop) = (world.kvlock.clone(), Instant::now() + 17 * SECOND);
    let done = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..PROCESSES {
            scope.spawn(|| {
                while Instant::now() < stop {
                    let output = kvlock.script("k", &["--wait", "6s"], EXCLUSIVE);
                    match output.code {
                        0 => done.fetch_add(1, Ordering::Relaxed),
                        69 | 74 | 75 => 0,
                        _ => panic!("{output:?}"),
                    };
                }
            });
        }
        let server = world.server.as_mut().unwrap();
        let pause = |seconds| std::thread::sleep(seconds * SECOND);
        let progress = |what: &str, before: usize| {
            let now = done.load(Ordering::Relaxed);
            assert!(now > before, "nothing was done {what}");
            now
        };
        // A new server is in quarantine as well.
        pause(5);
        let count = progress("at first", 0);
        server.restart();
        pause(5);
        let count = progress("after the restart", count);
        server.flush();
        pause(5);
        progress("after the flush", count);
    });
    assert_eq!(world.read("overlaps"), "");
}
