//! What it runs on.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

pub(crate) fn describe() -> Result<BTreeMap<String, String>> {
    let cpus = fs::read_to_string("/proc/cpuinfo").context("reading /proc/cpuinfo")?;
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let system = rustix::system::uname();
    let mut machine = BTreeMap::from([
        ("processor".to_owned(), model.map_or("unknown", |(_, model)| model).to_owned()),
        ("cores".to_owned(), std::thread::available_parallelism()?.to_string()),
        ("kernel".to_owned(), format!("Linux {}", system.release().to_string_lossy())),
    ]);
    for (name, program, argument) in
        [("memcached", "memcached", "-V"), ("redis", "redis-server", "--version"), ("etcd", "etcd", "--version")]
    {
        let output = Command::new(program).arg(argument).output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        machine.insert(
            name.to_owned(),
            version(&text).map_or("no ".to_owned() + name, |version| format!("{name} {version}")),
        );
    }
    Ok(machine)
}

/// The first number in the text, which follows `v=`, `Version: ` or a blank.
fn version(text: &str) -> Option<&str> {
    let words = text.split([' ', '=', '\n']);
    words.into_iter().find(|word| word.starts_with(|first: char| first.is_ascii_digit()))
}
