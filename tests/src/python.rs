//! Python with packages, for tests that need somebody else's word.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use kvlock_testkit::process;

/// The interpreter of a virtual environment that has these requirements. It is made once, and kept in `folder`, which is
/// `CARGO_TARGET_TMPDIR`, beside the other results of the build.
pub fn with(folder: &Path, name: &str, requirements: &Path) -> PathBuf {
    // Several tests want it at once.
    let lock = File::create(folder.join(format!("{name}.lock"))).unwrap();
    lock.lock().unwrap();
    let environment = folder.join(name);
    let python = environment.join("bin/python");
    let wanted = fs::read_to_string(requirements).unwrap();
    let installed = environment.join("installed.txt");
    if fs::read_to_string(&installed).is_ok_and(|installed| installed == wanted) {
        return python;
    }
    let help = "the tests need Python 3 with venv: apt-get install python3-venv";
    run(process::tool("python3").args(["-m", "venv", "--clear"]).arg(&environment), help);
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
    run(process::tool(&python).args(pip).arg(requirements), "the tests need a package index that pip reaches");
    fs::write(installed, wanted).unwrap();
    python
}

/// Runs a command and gives its output; where it fails, says what helps.
pub fn run(command: &mut Command, help: &str) -> String {
    let shown = format!("{command:?}");
    let Output { status, stdout, stderr } = command.output().unwrap_or_else(|error| panic!("{shown}: {error}\n{help}"));
    let [stdout, stderr] = [stdout, stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(status.success(), "{shown}: {status}\n{stdout}{stderr}\n{help}");
    stdout
}
