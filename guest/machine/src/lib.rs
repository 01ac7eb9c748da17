//! The state machines of kvlock.
#![no_std]
#![forbid(unsafe_code)]
extern crate alloc;
