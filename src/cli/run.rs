//! `journeyd run`: once, now, without schedule or state.

use std::collections::BTreeMap;

use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{Exit, RunArgs, disk_request, own_fault, print, say, tell, tell_load_error, waterfall};
use crate::clock::now;
use crate::config::{self, Config, load};
use crate::diag::Gravity;
use crate::ids::StepId;
use crate::report::Outcome;
use crate::runner::{Order, Runner, Stops, shell_word};

pub async fn run(args: RunArgs) -> Exit {
    let mut request = disk_request(config::find(args.config.config.as_deref()), Gravity::Error);
    request.select = Some(args.journeys.clone());
    request.overrides = BTreeMap::from_iter(args.var.clone());
    request.base_url.clone_from(&args.base_url);
    if let Some(base_url) = &args.base_url
        && !url::Url::parse(base_url).is_ok_and(|u| matches!(u.scheme(), "http" | "https") && u.has_host())
    {
        say(&format!("error: --base-url {base_url}: expected a URL that starts with http:// or https://"));
        return Exit::Usage;
    }
    let loaded = match load(&request) {
        Ok(loaded) => loaded,
        Err(error) => return tell_load_error(&error),
    };
    tell(&loaded.findings);
    let Some(config) = loaded.config else { return Exit::Usage };
    crate::secret::install_for_sinks(config.runner.redactor.clone());
    let orders = match orders(&config, &args) {
        Ok(orders) => orders,
        Err(message) => {
            say(&format!("error: {message}"));
            return Exit::Usage;
        }
    };
    let runner = match Runner::new() {
        Ok(runner) => runner,
        Err(error) => return own_fault(&error.to_string()),
    };
    let stops = Stops::default();
    let interrupted = stops.clone();
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    let (Ok(mut terminate), Ok(mut interrupt)) = signals else {
        return own_fault("cannot handle signals");
    };
    tokio::spawn(async move {
        // Once: steps end, cleanup runs. Twice: everything ends.
        for stop in [&interrupted.steps, &interrupted.cleanup] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            stop.cancel();
        }
    });
    let mut exit = Exit::Fine;
    for order in orders {
        let report = runner.run(&config.runner, &order, &stops).await;
        if let Err(error) = print(&waterfall::render(&order, &report, &rerun(&args, &order, &config))) {
            return own_fault(&format!("cannot write the result: {error}"));
        }
        exit = match (&report.outcome, exit) {
            (Outcome::Failed(_), _) => Exit::Failed,
            (Outcome::Errored(_), Exit::Fine) => Exit::OwnFault,
            _ => exit,
        };
        if stops.steps.is_cancelled() {
            break;
        }
    }
    exit
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
        }));
    }
    Ok(orders)
}
