//! Bar charts: a median with its minimum and maximum for each of several targets.

use std::fmt::Write as _;

use super::{
    page::escape,
    scale::{Kind, Scale, Unit},
};

/// Bars below each other, over one axis from zero.
pub(super) struct Bars<'a> {
    pub(super) title: &'a str,
    pub(super) unit: Unit,
    pub(super) bars: Vec<Bar<'a>>,
    /// A line at this value, for what the bars are measured by.
    pub(super) line: Option<f64>,
}

/// One target.
pub(super) struct Bar<'a> {
    pub(super) name: &'a str,
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
    /// In words behind the bar.
    pub(super) remark: String,
    pub(super) colour: usize,
}

const WIDTH: f64 = 640.0;
const LEFT: f64 = 8.0;
const RIGHT: f64 = 170.0;
/// Name and bar of one target.
const ROW: f64 = 40.0;
const TOP: f64 = 6.0;
const BOTTOM: f64 = 22.0;

impl Bars<'_> {
    /// The chart as a figure; empty if no target has the figure.
    pub(super) fn figure(&self) -> String {
        let bars: Vec<&Bar> = self.bars.iter().filter(|bar| bar.median.is_finite()).collect();
        if bars.is_empty() {
            return String::new();
        }
        let values = bars.iter().flat_map(|bar| [bar.median, bar.max]);
        let scale = Scale::over(Kind::FromZero, values.chain(self.line));
        let across = |value: f64| LEFT + scale.place(value) * (WIDTH - LEFT - RIGHT);
        let height = TOP + bars.len() as f64 * ROW + BOTTOM;
        let bottom = height - BOTTOM;
        let title = escape(self.title);
        let mut svg = format!(
            "<figure><figcaption>{title}</figcaption><svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\">"
        );
        // Writing to a string cannot fail, here and below.
        for tick in &scale.ticks {
            let (at, text) = (across(*tick), escape(&self.unit.show(*tick)));
            let anchor = if *tick == 0.0 { "start" } else { "middle" };
            write!(
                svg,
                "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>\
                 <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{text}</text>",
                bottom + 15.0
            )
            .ok();
        }
        // Drawn last, so that nothing crosses them.
        let mut values = String::new();
        for (row, bar) in bars.iter().enumerate() {
            let top = TOP + row as f64 * ROW;
            let (zero, median, min, max) = (across(0.0), across(bar.median), across(bar.min), across(bar.max));
            let (name, middle) = (escape(bar.name), top + 27.0);
            let tip = escape(&format!(
                "{}: {} ({} to {})",
                bar.name,
                self.unit.show(bar.median),
                self.unit.show(bar.min),
                self.unit.show(bar.max)
            ));
            let value = escape(&format!("{} {}", self.unit.show(bar.median), bar.remark));
            write!(
                svg,
                "<g><title>{tip}</title><text class=\"name\" x=\"{LEFT}\" y=\"{:.1}\">{name}</text>\
                 <rect x=\"{zero:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"14\" rx=\"3\" style=\"fill:var(--s{})\"/>\
                 <path class=\"whisker\" fill=\"none\" d=\"M{min:.1} {:.1}v8m0 -4H{max:.1}m0 -4v8\"/>\
                 </g>",
                top + 14.0,
                top + 20.0,
                (median - zero).max(1.0),
                bar.colour,
                middle - 4.0
            )
            .ok();
            write!(
                values,
                "<text class=\"name value\" x=\"{:.1}\" y=\"{:.1}\">{value}</text>",
                max.max(median) + 8.0,
                middle + 4.0
            )
            .ok();
        }
        if let Some(line) = self.line {
            let at = across(line);
            write!(
                svg,
                "<line class=\"one\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>"
            )
            .ok();
        }
        svg + &values + "</svg></figure>"
    }
}
