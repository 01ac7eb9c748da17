//! What the tests and benchmarks need from the machine, installed where that is possible and named where it is not.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::guest::Compiler;

/// Something that has to be there.
pub(crate) struct Need {
    what: &'static str,
    packages: &'static [&'static str],
    is_there: fn() -> bool,
    otherwise: &'static str,
}

const MEMCACHED: Need = Need {
    what: "memcached, which tests and benchmarks start by themselves",
    packages: &["memcached"],
    is_there: || runs("memcached", &["-V"]),
    otherwise: "install memcached 1.6.13 or newer",
};

const REDIS: Need = Need {
    what: "redis-server, which tests and benchmarks start by themselves",
    packages: &["redis-server"],
    is_there: || runs("redis-server", &["--version"]),
    otherwise: "install Redis 6.2 or newer",
};

const ETCD: Need = Need {
    what: "etcd and etcdctl, which tests and benchmarks start by themselves",
    packages: &["etcd-server", "etcd-client"],
    is_there: || runs("etcd", &["--version"]) && runs("etcdctl", &["version"]),
    otherwise: "install etcd 3.4.21 or newer, with etcdctl",
};

const POSTGRES: Need = Need {
    what: "PostgreSQL and openssl, which tests and benchmarks start by themselves",
    // The tests of a pooler are skipped where there is none, and say so.
    packages: &["postgresql", "openssl", "pgbouncer"],
    is_there: || has_postgres() && runs("openssl", &["version"]),
    otherwise: "install PostgreSQL 13 or newer, with initdb and postgres on the path, and openssl",
};

/// What the tests need.
pub(crate) const TESTS: &[Need] = &[
    MEMCACHED,
    REDIS,
    ETCD,
    POSTGRES,
    Need {
        what: "a compiler for wasm32-unknown-unknown, which rebuilds the component",
        packages: &["rustc-web", "rust-web-src"],
        is_there: || !Compiler::found().is_empty(),
        otherwise: "rustup target add wasm32-unknown-unknown",
    },
    Need {
        what: "Python with venv, for the host in another language",
        packages: &["python3", "python3-venv"],
        is_there: || runs("python3", &["-c", "import venv, ensurepip"]),
        otherwise: "install Python 3.9 or newer with its module venv",
    },
];

/// What the playground is tested in.
pub(crate) const BROWSER: &[Need] = &[Need {
    what: "Chromium, in which the playground is tested",
    packages: &["chromium"],
    is_there: || runs("chromium", &["--version"]),
    otherwise: "install Chromium as `chromium`",
}];

/// What the benchmarks need: the peers' servers, and what counts.
pub(crate) const BENCHMARKS: &[Need] = &[
    MEMCACHED,
    REDIS,
    ETCD,
    POSTGRES,
    Need {
        what: "valgrind, which counts instructions and allocations",
        packages: &["valgrind"],
        is_there: || runs("valgrind", &["--version"]),
        otherwise: "install valgrind",
    },
    Need {
        what: "strace, which counts system calls",
        packages: &["strace"],
        is_there: || runs("strace", &["-V"]),
        otherwise: "install strace",
    },
];

/// Sees to it that all is there.
pub(crate) fn provide(needs: &[Need]) -> Result<()> {
    let missing: Vec<&Need> = needs.iter().filter(|need| !(need.is_there)()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for need in &missing {
        eprintln!("missing: {}", need.what);
    }
    let packages: Vec<&str> = missing.iter().flat_map(|need| need.packages.iter().copied()).collect();
    if can_install() {
        eprintln!("installing: {}", packages.join(" "));
        apt_get(&["update"])?;
        apt_get(&[&["install", "--yes", "--no-install-recommends"], packages.as_slice()].concat())?;
    }
    let still: Vec<&&Need> = missing.iter().filter(|need| !(need.is_there)()).collect();
    if still.is_empty() {
        return Ok(());
    }
    let ways: Vec<String> = still.iter().map(|need| format!("  {}: {}", need.what, need.otherwise)).collect();
    bail!("missing:\n{}\nOn Debian, all of it: apt-get install {}", ways.join("\n"), packages.join(" "))
}

/// Whether the example of a Node host can run here. It is one of two in other languages, and Debian 12 has no Node 20.
pub(crate) fn has_node() -> bool {
    runs("node", &["-e", "process.exit(parseInt(process.versions.node) >= 20 ? 0 : 1)"]) && runs("npm", &["--version"])
}

/// Debian has the server's programs off the path, in a folder for each version; as the tests look for them.
fn has_postgres() -> bool {
    let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|version| version.path());
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = debian.map(|version| version.join("bin")).chain(std::env::split_paths(&path));
    folders.any(|folder| ["initdb", "postgres"].iter().all(|program| folder.join(program).exists()))
}

/// Only root on Debian may, and then nobody else is asked.
fn can_install() -> bool {
    let user = Command::new("id").arg("-u").output();
    user.is_ok_and(|output| output.stdout.trim_ascii() == b"0") && Path::new("/usr/bin/apt-get").exists()
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    let status = command.arg("-q").args(arguments).env("DEBIAN_FRONTEND", "noninteractive").status()?;
    if !status.success() {
        bail!("apt-get {} failed", arguments.join(" "));
    }
    Ok(())
}

fn runs(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
