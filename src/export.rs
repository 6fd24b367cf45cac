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

    /// Bad runs and all that count, over `range`.
    fn queries(&self, function: &str, range: &str) -> (String, String) {
        let of = |metric: &str| format!("sum({function}({metric}{{{}}}[{range}]))", self.selector());
        let (runs, failed) = (of("journeyd_journey_runs_total"), of("journeyd_journey_run_failures_total"));
        match self.objective {
            Objective::Availability => (failed, runs),
            Objective::Latency => (of("journeyd_journey_degraded_runs_total"), format!("({runs} - {failed})")),
        }
    }

    /// `checkout-guest-availability`.
    fn name(&self) -> String {
        let variant = self.key.variant.as_ref().map(|v| format!("-{v}")).unwrap_or_default();
        format!("{}{variant}-{}", self.key.journey, self.objective.as_str())
    }

    fn labels(&self) -> Json {
        json!({
            "journey": self.key.journey,
            "variant": self.key.variant_label(),
            "slo": self.objective.as_str(),
        })
    }

    fn burns(&self, window: &BurnWindow) -> String {
        let most = window.factor * (1.0 - self.ratio);
        let one = |range: Duration| {
            let (bad, all) = self.queries("increase", &range_of(range));
            format!("{bad} / ({all} > 0) > {most:.6}")
        };
        let (bad, _) = self.queries("increase", &range_of(window.long));
        format!("({} and {} and {bad} > 2.5)", one(window.long), one(window.short))
    }

    fn alert(&self, fast: bool, every: Duration, runbooks: &str) -> Option<Json> {
        let windows = burn_windows(fast, self.window, every);
        // Runs too rare for the windows of an hour say what they have to say as `down`, and by the slow windows.
        let usable: Vec<&BurnWindow> = windows.iter().filter(|w| w.short * 2 <= w.long).collect();
        if usable.is_empty() {
            return None;
        }
        let (name, severity) = if fast {
            ("JourneydErrorBudgetBurnFast", self.journey.severity.as_str())
        } else {
            ("JourneydErrorBudgetBurnSlow", "warning")
        };
        let mut labels = self.labels();
        labels["severity"] = json!(severity);
        let expr: Vec<String> = usable.iter().map(|window| self.burns(window)).collect();
        let of = show_duration(self.window);
        Some(json!({
            "alert": name,
            "expr": expr.join(" or "),
            "labels": labels,
            "annotations": {
                "summary": format!("The error budget of {} is burning {}.", self.key, if fast { "fast" } else { "steadily" }),
                "description": format!(
                    "{{{{ $value | humanizePercentage }}}} of its runs miss the {} objective of {} % over {of}.",
                    self.objective.as_str(),
                    percent(self.ratio)
                ),
                "runbook_url": self.journey.runbook.clone().unwrap_or_else(|| format!("{runbooks}#{}", name.to_lowercase())),
            },
        }))
    }
}

/// Without the noise of binary fractions.
fn percent(ratio: f64) -> String {
    let text = format!("{:.6}", ratio * 100.0);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// As PromQL writes it.
fn range_of(duration: Duration) -> String {
    let secs = duration.as_secs().max(1);
    match secs {
        s if s % 3600 == 0 => format!("{}h", s / 3600),
        s if s % 60 == 0 => format!("{}m", s / 60),
        s => format!("{s}s"),
    }
}

/// Recording and alert rules for each objective, as Prometheus reads them.
pub fn prometheus(journeys: &[Arc<Journey>], now: crate::clock::Timestamp, runbooks: &str) -> Json {
    let mut groups = Vec::new();
    for target in targets(journeys) {
        let Some(plan) = target.journey.plans.iter().find(|plan| plan.key == *target.key) else { continue };
        let every = interval(target.journey, &crate::journey::link::next_runs(target.journey, plan, now, 20));
        let mut rules = vec![
            json!({ "record": "slo:objective:ratio", "expr": format!("vector({})", target.ratio), "labels": target.labels() }),
        ];
        for range in ["5m", "1h", "6h", "1d", "30d"] {
            let (bad, all) = target.queries("increase", range);
            rules.push(json!({
                "record": format!("slo:sli_error:ratio_increase{range}"),
                "expr": format!("{bad} / ({all} > 0)"),
                "labels": target.labels(),
            }));
        }
        rules.extend([true, false].into_iter().filter_map(|fast| target.alert(fast, every, runbooks)));
        groups.push(json!({ "name": format!("journeyd-slo-{}", target.name()), "rules": rules }));
    }
    json!({ "groups": groups })
}

/// The same objectives as Sloth's `prometheus/v1` takes them, one document for each journey.
pub fn sloth(journeys: &[Arc<Journey>], runbooks: &str) -> Vec<Json> {
    let mut documents: Vec<(String, Vec<Json>)> = Vec::new();
    for target in targets(journeys) {
        let (bad, all) = target.queries("increase", "{{.window}}");
        let service = target.key.journey.to_string();
        let page = json!({ "labels": { "severity": target.journey.severity.as_str() } });
        let slo = json!({
            "name": target.name(),
            "objective": percent(target.ratio).parse::<f64>().unwrap_or(0.0),
            "description": target.journey.title,
            "labels": target.labels(),
            "sli": { "events": { "error_query": bad, "total_query": all } },
            "alerting": {
                "name": "JourneydErrorBudgetBurn",
                "annotations": {
                    "summary": format!("The error budget of {} is burning.", target.key),
                    "runbook_url": target.journey.runbook.clone().unwrap_or_else(|| format!("{runbooks}#journeyderrorbudgetburnfast")),
                },
                "page_alert": page,
                "ticket_alert": { "labels": { "severity": "warning" } },
            },
        });
        match documents.last_mut().filter(|(known, _)| *known == service) {
            Some((_, slos)) => slos.push(slo),
            None => documents.push((service, vec![slo])),
        }
    }
    documents
        .into_iter()
        .map(|(service, slos)| json!({ "version": "prometheus/v1", "service": service, "labels": { "owner": "journeyd" }, "slos": slos }))
        .collect()
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

    fn rules(text: &str) -> String {
        yaml(&prometheus(&[journey("shop", text)], Timestamp::from_secs(1_700_000_000), "https://r"))
    }

    const STEP: &str = "[[steps]]\nid = \"s\"\nrequest = \"GET /\"\n";

    #[test]
    fn windows_follow_the_schedule_and_factors_the_objectives_window() {
        let text = |every: &str, window: &str| {
            rules(&format!(
                "base_url = \"http://h\"\nschedule = {{ every = \"{every}\" }}\n[slo]\nobjective = 99.9\nwindow = \"{window}\"\n{STEP}"
            ))
        };
        let minute = text("1m", "30d");
        // 14.4 times one in a thousand.
        assert!(minute.contains("[5m]))") && minute.contains("> 0.014400 and"), "{minute}");
        assert!(minute.contains("JourneydErrorBudgetBurnFast") && minute.contains("JourneydErrorBudgetBurnSlow"));
        // Every ten minutes, five minutes hold no run: three runs take half an hour.
        let ten = text("10m", "30d");
        assert!(ten.contains("[30m])) > 0) > 0.014400 and"), "{ten}");
        // Once an hour, only a day says something.
        let hour = text("1h", "30d");
        assert!(!hour.contains("[1h])) > 0) > 0.0144"), "{hour}");
        assert!(hour.contains("JourneydErrorBudgetBurnSlow"), "{hour}");
        // Over a week, two percent in an hour are 3.36 times too fast.
        assert!(text("1m", "7d").contains("> 0.003360 and"), "{}", text("1m", "7d"));
    }

    #[test]
    fn without_an_objective_there_is_nothing_to_write() {
        assert_eq!(rules(&format!("base_url = \"http://h\"\n{STEP}")), "groups: []\n");
    }

    #[test]
    fn a_latency_objective_counts_slow_runs_of_those_that_passed() {
        let j = journey(
            "shop",
            &format!(
                "base_url = \"http://h\"\n[slo]\nobjective = 99.5\nlatency = \"2s\"\n[[variants]]\nid = \"guest\"\n{STEP}"
            ),
        );
        let made = sloth(&[j], "https://r");
        assert_eq!(made.len(), 1);
        let slo = &made[0]["slos"][1];
        assert_eq!(slo["name"], "shop-guest-latency");
        assert_eq!(slo["objective"], 99.5);
        let query = slo["sli"]["events"]["error_query"].as_str().unwrap();
        assert_eq!(
            query,
            "sum(increase(journeyd_journey_degraded_runs_total{journey=\"shop\",variant=\"guest\"}[{{.window}}]))"
        );
    }
}
