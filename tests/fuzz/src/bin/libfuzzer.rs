//! libFuzzer over one of the targets, which the variable `KVLOCK_FUZZ_TARGET` names: see `cargo xtask fuzz`.
#![no_main]

use std::sync::LazyLock;

use kvlock_fuzz::{TARGETS, Target, target};

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("KVLOCK_FUZZ_TARGET").unwrap_or_default();
    let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
    target(&name).unwrap_or_else(|| panic!("KVLOCK_FUZZ_TARGET names no target: one of {names:?}"))
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| (TARGET.run)(data));
