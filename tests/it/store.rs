//! The store from outside: whose it is, what it brings back, what happens without it.

use std::sync::atomic::Ordering;

use crate::support::process::{Running, run};
use crate::support::sink::Sink;
use crate::support::target::{Act, Target, response};
use crate::support::{folder, get, sample};

fn journey(url: &str, rest: &str) -> String {
    format!("base_url = \"{url}\"\n{rest}\n[[steps]]\nid = \"s\"\nrequest = \"GET /\"\n")
}

#[tokio::test]
async fn two_daemons_cannot_share_a_store() {
    let target = Target::start(Act::Reply(response("200 OK", &[], "ok"))).await;
    let dir = folder(&[("journeyd.toml", "journeys = [\"a.toml\"]\n"), ("a.toml", &journey(&target.url, ""))]);
    let daemon = Running::serve(dir.path(), &[]).await;
    let second = run(dir.path(), &["serve", "--config", "journeyd.toml", "--listen", "127.0.0.1:0"], &[]).await;
    assert_eq!(second.code, 3);
    let said = format!("another journeyd (pid {}) is using it", daemon.pid());
    assert!(second.stderr.contains(&said), "{}", second.stderr);
}

#[tokio::test]
async fn a_restart_brings_back_results_budgets_and_the_spacing_of_runs() {
    let (target, status) = Target::switchable().await;
    let slo = "schedule = { every = \"1s\" }\nslo = { objective = 50, window = \"1h\", latency = \"10s\" }";
    let rare = "schedule = { every = \"7d\" }";
    let files = [
        ("journeyd.toml", "journeys = [\"j/*.toml\"]\n".to_owned()),
        ("j/a.toml", journey(&target.url, slo)),
        ("j/rare.toml", journey(&target.url, rare)),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let dir = folder(&files);
    let mut daemon = Running::serve(dir.path(), &[]).await;
    let runs = "journeyd_journey_runs_total{journey=\"a\",variant=\"\",location=\"local\"}";
    let budget =
        |slo: &str| format!("journeyd_slo_error_budget_remaining_ratio{{journey=\"a\",variant=\"\",slo=\"{slo}\"}}");
    daemon.until_metrics("two good runs", |m| sample(m, runs).is_some_and(|n| n >= 2.0)).await;
    status.store(500, Ordering::SeqCst);
    daemon.until_metrics("a bad run", |m| sample(m, &budget("availability")).is_some_and(|b| b < 1.0)).await;
    status.store(200, Ordering::SeqCst);
    daemon.signal("KILL");
    daemon.ended().await;

    let daemon = Running::serve(dir.path(), &[]).await;
    let text = daemon.metrics().await;
    let left = sample(&text, &budget("availability")).unwrap();
    assert!(left < 1.0, "the failed run still counts: {left}");
    assert_eq!(sample(&text, &budget("latency")), Some(1.0));
    assert_eq!(sample(&text, "journeyd_slo_objective_ratio{journey=\"a\",variant=\"\",slo=\"latency\"}"), Some(0.5));
    let last = "journeyd_journey_last_success_timestamp_seconds{journey=\"a\",variant=\"\",location=\"local\"}";
    assert!(sample(&text, last).is_some());
    // The rare journey waits for its slot.
    let next = "journeyd_journey_next_run_timestamp_seconds{journey=\"rare\",variant=\"\",location=\"local\"}";
    let slot = sample(&text, next).unwrap();
    drop(daemon);

    // It slept through three slots: two are told as missed, one is made up for within a minute.
    let db = rusqlite::Connection::open(dir.path().join("data/state.db")).unwrap();
    let before = format!(
        "INSERT INTO journeys VALUES ('rare', '', {:.0}, NULL, NULL, NULL, NULL, NULL)",
        (slot - 28.0 * 86_400.0) * 1e6
    );
    db.execute_batch(&before).unwrap();
    drop(db);
    let daemon = Running::serve(dir.path(), &[]).await;
    let missed =
        "journeyd_journey_runs_missed_total{journey=\"rare\",variant=\"\",location=\"local\",reason=\"downtime\"}";
    let after = daemon.until_metrics("what was missed", |m| sample(m, missed) == Some(2.0)).await;
    assert!(sample(&after, next).unwrap() < slot, "it is brought forward");
    assert!(sample(&text, "journeyd_store_size_bytes").is_some_and(|bytes| bytes > 0.0));
}

#[tokio::test]
async fn a_store_that_hangs_does_not_keep_alerts_from_being_told() {
    let (target, status) = Target::switchable().await;
    status.store(500, Ordering::SeqCst);
    let sink = Sink::start().await;
    let config = format!(
        "journeys = [\"a.toml\"]\n[receivers.ops]\ntype = \"webhook\"\nurl = \"{}\"\n[[routes]]\nto = [\"ops\"]\ngroup_wait = \"0s\"\n",
        sink.url()
    );
    let dir = folder(&[("journeyd.toml", &config), ("a.toml", &journey(&target.url, "schedule = { every = \"1s\" }"))]);
    let mut daemon = Running::serve(dir.path(), &[("JOURNEYD_HANG_AT", "writer")]).await;
    let told = sink.until("the alert", |all| !all.is_empty()).await;
    assert_eq!(told[0].kind(), "alert.firing");
    assert!(daemon.output().contains("it does not answer"), "{}", daemon.output());
    daemon.signal("TERM");
    assert_eq!(daemon.ended().await, 0, "it ends all the same");
    assert!(daemon.output().contains("what it lacks is forgotten"), "{}", daemon.output());
}

#[tokio::test]
async fn without_its_store_the_daemon_judges_and_tells_from_memory_and_writes_it_down_later() {
    let (target, status) = Target::switchable().await;
    let sink = Sink::start().await;
    let config = format!(
        "journeys = [\"a.toml\"]\n[receivers.ops]\ntype = \"webhook\"\nurl = \"{}\"\n[[routes]]\nto = [\"ops\"]\ngroup_wait = \"0s\"\n",
        sink.url()
    );
    let dir = folder(&[("journeyd.toml", &config), ("a.toml", &journey(&target.url, "schedule = { every = \"1s\" }"))]);
    let mut daemon = Running::serve(dir.path(), &[]).await;
    // Somebody holds the database: every commit fails.
    let db = rusqlite::Connection::open(dir.path().join("data/state.db")).unwrap();
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    status.store(500, Ordering::SeqCst);
    let told = sink.until("the alert", |all| !all.is_empty()).await;
    assert_eq!(told[0].kind(), "alert.firing");
    let errors = "journeyd_store_errors_total{op=\"commit\"}";
    daemon.until_metrics("the store's errors", |m| sample(m, errors).is_some_and(|n| n >= 1.0)).await;
    db.execute_batch("ROLLBACK").unwrap();
    crate::support::eventually("the store works again", || async {
        daemon.output().contains("the store works again").then_some(())
    })
    .await;
    daemon.signal("KILL");
    daemon.ended().await;
    let open: u32 = db.query_row("SELECT count(*) FROM incidents WHERE resolved_at IS NULL", [], |r| r.get(0)).unwrap();
    let delivered: u32 =
        db.query_row("SELECT count(*) FROM outbox WHERE state = 'delivered'", [], |r| r.get(0)).unwrap();
    assert_eq!((open, delivered), (1, 1));
    assert_eq!(sink.deliveries().len(), 1);
}

const DOWN: &str = "journeyd_alert_firing{alert=\"down\",journey=\"a\",variant=\"\",severity=\"critical\"}";

fn told(sink: &Sink) -> Vec<String> {
    sink.told().into_iter().map(|(kind, _)| kind).collect()
}

fn telling(sink: &Sink, store: &str) -> String {
    format!(
        "journeys = [\"j/*.toml\"]\n[store]\ndir = \"{store}\"\n[receivers.ops]\ntype = \"webhook\"\nurl = \"{}\"\n\
         [[routes]]\nto = [\"ops\"]\ngroup_wait = \"0s\"\n",
        sink.url()
    )
}

/// A folder that nobody can make: monitoring goes on, loudly.
#[tokio::test]
async fn a_folder_that_cannot_be_written_costs_the_memory_and_not_the_monitoring() {
    let (target, status) = Target::switchable().await;
    let sink = Sink::start().await;
    let dir = folder(&[
        ("journeyd.toml", &telling(&sink, "/proc/journeyd-cannot-be-here")),
        ("j/a.toml", &journey(&target.url, "schedule = { every = \"1s\" }")),
    ]);
    let daemon = Running::serve(dir.path(), &[]).await;
    assert!(daemon.output().contains("the store cannot be written"), "{}", daemon.output());
    status.store(503, Ordering::SeqCst);
    let text = daemon.until_metrics("it fires", |m| sample(m, DOWN) == Some(1.0)).await;
    assert_eq!(sample(&text, "journeyd_store_errors_total{op=\"open\"}"), Some(1.0));
    sink.until("it is told", |all| !all.is_empty()).await;
    assert_eq!(get(&format!("{}/api/v1/incidents", daemon.url)).await.0, 200);
    assert_eq!(get(&format!("{}/api/v1/runs", daemon.url)).await.0, 503);
}

/// A database of noise: set aside whole, and a new one begun.
#[tokio::test]
async fn a_corrupt_database_is_kept_aside_and_monitoring_goes_on() {
    let (target, status) = Target::switchable().await;
    let sink = Sink::start().await;
    let dir = folder(&[
        ("journeyd.toml", &telling(&sink, "data")),
        ("j/a.toml", &journey(&target.url, "schedule = { every = \"1s\" }")),
        ("data/state.db", &"not a database at all. ".repeat(1000)),
    ]);
    let daemon = Running::serve(dir.path(), &[]).await;
    assert!(daemon.output().contains("damaged and was set aside"), "{}", daemon.output());
    status.store(503, Ordering::SeqCst);
    let text = daemon.until_metrics("it fires", |m| sample(m, DOWN) == Some(1.0)).await;
    assert_eq!(sample(&text, "journeyd_store_errors_total{op=\"open\"}"), Some(1.0));
    let kept: Vec<String> = std::fs::read_dir(dir.path().join("data"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("state.db.damaged-"))
        .collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    let noise = std::fs::read_to_string(dir.path().join("data").join(&kept[0])).unwrap();
    assert_eq!(noise, "not a database at all. ".repeat(1000), "nothing of it is lost");
}

/// No file may grow beyond a few blocks, as on a full disk.
#[tokio::test]
async fn a_full_disk_is_told_and_what_was_decided_meanwhile_is_told_too() {
    let (target, status) = Target::switchable().await;
    let sink = Sink::start().await;
    let dir = folder(&[
        ("journeyd.toml", &telling(&sink, "data")),
        ("j/a.toml", &journey(&target.url, "schedule = { every = \"1s\" }")),
        ("j/b.toml", &journey(&target.url, "schedule = { every = \"1s\" }")),
    ]);
    let mut command = tokio::process::Command::new("sh");
    command
        .args(["-c", "trap '' XFSZ; ulimit -f 300; exec \"$0\" serve --config journeyd.toml --listen 127.0.0.1:0"])
        .arg(env!("CARGO_BIN_EXE_journeyd"))
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .current_dir(dir.path())
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true);
    let daemon = Running::start(command, "Metrics at ").await;
    // Failed runs are kept whole: they fill the disk.
    status.store(503, Ordering::SeqCst);
    let errors = |m: &str| sample(m, "journeyd_store_errors_total{op=\"commit\"}").unwrap_or(0.0);
    daemon.until_metrics("the disk is full", |m| errors(m) >= 1.0).await;
    assert!(daemon.output().contains("the store cannot be written"), "{}", daemon.output());
    assert!(get(&format!("{}/-/ready", daemon.url)).await.1.contains("the store cannot be written"));
    status.store(200, Ordering::SeqCst);
    sink.until("the end of it", |all| all.iter().any(|d| d.kind() == "alert.resolved")).await;
    assert_eq!(told(&sink), ["alert.firing", "alert.resolved"]);
}
