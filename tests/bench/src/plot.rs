//! The picture: how long a hand-over takes, and what each process gets.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use plotters::prelude::*;

use crate::results::{HandOvers, Results};

const SIZE: (u32, u32) = (960, 400);
const PAPER: RGBColor = RGBColor(0xff, 0xff, 0xff);
const INK: RGBColor = RGBColor(0x1f, 0x23, 0x28);
const GRID: RGBColor = RGBColor(0xd1, 0xd9, 0xe0);
/// One for each who fought; they can be told apart, by the colour-blind too, on light paper and on dark.
const COLOURS: [RGBColor; 3] = [RGBColor(0x2f, 0x81, 0xf7), RGBColor(0xdb, 0x6d, 0x28), RGBColor(0x8b, 0x94, 0x9e)];
/// Whoever reads in the dark gets dark paper. The attributes that a style overrules are those that plotters writes.
const DARK: &str = r##"<style>
text { font-family: system-ui, sans-serif; }
@media (prefers-color-scheme: dark) {
[fill="#FFFFFF"] { fill: #0d1117; }
[fill="#1F2328"] { fill: #e6edf3; }
[stroke="#1F2328"] { stroke: #e6edf3; }
[stroke="#D1D9E0"] { stroke: #30363d; }
}
</style>
"##;

pub(crate) fn draw(results: &Results, svg: &Path) -> Result<()> {
    ensure!(!results.hand_overs.is_empty(), "the results have no hand-overs: run `contended`");
    let mut picture = String::new();
    paint(results, &mut picture)?;
    let head = picture.find("<rect").context("the paper comes first")?;
    picture.insert_str(head, DARK);
    fs::write(svg, picture).with_context(|| format!("writing {}", svg.display()))
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn paint(results: &Results, picture: &mut String) -> Result<()> {
    let root = SVGBackend::with_string(picture, SIZE).into_drawing_area();
    root.fill(&PAPER)?;
    let root = root.titled("One lock, 8 processes, each 1 ms inside", text(18))?;
    let (plots, foot) = root.split_vertically(SIZE.1 - 60);
    foot.draw_text(&results.ran_on(), &text(12).into_text_style(&foot), (14, 6))?;
    let (left, right) = plots.split_horizontally(SIZE.0 / 2);
    latency(&left, &results.hand_overs)?;
    shares(&right, &results.hand_overs)?;
    root.present()?;
    Ok(())
}

fn text(size: u32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&INK)
}

/// The part of the hand-overs that took at most so long.
fn latency(area: &Area<'_>, hand_overs: &[HandOvers]) -> Result<()> {
    let all = || hand_overs.iter().flat_map(|hand_overs| &hand_overs.latencies).copied();
    let least = all().fold(f64::MAX, f64::min).max(0.001);
    let most = all().fold(least * 10.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(48)
        .build_cartesian_2d((least..most).log_scale(), 0.0..100.0)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK)
        .label_style(text(12))
        .axis_desc_style(text(13))
        .x_desc("release to next grant, of another, ms")
        .y_desc("% of hand-overs within")
        .x_label_formatter(&|latency| format!("{latency}"))
        .y_label_formatter(&|percent| format!("{percent:.0}"))
        .draw()?;
    for (HandOvers { latencies, .. }, colour) in hand_overs.iter().zip(COLOURS) {
        let percent = |n: usize| 100.0 * n as f64 / latencies.len().saturating_sub(1) as f64;
        let curve = latencies.iter().enumerate().map(|(n, latency)| (latency.max(least), percent(n)));
        chart.draw_series(LineSeries::new(curve, colour.stroke_width(2)))?;
    }
    Ok(())
}

/// What part of the grants each process had, the unluckiest first.
fn shares(area: &Area<'_>, hand_overs: &[HandOvers]) -> Result<()> {
    let percents = |grants: &[u64]| {
        let sum = grants.iter().sum::<u64>().max(1) as f64;
        grants.iter().map(|grants| 100.0 * *grants as f64 / sum).collect::<Vec<_>>()
    };
    let processes = hand_overs.iter().map(|hand_overs| hand_overs.grants.len()).max().unwrap_or(1);
    let most = hand_overs.iter().flat_map(|hand_overs| percents(&hand_overs.grants)).fold(1.0, f64::max) * 1.1;
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(48)
        .build_cartesian_2d(0.5..processes as f64 + 0.5, 0.0..most)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK)
        .label_style(text(12))
        .axis_desc_style(text(13))
        .disable_x_mesh()
        .x_labels(processes)
        .x_label_formatter(&|place| format!("{place:.0}"))
        .y_label_formatter(&|percent| format!("{percent:.0}"))
        .x_desc("process, the unluckiest first")
        .y_desc("% of grants")
        .draw()?;
    for (HandOvers { who, grants, .. }, colour) in hand_overs.iter().zip(COLOURS) {
        let points: Vec<_> = percents(grants).into_iter().enumerate().map(|(n, part)| ((n + 1) as f64, part)).collect();
        let line = LineSeries::new(points, colour.stroke_width(2)).point_size(4);
        let legend = move |(x, y)| Rectangle::new([(x, y - 4), (x + 14, y + 4)], colour.filled());
        chart.draw_series(line)?.label(who).legend(legend);
    }
    let legend = &mut chart.configure_series_labels();
    legend.position(SeriesLabelPosition::UpperLeft).label_font(text(13)).background_style(PAPER).draw()?;
    Ok(())
}
