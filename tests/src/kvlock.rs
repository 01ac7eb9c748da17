//! The `kvlock` command, as a user runs it.

use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kvlock_testkit::process;
use rustix::process::{Pid, Signal, kill_process};

use crate::Watch;

/// How long a command may take before the test is given up: much longer than any lease here, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(180);

/// `kvlock` on one store. It inherits [nothing](process::command), and has a home of its own.
///
/// Every method panics where it cannot do what it says: it is for tests.
#[derive(Debug, Clone)]
pub struct Kvlock {
    variables: Vec<(String, String)>,
    home: PathBuf,
}

/// What a command did.
#[derive(Debug)]
pub struct Output {
    /// The arguments of the command.
    pub command: String,
    /// The exit code; 128+n if it died of signal n.
    pub code: i32,
    /// What it wrote on stdout.
    pub stdout: String,
    /// What it wrote on stderr.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
    watch: Watch,
}

/// A command that runs. It is killed when this value is dropped.
#[derive(Debug)]
pub struct Running {
    command: String,
    child: Child,
    watch: Watch,
    readers: [Option<JoinHandle<Vec<u8>>>; 2],
}

impl Kvlock {
    /// The command with no store configured, and this folder for its home.
    pub fn at_home(home: &Path) -> Kvlock {
        Kvlock { variables: Vec::new(), home: home.to_owned() }
    }

    /// The command on a store, which it takes for old enough to grant at once.
    pub fn on(url: &str, home: &Path) -> Kvlock {
        Kvlock::at_home(home).with("KVLOCK_STORE", url).with("KVLOCK_QUARANTINE", "0")
    }

    /// The same with one more variable in its environment.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Kvlock {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// The command with these arguments, to be changed and started.
    pub fn command(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        self.command_of(binary().as_os_str(), arguments)
    }

    /// Another program in the environment that `kvlock` has here.
    pub fn command_of(&self, program: &OsStr, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = process::command(program);
        command.args(arguments).current_dir(&self.home).env("HOME", &self.home).env("XDG_STATE_HOME", &self.home);
        command.env("KVLOCK", binary()).envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts the command.
    pub fn start(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Running {
        Running::start(self.command(arguments))
    }

    /// Runs the command to its end.
    pub fn run(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Output {
        self.start(arguments).wait()
    }

    /// Runs the command, which must succeed, and gives what it wrote on stdout, without the last line end.
    #[track_caller]
    pub fn ok(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> String {
        let output = self.run(arguments);
        assert_eq!(output.code, 0, "{output:?}");
        output.stdout.strip_suffix('\n').unwrap_or(&output.stdout).to_owned()
    }

    /// Runs `kvlock run KEY OPTIONS… -- sh -c SCRIPT`.
    pub fn script(&self, key: &str, options: &[&str], script: &str) -> Output {
        self.start_script(key, options, script).wait()
    }

    /// Lets eight processes at a time increment a number in a file under a lock, and each do that so many times.
    ///
    /// Fails if an increment is lost.
    pub fn assert_no_increment_is_lost(&self, times: usize, options: &[&str]) {
        const PROCESSES: usize = 8;
        let folder = tempfile::tempdir().expect("a folder for the number");
        let file = folder.path().join("number");
        std::fs::write(&file, "0\n").expect("the folder can be written to");
        let script = format!("read n < {0}; echo $((n+1)) > {0}", file.display());
        std::thread::scope(|scope| {
            for _ in 0..PROCESSES {
                scope.spawn(|| {
                    for _ in 0..times {
                        let output = self.script("k", options, &script);
                        assert_eq!((output.code, output.stderr.as_str()), (0, ""));
                    }
                });
            }
        });
        let number = std::fs::read_to_string(file).expect("it was written");
        assert_eq!(number, format!("{}\n", PROCESSES * times));
    }

    /// Starts `kvlock run KEY OPTIONS… -- sh -c SCRIPT`.
    pub fn start_script(&self, key: &str, options: &[&str], script: &str) -> Running {
        self.start(["run", key].iter().chain(options).chain(&["--", "sh", "-c", script]))
    }
}

impl Output {
    /// Fails unless it ended with this code and said one line, which begins with our name and has all of these parts.
    #[track_caller]
    pub fn assert_says(&self, code: i32, parts: &[&str]) {
        let is_line = self.stderr.starts_with("kvlock: ") && self.stderr.lines().count() == 1;
        assert!(self.code == code && is_line && self.stderr.ends_with('\n'), "{code}: {self:?}");
        for part in parts {
            assert!(self.stderr.contains(part), "`{part}`: {self:?}");
        }
    }

    /// Does the same, and fails if it printed anything.
    #[track_caller]
    pub fn assert_refused(&self, code: i32, parts: &[&str]) {
        self.assert_says(code, parts);
        assert_eq!(self.stdout, "", "{self:?}");
    }

    /// Fails if it took longer than it may on a machine that does nothing else.
    #[track_caller]
    pub fn assert_within(&self, bound: Duration) {
        self.watch.assert_took_within(self.took, bound);
    }
}

impl Running {
    /// Starts a command whose stdout and stderr, where they are pipes, are read to their ends.
    pub fn start(mut command: Command) -> Running {
        let watch = Watch::start();
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        let readers = [child.stdout.take().map(read_all), child.stderr.take().map(read_all)];
        let arguments: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
        Running { command: arguments.join(" "), child, watch, readers }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its stdin, if that is a pipe.
    pub fn stdin(&mut self) -> std::process::ChildStdin {
        self.child.stdin.take().expect("stdin is a pipe")
    }

    /// Sends a signal to the process.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("our own child can be signalled");
    }

    /// Whether it runs yet.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("our own child can be waited for").is_none()
    }

    /// Waits for the process itself, not for the ends of its pipes, which it may have left to others.
    #[track_caller]
    pub fn exit(&mut self) -> i32 {
        code(wait(&mut self.child, self.watch))
    }

    /// Waits for its end, and for what it wrote as text.
    #[track_caller]
    pub fn wait(mut self) -> Output {
        let (watch, command) = (self.watch, std::mem::take(&mut self.command));
        let (code, took, [stdout, stderr]) = self.wait_bytes();
        let [stdout, stderr] = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        Output { command, code, stdout, stderr, took, watch }
    }

    /// Waits for its end, and for what it wrote, byte by byte: exit code, time taken, stdout and stderr.
    #[track_caller]
    pub fn wait_bytes(mut self) -> (i32, Duration, [Vec<u8>; 2]) {
        let code = self.exit();
        let took = self.watch.elapsed();
        let mut read = |index: usize| self.readers[index].take().map(|reader| reader.join().expect("it only reads"));
        let outputs = [read(0).unwrap_or_default(), read(1).unwrap_or_default()];
        (code, took, outputs)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // What has ended cannot be killed, and need not be.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a process of this id runs; one that has ended and was not waited for does not.
pub fn is_alive(id: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    // The name before the state may contain anything, brackets too.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Waits until a process listens to a signal, rather than die of it.
#[track_caller]
pub fn await_listener(id: u32, signal: Signal) {
    eventually(&format!("process {id} listens to {signal:?}"), || {
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
        mask >> (signal.as_raw() - 1) & 1 == 1
    });
}

/// Waits until something is so, and gives how long that took.
#[track_caller]
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) -> Duration {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "never came: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
    started.elapsed()
}

#[track_caller]
fn wait(child: &mut Child, watch: Watch) -> ExitStatus {
    loop {
        if let Some(status) = child.try_wait().expect("our own child can be waited for") {
            return status;
        }
        assert!(watch.elapsed() < PATIENCE, "it does not end");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).expect("it exited or was killed")
}

fn read_all(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).expect("a pipe can be read");
        bytes
    })
}

/// The command, built of the sources as they are now: once a test process.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        // target/PROFILE/deps/TEST
        let test = std::env::current_exe().expect("a test knows where it is");
        let profile = test.ancestors().nth(2).expect("a test lies in target/PROFILE/deps");
        let name = profile.file_name().and_then(OsStr::to_str).expect("a profile's name is text");
        let built = process::cargo()
            // As the tests select packages: with other features wasmtime would be compiled again.
            .args(["build", "--quiet", "--workspace", "--exclude", "kvlock-bench", "--bin", "kvlock"])
            .args(["--profile", if name == "debug" { "dev" } else { name }])
            .arg("--target-dir")
            .arg(profile.parent().expect("a profile lies in target"))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .expect("cargo runs");
        assert!(built.success(), "kvlock does not build");
        profile.join("kvlock")
    })
}
