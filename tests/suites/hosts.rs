//! Hosts in other languages: the component runs over stores that are written in them. Each folder of `hosts/` is an
//! example for embedders; its output is asserted here.

use std::fs;
use std::path::{Path, PathBuf};

use kvlock_testkit::{MemcachedServer, process};
use kvlock_tests::npm;
use kvlock_tests::python::{self, run};
use kvlock_tests::tree::workspace;

/// What every host prints: the same component, hence the same story.
const STORY: &str = "\
one has the lock, token 1000000000001
two sees that one has it
two gave up after 5 s: busy, held by one
one asks again: already-held
one renewed for 10 s
two took over after 10 s, its token is larger: true
one renews: lost
one releases: lost
two releases: freed
one has it 2 times, and two sees 2
one releases: nested, freed, already-released
three renewed what one wrote out, and releases: freed
a text that is no grant: invalid
one has b and a, and two waits for neither: one
two asks for a and c: busy, and c is free: true
one releases: freed
one makes a pool of 2, there was none: true
one has its permits 0 and 1
two asks for one: busy, exhausted, 2 of 2
two asks for one of a pond: unknown
two makes the pool 1: still-held, by one and one
one releases: freed
two made it, and lists pool: 1 of 1 held
one releases: freed, and two has permit 0
work that conflicts twice: finished
work that always conflicts: exhausted
one forgot a grant, and two finds the lock free: true
an uncontended lock and release are add, delete
";

#[test]
fn the_component_runs_in_a_python_host() {
    let folder = folder("python");
    let python = python(&folder);
    let component = component();
    let output = run(process::tool(python).arg("-B").arg(folder.join("host.py")).arg(component.path()), "");
    assert_eq!(output.to_lowercase(), STORY);
}

#[test]
fn ctrl_c_and_other_signals_end_a_wait_in_a_python_host_and_nothing_else() {
    python_tests("test_signals", &[]);
}

#[test]
fn sessions_on_threads_of_a_python_host_do_not_disturb_each_other() {
    python_tests("test_threads", &[]);
}

#[test]
fn each_error_of_a_store_in_python_is_told_as_itself_and_the_session_goes_on() {
    python_tests("test_errors", &[]);
}

#[test]
fn a_with_block_of_python_holds_the_lock_and_nothing_after_it_does() {
    python_tests("test_scope", &[]);
}

#[test]
fn work_that_is_tried_again_in_python_goes_first_and_nobody_waits_for_a_try_that_never_comes() {
    python_tests("test_retry", &[]);
}

/// `threading` and kvlock agree on what a lock, a re-entrant lock and a semaphore are. Some distributions keep the tests
/// of Python in a package of their own: it says so where they are not there.
#[test]
fn the_tests_of_pythons_own_locks_pass_with_one_session_for_each_thread() {
    let folder = folder("python");
    let theirs = process::tool(python(&folder)).args(["-c", "import test.lock_tests"]).output().unwrap();
    if !theirs.status.success() {
        eprintln!("not run: this Python comes without its own tests (Debian: apt-get install libpython3-testsuite)");
        return;
    }
    python_tests("test_cpython", &[]);
}

/// The page that tells how locks are kept in memcached tells all: its store in Python was written from it.
#[test]
fn a_python_host_and_the_command_share_the_locks_of_one_memcached() {
    let servers = [MemcachedServer::start(), MemcachedServer::start()];
    let ports = servers.each_ref().map(|server| server.addr().rsplit_once(':').unwrap().1.to_owned()).join(" ");
    let command = kvlock_tests::kvlock::binary().to_str().unwrap();
    python_tests("test_memcached", &[("KVLOCK_MEMCACHED", &ports), ("KVLOCK_COMMAND", command)]);
}

/// `cargo xtask test` runs it where Node 20 or newer is installed, and says so where it is not.
#[test]
#[ignore = "needs Node 20 and npm"]
fn the_component_runs_in_a_node_host() {
    let host = node_host(&folder("node"));
    let component = component();
    let output = tempfile::tempdir().unwrap();
    let output = run(process::tool("node").arg(host).arg(component.path()).arg(output.path()), "");
    assert_eq!(output, STORY);
}

/// Runs a file of tests that stands beside the Python host.
fn python_tests(module: &str, variables: &[(&str, &str)]) {
    let folder = folder("python");
    let component = component();
    let mut command = process::tool(python(&folder));
    command.args(["-B", "-m", "unittest", module]).current_dir(&folder).env("KVLOCK_COMPONENT", component.path());
    command.envs(variables.iter().copied());
    run(&mut command, "");
}

fn component() -> tempfile::NamedTempFile {
    let file = tempfile::Builder::new().suffix(".wasm").tempfile().unwrap();
    fs::write(file.path(), kvlock::COMPONENT).unwrap();
    file
}

/// The interpreter of a virtual environment that has the requirements.
fn python(folder: &Path) -> PathBuf {
    python::with(Path::new(env!("CARGO_TARGET_TMPDIR")), "python", &folder.join("requirements.txt"))
}

/// A copy of the example with its modules beside it: Node looks for them there.
fn node_host(folder: &Path) -> PathBuf {
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("node");
    fs::create_dir_all(&copy).unwrap();
    for file in ["kv-store.js", "component.js", "host.js"] {
        fs::copy(folder.join(file), copy.join(file)).unwrap();
    }
    npm::install(&fs::read_to_string(folder.join("package.json")).unwrap(), &copy);
    copy.join("host.js")
}

fn folder(host: &str) -> PathBuf {
    workspace().join("tests/hosts").join(host)
}
