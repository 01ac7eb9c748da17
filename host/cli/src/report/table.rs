//! Tables on stdout: columns in line, and on a terminal cut to its width.

use std::fmt::Write;

use rustix::termios::tcgetwinsize;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::report::output::one_line;

/// What stands between two columns.
const GAP: &str = "  ";
/// A column that may be cut keeps this width, if it needs it, before the columns to its right find room.
const COMFORT: usize = 16;

/// A column.
pub(crate) struct Column {
    pub(crate) name: &'static str,
    /// True if its values may be cut: they are text of any length.
    pub(crate) may_be_cut: bool,
    /// True if its values are numbers.
    pub(crate) to_the_right: bool,
}

/// The size of a terminal that does not tell it.
const USUAL: (usize, usize) = (80, 24);

/// Returns the width and the height of the terminal that stdout is; none if it is no terminal.
pub(crate) fn size_of_stdout() -> Option<(usize, usize)> {
    let size = tcgetwinsize(std::io::stdout()).ok()?;
    let told = |told: u16, usual: usize| if told == 0 { usual } else { told.into() };
    Some((told(size.ws_col, USUAL.0), told(size.ws_row, USUAL.1)))
}

/// Returns the lines of a table: its heading, then its rows. With a width, no line is wider: columns at the right that
/// find no room are left out, and long values are cut.
pub(crate) fn lines<const COUNT: usize>(
    columns: &[Column; COUNT],
    rows: &[[String; COUNT]],
    width: Option<usize>,
) -> Vec<String> {
    let rows: Vec<[String; COUNT]> = rows.iter().map(|row| row.each_ref().map(one_line)).collect();
    let widest = |at: usize| rows.iter().map(|row| row[at].width()).chain([columns[at].name.len()]).max().unwrap_or(0);
    let mut widths: [usize; COUNT] = std::array::from_fn(widest);
    let shown = width.map_or(COUNT, |width| narrow(columns, &mut widths, width));
    let heading = columns.each_ref().map(|column| column.name.to_string());
    let line = |row: &[String; COUNT]| {
        let mut line = String::new();
        for (at, (value, column)) in row.iter().zip(columns).enumerate().take(shown) {
            let value = cut(value, widths[at]);
            let room = " ".repeat(widths[at].saturating_sub(value.width()));
            let gap = if at == 0 { "" } else { GAP };
            // Writing to a string does not fail.
            let _ = match column.to_the_right {
                true => write!(line, "{gap}{room}{value}"),
                false => write!(line, "{gap}{value}{room}"),
            };
        }
        let line = line.trim_end();
        width.map_or(line.to_string(), |width| cut(line, width))
    };
    std::iter::once(&heading).chain(&rows).map(line).collect()
}

/// Returns how many columns find room, and makes the widest of them narrower until all of those fit.
fn narrow<const COUNT: usize>(columns: &[Column; COUNT], widths: &mut [usize; COUNT], width: usize) -> usize {
    let total = |widths: &[usize]| widths.iter().sum::<usize>() + GAP.len() * widths.len().saturating_sub(1);
    let least = columns.each_ref().map(|column| if column.may_be_cut { COMFORT } else { usize::MAX });
    let needed: [usize; COUNT] = std::array::from_fn(|at| widths[at].min(least[at]));
    let shown = (1..=COUNT).rev().find(|shown| total(&needed[..*shown]) <= width).unwrap_or(1);
    while total(&widths[..shown]) > width {
        let cuttable = (0..shown).filter(|at| widths[*at] > needed[*at]);
        let Some(widest) = cuttable.max_by_key(|at| widths[*at]) else { break };
        widths[widest] -= 1;
    }
    shown
}

/// Shortens a text to a width.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_string();
    }
    let mut left = width.saturating_sub(1);
    let fits = |c: &char| {
        let wide = c.width().unwrap_or(0);
        let fits = wide <= left;
        left = left.saturating_sub(wide);
        fits
    };
    let mut cut: String = text.chars().take_while(fits).collect();
    if width > 0 {
        cut.push('…');
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 3] = [
        Column { name: "KEY", may_be_cut: true, to_the_right: false },
        Column { name: "N", may_be_cut: false, to_the_right: true },
        Column { name: "NOTE", may_be_cut: true, to_the_right: false },
    ];

    fn rows() -> Vec<[String; 3]> {
        [["report", "7", "for Ada"], ["a much longer key", "12345", ""], ["鍵", "1", "\x1b[2J and more of it"]]
            .map(|row| row.map(String::from))
            .into()
    }

    #[test]
    fn columns_stand_in_line_and_nothing_controls_the_terminal() {
        assert_eq!(
            lines(&COLUMNS, &rows(), None),
            [
                "KEY                    N  NOTE",
                "report                 7  for Ada",
                "a much longer key  12345",
                "鍵                     1  \\u{1b}[2J and more of it",
            ]
        );
    }

    #[test]
    fn what_does_not_fit_is_cut_and_the_widest_column_first() {
        let lines = lines(&COLUMNS, &rows(), Some(41));
        assert_eq!(lines[2], "a much longer k…  12345");
        assert_eq!(lines[3], "鍵                    1  \\u{1b}[2J and m…");
        let narrower = super::lines(&COLUMNS, &rows(), Some(40));
        assert_eq!(narrower[0], "KEY                    N", "the note finds no room");
        for width in [0, 1, 2, 9, 20, 40, 41, 80] {
            for line in super::lines(&COLUMNS, &rows(), Some(width)) {
                assert!(line.width() <= width, "{width}: {line:?}");
            }
        }
    }
}
