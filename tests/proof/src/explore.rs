//! A search of one model, and what came of it: the same for locks, crowds and turns.

use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model};

use crate::model::{Effort, Findings};
use crate::promise::Promise;

/// What is searched for.
pub(crate) struct About {
    /// The scenario's name.
    pub(crate) name: &'static str,
    /// Its bounds, in words.
    pub(crate) bounds: String,
    /// What is promised, as properties of the model.
    pub(crate) promises: &'static [Promise],
    /// What must be seen: texts of properties.
    pub(crate) reaches: Vec<&'static str>,
}

/// Searches a model to its end, or to the first promise that is broken, of which `tell` makes a story.
pub(crate) fn explore<M>(
    model: M,
    effort: Effort,
    about: About,
    tell: impl FnOnce(Promise, Vec<M::Action>) -> Vec<String>,
) -> Findings
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + std::fmt::Debug + std::hash::Hash + PartialEq + Send + Sync,
    M::Action: Clone + std::fmt::Debug + PartialEq + Send + Sync,
{
    let began = Instant::now();
    let builder = model.checker().threads(effort.threads).finish_when(HasDiscoveries::AnyFailures);
    let builder = match effort.timeout {
        Some(timeout) => builder.timeout(timeout),
        None => builder,
    };
    let checker = builder.spawn_bfs().join();
    let took = began.elapsed();
    let discoveries = checker.discoveries();
    let broken = about.promises.iter().filter_map(|promise| Some((*promise, discoveries.get(promise.text())?)));
    let broken = broken.map(|(promise, path)| (promise, path.clone().into_actions()));
    let broken = broken.min_by_key(|(_, acts)| acts.len());
    Findings {
        name: about.name,
        bounds: about.bounds,
        states: checker.unique_state_count(),
        steps: checker.state_count(),
        depth: checker.max_depth(),
        fair_runs: 0,
        took,
        complete: effort.timeout.is_none_or(|timeout| took < timeout) && broken.is_none(),
        unseen: about.reaches.into_iter().filter(|text| !discoveries.contains_key(text)).collect(),
        broken: broken.map(|(promise, acts)| {
            let mut lines = tell(promise, acts);
            lines.push(format!("broken: {promise}"));
            (promise, lines)
        }),
    }
}
