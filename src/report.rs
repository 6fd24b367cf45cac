//! The waist: what one run found, as a plain, self-contained, already redacted value.
//!
//! Everything above exists to make a [`RunReport`]; metrics, terminal, logs (and later store, alerts and chat)
//! only read one. No captured value and no body is in it, only bounded texts that went through the redactor.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::ids::{JourneyKey, StepId};

/// One execution of a journey or of one of its variants.
#[derive(Debug, Clone, Serialize)]
pub struct RunReport {
    pub run_id: String,
    pub key: JourneyKey,
    pub location: String,
    /// When it was due; equal to `started_at` for a run by hand.
    pub scheduled_at: Timestamp,
    pub started_at: Timestamp,
    /// From the first step's start to the last step's end, cleanup apart.
    #[serde(rename = "duration_seconds", serialize_with = "seconds")]
    pub duration: Duration,
    pub outcome: Outcome,
    /// Passed, but slower than the latency objective.
    pub degraded: bool,
    /// The maintenance window that it was due in: it counts for nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<String>,
    /// W3C trace id sent with every request of the run.
    pub trace_id: String,
    pub steps: Vec<StepReport>,
    pub cleanup: Vec<StepReport>,
}

impl RunReport {
    /// When its last step ended.
    pub fn ended_at(&self) -> Timestamp {
        self.started_at + self.duration
    }

    /// What failed, for whoever is told of it; `None` unless the run failed at a step.
    pub fn failure_facts(&self) -> Option<FailureFacts> {
        let culprit = self.culprit()?;
        let StepOutcome::Failed(failure) = &culprit.outcome else { return None };
        if !matches!(self.outcome, Outcome::Failed(_)) {
            return None;
        }
        let exchange = culprit.exchange.as_ref();
        let with = |wanted: fn(&StepOutcome) -> bool| {
            self.steps.iter().filter(|s| wanted(&s.outcome)).map(|s| s.id.clone()).collect()
        };
        Some(FailureFacts {
            at: self.started_at,
            step: culprit.id.clone(),
            failure: StoredFailure {
                reason: failure.reason,
                kind: failure.kind.to_owned(),
                subject: failure.subject.clone(),
                expected: failure.expected.clone(),
                got: failure.got.clone(),
                place: failure.place.clone(),
            },
            status: exchange.and_then(|e| e.status),
            method: exchange.map_or_else(String::new, |e| e.method.clone()),
            url: exchange.map_or_else(String::new, |e| e.url.clone()),
            run_id: self.run_id.clone(),
            request_id: exchange.map_or_else(String::new, |e| e.request_id.clone()),
            trace_id: self.trace_id.clone(),
            response_ids: exchange.map_or_else(Vec::new, |e| e.response_ids.clone()),
            curl: exchange.and_then(|e| e.curl.clone()),
            passed: with(|o| *o == StepOutcome::Passed),
            blocked: with(|o| *o == StepOutcome::Blocked),
        })
    }

    /// The step that decided the outcome, if it did not pass.
    pub fn culprit(&self) -> Option<&StepReport> {
        self.steps.iter().find(|s| matches!(s.outcome, StepOutcome::Failed(_) | StepOutcome::Errored { .. }))
    }
}

fn seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Passed,
    /// The target's fault.
    Failed(Reason),
    /// Ours, or nobody's.
    Errored(Fault),
}

/// What became of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepOutcome {
    Passed,
    Failed(Failure),
    Errored {
        fault: Fault,
        detail: String,
    },
    /// It stands after the step that failed.
    Blocked,
    /// A cleanup step whose names never came to exist: there is nothing to clean.
    NotNeeded,
}

/// Why a step failed, in words for people, all redacted and bounded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    pub reason: Reason,
    /// The finer kind, such as `dns_nxdomain`; equal to the reason when there is none.
    pub kind: &'static str,
    /// What was looked at: `status`, `css h1`, `connect`.
    pub subject: String,
    pub expected: String,
    pub got: String,
    /// `FILE:LINE:COL` of the assertion, capture or step.
    pub place: String,
}

#[derive(Debug, Clone, Serialize)]
pub struct StepReport {
    pub id: StepId,
    pub outcome: StepOutcome,
    /// The facts of its requests; `None` when none was sent.
    pub exchange: Option<ExchangeReport>,
}

impl StepReport {
    pub fn without_request(id: StepId, outcome: StepOutcome) -> Self {
        Self { id, outcome, exchange: None }
    }
}

/// What a journey's gauges show, so that they are there again after a restart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LastResult {
    pub up: Option<bool>,
    pub last_run: Option<Timestamp>,
    pub last_success: Option<Timestamp>,
    pub last_duration: Option<Duration>,
}

impl LastResult {
    /// What it is after a run. Errored runs say nothing of the target.
    pub fn after(self, report: &RunReport) -> Self {
        let ended = Some(report.ended_at());
        match report.outcome {
            Outcome::Errored(_) => self,
            Outcome::Passed => {
                Self { up: Some(true), last_run: ended, last_success: ended, last_duration: Some(report.duration) }
            }
            Outcome::Failed(_) => {
                Self { up: Some(false), last_run: ended, last_duration: Some(report.duration), ..self }
            }
        }
    }
}

/// What is kept and told of a failed run: enough to look it up and to repeat it. Redacted like the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureFacts {
    /// When the run started.
    pub at: Timestamp,
    pub step: StepId,
    #[serde(flatten)]
    pub failure: StoredFailure,
    pub status: Option<u16>,
    pub method: String,
    pub url: String,
    pub run_id: String,
    pub request_id: String,
    pub trace_id: String,
    pub response_ids: Vec<(String, String)>,
    pub curl: Option<String>,
    /// Steps that passed before the one that failed.
    pub passed: Vec<StepId>,
    /// Steps after it.
    pub blocked: Vec<StepId>,
}

/// A [`Failure`] as it is read back from the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredFailure {
    pub reason: Reason,
    pub kind: String,
    pub subject: String,
    pub expected: String,
    pub got: String,
    pub place: String,
}

/// What a step sent and what came back.
#[derive(Debug, Clone, Serialize)]
pub struct ExchangeReport {
    pub method: String,
    /// Redacted; the last one requested.
    pub url: String,
    #[serde(rename = "started_after_seconds", serialize_with = "seconds")]
    pub started_after: Duration,
    #[serde(rename = "duration_seconds", serialize_with = "seconds")]
    pub duration: Duration,
    /// Summed over redirects.
    #[serde(rename = "phases_seconds")]
    pub phases: Phases,
    /// Final response; `None` when there was none.
    pub status: Option<u16>,
    pub http_version: Option<&'static str>,
    pub remote_addr: Option<String>,
    /// A connection of an earlier request was used again.
    pub connection_reused: bool,
    pub redirects: Vec<Hop>,
    /// How often the request was repeated until something held.
    pub polls: u32,
    /// Attempts before this one, and why each was given up.
    pub retries: Vec<Retried>,
    /// Decoded body bytes.
    pub body_bytes: u64,
    /// `X-Request-ID` of the last request.
    pub request_id: String,
    /// Ids that the target answered with, such as `cf-ray`, for looking up its logs.
    pub response_ids: Vec<(String, String)>,
    /// Earliest end of validity in the certificate chain.
    pub certificate_expires: Option<Timestamp>,
    pub warnings: Vec<String>,
    /// One line that repeats a failed request, secrets masked as shell variables.
    pub curl: Option<String>,
}

/// An attempt that was made again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Retried {
    pub reason: Reason,
    pub got: String,
    /// From the step's start.
    #[serde(rename = "after_seconds", serialize_with = "seconds")]
    pub after: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hop {
    pub status: u16,
    pub url: String,
}

/// Where a request's time went. `connect` is TCP alone, `processing` lasts from the request to the response's
/// head, `transfer` from there to the end of the body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Phases {
    #[serde(serialize_with = "seconds")]
    pub resolve: Duration,
    #[serde(serialize_with = "seconds")]
    pub connect: Duration,
    #[serde(serialize_with = "seconds")]
    pub tls: Duration,
    #[serde(serialize_with = "seconds")]
    pub processing: Duration,
    #[serde(serialize_with = "seconds")]
    pub transfer: Duration,
}

impl Phases {
    pub const NAMES: [&'static str; 5] = ["resolve", "connect", "tls", "processing", "transfer"];

    /// In the order of [`Self::NAMES`].
    pub fn values(&self) -> [Duration; 5] {
        [self.resolve, self.connect, self.tls, self.processing, self.transfer]
    }

    pub fn add(&mut self, other: &Self) {
        self.resolve += other.resolve;
        self.connect += other.connect;
        self.tls += other.tls;
        self.processing += other.processing;
        self.transfer += other.transfer;
    }
}

/// A closed set of words, each with the text that metrics and messages use.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(dead_code, reason = "the sets are the contract with users; some words wait for their feature")]
        pub enum $name { $($variant,)* }

        impl $name {
            #[allow(dead_code, reason = "not every set is listed")]
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl $name {
            /// The word's meaning; `None` for any other word.
            #[allow(dead_code, reason = "not every set is read back")]
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|word| word.as_str() == text)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'_, str> as serde::Deserialize>::deserialize(deserializer)?;
                Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("unknown word `{text}`")))
            }
        }
    };
}
pub(crate) use words;

words!(
    /// Why a step failed: the metric label, closed.
    Reason {
        Dns = "dns",
        ConnectRefused = "connect_refused",
        ConnectTimeout = "connect_timeout",
        ConnectReset = "connect_reset",
        ConnectUnreachable = "connect_unreachable",
        TlsCertificate = "tls_certificate",
        TlsHandshake = "tls_handshake",
        ReadTimeout = "read_timeout",
        BodyTimeout = "body_timeout",
        StepTimeout = "step_timeout",
        RunTimeout = "run_timeout",
        Protocol = "protocol",
        TooLarge = "too_large",
        Redirect = "redirect",
        RateLimited = "rate_limited",
        Http4xx = "http_4xx",
        Http5xx = "http_5xx",
        SoftError = "soft_error",
        AssertionStatus = "assertion_status",
        AssertionLatency = "assertion_latency",
        AssertionHeader = "assertion_header",
        AssertionCookie = "assertion_cookie",
        AssertionBody = "assertion_body",
        AssertionJson = "assertion_json",
        AssertionCss = "assertion_css",
        AssertionUrl = "assertion_url",
        AssertionRedirects = "assertion_redirects",
        AssertionSize = "assertion_size",
        AssertionTls = "assertion_tls",
        CaptureMissing = "capture_missing",
    }
);

words!(
    /// Why a run says nothing about the target.
    Fault {
        Fds = "fds",
        Ports = "ports",
        Resolver = "resolver",
        Clock = "clock",
        Panic = "panic",
        Shutdown = "shutdown",
        Challenged = "challenged",
        Network = "network",
        Lag = "lag",
    }
);

impl Fault {
    /// What it means, and what to do.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Network => {
                "nothing answers from here, and no control probe does: this machine's network is gone; runs say nothing of the targets"
            }
            Self::Lag => "this machine is too slow: timers come late; give it more CPU or run fewer journeys at once",
            Self::Fds => "no file descriptors are left: raise LimitNOFILE or lower limits.concurrent_runs",
            Self::Ports => {
                "no local ports are left: lower limits.concurrent_runs or widen net.ipv4.ip_local_port_range"
            }
            Self::Resolver => "no DNS resolver answers: see /etc/resolv.conf",
            Self::Clock => "the clock jumps: see the time service",
            Self::Panic => "a run panicked: a bug, please report it",
            Self::Challenged => "the site takes the monitor for a robot: allow it there, by address or User-Agent",
            Self::Shutdown => "journeyd was stopped",
        }
    }
}

words!(
    /// Why a due run did not start.
    MissedReason {
        Overlap = "overlap",
        Capacity = "capacity",
        Paused = "paused",
        Downtime = "downtime",
    }
);

words!(
    /// The class of a response's status.
    StatusClass {
        None = "none",
        Informational = "1xx",
        Success = "2xx",
        Redirection = "3xx",
        ClientError = "4xx",
        ServerError = "5xx",
    }
);

impl StatusClass {
    pub fn of(status: Option<u16>) -> Self {
        match status {
            Some(100..200) => Self::Informational,
            Some(200..300) => Self::Success,
            Some(300..400) => Self::Redirection,
            Some(400..500) => Self::ClientError,
            // 600 and beyond do occur; whoever answers so is broken on the server's side.
            Some(500..) => Self::ServerError,
            Some(0..100) | None => Self::None,
        }
    }
}
