//! `journeyd check`.

use crate::cli::{CheckArgs, Exit, NO_CONFIG, disk_request, own_fault, print, say, tell, tell_load_error};
use crate::clock::now;
use crate::config::{self, is_path, load};
use crate::diag::Gravity;
use crate::journey::link::next_runs;

pub fn check(args: &CheckArgs) -> Exit {
    let config = config::find(args.config.config.as_deref());
    if config.is_none() && (args.journeys.is_empty() || args.journeys.iter().any(|j| !is_path(j))) {
        say(&format!("error: {NO_CONFIG}"));
        return Exit::Usage;
    }
    let mut request = disk_request(config, Gravity::Warning);
    request.select = (!args.journeys.is_empty()).then(|| args.journeys.clone());
    let loaded = match load(&request) {
        Ok(loaded) => loaded,
        Err(error) => return tell_load_error(&error),
    };
    tell(&loaded.findings);
    let Some(config) = loaded.config else { return Exit::Usage };
    let at = now();
    let mut out = String::new();
    for journey in &config.journeys {
        for plan in &journey.plans {
            let next = match next_runs(journey, plan, at, 1).first() {
                Some(next) if journey.enabled => format!("next run {next}"),
                Some(_) => "disabled".to_owned(),
                None => "never runs".to_owned(),
            };
            let steps = if plan.steps.len() == 1 { "step " } else { "steps" };
            out.push_str(&format!("ok  {:<32} {:>2} {steps}  {next}\n", plan.key.to_string(), plan.steps.len()));
        }
    }
    if config.journeys.is_empty() {
        out.push_str("ok, but there are no journeys\n");
    }
    if let Err(error) = print(&out) {
        return own_fault(&format!("cannot write the result: {error}"));
    }
    let warnings = loaded.findings.iter().any(|d| d.gravity == Gravity::Warning);
    if warnings && args.deny_warnings {
        say("error: warnings count as errors (--deny-warnings)");
        return Exit::Usage;
    }
    Exit::Fine
}
