//! What a contributor of kvlock runs: `cargo xtask test`, `prove`, `lint`, `component`, `dist`,
//! `playground`, `bench` and `fuzz`.

mod component;
mod components;
mod compose;
mod dist;
mod fuzz;
#[path = "../../host/build/guest.rs"]
mod guest;
mod playground;
mod prerequisites;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;

/// Tasks of the workspace.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
enum Task {
    /// Run every test; install what they need (as root on Debian) or name it.
    Test,
    /// Check formatting and lints.
    Lint {
        /// Also compile the library with each of its features alone, which compiles wasmtime once more.
        #[arg(long)]
        features: bool,
    },
    /// Prove the lock: search the machines' small worlds to their end, play random schedules of the component, then
    /// attack real servers that real clients lock on.
    Prove {
        /// How long to go on; the small worlds are searched to their end in any case.
        #[arg(long, default_value = "4m", value_parser = humantime::parse_duration)]
        budget: Duration,
        /// The seed to begin with; to repeat a failure, its seed.
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Build the component from source and check it in, in host/component.
    Component {
        /// Change nothing; fail if what is checked in is stale.
        #[arg(long)]
        check: bool,
    },
    /// Build the command as it is released, with its manual pages and completions, and the components, in target/dist.
    Dist {
        /// Only the components.
        #[arg(long)]
        components: bool,
    },
    /// Build the playground, a folder of static files, in target/playground.
    Playground,
    /// Run the benchmarks beside their peers; install what they need (as root on Debian) or name it.
    Bench {
        /// Only draw the plot, from the results of the last run.
        #[arg(long)]
        plot: bool,
        /// Only show the results of the last run in docs/performance.md, with their plot, and keep them.
        #[arg(long, conflicts_with = "plot")]
        page: bool,
        /// For the benchmarks themselves: groups, `--quick`, `--json FILE`, `--svg FILE`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Feed a target of tests/fuzz with hostile input, guided by coverage.
    Fuzz {
        /// Its name: see tests/fuzz/src/lib.rs.
        target: String,
        /// For how long.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
}

/// The benchmarks bring peers' clients along, and are no tests. With another choice of packages they would have other
/// features, and wasmtime would be compiled once more.
const TEST: &[&str] = &["test", "--locked", "--workspace", "--exclude", "kvlock-bench"];

/// Tests that take the processor for minutes. Most of the others wait for something, so these run beside them.
const SEARCHES: &[&str] = &[
    "no_small_world_breaks_a_promise_and_each_shows_what_it_is_about",
    "every_waiter_gets_its_turn_in_every_small_world",
    "no_queue_of_a_process_breaks_a_promise",
    "no_world_of_readers_breaks_a_promise",
    "no_world_of_several_keys_ends_in_a_deadlock_or_breaks_another_promise",
    "every_mutant_is_found_with_a_counter_example_that_can_be_read",
    "no_schedule_of_ten_thousand_breaks_a_promise_of_the_shipped_component",
];

fn main() -> Result<()> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the workspace")?;
    match Task::parse() {
        Task::Test => test(workspace),
        Task::Lint { features } => lint(workspace, features),
        Task::Prove { budget, seed } => prove(workspace, budget, seed),
        Task::Component { check: false } => component::refresh(workspace),
        Task::Component { check: true } => component::check(workspace),
        Task::Dist { components } => dist::make(workspace, components),
        Task::Playground => playground::build(workspace),
        Task::Bench { plot: true, arguments, .. } => bench(workspace, "plot", &arguments),
        Task::Bench { page: true, arguments, .. } => bench(workspace, "page", &arguments),
        Task::Bench { arguments, .. } => bench(workspace, "run", &arguments),
        Task::Fuzz { target, seconds } => fuzz::run(workspace, &target, seconds),
    }
}

fn test(workspace: &Path) -> Result<()> {
    prerequisites::provide(prerequisites::TESTS)?;
    component::check(workspace)?;
    if prerequisites::has_node() {
        let node_host = ["--test", "hosts", "--", "--ignored", "the_component_runs_in_a_node_host"];
        cargo(workspace, &[TEST, node_host.as_slice()].concat())?;
        cargo(workspace, &[TEST, &["--test", "node", "--test", "guests", "--", "--ignored"]].concat())?;
        prerequisites::provide(prerequisites::BROWSER)?;
        cargo(workspace, &[TEST, &["--test", "playground", "--", "--ignored"]].concat())?;
    } else {
        eprintln!("not run: the components in Node and the playground, which need Node 20 or newer with npm");
    }
    cargo(workspace, &[TEST, &["--no-run"]].concat())?;
    let targets = ["--test", "model", "--test", "mutants", "--test", "component", "--"];
    let searches = [TEST, &targets, SEARCHES].concat();
    let skip_searches: Vec<&str> = SEARCHES.iter().flat_map(|name| ["--skip", name]).collect();
    std::thread::scope(|scope| {
        let searched = scope.spawn(|| command(workspace, &searches).output());
        let others = cargo(workspace, &[TEST, &["--no-fail-fast", "--"], &skip_searches].concat());
        let searched =
            searched.join().expect("INVARIANT: to run a command does not panic").context("cannot run cargo")?;
        print!("{}{}", String::from_utf8_lossy(&searched.stderr), String::from_utf8_lossy(&searched.stdout));
        others?;
        ensure!(searched.status.success(), "cargo {} failed", searches.join(" "));
        Ok(())
    })
}

fn bench(workspace: &Path, task: &str, arguments: &[String]) -> Result<()> {
    if task == "run" {
        prerequisites::provide(prerequisites::BENCHMARKS)?;
        // By itself, so that the command has the features that it is released with.
        cargo(workspace, &["build", "--locked", "--release", "--package", "kvlock-cli"])?;
    }
    let run = ["run", "--locked", "--release", "--quiet", "--package", "kvlock-bench", "--", task];
    let arguments = arguments.iter().map(String::as_str);
    cargo(workspace, &run.into_iter().chain(arguments).collect::<Vec<_>>())
}

fn prove(workspace: &Path, budget: Duration, seed: Option<u64>) -> Result<()> {
    prerequisites::provide(prerequisites::TESTS)?;
    let began = Instant::now();
    let seed = seed.map(|seed| seed.to_string());
    let run = |package: &str, budget: Duration| {
        let budget = format!("{}s", budget.as_secs());
        let run = ["run", "--quiet", "--locked", "--package", package, "--bin", package, "--", "--budget", &budget];
        let seed = seed.as_ref().map(|seed| ["--seed", seed]);
        cargo(workspace, &run.into_iter().chain(seed.into_iter().flatten()).collect::<Vec<_>>())
    };
    run("kvlock-proof", budget / 2)?;
    // Each attack takes a while; one is made in any case.
    run("kvlock-attack", budget.saturating_sub(began.elapsed()))
}

/// The choices of features of the library that are told apart by `cfg`.
const FEATURES: &[&str] = &[
    "",
    "local",
    "memcached",
    "redis",
    "etcd",
    "postgres",
    "memcached,tls",
    "redis,tls",
    "etcd,tls",
    "metrics",
    "tracing",
];

fn lint(workspace: &Path, each_feature: bool) -> Result<()> {
    cargo(workspace, &["fmt", "--all", "--check"])?;
    cargo(workspace, &["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    for features in if each_feature { FEATURES } else { &[] } {
        let library = ["clippy", "--quiet", "--locked", "--package", "kvlock", "--no-default-features"];
        cargo(workspace, &[library.as_slice(), &["--features", features, "--", "-D", "warnings"]].concat())
            .with_context(|| format!("with the features `{features}`"))?;
    }
    Ok(())
}

fn cargo(workspace: &Path, arguments: &[&str]) -> Result<()> {
    let status = command(workspace, arguments).status().context("cannot run cargo")?;
    ensure!(status.success(), "cargo {} failed", arguments.join(" "));
    Ok(())
}

fn command(workspace: &Path, arguments: &[&str]) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(arguments).current_dir(workspace);
    // What cargo told this program of itself. With it, ring's build script and all that needs ring would run again after
    // a cargo that a person has started.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
            cargo.env_remove(name);
        }
    }
    cargo
}
