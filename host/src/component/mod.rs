//! The component in wasmtime: one engine for the process, one instance for a session. No other room knows wasmtime.
//!
//! A [`Guest`] is an instance with a session open in it. Its methods (`calls/`) take and give values of the library.

mod awaited;
mod bindings;
mod bounds;
mod calls;
#[path = "../../build/config.rs"]
mod config;
mod convert;
mod guest;
mod imports;
mod linked;
mod precompiled;
mod values;

pub(crate) use awaited::{link_all_async, link_store_async};
pub(crate) use guest::{Guest, SessionOptions};
pub use imports::Imports;
pub(crate) use linked::{link_all, link_store};
pub(crate) use values::{
    AskId, AskPlace, Claim, GrantFacts, GrantId, Granted, HandedOver, LockMode, LockTerms, Outcome, Pending, Placed,
    Progress, Release, ResizeId, ResizeStep, Resource, Target, Tried, TryTerms, WaitId, What,
};

/// The component's binary, as [`crate::COMPONENT`] gives it out.
pub(crate) const COMPONENT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kvlock.wasm"));
