//! What many runs came to: counts, reasons, and latencies by rank.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::quantity::show_duration;
use crate::report::{Outcome, RunReport, StepOutcome};
use crate::runner::Order;

const RANKS: [(&str, f64); 5] = [("min", 0.0), ("p50", 50.0), ("p95", 95.0), ("p99", 99.0), ("max", 100.0)];

/// One table per journey and variant. Latencies are of what passed.
pub fn summary(runs: &[(Order, RunReport)]) -> String {
    let mut keys: Vec<String> = Vec::new();
    for (_, report) in runs {
        let key = report.key.to_string();
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    let mut out = String::new();
    for key in keys {
        let of_key: Vec<&RunReport> = runs.iter().map(|(_, r)| r).filter(|r| r.key.to_string() == key).collect();
        let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
        for report in &of_key {
            match &report.outcome {
                Outcome::Passed => {}
                Outcome::Failed(reason) => *reasons.entry(reason.to_string()).or_default() += 1,
                Outcome::Errored(fault) => *reasons.entry(format!("errored: {fault}")).or_default() += 1,
            }
        }
        let passed = of_key.iter().filter(|r| r.outcome == Outcome::Passed).count();
        let mut line = format!("{key}: {} runs, {passed} passed", of_key.len());
        for (reason, count) in reasons {
            let _ = write!(line, ", {count} {reason}");
        }
        let _ = writeln!(out, "{line}");
        let passed_runs = || of_key.iter().filter(|r| r.outcome == Outcome::Passed);
        let mut rows = vec![("run".to_owned(), passed_runs().map(|r| r.duration).collect::<Vec<_>>())];
        for step in of_key.first().map(|r| &r.steps).into_iter().flatten() {
            let of_step = of_key.iter().flat_map(|r| &r.steps).filter(|s| s.id == step.id);
            let passed = of_step.filter(|s| s.outcome == StepOutcome::Passed);
            rows.push((step.id.to_string(), passed.filter_map(|s| s.exchange.as_ref()).map(|e| e.duration).collect()));
        }
        let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let head: String = RANKS.iter().map(|(name, _)| format!("{name:>10}")).collect();
        let _ = writeln!(out, "  {:<width$}{head}", "");
        for (name, mut durations) in rows {
            durations.sort();
            let cells: String = RANKS
                .iter()
                .map(|(_, rank)| format!("{:>10}", at_rank(&durations, *rank).map_or("-".to_owned(), show_duration)))
                .collect();
            let _ = writeln!(out, "  {name:<width$}{cells}");
        }
    }
    out
}

/// The nearest-rank percentile: the smallest value that at least so many percent are no larger than.
fn at_rank(sorted: &[Duration], percent: f64) -> Option<Duration> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a rank within a list"
    )]
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let values: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        for (percent, millis) in [(0.0, 1), (50.0, 100), (95.0, 190), (99.0, 198), (100.0, 200)] {
            assert_eq!(at_rank(&values, percent), Some(Duration::from_millis(millis)), "{percent}");
        }
        assert_eq!(at_rank(&values[..1], 99.0), Some(Duration::from_millis(1)));
        assert_eq!(at_rank(&[], 50.0), None);
    }
}
