//! Rules for Prometheus from objectives: `journeyd export rules`. Pure.
//!
//! What is shipped in `deploy/prometheus` fits every journey by looking at `journeyd_slo_objective_ratio`. These fit
//! each journey to its own schedule and window: the short windows hold three runs, the factors follow the window.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::ids::JourneyKey;
use crate::journey::Journey;
use crate::journey::model::Slo;
use crate::journey::rule::{BurnWindow, Objective, burn_windows};
use crate::quantity::show_duration;

/// What is computed at every evaluation; longer windows less often.
const MANY_HOURS: Duration = Duration::from_secs(6 * 3600);

/// One objective of a journey or variant.
struct Target<'a> {
    journey: &'a Journey,
    key: &'a JourneyKey,
    objective: Objective,
    ratio: f64,
    window: Duration,
}

/// How often something with a cron line is taken to run: its next runs say.
fn interval(journey: &Journey, runs: &[crate::clock::Timestamp]) -> Duration {
    match &journey.schedule {
        crate::timetable::Timetable::Every(every) => *every,
        crate::timetable::Timetable::Cron(_) => {
            let gaps = runs.windows(2).map(|pair| pair[1].since(pair[0]));
            gaps.min().unwrap_or(Duration::from_secs(86_400))
        }
    }
}

fn targets<'a>(journeys: &'a [Arc<Journey>]) -> impl Iterator<Item = Target<'a>> {
    journeys.iter().filter(|j| j.enabled).flat_map(|journey| {
        let Slo { objective, window, latency } =
            journey.slo.unwrap_or(Slo { objective: None, window: crate::journey::model::SLO_WINDOW, latency: None });
        let kinds = [Some(Objective::Availability), latency.map(|_| Objective::Latency)];
        journey.plans.iter().flat_map(move |plan| {
            kinds.into_iter().flatten().filter_map(move |kind| {
                Some(Target { journey, key: &plan.key, objective: kind, ratio: objective?, window })
            })
        })
    })
}

impl Target<'_> {
    fn selector(&self) -> String {
        format!("journey=\"{}\",variant=\"{}\"", self.key.journey, self.key.variant_label())
    }

    /// Bad runs and all that count, over `range`. By job: two daemons of different jobs are not one.
    fn queries(&self, sum: &str, range: &str) -> (String, String) {
        let of = |metric: &str| format!("{sum}(increase({metric}{{{}}}[{range}]))", self.selector());
        let (runs, failed) = (of("journeyd_journey_runs_total"), of("journeyd_journey_run_failures_total"));
        match self.objective {
            Objective::Availability => (failed, runs),
            Objective::Latency => (of("journeyd_journey_degraded_runs_total"), format!("({runs} - {failed})")),
        }
    }

    /// Ids hold no slash, so no two groups have one name.
    fn group(&self) -> String {
        format!("journeyd-slo/{}/{}", self.key, self.objective.as_str())
    }

    /// `checkout-guest-availability`: Sloth's names take no slash.
    fn name(&self) -> String {
        let variant = self.key.variant.as_ref().map(|v| format!("-{v}")).unwrap_or_default();
        format!("{}{variant}-{}", self.key.journey, self.objective.as_str())
    }

    /// No label is empty: to Prometheus such a one is none, and Sloth refuses it.
    fn labels(&self) -> Json {
        let mut labels = json!({ "journey": self.key.journey, "slo": self.objective.as_str() });
        if let Some(variant) = &self.key.variant {
            labels["variant"] = json!(variant);
        }
        labels
    }

    fn ratio_name(range: Duration) -> String {
        format!("journeyd_slo:errors_per_run:ratio_increase{}", range_of(range))
    }

    fn record(&self, range: Duration) -> Json {
        let (bad, all) = self.queries("sum by (job) ", &range_of(range));
        json!({ "record": Self::ratio_name(range), "expr": format!("{bad} / ({all} > 0)"), "labels": self.labels() })
    }

    /// Above `factor` in both windows, and three bad runs, so that one alone never does it (they come out as a little
    /// more or less than whole numbers).
    fn burns(&self, window: &BurnWindow) -> String {
        let most = trimmed(window.factor * (1.0 - self.ratio));
        let over = |range| {
            let labels = format!("{},slo=\"{}\"", self.selector(), self.objective.as_str());
            format!("{}{{{labels}}} > {most}", Self::ratio_name(range))
        };
        let (bad, _) = self.queries("sum by (job) ", &range_of(window.long));
        format!("({} and {} and on (job) {bad} > 2.5)", over(window.long), over(window.short))
    }

    fn alert(&self, fast: bool, windows: &[BurnWindow], runbooks: &str) -> Json {
        let (name, severity) = if fast {
            ("JourneydErrorBudgetBurnFast", self.journey.severity.as_str())
        } else {
            ("JourneydErrorBudgetBurnSlow", "warning")
        };
        let mut labels = self.labels();
        labels["severity"] = json!(severity);
        labels["journeyd"] = json!("journey");
        let expr: Vec<String> = windows.iter().map(|window| self.burns(window)).collect();
        json!({
            "alert": name,
            "expr": expr.join(" or "),
            "labels": labels,
            "annotations": {
                "summary": format!("The error budget of {} is burning {}.", self.key, if fast { "fast" } else { "steadily" }),
                "description": format!(
                    "{{{{ $value | humanizePercentage }}}} of its runs miss the {} objective of {} % over {}.",
                    self.objective.as_str(),
                    trimmed(self.ratio * 100.0),
                    in_days(self.window)
                ),
                "runbook_url": self.runbook(runbooks, name),
            },
        })
    }

    fn runbook(&self, runbooks: &str, alert: &str) -> String {
        self.journey.runbook.clone().unwrap_or_else(|| format!("{runbooks}#{}", alert.to_lowercase()))
    }
}

/// Without the noise of binary fractions.
fn trimmed(value: f64) -> String {
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn in_days(duration: Duration) -> String {
    match duration.as_secs() {
        s if s % 86_400 == 0 => format!("{}d", s / 86_400),
        _ => show_duration(duration),
    }
}

/// As PromQL writes it.
fn range_of(duration: Duration) -> String {
    let secs = duration.as_secs().max(1);
    match secs {
        s if s % 86_400 == 0 => format!("{}d", s / 86_400),
        s if s % 3600 == 0 => format!("{}h", s / 3600),
        s if s % 60 == 0 => format!("{}m", s / 60),
        s => format!("{s}s"),
    }
}

/// What came of an export.
pub struct Exported {
    pub documents: Vec<Json>,
    /// What people should know of it.
    pub notes: Vec<String>,
    /// Objectives that there are.
    pub targets: usize,
}

/// Recording and alert rules for each objective, as Prometheus reads them.
pub fn prometheus(journeys: &[Arc<Journey>], now: crate::clock::Timestamp, runbooks: &str) -> Exported {
    let (mut groups, mut notes, mut targets_seen) = (Vec::new(), Vec::new(), 0);
    for target in targets(journeys) {
        let Some(plan) = target.journey.plans.iter().find(|plan| plan.key == *target.key) else { continue };
        let every = interval(target.journey, &crate::journey::link::next_runs(target.journey, plan, now, 20));
        targets_seen += 1;
        let of = |fast| {
            let mut windows = burn_windows(fast, target.window, every);
            // What runs too rarely for an hour to say something has `down`, and the windows of days.
            windows.retain(|w| w.short * 2 <= w.long);
            windows
        };
        let (fast, slow) = (of(true), of(false));
        if fast.is_empty() && slow.is_empty() {
            notes.push(format!(
                "{} ({}) gets no rule: it runs too rarely for a burn rate over days; its rule `down` tells of every failure",
                target.key,
                target.objective.as_str()
            ));
        }
        // Each is recorded once, whoever looks at it.
        let mut ranges: Vec<Duration> = fast.iter().chain(&slow).flat_map(|w| [w.short, w.long]).collect();
        ranges.sort_unstable();
        ranges.dedup();
        let (short, long): (Vec<Duration>, Vec<Duration>) = ranges.into_iter().partition(|range| *range <= MANY_HOURS);
        for (name, ranges, is_fast, windows) in [("short", short, true, &fast), ("long", long, false, &slow)] {
            let mut rules: Vec<Json> = ranges.into_iter().map(|range| target.record(range)).collect();
            if !windows.is_empty() {
                rules.push(target.alert(is_fast, windows, runbooks));
            }
            if rules.is_empty() {
                continue;
            }
            let mut group = json!({ "name": format!("{}/{name}", target.group()) });
            if !is_fast {
                // Windows of days are slow to compute and slow to change.
                group["interval"] = json!("5m");
            }
            group["rules"] = json!(rules);
            groups.push(group);
        }
    }
    Exported { documents: vec![json!({ "groups": groups })], notes, targets: targets_seen }
}

/// The same objectives as Sloth's `prometheus/v1` takes them, one document for each journey.
pub fn sloth(journeys: &[Arc<Journey>], runbooks: &str) -> Exported {
    let mut documents: Vec<(String, Json)> = Vec::new();
    let (mut notes, mut count) = (Vec::new(), 0);
    for target in targets(journeys) {
        if count == 0 {
            notes.push(
                "Sloth's alerts know no least number of failures: at few runs an hour one failed run may page".into(),
            );
        }
        count += 1;
        let (bad, all) = target.queries("sum", "{{.window}}");
        if target.window != crate::journey::model::SLO_WINDOW {
            let (key, window) = (target.key, in_days(target.window));
            notes.push(format!(
                "{key} has a window of {window}: give it to Sloth with --default-slo-period, it is not in the file"
            ));
        }
        let slo = json!({
            "name": target.name(),
            "objective": trimmed(target.ratio * 100.0).parse::<f64>().unwrap_or(0.0),
            "description": target.journey.title,
            "labels": target.labels(),
            "sli": { "events": { "error_query": bad, "total_query": all } },
            "alerting": {
                "name": "JourneydErrorBudgetBurn",
                "labels": { "journeyd": "journey" },
                "annotations": {
                    "summary": format!("The error budget of {} is burning.", target.key),
                    "runbook_url": target.runbook(runbooks, "JourneydErrorBudgetBurnFast"),
                },
                "page_alert": { "labels": { "severity": target.journey.severity.as_str() } },
                "ticket_alert": { "labels": { "severity": "warning" } },
            },
        });
        let service = target.key.journey.to_string();
        if documents.last().is_none_or(|(known, _)| *known != service) {
            let mut document = json!({ "version": "prometheus/v1", "service": service });
            if let Some(owner) = &target.journey.owner {
                document["labels"] = json!({ "owner": owner });
            }
            document["slos"] = json!([]);
            documents.push((service, document));
        }
        if let Some(slos) = documents.last_mut().and_then(|(_, document)| document["slos"].as_array_mut()) {
            slos.push(slo);
        }
    }
    Exported { documents: documents.into_iter().map(|(_, document)| document).collect(), notes, targets: count }
}

/// YAML of what is made here: maps, lists, strings, numbers. Strings stand in double quotes, as JSON writes them,
/// which YAML 1.2 reads alike.
pub fn yaml(value: &Json) -> String {
    let mut out = String::new();
    write_yaml(&mut out, value, 0);
    out
}

fn write_yaml(out: &mut String, value: &Json, depth: usize) {
    let pad = "  ".repeat(depth);
    match value {
        Json::Object(map) => {
            for (key, value) in map {
                let _ = write!(out, "{pad}{key}:");
                nested(out, value, depth + 1);
            }
        }
        Json::Array(list) => {
            for item in list {
                let mut inner = String::new();
                write_yaml(&mut inner, item, depth + 1);
                // The item's first line begins where the dash leaves off.
                let first = format!("{pad}- {}", inner.trim_start());
                out.push_str(&first);
            }
        }
        other => {
            let _ = writeln!(out, "{pad}{other}");
        }
    }
}

fn nested(out: &mut String, value: &Json, depth: usize) {
    match value {
        Json::Object(map) if map.is_empty() => out.push_str(" {}\n"),
        Json::Array(list) if list.is_empty() => out.push_str(" []\n"),
        Json::Object(_) | Json::Array(_) => {
            out.push('\n');
            write_yaml(out, value, depth);
        }
        other => {
            let _ = writeln!(out, " {other}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::metrics::tests::journey;

    fn export(text: &str) -> Exported {
        prometheus(&[journey("shop", text)], Timestamp::from_secs(1_700_000_000), "https://r")
    }

    fn rules(text: &str) -> String {
        yaml(&export(text).documents[0])
    }

    const STEP: &str = "[[steps]]\nid = \"s\"\nrequest = \"GET /\"\n";

    #[test]
    fn windows_follow_the_schedule_and_factors_the_objectives_window() {
        let text = |every: &str, window: &str| {
            rules(&format!(
                "base_url = \"http://h\"\nschedule = {{ every = \"{every}\" }}\n[slo]\nobjective = 99.9\nwindow = \"{window}\"\n{STEP}"
            ))
        };
        let over = |range: &str, most: &str| {
            format!(
                "journeyd_slo:errors_per_run:ratio_increase{range}{{journey=\\\"shop\\\",variant=\\\"\\\",slo=\\\"availability\\\"}} > {most} "
            )
        };
        let has = |text: &str, wanted: &[(&str, &str)]| {
            for (range, most) in wanted {
                assert!(text.contains(&over(range, most)), "{range} {most}\n{text}");
            }
        };
        // 14.4 times one in a thousand.
        has(
            &text("1m", "30d"),
            &[("1h", "0.0144"), ("5m", "0.0144"), ("6h", "0.006"), ("30m", "0.006"), ("1d", "0.003"), ("3d", "0.001")],
        );
        // Every ten minutes, five minutes hold no run: three runs take half an hour.
        has(&text("10m", "30d"), &[("1h", "0.0144"), ("30m", "0.0144")]);
        // Once an hour, only days say something.
        let hourly = text("1h", "30d");
        has(&hourly, &[("6h", "0.006"), ("3h", "0.006"), ("1d", "0.003")]);
        assert!(!hourly.contains(&over("1h", "0.0144")), "{hourly}");
        // Over a week, two percent in an hour are 3.36 times too fast; below what lasts nobody is told anything.
        has(&text("1m", "7d"), &[("1h", "0.00336"), ("6h", "0.0014"), ("1d", "0.001"), ("3d", "0.001")]);
        let day = text("1m", "1d");
        has(&day, &[("1d", "0.001")]);
        assert!(!day.contains("JourneydErrorBudgetBurnFast"), "{day}");
    }

    #[test]
    fn what_gets_no_rule_is_said() {
        assert_eq!(rules(&format!("base_url = \"http://h\"\n{STEP}")), "groups: []\n");
        let weekly = format!(
            "base_url = \"http://h\"\nschedule = {{ cron = \"0 3 * * Sun\" }}\n[slo]\nobjective = 99\nwindow = \"90d\"\n{STEP}"
        );
        let exported = export(&weekly);
        assert!(exported.notes[0].starts_with("shop (availability) gets no rule"), "{:?}", exported.notes);
    }

    #[test]
    fn a_latency_objective_counts_slow_runs_of_those_that_passed() {
        let j = journey(
            "shop",
            &format!(
                "base_url = \"http://h\"\nowner = \"team\"\n[slo]\nobjective = 99.9\nlatency = \"2s\"\n[[variants]]\nid = \"guest\"\n{STEP}"
            ),
        );
        let made = sloth(&[j], "https://r").documents;
        assert_eq!((made.len(), &made[0]["labels"]["owner"]), (1, &json!("team")));
        let slo = &made[0]["slos"][1];
        assert_eq!(slo["name"], "shop-guest-latency");
        assert_eq!(slo["objective"], 99.9);
        let query = slo["sli"]["events"]["error_query"].as_str().unwrap();
        assert_eq!(
            query,
            "sum(increase(journeyd_journey_degraded_runs_total{journey=\"shop\",variant=\"guest\"}[{{.window}}]))"
        );
    }

    #[test]
    fn groups_of_journeys_and_variants_never_share_a_name_and_no_label_is_empty() {
        let slo = "[slo]\nobjective = 99.5\n";
        let a = journey("shop", &format!("base_url = \"http://h\"\n{slo}[[variants]]\nid = \"guest\"\n{STEP}"));
        let b = journey("shop-guest", &format!("base_url = \"http://h\"\n{slo}{STEP}"));
        let both = [a, b];
        let made = prometheus(&both, Timestamp::from_secs(1_700_000_000), "https://r").documents;
        let names: std::collections::BTreeSet<&str> =
            made[0]["groups"].as_array().unwrap().iter().map(|g| g["name"].as_str().unwrap()).collect();
        assert_eq!(names.len(), 4, "{names:?}");
        assert!(sloth(&both, "https://r").documents.iter().all(|d| !d.to_string().contains(":\"\"")));
    }
}
