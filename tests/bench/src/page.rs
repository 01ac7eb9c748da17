//! Keeps the results and shows them: the figures, the plot and the page on performance, all from one file.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::plot;
use crate::results::Results;

/// What the page shows.
const JSON: &str = "tests/bench/results/bench.json";
const SVG: &str = "tests/bench/results/bench.svg";
const PAGE: &str = "docs/performance.md";

/// Keeps the results and shows them in the workspace that is the current folder.
pub(crate) fn show(json: &Path) -> Result<()> {
    let results = Results::read(json)?;
    ensure!(results.whole, "only a run of all groups, without --quick, is shown");
    let page = fs::read_to_string(PAGE).with_context(|| format!("cannot read {PAGE}: run this in the workspace"))?;
    let page = results.put_into(&page)?;
    plot::draw(&results, Path::new(SVG))?;
    results.write(Path::new(JSON))?;
    fs::write(PAGE, page).with_context(|| format!("cannot write {PAGE}"))
}
