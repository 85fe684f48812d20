//! Writes single metrics in OpenMetrics format, for the collectors in [`super::scrape`].
//!
//! Must not know any metric.

use std::fmt::Error;

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeMetric, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::cell::Reading;

/// The output of a scrape.
pub(super) struct Page<'a>(pub DescriptorEncoder<'a>);

impl Page<'_> {
    /// A counter without labels.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) -> Result<(), Error> {
        let encoder = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(value).encode(encoder)
    }

    /// A counter with one value for each set of labels.
    pub fn counters<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, u64)>,
    ) -> Result<(), Error> {
        let encoder = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        each(encoder, values, |encoder, value| ConstCounter::new(value).encode(encoder))
    }

    /// A gauge without labels.
    pub fn gauge(&mut self, name: &str, help: &str, value: f64) -> Result<(), Error> {
        let encoder = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(value).encode(encoder)
    }

    /// A gauge with one value for each set of labels.
    pub fn gauges<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, u64)>,
    ) -> Result<(), Error> {
        let encoder = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        // As a float: whole numbers of gauges are signed in this format.
        each(encoder, values, |encoder, value| ConstGauge::new(value as f64).encode(encoder))
    }

    /// A histogram without labels.
    pub fn histogram(&mut self, name: &str, help: &str, reading: &Reading) -> Result<(), Error> {
        let encoder = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        encode(encoder, reading)
    }

    /// A histogram for each set of labels.
    pub fn histograms<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        readings: impl IntoIterator<Item = (L, Reading)>,
    ) -> Result<(), Error> {
        let encoder = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        each(encoder, readings, |encoder, reading| encode(encoder, &reading))
    }
}

fn each<L: EncodeLabelSet, V>(
    mut encoder: MetricEncoder<'_>,
    values: impl IntoIterator<Item = (L, V)>,
    encode: impl Fn(MetricEncoder<'_>, V) -> Result<(), Error>,
) -> Result<(), Error> {
    for (labels, value) in values {
        encode(encoder.encode_family(&labels)?, value)?;
    }
    Ok(())
}

fn encode(mut encoder: MetricEncoder<'_>, reading: &Reading) -> Result<(), Error> {
    let sum_s = reading.sum_us as f64 / 1e6;
    encoder.encode_histogram::<NoLabelSet>(sum_s, reading.count(), &reading.by_seconds(), None)
}
