//! The table of a comparison.

use std::fmt;

use super::Results;
use crate::outcome::Outcome;

/// Medians over the rounds.
#[derive(Clone, Debug)]
pub struct Summary(Vec<Row>);

/// The figures of one target.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) cpu: Spread,
    /// Cost divided by that of the reference in the same round, and the reference's name.
    pub(crate) ratio: Option<(Spread, String)>,
    pub(crate) per_sec: Spread,
    pub(crate) p50: Spread,
    pub(crate) p99: Spread,
    pub(crate) rss_mib: Spread,
    /// What the scenario is about, and its unit; see [`Detail::figure`](crate::load::Detail::figure).
    pub(crate) figure: Option<(Spread, &'static str)>,
    pub(crate) failed: usize,
}

impl Row {
    /// The name of the reference.
    pub(crate) fn against(&self) -> Option<&str> {
        self.ratio.as_ref().map(|(_, against)| against.as_str())
    }
}

/// Median, minimum and maximum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Summary {
    /// Sums up `results`. Runs that failed take no part in the figures.
    pub fn of(results: &Results) -> Self {
        let outcomes = |name: &str| {
            results
                .targets
                .iter()
                .find(|(other, _)| other == name)
                .map(|(_, outcomes)| &outcomes[..])
        };
        let row = |(name, rounds): &(String, Vec<Outcome>)| {
            let spread = |figure: &dyn Fn(&Outcome) -> f64| Spread::of(rounds.iter().filter(|o| o.passed).map(figure).collect());
            let ratio = results.against.get(name).and_then(|against| {
                let pairs = rounds.iter().zip(outcomes(against)?).filter(|(a, b)| a.passed && b.passed);
                let ratios = pairs.filter_map(|(a, b)| Some(a.cost()? / b.cost()?)).collect();
                Some((Spread::of(ratios), against.clone()))
            });
            let figure = |o: &Outcome| o.detail.as_ref()?.figure();
            let figures = rounds.iter().filter(|o| o.passed).filter_map(figure);
            let unit = figures.clone().next().map(|(_, unit)| unit);
            Row {
                name: name.clone(),
                figure: unit.map(|unit| (Spread::of(figures.map(|(value, _)| value).collect()), unit)),
                cpu: spread(&|o| o.router_cpu_us.unwrap_or(f64::NAN)),
                ratio,
                per_sec: spread(&|o| o.per_sec),
                p50: spread(&|o| o.latency.p50_us),
                p99: spread(&|o| o.latency.p99_us),
                rss_mib: spread(&|o| o.routers.iter().map(|r| r.usage.rss_kib).sum::<u64>() as f64 / 1024.0),
                failed: rounds.iter().filter(|o| !o.passed).count(),
            }
        };
        Self(results.targets.iter().map(row).collect())
    }

    /// The targets, in the order of the file.
    pub(crate) fn rows(&self) -> &[Row] {
        &self.0
    }
}

impl Spread {
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let (Some(min), Some(max)) = (values.first(), values.last()) else {
            return Self {
                median: f64::NAN,
                min: f64::NAN,
                max: f64::NAN,
            };
        };
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            (values[middle - 1] + values[middle]) / 2.0
        };
        Self {
            median,
            min: *min,
            max: *max,
        }
    }

    pub(crate) fn digits(self, digits: usize) -> String {
        if self.median.is_nan() {
            return "–".to_owned();
        }
        format!("{:.digits$} ({:.digits$}–{:.digits$})", self.median, self.min, self.max)
    }
}

impl fmt::Display for Summary {
    /// As a Markdown table, ready for `docs/performance.md`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let with_figures = self.0.iter().any(|row| row.figure.is_some());
        let (title, line) = if with_figures { (" figure |", "---|") } else { ("", "") };
        writeln!(
            f,
            "| target | router CPU µs/op | ratio | op/s | p50 µs | p99 µs | RSS MiB |{title}"
        )?;
        write!(f, "|---|---|---|---|---|---|---|{line}")?;
        for row in &self.0 {
            let ratio = match &row.ratio {
                Some((ratio, against)) => format!("{} × {against}", ratio.digits(2)),
                None => String::new(),
            };
            let failed = if row.failed > 0 {
                format!(" **{} failed**", row.failed)
            } else {
                String::new()
            };
            let (cpu, per_sec) = (row.cpu.digits(2), row.per_sec.digits(0));
            let (p50, p99, rss) = (row.p50.digits(0), row.p99.digits(0), row.rss_mib.digits(1));
            write!(
                f,
                "\n| {}{failed} | {cpu} | {ratio} | {per_sec} | {p50} | {p99} | {rss} |",
                row.name
            )?;
            match &row.figure {
                Some((figure, unit)) => write!(f, " {} {unit} |", figure.digits(2))?,
                None if with_figures => write!(f, "  |")?,
                None => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        load::Latency,
        outcome::{Load, Router},
        usage::Usage,
    };

    fn outcome(cpu: f64, passed: bool) -> Outcome {
        let load = Load {
            scenario: "rpc".into(),
            urls: Vec::new(),
            serializer: None,
            senders: 1,
            receivers: 1,
            window: 1,
            payload: 64,
            rate: None,
        };
        Outcome {
            load,
            secs: 1.0,
            operations: 10,
            per_sec: 10.0,
            latency: Latency::default(),
            router_cpu_us: Some(cpu),
            routers: vec![Router {
                pid: 1,
                usage: Usage {
                    cpu_us: 0,
                    rss_kib: 1536,
                    pss_kib: 0,
                },
            }],
            client_cpu_us: 0.0,
            history: Default::default(),
            first_failure: None,
            trace: Default::default(),
            detail: None,
            passed,
        }
    }

    #[test]
    fn medians_and_ratios_are_taken_round_by_round_and_failed_runs_do_not_count() {
        let floor = [4.0, 8.0, 5.0].map(|cpu| outcome(cpu, true)).to_vec();
        let mut ours = [2.0, 6.0, 5.0].map(|cpu| outcome(cpu, true)).to_vec();
        ours.push(outcome(1000.0, false));
        let results = Results {
            targets: vec![("floor".into(), floor), ("ours".into(), ours)],
            against: [("ours".to_owned(), "floor".to_owned())].into(),
        };
        let text = Summary::of(&results).to_string();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[2].starts_with("| floor | 5.00 (4.00–8.00) |  |"), "{text}");
        assert!(
            lines[3].starts_with("| ours **1 failed** | 5.00 (2.00–6.00) | 0.75 (0.50–1.00) × floor |"),
            "{text}"
        );
        assert!(lines[3].ends_with("| 1.5 (1.5–1.5) |"), "{text}");
    }

    #[test]
    fn an_even_number_of_rounds_has_a_median_and_none_has_none() {
        assert_eq!(
            Spread::of(vec![4.0, 1.0, 2.0, 10.0]),
            Spread {
                median: 3.0,
                min: 1.0,
                max: 10.0
            }
        );
        assert_eq!(Spread::of(Vec::new()).digits(1), "–");
    }
}
