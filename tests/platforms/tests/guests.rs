//! The PyPI package `wasmtime` as a platform, and the examples of guests in Python and JavaScript on it: built, composed
//! with the lock, and at work beside the native command on a real memcached.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use kvlock::Client;
use kvlock_platforms::{composed, composed_with};
use kvlock_testkit::{MemcachedServer, process};
use kvlock_tests::Kvlock;
use kvlock_tests::kvlock::Running;
use kvlock_tests::npm;
use kvlock_tests::python::{self, run};
use kvlock_tests::tree::workspace;

/// How many increments each of the guests makes.
const TURNS: usize = 100;

/// How many commands come into their way, in a process of its own each.
const COMMANDS: usize = 3;

/// How many guests run at once, each in a process of its own.
const GUESTS: usize = 2;

fn kept(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn scripts() -> PathBuf {
    workspace().join("tests/platforms/python")
}

/// The interpreter of an environment that has `wasmtime` and `componentize-py`.
fn python() -> PathBuf {
    python::with(Path::new(env!("CARGO_TARGET_TMPDIR")), "python-platform", &scripts().join("requirements.txt"))
}

/// A copy of an example, without the links in it: a place to build it in.
fn copy(example: &str, to: &Path) {
    run(process::tool("cp").args(["-rL"]).arg(workspace().join("examples").join(example).join(".")).arg(to), "");
}

#[test]
fn the_composed_component_on_wasmtime_for_python_shares_locks_with_the_command_and_rides_out_failures() {
    let servers = [MemcachedServer::start(), MemcachedServer::start()];
    let ports = servers.each_ref().map(|server| server.addr().rsplit_once(':').unwrap().1.to_owned()).join(" ");
    let component = tempfile::Builder::new().suffix(".wasm").tempfile().unwrap();
    fs::write(component.path(), composed().unwrap()).unwrap();
    let mut tests = process::tool(python());
    tests.args(["-B", "-m", "unittest", "test_composed"]).current_dir(scripts());
    // The tests of the Python host, of which this runs some on another host.
    tests.env("PYTHONPATH", workspace().join("tests/hosts/python"));
    tests.env("KVLOCK_COMPONENT", component.path()).env("KVLOCK_MEMCACHED", &ports);
    tests.env("KVLOCK_MEMCACHED_PROCESS", servers[1].stat("pid").to_string());
    tests.env("KVLOCK_COMMAND", kvlock_tests::kvlock::binary());
    run(&mut tests, "");
}

#[test]
fn the_manifests_for_spin_and_wasmcloud_have_names_that_those_know_and_the_rights_that_the_lock_needs() {
    let tests = ["-B", "-m", "unittest", "test_templates"];
    run(process::tool(python()).args(tests).current_dir(scripts()), "");
}

#[test]
fn a_guest_in_python_and_the_command_lose_no_increment_and_tokens_only_grow() {
    let server = MemcachedServer::start();
    let folder = tempfile::tempdir().unwrap();
    copy("guest-python", folder.path());
    let componentize = python().with_file_name("componentize-py");
    let build = ["-d", "wit", "-w", "guest", "componentize", "app", "-o", "app.wasm"];
    run(process::tool(componentize).args(build).current_dir(folder.path()), "");
    assert_no_increment_is_lost(&server, &folder.path().join("app.wasm"));
}

/// `cargo xtask test` runs it where Node 20 or newer is installed, and says so where it is not.
#[test]
#[ignore = "needs Node 20 and npm"]
fn a_guest_in_javascript_and_the_command_lose_no_increment_and_tokens_only_grow() {
    let server = MemcachedServer::start();
    // Node looks for its modules beside the source.
    let folder = kept("guest-js");
    let package = fs::read_to_string(workspace().join("examples/guest-js/package.json")).unwrap();
    npm::install(&package, &folder);
    copy("guest-js", &folder);
    run(process::tool("node").arg("build.js").current_dir(&folder), "");
    assert_no_increment_is_lost(&server, &folder.join("app.wasm"));
}

/// Composes a program with the lock, and lets it and the command increment one number in a file.
fn assert_no_increment_is_lost(server: &MemcachedServer, app: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let (component, compiled) = (folder.path().join("app.wasm"), folder.path().join("app.cwasm"));
    fs::write(&component, composed_with(&fs::read(app).unwrap()).unwrap()).unwrap();
    run(script().args(["compile".as_ref(), component.as_path(), &compiled]), "");
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();

    // The first holder lets go when all wait in line, so that they do get into each other's way. Who is served first is
    // no matter of this test: whoever wakes up late on a busy machine is passed over.
    let kvlock = Kvlock::on(&server.url(), &data);
    let options = ["--namespace", "example", "--wait", "3m"];
    let increment = "n=$(($(cat counter 2>/dev/null || echo 0) + 1)); echo $n > counter; echo $n $KVLOCK_TOKEN";
    let until_all_wait = format!("{increment}; until [ -e go ]; do sleep 0.05; done");
    let session = Client::connect(&server.url()).unwrap().session().namespace("example").open().unwrap();
    let wait_for = |waiters: usize| {
        let waiters = u32::try_from(waiters).unwrap();
        while session.status("counter").unwrap().waiters < waiters {
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let mut commands = vec![kvlock.start_script("counter", &options, &until_all_wait)];
    while !data.join("counter").exists() {
        std::thread::sleep(Duration::from_millis(20));
    }
    let guests = [(); GUESTS].map(|()| {
        let mut guest = script();
        guest.args(["run".as_ref(), compiled.as_path(), &data]);
        guest.args([format!("KVLOCK_STORE={}", server.url()), format!("TURNS={TURNS}")]);
        Running::start(guest)
    });
    wait_for(GUESTS);
    commands.extend((0..COMMANDS).map(|_| kvlock.start_script("counter", &options, increment)));
    wait_for(GUESTS + COMMANDS);
    fs::write(data.join("go"), "").unwrap();
    let guests = guests.map(Running::wait);
    let commands: Vec<_> = commands.into_iter().map(Running::wait).collect();
    let turns = |outputs: &[kvlock_tests::kvlock::Output]| -> Vec<(usize, u64)> {
        assert!(outputs.iter().all(|output| output.code == 0), "{outputs:?}");
        let lines = outputs.iter().flat_map(|output| output.stdout.lines());
        lines
            .map(|line| line.split_once(' ').map(|(n, token)| (n.parse().unwrap(), token.parse().unwrap())))
            .map(Option::unwrap)
            .collect()
    };
    let (guests, commands) = (turns(&guests), turns(&commands));
    assert_eq!(guests.len(), GUESTS * TURNS);
    assert_eq!(commands.len(), 1 + COMMANDS);
    assert!(commands.iter().max() < guests.iter().max(), "a command waited for all the guests: {commands:?}");
    let mut all = [guests, commands].concat();
    all.sort_unstable();
    assert!(all.iter().map(|(number, _)| *number).eq(1..=all.len()), "an increment is lost: {all:?}");
    assert!(all.is_sorted_by(|(_, before), (_, after)| before < after), "tokens only grow: {all:?}");
}

/// The platform, about to do something.
fn script() -> Command {
    let mut command = process::tool(python());
    command.arg("-B").arg(scripts().join("run.py")).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}
