//! `journeyd check`: every mistake at once; with `--plan`, what a reload would do.

use std::fmt::Write as _;

use serde_json::{Value as Json, json};

use crate::cli::client::{Daemon, Trouble};
use crate::cli::{
    CheckArgs, CheckFormat, Exit, NO_CONFIG, add_env_file, disk_request, own_fault, print, say, tell, tell_load_error,
};
use crate::clock::{Timestamp, now};
use crate::config::plan::{Plan, Summary, compare, summaries};
use crate::config::{self, Config, is_path, load};
use crate::diag::{Diagnostic, Gravity};
use crate::journey::link::next_runs;

/// Runs that `--plan` foretells for each journey.
const FORETOLD: usize = 5;

pub async fn check(args: CheckArgs) -> Exit {
    let config = config::find(args.daemon.config.config.as_deref());
    if config.is_none() && (args.journeys.is_empty() || args.journeys.iter().any(|j| !is_path(j))) {
        say(&format!("error: {NO_CONFIG}"));
        return Exit::Usage;
    }
    let mut request = disk_request(config, Gravity::Warning);
    request.select = (!args.journeys.is_empty()).then(|| args.journeys.clone());
    if let Err(message) = add_env_file(&mut request, args.env_file.as_deref()) {
        say(&format!("error: {message}"));
        return Exit::Usage;
    }
    let loaded = match load(&request) {
        Ok(loaded) => loaded,
        Err(error) => return tell_load_error(&error),
    };
    let human = args.format == CheckFormat::Human;
    if human {
        tell(&loaded.findings);
    }
    let at = now();
    let plan = match (&loaded.config, args.plan) {
        (Some(config), true) => Some(plan(&args, config).await),
        _ => None,
    };
    let text = if human {
        loaded.config.as_ref().map_or_else(String::new, |config| human_text(config, plan.as_ref(), at))
    } else {
        format!("{:#}\n", json_text(&loaded.findings, loaded.config.as_ref(), plan.as_ref(), at))
    };
    if let Err(error) = print(&text) {
        return own_fault(&format!("cannot write the result: {error}"));
    }
    if loaded.config.is_none() {
        return Exit::Usage;
    }
    let warnings = loaded.findings.iter().any(|d| d.gravity == Gravity::Warning);
    if warnings && args.deny_warnings {
        say("error: warnings count as errors (--deny-warnings)");
        return Exit::Usage;
    }
    Exit::Fine
}

/// A plan, and why it compares with nothing if so.
struct Planned {
    plan: Plan,
    against: String,
}

async fn plan(args: &CheckArgs, config: &Config) -> Planned {
    let after = summaries(config);
    match in_force(args).await {
        Ok((before, url)) => Planned { plan: compare(&before, &after), against: format!("the daemon at {url}") },
        Err(why) => Planned {
            plan: compare(&[], &after),
            against: format!("nothing: no daemon could be asked ({why}; --url names another)"),
        },
    }
}

/// The journeys that a running daemon has in force, and where it is.
async fn in_force(args: &CheckArgs) -> Result<(Vec<Summary>, String), String> {
    let daemon = Daemon::find(&args.daemon)?;
    let rows = daemon.all("/api/v1/journeys", "journeys").await.map_err(|trouble| match trouble {
        Trouble::Unreachable(text) | Trouble::Refused(_, text) => text.lines().next().unwrap_or_default().to_owned(),
    })?;
    let read = |row| serde_json::from_value(row).map_err(|_| format!("what answers at {} is not journeyd", daemon.url));
    Ok((rows.into_iter().map(read).collect::<Result<_, _>>()?, daemon.url))
}

fn human_text(config: &Config, planned: Option<&Planned>, at: Timestamp) -> String {
    let mut out = String::new();
    let foretold = if planned.is_some() { FORETOLD } else { 1 };
    for journey in &config.journeys {
        for plan in &journey.plans {
            let next: Vec<String> = next_runs(journey, plan, at, foretold).iter().map(ToString::to_string).collect();
            let steps = if plan.steps.len() == 1 { "step " } else { "steps" };
            let when = match &next[..] {
                _ if !journey.enabled => "disabled".to_owned(),
                [] => "never runs".to_owned(),
                [first, ..] => format!("next run {first}"),
            };
            let _ = writeln!(out, "ok  {:<32} {:>2} {steps}  {when}", plan.key.to_string(), plan.steps.len());
            if journey.enabled {
                for later in next.iter().skip(1) {
                    let _ = writeln!(out, "{:<54}{later}", "");
                }
            }
        }
    }
    if config.journeys.is_empty() {
        out.push_str("ok, but there are no journeys\n");
    }
    if let Some(Planned { plan, against }) = planned {
        let _ = writeln!(out, "\nA reload, compared with {against}:");
        for id in &plan.added {
            let _ = writeln!(out, "  + {id}");
        }
        for (id, differences) in &plan.changed {
            let _ = writeln!(out, "  ~ {id}: {}", differences.join("; "));
        }
        for id in &plan.removed {
            let _ = writeln!(out, "  - {id}");
        }
        let (before, after) = (plan.series_before, plan.series_after);
        let _ = writeln!(
            out,
            "  {} added, {} changed, {} removed, {} unchanged; series {after}, was {before}",
            plan.added.len(),
            plan.changed.len(),
            plan.removed.len(),
            plan.unchanged
        );
    }
    out
}

fn json_text(findings: &[Diagnostic], config: Option<&Config>, planned: Option<&Planned>, at: Timestamp) -> Json {
    let count = |gravity| findings.iter().filter(|d| d.gravity == gravity).count();
    let journeys: Vec<Json> = config
        .iter()
        .flat_map(|config| &config.journeys)
        .flat_map(|journey| {
            journey.plans.iter().map(move |plan| {
                let next: Vec<String> = match journey.enabled {
                    true => next_runs(journey, plan, at, FORETOLD).iter().map(ToString::to_string).collect(),
                    false => Vec::new(),
                };
                json!({
                    "journey": journey.id.as_str(),
                    "variant": plan.key.variant_label(),
                    "file": journey.file,
                    "enabled": journey.enabled,
                    "steps": plan.steps.len(),
                    "next_runs": next,
                })
            })
        })
        .collect();
    let mut out = json!({
        "schema": 1,
        "errors": count(Gravity::Error),
        "warnings": count(Gravity::Warning),
        "findings": findings.iter().map(finding).collect::<Vec<_>>(),
        "journeys": journeys,
    });
    if let (Some(Planned { plan, against }), Some(map)) = (planned, out.as_object_mut()) {
        let changed: Vec<Json> =
            plan.changed.iter().map(|(id, what)| json!({ "journey": id, "differences": what })).collect();
        map.insert(
            "plan".to_owned(),
            json!({
                "against": against,
                "added": plan.added,
                "changed": changed,
                "removed": plan.removed,
                "unchanged": plan.unchanged,
                "series_before": plan.series_before,
                "series_after": plan.series_after,
            }),
        );
    }
    out
}

fn finding(diagnostic: &Diagnostic) -> Json {
    let file = &diagnostic.place.file;
    let (line, column) = file.line_column(diagnostic.place.span.start);
    let (end_line, end_column) = file.line_column(diagnostic.place.span.end);
    json!({
        "severity": if diagnostic.gravity == Gravity::Error { "error" } else { "warning" },
        "file": file.name,
        "line": line,
        "column": column,
        "end_line": end_line,
        "end_column": end_column,
        "message": diagnostic.message,
        "label": diagnostic.label,
        "help": diagnostic.help,
    })
}
