//! The results: one table to read, one JSON file to compare and to draw.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::contended::HandOvers;
use crate::spread::Spread;

/// All that was measured in one run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    /// The machine it ran on, and the versions of the servers.
    pub(crate) machine: BTreeMap<String, String>,
    pub(crate) figures: Vec<Figure>,
    /// What the plot is made of.
    pub(crate) hand_overs: Option<HandOvers>,
}

/// One line of the table.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Figure {
    group: String,
    name: String,
    unit: String,
    value: Spread,
    /// How often another figure of the same run fits into it.
    against: Option<Against>,
    goal: Option<Goal>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Against {
    what: String,
    ratio: Spread,
}

/// What the figure should be: the ratio where there is one, else the value.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

impl Figure {
    pub(crate) fn new(group: &str, name: impl Into<String>, value: Spread, unit: &str) -> Self {
        Figure { group: group.into(), name: name.into(), unit: unit.into(), value, against: None, goal: None }
    }

    pub(crate) fn against(mut self, what: &str, ratio: Spread) -> Self {
        self.against = Some(Against { what: what.into(), ratio });
        self
    }

    pub(crate) fn goal(mut self, goal: Goal) -> Self {
        self.goal = Some(goal);
        self
    }

    fn is_met(&self) -> Option<bool> {
        let judged = self.against.as_ref().map_or(self.value, |against| against.ratio).median;
        self.goal.map(|goal| match goal {
            Goal::AtMost(limit) => judged <= limit,
            Goal::AtLeast(limit) => judged >= limit,
        })
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Goal::AtMost(limit) => write!(f, "<= {limit}"),
            Goal::AtLeast(limit) => write!(f, ">= {limit}"),
        }
    }
}

impl Report {
    pub(crate) fn new(machine: BTreeMap<String, String>) -> Self {
        Report { machine, figures: Vec::new(), hand_overs: None }
    }

    pub(crate) fn add(&mut self, figure: Figure) {
        self.figures.push(figure);
    }

    pub(crate) fn read(json: &Path) -> Result<Self> {
        let text = fs::read_to_string(json).with_context(|| format!("reading {}", json.display()))?;
        Ok(serde_json::from_str(&text)?)
    }

    pub(crate) fn write(&self, json: &Path) -> Result<()> {
        fs::write(json, serde_json::to_string_pretty(self)? + "\n")
            .with_context(|| format!("writing {}", json.display()))
    }
}

/// The table is one that the README can take as it is.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| | what | median | p10 to p90 | unit | ratio | goal | |")?;
        writeln!(f, "|---|---|---:|---:|---|---|---|---|")?;
        for figure in &self.figures {
            let Figure { group, name, unit, value, .. } = figure;
            let spread =
                if value.samples > 1 { format!("{} to {}", short(value.p10), short(value.p90)) } else { String::new() };
            let ratio =
                figure.against.as_ref().map(|against| format!("{:.2} x {}", against.ratio.median, against.what));
            let goal = figure.goal.map(|goal| goal.to_string());
            let met = figure.is_met().map_or("", |met| if met { "met" } else { "MISSED" });
            let (median, ratio, goal) = (short(value.median), ratio.unwrap_or_default(), goal.unwrap_or_default());
            writeln!(f, "| {group} | {name} | {median} | {spread} | {unit} | {ratio} | {goal} | {met} |")?;
        }
        writeln!(f)?;
        self.machine.iter().try_for_each(|(what, value)| writeln!(f, "- {what}: {value}"))
    }
}

/// Three digits or so.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
