//! The text that a scrape gets: the counters, and what was read for it.

use super::Metrics;
use super::labels::{self, LabelValues};
use prometheus::proto::{Metric, MetricFamily};
use prometheus::{CounterVec, GaugeVec, Opts, Registry, TextEncoder};
use std::collections::HashSet;

/// Names that labels may have: a series of a listener, site or upstream that a reload has taken away stops with it, and
/// goes on where it stopped should it come back.
#[derive(Debug, Default)]
pub struct NamesInForce {
    pub listeners: HashSet<String>,
    pub sites: HashSet<String>,
    pub upstreams: HashSet<String>,
}

impl NamesInForce {
    fn have(&self, metric: &Metric) -> bool {
        metric.get_label().iter().all(|label| {
            let names = match label.name() {
                "listener" => &self.listeners,
                "site" => &self.sites,
                "upstream" => &self.upstreams,
                _ => return true,
            };
            label.value().is_empty() || names.contains(label.value())
        })
    }
}

/// LabelValues that are read for one scrape.
#[derive(Default)]
pub struct MetricsPage {
    registry: Registry,
}

/// A family of values on a page.
pub struct PageFamily(Option<GaugeVec>);

/// A family of values that only grow.
pub struct PageCounters(Option<CounterVec>);

impl MetricsPage {
    /// Without values it is not on the page. The name is one of its own.
    pub fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> PageFamily {
        let family = GaugeVec::new(Opts::new(name, help), &labels::names(labels)).ok();
        PageFamily(family.filter(|family| self.registry.register(Box::new(family.clone())).is_ok()))
    }

    /// A single value, where it is known.
    pub fn gauge(&self, name: &str, help: &str, value: Option<f64>) {
        if let Some(value) = value {
            self.gauges(name, help, &[]).set(&[], value);
        }
    }

    /// Values that only grow.
    pub fn counters(&self, name: &str, help: &str, labels: &[&str]) -> PageCounters {
        let family = CounterVec::new(Opts::new(name, help), &labels::names(labels)).ok();
        PageCounters(family.filter(|family| self.registry.register(Box::new(family.clone())).is_ok()))
    }

    /// A single one.
    pub fn counter(&self, name: &str, help: &str, value: f64) {
        self.counters(name, help, &[]).set(&[], value);
    }

    /// The text, by name; of the counters, what belongs to names that are in force.
    pub fn text(&self, metrics: &Metrics, names: &NamesInForce) -> String {
        let mut families: Vec<MetricFamily> = metrics.registry.gather();
        for family in &mut families {
            family.mut_metric().retain(|metric| names.have(metric));
        }
        families.extend(self.registry.gather());
        families.retain(|family| !family.get_metric().is_empty());
        for family in &mut families {
            family.mut_metric().iter_mut().for_each(labels::take_separators_out);
        }
        families.sort_by(|one, other| one.name().cmp(other.name()));
        // Writing to a text cannot fail, and there are no empty families.
        TextEncoder::new().encode_to_string(&families).unwrap_or_default()
    }
}

impl PageFamily {
    /// Of these labels, in the order of the family's.
    pub fn set(&self, labels: &[&str], value: f64) {
        let gauge = self
            .0
            .as_ref()
            .and_then(|family| family.get_metric_with_label_values(LabelValues::new(labels).as_slice()).ok());
        if let Some(gauge) = gauge {
            gauge.set(value);
        }
    }
}

impl PageCounters {
    /// Of these labels, in the order of the family's; once each.
    pub fn set(&self, labels: &[&str], value: f64) {
        let values = LabelValues::new(labels);
        let counter =
            self.0.as_ref().and_then(|family| family.get_metric_with_label_values(values.as_slice()).ok());
        if let Some(counter) = counter {
            counter.inc_by(value.max(0.0));
        }
    }
}
