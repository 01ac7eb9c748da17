//! Links what the command needs of libgcc into it: to load the shared library takes a twentieth of a short run.

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    let variable = |name| env::var(name).unwrap_or_default();
    let is_native = variable("HOST") == variable("TARGET");
    if !is_native || !variable("TARGET").ends_with("linux-gnu") {
        return Ok(());
    }
    // Without the archive the shared library is loaded, as usual.
    if let Some(archive) = find("libgcc_eh.a") {
        let folder = PathBuf::from(variable("OUT_DIR"));
        // The linker looks here first, and takes this script for the library.
        fs::write(folder.join("libgcc_s.so"), format!("GROUP ( {} -lgcc )\n", archive.display()))?;
        println!("cargo::rustc-link-search=native={}", folder.display());
    }
    Ok(())
}

/// Asks the C compiler, which links, where a file is.
fn find(file: &str) -> Option<PathBuf> {
    let output = Command::new("cc").arg(format!("-print-file-name={file}")).output().ok()?;
    let path = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    Some(path).filter(|path| path.is_absolute() && path.exists())
}
