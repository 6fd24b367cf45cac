//! `journeyd run`: once, now, without schedule or state. And again on every save, or many times at once.

mod output;
mod summary;

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::Duration;

use futures_util::StreamExt as _;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::cli::{
    Exit, OutputFormat, RunArgs, add_env_file, disk_request, own_fault, print, say, tell, tell_load_error, waterfall,
};
use crate::clock::now;
use crate::config::files::{Files, Watched};
use crate::config::{self, Config, load};
use crate::diag::Gravity;
use crate::ids::StepId;
use crate::report::{Outcome, RunReport};
use crate::runner::{Order, Runner, Stops, Transcript, shell_word};

/// How often `--watch` looks for a save.
const LOOK: Duration = Duration::from_millis(500);
/// Failed runs of `--repeat` that are shown whole; more of the same teach nothing.
const SHOWN: usize = 3;

pub async fn run(args: RunArgs) -> Exit {
    if let Some(base_url) = &args.base_url
        && !url::Url::parse(base_url).is_ok_and(|u| matches!(u.scheme(), "http" | "https") && u.has_host())
    {
        say(&format!("error: --base-url {base_url}: expected a URL that starts with http:// or https://"));
        return Exit::Usage;
    }
    let runner = match Runner::new() {
        Ok(runner) => runner,
        Err(error) => return own_fault(&error.to_string()),
    };
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    let (Ok(mut terminate), Ok(mut interrupt)) = signals else {
        return own_fault("cannot handle signals");
    };
    if !args.watch {
        return match load_orders(&args) {
            (Ok((config, orders)), _) => {
                let stops = Stops::default();
                let work = round(&args, &runner, &config, orders, &stops);
                until_stopped(work, &stops, &mut terminate, &mut interrupt).await
            }
            (Err(exit), _) => exit,
        };
    }
    loop {
        let (loaded, watched) = load_orders(&args);
        let exit = match loaded {
            Ok((config, orders)) => {
                let stops = Stops::default();
                let work = round(&args, &runner, &config, orders, &stops);
                let exit = until_stopped(work, &stops, &mut terminate, &mut interrupt).await;
                if stops.steps.is_cancelled() {
                    return exit;
                }
                exit
            }
            Err(exit) => exit,
        };
        let Some(watched) = watched else { return exit };
        say("watching for changes; Ctrl-C ends");
        tokio::select! {
            () = changed(watched) => say(&format!("── {} ──", now())),
            _ = terminate.recv() => return exit,
            _ = interrupt.recv() => return exit,
        }
    }
}

/// Returns once a file that was read holds something else.
async fn changed(watched: Watched) {
    loop {
        tokio::time::sleep(LOOK).await;
        let before = watched.clone();
        let same = tokio::task::spawn_blocking(move || before.now() == before).await;
        if !same.unwrap_or(false) {
            return;
        }
    }
}

/// Lets `work` end by itself; a first signal ends its steps, a second one its cleanup too.
async fn until_stopped(
    work: impl Future<Output = Exit>,
    stops: &Stops,
    terminate: &mut Signal,
    interrupt: &mut Signal,
) -> Exit {
    tokio::pin!(work);
    let mut next: &CancellationToken = &stops.steps;
    loop {
        tokio::select! {
            exit = &mut work => return exit,
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        next.cancel();
        next = &stops.cleanup;
    }
}

type Loading = Result<(Config, Vec<Order>), Exit>;

/// What to run, and the files that decide it.
fn load_orders(args: &RunArgs) -> (Loading, Option<Watched>) {
    let mut request = disk_request(config::find(args.config.config.as_deref()), Gravity::Error);
    request.select = Some(args.journeys.clone());
    request.overrides = BTreeMap::from_iter(args.var.clone());
    request.base_url.clone_from(&args.base_url);
    if let Err(message) = add_env_file(&mut request, args.env_file.as_deref()) {
        say(&format!("error: {message}"));
        return (Err(Exit::Usage), None);
    }
    let loaded = load(&request);
    let Files::Disk(record) = request.files else { return (Err(Exit::Usage), None) };
    let watched = Some(record.into_watched());
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(error) => return (Err(tell_load_error(&error)), watched),
    };
    tell(&loaded.findings);
    let Some(config) = loaded.config else { return (Err(Exit::Usage), watched) };
    crate::secret::install_for_sinks(config.runner.redactor.clone());
    match orders(&config, args) {
        Ok(orders) => (Ok((config, orders)), watched),
        Err(message) => {
            say(&format!("error: {message}"));
            (Err(Exit::Usage), watched)
        }
    }
}

/// Runs everything once, or as often as asked for, and tells of it.
async fn round(args: &RunArgs, runner: &Runner, config: &Config, orders: Vec<Order>, stops: &Stops) -> Exit {
    let all: Vec<Order> = (0..args.repeat)
        .flat_map(|_| orders.iter().cloned())
        .map(|mut order| {
            order.transcript = args.verbose.then(Transcript::default);
            order
        })
        .collect();
    let human = args.output == OutputFormat::Human;
    let many = args.repeat > 1;
    let bar = progress(all.len(), many && std::io::stderr().is_terminal());
    let mut shown = 0;
    let mut done: Vec<(Order, RunReport)> = Vec::with_capacity(all.len());
    let mut running = futures_util::stream::iter(all)
        .map(|mut order| async move {
            if stops.steps.is_cancelled() {
                return None;
            }
            order.scheduled_at = now();
            let report = runner.run(&config.runner, &order, stops).await;
            Some((order, report))
        })
        .buffer_unordered(args.concurrency);
    while let Some(result) = running.next().await {
        let Some((order, report)) = result else { continue };
        bar.inc(1);
        let failed = report.outcome != Outcome::Passed;
        let wire = order.transcript.as_ref().map(Transcript::take).unwrap_or_default();
        if !human && !wire.is_empty() {
            // Stdout is the document's.
            say(&wire);
        }
        if human && (!many || (failed && shown < SHOWN)) {
            shown += usize::from(failed);
            let text = waterfall::render(&order, &report, &rerun(args, &order, config));
            if let Err(error) = print(&format!("{wire}{text}")) {
                return own_fault(&format!("cannot write the result: {error}"));
            }
        }
        done.push((order, report));
    }
    bar.finish_and_clear();
    let text = match args.output {
        OutputFormat::Human if many => summary::summary(&done),
        OutputFormat::Human => String::new(),
        OutputFormat::Json => format!("{}\n", output::json(&done)),
        OutputFormat::Junit => match output::junit(&done) {
            Ok(text) => text,
            Err(error) => return own_fault(&format!("cannot write JUnit: {error}")),
        },
    };
    if let Err(error) = print(&text) {
        return own_fault(&format!("cannot write the result: {error}"));
    }
    done.iter().fold(Exit::Fine, |exit, (_, report)| match (&report.outcome, exit) {
        (Outcome::Failed(_), _) => Exit::Failed,
        (Outcome::Errored(_), Exit::Fine) => Exit::OwnFault,
        _ => exit,
    })
}

fn progress(runs: usize, visible: bool) -> ProgressBar {
    if !visible {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(runs as u64);
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} runs, {eta} left") {
        bar.set_style(style);
    }
    bar
}

/// The command that runs `order` again, as a shell takes it.
fn rerun(args: &RunArgs, order: &Order, loaded: &Config) -> String {
    let mut redactor = loaded.runner.redactor.clone();
    let mut words = vec!["journeyd".to_owned(), "run".to_owned()];
    if let Some(config) = &args.config.config {
        words.extend(["--config".to_owned(), config.display().to_string()]);
    }
    let id = order.journey.id.as_str();
    words.push(args.journeys.iter().find(|j| *j == id).cloned().unwrap_or_else(|| order.journey.file.clone()));
    if let Some(variant) = &order.plan.key.variant {
        words.extend(["--variant".to_owned(), variant.to_string()]);
    }
    if let Some(env_file) = &args.env_file {
        words.extend(["--env-file".to_owned(), env_file.display().to_string()]);
    }
    if let Some(base_url) = &args.base_url {
        if let Some(password) = url::Url::parse(base_url).ok().and_then(|u| u.password().map(str::to_owned)) {
            redactor.learn("URL_PASSWORD", &password);
        }
        words.extend(["--base-url".to_owned(), base_url.clone()]);
    }
    for (name, value) in &args.var {
        // A password given on the command line is not repeated on the terminal.
        if crate::secret::is_secret_key(name) {
            redactor.learn(&name.to_uppercase(), value);
        }
        words.extend(["--var".to_owned(), format!("{name}={value}")]);
    }
    words.iter().map(|word| shell_word(word, &redactor)).collect::<Vec<_>>().join(" ")
}

/// What to run: every journey given, in its variants or the one asked for.
fn orders(config: &Config, args: &RunArgs) -> Result<Vec<Order>, String> {
    let until = match &args.until {
        Some(text) => Some(StepId::new(text).ok_or_else(|| format!("--until {text}: not a step id"))?),
        None => None,
    };
    let mut orders = Vec::new();
    for journey in &config.journeys {
        let mut plans = journey.plans.clone();
        if let Some(variant) = &args.variant {
            plans.retain(|plan| plan.key.variant_label() == variant);
            if plans.is_empty() {
                let known: Vec<&str> =
                    journey.plans.iter().map(|p| p.key.variant_label()).filter(|v| !v.is_empty()).collect();
                return Err(match known[..] {
                    [] => format!("--variant {variant}: {} has no variants", journey.id),
                    _ => format!("--variant {variant}: {} has the variants {}", journey.id, known.join(", ")),
                });
            }
        }
        if let Some(until) = &until {
            let all = plans.clone();
            plans.retain(|plan| plan.steps.iter().any(|s| s.id == *until));
            if plans.is_empty() {
                let mut known: Vec<&str> = Vec::new();
                for id in all.iter().flat_map(|p| p.steps.iter().map(|s| s.id.as_str())) {
                    if !known.contains(&id) {
                        known.push(id);
                    }
                }
                return Err(format!("--until {until}: {} has the steps {}", journey.id, known.join(", ")));
            }
        }
        orders.extend(plans.into_iter().map(|plan| Order {
            journey: journey.clone(),
            plan,
            scheduled_at: now(),
            until: until.clone(),
            transcript: None,
            maintenance: None,
        }));
    }
    Ok(orders)
}
