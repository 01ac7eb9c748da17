//! Building components from their sources: shared by build.rs and `cargo xtask component`.
//!
//! Two compilers can: rustup's, where `rustup target add wasm32-unknown-unknown` has been run, and Debian's `rustc-web`
//! with `rust-web-src`, which brings the sources of the standard library along.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};
use wasm_encoder::{ComponentNameSection, ComponentSection, CustomSection};

/// What to do where neither compiler is found.
pub(crate) const HELP: &str = "the component has changed and no compiler for wasm32-unknown-unknown is found.\n\
    On Debian:   apt-get update && apt-get install rustc-web rust-web-src, 1.92 or newer\n\
    With rustup: rustup target add wasm32-unknown-unknown\n\
    or go back to the sources that the checked-in component was built from";

/// A component of ours.
#[derive(Debug)]
pub(crate) struct Guest {
    /// Where it is checked in.
    pub(crate) checked_in: &'static str,
    /// The digest of the sources that it was built from, and the compiler that built it.
    pub(crate) provenance: &'static str,
    /// Its crate.
    pub(crate) folder: &'static str,
    /// What cargo calls it.
    pub(crate) library: &'static str,
    /// What it says about itself.
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
    /// All that it is made of, besides this file.
    pub(crate) sources: &'static [&'static str],
    /// Largest component: it is downloaded and compiled by whoever embeds it.
    pub(crate) max_bytes: usize,
    /// Whether it waits for others most of the time, so that small is better than fast.
    pub(crate) is_small: bool,
}

/// The lock.
pub(crate) const LOCK: Guest = Guest {
    checked_in: "host/component/kvlock.wasm",
    provenance: "host/component/kvlock.provenance",
    folder: "guest/component",
    library: "kvlock_component",
    name: "kvlock",
    description: "A distributed lock over any store that keeps the contract of kvlock:lock/kv-store",
    sources: &["wit", "guest/machine", "guest/component"],
    max_bytes: 580_000,
    is_small: false,
};

const TARGET: &str = "wasm32-unknown-unknown";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_SOURCES: &str = "/usr/lib/rustlib/src/rust/library";
/// The component keeps its stack small: an instance per session should be cheap. SHA-256 is the compact one.
const RUSTFLAGS: &[&str] = &[
    "-Clink-arg=-zstack-size=65536",
    // Without a hidden import there is nothing to adapt; the adapter would only raise the versions of our imports.
    "-Clink-arg=--wasi-adapter=none",
    // The linker leaves room for the longest address wherever there is one: a fifteenth of the code.
    "-Clink-arg=--compress-relocations",
    "--cfg=sha2_backend=\"soft\"",
    "--cfg=sha2_backend_soft=\"compact\"",
];

/// Where the standard library is built here, it is built without panic messages: a trap tells as much.
const NO_PANIC_MESSAGES: [&str; 2] = ["-Zunstable-options", "-Cpanic=immediate-abort"];

/// A compiler that can build the component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compiler {
    /// rustup's, with the target installed.
    Rustup,
    /// Debian's rustc-web, which builds the standard library as well.
    Debian,
}

impl Compiler {
    /// The compilers found here, the usual one first.
    pub(crate) fn found() -> Vec<Compiler> {
        let mut found = Vec::new();
        let sysroot = sysroot().unwrap_or_default();
        if sysroot.join("lib/rustlib").join(TARGET).is_dir() {
            found.push(Compiler::Rustup);
        }
        if Path::new(DEBIAN_SOURCES).is_dir() && debians_is_new_enough() {
            found.push(Compiler::Debian);
        }
        found
    }

    /// Which one exactly: two components of one compiler and one source are the same, byte for byte.
    pub(crate) fn version(self) -> io::Result<String> {
        let rustc = match self {
            Compiler::Rustup => "rustc",
            Compiler::Debian => DEBIAN_RUSTC,
        };
        let output = Command::new(rustc).arg("--version").output()?;
        let version = String::from_utf8_lossy(&output.stdout).trim().to_string();
        Ok(match self {
            Compiler::Rustup => version,
            Compiler::Debian => format!("{version}, standard library built along"),
        })
    }

    /// Builds a component in `target_dir` and answers where it is.
    pub(crate) fn build(self, guest: &Guest, workspace: &Path, target_dir: &Path) -> io::Result<PathBuf> {
        let tools = sysroot()?.join("lib/rustlib").join(host_triple()?).join("bin");
        let mut paths = vec![tools.join("gcc-ld")];
        paths.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
        let mut flags: Vec<String> = RUSTFLAGS.iter().map(|flag| flag.to_string()).collect();
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(workspace.join(guest.folder));
        // Only for WebAssembly is it a library to be linked: the names of its exports are none that other linkers take.
        cargo.args([
            "rustc",
            "--locked",
            "--lib",
            "--crate-type",
            "cdylib",
            "--profile",
            guest.profile(),
            "--target",
            TARGET,
        ]);
        for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTC"] {
            cargo.env_remove(name);
        }
        if self == Compiler::Debian {
            flags.extend(NO_PANIC_MESSAGES.map(String::from));
            cargo.args(["-Z", "build-std=core,alloc,compiler_builtins"]);
            if guest.is_small {
                cargo.args(["-Z", "build-std-features=optimize_for_size"]);
            }
            cargo.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1");
            flags.push(format!("--remap-path-prefix={DEBIAN_SOURCES}=/rust"));
        }
        // Where the build took place must not show in its result.
        for registry in registries() {
            flags.push(format!("--remap-path-prefix={}=/crates", registry.display()));
        }
        flags.push(format!("--remap-path-prefix={}=/kvlock", workspace.display()));
        cargo.env("CARGO_TARGET_DIR", target_dir);
        cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
        cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", tools.join("wasm-component-ld"));
        cargo.env("PATH", std::env::join_paths(paths).map_err(io::Error::other)?);
        let output = cargo.output()?;
        if !output.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        Ok(target_dir.join(TARGET).join(guest.profile()).join(guest.library).with_extension("wasm"))
    }
}

impl Guest {
    /// The profile of the workspace that it is built with.
    fn profile(&self) -> &'static str {
        if self.is_small { "component-small" } else { "component" }
    }

    /// Adds what registries and tools show of the component.
    pub(crate) fn describe(&self, component: &mut Vec<u8>) {
        describe(component, self.name, self.description);
    }

    /// The digest of all that the component is made of.
    pub(crate) fn source_digest(&self, workspace: &Path) -> io::Result<String> {
        let mut files = Vec::new();
        for source in self.sources {
            let source = workspace.join(source);
            if source.is_dir() { collect(&source, &mut files)? } else { files.push(source) }
        }
        // How it is built counts, too: this file.
        files.push(workspace.join("host/build/guest.rs"));
        files.sort();
        let mut digest = Sha256::new();
        digest.update(concat!(env!("CARGO_PKG_VERSION"), "\n"));
        for file in files {
            let name = file.strip_prefix(workspace).unwrap_or(&file).to_string_lossy().into_owned();
            let content = fs::read(&file)?;
            digest.update(format!("{name} {}\n", content.len()));
            digest.update(content);
        }
        Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

/// Adds what registries and tools show of a component: custom sections by the names of `wasm-metadata`.
pub(crate) fn describe(component: &mut Vec<u8>, name: &str, description: &str) {
    let mut names = ComponentNameSection::new();
    names.component(name);
    names.append_to_component(component);
    let sections = [
        ("version", env!("CARGO_PKG_VERSION")),
        ("description", description),
        ("licenses", env!("CARGO_PKG_LICENSE")),
        ("source", env!("CARGO_PKG_REPOSITORY")),
    ];
    for (name, text) in sections.into_iter().filter(|(_, text)| !text.is_empty()) {
        CustomSection { name: name.into(), data: text.as_bytes().into() }.append_to_component(component);
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            // Tests of the machines are not part of the component.
            if !path.ends_with("tests") && !path.ends_with("proptest-regressions") {
                collect(&path, files)?;
            }
        } else if path
            .extension()
            .is_some_and(|extension| extension == "rs" || extension == "wit" || extension == "toml")
        {
            files.push(path);
        }
    }
    Ok(())
}

/// Where cargo unpacks crates.
fn registries() -> Vec<PathBuf> {
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    let Some(cargo_home) = std::env::var_os("CARGO_HOME").map(PathBuf::from).or(home) else { return Vec::new() };
    let folders = fs::read_dir(cargo_home.join("registry/src")).into_iter().flatten();
    folders.flatten().map(|folder| folder.path()).collect()
}

/// Debian 12 began with a rustc-web that is not: who asked for it before `apt-get update` has that.
fn debians_is_new_enough() -> bool {
    let mut rustc = Command::new(DEBIAN_RUSTC);
    rustc.args(NO_PANIC_MESSAGES).args(["--print", "sysroot"]).env("RUSTC_BOOTSTRAP", "1");
    rustc.output().is_ok_and(|output| output.status.success())
}

fn sysroot() -> io::Result<PathBuf> {
    let output = Command::new("rustc").args(["--print", "sysroot"]).output()?;
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}

fn host_triple() -> io::Result<String> {
    let output = Command::new("rustc").arg("-vV").output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(String::from).ok_or_else(|| io::Error::other("rustc -vV names no host"))
}
