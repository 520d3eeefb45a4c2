//! From values to places, and the marks beside an axis.

/// How values are laid out along an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    /// Evenly, from zero.
    FromZero,
    /// Evenly, from zero to the very last value: time, which has nothing to show behind it.
    Time,
    /// Evenly, from a round value below the smallest, so that small changes show.
    Near,
    /// By magnitude.
    Log,
    /// Shares of 1, by their distance from 1: 90 %, 99 %, 99.9 % are equally far apart.
    Nines,
}

/// An axis with its marks.
#[derive(Clone, Debug)]
pub(super) struct Scale {
    kind: Kind,
    /// In the axis' own measure: logarithms where it is logarithmic.
    low: f64,
    high: f64,
    /// Where the marks are, as values.
    pub(super) ticks: Vec<f64>,
}

/// Where a share of 1 is drawn: one decade beyond what the others reach at most.
const NINES_MAX: f64 = 9.0;

impl Scale {
    /// An axis that holds all of `values`; some axis when there are none.
    pub(super) fn over(kind: Kind, values: impl Iterator<Item = f64>) -> Self {
        let measures: Vec<f64> = values.map(|value| measure(kind, value)).filter(|v| v.is_finite()).collect();
        let low = measures.iter().copied().reduce(f64::min).unwrap_or(0.0);
        let high = measures.iter().copied().reduce(f64::max).unwrap_or(1.0);
        match kind {
            Kind::FromZero => Self::even(kind, low.min(0.0), high),
            Kind::Time => {
                let mut scale = Self::even(kind, 0.0, high);
                if high > 0.0 {
                    scale.high = high;
                    scale.ticks.retain(|tick| *tick <= high);
                }
                scale
            }
            Kind::Near => {
                let room = (high - low).max(high.abs() * 0.02) * 0.1;
                Self::even(kind, (low - room).max(low.min(0.0)), high + room)
            }
            Kind::Log => Self::decades(low, high),
            Kind::Nines => Self::nines(low, high),
        }
    }

    /// The place of `value`, 0 to 1.
    pub(super) fn place(&self, value: f64) -> f64 {
        let place = (measure(self.kind, value) - self.low) / (self.high - self.low);
        if place.is_finite() { place.clamp(0.0, 1.0) } else { 0.0 }
    }

    fn even(kind: Kind, low: f64, high: f64) -> Self {
        let span = if high > low { high - low } else { high.abs().max(1.0) };
        let rough = span / 4.0;
        let magnitude = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0].map(|m| m * magnitude);
        let step = step.into_iter().find(|step| *step >= rough).unwrap_or(rough);
        let first = (low / step).floor();
        let last = ((low + span) / step).ceil();
        let count = (last - first).clamp(1.0, 12.0) as u32;
        Self {
            kind,
            low: first * step,
            high: (first + f64::from(count)) * step,
            ticks: (0..=count).map(|index| (first + f64::from(index)) * step).collect(),
        }
    }

    fn decades(low: f64, high: f64) -> Self {
        let (low, high) = (low.floor(), high.ceil().max(low.floor() + 1.0));
        let fine: &[f64] = if high - low > 2.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let count = (high - low).min(20.0) as i32;
        let mut ticks: Vec<f64> = (0..count)
            .flat_map(|decade| fine.iter().map(move |m| m * 10f64.powf(low + f64::from(decade))))
            .collect();
        ticks.push(10f64.powf(high));
        Self {
            kind: Kind::Log,
            low,
            high,
            ticks,
        }
    }

    fn nines(low: f64, high: f64) -> Self {
        let known = [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999999, 0.9999999];
        let high = high.max(low + 1.0);
        Self {
            kind: Kind::Nines,
            low,
            high,
            ticks: known
                .into_iter()
                .filter(|share| measure(Kind::Nines, *share) <= high)
                .collect(),
        }
    }
}

fn measure(kind: Kind, value: f64) -> f64 {
    match kind {
        Kind::FromZero | Kind::Time | Kind::Near => value,
        Kind::Log => value.max(1e-9).log10(),
        Kind::Nines => -(1.0 - value).max(10f64.powf(-NINES_MAX)).log10(),
    }
}

/// How the values of an axis read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Unit {
    /// A number, with k and M for large ones.
    Count,
    /// Microseconds, shown in the unit that reads best.
    Micros,
    /// CPU microseconds per operation.
    MicrosPer,
    /// Seconds, shown as minutes or hours where there are many.
    Seconds,
    /// MiB.
    Mib,
    /// A share of 1, as percent.
    Share,
    /// A ratio.
    Ratio,
}

impl Unit {
    /// `value` in words.
    pub(super) fn show(self, value: f64) -> String {
        if !value.is_finite() {
            return "–".to_owned();
        }
        match self {
            Unit::Count => count(value),
            Unit::Micros => match value.abs() {
                v if v >= 1e6 => format!("{} s", digits(value / 1e6)),
                v if v >= 1e3 => format!("{} ms", digits(value / 1e3)),
                _ => format!("{} µs", digits(value)),
            },
            Unit::MicrosPer => format!("{} µs", digits(value)),
            Unit::Seconds => match value.abs() {
                v if v >= 7200.0 => format!("{} h", digits(value / 3600.0)),
                v if v >= 180.0 => format!("{} min", digits(value / 60.0)),
                _ => format!("{} s", digits(value)),
            },
            Unit::Mib => format!("{} MiB", digits(value)),
            Unit::Share if value >= 1.0 => "100 %".to_owned(),
            Unit::Share => format!("{} %", trimmed(value * 100.0, 5)),
            Unit::Ratio => format!("{}×", digits(value)),
        }
    }
}

fn count(value: f64) -> String {
    match value.abs() {
        v if v >= 1e6 => format!("{} M", digits(value / 1e6)),
        v if v >= 1e4 => format!("{} k", digits(value / 1e3)),
        _ => digits(value),
    }
}

/// Three digits that count, no zeros behind them.
fn digits(value: f64) -> String {
    let places = match value.abs() {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 1.0 || v == 0.0 => 2,
        _ => 3,
    };
    trimmed(value, places)
}

fn trimmed(value: f64, places: usize) -> String {
    let text = format!("{value:.places$}");
    if !text.contains('.') {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_axis_holds_its_values_and_has_some_marks() {
        let cases: [(Kind, &[f64]); 12] = [
            (Kind::Time, &[0.3, 12.05]),
            (Kind::Time, &[0.0]),
            (Kind::FromZero, &[3.0, 144_631.0]),
            (Kind::FromZero, &[0.0]),
            (Kind::FromZero, &[]),
            (Kind::FromZero, &[-5.0, 7.0]),
            (Kind::Near, &[57_540.0, 59_820.0]),
            (Kind::Near, &[100.0, 100.0]),
            (Kind::Log, &[30.0, 428_081.0]),
            (Kind::Log, &[0.0]),
            (Kind::Nines, &[0.0, 0.5, 0.9999, 1.0]),
            (Kind::Near, &[f64::NAN, f64::INFINITY]),
        ];
        for (kind, values) in cases {
            let scale = Scale::over(kind, values.iter().copied());
            assert!(
                (2..=40).contains(&scale.ticks.len()),
                "{kind:?} {values:?}: {:?}",
                scale.ticks
            );
            assert!(scale.high > scale.low, "{scale:?}");
            for value in values.iter().copied().filter(|v| v.is_finite()) {
                let inside = measure(kind, value);
                assert!(scale.low <= inside && inside <= scale.high, "{value} {scale:?}");
            }
            let places: Vec<f64> = scale.ticks.iter().map(|tick| scale.place(*tick)).collect();
            assert!(places.windows(2).all(|w| w[0] < w[1]), "{places:?}");
        }
    }

    #[test]
    fn an_axis_from_zero_begins_there_and_ends_at_a_round_value() {
        let scale = Scale::over(Kind::FromZero, [12.0, 87.0].into_iter());
        assert_eq!(scale.ticks, [0.0, 25.0, 50.0, 75.0, 100.0]);
        assert_eq!((scale.place(0.0), scale.place(50.0), scale.place(f64::NAN)), (0.0, 0.5, 0.0));
    }

    #[test]
    fn values_read_well() {
        let shown = [
            Unit::Count.show(9_999.0),
            Unit::Count.show(145_200.0),
            Unit::Count.show(2_500_000.0),
            Unit::Seconds.show(0.25),
            Unit::Seconds.show(600.0),
            Unit::Seconds.show(9000.0),
            Unit::Mib.show(41.02),
            Unit::Micros.show(100_000.0),
            Unit::Share.show(0.999),
            Unit::Share.show(1.0),
            Unit::MicrosPer.show(3.731),
            Unit::Ratio.show(0.75),
            Unit::Count.show(f64::NAN),
        ];
        let read = [
            "9999", "145 k", "2.5 M", "0.25 s", "10 min", "2.5 h", "41 MiB", "100 ms", "99.9 %", "100 %", "3.73 µs", "0.75×", "–",
        ];
        assert_eq!(shown, read);
    }
}
