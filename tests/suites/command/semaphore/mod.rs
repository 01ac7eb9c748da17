//! `kvlock semaphore`, as its users run it.

mod crowd;
mod holding;
mod refusals;
mod sizes;

use kvlock_tests::kvlock::{Output, Running};
use rustix::process::Signal;
use serde_json::Value;

use super::World;

impl World {
    /// Runs `kvlock semaphore ARGUMENTS…`.
    fn semaphore(&self, arguments: &[&str]) -> Output {
        self.run(["semaphore"].iter().chain(arguments))
    }

    /// Makes a semaphore, or gives it another size, at once.
    #[track_caller]
    fn make(&self, name: &str, permits: u32) {
        self.ok(["semaphore", "make", name, &permits.to_string(), "--wait", "0"]);
    }

    /// Tries to run a command with a permit, at once.
    fn try_permit(&self, name: &str) -> Output {
        self.semaphore(&["run", name, "--wait", "0", "--", "true"])
    }

    /// How a semaphore stands.
    #[track_caller]
    fn standing(&self, name: &str) -> Value {
        json(&self.ok(["semaphore", "status", "--json", name]))
    }

    /// How many permits of a semaphore are held.
    #[track_caller]
    fn held(&self, name: &str) -> u64 {
        self.standing(name)["held"].as_u64().expect("a number")
    }
}

#[track_caller]
fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

/// Ends a holder as a person would; its permit is back then.
#[track_caller]
fn end(holder: Running) {
    holder.signal(Signal::TERM);
    assert_eq!(holder.wait().code, 128 + 15);
}
