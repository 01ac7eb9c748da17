//! What a step brought, for the proof that a search saw what it is about.

/// Things worth having seen: a set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct News(u32);

macro_rules! news {
    ($($name:ident = $bit:literal $text:literal,)*) => {
        impl News {
            $(#[doc = $text] pub(crate) const $name: News = News(1 << $bit);)*

            /// Each by itself, and in words.
            pub(crate) const ALL: &[(News, &str)] = &[$((News::$name, $text),)*];
        }
    };
}

news! {
    GRANTED = 0 "a lock is granted",
    WAITED = 1 "somebody waits for a holder",
    BUSY = 2 "a wait ends with busy",
    RENEWED = 3 "a lease is renewed",
    FREED = 4 "a lock is released",
    NESTED = 5 "a hold is nested",
    UNNESTED = 6 "a nested hold ends",
    KEPT = 7 "a lock is kept for its minimum time",
    LOST = 8 "somebody is told of a loss",
    LATE = 9 "a late request takes effect",
    EXPIRED = 10 "the lock of a holder expires",
    QUARANTINE = 11 "somebody waits for the quarantine",
    ADOPTED = 12 "a lock is adopted",
    BROKEN = 13 "a lock is broken",
    EVICTED = 14 "a held lock is evicted",
    FORGOTTEN = 15 "the store forgets a held lock",
    UNKNOWN = 16 "an outcome stays unknown",
    CRASHED = 17 "an owner crashes while it holds",
    NEXT = 18 "a lock passes on to another owner",
    TAKEN_UP = 19 "a written grant is taken up and renewed",
    RESOLVED = 20 "an unanswered write turns out to have succeeded",
    JOINED = 21 "somebody joins the line",
    SERVED = 22 "the first of the line is granted the lock",
    PASSED = 23 "somebody is granted the lock before the first of the line",
    HANDED_OVER = 24 "a lock is handed over to who waits for it",
    TAKEN = 25 "who is handed over a lock has it",
    ASKED = 26 "a holder is asked for its lock",
    HEARD = 27 "who asks is told that it was heard",
    GIVEN_BACK = 28 "who asks is told that the lock was given back",
    TAKEN_OVER = 29 "a record that stands though its time is over is taken over",
}

impl News {
    /// Both.
    #[must_use]
    pub(crate) const fn and(self, other: News) -> News {
        News(self.0 | other.0)
    }

    /// Whether all of the other are among these.
    pub(crate) const fn has(self, other: News) -> bool {
        self.0 & other.0 == other.0
    }

    /// Adds.
    pub(crate) fn note(&mut self, other: News) {
        self.0 |= other.0;
    }
}
