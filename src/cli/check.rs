//! `journeyd check`.

use crate::cli::{CheckArgs, Exit, NO_CONFIG, disk_request, say, tell, tell_load_error};
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
    for journey in &config.journeys {
        for plan in &journey.plans {
            let next = match next_runs(journey, plan, at, 1).first() {
                Some(next) if journey.enabled => format!("next run {next}"),
                Some(_) => "disabled".to_owned(),
                None => "never runs".to_owned(),
            };
            anstream::println!("ok  {:<32} {:>2} steps  {next}", plan.key.to_string(), plan.steps.len());
        }
    }
    let warnings = loaded.findings.iter().any(|d| d.gravity == Gravity::Warning);
    if warnings && args.deny_warnings { Exit::Usage } else { Exit::Fine }
}
