//! What `benches/figures/main.rs` drives: the product's own path from a configuration to committed results, back to back
//! instead of on a schedule. Not an interface for anybody else.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::cli::bench_request;
use crate::clock::{Beat, Stopwatch, now, process_cpu_time};
use crate::config::{Config, load};
use crate::metrics::Metrics;
use crate::notify::outbox::Sender;
use crate::pipeline::judge::{Judge, JudgeSettings};
use crate::pipeline::{Input, Parts, Pipeline, QUEUE};
use crate::report::Outcome;
use crate::runner::{Order, Runner, Stops};
use crate::store::{Store, Write};

/// What a closed loop came to.
#[derive(Debug)]
pub struct Loop {
    /// User and system time of the whole process, from the first run to the last commit.
    pub cpu: Duration,
    pub wall: Duration,
    /// What each step reported as its duration.
    pub steps: Vec<Duration>,
    pub failed: u64,
}

fn configured(path: &Path) -> Result<Config, String> {
    let loaded = load(&bench_request(path)).map_err(|error| error.to_string())?;
    loaded.config.ok_or_else(|| crate::diag::render_all(&loaded.findings, false))
}

/// The runtime that every command has.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    crate::cli::runtime()
}

/// Runs the configuration's first journey `runs` times, one after the other.
pub async fn closed_loop(path: &Path, runs: u64) -> Result<Loop, String> {
    let config = configured(path)?;
    let (store, restored) = Store::open(&config.store).map_err(|error| error.to_string())?;
    let runner = Runner::new().map_err(|error| error.to_string())?;
    let metrics = Metrics::new(config.metrics);
    metrics.configure(&config.journeys, &config.runner.location, config.metrics, now());
    let settings = JudgeSettings {
        location: config.runner.location.clone(),
        journeys: config.journeys.clone(),
        notify: config.notify.clone(),
        maintenance: Vec::new(),
        config: None,
    };
    let (judge, first) = Judge::new(settings, restored, now());
    let (shown, _seen) = watch::channel(Arc::default());
    let (inputs, received) = mpsc::channel(QUEUE);
    let parts = Parts {
        store: Arc::new(store),
        sender: Sender::dry(),
        metrics,
        watcher: None,
        shown,
        beat: Beat::default(),
        stored: Arc::default(),
    };
    let pipeline = tokio::spawn(Pipeline::new(judge, parts).run(first, received));
    let journey = config.journeys.first().ok_or("no journey")?;
    let plan = journey.plans.first().ok_or("no plan")?;
    let stops = Stops::default();
    let mut out = Loop { cpu: Duration::ZERO, wall: Duration::ZERO, steps: Vec::new(), failed: 0 };
    // Connections, pages and caches warm up first.
    let mut watch = Stopwatch::start();
    let mut before = process_cpu_time();
    for run in 0..runs + runs / 10 {
        if run == runs / 10 {
            watch = Stopwatch::start();
            before = process_cpu_time();
            out.steps.clear();
        }
        let order = Order::scheduled(Arc::clone(journey), Arc::clone(plan), now());
        let report = runner.run(&config.runner, &order, &stops).await;
        out.failed += u64::from(report.outcome != Outcome::Passed);
        out.steps.extend(report.steps.iter().filter_map(|s| s.exchange.as_ref()).map(|e| e.duration));
        inputs.send(Input::Report(Arc::new(report))).await.map_err(|_| "the pipeline is gone")?;
    }
    drop(inputs);
    pipeline.await.map_err(|error| error.to_string())?;
    out.cpu = process_cpu_time().saturating_sub(before);
    out.wall = watch.elapsed();
    Ok(out)
}

/// Rows committed: `batches` transactions of `size` runs each. The time it took.
pub async fn commits(path: &Path, batches: usize, size: usize) -> Result<Duration, String> {
    let config = configured(path)?;
    let (store, _) = Store::open(&config.store).map_err(|error| error.to_string())?;
    let runner = Runner::new().map_err(|error| error.to_string())?;
    let journey = config.journeys.first().ok_or("no journey")?;
    let plan = journey.plans.first().ok_or("no plan")?;
    let order = Order::scheduled(Arc::clone(journey), Arc::clone(plan), now());
    let report = runner.run(&config.runner, &order, &Stops::default()).await;
    let last = crate::report::LastResult::default().after(&report);
    let row = Write::Run(Box::new(crate::pipeline::judge::row_of(&report, last, None, None)));
    let watch = Stopwatch::start();
    for _ in 0..batches {
        let answer = store.commit(vec![row.clone(); size]).map_err(|(_, error)| error.to_string())?;
        answer.await.map_err(|error| error.to_string())?.map_err(|(_, error)| error.to_string())?;
    }
    Ok(watch.elapsed())
}
