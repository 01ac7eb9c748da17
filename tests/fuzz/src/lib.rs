//! Hostile input: whatever a store, a peer, a file or a user may give kvlock.
//!
//! A [`Target`] is a function of bytes that panics if they break a promise: no panic of ours, no endless loop, no lock
//! held that the store's answers do not justify. Two runners share them: `cargo test -p kvlock-fuzz` gives each the
//! corpus and a bounded number of bytes made up from a fixed seed; `cargo xtask fuzz TARGET` runs libFuzzer, guided by
//! coverage, for as long as one likes.

mod component;
mod local;
mod machines;
mod peer;
mod protocol;
mod tape;
mod text;

/// Something that reads what others wrote.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, and that of its folder in `corpus`.
    pub name: &'static str,
    /// Reads the bytes; panics if a promise is broken.
    pub run: fn(&[u8]),
    /// How many made-up inputs a bounded run has: some seconds' worth.
    pub cases: u32,
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "record", run: text::record, cases: 20_000 },
    Target { name: "grant", run: text::grant, cases: 10_000 },
    Target { name: "names", run: text::names, cases: 20_000 },
    Target { name: "machines", run: machines::machines, cases: 5_000 },
    Target { name: "component", run: component::component, cases: 300 },
    Target { name: "memcached", run: peer::memcached, cases: 300 },
    Target { name: "protocol", run: protocol::protocol, cases: 5_000 },
    Target { name: "codec", run: protocol::codec, cases: 5_000 },
    Target { name: "redis", run: peer::redis, cases: 300 },
    Target { name: "etcd", run: peer::etcd, cases: 150 },
    Target { name: "postgres", run: peer::postgres, cases: 150 },
    Target { name: "local", run: local::local, cases: 200 },
    Target { name: "urls", run: text::urls, cases: 5_000 },
];

/// The target of this name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
