//! PagerDuty's Events API v2: an incident is one `dedup_key` from trigger to resolve.
//!
//! Limits: summary 1024 characters, dedup_key 255, payload 512 KB (developer.pagerduty.com, Events API v2).

use serde_json::{Value as Json, json};

use crate::journey::Severity;
use crate::notify::message::{Because, Kind, Message};
use crate::notify::story::{cut, tame};

const SUMMARY: usize = 1024;

pub fn render(message: &Message, routing_key: &str) -> Json {
    // With its beginning: a store that starts anew counts from one again.
    let dedup = format!("journeyd/{}/{}", message.incident, message.started_at.micros() / 1_000_000);
    let action = match (message.kind, message.because) {
        (Kind::Resolved, _) => "resolve",
        (_, Because::Acknowledged) => "acknowledge",
        _ => "trigger",
    };
    let facts = message.failure.as_ref();
    let severity = match message.severity {
        Severity::Critical => "critical",
        Severity::Warning => "warning",
        Severity::Info => "info",
    };
    let others: Vec<Json> = message
        .alerts
        .iter()
        .skip(1)
        .take(100)
        .map(|a| {
            json!({
                "journey": a.journey.key().to_string(), "rule": a.rule, "standing": a.standing, "what": a.detail,
            })
        })
        .collect();
    let mut event = json!({
        "routing_key": routing_key,
        "event_action": action,
        "dedup_key": dedup,
        "client": "journeyd",
        "payload": {
            "summary": cut(&tame(&message.headline()), SUMMARY),
            "source": message.journey.location,
            "severity": severity,
            "timestamp": message.started_at,
            "component": facts.map(|facts| facts.step.to_string()),
            "group": message.journey.key().to_string(),
            "class": facts.map_or_else(|| message.rule.to_string(), |facts| facts.failure.reason.to_string()),
            "custom_details": {
                "incident": message.incident.to_string(),
                "journey": message.journey.title,
                "owner": message.journey.owner,
                "labels": message.journey.labels,
                "failed_runs": message.failed_runs,
                "last_good_at": message.last_good,
                "expected": facts.map(|facts| &facts.failure.expected),
                "got": facts.map(|facts| &facts.failure.got),
                "request": facts.map(|facts| format!("{} {}", facts.method, facts.url)),
                "request_id": facts.map(|facts| &facts.request_id),
                "trace_id": facts.map(|facts| &facts.trace_id),
                "curl": facts.and_then(|facts| facts.curl.as_ref()),
                "rerun": message.rerun(),
                "same_cause": others,
                "lines": message.lines,
            },
        },
    });
    if let Some(runbook) = &message.journey.runbook {
        event["links"] = json!([{ "href": runbook, "text": "Runbook" }]);
    }
    event
}
