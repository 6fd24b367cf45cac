//! The daemon: health, schedule, reload, shutdown.

use crate::support::process::Running;
use crate::support::target::{Act, Target, response};
use crate::support::{eventually, folder, get, sample};

const CONFIG: &str = "journeys = [\"*.journey.toml\"]\n";

fn journey(url: &str, rest: &str) -> String {
    format!(
        "base_url = \"{url}\"\nschedule = {{ every = \"1s\" }}\n{rest}\n[[steps]]\nid = \"home\"\nrequest = \"GET /\"\n"
    )
}

fn labels(journey: &str) -> String {
    format!("{{journey=\"{journey}\",variant=\"\",location=\"local\"}}")
}

#[tokio::test]
async fn health_metrics_and_formats_are_served() {
    let target = Target::start(Act::Reply(response("200 OK", &[], "ok"))).await;
    let dir = folder(&[("journeyd.toml", "journeys = [\"a.toml\"]\n"), ("a.toml", &journey(&target.url, ""))]);
    let mut daemon = Running::serve(dir.path(), &[]).await;
    assert_eq!(get(&format!("{}/-/healthy", daemon.url)).await, (200, "healthy\n".to_owned()));
    assert_eq!(get(&format!("{}/-/ready", daemon.url)).await, (200, "ready\n".to_owned()));
    assert!(get(&daemon.url).await.1.contains("/metrics"));
    assert_eq!(get(&format!("{}/nope", daemon.url)).await.0, 404);

    let runs = format!("journeyd_journey_runs_total{}", labels("a"));
    let text = daemon.until_metrics("two runs", |m| sample(m, &runs).is_some_and(|n| n >= 2.0)).await;
    assert_eq!(sample(&text, &format!("journeyd_journey_up{}", labels("a"))), Some(1.0));
    let next = sample(&text, &format!("journeyd_journey_next_run_timestamp_seconds{}", labels("a"))).unwrap();
    let last = sample(&text, &format!("journeyd_journey_last_run_timestamp_seconds{}", labels("a"))).unwrap();
    assert!(next > last, "{next} {last}");
    for name in [
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_start_time_seconds",
        "journeyd_scheduler_last_tick_timestamp_seconds",
        "journeyd_scheduler_lag_seconds_count",
    ] {
        assert!(sample(&text, name).is_some_and(|v| v > 0.0), "{name}\n{text}");
    }

    let request = crate::support::client()
        .get(format!("{}/metrics", daemon.url))
        .header("accept", "application/openmetrics-text;version=1.0.0");
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let open = response.text().await.unwrap();
    assert!(open.ends_with("# EOF\n") && open.contains(" # {trace_id=\""), "{open}");

    daemon.signal("TERM");
    assert_eq!(daemon.ended().await, 0);
    assert!(daemon.output().contains("stopped."), "{}", daemon.output());
}

#[tokio::test]
async fn an_overrunning_journey_misses_its_next_runs() {
    let target = Target::start(Act::ReplyAndHang(vec![])).await;
    let text = format!(
        "base_url = \"{}\"\nschedule = {{ every = \"1s\" }}\n[[steps]]\nid = \"s\"\nrequest = \"GET /\"\ntimeout = \"8s\"\n",
        target.url
    );
    let dir = folder(&[("journeyd.toml", "journeys = [\"slow.toml\"]\n"), ("slow.toml", &text)]);
    let daemon = Running::serve(dir.path(), &[]).await;
    let missed =
        "journeyd_journey_runs_missed_total{journey=\"slow\",variant=\"\",location=\"local\",reason=\"overlap\"}";
    let text = daemon.until_metrics("two missed runs", |m| sample(m, missed).is_some_and(|n| n >= 2.0)).await;
    assert_eq!(sample(&text, "journeyd_runs_in_progress"), Some(1.0));
    assert_eq!(sample(&text, &format!("journeyd_journey_runs_total{}", labels("slow"))), Some(0.0));
    assert_eq!(target.requests().len(), 1, "it never overlaps itself");
}

#[tokio::test]
async fn a_full_host_misses_runs_for_capacity_and_never_exceeds_its_limit() {
    let target = Target::start(Act::ReplyAndHang(vec![])).await;
    let text = format!(
        "base_url = \"{}\"\nschedule = {{ every = \"1s\" }}\n[[steps]]\nid = \"s\"\nrequest = \"GET /\"\ntimeout = \"20s\"\n",
        target.url
    );
    let dir = folder(&[
        ("journeyd.toml", "journeys = [\"a.toml\", \"b.toml\", \"c.toml\"]\n[limits]\nper_host = 2\n"),
        ("a.toml", &text),
        ("b.toml", &text),
        ("c.toml", &text),
    ]);
    let daemon = Running::serve(dir.path(), &[]).await;
    let capacity = |m: &str| {
        ["a", "b", "c"].iter().filter_map(|j| sample(m, &format!("journeyd_journey_runs_missed_total{{journey=\"{j}\",variant=\"\",location=\"local\",reason=\"capacity\"}}"))).sum::<f64>()
    };
    let text = daemon.until_metrics("a run missed for capacity", |m| capacity(m) >= 1.0).await;
    assert_eq!(sample(&text, "journeyd_runs_in_progress"), Some(2.0));
    assert_eq!(target.requests().len(), 2);
}

#[tokio::test]
async fn a_reload_is_all_or_nothing() {
    let target = Target::start(Act::Reply(response("200 OK", &[], "ok"))).await;
    let dir = folder(&[("journeyd.toml", CONFIG), ("a.journey.toml", &journey(&target.url, ""))]);
    std::fs::write(dir.path().join("journeyd.toml"), "journeys = [\"j/*.toml\"]\n").unwrap();
    std::fs::create_dir(dir.path().join("j")).unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join("j").join(name), text).unwrap();
    write("a.toml", &journey(&target.url, ""));
    let daemon = Running::serve(dir.path(), &[]).await;
    let a = format!("journeyd_journey_runs_total{}", labels("a"));
    let ok = "journeyd_config_last_reload_successful";
    let before = daemon.until_metrics("a run of a", |m| sample(m, &a).is_some_and(|n| n >= 1.0)).await;
    assert_eq!(sample(&before, ok), Some(1.0));

    // Good and bad together: nothing of it counts.
    write("b.toml", &journey(&target.url, ""));
    write("c.toml", "steps = 3\n");
    daemon.signal("HUP");
    let refused = daemon.until_metrics("the refusal", |m| sample(m, ok) == Some(0.0)).await;
    assert!(!refused.contains("journey=\"b\""));
    let runs = sample(&refused, &a).unwrap();
    daemon.until_metrics("a goes on", |m| sample(m, &a).is_some_and(|n| n > runs)).await;
    let log =
        eventually("the log", || async { Some(daemon.output()).filter(|o| o.contains("the reload was refused")) })
            .await;
    assert!(log.contains("c.toml:1:1"), "{log}");

    // Mended: b comes, and a keeps its count.
    std::fs::remove_file(dir.path().join("j/c.toml")).unwrap();
    daemon.signal("HUP");
    let b = format!("journeyd_journey_runs_total{}", labels("b"));
    let mended = daemon.until_metrics("a run of b", |m| sample(m, &b).is_some_and(|n| n >= 1.0)).await;
    assert_eq!(sample(&mended, ok), Some(1.0));
    assert!(sample(&mended, &a).unwrap() > runs);

    // A mistake that no diagnostic can be cut short by: text beyond ASCII.
    write("ü.toml", "title = \"größe\"\n[[steps]]\nid = \"s\"\nrequest = \"GET /{{ größe | uper }}\"\n");
    daemon.signal("HUP");
    daemon.until_metrics("the second refusal", |m| sample(m, ok) == Some(0.0)).await;
    std::fs::remove_file(dir.path().join("j/ü.toml")).unwrap();

    // The folder is gone for a moment: that must not end all monitoring.
    std::fs::rename(dir.path().join("j"), dir.path().join("away")).unwrap();
    daemon.signal("HUP");
    eventually("the third refusal", || async { Some(()).filter(|()| daemon.output().contains("no file matches")) })
        .await;
    assert!(daemon.metrics().await.contains("journey=\"b\""));
    std::fs::rename(dir.path().join("away"), dir.path().join("j")).unwrap();

    // Gone and disabled journeys: no series, no runs.
    std::fs::remove_file(dir.path().join("j/a.toml")).unwrap();
    write("b.toml", &journey(&target.url, "enabled = false"));
    daemon.signal("HUP");
    let last = daemon.until_metrics("a is gone", |m| !m.contains("journey=\"a\"")).await;
    assert_eq!(sample(&last, "journeyd_journey_enabled{journey=\"b\"}"), Some(0.0));
}

#[tokio::test]
async fn a_shutdown_cancels_steps_and_runs_cleanup() {
    let target = Target::start(Act::Routes(vec![
        ("/order", response("200 OK", &[], "{\"id\": \"o-1\"}")),
        ("/cancel/", response("204 No Content", &[], "")),
    ]))
    .await;
    let hanging = Target::start(Act::ReplyAndHang(vec![])).await;
    let text = format!(
        "base_url = \"{}\"\nschedule = {{ every = \"1s\" }}\n[[steps]]\nid = \"order\"\nrequest = \"POST /order\"\ncapture.order_id = {{ json = \"$.id\" }}\n\
         [[steps]]\nid = \"hang\"\nrequest = \"GET {}/\"\n[[cleanup]]\nid = \"cancel\"\nrequest = \"DELETE /cancel/{{{{ order_id }}}}\"\n",
        target.url, hanging.url
    );
    let dir = folder(&[("journeyd.toml", "journeys = [\"a.toml\"]\n"), ("a.toml", &text)]);
    let mut daemon = Running::serve(dir.path(), &[]).await;
    eventually("the hanging step", || async { (!hanging.requests().is_empty()).then_some(()) }).await;
    daemon.signal("TERM");
    assert_eq!(daemon.ended().await, 0);
    assert!(target.requests().iter().any(|r| r.starts_with("DELETE /cancel/o-1 ")), "{:?}", target.requests());
    assert!(!daemon.output().contains("failed."), "a shutdown is nobody's failure: {}", daemon.output());
}

#[tokio::test]
async fn slow_headers_do_not_hold_the_server() {
    let target = Target::start(Act::Reply(response("200 OK", &[], "ok"))).await;
    let dir = folder(&[("journeyd.toml", "journeys = [\"a.toml\"]\n"), ("a.toml", &journey(&target.url, ""))]);
    let daemon = Running::serve(dir.path(), &[]).await;
    let address = daemon.url.trim_start_matches("http://").to_owned();
    let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"GET /metrics HTTP/1.1\r\nX-Slow: ").await.unwrap();
    // The server hangs up by itself: the read ends.
    let mut rest = Vec::new();
    let read = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut rest);
    tokio::time::timeout(crate::support::PATIENCE, read).await.expect("the server hung up").unwrap();
    assert_eq!(get(&format!("{}/-/healthy", daemon.url)).await.0, 200);
}

/// Writes take the token of the store's folder; a reload by HTTP is all or nothing and says what became of it.
#[tokio::test]
async fn a_reload_by_http_takes_the_token_and_answers_with_what_became_of_it() {
    let target = Target::start(Act::Reply(response("200 OK", &[], "ok"))).await;
    let dir = folder(&[("journeyd.toml", CONFIG), ("a.journey.toml", &journey(&target.url, ""))]);
    std::fs::rename(dir.path().join("a.journey.toml"), dir.path().join("a.toml")).unwrap();
    let config =
        |list: &str| std::fs::write(dir.path().join("journeyd.toml"), format!("journeys = [{list}]\n")).unwrap();
    config("\"a.toml\"");
    let daemon = Running::serve(dir.path(), &[]).await;
    let path = dir.path().join("data/api-token");
    let token = std::fs::read_to_string(&path).unwrap();
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&path).unwrap());
    assert_eq!((mode & 0o777, token.len()), (0o600, 64));
    let post = |token: &str| {
        let request = crate::support::client().post(format!("{}/-/reload", daemon.url));
        let request =
            if token.is_empty() { request } else { request.header("authorization", format!("Bearer {token}")) };
        async move {
            let response = request.send().await.unwrap();
            (response.status().as_u16(), response.text().await.unwrap())
        }
    };
    assert_eq!(post("").await.0, 401);
    assert_eq!(post("wrong").await.0, 401);
    assert_eq!(get(&format!("{}/-/reload", daemon.url)).await.0, 405);
    std::fs::write(dir.path().join("b.toml"), journey(&target.url, "")).unwrap();
    config("\"a.toml\", \"b.toml\"");
    assert_eq!(post(&token).await, (200, "reloaded: 2 journeys\n".to_owned()));
    std::fs::write(dir.path().join("b.toml"), "base_url = 3\n").unwrap();
    let (status, text) = post(&token).await;
    assert_eq!(status, 422);
    assert!(text.starts_with("nothing was changed.\n") && text.contains("b.toml:1:12"), "{text}");
    let (status, ready) = get(&format!("{}/-/ready", daemon.url)).await;
    assert_eq!(status, 200);
    assert!(ready.contains("the last reload was refused") && ready.contains("1 error"), "{ready}");
    assert_eq!(sample(&daemon.metrics().await, "journeyd_config_last_reload_successful"), Some(0.0));
    std::fs::write(dir.path().join("b.toml"), journey(&target.url, "")).unwrap();
    assert_eq!(post(&token).await.0, 200);
    assert_eq!(get(&format!("{}/-/ready", daemon.url)).await.1, "ready\n");
    assert!(!daemon.output().contains(&token));
    // The token outlives the daemon.
    drop(daemon);
    let again = Running::serve(dir.path(), &[]).await;
    assert_eq!(std::fs::read_to_string(&path).unwrap(), token);
    let (_, journeys) = get(&format!("{}/api/v1/journeys", again.url)).await;
    assert!(journeys.contains("\"id\":\"b\""), "{journeys}");
}

/// As Kubernetes does it: a link that turns to another folder.
#[tokio::test]
async fn a_changed_file_is_noticed_by_its_content() {
    let target = Target::start(Act::Reply(response("200 OK", &[], "ok"))).await;
    let dir = folder(&[
        ("journeyd.toml", "journeys = [\"mounted/*.toml\"]\n"),
        ("one/a.toml", &journey(&target.url, "")),
        ("two/a.toml", &journey(&target.url, "title = \"Second\"")),
        ("two/b.toml", &journey(&target.url, "")),
    ]);
    let link = |to: &str| {
        let (new, mounted) = (dir.path().join("new"), dir.path().join("mounted"));
        std::os::unix::fs::symlink(to, &new).unwrap();
        std::fs::rename(new, mounted).unwrap();
    };
    link("one");
    let daemon = Running::serve_with(dir.path(), &["--watch"], &[]).await;
    link("two");
    daemon.until_metrics("the second folder", |m| m.contains("title=\"Second\"") && m.contains("journey=\"b\"")).await;
    assert_eq!(daemon.output().matches("a file of the configuration has changed").count(), 1);
}
