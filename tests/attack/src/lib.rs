//! kvlock under attack: real clients in processes of their own, on real servers behind proxies, an adversary that
//! kills, flushes, freezes, fills, replaces, cuts, delays and delivers late, and a judge that decides from what the
//! clients wrote down whether a promise was broken.
//!
//! [`attack`] is one run, [`campaign`] runs until a time is over, [`judge`](judge::judge) decides.
#![warn(missing_docs)]

mod adversary;
mod attack;
pub mod history;
pub mod judge;
pub mod mix;
mod servers;
mod worker;

pub use attack::{Attack, Campaign, Report, attack, campaign};
pub use worker::{Task, work};
