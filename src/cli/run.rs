//! `journeyd run`: once, now, without schedule or state.

use std::collections::BTreeMap;

use crate::cli::{Exit, RunArgs, disk_request, own_fault, say, tell, tell_load_error, waterfall};
use crate::clock::now;
use crate::config::{self, Config, load};
use crate::diag::Gravity;
use crate::ids::StepId;
use crate::report::Outcome;
use crate::runner::{Order, Runner, Stops};

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
    tokio::spawn(async move {
        // Once: steps end, cleanup runs. Twice: everything ends.
        if tokio::signal::ctrl_c().await.is_ok() {
            interrupted.steps.cancel();
        }
        if tokio::signal::ctrl_c().await.is_ok() {
            interrupted.cleanup.cancel();
        }
    });
    let mut exit = Exit::Fine;
    for order in orders {
        let report = runner.run(&config.runner, &order, &stops).await;
        anstream::print!("{}", waterfall::render(&order, &report));
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
                let known: Vec<&str> = all.iter().flat_map(|p| p.steps.iter().map(|s| s.id.as_str())).collect();
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
