//! Node with packages, for tests of the components on it.

use std::fs::{self, File};
use std::path::Path;

use kvlock_testkit::process;

use crate::python::run;

/// Installs the dependencies of a `package.json`, which is given as text, in `folder`. That is done once, and kept.
///
/// # Panics
///
/// If they cannot be installed; says what helps.
pub fn install(package: &str, folder: &Path) {
    fs::create_dir_all(folder).expect("the folder can be made");
    // Several tests want it at once.
    let lock = File::create(folder.join("lock")).expect("the folder can be written to");
    lock.lock().expect("files can be locked");
    let installed = folder.join("installed.json");
    if fs::read_to_string(&installed).is_ok_and(|installed| installed == package) {
        return;
    }
    fs::write(folder.join("package.json"), package).expect("the folder can be written to");
    let help = "this needs npm and a registry that it reaches: apt-get install nodejs npm";
    let install = ["install", "--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error"];
    run(process::tool("npm").args(install).current_dir(folder), help);
    fs::write(installed, package).expect("the folder can be written to");
}
