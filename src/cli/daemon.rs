//! The operator's verbs: `status`, `now`, `silence`, `incident`, `backup`, over the daemon's API.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::cli::client::{Daemon, PATIENCE, Trouble};
use crate::cli::{BackupArgs, Exit, IncidentCommand, NowArgs, SilenceCommand, StatusArgs, out, own_fault, print, say};
use crate::clock::{Timestamp, now};
use crate::config::files::environment;
use crate::notify::message::lasting;

/// A run by hand takes as long as its journey may.
const RUN_PATIENCE: Duration = Duration::from_secs(600);

fn word<'a>(value: &'a Json, key: &str) -> &'a str {
    value[key].as_str().unwrap_or("")
}

/// How long ago, for people.
fn ago(value: &Json, at: Timestamp) -> String {
    let time: Option<Timestamp> = serde_json::from_value(value.clone()).ok();
    time.map_or_else(|| "never".to_owned(), |time| format!("{} ago", lasting(at.since(time))))
}

fn name_of(row: &Json) -> String {
    match word(row, "variant") {
        "" => word(row, "journey").to_owned(),
        variant => format!("{}/{variant}", word(row, "journey")),
    }
}

/// What a terminal would obey is not told.
fn tame(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

pub async fn status(args: StatusArgs) -> Exit {
    let daemon = match Daemon::find(&args.daemon) {
        Ok(daemon) => daemon,
        Err(error) => return own_fault(&error),
    };
    let status = match daemon.get("/api/v1/status").await {
        Ok(status) => status,
        // Whatever it says: who asks for the status wants to know whether the daemon is there.
        Err(Trouble::Unreachable(text) | Trouble::Refused(_, text)) => return own_fault(&text),
    };
    let ready = status["ready"] == true;
    let exit = if args.json {
        out(&format!("{status:#}\n"))
    } else {
        let alerts = match daemon.all("/api/v1/alerts", "alerts").await {
            Ok(alerts) => alerts,
            Err(trouble) => return trouble.tell(),
        };
        out(&status_text(&daemon.url, &status, &alerts))
    };
    if exit == Exit::Fine && !ready { Exit::OwnFault } else { exit }
}

fn status_text(url: &str, status: &Json, alerts: &[Json]) -> String {
    let at = now();
    let mut text = String::new();
    let ready = if status["ready"] == true { "ready" } else { "not ready" };
    let journeys = &status["journeys"];
    let _ = writeln!(text, "journeyd {} at {url}: {ready}", word(status, "version"));
    if let Some(refused) = status["reload_refused"].as_str() {
        let _ = writeln!(text, "  {}", tame(refused));
    }
    if let Some(problem) = status["store_problem"].as_str() {
        let _ = writeln!(text, "  {problem}");
    }
    let _ = writeln!(
        text,
        "journeys   {} passing, {} failing, {} without a result yet",
        journeys["passing"], journeys["failing"], journeys["without_result"]
    );
    for row in status["failing"].as_array().into_iter().flatten() {
        let _ = writeln!(text, "  failing  {:<32} last good run {}", name_of(row), ago(&row["last_success"], at));
    }
    let _ = writeln!(text, "alerts     {} firing", status["alerts_firing"]);
    for alert in alerts {
        let state = if alert["flapping"] == true { "flapping" } else { word(alert, "state") };
        let _ = writeln!(
            text,
            "  {state:<10} {:<8} {:<24} {:<16} {}",
            word(alert, "severity"),
            name_of(alert),
            word(alert, "alert"),
            tame(word(alert, "detail"))
        );
    }
    let open = status["incidents_open"].as_array().cloned().unwrap_or_default();
    let _ = writeln!(text, "incidents  {} open", open.len());
    text.push_str(&incident_lines(&open, at));
    let _ = writeln!(text, "silences   {} active", status["silences_active"]);
    for receiver in status["receivers"].as_array().into_iter().flatten() {
        let _ = writeln!(
            text,
            "receiver   {:<16} {} waiting, {} of {} attempts failed, last success {}",
            word(receiver, "receiver"),
            receiver["waiting"],
            receiver["failures"],
            receiver["attempts"],
            ago(&receiver["last_success_at"], at)
        );
    }
    text
}

fn incident_lines(incidents: &[Json], at: Timestamp) -> String {
    let mut text = String::new();
    for incident in incidents {
        // The status has them in a line, the list in full.
        let id = incident["id"].as_str().map_or_else(|| incident["id"].to_string(), str::to_owned);
        let (journey, rule, alerts) = match incident["members"].as_array() {
            Some(members) => {
                let alert = &incident["alert"];
                (name_of(&alert["journey"]), word(alert, "rule").to_owned(), members.len().to_string())
            }
            None => (
                word(incident, "journey").to_owned(),
                word(incident, "alert").to_owned(),
                incident["alerts"].to_string(),
            ),
        };
        let reason = incident["reason"].as_str().or_else(|| incident["last_reason"].as_str()).unwrap_or("");
        let state = match (incident["resolved_at"].is_null(), incident["acknowledged"]["author"].as_str()) {
            (false, _) => format!("resolved {}", ago(&incident["resolved_at"], at)),
            (true, Some(author)) => format!("acknowledged by {}", tame(author)),
            (true, None) => "open".to_owned(),
        };
        let more = if alerts == "1" { String::new() } else { format!(" ({alerts} alerts)") };
        let _ = writeln!(
            text,
            "  {id:<6} {:<8} {journey} {rule}{more}: {}; since {}; {state}",
            word(incident, "severity"),
            tame(reason),
            ago(&incident["started_at"], at)
        );
    }
    text
}

pub async fn run_now(args: NowArgs) -> Exit {
    let daemon = match Daemon::find(&args.daemon) {
        Ok(daemon) => daemon,
        Err(error) => return own_fault(&error),
    };
    let variant = args.variant.map(|v| format!("?variant={v}")).unwrap_or_default();
    let path = format!("/api/v1/journeys/{}/run{variant}", args.journey);
    let report = match daemon.post(&path, &json!({}), RUN_PATIENCE).await {
        Ok(report) => report,
        Err(trouble) => return trouble.tell(),
    };
    if args.json {
        if let Err(error) = print(&format!("{report:#}\n")) {
            return own_fault(&error.to_string());
        }
    } else if let Err(error) = print(&report_text(&report)) {
        return own_fault(&error.to_string());
    }
    match &report["outcome"] {
        Json::String(passed) if passed == "passed" => Exit::Fine,
        outcome if outcome.get("errored").is_some() => Exit::OwnFault,
        _ => Exit::Failed,
    }
}

fn report_text(report: &Json) -> String {
    let mut text = String::new();
    let seconds = report["duration_seconds"].as_f64().unwrap_or(0.0);
    let outcome = match &report["outcome"] {
        Json::String(word) => word.clone(),
        Json::Object(parts) => {
            parts.iter().map(|(word, reason)| format!("{word}: {}", reason.as_str().unwrap_or(""))).collect()
        }
        _ => String::new(),
    };
    let _ =
        writeln!(text, "{}  {outcome}  {seconds:.3} s  trace {}", name_of(&report["key"]), word(report, "trace_id"));
    for step in report["steps"].as_array().into_iter().flatten() {
        let (state, failure) = match &step["outcome"] {
            Json::String(word) => (word.clone(), None),
            Json::Object(parts) => (parts.keys().cloned().collect(), parts.values().next()),
            _ => (String::new(), None),
        };
        let took = step["exchange"]["duration_seconds"].as_f64().map(|s| format!("{s:.3} s")).unwrap_or_default();
        let status = step["exchange"]["status"].as_u64().map(|s| s.to_string()).unwrap_or_default();
        let _ = writeln!(text, "  {:<24} {state:<10} {status:<4} {took}", word(step, "id"));
        if let Some(failure) = failure {
            if failure.get("expected").is_some() {
                let _ = writeln!(text, "    expected  {}", tame(word(failure, "expected")));
                let _ = writeln!(text, "    got       {}", tame(word(failure, "got")));
                let _ = writeln!(text, "    at        {}", tame(word(failure, "place")));
            } else {
                let _ = writeln!(text, "    {}", tame(word(failure, "detail")));
            }
        }
        if let Some(curl) = step["exchange"]["curl"].as_str() {
            let _ = writeln!(text, "    {}", tame(curl));
        }
    }
    text
}

fn author(given: Option<String>) -> String {
    let env = environment();
    given.or_else(|| env.get("USER").cloned()).filter(|a| !a.is_empty()).unwrap_or_else(|| "unknown".to_owned())
}

pub async fn silence(command: SilenceCommand) -> Exit {
    let args = match &command {
        SilenceCommand::Add { daemon, .. }
        | SilenceCommand::List { daemon, .. }
        | SilenceCommand::Expire { daemon, .. } => daemon,
    };
    let daemon = match Daemon::find(args) {
        Ok(daemon) => daemon,
        Err(error) => return own_fault(&error),
    };
    let done = match command {
        SilenceCommand::Add { matchers, comment, author: by, duration, .. } => {
            let body = json!({
                "matchers": matchers, "comment": comment, "author": author(by), "duration": duration,
            });
            daemon.post("/api/v1/silences", &body, PATIENCE).await.map(|made| format!("{}\n", word(&made, "id")))
        }
        SilenceCommand::Expire { id, .. } => {
            daemon.delete(&format!("/api/v1/silences/{id}")).await.map(|_| format!("{id} has ended\n"))
        }
        SilenceCommand::List { all, json, .. } => {
            let path = if all { "/api/v1/silences" } else { "/api/v1/silences?state=active" };
            daemon
                .all(path, "silences")
                .await
                .map(|rows| if json { format!("{:#}\n", json!(rows)) } else { silence_lines(&rows) })
        }
    };
    match done {
        Ok(text) => out(&text),
        Err(trouble) => trouble.tell(),
    }
}

fn silence_lines(rows: &[Json]) -> String {
    if rows.is_empty() {
        return "there are no silences\n".to_owned();
    }
    let mut text = String::new();
    for row in rows {
        let matchers: Vec<String> = row["matchers"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|m| format!("{}{}{}", word(m, "name"), word(m, "comparison"), tame(word(m, "value"))))
            .collect();
        let _ = writeln!(
            text,
            "{}  {:<8} until {}  {}  by {}: {}",
            word(row, "id"),
            word(row, "state"),
            word(row, "ends_at"),
            matchers.join(" "),
            tame(word(row, "author")),
            tame(word(row, "comment"))
        );
    }
    text
}

pub async fn incident(command: IncidentCommand) -> Exit {
    let args = match &command {
        IncidentCommand::List { daemon, .. }
        | IncidentCommand::Show { daemon, .. }
        | IncidentCommand::Ack { daemon, .. }
        | IncidentCommand::Unack { daemon, .. } => daemon,
    };
    let daemon = match Daemon::find(args) {
        Ok(daemon) => daemon,
        Err(error) => return own_fault(&error),
    };
    let done = match command {
        IncidentCommand::List { all, json, .. } => {
            let path = if all { "/api/v1/incidents" } else { "/api/v1/incidents?state=open" };
            daemon.all(path, "incidents").await.map(|rows| match (json, rows.is_empty()) {
                (true, _) => format!("{:#}\n", json!(rows)),
                (false, true) => "there are no open incidents\n".to_owned(),
                (false, false) => incident_lines(&rows, now()),
            })
        }
        IncidentCommand::Show { id, json, .. } => daemon
            .get(&format!("/api/v1/incidents/{id}"))
            .await
            .map(|found| if json { format!("{found:#}\n") } else { incident_text(&found) }),
        IncidentCommand::Ack { id, note, author: by, .. } => {
            let body = json!({ "author": author(by), "note": note });
            let path = format!("/api/v1/incidents/{id}/acknowledgement");
            daemon.post(&path, &body, PATIENCE).await.map(|_| format!("incident {id} is acknowledged\n"))
        }
        IncidentCommand::Unack { id, .. } => {
            let path = format!("/api/v1/incidents/{id}/acknowledgement");
            daemon.delete(&path).await.map(|_| format!("incident {id} is no longer acknowledged\n"))
        }
    };
    match done {
        Ok(text) => out(&text),
        Err(trouble) => trouble.tell(),
    }
}

fn incident_text(found: &Json) -> String {
    let incident = &found["incident"];
    let mut text = incident_lines(std::slice::from_ref(incident), now());
    let failure = &incident["failure"];
    if !failure.is_null() {
        let _ = writeln!(text, "\nfirst error\n  {} {}", word(failure, "method"), tame(word(failure, "url")));
        let _ = writeln!(text, "  expected {}, got {}", tame(word(failure, "expected")), tame(word(failure, "got")));
        let _ = writeln!(text, "  request {}  trace {}", word(failure, "request_id"), word(failure, "trace_id"));
        if let Some(curl) = failure["curl"].as_str() {
            let _ = writeln!(text, "  {}", tame(curl));
        }
    }
    text.push_str("\nalerts\n");
    for member in incident["members"].as_array().into_iter().flatten() {
        let state = if member["resolved_at"].is_null() { "firing" } else { "resolved" };
        let _ = writeln!(
            text,
            "  {state:<9} {:<8} {} {}: {}",
            word(member, "severity"),
            name_of(&member["alert"]["journey"]),
            word(&member["alert"], "rule"),
            tame(word(member, "detail"))
        );
    }
    text.push_str("\ntimeline\n");
    for entry in incident["timeline"].as_array().into_iter().flatten() {
        let _ = writeln!(text, "  {}  {:<18} {}", word(entry, "at"), word(entry, "what"), tame(word(entry, "detail")));
    }
    text.push_str("\nmessages\n");
    for message in found["messages"].as_array().into_iter().flatten() {
        let _ = writeln!(
            text,
            "  {}  {:<16} {:<9} {:<9} {}",
            word(message, "decided_at"),
            word(message, "receiver"),
            word(message, "kind"),
            word(message, "state"),
            tame(word(message, "last_error"))
        );
    }
    text
}

/// Where a file is written before it has its name: half a backup must not look like one.
fn beside(file: &Path) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    file.with_file_name(name)
}

pub async fn backup(args: BackupArgs) -> Exit {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    if args.file.exists() {
        say(&format!("error: {} exists already; nothing is overwritten", args.file.display()));
        return Exit::Usage;
    }
    let daemon = match Daemon::find(&args.daemon) {
        Ok(daemon) => daemon,
        Err(error) => return own_fault(&error),
    };
    let request = daemon.with_token(daemon.client.post(format!("{}/api/v1/backup", daemon.url)));
    let mut answer = match daemon.send(request, RUN_PATIENCE).await {
        Ok(answer) => answer,
        Err(trouble) => return trouble.tell(),
    };
    let part = beside(&args.file);
    let cannot = |error: std::io::Error| own_fault(&format!("cannot write {}: {error}", part.display()));
    let options = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part);
    let mut file = match options {
        Ok(file) => file,
        Err(error) => return cannot(error),
    };
    let mut bytes = 0;
    loop {
        match answer.chunk().await {
            Ok(Some(chunk)) => {
                bytes += chunk.len();
                if let Err(error) = file.write_all(&chunk) {
                    let _ = std::fs::remove_file(&part);
                    return cannot(error);
                }
            }
            Ok(None) => break,
            Err(error) => {
                let _ = std::fs::remove_file(&part);
                return own_fault(&format!("the copy broke off: {}", error.without_url()));
            }
        }
    }
    let checked = file.sync_all().map_err(|e| e.to_string());
    let checked = checked.and_then(|()| crate::store::read::is_store(&part).map_err(|e| e.to_string()));
    let named = checked.and_then(|()| std::fs::rename(&part, &args.file).map_err(|e| e.to_string()));
    if let Err(problem) = named {
        let _ = std::fs::remove_file(&part);
        return own_fault(&format!("the copy cannot be used: {problem}"));
    }
    if std::io::stderr().is_terminal() {
        say("Keep it as safe as the store: it holds what was found and told.");
    }
    out(&format!("{} ({bytes} bytes)\n", args.file.display()))
}
