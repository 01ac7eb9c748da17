//! The results: one JSON file to compare, to draw and to show; what is printed and what the page has is made of it.

mod spread;
mod table;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

pub(crate) use spread::{Spread, quantile};
pub(crate) use table::thousands;

/// All that was measured in one run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Results {
    /// The machine it ran on, and the versions of the servers.
    pub(crate) machine: BTreeMap<String, String>,
    /// All groups with all rounds: nothing less is to be shown.
    pub(crate) whole: bool,
    groups: Vec<Group>,
    /// What the plot is made of: one for each who fought.
    pub(crate) hand_overs: Vec<HandOvers>,
}

/// Figures that belong together.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Group {
    name: String,
    /// What is measured, and what its words mean.
    about: String,
    figures: Vec<Figure>,
}

/// One line of the table.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Figure {
    name: String,
    unit: String,
    value: Spread,
    /// How often another figure of the same run fits into it.
    against: Option<Against>,
    goal: Option<Goal>,
    /// Of interest to contributors only: the page leaves it out.
    aside: bool,
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

/// How a contended lock changed hands.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct HandOvers {
    pub(crate) who: String,
    /// From a release to the next grant, if that is another's, in milliseconds, sorted; as many of them as a curve needs.
    pub(crate) latencies: Vec<f64>,
    /// Grants of each process, sorted.
    pub(crate) grants: Vec<u64>,
}

impl Results {
    pub(crate) fn new(machine: BTreeMap<String, String>, whole: bool) -> Self {
        Results { machine, whole, groups: Vec::new(), hand_overs: Vec::new() }
    }

    /// Begins a group.
    pub(crate) fn group(&mut self, name: &str, about: &str) -> &mut Group {
        self.groups.push(Group { name: name.into(), about: about.into(), figures: Vec::new() });
        self.groups.last_mut().expect("one has just been added")
    }

    pub(crate) fn read(json: &Path) -> Result<Self> {
        let text = fs::read_to_string(json).with_context(|| format!("reading {}", json.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} has other results: run the benchmarks", json.display()))
    }

    pub(crate) fn write(&self, json: &Path) -> Result<()> {
        fs::write(json, serde_json::to_string_pretty(self)? + "\n")
            .with_context(|| format!("writing {}", json.display()))
    }

    /// The machine in one line.
    pub(crate) fn ran_on(&self) -> String {
        let machine = |what: &str| self.machine.get(what).map_or("unknown", String::as_str);
        format!(
            "{}, {} cores, {}, {}, {}, {}",
            machine("processor"),
            machine("cores"),
            machine("kernel"),
            machine("memcached"),
            machine("redis"),
            machine("etcd")
        )
    }
}

impl Group {
    pub(crate) fn add(&mut self, figure: Figure) {
        self.figures.push(figure);
    }
}

impl Figure {
    pub(crate) fn new(name: impl Into<String>, value: Spread, unit: &str) -> Self {
        Figure { name: name.into(), unit: unit.into(), value, against: None, goal: None, aside: false }
    }

    pub(crate) fn against(mut self, what: &str, ratio: Spread) -> Self {
        self.against = Some(Against { what: what.into(), ratio });
        self
    }

    pub(crate) fn goal(mut self, goal: Goal) -> Self {
        self.goal = Some(goal);
        self
    }

    pub(crate) fn aside(mut self) -> Self {
        self.aside = true;
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
