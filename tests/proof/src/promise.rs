//! What is promised: each line is a property of every state that can be reached.

use std::fmt;

macro_rules! promises {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal,)*) => {
        /// A promise of the lock, seen from outside.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Promise {
            $($(#[doc = $doc])* $name,)*
        }

        impl Promise {
            /// All of them.
            pub const ALL: &[Promise] = &[$(Promise::$name,)*];

            /// The promise in words.
            pub fn text(self) -> &'static str {
                match self {
                    $(Promise::$name => $text,)*
                }
            }
        }
    };
}

promises! {
    /// Two owners' grants of a key are valid at once, though nothing was taken by force.
    OneHolder = "at most one valid grant for a key",
    /// A grant says that it is valid and the store may have dropped or given away its record by then.
    HonestValidity = "a grant is valid for no longer than the store surely keeps its record",
    /// A grant's token is not larger than that of a grant that was given before.
    TokensGrow = "the fencing token of a later grant is larger",
    /// A grant, a renewal or a release is reported and the store never saw it, or the hold was over.
    SuccessIsTrue = "what is reported as success happened",
    /// A hold is said to be lost and the store has it.
    LossIsTrue = "what is reported as lost is lost",
    /// An error says that nothing happened, and something may have.
    DoubtIsTold = "an error that says nothing happened is true",
    /// A record was changed, deleted or replaced by somebody whose it is not.
    OthersUntouched = "nobody's record is changed by somebody else unasked",
    /// Something was granted in an era younger than the quarantine.
    QuarantineKept = "nothing is granted in an era younger than the quarantine",
    /// The key came free before its minimum time.
    MinimumKept = "a minimum hold keeps the key taken",
    /// The session's count of holds is not that of its user, or a nested hold freed the lock.
    DepthIsRight = "the depth is the number of holds, and only the last release frees",
    /// The end of a nested hold lengthened the lease.
    NestedEndsInTime = "the end of a nested hold does not lengthen the lease",
    /// A wait went on after its limit, or ended before it.
    WaitsAsAsked = "a wait ends when it should",
    /// Once faults stop a machine does not end, or a waiter who would wait for ever gets an error.
    EverybodyEnds = "once faults stop, every waiter gets its turn or its error",
    /// Somebody got some of the keys that it wanted at once, or left some taken.
    AllOrNone = "several keys are had all at once, or none of them is left taken",
    /// A wait for one of several keys holds one that comes behind it: waiters may wait in a circle.
    HeldInOrder = "whoever waits for one of several keys holds none behind it",
    /// A machine calls and calls without a pause.
    NoBusyLoop = "no machine calls on and on without a pause",
    /// More permits of a semaphore are valid than it has had lately.
    NeverAboveItsSize = "no permit is granted beyond the semaphore's size",
    /// A try found its reservation taken, before its time was over.
    ReservationStands = "a reservation goes to whoever made it",
    /// The line lost somebody who waits, or whoever joined it stands before others.
    LineInOrder = "whoever joins the line stands at its end, and nobody who waits is taken out",
    /// Somebody who stands in line is overtaken more often than those who do not look at the line explain.
    TurnsCome = "whoever stands in line gets its turn",
    /// Nobody takes a free lock, and somebody stands in line for it.
    NotLeftFree = "a lock that somebody waits for is not left free",
    /// A thread selected a successor that is not parked, or while another was selected.
    OneSuccessor = "at most one successor is selected, and it is parked",
    /// The store has a lock for a request that has gone, and nobody gives it back; or another request took it.
    HandOverArrives = "a lock that is handed over is taken or given back",
    /// Whoever is told that it holds the lock cannot be sure of it and did not see its record, or whoever is told that no
    /// permit is free saw one.
    RefusedForCause = "already-held and exhausted are true",
    /// Somebody is told that it was asked, or heard, or that the lock was given back, and it was not; or says that another
    /// has heard.
    AsksAreTrue = "what is told of an ask is true",
    /// An outcome that no legal use may have.
    NoNonsense = "no legal use ends with out-of-order, invalid or corrupt",
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}
