//! Eras: how a loss is noticed.
//!
//! PostgreSQL forgets nothing that was committed and flushed. What it may lose is what a standby had not received when
//! it was promoted, and what a backup does not have. Either shows by `kvlock.life`, an UNLOGGED table of one row: the
//! server empties it after a crash, a promotion, and the restore of a base backup, and keeps it over a clean restart.
//! Every statement looks at that row, and does nothing if it is gone.
//!
//! Whoever finds it gone takes an advisory lock and looks at `kvlock.eras`, a table like any other:
//!
//! | the last era there is of | then |
//! |---|---|
//! | this server, this timeline, this database, with fsync on then and now | it was a crash, and nothing was lost: the same era goes on, with numbers that jump ahead |
//! | another server, timeline or database, or the row came with a dump | contents may be older: a new era, which counts from now |
//! | nobody, and this client has seen none either | nothing can be lost: the first era |
//!
//! A row that was written by another transaction than it says came with a dump (`xmin`). A row of a database that was
//! copied as a template names another database.
//!
//! **The numbers.** An era's id is the nanosecond in which it began by the server's clock, and at least the last era's
//! id plus the last number plus 2^40 ns (18 min): so much may the clock of a promoted standby be behind. A version's
//! number is drawn from one sequence. A client that has seen a larger era, on a server that was there before, ends the
//! present one and begins another above.
//!
//! What no check sees: a copy of the disk, or a base backup without `recovery.signal`, that took the server's place. It
//! looks like a crash. So the numbers jump to the clock in both cases: no token is given out twice, but a lock that the
//! copy does not have is free at once.

use tokio_postgres::types::Type;

use super::failure::Failure;
use super::link::{Link, field, foreign};
use super::sql::{self, Sql, Statement};

/// How far an era's id is above what the era before may have given out, in nanoseconds.
const ROOM: i64 = 1 << 40;

/// The timeline of a server that never was a standby.
const FIRST_TIMELINE: &str = "00000001";

/// How many bytes a row of the statements here has at most.
const ROW: u64 = 4096;

/// The era that a server is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Era {
    pub(super) id: i64,
    /// Nothing was lost when it began.
    pub(super) is_whole: bool,
    /// For how many microseconds it has lasted by the server's clock.
    pub(super) age: i64,
    pub(super) home: Home,
}

/// Which database of which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Home {
    pub(super) system: i64,
    pub(super) base: u32,
}

/// Looks for the era that is going on.
pub(super) async fn look(link: &mut Link, sql: &Sql) -> Result<Option<Era>, Failure> {
    let rows = link.ask(sql, Statement::Era, &[], ROW).await.map_err(Failure::before_a_write)?;
    let Some(row) = rows.first() else { return Ok(None) };
    let home = Home { system: field(row, 3)?, base: field(row, 4)? };
    let era = Era { id: field(row, 0)?, is_whole: field(row, 1)?, age: field(row, 2)?, home };
    if era.id <= 0 {
        return Err(foreign("an era that is no number").before_a_write());
    }
    Ok(Some(era))
}

/// Begins an era, or lets the last one go on. `seen` is the largest that this client knows.
pub(super) async fn establish(link: &mut Link, sql: &Sql, seen: Option<i64>) -> Result<Era, Failure> {
    let era = try_establish(link, sql, seen).await;
    if era.is_err() && link.is_good() {
        // Whatever the transaction did is undone.
        link.run("ROLLBACK").await.map_err(Failure::before_a_write)?;
    }
    era.map_err(Failure::before_a_write)
}

async fn try_establish(link: &mut Link, sql: &Sql, seen: Option<i64>) -> Result<Era, Failure> {
    link.run(sql.begin()).await?;
    // Another client may have been faster.
    let there = look(link, sql).await?.filter(|era| seen.is_none_or(|seen| era.id >= seen));
    if there.is_none() {
        let history = History::read(link).await?;
        let decision = history.decide(seen);
        link.run(sql::END_LIFE).await?;
        let id = match decision {
            Decision::Same { id, number } => {
                link.execute(sql::JUMP, &[(&number, Type::INT8)]).await?;
                id
            }
            Decision::New { id, is_whole } => {
                let begun = link
                    .execute(
                        &sql::begin_era(),
                        &[(&id, Type::INT8), (&is_whole, Type::BOOL), (&history.is_durable, Type::BOOL)],
                    )
                    .await?;
                if begun != 1 {
                    return Err(foreign("an era that was not written"));
                }
                id
            }
        };
        link.execute(sql::BEGIN_LIFE, &[(&id, Type::INT8)]).await?;
        tracing::info!(?decision, "PostgreSQL: an era goes on or begins");
    }
    let era = match there {
        Some(era) => Some(era),
        None => look(link, sql).await?,
    };
    link.run("COMMIT").await?;
    era.ok_or_else(|| foreign("an era that is gone as soon as it has begun"))
}

/// What is known of the past, and where we are now.
#[derive(Debug, Clone, PartialEq, Eq)]
struct History {
    home: Home,
    timeline: String,
    is_durable: bool,
    /// Nanoseconds by the server's clock.
    now: i64,
    /// The last number that was drawn.
    number: i64,
    /// There is a row in `kvlock.life`, which is not one of here and now.
    has_stranger: bool,
    last: Option<Last>,
}

/// The last era that was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Last {
    id: i64,
    is_durable: bool,
    home: Home,
    timeline: String,
    /// It was written here, and did not come with a dump.
    is_native: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    /// Numbers go on from this one.
    Same {
        id: i64,
        number: i64,
    },
    New {
        id: i64,
        is_whole: bool,
    },
}

impl History {
    async fn read(link: &mut Link) -> Result<History, Failure> {
        let rows = link.rows(&sql::history(), &[], ROW).await?;
        let row = rows.first().ok_or_else(|| foreign("no row"))?;
        let last = match field::<Option<i64>>(row, 7)? {
            None => None,
            Some(id) => Some(Last {
                id,
                is_durable: field(row, 8)?,
                home: Home { system: field(row, 9)?, base: field(row, 11)? },
                timeline: field(row, 10)?,
                is_native: field(row, 12)?,
            }),
        };
        Ok(History {
            home: Home { system: field(row, 0)?, base: field(row, 2)? },
            timeline: field(row, 1)?,
            is_durable: field(row, 3)?,
            now: field::<i64>(row, 4)?.saturating_mul(1000),
            number: field(row, 5)?,
            has_stranger: field::<i64>(row, 6)? > 0,
            last,
        })
    }

    fn decide(&self, seen: Option<i64>) -> Decision {
        let goes_on = |last: &&Last| {
            last.is_native
                && last.home == self.home
                && last.timeline == self.timeline
                && last.is_durable
                && self.is_durable
                && !self.has_stranger
                && seen.is_none_or(|seen| last.id >= seen)
        };
        if let Some(last) = self.last.as_ref().filter(goes_on) {
            // Tokens that are not behind the clock are larger than all that were given out earlier.
            return Decision::Same { id: last.id, number: self.number.max(self.now.saturating_sub(last.id)) };
        }
        let above = |id: i64| id.saturating_add(ROOM);
        let last = self.last.as_ref().map_or(0, |last| above(last.id.saturating_add(self.number)));
        let id = self.now.max(last).max(seen.map_or(0, above));
        // A promoted standby may have lost the schema itself.
        let is_whole = self.last.is_none() && seen.is_none() && !self.has_stranger && self.timeline == FIRST_TIMELINE;
        Decision::New { id, is_whole }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: Home = Home { system: 7, base: 5 };
    const NOW: i64 = 1_800_000_000_000_000_000;

    fn history(last: Option<Last>) -> History {
        let timeline = FIRST_TIMELINE.to_string();
        History { home: HOME, timeline, is_durable: true, now: NOW, number: 40, has_stranger: false, last }
    }

    fn last() -> Last {
        let timeline = FIRST_TIMELINE.to_string();
        Last { id: NOW - 5_000_000_000_000, is_durable: true, home: HOME, timeline, is_native: true }
    }

    #[test]
    fn after_a_crash_the_same_era_goes_on() {
        let last = last();
        let goes_on = Decision::Same { id: last.id, number: 5_000_000_000_000 };
        assert_eq!(history(Some(last.clone())).decide(None), goes_on);
        assert_eq!(history(Some(last.clone())).decide(Some(last.id)), goes_on);
        // With a clock that was set back, numbers do not go back.
        let set_back = History { now: last.id - 7, ..history(Some(last.clone())) };
        assert_eq!(set_back.decide(None), Decision::Same { id: last.id, number: 40 });
    }

    #[test]
    fn whatever_may_have_lost_something_begins_an_era_that_counts_from_now() {
        let new = Decision::New { id: NOW, is_whole: false };
        let after = |change: fn(&mut History, &mut Last)| {
            let (mut history, mut last) = (history(None), last());
            change(&mut history, &mut last);
            History { last: Some(last), ..history }.decide(None)
        };
        assert_eq!(after(|history, _| history.timeline = "00000002".to_string()), new, "promoted");
        assert_eq!(after(|history, _| history.home.system = 8), new, "another server");
        assert_eq!(after(|history, _| history.home.base = 6), new, "another database");
        assert_eq!(after(|history, _| history.is_durable = false), new, "fsync is off");
        assert_eq!(after(|_, last| last.is_durable = false), new, "fsync was off");
        assert_eq!(after(|_, last| last.is_native = false), new, "restored");
        assert_eq!(after(|history, _| history.has_stranger = true), new, "a life that is not from here");
    }

    #[test]
    fn the_first_era_has_lost_nothing_unless_there_was_another_one() {
        assert_eq!(history(None).decide(None), Decision::New { id: NOW, is_whole: true });
        assert!(matches!(history(None).decide(Some(3)), Decision::New { is_whole: false, .. }));
        let promoted = History { timeline: "00000003".to_string(), ..history(None) };
        assert!(matches!(promoted.decide(None), Decision::New { is_whole: false, .. }));
    }

    #[test]
    fn an_era_is_above_all_that_was_given_out_before() {
        // The clock of a promoted standby is a quarter of an hour behind.
        let late = Last { id: NOW + 900_000_000_000, timeline: "00000002".to_string(), ..last() };
        let Decision::New { id, .. } = history(Some(late.clone())).decide(None) else { panic!("the same era") };
        assert_eq!(id, late.id + 40 + ROOM);
        let Decision::New { id, .. } = history(Some(last())).decide(Some(NOW + 7)) else { panic!("the same era") };
        assert_eq!(id, NOW + 7 + ROOM);
    }
}
