//! A disk that is full: the local store on a file system of its own, in a mount namespace of its own.

use kvlock_tests::kvlock::{Output, Running};
use rustix::process::Signal;

use super::World;

/// Runs a script in a folder that has a file system of 4 MiB at `disk`, with the local store on it.
fn on_a_small_disk(world: &World, script: &str) -> Output {
    let script = format!("mkdir disk && mount -t tmpfs -o size=4m tmpfs disk && {script}");
    // Whoever is root in a user namespace may mount there.
    let mut command = world.command_of("unshare".as_ref(), ["-Urm", "sh", "-c", &script]);
    command.env("KVLOCK_STORE", format!("local:{}", world.path("disk/locks.db").display()));
    Running::start(command).wait()
}

/// Leaves not a byte.
const FILL: &str = "cat /dev/zero > disk/fill 2> /dev/null; [ $(stat -f -c %f disk) = 0 ] || exit 99;";

#[test]
fn on_a_full_disk_a_job_is_renewed_and_released_to_its_end() {
    let world = World::local();
    let job = format!("{FILL} sleep 5; echo done");
    let output = on_a_small_disk(
        &world,
        &format!(
            "\"$KVLOCK\" run k --lease 2s -- sh -c '{job}' && \"$KVLOCK\" status k && \"$KVLOCK\" run k -- echo again"
        ),
    );
    assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{output:?}");
    assert_eq!(output.stdout, "done\nk: free\nagain\n");
}

#[test]
fn on_a_full_disk_new_locks_are_refused_in_the_end_and_doctor_says_why() {
    let world = World::local();
    let output = on_a_small_disk(
        &world,
        &format!(
            "held=$(\"$KVLOCK\" acquire held --lease 60s); {FILL}
            \"$KVLOCK\" doctor | grep '^UNFIT'; key=$(head -c 4000 /dev/zero | tr '\\0' k)
            for n in $(seq 500); do \"$KVLOCK\" acquire $key$n > /dev/null; code=$?; [ $code = 0 ] || break; done
            held=$(\"$KVLOCK\" renew $held) && \"$KVLOCK\" release $held && echo released
            rm disk/fill; \"$KVLOCK\" run later -- echo later; exit $code"
        ),
    );
    assert_eq!(output.code, 69, "{output:?}");
    assert!(output.stderr.lines().count() == 1 && output.stderr.contains("no room"), "{output:?}");
    let lines: Vec<_> = output.stdout.lines().collect();
    assert!(lines[0].contains("disk is full"), "{output:?}");
    assert_eq!(lines[1..], ["released", "later"], "{output:?}");
}

#[test]
fn a_file_that_may_not_grow_is_told_as_no_room_and_nothing_runs_for_it() {
    let world = World::local();
    // In blocks of 512 bytes: the file cannot be made, and cannot grow.
    for blocks in [0, 8, 24] {
        let script = format!("ulimit -f {blocks}; \"$KVLOCK\" run k --soft -- echo ran");
        let output = Running::start(world.command_of("sh".as_ref(), ["-c", &script])).wait();
        output.assert_refused(69, &["no room", "ulimit -f"]);
    }
    // The command has the signal's default again, of which it dies.
    assert_eq!(world.script("k", &[], "ulimit -f 0; echo more > file").code, 128 + Signal::XFSZ.as_raw());
    assert!(world.is_free("k"));
}
