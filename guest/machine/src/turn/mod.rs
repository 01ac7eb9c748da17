//! When a waiter tries: its place in the wait list, and when its turn is expected.
//!
//! The first waiter polls frequently around the time at which the holder is expected to be done. The others look again
//! when the list is expected to have moved: that is one look for each turn, and no try. No waiter asks less often than
//! once an interval for each waiter before it.
//!
//! A turn is the time from one grant to the next. Its length is estimated from four sources: the wait list, this
//! session's last wait for the key, the figure in the holder's record, and what this waiter observes. When every
//! process takes the lock only once, the last two are all that corrects the list. The holder's record also tells when
//! its turn began, if both sides have a wall clock. A clock may be wrong: it is believed within what was seen, and
//! decides no more than when to look.
//!
//! A waiter that finds the lock free gives those before it time to take it, a little for each, and then tries: somebody
//! in the list may have crashed. If newcomers take the lock as soon as it is released, no waiter ever finds it free. So
//! a waiter that sees this happen many times while the list does not move stops waiting for those before it.

mod estimate;
mod holder_watch;
mod member;
mod pause;
#[cfg(test)]
mod tests;

pub(crate) use holder_watch::CurrentHolder;
pub(crate) use member::{Advice, Member};
pub(crate) use pause::AfterPause;
