//! The picture: how long a hand-over takes, and what each process gets.

use std::path::Path;

use anyhow::{Context, Result};
use plotters::prelude::*;

use crate::report::Report;
use crate::spread::quantile;

const SIZE: (u32, u32) = (960, 400);

pub(crate) fn draw(report: &Report, svg: &Path) -> Result<()> {
    let hand_overs = report.hand_overs.as_ref().context("the results have no hand-overs: run `contended`")?;
    let root = SVGBackend::new(svg, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let machine = |what: &str| report.machine.get(what).cloned().unwrap_or_default();
    let on = format!("{}, {} cores, {}", machine("processor"), machine("cores"), machine("memcached"));
    let root = root.titled("Hand-over of one lock: 8 processes, 1 ms inside", ("sans-serif", 18))?;
    let (plots, foot) = root.split_vertically(SIZE.1 - 60);
    foot.draw_text(&on, &("sans-serif", 12).into_text_style(&foot), (10, 10))?;
    let (left, right) = plots.split_horizontally(SIZE.0 / 2);
    latency(&left, &hand_overs.latencies)?;
    shares(&right, &hand_overs.grants)?;
    root.present()?;
    Ok(())
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// The part of the hand-overs that took at most so long.
fn latency(area: &Area<'_>, sorted: &[f64]) -> Result<()> {
    let (least, most) = (quantile(sorted, 0.0).max(0.001), quantile(sorted, 1.0));
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .x_label_area_size(36)
        .y_label_area_size(44)
        .build_cartesian_2d((least..most).log_scale(), 0.0..100.0)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc("release to next grant, ms")
        .y_desc("% of hand-overs")
        .draw()?;
    let percent = |n: usize| 100.0 * n as f64 / sorted.len().saturating_sub(1) as f64;
    let curve = sorted.iter().enumerate().map(|(n, latency)| (latency.max(least), percent(n)));
    chart.draw_series(LineSeries::new(curve, BLUE.stroke_width(2)))?;
    Ok(())
}

/// The grants of each process, the unluckiest first.
fn shares(area: &Area<'_>, grants: &[u64]) -> Result<()> {
    let most = grants.iter().copied().max().unwrap_or(1);
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .x_label_area_size(36)
        .y_label_area_size(56)
        .build_cartesian_2d((1..grants.len()).into_segmented(), 0..most + most / 10)?;
    chart.configure_mesh().light_line_style(TRANSPARENT).disable_x_mesh().x_desc("process").y_desc("grants").draw()?;
    let bars = grants.iter().enumerate().map(|(place, grants)| (place + 1, *grants));
    chart.draw_series(Histogram::vertical(&chart).style(BLUE.mix(0.6).filled()).margin(6).data(bars))?;
    Ok(())
}
