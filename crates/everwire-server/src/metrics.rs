//! `/metrics`: what runs, in the text form of OpenMetrics. Everything is read when it is asked for; nothing is counted
//! here. No label ever holds a channel, a user or an address: its values come from our own tables.

mod families;
mod process;

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use self::families::{Family, Samples};
use crate::site::Site;

/// The type of the text.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics of a server.
pub(crate) fn render(site: &Arc<Site>) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(All(site.clone())));
    let mut out = String::with_capacity(16 * 1024);
    text::encode(&mut out, &registry)?;
    Ok(out)
}

#[derive(Debug)]
struct All(Arc<Site>);

impl Collector for All {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let process = process::families();
        for family in families::of(&self.0).into_iter().chain(process) {
            write(&mut encoder, &family)?;
        }
        Ok(())
    }
}

fn write(encoder: &mut DescriptorEncoder<'_>, family: &Family) -> fmt::Result {
    let kind = match &family.samples {
        Samples::Counter(_) => MetricType::Counter,
        Samples::Gauge(_) => MetricType::Gauge,
        Samples::Histogram { .. } => MetricType::Histogram,
        Samples::Info(_) => MetricType::Info,
    };
    let mut metric = encoder.encode_descriptor(family.name, family.help, None, kind)?;
    match &family.samples {
        Samples::Counter(all) => {
            for (label, value) in all {
                match label {
                    Some(label) => {
                        metric
                            .encode_family(&std::slice::from_ref(label))?
                            .encode_counter::<NoLabelSet, _, f64>(value, None)?;
                    }
                    None => metric.encode_counter::<NoLabelSet, _, f64>(value, None)?,
                }
            }
            Ok(())
        }
        Samples::Gauge(value) => metric.encode_gauge(value),
        Samples::Histogram { sum, buckets } => {
            let count = buckets.iter().map(|(_, count)| count).sum();
            metric.encode_histogram::<NoLabelSet>(*sum, count, buckets, None)
        }
        Samples::Info(labels) => metric.encode_info(&labels.as_slice()),
    }
}
