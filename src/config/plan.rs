//! What a reload would do: the journeys in force against those of a configuration. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::config::Config;
use crate::journey::Journey;
use crate::metrics::{MetricsSettings, series_of};

/// A journey as far as a plan compares it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    pub id: String,
    pub title: String,
    pub enabled: bool,
    pub schedule: String,
    /// Variant ids; empty without variants.
    pub variants: Vec<String>,
    pub steps: Vec<StepSummary>,
    /// Of everything that is not listed here: alert thresholds, network settings, vars, labels.
    pub settings: String,
    /// Series it takes in `/metrics`.
    pub series: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepSummary {
    pub id: String,
    pub digest: String,
}

/// What changes.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    pub added: Vec<String>,
    /// With what changes in each.
    pub changed: Vec<(String, Vec<String>)>,
    pub removed: Vec<String>,
    pub unchanged: usize,
    pub series_before: u64,
    pub series_after: u64,
}

pub fn summaries(config: &Config) -> Vec<Summary> {
    config.journeys.iter().map(|journey| summary(journey, config.metrics)).collect()
}

/// Names a configuration: its own text, and what its journeys come to, fragments included.
pub fn version_of(text: &str, journeys: &[Arc<Journey>], metrics: MetricsSettings) -> String {
    let journeys: Vec<Summary> = journeys.iter().map(|journey| summary(journey, metrics)).collect();
    digest(&format!("{text}{journeys:?}"))[..12].to_owned()
}

fn summary(journey: &Arc<Journey>, metrics: MetricsSettings) -> Summary {
    let mut steps: BTreeMap<String, StepSummary> = BTreeMap::new();
    let mut order = Vec::new();
    for step in journey.plans.iter().flat_map(|plan| plan.all_steps()) {
        let id = step.id.to_string();
        if !steps.contains_key(&id) {
            order.push(id.clone());
        }
        steps.entry(id.clone()).or_insert_with(|| StepSummary { id, digest: digest(&format!("{step:?}")) });
    }
    // Without places: a line that moved is no change.
    let depends_on: Vec<_> = journey.telling.depends_on.iter().map(|(id, _)| id).collect();
    let telling = (depends_on, journey.telling.repeat_every, journey.telling.max_reminders);
    let vars: Vec<_> = journey.plans.iter().map(|plan| &plan.vars).collect();
    let rest = (
        (&journey.owner, &journey.severity, &journey.runbook, &journey.labels, &journey.base_url),
        (&journey.headers, &journey.user_agent, &journey.auth, &journey.network, journey.error_pages),
        (journey.timeout, &journey.slo, &journey.rules, telling, vars),
    );
    Summary {
        id: journey.id.to_string(),
        title: journey.title.clone(),
        enabled: journey.enabled,
        schedule: journey.schedule.to_string(),
        variants: journey.plans.iter().filter_map(|p| p.key.variant.as_ref()).map(ToString::to_string).collect(),
        steps: order.iter().filter_map(|id| steps.remove(id)).collect(),
        settings: digest(&format!("{rest:?}")),
        series: series_of(std::slice::from_ref(journey), metrics),
    }
}

/// Short, and never to be turned back: settings may hold what is not for everybody.
fn digest(text: &str) -> String {
    Sha256::digest(text).iter().take(8).map(|b| format!("{b:02x}")).collect()
}

pub fn compare(before: &[Summary], after: &[Summary]) -> Plan {
    let old: BTreeMap<&str, &Summary> = before.iter().map(|s| (s.id.as_str(), s)).collect();
    let series = |all: &[Summary]| all.iter().map(|s| s.series).sum();
    let mut plan = Plan { series_before: series(before), series_after: series(after), ..Plan::default() };
    for new in after {
        match old.get(new.id.as_str()) {
            None => plan.added.push(new.id.clone()),
            Some(old) if **old == *new => plan.unchanged += 1,
            Some(old) => plan.changed.push((new.id.clone(), differences(old, new))),
        }
    }
    let kept = |id: &str| after.iter().any(|s| s.id == id);
    plan.removed = before.iter().filter(|s| !kept(&s.id)).map(|s| s.id.clone()).collect();
    plan
}

fn differences(old: &Summary, new: &Summary) -> Vec<String> {
    let mut out = Vec::new();
    if old.title != new.title {
        out.push(format!("title {:?}, was {:?}", new.title, old.title));
    }
    if old.enabled != new.enabled {
        out.push(if new.enabled { "enabled" } else { "disabled" }.to_owned());
    }
    if old.schedule != new.schedule {
        out.push(format!("schedule {}, was {}", new.schedule, old.schedule));
    }
    lists("variant", &old.variants, &new.variants, &mut out);
    let ids = |s: &Summary| s.steps.iter().map(|s| s.id.clone()).collect::<Vec<_>>();
    let (before, after) = (ids(old), ids(new));
    lists("step", &before, &after, &mut out);
    for step in &new.steps {
        if old.steps.iter().any(|s| s.id == step.id && s.digest != step.digest) {
            out.push(format!("step {} changed", step.id));
        }
    }
    let kept = |ids: &[String], other: &[String]| -> Vec<String> {
        ids.iter().filter(|id| other.contains(id)).cloned().collect()
    };
    if kept(&before, &after) != kept(&after, &before) {
        out.push("steps in another order".to_owned());
    }
    if old.settings != new.settings {
        out.push("settings or vars changed".to_owned());
    }
    if out.is_empty() {
        out.push(format!("{} series, was {}", new.series, old.series));
    }
    out
}

fn lists(what: &str, old: &[String], new: &[String], out: &mut Vec<String>) {
    out.extend(new.iter().filter(|id| !old.contains(id)).map(|id| format!("{what} {id} added")));
    out.extend(old.iter().filter(|id| !new.contains(id)).map(|id| format!("{what} {id} removed")));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(id: &str, schedule: &str, steps: &[(&str, &str)]) -> Summary {
        Summary {
            id: id.to_owned(),
            title: id.to_owned(),
            enabled: true,
            schedule: schedule.to_owned(),
            variants: Vec::new(),
            steps: steps
                .iter()
                .map(|(id, digest)| StepSummary { id: (*id).into(), digest: (*digest).into() })
                .collect(),
            settings: String::new(),
            series: 10,
        }
    }

    #[test]
    fn a_plan_says_what_is_added_changed_and_removed() {
        let before = [
            summary("same", "every 1m", &[("a", "1")]),
            summary("moved", "every 1m", &[("a", "1"), ("b", "2"), ("c", "3")]),
            summary("gone", "every 1m", &[]),
        ];
        let after = [
            summary("same", "every 1m", &[("a", "1")]),
            Summary { enabled: false, ..summary("moved", "every 5m", &[("b", "9"), ("a", "1"), ("d", "4")]) },
            summary("new", "every 1m", &[]),
        ];
        let plan = compare(&before, &after);
        assert_eq!(plan.added, ["new"]);
        assert_eq!(plan.removed, ["gone"]);
        assert_eq!(plan.unchanged, 1);
        assert_eq!((plan.series_before, plan.series_after), (30, 30));
        let want = [
            "disabled",
            "schedule every 5m, was every 1m",
            "step d added",
            "step c removed",
            "step b changed",
            "steps in another order",
        ];
        assert_eq!(plan.changed, [("moved".to_owned(), want.map(str::to_owned).to_vec())]);
    }
}
