//! What was measured, shown: the results, the plot and the README's table, all from one file.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::plot;
use crate::results::Results;

/// What the README shows.
const JSON: &str = "tests/bench/results/bench.json";
const SVG: &str = "tests/bench/results/bench.svg";
const README: &str = "README.md";

/// Keeps the results and shows them in the README of the current folder.
pub(crate) fn show(json: &Path) -> Result<()> {
    let results = Results::read(json)?;
    ensure!(results.whole, "only a run of all groups, without --quick, is shown");
    let readme = fs::read_to_string(README).context("cannot read README.md: run this in the workspace")?;
    let readme = results.put_into(&readme)?;
    plot::draw(&results, Path::new(SVG))?;
    results.write(Path::new(JSON))?;
    fs::write(README, readme).context("cannot write README.md")
}
