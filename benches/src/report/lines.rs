//! Line plots.

use std::fmt::Write as _;

use super::{
    page::escape,
    scale::{Kind, Scale, Unit},
};

/// A plot of one or several lines over the same axes.
pub(super) struct Lines<'a> {
    pub(super) title: &'a str,
    pub(super) x: (Kind, Unit),
    pub(super) y: (Kind, Unit),
    pub(super) lines: Vec<Line>,
    /// Places on the x axis where something happened.
    pub(super) marks: Vec<(f64, &'a str)>,
}

/// One line.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
    pub(super) look: Look,
}

/// How a line is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// In the colour of this number.
    Plain(usize),
    /// The same, dashed: not measured but concluded.
    Dashed(usize),
}

/// Colours there are.
pub(super) const COLOURS: usize = 5;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 230.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 24.0;

/// Points that still tell their value when pointed at; more would be too close to hit.
const HITS_MAX: usize = 240;

impl Lines<'_> {
    /// The plot as a figure; empty if there is nothing to draw.
    pub(super) fn figure(&self) -> String {
        let points = || self.lines.iter().flat_map(|line| line.points.iter().copied()).filter(finite);
        if points().next().is_none() {
            return String::new();
        }
        let marks = self.marks.iter().map(|(at, _)| *at);
        let x = Scale::over(self.x.0, points().map(|p| p.0).chain(marks));
        let y = Scale::over(self.y.0, points().map(|p| p.1));
        let title = escape(self.title);
        let mut svg = format!("<figure><figcaption>{title}{}</figcaption>", self.keys());
        // Writing to a string cannot fail.
        write!(
            svg,
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">"
        )
        .ok();
        self.axes(&mut svg, &x, &y);
        let fill = self.lines.len() == 1 && self.y.0 != Kind::Log;
        for line in &self.lines {
            self.line(&mut svg, line, &x, &y, fill);
        }
        for (at, text) in &self.marks {
            let at = across(x.place(*at));
            let anchor = if at > WIDTH * 0.75 { "end" } else { "start" };
            let beside = if anchor == "end" { at - 4.0 } else { at + 4.0 };
            write!(
                svg,
                "<line class=\"mark\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{:.1}\"/>\
                 <text class=\"marked\" x=\"{beside:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
                HEIGHT - BOTTOM,
                TOP + 9.0,
                escape(text)
            )
            .ok();
        }
        svg + "</svg></figure>"
    }

    fn keys(&self) -> String {
        if self.lines.len() < 2 {
            return String::new();
        }
        let key = |line: &Line| {
            let colour = line.look.colour();
            format!(
                "<span class=\"key\"><i style=\"background:var(--s{colour})\"></i>{}</span>",
                escape(&line.name)
            )
        };
        self.lines
            .iter()
            .filter(|line| matches!(line.look, Look::Plain(_)))
            .map(key)
            .collect()
    }

    fn axes(&self, svg: &mut String, x: &Scale, y: &Scale) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for tick in &y.ticks {
            let at = down(y.place(*tick));
            let text = escape(&self.y.1.show(*tick));
            write!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
                LEFT - 7.0,
                at + 3.5
            )
            .ok();
        }
        let mut free_from = f64::NEG_INFINITY;
        for tick in &x.ticks {
            let at = across(x.place(*tick));
            let text = self.x.1.show(*tick);
            // Labels that would touch are left out.
            let half = text.chars().count() as f64 * 3.2;
            if at - half < free_from {
                continue;
            }
            free_from = at + half + 8.0;
            let at = at.min(right - half + RIGHT);
            write!(
                svg,
                "<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                bottom + 16.0,
                escape(&text)
            )
            .ok();
        }
        write!(
            svg,
            "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{bottom}\" y2=\"{bottom}\"/>"
        )
        .ok();
    }

    fn line(&self, svg: &mut String, line: &Line, x: &Scale, y: &Scale, fill: bool) {
        let places: Vec<(f64, f64)> = line
            .points
            .iter()
            .filter(|point| finite(point))
            .map(|(px, py)| (across(x.place(*px)), down(y.place(*py))))
            .collect();
        let (Some(first), Some(last)) = (places.first(), places.last()) else {
            return;
        };
        let mut path = String::new();
        for (index, (px, py)) in places.iter().enumerate() {
            write!(path, "{}{px:.1} {py:.1}", if index == 0 { 'M' } else { 'L' }).ok();
        }
        let colour = line.look.colour();
        if fill {
            let bottom = HEIGHT - BOTTOM;
            write!(
                svg,
                "<path class=\"area\" style=\"fill:var(--s{colour})\" d=\"{path}L{:.1} {bottom}L{:.1} {bottom}Z\"/>",
                last.0, first.0
            )
            .ok();
        }
        let dash = if matches!(line.look, Look::Dashed(_)) { " dash" } else { "" };
        write!(
            svg,
            "<path class=\"line{dash}\" style=\"stroke:var(--s{colour})\" d=\"{path}\"/>"
        )
        .ok();
        let single = places.len() == 1;
        if places.len() > HITS_MAX || matches!(line.look, Look::Dashed(_)) {
            return;
        }
        for ((px, py), (vx, vy)) in places.iter().zip(line.points.iter().filter(|point| finite(point))) {
            let name = if self.lines.len() > 1 {
                format!("{}: ", line.name)
            } else {
                String::new()
            };
            let text = escape(&format!("{name}{} at {}", self.y.1.show(*vy), self.x.1.show(*vx)));
            let look = if single {
                format!("r=\"3.5\" style=\"fill:var(--s{colour})\"")
            } else {
                "class=\"hit\" r=\"6\"".to_owned()
            };
            write!(
                svg,
                "<circle {look} cx=\"{px:.1}\" cy=\"{py:.1}\"><title>{text}</title></circle>"
            )
            .ok();
        }
    }
}

impl Look {
    fn colour(self) -> usize {
        match self {
            Look::Plain(number) | Look::Dashed(number) => number % COLOURS,
        }
    }
}

impl Line {
    pub(super) fn plain(name: impl Into<String>, colour: usize, points: Vec<(f64, f64)>) -> Self {
        Self {
            name: name.into(),
            points,
            look: Look::Plain(colour),
        }
    }
}

fn finite(point: &(f64, f64)) -> bool {
    point.0.is_finite() && point.1.is_finite()
}

fn across(place: f64) -> f64 {
    LEFT + place * (WIDTH - LEFT - RIGHT)
}

fn down(place: f64) -> f64 {
    HEIGHT - BOTTOM - place * (HEIGHT - TOP - BOTTOM)
}
