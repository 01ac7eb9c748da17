//! The results as Markdown: all of them to be printed, those that count on the page on performance.

use std::fmt;

use anyhow::{Context, Result};

use super::{Figure, Goal, Group, Results};

/// Between these two lines the page has what the results say.
const BEGIN: &str = "<!-- written by `cargo xtask bench --page` -->\n";
const END: &str = "<!-- end of what is written -->\n";

/// Everything.
impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.groups.iter().try_for_each(|group| group.write(f, |_| true))?;
        writeln!(f, "{}", self.ran_on())?;
        write!(f, "{}", self.verdict())
    }
}

impl Results {
    /// Returns the page with these results in the place of others.
    pub(crate) fn put_into(&self, page: &str) -> Result<String> {
        let places = page.split_once(BEGIN).and_then(|(head, rest)| Some((head, rest.split_once(END)?.1)));
        let (head, tail) = places.with_context(|| format!("the page lacks the lines {BEGIN}{END}"))?;
        Ok(format!("{head}{BEGIN}{}{END}{tail}", OnPage(self)))
    }

    /// Which goals are met.
    fn verdict(&self) -> String {
        let judged = |met: bool| {
            let figures = self.groups.iter().flat_map(|group| group.figures.iter().map(move |figure| (group, figure)));
            figures.filter(move |(_, figure)| figure.is_met() == Some(met))
        };
        let (met, missed) = (judged(true).count(), judged(false).count());
        let names: Vec<_> = judged(false).map(|(group, figure)| format!("{}: {}", group.name, figure.name)).collect();
        let list = if missed == 0 { ".".into() } else { format!("; missed are {}.", names.join("; ")) };
        format!("{met} of {} goals are met{list}\n", met + missed)
    }
}

struct OnPage<'a>(&'a Results);

impl fmt::Display for OnPage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OnPage(results) = self;
        writeln!(f, "Measured on {}. {}", results.ran_on(), results.verdict())?;
        results.groups.iter().try_for_each(|group| group.write(f, |figure| !figure.aside))
    }
}

impl Group {
    fn write(&self, f: &mut fmt::Formatter<'_>, which: impl Fn(&Figure) -> bool) -> fmt::Result {
        let Group { name, about, figures } = self;
        writeln!(f, "**{name}.** {about}\n")?;
        writeln!(f, "| figure | median (p10 to p90) | ratio | goal | |")?;
        writeln!(f, "|---|---|---|---|---|")?;
        figures.iter().filter(|figure| which(figure)).try_for_each(|figure| writeln!(f, "{figure}"))?;
        writeln!(f)
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figure { name, unit, value, .. } = self;
        let spread =
            if value.samples > 1 { format!(" ({} to {})", short(value.p10), short(value.p90)) } else { String::new() };
        let ratio = self.against.as_ref().map(|against| format!("{:.2} x {}", against.ratio.median, against.what));
        let goal = self.goal.map(|goal| goal.to_string());
        let met = self.is_met().map_or("", |met| if met { "met" } else { "**missed**" });
        let (ratio, goal) = (ratio.unwrap_or_default(), goal.unwrap_or_default());
        write!(f, "| {name} | {} {unit}{spread} | {ratio} | {goal} | {met} |", short(value.median))
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Goal::AtMost(limit) => write!(f, "<= {}", plain(*limit)),
            Goal::AtLeast(limit) => write!(f, ">= {}", plain(*limit)),
        }
    }
}

/// A limit has as many digits as somebody gave it.
fn plain(limit: f64) -> String {
    if limit >= 1000.0 { thousands(limit as u64) } else { limit.to_string() }
}

/// Three digits or so.
fn short(value: f64) -> String {
    match value {
        1000.0.. => thousands(value.round() as u64),
        100.0.. => format!("{value:.0}"),
        _ if value.fract() == 0.0 => value.to_string(),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// `1,234,567`
pub(crate) fn thousands(value: u64) -> String {
    let (rest, last) = (value / 1000, value % 1000);
    if rest == 0 { value.to_string() } else { format!("{},{last:03}", thousands(rest)) }
}

#[cfg(test)]
mod tests {
    use super::super::Spread;
    use super::*;

    fn results(name: &str, ratio: f64) -> Results {
        let mut results = Results::new([("cores".into(), "2".into())].into(), true);
        let group = results.group("pairs", "What it costs.");
        let ratio = Spread::exactly(ratio);
        group.add(Figure::new(name, Spread::exactly(12_345.6), "µs").against("socket", ratio).goal(Goal::AtMost(1.1)));
        group.add(Figure::new("detail", Spread::exactly(0.5), "µs").aside());
        results
    }

    #[test]
    fn the_page_has_what_counts_and_what_was_missed_and_keeps_the_rest() {
        let page = results("kvlock", 1.2).put_into(&format!("before\n{BEGIN}old\n{END}after\n")).unwrap();
        assert!(page.starts_with("before\n") && page.ends_with("after\n") && !page.contains("old"));
        assert!(page.contains("| kvlock | 12,346 µs | 1.20 x socket | <= 1.1 | **missed** |"), "{page}");
        assert!(page.contains("0 of 1 goals are met; missed are pairs: kvlock.") && !page.contains("detail"), "{page}");
        assert_eq!(results("kvlock", 1.2).put_into(&page).unwrap(), page);
        assert!(results("kvlock", 1.0).put_into(&page).unwrap().contains("1 of 1 goals are met."));
    }

    #[test]
    fn what_is_printed_has_the_details_too() {
        assert!(results("kvlock", 1.0).to_string().contains("| detail | 0.500 µs |"));
    }

    #[test]
    fn a_page_without_the_place_is_refused() {
        assert!(results("kvlock", 1.0).put_into("nothing").is_err());
    }
}
