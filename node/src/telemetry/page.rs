//! One answer to a scrape: what was read for it, as Prometheus text.

use std::{borrow::Cow, fmt::Write as _};

use metrics::{Key, KeyName, Level, Metadata, Recorder as _, SharedString};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};

use super::metric::{Kind, Metric};

/// Values that were read just now. A recorder of its own, so that what is gone since the last time, such as a node that left, is gone.
pub struct Page {
    recorder: PrometheusRecorder,
    /// Counters that are no whole numbers, which the facade does not know.
    fractions: String,
}

impl Default for Page {
    fn default() -> Self {
        Self {
            recorder: PrometheusBuilder::new().build_recorder(),
            fractions: String::new(),
        }
    }
}

impl Page {
    /// Sets the value of a counter or gauge; `labels` are the values of its labels, in their order.
    pub fn set(&mut self, metric: &Metric, labels: &[&str], value: u64) {
        let key = key(metric, labels.iter().map(|label| SharedString::from((*label).to_owned())));
        self.describe(metric);
        match metric.kind {
            Kind::Counter => self.recorder.register_counter(&key, &METADATA).absolute(value),
            // Exact below 2^53, which nothing here comes near.
            Kind::Gauge | Kind::Histogram(_) => self.recorder.register_gauge(&key, &METADATA).set(value as f64),
        }
    }

    /// Sets a value that need not be a whole number. A counter has no labels then.
    pub fn set_f64(&mut self, metric: &Metric, labels: &[&str], value: f64) {
        if metric.kind == Kind::Counter {
            // Writing to a text does not fail.
            let _ = write!(
                self.fractions,
                "# HELP {name} {help}\n# TYPE {name} counter\n{name} {value}\n\n",
                name = metric.name,
                help = metric.help
            );
            return;
        }
        let key = key(metric, labels.iter().map(|label| SharedString::from((*label).to_owned())));
        self.describe(metric);
        self.recorder.register_gauge(&key, &METADATA).set(value);
    }

    fn describe(&self, metric: &Metric) {
        describe(&self.recorder, metric);
    }

    /// The text, in the format that Prometheus calls 0.0.4.
    pub fn render(self) -> String {
        let mut text = self.recorder.handle().render();
        text.push_str(&self.fractions);
        text
    }
}

pub(super) const METADATA: Metadata<'static> = Metadata::new("ringfort", Level::INFO, None);

/// The facade's name of a series.
pub(super) fn key(metric: &Metric, values: impl Iterator<Item = SharedString>) -> Key {
    let labels = metric.labels.iter().zip(values);
    let labels: Vec<_> = labels.map(|(label, value)| metrics::Label::new(label.name, value)).collect();
    Key::from_parts(name(metric), labels)
}

fn name(metric: &Metric) -> KeyName {
    match &metric.name {
        Cow::Borrowed(name) => KeyName::from_const_str(name),
        Cow::Owned(name) => KeyName::from(name.clone()),
    }
}

pub(super) fn describe(recorder: &PrometheusRecorder, metric: &Metric) {
    let help = SharedString::from(metric.help.clone().into_owned());
    match metric.kind {
        Kind::Counter => recorder.describe_counter(name(metric), None, help),
        Kind::Gauge => recorder.describe_gauge(name(metric), None, help),
        Kind::Histogram(_) => recorder.describe_histogram(name(metric), None, help),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::names;

    #[test]
    fn a_page_has_what_was_set_for_it_and_nothing_else() {
        let mut page = Page::default();
        page.set(&names::LINK_QUEUED, &["n2"], 7);
        page.set(&names::LINK_FRAMES, &["n2", "out"], 3);
        page.set(&names::LINK_FRAMES, &["a \"quoted\" name", "in"], 4);
        page.set_f64(&names::LINK_RTT, &["n2"], 0.25);
        page.set_f64(&names::CPU, &[], 1.5);
        let text = page.render();
        for line in [
            "# TYPE ringfort_link_queued_bytes gauge",
            "ringfort_link_queued_bytes{peer=\"n2\"} 7",
            "# TYPE ringfort_link_frames_total counter",
            "ringfort_link_frames_total{peer=\"n2\",direction=\"out\"} 3",
            "ringfort_link_frames_total{peer=\"a \\\"quoted\\\" name\",direction=\"in\"} 4",
            "ringfort_link_rtt_seconds{peer=\"n2\"} 0.25",
            "# HELP process_cpu_seconds_total Processor time used, user and system.",
            "# TYPE process_cpu_seconds_total counter",
            "process_cpu_seconds_total 1.5",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert_eq!(text.lines().filter(|line| line.starts_with("# TYPE")).count(), 4);
        assert_eq!(Page::default().render(), "", "the next page begins anew");
    }
}
