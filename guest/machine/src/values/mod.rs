//! Plain values that every other room uses: names, options, times, and what a store is asked and answers.

pub(crate) mod calendar;
pub(crate) mod invalid;
pub(crate) mod kv;
pub(crate) mod name;
pub(crate) mod options;
pub(crate) mod text;
pub(crate) mod time;
