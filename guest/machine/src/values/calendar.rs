//! Unix time as people read it. It decides about no lock.

use crate::values::text::last_digits;

pub(crate) const NANOS_PER_MICRO: u64 = 1000;
const MICROS_PER_SECOND: u64 = 1_000_000;
const MICROS_PER_DAY: u64 = 86_400 * MICROS_PER_SECOND;
/// Days from 0000-03-01 to 1970-01-01 in the proleptic Gregorian calendar.
const EPOCH_FROM_MARCH_OF_YEAR_ZERO: u64 = 719_468;
/// Days in the 400 years after which the calendar repeats.
const DAYS_PER_CYCLE: u64 = 146_097;

/// Writes Unix nanoseconds as `2026-11-21T03:04:05.678901Z`, cut to microseconds.
pub(crate) fn unix(nanos: u64) -> [u8; 27] {
    let micros = nanos / NANOS_PER_MICRO;
    let (day, time) = (micros / MICROS_PER_DAY, micros % MICROS_PER_DAY);
    let seconds = time / MICROS_PER_SECOND;
    let (year, month, day) = civil_from_days(day);
    let mut moment = *b"0000-00-00T00:00:00.000000Z";
    moment[0..4].copy_from_slice(&last_digits::<4>(year));
    moment[5..7].copy_from_slice(&last_digits::<2>(month));
    moment[8..10].copy_from_slice(&last_digits::<2>(day));
    moment[11..13].copy_from_slice(&last_digits::<2>(seconds / 3600));
    moment[14..16].copy_from_slice(&last_digits::<2>(seconds / 60 % 60));
    moment[17..19].copy_from_slice(&last_digits::<2>(seconds % 60));
    moment[20..26].copy_from_slice(&last_digits::<6>(time % MICROS_PER_SECOND));
    moment
}

/// Reads what [`unix`] writes; none for anything else.
pub(crate) fn parse_unix(text: &str) -> Option<u64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let days = days_from_civil(number(0, 4)?, number(5, 7)?, number(8, 10)?)?;
    let seconds = number(11, 13)?.checked_mul(3600)?.checked_add(number(14, 16)?.checked_mul(60)?)?;
    let seconds = seconds.checked_add(number(17, 19)?)?;
    let micros = seconds.checked_mul(MICROS_PER_SECOND)?.checked_add(number(20, 26)?)?;
    let nanos = days.checked_mul(MICROS_PER_DAY)?.checked_add(micros)?.checked_mul(NANOS_PER_MICRO)?;
    // One spelling for one moment: we did not write a text that does not read back the same.
    (unix(nanos) == text.as_bytes()).then_some(nanos)
}

/// Returns year, month and day. The year begins in March here, so that the leap day is its last.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let days = days + EPOCH_FROM_MARCH_OF_YEAR_ZERO;
    let (cycle, day) = (days / DAYS_PER_CYCLE, days % DAYS_PER_CYCLE);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (cycle * 400 + year + carry, month, day)
}

fn days_from_civil(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || year < 1970 {
        return None;
    }
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (cycle, year) = (year / 400, year % 400);
    let day_of_cycle = year * 365 + year / 4 - year / 100 + (153 * month + 2) / 5 + day - 1;
    (cycle * DAYS_PER_CYCLE + day_of_cycle).checked_sub(EPOCH_FROM_MARCH_OF_YEAR_ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_moments_are_written_as_the_calendar_has_them() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_399, "2000-02-28T23:59:59.000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000000Z"),
            (1_795_230_245, "2026-11-21T03:04:05.000000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000Z"),
        ] {
            assert_eq!(unix(seconds * 1_000_000_000), text.as_bytes());
            assert_eq!(parse_unix(text), Some(seconds * 1_000_000_000));
        }
    }

    #[test]
    fn other_spellings_are_not_read() {
        for bad in [
            "",
            "2026-11-21",
            "2026-02-30T00:00:00.000000Z",
            "2026-11-21 03:04:05.000000Z",
            "+026-11-21T03:04:05.000000Z",
        ] {
            assert_eq!(parse_unix(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_moment_reads_back_to_the_microsecond(nanos in any::<u64>()) {
            let moment = unix(nanos);
            prop_assert_eq!(parse_unix(str::from_utf8(&moment).unwrap()), Some(nanos / 1000 * 1000));
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in ".{0,40}") {
            let _ = parse_unix(&text);
        }
    }
}
