//! Fuzzing guided by coverage, with the stable compiler: libFuzzer comes from the crate `libfuzzer-sys`, which a C++
//! compiler builds, and rustc's own LLVM instruments the code.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// What makes LLVM count edges and watch comparisons, which is what libFuzzer goes by; and overflow is an error.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
                     -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares \
                     -Cdebug-assertions -Ccodegen-units=1";

/// Runs one target for so many seconds. What it learnt stays in target/fuzz/corpus, for the next time; an input that
/// breaks a promise is written there too.
pub(crate) fn run(workspace: &Path, target: &str, seconds: u64) -> Result<()> {
    let folder = workspace.join("target/fuzz");
    let learnt = folder.join("corpus").join(target);
    fs::create_dir_all(&learnt).with_context(|| format!("cannot make {}", learnt.display()))?;
    let host = host()?;
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["run", "--locked", "--package", "kvlock-fuzz", "--features", "libfuzzer", "--bin", "kvlock-fuzz"])
        // With a target of its own, build scripts are built without the flags.
        .args(["--release", "--target", &host, "--target-dir"])
        .arg(&folder)
        .arg("--")
        .arg(&learnt)
        .arg(workspace.join("tests/fuzz/corpus").join(target))
        .args([
            format!("-max_total_time={seconds}"),
            "-max_len=2048".into(),
            "-len_control=0".into(),
            "-timeout=20".into(),
        ])
        .arg(format!("-artifact_prefix={}/{target}-", folder.display()))
        .env("KVLOCK_FUZZ_TARGET", target)
        .env("RUSTFLAGS", FLAGS)
        .current_dir(workspace)
        .status()
        .context("cannot run cargo")?;
    if !status.success() {
        bail!("the target `{target}` broke a promise, or could not be built");
    }
    Ok(())
}

/// The triple of the machine that builds.
fn host() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("cannot run rustc")?;
    let text = String::from_utf8(output.stdout).context("rustc tells its version as text")?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc tells no host")?;
    Ok(host.to_string())
}
