//! Results of runs for other programs: JSON, and JUnit XML for CI servers.

use std::collections::BTreeMap;

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite, XmlString};
use serde_json::{Value as Json, json};

use crate::journey::Journey;
use crate::report::{ExchangeReport, Outcome, RunReport, StepOutcome, StepReport};
use crate::runner::Order;

/// One document with every run.
pub fn json(runs: &[(Order, RunReport)]) -> Json {
    let runs: Vec<Json> = runs
        .iter()
        .map(|(order, report)| {
            let mut run = serde_json::to_value(report).unwrap_or_default();
            if let Some(map) = run.as_object_mut() {
                map.insert("title".to_owned(), order.journey.title.clone().into());
                map.insert("file".to_owned(), order.journey.file.clone().into());
            }
            run
        })
        .collect();
    json!({ "schema": 1, "runs": runs })
}

/// A suite per journey and variant, a case per step and run.
pub fn junit(runs: &[(Order, RunReport)]) -> Result<String, String> {
    let mut document = quick_junit::Report::new("journeyd");
    let mut suites: BTreeMap<String, TestSuite> = BTreeMap::new();
    for (order, report) in runs {
        let name = report.key.to_string();
        let suite = suites.entry(name.clone()).or_insert_with(|| suite(&name, &order.journey));
        for (step, cleanup) in report.steps.iter().map(|s| (s, false)).chain(report.cleanup.iter().map(|s| (s, true))) {
            suite.add_test_case(case(&name, step, cleanup, &report.outcome));
        }
    }
    document.add_test_suites(suites.into_values());
    document.to_string().map_err(|error| error.to_string())
}

fn suite(name: &str, journey: &Journey) -> TestSuite {
    let mut suite = TestSuite::new(name);
    suite.add_property(("title", journey.title.as_str()));
    if let Some(owner) = &journey.owner {
        suite.add_property(("owner", owner.as_str()));
    }
    suite
}

fn case(class: &str, step: &StepReport, cleanup: bool, outcome: &Outcome) -> TestCase {
    let status = match &step.outcome {
        StepOutcome::Passed => TestCaseStatus::success(),
        StepOutcome::Failed(failure) => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status
                .set_type(failure.reason.as_str())
                .set_message(format!("{}: expected {}, got {}", failure.subject, failure.expected, failure.got))
                .set_description(details(step, &failure.place));
            status
        }
        StepOutcome::Errored { fault, detail } => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
            status.set_type(fault.as_str()).set_message(detail.as_str());
            status
        }
        StepOutcome::Blocked => skipped(&format!("blocked: the run {}", word(outcome))),
        StepOutcome::NotNeeded => skipped("nothing to clean up"),
    };
    let name = if cleanup { format!("cleanup: {}", step.id) } else { step.id.to_string() };
    let mut case = TestCase::new(name, status);
    case.set_classname(class);
    if let Some(exchange) = &step.exchange {
        case.set_time(exchange.duration);
    }
    case
}

fn skipped(why: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::skipped();
    status.set_message(why);
    status
}

fn word(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Passed => "passed".to_owned(),
        Outcome::Failed(reason) => format!("failed ({reason})"),
        Outcome::Errored(fault) => format!("errored ({fault})"),
    }
}

fn details(step: &StepReport, place: &str) -> XmlString {
    let mut lines = vec![format!("where: {place}")];
    if let Some(exchange) = &step.exchange {
        lines.extend(facts(exchange));
    }
    lines.join("\n").into()
}

fn facts(exchange: &ExchangeReport) -> Vec<String> {
    let status = exchange.status.map_or_else(|| "no response".to_owned(), |s| s.to_string());
    let mut lines = vec![format!("request: {} {} ({status})", exchange.method, exchange.url)];
    if !exchange.request_id.is_empty() {
        lines.push(format!("X-Request-ID: {}", exchange.request_id));
    }
    lines.extend(exchange.curl.iter().map(|curl| format!("curl: {curl}")));
    lines
}
