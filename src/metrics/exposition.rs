//! The text that Prometheus reads: 0.0.4 and OpenMetrics 1.0 from one writer, so that both show the same
//! series. Bucket bounds are written as floats (`le="1.0"`) in both, since OpenMetrics demands it and a
//! scraper that changes its mind about the format must not see new series.

use std::collections::HashMap;
use std::fmt::Write as _;

use prometheus::proto::{LabelPair, MetricFamily, MetricType};

use crate::metrics::series::Exemplar;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Text,
    OpenMetrics,
}

impl Format {
    /// OpenMetrics if the client lists it with a weight, else the text that everybody reads.
    pub fn negotiate(accept: &str) -> Self {
        let wants = accept.split(',').any(|range| {
            let mut parts = range.split(';').map(str::trim);
            let openmetrics = parts.next() == Some("application/openmetrics-text");
            let mut refused = false;
            let mut known = true;
            for parameter in parts {
                match parameter.split_once('=') {
                    Some(("q", q)) => refused = q.parse::<f32>().is_ok_and(|q| q <= 0.0),
                    Some(("version", v)) => known = matches!(v, "1.0.0" | "0.0.1"),
                    _ => {}
                }
            }
            openmetrics && known && !refused
        });
        if wants { Self::OpenMetrics } else { Self::Text }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The exemplars of a scrape.
#[derive(Default)]
pub struct Exemplars(HashMap<String, Vec<(u8, Exemplar)>>);

impl Exemplars {
    pub fn add_buckets(&mut self, family: &str, labels: &[(&str, &str)], buckets: &[(u8, Exemplar)]) {
        if !buckets.is_empty() {
            self.0.insert(key(family, labels.iter().copied()), buckets.to_vec());
        }
    }

    fn of(&self, family: &str, labels: &[LabelPair]) -> Option<&[(u8, Exemplar)]> {
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&key(family, labels.iter().map(|l| (l.name(), l.value())))).map(Vec::as_slice)
    }
}

// Label values cannot hold the separator: ids and closed words only.
fn key<'a>(family: &str, labels: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut pairs: Vec<(&str, &str)> = labels.collect();
    pairs.sort_unstable();
    pairs.iter().fold(family.to_owned(), |mut out, (name, value)| {
        let _ = write!(out, "\u{1f}{name}\u{1e}{value}");
        out
    })
}

/// A text under way, family by family.
pub struct Exposition {
    text: String,
    format: Format,
}

impl Exposition {
    pub fn new(format: Format) -> Self {
        Self { text: String::with_capacity(64 << 10), format }
    }

    pub fn add(&mut self, family: &MetricFamily, exemplars: &Exemplars) {
        if !family.get_metric().is_empty() {
            write_family(&mut self.text, family, exemplars, self.format);
        }
    }

    pub fn finish(mut self) -> Vec<u8> {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text.into_bytes()
    }
}

fn write_family(out: &mut String, family: &MetricFamily, exemplars: &Exemplars, format: Format) {
    let name = family.name();
    let kind = family.get_field_type();
    let word = match kind {
        MetricType::COUNTER => "counter",
        MetricType::HISTOGRAM => "histogram",
        _ => "gauge",
    };
    // OpenMetrics names a counter's family without the suffix of its samples.
    let family_name = match (format, kind) {
        (Format::OpenMetrics, MetricType::COUNTER) => name.strip_suffix("_total").unwrap_or(name),
        _ => name,
    };
    let help = family.help().replace('\\', "\\\\").replace('\n', "\\n");
    let _ = writeln!(out, "# HELP {family_name} {help}\n# TYPE {family_name} {word}");
    for metric in family.get_metric() {
        let labels = metric.get_label();
        let exemplar = exemplars.of(name, labels);
        match kind {
            MetricType::HISTOGRAM => {
                let histogram = metric.get_histogram();
                let bounds = histogram.get_bucket().iter().map(|b| (Some(b.upper_bound()), b.cumulative_count()));
                for (index, (bound, count)) in bounds.chain([(None, histogram.get_sample_count())]).enumerate() {
                    let le = bound.map_or_else(|| "+Inf".to_owned(), |b| format!("{b:?}"));
                    write_name(out, name, "_bucket", labels, Some(&le));
                    let _ = write!(out, " {count}");
                    let found =
                        |list: &[(u8, Exemplar)]| list.iter().find(|(b, _)| usize::from(*b) == index).map(|(_, e)| *e);
                    write_exemplar(out, exemplar.and_then(found));
                }
                write_name(out, name, "_sum", labels, None);
                let _ = writeln!(out, " {}", number(histogram.get_sample_sum()));
                write_name(out, name, "_count", labels, None);
                let _ = writeln!(out, " {}", histogram.get_sample_count());
            }
            MetricType::COUNTER => {
                write_name(out, name, "", labels, None);
                let _ = write!(out, " {}", number(metric.get_counter().get_value()));
                write_exemplar(out, exemplar.and_then(|list| list.first()).map(|(_, e)| *e));
            }
            _ => {
                write_name(out, name, "", labels, None);
                let _ = writeln!(out, " {}", number(metric.get_gauge().get_value()));
            }
        }
    }
}

fn write_name(out: &mut String, name: &str, suffix: &str, labels: &[LabelPair], le: Option<&str>) {
    out.push_str(name);
    out.push_str(suffix);
    let mut open = false;
    let pairs = labels.iter().map(|l| (l.name(), l.value())).chain(le.map(|le| ("le", le)));
    for (name, value) in pairs {
        out.push(if open { ',' } else { '{' });
        open = true;
        out.push_str(name);
        out.push_str("=\"");
        for c in value.chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                '"' => out.push_str("\\\""),
                '\n' => out.push_str("\\n"),
                other => out.push(other),
            }
        }
        out.push('"');
    }
    if open {
        out.push('}');
    }
}

/// Ends the line, after the exemplar if there is one.
fn write_exemplar(out: &mut String, exemplar: Option<Exemplar>) {
    if let Some(Exemplar { trace_id, value, at }) = exemplar {
        let _ = write!(out, " # {{trace_id=\"{trace_id:032x}\"}} {} {:.3}", number(value), at.as_secs_f64());
    }
    out.push('\n');
}

fn number(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    format!("{value}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_follows_the_accept_header() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.8,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for (accept, want) in [
            (prometheus, Format::OpenMetrics),
            ("", Format::Text),
            ("*/*", Format::Text),
            ("text/plain", Format::Text),
            ("application/openmetrics-text; version=1.0.0; q=0", Format::Text),
            ("application/openmetrics-text; version=2.0.0", Format::Text),
            ("text/html, application/openmetrics-text", Format::OpenMetrics),
        ] {
            assert_eq!(Format::negotiate(accept), want, "{accept}");
        }
    }
}
