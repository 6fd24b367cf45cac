//! The generic webhook: Standard Webhooks 1.0 (<https://www.standardwebhooks.com>), body as DESIGN §5 has it.

use base64::Engine as _;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value as Json, json};
use sha2::Sha256;

use crate::clock::Timestamp;
use crate::notify::SigningKey;
use crate::notify::message::{About, Kind, Message};

pub fn render(message: &Message) -> Json {
    let kind = match message.kind {
        Kind::Test => "notifier.test".to_owned(),
        kind => format!("alert.{kind}"),
    };
    let mut first = json!({
        "id": message.rule,
        "severity": message.severity,
        "reason": message.because,
        "repeat": message.repeat,
        "journey": journey(&message.journey),
        "summary": message.trouble(),
        "failed_runs": message.failed_runs,
        "last_good_at": message.last_good,
        "works_for": message.works_for,
        "fails_for": message.fails_for,
        "failure": failure(message),
        "diagnosis": null,
        "changes": [],
    });
    if let Some(fact) = message.alerts.first() {
        first["standing"] = json!(fact.standing);
    }
    let mut alerts = vec![first];
    alerts.extend(message.alerts.iter().skip(1).map(|fact| {
        json!({
            "id": fact.rule,
            "severity": fact.severity,
            "reason": message.because,
            "repeat": message.repeat,
            "journey": journey(&fact.journey),
            "summary": fact.detail,
            "failed_runs": fact.failed_runs,
            "standing": fact.standing,
            "started_at": fact.started_at,
            "resolved_at": fact.resolved_at,
            "failure": null,
            "diagnosis": null,
            "changes": [],
        })
    }));
    let objectives: Vec<Json> = message
        .slos
        .iter()
        .map(|slo| {
            json!({
                "slo": slo.slo,
                "objective_percent": slo.objective,
                "window_seconds": slo.window.as_secs(),
                "budget_cost_ratio": slo.cost,
                "budget_remaining_ratio": slo.remaining,
            })
        })
        .collect();
    json!({
        "type": kind,
        "timestamp": message.at,
        "data": {
            "schema": 1,
            "headline": message.headline(),
            "incident": {
                "id": message.incident.to_string(),
                // Once there is a page to link to.
                "url": null,
                "started_at": message.started_at,
                "resolved_at": message.resolved_at,
                "duration_seconds": message.duration().as_secs(),
                "steps": message.steps,
                "acknowledged": message.acknowledged,
                "slos": objectives,
            },
            "alerts": alerts,
            "digest": message.lines,
            "instead_of": message.instead_of,
        },
    })
}

fn journey(about: &About) -> Json {
    json!({
        "id": about.id,
        "title": about.title,
        "variant": about.variant.as_ref().map_or("", |v| v.as_str()),
        "owner": about.owner,
        "location": about.location,
        "labels": about.labels,
        "runbook": about.runbook,
    })
}

fn failure(message: &Message) -> Json {
    let Some(facts) = &message.failure else { return Json::Null };
    let response_ids: serde_json::Map<String, Json> =
        facts.response_ids.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    json!({
        "at": facts.at,
        "step": facts.step,
        "reason": facts.failure.reason,
        "kind": facts.failure.kind,
        "status": facts.status,
        "message": format!("expected {}, got {}", facts.failure.expected, facts.failure.got),
        "subject": facts.failure.subject,
        "expected": facts.failure.expected,
        "got": facts.failure.got,
        "place": facts.failure.place,
        "method": facts.method,
        "url": facts.url,
        "run_id": facts.run_id,
        "request_id": facts.request_id,
        "trace_id": facts.trace_id,
        "response_ids": response_ids,
        "curl": facts.curl,
        "rerun": message.rerun(),
        "passed_steps": facts.passed,
        "blocked_steps": facts.blocked,
    })
}

/// The `webhook-signature` header: `v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`.
pub fn signature(key: &SigningKey, id: &str, at: Timestamp, body: &str) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(&key.0).ok()?;
    let secs = at.micros().div_euclid(1_000_000);
    mac.update(format!("{id}.{secs}.").as_bytes());
    mac.update(body.as_bytes());
    Some(format!("v1,{}", base64::engine::general_purpose::STANDARD.encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_test_vector_passes() {
        let key = SigningKey::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let at = Timestamp::from_secs(1_614_265_330);
        let got = signature(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", at, r#"{"test": 2432232314}"#);
        assert_eq!(got.as_deref(), Some("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="));
    }
}
