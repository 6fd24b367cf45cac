//! Alertmanager: its API v2, and the body (version 4) that it sends to webhooks itself.
//!
//! The API forgets: what fires is sent again every minute with an end four minutes ahead, as Prometheus does, so that
//! a journeyd that dies lets its alerts end. Labels are what identifies an alert there: nothing that changes in the
//! course of an outage is in them.

use serde_json::{Map, Value as Json, json};

use crate::clock::Timestamp;
use crate::ids::RuleId;
use crate::notify::message::{AlertFact, Kind, Message, Standing};
use crate::notify::story::{CODE, cut, tame};

/// Four times the time between two sendings.
const LASTS: std::time::Duration = std::time::Duration::from_secs(240);

/// `POST /api/v2/alerts`: one for each alert of the incident that has fired.
pub fn render(message: &Message, now: Timestamp) -> Json {
    if message.alerts.is_empty() {
        return json!([alert(message, &alone(message), now)]);
    }
    message.alerts.iter().filter(|fact| has_fired(fact)).map(|fact| alert(message, fact, now)).collect()
}

/// What is only on its way, or only there because of another, is not sent as an alert of its own.
fn has_fired(fact: &AlertFact) -> bool {
    matches!(fact.standing, Standing::Firing | Standing::Resolved)
}

fn alone(message: &Message) -> AlertFact {
    AlertFact {
        rule: if message.kind == Kind::Test { RuleId::of("test") } else { message.rule.clone() },
        severity: message.severity,
        journey: message.journey.clone(),
        standing: if message.kind == Kind::Resolved { Standing::Resolved } else { Standing::Firing },
        started_at: message.started_at,
        resolved_at: message.resolved_at,
        detail: message.trouble(),
        failed_runs: message.failed_runs,
    }
}

fn alert(message: &Message, fact: &AlertFact, now: Timestamp) -> Json {
    // A test and a message that resolves must not stay.
    let ends = match (message.kind, fact.resolved_at.or(message.resolved_at)) {
        (Kind::Test, _) => message.at + LASTS,
        (Kind::Resolved, Some(at)) => at,
        _ => fact.resolved_at.unwrap_or(now + LASTS),
    };
    json!({
        "labels": labels(message, fact),
        "annotations": annotations(message, fact),
        "startsAt": fact.started_at,
        "endsAt": ends,
    })
}

/// `JourneydDown`, `JourneydNoData`: the form of the field.
pub fn alert_name(rule: &RuleId) -> String {
    let words = rule.as_str().split(['_', '-']).map(|word| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_uppercase().collect::<String>() + letters.as_str()).unwrap_or_default()
    });
    format!("Journeyd{}", words.collect::<String>())
}

fn labels(message: &Message, fact: &AlertFact) -> Json {
    let journey = &fact.journey;
    let mut labels: Map<String, Json> =
        journey.labels.iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| (k.clone(), json!(v))).collect();
    // journeyd's own labels win over those of the same name.
    labels.insert("alertname".into(), json!(alert_name(&fact.rule)));
    labels.insert("journey".into(), json!(journey.id));
    labels.insert("severity".into(), json!(fact.severity));
    labels.insert("source".into(), json!("journeyd"));
    // To group by: what belongs to one outage.
    labels.insert("incident".into(), json!(message.incident.to_string()));
    labels.insert("location".into(), json!(journey.location));
    if let Some(variant) = &journey.variant {
        labels.insert("variant".into(), json!(variant));
    }
    if let Some(owner) = &journey.owner {
        labels.insert("owner".into(), json!(owner));
    }
    Json::Object(labels)
}

fn annotations(message: &Message, fact: &AlertFact) -> Json {
    let mut out = Map::new();
    let is_first = fact.journey.key() == message.journey.key() && fact.rule == message.rule;
    let summary = format!("{}: {}", fact.journey.title, if fact.detail.is_empty() { "fails" } else { &fact.detail });
    out.insert("summary".into(), json!(cut(&tame(&summary), CODE)));
    out.insert("incident".into(), json!(message.incident.to_string()));
    if let Some(facts) = message.failure.as_ref().filter(|_| is_first) {
        let description = format!(
            "{} {}: expected {}, got {} (looked at: {})",
            facts.method, facts.url, facts.failure.expected, facts.failure.got, facts.failure.subject
        );
        out.insert("description".into(), json!(cut(&tame(&description), 2000)));
        out.insert("request_id".into(), json!(facts.request_id));
        out.insert("trace_id".into(), json!(facts.trace_id));
        if let Some(curl) = &facts.curl {
            out.insert("curl".into(), json!(cut(curl, 4000)));
        }
        if let Some(rerun) = message.rerun() {
            out.insert("rerun".into(), json!(rerun));
        }
    }
    if let Some(runbook) = &fact.journey.runbook {
        out.insert("runbook_url".into(), json!(runbook));
    }
    Json::Object(out)
}

/// The alert that always fires, for a dead man's switch behind Alertmanager.
pub fn watchdog(location: &str, started: Timestamp, now: Timestamp) -> Json {
    json!([{
        "labels": { "alertname": "JourneydWatchdog", "severity": "none", "source": "journeyd", "location": location },
        "annotations": {
            "summary": "journeyd lives and reaches this Alertmanager. It always fires; route it to a dead man's switch.",
        },
        "startsAt": started,
        "endsAt": now + LASTS,
    }])
}

/// What Alertmanager itself sends to webhooks, so that its receivers take journeyd's messages.
pub fn webhook(message: &Message, receiver: &str) -> Json {
    let facts = if message.alerts.is_empty() { vec![alone(message)] } else { message.alerts.clone() };
    let resolved = message.kind == Kind::Resolved;
    let alerts: Vec<Json> = facts
        .iter()
        .filter(|fact| has_fired(fact))
        .map(|fact| {
            let over = resolved || fact.resolved_at.is_some();
            let ends = fact.resolved_at.or(message.resolved_at).filter(|_| over);
            let labels = labels(message, fact);
            json!({
                "status": if over { "resolved" } else { "firing" },
                "fingerprint": fingerprint(&labels),
                "labels": labels,
                "annotations": annotations(message, fact),
                "startsAt": fact.started_at,
                "endsAt": ends.map_or_else(|| json!("0001-01-01T00:00:00Z"), |at| json!(at)),
                "generatorURL": "",
            })
        })
        .collect();
    json!({
        "version": "4",
        "groupKey": format!("journeyd/{}", message.incident),
        "truncatedAlerts": 0,
        "status": if resolved { "resolved" } else { "firing" },
        "receiver": receiver,
        "groupLabels": { "alertname": alert_name(&message.rule) },
        "commonLabels": common(&alerts, "labels"),
        "commonAnnotations": common(&alerts, "annotations"),
        "externalURL": "",
        "notification_reason": message.because,
        "alerts": alerts,
    })
}

/// What all alerts agree on.
fn common(alerts: &[Json], part: &str) -> Json {
    let Some(first) = alerts.first().and_then(|alert| alert[part].as_object()) else { return json!({}) };
    let same = |name: &str, value: &Json| alerts.iter().all(|alert| alert[part].get(name) == Some(value));
    Json::Object(first.iter().filter(|(name, value)| same(name, value)).map(|(n, v)| (n.clone(), v.clone())).collect())
}

fn fingerprint(labels: &Json) -> String {
    use sha2::{Digest as _, Sha256};
    Sha256::digest(labels.to_string()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
