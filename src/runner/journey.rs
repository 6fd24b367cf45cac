//! One run of a journey, from its vars to its report.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::clock::{JumpDetector, Stopwatch, Timestamp, now};
use crate::entropy;
use crate::journey::functions::Functions;
use crate::journey::model::{CLEANUP_TIMEOUT, Journey, Plan, Step};
use crate::journey::network::Network;
use crate::journey::template::{Bound, NamedSecret, RenderError, Root, Scope};
use crate::report::{ExchangeReport, Failure, Fault, Outcome, Phases, Reason, RunReport, StepOutcome, StepReport};
use crate::runner::cookies::Jar;
use crate::runner::learn::learn_password;
use crate::runner::oauth::Tokens;
use crate::runner::resolver::{Resolver, RunResolver};
use crate::runner::self_check::SelfCheck;
use crate::runner::step::{StepEnd, run_step};
use crate::runner::timing::Marks;
use crate::runner::tls::{RootsProblem, SharedTls};
use crate::runner::transcript::{self, Noted, Transcript};
use crate::runner::transport::{Session, Transport};
use crate::secret::Redactor;

/// What all runs share and a reload replaces.
#[derive(Clone)]
pub struct RunnerSettings {
    pub location: String,
    pub env: Arc<BTreeMap<String, String>>,
    pub secrets: Arc<BTreeMap<String, NamedSecret>>,
    pub redactor: Redactor,
    pub max_body: u64,
}

impl RunnerSettings {
    /// The host that a plan's runs are counted against: its base URL's, else its first absolute target's.
    /// `None` when only a run can tell.
    pub fn host_of(&self, journey: &Journey, plan: &Plan) -> Option<String> {
        let mut scope = self.scope(now());
        for (name, template) in &plan.vars {
            let value = template.render(&scope, &mut |_| {}).ok()?;
            scope.names.insert(name.clone(), Bound { value, secret: false, captured: false });
        }
        let targets = plan.steps.iter().map(|step| &step.target);
        journey
            .base_url
            .iter()
            .chain(targets)
            .filter_map(|template| Url::parse(&template.render(&scope).ok()?.text).ok())
            .find_map(|url| url.host_str().map(str::to_owned))
    }

    fn scope(&self, at: Timestamp) -> Scope {
        Scope {
            names: BTreeMap::new(),
            env: Arc::clone(&self.env),
            secrets: Arc::clone(&self.secrets),
            functions: Functions { now: at, random: Arc::new(entropy::random_u64) },
        }
    }
}

/// What to run.
#[derive(Clone)]
pub struct Order {
    pub journey: Arc<Journey>,
    pub plan: Arc<Plan>,
    pub scheduled_at: Timestamp,
    /// Stop after this step, for `run --until`.
    pub until: Option<crate::ids::StepId>,
    /// Where to tell what went over the wire, for `run --verbose`.
    pub transcript: Option<Transcript>,
    /// The maintenance window that it is due in.
    pub maintenance: Option<String>,
}

impl Order {
    /// A scheduled run.
    pub fn scheduled(journey: Arc<Journey>, plan: Arc<Plan>, scheduled_at: Timestamp) -> Self {
        Self { journey, plan, scheduled_at, until: None, transcript: None, maintenance: None }
    }
}

/// How a run is cut short. `steps` ends the steps but lets cleanup go on until `cleanup` too is cancelled.
#[derive(Clone, Default)]
pub struct Stops {
    pub steps: CancellationToken,
    pub cleanup: CancellationToken,
}

/// Runs journeys. Cheap to clone; holds the parts that are too dear to make for each run.
#[derive(Clone)]
pub struct Runner {
    tls: SharedTls,
    resolver: Resolver,
    tokens: Tokens,
}

impl Runner {
    pub fn new() -> Result<Self, RootsProblem> {
        Ok(Self { tls: SharedTls::from_system()?, resolver: Resolver::from_system(), tokens: Tokens::default() })
    }

    /// What looks at reports before anybody else does.
    pub fn self_check(&self) -> SelfCheck {
        SelfCheck::new(self.resolver.clone())
    }

    /// The TLS set-up and the resolver, for other clients of this process.
    pub fn client_parts(&self) -> (rustls::ClientConfig, impl reqwest::dns::Resolve + use<>) {
        let marks = Marks::new();
        let (tls, _) = self.tls.for_run(&marks, &Network::default());
        let resolver =
            RunResolver { resolver: self.resolver.clone(), marks, fixed: Arc::default(), family: None, alias: None };
        (tls, resolver)
    }

    /// Runs `order`. Whatever the target does, and also if this code panics, there is a report.
    pub async fn run(&self, settings: &RunnerSettings, order: &Order, stops: &Stops) -> RunReport {
        let started_at = now();
        let transport = Transport::new(self.tls.clone(), self.resolver.clone(), settings.max_body);
        let run = AssertUnwindSafe(run(transport, self.tokens.clone(), settings, order, stops, started_at));
        match run.catch_unwind().await {
            Ok(report) => report,
            Err(_) => errored(settings, order, started_at, Fault::Panic),
        }
    }
}

/// A report for a run that got nowhere.
fn errored(settings: &RunnerSettings, order: &Order, started_at: Timestamp, fault: Fault) -> RunReport {
    let blocked = |step: &Arc<Step>| StepReport::without_request(step.id.clone(), StepOutcome::Blocked);
    RunReport {
        run_id: entropy::uuid().to_string(),
        key: order.plan.key.clone(),
        location: settings.location.clone(),
        scheduled_at: order.scheduled_at,
        started_at,
        duration: Duration::ZERO,
        outcome: Outcome::Errored(fault),
        degraded: false,
        maintenance: order.maintenance.clone(),
        trace_id: String::new(),
        steps: order.plan.steps.iter().map(blocked).collect(),
        cleanup: Vec::new(),
    }
}

/// The time that a sequence of steps may take together.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    pub watch: Stopwatch,
    pub total: Duration,
    /// What a step fails with when this limit, and not its own, ends it.
    pub reason: Reason,
}

impl Limit {
    pub fn remaining(&self) -> Duration {
        self.total.saturating_sub(self.watch.elapsed())
    }
}

/// A run under way: what its steps share.
pub struct Run<'a> {
    pub journey: &'a Journey,
    pub plan: &'a Plan,
    pub session: Session,
    pub scope: Scope,
    pub redactor: Redactor,
    pub jar: Jar,
    /// OAuth2 tokens, kept over runs.
    pub tokens: Tokens,
    /// What went over the wire, if somebody asks.
    pub noted: Option<Vec<Noted>>,
    /// Origins that the journey's author named: they get request ids, trace headers and shared headers.
    pub trusted: BTreeSet<String>,
    pub base: Option<Url>,
    pub trace_id: String,
    pub started: Stopwatch,
}

async fn run(
    transport: Transport,
    tokens: Tokens,
    settings: &RunnerSettings,
    order: &Order,
    stops: &Stops,
    started_at: Timestamp,
) -> RunReport {
    let (journey, plan) = (&*order.journey, &*order.plan);
    let jump = JumpDetector::start();
    let mut start = Start::of(journey, plan, settings, started_at);
    let prepared = start.prepare();
    let host = start.base.as_ref().and_then(Url::host_str);
    let session = match transport.session(&journey.network, start.proxy.as_ref(), host) {
        Ok(session) => session,
        Err(error) => {
            // Building a client from a ready configuration fails only for lack of resources.
            tracing::error!(error = %error.without_url(), "could not set up an HTTP client: the run says nothing of the target. Check the journey's proxy and tls settings; else this is a bug, please report it.");
            return errored(settings, order, started_at, Fault::Fds);
        }
    };
    let mut run = Run {
        journey,
        plan,
        session,
        scope: start.scope,
        redactor: start.redactor,
        jar: Jar::default(),
        tokens,
        noted: order.transcript.is_some().then(Vec::new),
        trusted: start.trusted,
        base: start.base,
        trace_id: entropy::uuid().simple().to_string(),
        started: Stopwatch::start(),
    };
    let limit = Limit { watch: run.started, total: journey.timeout, reason: Reason::RunTimeout };
    let (steps, stop) = run.steps(order, prepared, limit, &stops.steps).await;
    let duration = run.started.elapsed();
    let cleanup = run.cleanup(&stops.cleanup).await;

    if let (Some(transcript), Some(noted)) = (&order.transcript, run.noted.take()) {
        transcript.put(transcript::render(&mut run, &noted));
    }

    let mut outcome = match stop {
        None => Outcome::Passed,
        Some(Stop::Failed(reason)) => Outcome::Failed(reason),
        Some(Stop::Errored(fault)) => Outcome::Errored(fault),
    };
    if matches!(outcome, Outcome::Failed(_)) && jump.jumped() {
        // Validity dates and one-time passwords follow the wall clock; with it stepped, nothing is proven.
        outcome = Outcome::Errored(Fault::Clock);
    }
    let latency = journey.slo.and_then(|slo| slo.latency);
    RunReport {
        run_id: entropy::uuid().to_string(),
        key: plan.key.clone(),
        location: settings.location.clone(),
        scheduled_at: order.scheduled_at,
        started_at,
        duration,
        degraded: outcome == Outcome::Passed && latency.is_some_and(|limit| duration > limit),
        maintenance: order.maintenance.clone(),
        outcome,
        trace_id: run.trace_id,
        steps,
        cleanup,
    }
}

/// What is known before the first request.
struct Start<'a> {
    journey: &'a Journey,
    plan: &'a Plan,
    scope: Scope,
    redactor: Redactor,
    trusted: BTreeSet<String>,
    base: Option<Url>,
    proxy: Option<Url>,
}

impl<'a> Start<'a> {
    fn of(journey: &'a Journey, plan: &'a Plan, settings: &RunnerSettings, at: Timestamp) -> Self {
        Self {
            journey,
            plan,
            scope: settings.scope(at),
            redactor: settings.redactor.clone(),
            trusted: BTreeSet::new(),
            base: None,
            proxy: None,
        }
    }

    /// Evaluates vars and the base URL, and finds the origins that the author named.
    fn prepare(&mut self) -> Result<(), RenderError> {
        for (name, template) in &self.plan.vars {
            let mut secret = false;
            let value = template.render(&self.scope, &mut |rendered| secret |= rendered.secret)?;
            // Also what `--var` put in a secret's place.
            secret |= crate::secret::is_secret_key(name);
            if secret {
                self.redactor.learn(&name.to_uppercase(), &crate::journey::template::to_text(&value));
            }
            self.scope.names.insert(name.clone(), Bound { value, secret, captured: false });
        }
        if let Some(template) = &self.journey.base_url {
            let text = template.render(&self.scope)?.text;
            let url = Url::parse(&text).ok().filter(|u| matches!(u.scheme(), "http" | "https") && u.has_host());
            let Some(url) = url else {
                let shown = self.redactor.redact(&text);
                return Err(RenderError {
                    missing: None,
                    message: format!("base_url is not an http or https URL: {shown:?}"),
                });
            };
            self.trusted.insert(url.origin().ascii_serialization());
            self.base = Some(url);
        }
        if let Some(template) = &self.journey.network.proxy {
            let text = template.render(&self.scope)?.text;
            let url = Url::parse(&text).ok().filter(|u| matches!(u.scheme(), "http" | "https") && u.has_host());
            let Some(url) = url else {
                return Err(RenderError { missing: None, message: "proxy is not an http or https URL".to_owned() });
            };
            learn_password(&mut self.redactor, &url);
            self.proxy = Some(url);
        }
        let plan = self.plan;
        for step in plan.all_steps() {
            let prefix = step.target.before_captures(|name| plan.captures(name));
            let Ok(rendered) = prefix.render(&self.scope) else { continue };
            // An origin is whole only when something follows it, or when nothing captured does.
            let whole = rendered.text.split_once("://").is_some_and(|(_, rest)| rest.contains('/'))
                || !step.target.references().any(|r| r.root == Root::Name && plan.captures(&r.name));
            if let Some(url) = Url::parse(&rendered.text).ok().filter(|_| whole) {
                self.trusted.insert(url.origin().ascii_serialization());
            }
        }
        Ok(())
    }
}

enum Stop {
    Failed(Reason),
    Errored(Fault),
}

impl Run<'_> {
    async fn steps(
        &mut self,
        order: &Order,
        prepared: Result<(), RenderError>,
        limit: Limit,
        stop_token: &CancellationToken,
    ) -> (Vec<StepReport>, Option<Stop>) {
        let mut stop = None;
        let mut reports = Vec::with_capacity(self.plan.steps.len());
        let mut prepared = Some(prepared);
        for step in &self.plan.steps {
            if stop.is_some() {
                reports.push(StepReport::without_request(step.id.clone(), StepOutcome::Blocked));
                continue;
            }
            if let Some(Err(error)) = prepared.take() {
                let failure = unrenderable(step, &self.redactor.redact(&error.message));
                stop = Some(Stop::Failed(failure.reason));
                reports.push(StepReport::without_request(step.id.clone(), StepOutcome::Failed(failure)));
                continue;
            }
            let report = self.attempt(step, limit, stop_token).await;
            stop = match &report.outcome {
                StepOutcome::Failed(failure) => Some(Stop::Failed(failure.reason)),
                StepOutcome::Errored { fault, .. } => Some(Stop::Errored(*fault)),
                StepOutcome::Passed | StepOutcome::Blocked | StepOutcome::NotNeeded => None,
            };
            reports.push(report);
            if order.until.as_ref() == Some(&step.id) {
                break;
            }
        }
        (reports, stop)
    }

    /// Runs one step unless, or until, it is told to stop.
    async fn attempt(&mut self, step: &Arc<Step>, limit: Limit, stop_token: &CancellationToken) -> StepReport {
        let began = self.started.elapsed();
        let end = tokio::select! {
            biased;
            () = stop_token.cancelled() => StepEnd::cancelled(),
            end = run_step(self, step, limit) => end,
        };
        end.into_report(step, began)
    }

    /// Cleanup runs whatever happened, each step once what it names exists, within a limit of its own.
    async fn cleanup(&mut self, stop_token: &CancellationToken) -> Vec<StepReport> {
        let limit = Limit { watch: Stopwatch::start(), total: CLEANUP_TIMEOUT, reason: Reason::StepTimeout };
        let mut reports = Vec::with_capacity(self.plan.cleanup.len());
        for step in &self.plan.cleanup {
            let missing = step.templates().into_iter().flat_map(|t| t.references()).any(|r| {
                r.root == Root::Name
                    && !self.scope.names.contains_key(&r.name)
                    && !step.captures.iter().any(|c| c.name == r.name)
            });
            if missing {
                reports.push(StepReport::without_request(step.id.clone(), StepOutcome::NotNeeded));
                continue;
            }
            reports.push(self.attempt(step, limit, stop_token).await);
        }
        reports
    }
}

/// A template that has no value: a capture that held something unfit, or a setting that is wrong.
pub fn unrenderable(step: &Step, message: &str) -> Failure {
    Failure {
        reason: Reason::CaptureMissing,
        kind: "template",
        subject: "template".into(),
        expected: "a request that can be sent".into(),
        got: crate::journey::assertion::shorten(message, 300),
        place: step.place.show(),
    }
}

/// An exchange report before anything happened.
pub fn blank_exchange(method: &str, url: String, request_id: String) -> ExchangeReport {
    ExchangeReport {
        method: method.to_owned(),
        url,
        started_after: Duration::ZERO,
        duration: Duration::ZERO,
        phases: Phases::default(),
        status: None,
        http_version: None,
        remote_addr: None,
        connection_reused: false,
        redirects: Vec::new(),
        polls: 0,
        retries: Vec::new(),
        body_bytes: 0,
        request_id,
        response_ids: Vec::new(),
        certificate_expires: None,
        warnings: Vec::new(),
        curl: None,
    }
}
