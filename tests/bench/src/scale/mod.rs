//! Many waiters, many keys, many permits.

mod hold;
mod permits;
mod wait;

use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use serde::de::DeserializeOwned;

pub(crate) use hold::Hold;
pub(crate) use wait::Wait;

use crate::Effort;
use crate::results::Results;

pub(crate) fn measure(results: &mut Results, effort: Effort) -> Result<()> {
    let group = results.group(
        "Waiters",
        "Sessions of one process wait for keys that somebody else holds. What they ask the store should grow with the \
         keys, at most 100 operations a second for each, and not with the waiters.",
    );
    wait::measure(group, effort)?;
    let group = results.group(
        "Keys held",
        "Acquire and release of one key by a session that holds others, beside one, by turns, that holds a single one.",
    );
    hold::measure(group, effort)?;
    let group = results.group(
        "Semaphores",
        "Acquire and release of a permit on memcached while so many of the others are held; and sessions that wait for \
         a permit while none is free.",
    );
    permits::measure(group, effort)
}

/// Runs a part of the benchmark in a process of its own.
fn part<T: DeserializeOwned>(arguments: &[String]) -> Result<T> {
    let output = Command::new(std::env::current_exe()?).args(arguments).stdin(Stdio::null()).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(serde_json::from_slice(&output.stdout)?)
}
