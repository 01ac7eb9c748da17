//! A command that becomes another user cannot be ended, and that is said.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use kvlock_tests::kvlock::{Running, binary, eventually, is_alive};
use rustix::process::Signal;

use super::World;

pub(super) const NOBODY: u32 = 65534;

/// A world whose commands run as nobody, and a helper that becomes root for good.
fn world() -> World {
    let world = World::with_own_binary();
    mode(&world.path("."), 0o777);
    std::fs::copy("/usr/bin/setpriv", world.path("as-root")).expect("setpriv of util-linux is installed");
    mode(&world.path("as-root"), 0o4755);
    let become_root = ["./as-root", "--reuid", "0", "id", "-u"];
    let output = Running::start(world.as_nobody(&become_root)).wait();
    assert_eq!(
        output.stdout, "0\n",
        "the folder for temporary files lets no program change its user (nosuid): {output:?}"
    );
    world
}

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

impl World {
    /// A world of root's, in which nobody finds a `kvlock` of its own.
    pub(super) fn with_own_binary() -> World {
        let world = World::local();
        let is_root = rustix::process::geteuid().is_root();
        assert!(is_root, "only root can become another user: run this test as root");
        mode(&world.path("."), 0o755);
        std::fs::copy(binary(), world.path("kvlock")).unwrap();
        world
    }

    pub(super) fn as_nobody(&self, command: &[&str]) -> Command {
        let user = NOBODY.to_string();
        let setpriv = ["--reuid", &user, "--regid", &user, "--clear-groups", "--"];
        self.command_of("setpriv".as_ref(), setpriv.iter().chain(command))
    }

    /// Starts `kvlock run p` as nobody.
    fn start_as_nobody(&self, options: &[&str], command: &[&str]) -> Running {
        let run = ["./kvlock", "run", "p", "--lease", "3s", "--grace", "1s"];
        let all: Vec<_> = run.iter().chain(options).chain(&["--"]).chain(command).copied().collect();
        Running::start(self.as_nobody(&all))
    }
}

/// Becomes root, says so, and works until it is told to end.
const AS_ROOT: [&str; 6] = [
    "./as-root",
    "--reuid",
    "0",
    "sh",
    "-c",
    "exec > /dev/null 2>&1; echo $$ > pid; while ! [ -e end ]; do sleep 0.05; done",
];

#[test]
fn a_command_that_is_not_ours_to_end_is_told_at_the_start_at_the_loss_and_at_its_end() {
    let world = world();
    let holder = world.start_as_nobody(&[], &AS_ROOT);
    let child: u32 = world.await_line("pid").parse().unwrap();
    world.ok(["break", "p"]);
    assert_eq!(world.run(["run", "p", "--", "true"]).code, 0);
    // Asked to end, killed, and neither heard.
    std::thread::sleep(super::SECOND * 2);
    assert!(is_alive(child));
    std::fs::write(world.path("end"), "").unwrap();
    let output = holder.wait();
    assert_eq!(output.code, 74, "{output:?}");
    let told: Vec<_> = output.stderr.lines().collect();
    assert!(told[0].contains("the command runs as another user (uid 0)") && told[0].contains("sudo kvlock run"));
    assert!(told.iter().any(|line| line.contains("cannot end the command") && line.contains("uid 0")), "{output:?}");
    let last = told.last().unwrap();
    assert!(last.contains("lock lost") && last.contains("could not be ended: it runs as another user (uid 0)"));
}

#[test]
fn a_part_of_the_command_that_is_not_ours_to_end_is_told() {
    let world = world();
    let script = format!("{} '{}'; true", AS_ROOT[..5].join(" "), AS_ROOT[5]);
    let holder = world.start_as_nobody(&[], &["sh", "-c", &script]);
    let child: u32 = world.await_line("pid").parse().unwrap();
    world.ok(["break", "p"]);
    let output = holder.wait();
    assert_eq!(output.code, 74, "{output:?}");
    assert!(is_alive(child));
    assert!(output.stderr.contains("cannot end the command, though others may get the lock: it runs as another user"));
    std::fs::write(world.path("end"), "").unwrap();
    eventually("its end", || !is_alive(child));
}

#[test]
fn a_signal_that_cannot_be_passed_on_is_told_and_so_is_what_it_left() {
    let world = world();
    let holder = world.start_as_nobody(&[], &AS_ROOT);
    world.await_line("pid");
    // It is setpriv's child no more: it became kvlock.
    holder.signal(Signal::TERM);
    std::thread::sleep(super::SECOND / 2);
    std::fs::write(world.path("end"), "").unwrap();
    let output = holder.wait();
    assert_eq!(output.code, 0, "{output:?}");
    assert!(output.stderr.contains("cannot pass SIGTERM on to the command: it runs as another user (uid 0)"));
}

#[test]
fn a_command_of_ours_is_told_nothing_of() {
    let world = world();
    let output = world.start_as_nobody(&[], &["sh", "-c", "exit 9"]).wait();
    assert_eq!((output.code, output.stderr.as_str()), (9, ""), "{output:?}");
}
