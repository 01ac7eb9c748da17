//! The component's functions: a method each, which takes and gives values of the library.

mod ask;
mod conflict_retry;
mod mutex;
mod semaphore;
