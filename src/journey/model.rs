//! The compiled journey: what the runner, the scheduler and the metrics work with.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::diag::Place;
use crate::ids::{JourneyId, JourneyKey, StepId, VariantId};
use crate::journey::assertion::Assertion;
use crate::journey::capture::Capture;
use crate::journey::json_template::JsonTemplate;
use crate::journey::network::Network;
use crate::journey::request::{Auth, Body, Poll, Retry};
use crate::journey::rule::Rule;
use crate::journey::template::Template;
use crate::timetable::Timetable;

/// A step's limit unless it says otherwise.
pub const STEP_TIMEOUT: Duration = Duration::from_secs(10);
/// A run's limit unless the journey says otherwise.
pub const RUN_TIMEOUT: Duration = Duration::from_secs(30);
/// What all cleanup steps of a run may take together, on top of the run's own limit.
pub const CLEANUP_TIMEOUT: Duration = Duration::from_secs(10);
/// How many redirects a step follows unless it says otherwise: what browsers and `curl -L` users expect.
pub const REDIRECTS: u8 = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Critical,
    Warning,
    Info,
}

impl Severity {
    pub const NAMES: [(&'static str, Self); 3] =
        [("critical", Self::Critical), ("warning", Self::Warning), ("info", Self::Info)];

    pub fn as_str(self) -> &'static str {
        Self::NAMES.iter().find(|(_, s)| *s == self).map_or("", |(name, _)| name)
    }
}

/// One file under `journeys/`, linked and ready.
#[derive(Debug, Clone)]
pub struct Journey {
    pub id: JourneyId,
    /// The file as the user knows it.
    pub file: String,
    pub title: String,
    pub owner: Option<String>,
    pub severity: Severity,
    pub runbook: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub enabled: bool,
    pub base_url: Option<Template>,
    pub headers: Vec<(http::HeaderName, Template)>,
    pub user_agent: Option<Template>,
    pub auth: Option<Auth>,
    pub network: Network,
    /// Whether error pages that answer 2xx are recognised.
    pub error_pages: bool,
    pub timeout: Duration,
    pub schedule: Timetable,
    pub slo: Option<Slo>,
    /// The built-in ones first.
    pub rules: Vec<Rule>,
    pub telling: Telling,
    /// What is scheduled: one plan per variant, or a single one without variants.
    pub plans: Vec<Arc<Plan>>,
}

/// Service level objectives of a journey.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slo {
    /// The share of runs that are to pass, between 0 and 1, and the time over which it is counted.
    pub objective: Option<f64>,
    pub window: Duration,
    /// A passed run slower than this is degraded.
    pub latency: Option<Duration>,
}

/// The window of an objective unless the journey says otherwise.
pub const SLO_WINDOW: Duration = Duration::from_secs(30 * 24 * 3600);

/// How people are told of a journey's alerts.
#[derive(Debug, Clone, PartialEq)]
pub struct Telling {
    /// Journeys whose outage explains this one's.
    pub depends_on: Vec<(JourneyId, Place)>,
    /// Zero: never.
    pub repeat_every: Duration,
    pub max_reminders: u32,
}

/// The steps and vars of one variant, in the order in which they run.
#[derive(Debug)]
pub struct Plan {
    pub key: JourneyKey,
    /// Ordered so that a var comes after those it refers to.
    pub vars: Vec<(String, JsonTemplate)>,
    pub steps: Vec<Arc<Step>>,
    pub cleanup: Vec<Arc<Step>>,
}

impl Plan {
    /// Every step that can have results, cleanup included.
    pub fn all_steps(&self) -> impl Iterator<Item = &Arc<Step>> {
        self.steps.iter().chain(&self.cleanup)
    }

    /// Whether some step of this plan captures `name`.
    pub fn captures(&self, name: &str) -> bool {
        self.all_steps().any(|step| step.captures.iter().any(|c| c.name == name))
    }
}

/// One request with its captures and assertions.
#[derive(Debug, Clone)]
pub struct Step {
    pub id: StepId,
    pub place: Place,
    pub method: http::Method,
    pub target: Template,
    pub query: Vec<(String, Template)>,
    pub headers: Vec<(http::HeaderName, Template)>,
    pub body: Body,
    pub timeout: Duration,
    /// Written by the user, not the default.
    pub timeout_is_own: bool,
    pub redirects: u8,
    /// Waited before the request.
    pub pause: Option<Duration>,
    pub poll: Option<Poll>,
    pub retry: Option<Retry>,
    /// Instead of the journey's.
    pub auth: Option<Auth>,
    /// Whether error pages that answer 2xx are recognised, instead of the journey's word.
    pub error_pages: Option<bool>,
    pub assertions: Vec<Assertion>,
    pub captures: Vec<Capture>,
    /// Limits the step to these variants; empty means all.
    pub only: Vec<VariantId>,
}

/// The templates of a step, shared or exclusive: written once for both.
macro_rules! walk {
    ($sent:ident, $expected:ident, $nested:ident $(, $mutability:tt)?) => {
        /// The templates of what the step sends.
        pub fn $sent<'a>(&'a $($mutability)? self, out: &mut Vec<&'a $($mutability)? Template>) {
            let Self { target, query, headers, body, auth, .. } = self;
            out.push(target);
            for (_, template) in query {
                out.push(template);
            }
            for (_, template) in headers {
                out.push(template);
            }
            body.$nested(out);
            if let Some(auth) = auth {
                auth.$nested(out);
            }
        }

        /// The templates of what it expects.
        pub fn $expected<'a>(&'a $($mutability)? self, out: &mut Vec<&'a $($mutability)? Template>) {
            let Self { assertions, poll, .. } = self;
            for Assertion { conditions, .. } in assertions {
                for condition in conditions {
                    condition.$nested(out);
                }
            }
            if let Some(Poll { until, .. }) = poll {
                for Assertion { conditions, .. } in until {
                    for condition in conditions {
                        condition.$nested(out);
                    }
                }
            }
        }
    };
}

impl Step {
    pub fn asserts_status(&self) -> bool {
        self.assertions.iter().any(|a| matches!(a.subject, crate::journey::assertion::Subject::Status))
    }

    /// What `poll` waits for; empty without one.
    pub fn until(&self) -> &[Assertion] {
        self.poll.as_ref().map_or(&[], |poll| &poll.until)
    }

    walk!(request_templates, expectation_templates, collect);
    walk!(request_templates_mut, expectation_templates_mut, collect_mut, mut);

    /// Every template of the step, in no particular order.
    pub fn templates(&self) -> Vec<&Template> {
        let mut out = Vec::new();
        self.request_templates(&mut out);
        self.expectation_templates(&mut out);
        out
    }
}
