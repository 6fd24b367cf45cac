//! What the API shows of judging: copied once a second when it changed, so that no request waits for the pipeline.

use serde::Serialize;

use crate::alert::{Alert, AlertKey, State};
use crate::clock::Timestamp;
use crate::ids::{JourneyId, RuleId};
use crate::incident::Incident;
use crate::journey::Severity;
use crate::journey::rule::Rule;
use crate::mute::Silence;

#[derive(Debug, Default)]
pub struct Picture {
    /// Open ones, then the latest that are resolved.
    pub incidents: Vec<Incident>,
    /// Those that are not inactive.
    pub alerts: Vec<AlertPicture>,
    pub silences: Vec<Silence>,
}

/// An alert for people to look at.
#[derive(Debug, Clone, Serialize)]
pub struct AlertPicture {
    pub alert: RuleId,
    pub kind: &'static str,
    pub journey: JourneyId,
    pub variant: String,
    pub severity: Severity,
    pub state: State,
    pub since: Timestamp,
    pub flapping: bool,
    /// What is wrong, in a line.
    pub detail: String,
    pub failed_runs: u32,
    pub last_good_at: Option<Timestamp>,
    pub incident: Option<String>,
}

impl AlertPicture {
    pub fn of(key: &AlertKey, rule: &Rule, alert: &Alert, incident: Option<u64>) -> Self {
        Self {
            alert: key.rule.clone(),
            kind: rule.kind.name(),
            journey: key.journey.journey.clone(),
            variant: key.journey.variant_label().to_owned(),
            severity: rule.severity,
            state: alert.state,
            since: alert.since,
            flapping: alert.flapping,
            detail: alert.detail.clone(),
            failed_runs: alert.failures,
            last_good_at: alert.last_good,
            incident: incident.map(|id| id.to_string()),
        }
    }
}
