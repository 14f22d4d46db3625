//! Counters, in the text form that Prometheus reads.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// The content type of [`Metrics::text`].
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How a request ended. Both labels come from closed sets, so clients cannot make new ones.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    operation: &'static str,
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfOperation {
    operation: &'static str,
}

/// What is counted.
pub(super) struct Metrics {
    registry: Registry,
    requests: Family<Outcome, Counter>,
    durations: Family<OfOperation, Histogram>,
    in_flight: Gauge,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let mut registry = Registry::with_prefix("kmsfs_kms");
        // From 64 microseconds to two seconds.
        let durations = Family::new_with_constructor(
            (|| Histogram::new(exponential_buckets(0.000_064, 2.0, 16))) as fn() -> Histogram,
        );
        let (requests, in_flight) = (Family::default(), Gauge::default());
        registry.register("requests", "Requests by operation and outcome", requests.clone());
        registry.register_with_unit(
            "request_duration",
            "Time from the head of a request to its answer",
            Unit::Seconds,
            durations.clone(),
        );
        registry.register("requests_in_flight", "Requests under way", in_flight.clone());
        Self { registry, requests, durations, in_flight }
    }

    /// Counts a request as under way until the guard is dropped.
    pub(super) fn begin(&self) -> InFlight<'_> {
        self.in_flight.inc();
        InFlight(self)
    }

    /// Counts a request that ended. `code` is `OK` or that of the refusal.
    pub(super) fn count(&self, operation: &'static str, code: &'static str, took: Duration) {
        self.requests.get_or_create(&Outcome { operation, code }).inc();
        self.durations.get_or_create(&OfOperation { operation }).observe(took.as_secs_f64());
    }

    /// Everything, as text.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a string has no way to fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// A request that is under way.
pub(super) struct InFlight<'a>(&'a Metrics);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_outcome() {
        let metrics = Metrics::new();
        metrics.count("Encrypt", "OK", Duration::from_micros(100));
        metrics.count("Encrypt", "OK", Duration::from_micros(100));
        metrics.count("Encrypt", "DisabledException", Duration::from_micros(100));
        let guard = metrics.begin();
        let text = metrics.text();
        for line in [
            "kmsfs_kms_requests_total{operation=\"Encrypt\",code=\"OK\"} 2",
            "kmsfs_kms_requests_total{operation=\"Encrypt\",code=\"DisabledException\"} 1",
            "kmsfs_kms_request_duration_seconds_count{operation=\"Encrypt\"} 3",
            "kmsfs_kms_requests_in_flight 1",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
        drop(guard);
        assert!(metrics.text().contains("kmsfs_kms_requests_in_flight 0"));
    }
}
