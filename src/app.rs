//! The whole daemon, in process: the only place that builds and joins tasks.
//!
//! Start order: metrics, pipeline, driver, server; ready once the store is open and the listener bound. Stop order is
//! the reverse of the flow: no new runs, steps cancelled, cleanup within its budget, reports drained and committed,
//! messages flushed, server last.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::{Beat, Stopwatch, Timestamp, now};
use crate::config::Config;
use crate::config::plan::summaries;
use crate::ids::JourneyKey;
use crate::incident::Act;
use crate::journey::{Journey, Plan};
use crate::metrics::{Change, Metrics, StoreOp};
use crate::notify::backlog::describe;
use crate::notify::message::About;
use crate::notify::outbox::Sender;
use crate::notify::retry::End;
use crate::notify::route::Subject;
use crate::pipeline::judge::{Judge, JudgeSettings};
use crate::pipeline::{Input, Parts, Pipeline, QUEUE};
use crate::report::{MissedReason, RunReport};
use crate::runner::{Order, Runner, RunnerSettings, SelfCheck, Stops};
use crate::schedule::agenda::{Agenda, Item};
use crate::schedule::driver::{Command, Hands, drive};
use crate::secret::Secret;
use crate::store::read::Reader;
use crate::store::{Keep, Restored, Store};
use crate::web::access::Guard;
use crate::web::api::Verbs;
use crate::web::{Health, Reload, Shared, listener, router};

/// For the last commits and messages.
const DRAIN: Duration = Duration::from_secs(8);
/// Runs by hand at once.
const AT_ONCE: usize = 4;
/// How often it is looked whether somebody waits for a sign of life.
const PULSE: Duration = Duration::from_secs(1);
/// A part that is silent for longer stands still.
const STILL: Duration = Duration::from_secs(30);
/// How often Alertmanager is told again (Prometheus' `--rules.alert.resend-delay`).
const WATCHDOG_EVERY: Duration = Duration::from_secs(60);
/// How often the store forgets what may go: each round takes a bounded slice.
const RETENTION_EVERY: Duration = Duration::from_secs(10);

/// As what changes of journeyd's own configuration are told.
const OWN_SERVICE: &str = "journeyd";

/// What runs look up when they start; a reload replaces it as a whole.
struct Current {
    settings: RunnerSettings,
    keep: Keep,
    config: Config,
    plans: HashMap<JourneyKey, (Arc<Journey>, Arc<Plan>)>,
}

impl Current {
    fn of(config: &Config) -> Self {
        let plans = config.journeys.iter().flat_map(|journey| {
            journey.plans.iter().map(|plan| (plan.key.clone(), (Arc::clone(journey), Arc::clone(plan))))
        });
        Self {
            settings: config.runner.clone(),
            keep: config.store.keep,
            config: config.clone(),
            plans: plans.collect(),
        }
    }
}

pub struct App {
    metrics: Metrics,
    health: Arc<Health>,
    guard: Arc<Guard>,
    current: Arc<RwLock<Arc<Current>>>,
    commands: mpsc::Sender<Command>,
    stops: Stops,
    stop_driver: CancellationToken,
    stop_server: CancellationToken,
    runs: TaskTracker,
    inputs: mpsc::Sender<Input>,
    beats: Beats,
    driver: JoinHandle<()>,
    pipeline: JoinHandle<()>,
    retention: JoinHandle<()>,
    /// What ends with everything else, at once.
    helpers: Vec<JoinHandle<()>>,
    server: JoinHandle<()>,
}

/// Signs of life, for a watchdog.
#[derive(Clone)]
pub struct Beats {
    scheduler: Beat,
    pipeline: Beat,
    writer: Beat,
}

impl Beats {
    /// How long the longest silent of them has been silent.
    pub fn silence(&self) -> Duration {
        self.without_store().max(self.writer.age())
    }

    /// The same without the store, which monitoring and telling can do without.
    fn without_store(&self) -> Duration {
        self.scheduler.age().max(self.pipeline.age())
    }
}

/// What changes something from outside.
pub struct Writes {
    /// The store's own, which may write.
    pub token: Secret,
    pub reload: mpsc::Sender<Reload>,
}

/// What an app is made of besides its configuration.
pub struct AppParts {
    pub runner: Runner,
    /// Bound already, so that a taken port is the caller's to report.
    pub listener: TcpListener,
    /// Open already, so that a store in use is the caller's to report.
    pub store: (Store, Restored),
    pub sender: Sender,
    pub watcher: Option<mpsc::Sender<Input>>,
    /// What else than reading is possible.
    pub writes: Option<Writes>,
}

fn judge_settings(config: &Config) -> JudgeSettings {
    JudgeSettings {
        location: config.runner.location.clone(),
        journeys: config.journeys.clone(),
        notify: config.notify.clone(),
        maintenance: config.maintenance.clone(),
        config: config.told_path.clone(),
    }
}

impl App {
    /// Starts everything.
    pub async fn start(config: &Config, parts: AppParts) -> Self {
        let AppParts { runner, listener, store: (store, restored), sender, watcher, writes } = parts;
        crate::secret::install_for_sinks(config.runner.redactor.clone());
        let metrics = Metrics::new(config.metrics);
        metrics.configure(&config.journeys, &config.runner.location, config.metrics, now());
        let health = Arc::new(Health::default());
        let current = Arc::new(RwLock::new(Arc::new(Current::of(config))));
        let stops = Stops::default();
        let runs = TaskTracker::new();
        let beats = Beats { scheduler: Beat::default(), pipeline: Beat::default(), writer: store.beat() };

        let last = restored.journeys.iter().map(|(key, kept)| (key.clone(), kept.scheduled_at)).collect();
        let (inputs, received) = mpsc::channel(QUEUE);
        let (shown, picture) = watch::channel(Arc::default());
        if restored.in_trouble {
            metrics.store_error(StoreOp::Open);
        }
        let reader = store.dir().map(Reader::new);
        let store = Arc::new(store);
        // What is in memory alone is not stored.
        let in_memory = store.dir().is_none();
        let stored = Arc::new(AtomicBool::new(true));
        let (judge, first) = Judge::new(judge_settings(config), restored, now());
        let parts = Parts {
            store: Arc::clone(&store),
            sender: sender.clone(),
            metrics: metrics.clone(),
            watcher,
            shown,
            beat: beats.pipeline.clone(),
            stored: Arc::clone(&stored),
        };
        let pipeline = tokio::spawn(Pipeline::new(judge, parts).run(first, received));
        let retention = tokio::spawn(retain(store, Arc::clone(&current), metrics.clone()));

        let check = runner.self_check();
        let watcher = tokio::spawn(check.clone().watch_timers());
        let pulse =
            tokio::spawn(pulse(Arc::clone(&current), sender, beats.clone(), (!in_memory).then(|| Arc::clone(&stored))));
        let verbs = Some(Verbs {
            act: Arc::new({
                let inputs = inputs.downgrade();
                move |act| Box::pin(ask(inputs.clone(), act))
            }),
            run: Arc::new({
                let at_once = AtOnce {
                    current: Arc::clone(&current),
                    runner: runner.clone(),
                    check: check.clone(),
                    stops: stops.clone(),
                    reports: inputs.downgrade(),
                    slots: Arc::new(tokio::sync::Semaphore::new(AT_ONCE)),
                };
                move |key| Box::pin(at_once.clone().run(key))
            }),
            reader,
        });
        let (commands, received) = mpsc::channel(QUEUE);
        let hands = AppHands {
            metrics: metrics.clone(),
            current: Arc::clone(&current),
            runner,
            check,
            stops: stops.clone(),
            runs: runs.clone(),
            reports: inputs.clone(),
            commands: commands.clone(),
            beat: beats.scheduler.clone(),
        };
        let stop_driver = CancellationToken::new();
        let driver = tokio::spawn(drive(Agenda::new(config.limits), received, hands, stop_driver.clone()));
        let stop_server = CancellationToken::new();
        let told = Arc::clone(&stored);
        let stored_now = Arc::new(move || !in_memory && told.load(Ordering::Relaxed));
        let silence = beats.clone();
        let silence = Arc::new(move || silence.without_store());
        let in_force = Arc::clone(&current);
        let journeys = Arc::new(move || {
            let current = Arc::clone(&in_force.read().unwrap_or_else(PoisonError::into_inner));
            serde_json::to_value(summaries(&current.config)).unwrap_or_default()
        });
        let (token, reload) = writes.map(|writes| (writes.token, writes.reload)).unzip();
        let guard = Arc::new(Guard::new(config.access.clone(), token));
        let shared = Shared {
            metrics: metrics.clone(),
            health: Arc::clone(&health),
            picture,
            silence,
            journeys,
            guard: Arc::clone(&guard),
            reload,
            verbs,
            stored: stored_now,
        };
        let server = tokio::spawn(listener::serve(listener, router(shared), Arc::clone(&guard), stop_server.clone()));

        let app = Self {
            metrics,
            health,
            guard,
            current,
            commands,
            stops,
            stop_driver,
            stop_server,
            runs,
            inputs,
            beats,
            driver,
            pipeline,
            retention,
            helpers: vec![watcher, pulse],
            server,
        };
        app.schedule(config, last).await;
        app.health.set_ready();
        app
    }

    /// Something changed that may explain what follows.
    pub fn changed(&self, service: &str, version: String, source: &'static str) {
        self.metrics.change(service, Change { version, source, at: now() });
    }

    pub fn beats(&self) -> Beats {
        self.beats.clone()
    }

    /// Returns when a part that must not end has ended: a bug, after which only a new process can be trusted.
    pub async fn broken(&self) -> &'static str {
        loop {
            for (part, task) in [("scheduler", &self.driver), ("pipeline", &self.pipeline)] {
                if task.is_finished() {
                    return part;
                }
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    async fn schedule(&self, config: &Config, last: BTreeMap<JourneyKey, Timestamp>) {
        let command = Command::Replace { items: items(config), limits: config.limits, last };
        if self.commands.send(command).await.is_err() {
            tracing::error!("the scheduler is gone; nothing will run. This is a bug, please report it.");
        }
    }

    /// Puts a new configuration in force, as a whole. Runs under way end under the old one.
    pub async fn reload(&self, config: &Config) {
        crate::secret::install_for_sinks(config.runner.redactor.clone());
        let before = std::mem::replace(
            &mut *self.current.write().unwrap_or_else(PoisonError::into_inner),
            Arc::new(Current::of(config)),
        );
        self.metrics.configure(&config.journeys, &config.runner.location, config.metrics, now());
        if self.inputs.send(Input::Configure(Box::new(judge_settings(config)))).await.is_err() {
            tracing::error!("the pipeline is gone; nothing is judged. This is a bug, please report it.");
        }
        if before.config.version != config.version {
            self.changed(OWN_SERVICE, config.version.clone(), "config");
        }
        self.guard.replace(config.access.clone());
        self.schedule(config, BTreeMap::new()).await;
        self.health.reloaded(None);
    }

    /// The old configuration goes on; `problem` is one line for `/-/ready`.
    pub fn reload_failed(&self, problem: &str) {
        self.metrics.reload_failed();
        self.health.reloaded(Some(problem));
    }

    /// Ends everything: steps at once, cleanup within `cleanup`.
    pub async fn stop(self, cleanup: Duration) {
        self.health.set_draining();
        self.stop_driver.cancel();
        let _ = self.driver.await;
        self.stops.steps.cancel();
        self.runs.close();
        if tokio::time::timeout(cleanup, self.runs.wait()).await.is_err() {
            tracing::warn!(
                runs = self.runs.len(),
                "cleanup took too long and was cut off; check for left-over test data."
            );
            self.stops.cleanup.cancel();
            let _ = tokio::time::timeout(Duration::from_secs(1), self.runs.wait()).await;
        }
        // The driver's hands held the last sender besides this one and the runs'.
        drop(self.inputs);
        self.retention.abort();
        self.helpers.iter().for_each(JoinHandle::abort);
        if tokio::time::timeout(DRAIN, self.pipeline).await.is_err() {
            tracing::warn!(
                "what was decided last may not be in the store: it did not answer in time. Look at the disk."
            );
        }
        self.stop_server.cancel();
        let _ = self.server.await;
    }
}

/// One run, marked if it is due in a maintenance window, and looked at with doubt.
async fn run_one(
    current: &Current,
    runner: &Runner,
    check: &SelfCheck,
    stops: &Stops,
    journey: Arc<Journey>,
    plan: Arc<Plan>,
    scheduled_at: Timestamp,
) -> RunReport {
    let about = About::of(&journey, &plan.key, &current.settings.location);
    let subject = Subject { alert: "down", severity: journey.severity.as_str(), journey: &about };
    let window = current.config.maintenance.iter().find(|window| window.covers(subject, scheduled_at));
    let host = current.settings.host_of(&journey, &plan);
    let mut order = Order::scheduled(journey, plan, scheduled_at);
    order.maintenance = window.map(|window| window.name.clone());
    let report = runner.run(&current.settings, &order, stops).await;
    check.examine(report, host.as_deref(), &current.config.control).await
}

/// Runs by hand.
#[derive(Clone)]
struct AtOnce {
    current: Arc<RwLock<Arc<Current>>>,
    runner: Runner,
    check: SelfCheck,
    stops: Stops,
    reports: mpsc::WeakSender<Input>,
    slots: Arc<tokio::sync::Semaphore>,
}

impl AtOnce {
    async fn run(self, key: JourneyKey) -> Result<serde_json::Value, String> {
        let Ok(_slot) = self.slots.acquire().await else { return Err("shutting down".to_owned()) };
        let current = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner));
        let Some((journey, plan)) = current.plans.get(&key).cloned() else {
            let variants: Vec<&str> =
                current.plans.keys().filter(|k| k.journey == key.journey).map(JourneyKey::variant_label).collect();
            return Err(match variants.as_slice() {
                [] => format!("there is no journey `{}`", key.journey),
                [""] => format!("the journey `{}` has no variants", key.journey),
                names => format!("the journey `{}` has the variants {}; name one", key.journey, names.join(", ")),
            });
        };
        let report = run_one(&current, &self.runner, &self.check, &self.stops, journey, plan, now()).await;
        let value = serde_json::to_value(&report).map_err(|error| error.to_string())?;
        // A disabled journey can be tried; it counts for nothing.
        if let Some(reports) = self.reports.upgrade() {
            let _ = reports.send(Input::Report(Arc::new(report))).await;
        }
        Ok(value)
    }
}

/// Asks the pipeline for something.
async fn ask(inputs: mpsc::WeakSender<Input>, act: Act) -> Result<String, String> {
    let gone = || "shutting down".to_owned();
    let (reply, answered) = oneshot::channel();
    let inputs = inputs.upgrade().ok_or_else(gone)?;
    inputs.send(Input::Act { act, reply }).await.map_err(|_| gone())?;
    drop(inputs);
    answered.await.map_err(|_| gone())?
}

/// Shows elsewhere that journeyd lives: a heartbeat, and the watchdog of each Alertmanager.
async fn pulse(current: Arc<RwLock<Arc<Current>>>, sender: Sender, beats: Beats, stored: Option<Arc<AtomicBool>>) {
    let started = now();
    let mut beaten: Option<Stopwatch> = None;
    let mut watched: Option<Stopwatch> = None;
    let mut was_well = true;
    loop {
        tokio::time::sleep(PULSE).await;
        let current = Arc::clone(&current.read().unwrap_or_else(PoisonError::into_inner));
        // Whoever stands still must not say that he lives.
        if beats.silence() > STILL {
            continue;
        }
        let kept = stored.as_ref().is_some_and(|stored| stored.load(Ordering::Relaxed));
        if let Some(heartbeat) = current.config.heartbeat.as_ref().filter(|_| kept)
            && beaten.is_none_or(|at| at.elapsed() >= heartbeat.every)
        {
            beaten = Some(Stopwatch::start());
            let end = sender.get(&heartbeat.url).await;
            let well = matches!(end, End::Answer { status: 200..=299, .. });
            if !well && was_well {
                let error = describe(&end);
                tracing::warn!(
                    error,
                    "the heartbeat did not arrive; whoever waits for it will say that journeyd is dead. Check heartbeat.url from this machine."
                );
            }
            was_well = well;
        }
        if watched.is_none_or(|at| at.elapsed() >= WATCHDOG_EVERY) {
            watched = Some(Stopwatch::start());
            let location = &current.settings.location;
            let forgetful = current.config.notify.receivers.iter().filter(|(_, r)| r.dialect.resends());
            for (id, receiver) in forgetful {
                let end = sender.watchdog(receiver, location, started).await;
                if !matches!(end, End::Answer { status: 200..=299, .. }) {
                    tracing::warn!(receiver = %id, error = describe(&end), "the watchdog alert did not arrive; `journeyd notify test` tries the receiver.");
                }
            }
        }
    }
}

/// Keeps the store within its bounds.
async fn retain(store: Arc<Store>, current: Arc<RwLock<Arc<Current>>>, metrics: Metrics) {
    loop {
        let keep = current.read().unwrap_or_else(PoisonError::into_inner).keep;
        match store.retain(keep, now()).await {
            Ok(done) => {
                metrics.store_size(done.size);
                if done.more {
                    // What is decided comes first: a breath between two rounds.
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    continue;
                }
            }
            Err(error) => {
                metrics.store_error(StoreOp::Retention);
                tracing::debug!(%error, "the store could not be tidied.");
            }
        }
        tokio::time::sleep(RETENTION_EVERY).await;
    }
}

/// What the agenda works on. Disabled journeys are listed in the metrics and not scheduled.
fn items(config: &Config) -> Vec<Item> {
    let mut items = Vec::new();
    for journey in config.journeys.iter().filter(|j| j.enabled) {
        for plan in &journey.plans {
            let host = config.runner.host_of(journey, plan).unwrap_or_else(|| journey.id.to_string());
            items.push(Item { key: plan.key.clone(), timetable: journey.schedule.clone(), host: host.into() });
        }
    }
    items
}

/// The driver's hands: starting a run is spawning a task.
struct AppHands {
    metrics: Metrics,
    current: Arc<RwLock<Arc<Current>>>,
    runner: Runner,
    check: SelfCheck,
    stops: Stops,
    runs: TaskTracker,
    reports: mpsc::Sender<Input>,
    commands: mpsc::Sender<Command>,
    beat: Beat,
}

impl Hands for AppHands {
    fn start(&mut self, key: JourneyKey, scheduled_at: Timestamp, lag: Duration) {
        let current = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner));
        let (runner, check, stops) = (self.runner.clone(), self.check.clone(), self.stops.clone());
        let (reports, commands) = (self.reports.clone(), self.commands.clone());
        self.metrics.started(lag);
        self.runs.spawn(async move {
            // Gone when a reload came between the decision and here.
            if let Some((journey, plan)) = current.plans.get(&key).cloned() {
                let report = run_one(&current, &runner, &check, &stops, journey, plan, scheduled_at).await;
                let _ = reports.send(Input::Report(Arc::new(report))).await;
            }
            let _ = commands.send(Command::Finished(key)).await;
        });
    }

    fn missed(&mut self, key: JourneyKey, scheduled_at: Timestamp, reason: MissedReason, count: u64) {
        // Bounded like everything; when the pipeline is that far behind, the count still holds.
        if let Err(mpsc::error::TrySendError::Full(_)) =
            self.reports.try_send(Input::Missed { key: key.clone(), scheduled_at, reason, count })
        {
            self.metrics.missed(&key, reason, count);
        }
    }

    fn planned(&mut self, key: &JourneyKey, next: Option<Timestamp>) {
        self.metrics.planned(key, next);
    }

    fn ticked(&mut self, at: Timestamp, running: usize) {
        self.metrics.ticked(at, running);
        self.beat.mark();
    }
}
