//! When a waiter tries: where it stands in the line, and when its turn is to be expected.
//!
//! Who is next tries often about the time at which the holder is expected to be done. Who stands behind looks again
//! when the line is expected to have moved, which is a look for each turn but not a try; nobody asks less often than
//! once an interval for each one that stands before it. How long a turn takes, from one grant to the next, is what
//! the line tells, what the session measured when it last waited for the key, what the holder's record tells that it
//! measured, or what it sees while it waits: nothing else corrects what the line tells where everybody takes the lock
//! once. When the holder's turn began is what its record tells by a wall clock, where both have one. A clock may be
//! wrong: it is believed within what was seen, and nothing hangs on it but when to look.
//!
//! Who finds the lock free and others before it gives them time to take it, a little for each, and then tries: somebody
//! in the line may have crashed. Where new ones take it as soon as it is given back, it is never found free; so who sees
//! that happen again and again while the line stands still waits no longer for those before it.

mod queue;
#[cfg(test)]
mod tests;
mod when;

pub(crate) use queue::{Advice, AfterPause, CurrentHolder, Queue};
