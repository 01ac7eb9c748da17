//! Hosts in other languages: the component runs over stores that are written in them. Each folder of `hosts/` is an
//! example for embedders; its output is asserted here.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;

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
an uncontended lock and release are add, delete
";

#[test]
fn the_component_runs_in_a_python_host() {
    let folder = folder("python");
    let python = python(&folder);
    let component = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(component.path(), kvlock::COMPONENT).unwrap();
    let output = run(Command::new(python).arg("-B").arg(folder.join("host.py")).arg(component.path()), "");
    assert_eq!(output.to_lowercase(), STORY.to_lowercase());
}

/// The interpreter of a virtual environment that has the requirements; it is made once and kept beside other results
/// of the build.
fn python(folder: &Path) -> PathBuf {
    static MADE: Mutex<()> = Mutex::new(());
    let _one_at_a_time = MADE.lock();
    let environment = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python");
    let python = environment.join("bin/python");
    let requirements = std::fs::read_to_string(folder.join("requirements.txt")).unwrap();
    let installed = environment.join("installed.txt");
    if std::fs::read_to_string(&installed).is_ok_and(|installed| installed == requirements) {
        return python;
    }
    let help = "the Python host needs Python 3 with venv: apt-get install python3-venv";
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment), help);
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
    let help = "the Python host needs a package index that pip reaches";
    run(Command::new(&python).args(pip).arg(folder.join("requirements.txt")), help);
    std::fs::write(installed, requirements).unwrap();
    python
}

fn folder(host: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("hosts").join(host)
}

/// Runs a command and gives its output; where it fails, says what helps.
fn run(command: &mut Command, help: &str) -> String {
    let shown = format!("{command:?}");
    let Output { status, stdout, stderr } = command.output().unwrap_or_else(|error| panic!("{shown}: {error}\n{help}"));
    let [stdout, stderr] = [stdout, stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(status.success(), "{shown}: {status}\n{stdout}{stderr}\n{help}");
    stdout
}
