//! What operators rely on at night: groups, silences, acknowledgements, escalation, maintenance, self-doubt, and the
//! verbs of the command line.

use std::path::Path;
use std::sync::atomic::Ordering;

use serde_json::{Value as Json, json};

use crate::support::process::{Running, run};
use crate::support::sink::Sink;
use crate::support::target::{Target, response};
use crate::support::{client, eventually, folder, get, sample};

fn journey(target: &str, more: &str) -> String {
    format!(
        "base_url = \"{target}\"\nschedule = {{ every = \"1s\" }}\n{more}\n[[steps]]\nid = \"home\"\nrequest = \"GET /\"\n"
    )
}

fn receiver(name: &str, sink: &Sink) -> String {
    format!("[receivers.{name}]\ntype = \"webhook\"\nurl = \"{}\"\n", sink.url())
}

const AT_ONCE: &str = "group_wait = \"0s\"\ngroup_interval = \"1s\"\n";

fn config(more: &str) -> String {
    format!("journeys = [\"j/*.toml\"]\n{more}")
}

/// The operator's commands, against `daemon`.
async fn ask(dir: &Path, daemon: &Running, args: &[&str]) -> (i32, String) {
    let url = daemon.url.clone();
    let args = [args, &["--config", "journeyd.toml", "--url", &url]].concat();
    let done = run(dir, &args, &[("USER", "ann")]).await;
    (done.code, done.stdout + &done.stderr)
}

#[tokio::test]
async fn a_dead_host_with_forty_journeys_is_one_message_and_one_resolve() {
    let (target, status) = Target::switchable().await;
    let sink = Sink::start().await;
    let text = config(
        &(receiver("ops", &sink) + "[[routes]]\nto = [\"ops\"]\ngroup_wait = \"3s\"\n[limits]\nper_host = 40\n"),
    );
    let names: Vec<String> = (0..40).map(|n| format!("j/j{n}.toml")).collect();
    let body = journey(&target.url, "");
    let mut files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), body.as_str())).collect();
    files.push(("journeyd.toml", &text));
    let dir = folder(&files);
    let daemon = Running::serve(dir.path(), &[]).await;
    daemon.until_metrics("all passed", |m| m.matches("\njourneyd_journey_up{").count() == 40).await;
    status.store(503, Ordering::SeqCst);
    let told = sink.until("the alert", |all| !all.is_empty()).await;
    assert_eq!(told[0].kind(), "alert.firing");
    assert_eq!(told[0].body["data"]["alerts"].as_array().unwrap().len(), 40, "all of them in one message");
    daemon
        .until_metrics("all fire", |m| {
            m.lines().filter(|l| l.starts_with("journeyd_alert_firing{alert=\"down\"") && l.ends_with(" 1")).count()
                == 40
        })
        .await;
    status.store(200, Ordering::SeqCst);
    let told = sink.until("the end", |all| all.len() >= 2).await;
    assert_eq!((told[1].kind(), told[1].reason()), ("alert.resolved", "recovered"));
    assert_eq!(told[1].body["data"]["alerts"].as_array().unwrap().len(), 40);
    let open = "journeyd_incidents_open{severity=\"critical\"}";
    daemon.until_metrics("nothing is open", |m| sample(m, open) == Some(0.0)).await;
    assert_eq!(sink.told().len(), 2, "{:?}", sink.told());
}

#[tokio::test]
async fn a_silence_holds_back_what_fires_and_its_end_tells_it() {
    let (target, status) = Target::switchable().await;
    let sink = Sink::start().await;
    let text = config(&(receiver("ops", &sink) + "[[routes]]\nto = [\"ops\"]\n" + AT_ONCE));
    let dir = folder(&[("journeyd.toml", &text), ("j/buy.toml", &journey(&target.url, ""))]);
    let daemon = Running::serve(dir.path(), &[]).await;
    let add = ["silence", "add", "journey=buy", "--comment", "moving the database", "--duration", "1h"];
    let (code, id) = ask(dir.path(), &daemon, &add).await;
    assert_eq!(code, 0, "{id}");
    let (code, list) = ask(dir.path(), &daemon, &["silence", "list"]).await;
    assert!(code == 0 && list.contains("journey=buy") && list.contains("by ann: moving the database"), "{list}");
    status.store(503, Ordering::SeqCst);
    daemon
        .until_metrics("it fires", |m| {
            m.contains("journeyd_alert_firing{alert=\"down\",journey=\"buy\",variant=\"\",severity=\"critical\"} 1")
        })
        .await;
    assert_eq!(sample(&daemon.metrics().await, "journeyd_silences_active"), Some(1.0));
    let (_, incidents) = ask(dir.path(), &daemon, &["incident", "list"]).await;
    assert!(incidents.contains("buy down") && incidents.contains("open"), "{incidents}");
    assert!(sink.told().is_empty(), "{:?}", sink.told());
    let (code, text) = ask(dir.path(), &daemon, &["silence", "expire", id.trim()]).await;
    assert_eq!(code, 0, "{text}");
    let told = sink.until("it is told now", |all| !all.is_empty()).await;
    assert_eq!((told[0].kind(), told[0].reason()), ("alert.firing", "first"));
    // One that is mistaken says why.
    for (matcher, want) in [("journey", "is no matcher"), ("journey=~(", "is not a regular expression")] {
        let (code, text) = ask(dir.path(), &daemon, &["silence", "add", matcher, "--comment", "x"]).await;
        assert!(code == 2 && text.contains(want), "{text}");
    }
}

#[tokio::test]
async fn nobody_acknowledging_calls_the_next_and_an_acknowledgement_calls_nobody() {
    let (target, status) = Target::switchable().await;
    let (ops, boss) = (Sink::start().await, Sink::start().await);
    let route = format!("[[routes]]\nto = [\"ops\"]\n{AT_ONCE}escalate = [{{ after = \"4s\", to = [\"boss\"] }}]\n");
    let text = config(&(receiver("ops", &ops) + &receiver("boss", &boss) + &route));
    let alert = "[alert]\nrepeat_every = \"2s\"\nmax_reminders = 2\n";
    let dir = folder(&[("journeyd.toml", &text), ("j/buy.toml", &journey(&target.url, alert))]);
    let daemon = Running::serve(dir.path(), &[]).await;
    status.store(503, Ordering::SeqCst);
    ops.until("the alert", |all| !all.is_empty()).await;
    let (code, text) = ask(dir.path(), &daemon, &["incident", "ack", "1", "--note", "rolling back"]).await;
    assert_eq!(code, 0, "{text}");
    let told = ops.until("it is acknowledged", |all| all.iter().any(|d| d.reason() == "acknowledged")).await;
    let last = told.last().unwrap();
    assert_eq!(last.body["data"]["incident"]["acknowledged"]["author"], "ann");
    let (_, shown) = ask(dir.path(), &daemon, &["incident", "show", "1"]).await;
    assert!(shown.contains("acknowledged by ann") && shown.contains("rolling back"), "{shown}");
    assert!(shown.contains("timeline") && shown.contains("alert.firing") || shown.contains("firing"), "{shown}");
    // Nobody looks after it any more: the next is called, and reminders come, as many as were asked for.
    let before = boss.told().len();
    assert_eq!(before, 0, "{:?}", boss.told());
    let (code, _) = ask(dir.path(), &daemon, &["incident", "unack", "1"]).await;
    assert_eq!(code, 0);
    let told = boss.until("the boss is called", |all| !all.is_empty()).await;
    assert_eq!((told[0].kind(), told[0].reason()), ("alert.firing", "escalated"));
    let told = ops.until("reminders", |all| all.iter().filter(|d| d.kind() == "alert.reminder").count() == 2).await;
    assert_eq!(told.last().unwrap().alert()["repeat"], 2);
    status.store(200, Ordering::SeqCst);
    boss.until("and told of the end", |all| all.iter().any(|d| d.kind() == "alert.resolved")).await;
    let (code, text) = ask(dir.path(), &daemon, &["incident", "ack", "77"]).await;
    assert!(code == 2 && text.contains("no open incident 77"), "{text}");
}

#[tokio::test]
async fn in_a_maintenance_window_runs_go_on_and_count_for_nothing() {
    let target = Target::scripted(|_, _| response("503 X", &[], "")).await;
    let sink = Sink::start().await;
    let window = "[[maintenance]]\nname = \"move\"\nmatch = { journey = \"buy\" }\nstarts = 2020-01-01T00:00:00Z\nends = 2100-01-01T00:00:00Z\n";
    let text = config(&(receiver("ops", &sink) + window + "[[routes]]\nto = [\"ops\"]\n" + AT_ONCE));
    let slo = "[slo]\nobjective = 99\n";
    let dir = folder(&[
        ("journeyd.toml", &text),
        ("j/buy.toml", &journey(&target.url, slo)),
        ("j/other.toml", &journey(&target.url, "")),
    ]);
    let daemon = Running::serve(dir.path(), &[]).await;
    let of = |name: &str| format!("{name}{{journey=\"buy\",variant=\"\",location=\"local\"}}");
    let metrics = daemon
        .until_metrics("three runs in it", |m| {
            sample(m, &of("journeyd_journey_maintenance_runs_total")).is_some_and(|n| n >= 3.0)
                && m.contains(
                    "journeyd_alert_firing{alert=\"down\",journey=\"other\",variant=\"\",severity=\"critical\"} 1",
                )
        })
        .await;
    assert_eq!(sample(&metrics, &of("journeyd_journey_runs_total")), Some(0.0));
    assert_eq!(sample(&metrics, &of("journeyd_journey_up")), None);
    assert!(!metrics.contains("journeyd_slo_error_budget_remaining_ratio{journey=\"buy\""), "nothing burns");
    assert!(
        metrics.contains("journeyd_alert_firing{alert=\"down\",journey=\"buy\",variant=\"\",severity=\"critical\"} 0")
    );
    let told = sink.until("the other one", |all| !all.is_empty()).await;
    assert!(told.iter().all(|d| d.alert()["journey"]["id"] == "other"));
    let (_, text) = get(&format!("{}/api/v1/runs?journey=buy&limit=1", daemon.url)).await;
    let page: Json = serde_json::from_str(&text).unwrap();
    assert_eq!(page["runs"][0]["maintenance"], true, "{page:#}");
    assert!(page["next"].is_string(), "there are more");
}

#[tokio::test]
async fn a_target_that_changes_back_and_forth_is_told_once() {
    // Good, bad, good, bad.
    let target = Target::scripted(|_, n| response(if n % 2 == 0 { "200 OK" } else { "503 X" }, &[], "")).await;
    let sink = Sink::start().await;
    let text = config(&(receiver("ops", &sink) + "[[routes]]\nto = [\"ops\"]\n" + AT_ONCE));
    let dir = folder(&[("journeyd.toml", &text), ("j/buy.toml", &journey(&target.url, ""))]);
    let daemon = Running::serve(dir.path(), &[]).await;
    let told = sink.until("it flaps", |all| !all.is_empty()).await;
    assert_eq!((told[0].kind(), told[0].reason()), ("alert.flapping", "flapping_started"));
    let flapping = "journeyd_alert_flapping{alert=\"down\",journey=\"buy\",variant=\"\",severity=\"critical\"} 1";
    daemon.until_metrics("it shows", |m| m.contains(flapping)).await;
    let seen = target.requests().len();
    eventually("five more runs", || async { (target.requests().len() > seen + 5).then_some(()) }).await;
    assert_eq!(sink.told().len(), 1, "and is quiet from then on: {:?} {}", sink.told(), daemon.output());
}

/// Addresses of this machine where nobody listens.
fn nobody(port: u16) -> [String; 3] {
    ["127.0.0.2", "127.0.0.3", "127.0.0.4"].map(|host| format!("http://{host}:{port}"))
}

#[tokio::test]
async fn when_nothing_can_be_reached_the_monitor_doubts_itself_and_says_so_once() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let sink = Sink::start().await;
    let more = format!("[self_check]\ntargets = [\"127.0.0.5:{closed}\"]\n");
    let text = config(&(receiver("ops", &sink) + &more + "[[routes]]\nto = [\"ops\"]\n" + AT_ONCE));
    let [a, b, c] = nobody(closed);
    let slow = "[alert]\nfail_after = 4\n";
    let dir = folder(&[
        ("journeyd.toml", &text),
        ("j/a.toml", &journey(&a, slow)),
        ("j/b.toml", &journey(&b, slow)),
        ("j/c.toml", &journey(&c, slow)),
    ]);
    let daemon = Running::serve(dir.path(), &[]).await;
    let told = sink.until("one alert", |all| !all.is_empty()).await;
    assert_eq!(told[0].alert()["id"], "impaired");
    assert!(told[0].alert()["summary"].as_str().unwrap().contains("network is gone"), "{:#}", told[0].body);
    let errored = |m: &str, j: &str| {
        sample(
            m,
            &format!(
                "journeyd_journey_runs_errored_total{{journey=\"{j}\",variant=\"\",location=\"local\",reason=\"network\"}}"
            ),
        )
    };
    let metrics = daemon
        .until_metrics("runs are nobody's fault", |m| {
            ["a", "b", "c"].iter().all(|j| errored(m, j).is_some_and(|n| n >= 4.0))
        })
        .await;
    assert!(!metrics.lines().any(|l| l.starts_with("journeyd_alert_firing{alert=\"down\"") && l.ends_with(" 1")));
    assert_eq!(sink.told().len(), 1, "{:?}", sink.told());
}

#[tokio::test]
async fn when_a_control_probe_succeeds_three_dead_hosts_are_down() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let control = Target::scripted(|_, _| response("200 OK", &[], "")).await;
    let sink = Sink::start().await;
    let more = format!("[self_check]\ntargets = [\"{}\"]\n", control.url.trim_start_matches("http://"));
    let text = config(&(receiver("ops", &sink) + &more + "[[routes]]\nto = [\"ops\"]\n" + AT_ONCE));
    let [a, b, c] = nobody(closed);
    let dir = folder(&[
        ("journeyd.toml", &text),
        ("j/a.toml", &journey(&a, "")),
        ("j/b.toml", &journey(&b, "")),
        ("j/c.toml", &journey(&c, "")),
    ]);
    let _daemon = Running::serve(dir.path(), &[]).await;
    let told = sink.until("three alerts", |all| all.len() >= 3).await;
    assert!(told.iter().all(|d| d.alert()["id"] == "down"));
}

#[tokio::test]
async fn what_a_receiver_refuses_goes_to_its_fallback_and_the_others_hear_of_it() {
    let (target, status) = Target::switchable().await;
    let (broken, spare) = (Sink::start().await, Sink::start().await);
    broken.answer(410);
    let receivers = receiver("ops", &broken) + "fallback = \"spare\"\n" + &receiver("spare", &spare);
    let text = config(&(receivers + "[[routes]]\nto = [\"ops\"]\n" + AT_ONCE));
    let dir = folder(&[("journeyd.toml", &text), ("j/buy.toml", &journey(&target.url, ""))]);
    let daemon = Running::serve(dir.path(), &[]).await;
    status.store(503, Ordering::SeqCst);
    let told = spare.until("both messages", |all| all.len() >= 2).await;
    let by = |rule: &str| told.iter().find(|d| d.alert()["id"] == rule).cloned().unwrap_or_else(|| panic!("{told:#?}"));
    assert_eq!(by("down").body["data"]["instead_of"], "ops");
    assert!(by("receiver_failing").alert()["summary"].as_str().unwrap().contains("ops does not take messages"));
    let firing = "journeyd_alert_firing{alert=\"receiver_failing\",journey=\"journeyd\",variant=\"ops\",severity=\"critical\"} 1";
    daemon.until_metrics("it shows", |m| m.contains(firing)).await;
    status.store(200, Ordering::SeqCst);
    spare
        .until("the end of the outage", |all| {
            all.iter().any(|d| d.kind() == "alert.resolved" && d.alert()["id"] == "down")
        })
        .await;
}

#[tokio::test]
async fn more_than_a_channel_takes_is_one_digest() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let sink = Sink::start().await;
    let text = config(
        &(receiver("ops", &sink)
            + "budget = 2\n[[routes]]\nto = [\"ops\"]\ngroup_wait = \"0s\"\n[self_check]\ntargets = []\n"),
    );
    // Six hosts, each an outage of its own; one that answers keeps doubt away.
    let alive = Target::scripted(|_, _| response("200 OK", &[], "")).await;
    let mut files: Vec<(String, String)> =
        (10..16).map(|n| (format!("j/h{n}.toml"), journey(&format!("http://127.0.0.{n}:{closed}"), ""))).collect();
    files.push(("journeyd.toml".into(), text));
    files.push(("j/alive.toml".into(), journey(&alive.url, "")));
    let files: Vec<(&str, &str)> = files.iter().map(|(n, t)| (n.as_str(), t.as_str())).collect();
    let dir = folder(&files);
    let _daemon = Running::serve(dir.path(), &[]).await;
    let told = sink.until("a digest", |all| all.iter().any(|d| d.kind() == "alert.digest")).await;
    let firing = told.iter().filter(|d| d.kind() == "alert.firing").count();
    assert_eq!(firing, 2, "{:?}", sink.told());
    let digest = told.iter().find(|d| d.kind() == "alert.digest").unwrap();
    assert!(digest.body["data"]["digest"][0].as_str().unwrap().starts_with("FIRING h1"), "{:#}", digest.body);
}

#[tokio::test]
async fn status_now_backup_and_restore_do_what_they_say() {
    let (target, status) = Target::switchable().await;
    let text = config("");
    let dir = folder(&[("journeyd.toml", &text), ("j/buy.toml", &journey(&target.url, "[slo]\nobjective = 99\n"))]);
    let mut daemon = Running::serve(dir.path(), &[]).await;
    daemon.until_metrics("a run", |m| m.contains("journeyd_journey_up{journey=\"buy\"")).await;
    let (code, text) = ask(dir.path(), &daemon, &["status"]).await;
    assert!(code == 0 && text.contains(": ready") && text.contains("1 passing, 0 failing"), "{text}");
    let (code, text) = ask(dir.path(), &daemon, &["now", "buy"]).await;
    assert!(code == 0 && text.starts_with("buy  passed"), "{text}");
    status.store(503, Ordering::SeqCst);
    let (code, text) = ask(dir.path(), &daemon, &["now", "buy"]).await;
    assert!(code == 1 && text.contains("failed: http_5xx") && text.contains("expected  status 2xx"), "{text}");
    let (code, text) = ask(dir.path(), &daemon, &["now", "nothing"]).await;
    assert!(code == 2 && text.contains("there is no journey `nothing`"), "{text}");
    daemon.until_metrics("it fires", |m| m.contains("journeyd_incidents_open{severity=\"critical\"} 1")).await;

    let (code, text) = ask(dir.path(), &daemon, &["backup", "copy.db"]).await;
    assert!(code == 0 && text.contains("copy.db"), "{text}");
    let (code, text) = ask(dir.path(), &daemon, &["backup", "copy.db"]).await;
    assert!(code == 2 && text.contains("exists already"), "{text}");
    let restore = ["restore", "copy.db", "--config", "journeyd.toml"];
    let busy = run(dir.path(), &restore, &[]).await;
    assert!(busy.code == 2 && busy.stderr.contains("stop it first"), "{}", busy.stderr);
    daemon.signal("TERM");
    daemon.ended().await;
    std::fs::write(dir.path().join("other.db"), "not a database").unwrap();
    let wrong = run(dir.path(), &["restore", "other.db", "--config", "journeyd.toml"], &[]).await;
    assert!(wrong.code == 2 && wrong.stderr.contains("cannot restore"), "{}", wrong.stderr);
    std::fs::remove_file(dir.path().join("data/state.db")).unwrap();
    let done = run(dir.path(), &restore, &[]).await;
    assert_eq!(done.code, 0, "{}", done.stderr);
    let daemon = Running::serve(dir.path(), &[]).await;
    let (_, incidents) = ask(dir.path(), &daemon, &["incident", "list"]).await;
    assert!(incidents.contains("buy down"), "the incident is back: {incidents}");
    let nobody = run(dir.path(), &["status", "--config", "journeyd.toml", "--url", "http://127.0.0.1:1"], &[]).await;
    assert!(nobody.code == 3 && nobody.stderr.contains("no journeyd answers"), "{}", nobody.stderr);
}

#[tokio::test]
async fn the_api_is_what_its_document_says_and_writes_take_the_token() {
    let target = Target::scripted(|_, _| response("503 X", &[], "")).await;
    let dir =
        folder(&[("journeyd.toml", &config("")), ("j/buy.toml", &journey(&target.url, "[slo]\nobjective = 99\n"))]);
    let daemon = Running::serve(dir.path(), &[]).await;
    daemon.until_metrics("an incident", |m| m.contains("journeyd_incidents_open{severity=\"critical\"} 1")).await;
    let (_, text) = get(&format!("{}/api/v1/openapi.json", daemon.url)).await;
    let document: Json = serde_json::from_str(&text).unwrap();
    let token = std::fs::read_to_string(dir.path().join("data/api-token")).unwrap();
    let mut operations = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            operations += 1;
            let path = path.replace("journeys/{id}", "journeys/buy").replace("{id}", "1");
            let url = format!("{}{path}", daemon.url);
            let request = |token: Option<&str>| {
                let request = client().request(method.to_uppercase().parse().unwrap(), &url).body("{}");
                match token {
                    Some(token) => request.bearer_auth(token),
                    None => request,
                }
            };
            let secured = operation.get("security").is_some() || path == "/-/reload";
            let without = request(None).send().await.unwrap();
            let status = without.status().as_u16().to_string();
            if secured {
                assert_eq!(status, "401", "{method} {path}");
                assert_eq!(request(Some("wrong")).send().await.unwrap().status(), 401, "{method} {path}");
            }
            let answer = if secured { request(Some(&token)).send().await.unwrap() } else { without };
            let status = answer.status().as_u16().to_string();
            assert!(operation["responses"].get(&status).is_some(), "{method} {path} answered {status}");
            if status == "200" && operation["responses"]["200"]["content"].get("application/json").is_some() {
                let body: Json = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
                let said = operation["responses"]["200"]["content"]["application/json"]["schema"]["properties"].clone();
                for name in said.as_object().unwrap().keys().filter(|name| *name != "total") {
                    assert!(body.get(name).is_some(), "{method} {path} lacks {name}: {body:#}");
                }
            }
        }
    }
    assert!(operations >= 16, "{operations}");
    // Every list is paged.
    for list in ["alerts", "incidents", "journeys", "runs", "silences", "slos"] {
        let (code, text) = get(&format!("{}/api/v1/{list}?limit=1", daemon.url)).await;
        let page: Json = serde_json::from_str(&text).unwrap();
        assert!(code == 200 && page[list].as_array().unwrap().len() <= 1 && page.get("next").is_some(), "{text}");
        for bad in ["limit=0", "limit=501", "limit=x", "cursor=x"] {
            assert_eq!(get(&format!("{}/api/v1/{list}?{bad}", daemon.url)).await.0, 400, "{list} {bad}");
        }
    }
    let (_, text) = get(&format!("{}/api/v1/slos", daemon.url)).await;
    let slos: Json = serde_json::from_str(&text).unwrap();
    assert_eq!(slos["slos"][0]["bad_runs"], slos["slos"][0]["runs"], "{slos:#}");
    assert!(slos["slos"][0]["burn_rates"]["5m"].as_f64().unwrap() > 99.0, "{slos:#}");
}

#[tokio::test]
async fn the_heartbeat_comes_while_the_daemon_lives() {
    let (healthy, _) = Target::switchable().await;
    let pings = Target::scripted(|_, _| response("200 OK", &[], "")).await;
    let text = config(&format!("[heartbeat]\nurl = \"{}/ping/abc\"\nevery = \"5s\"\n", pings.url));
    let dir = folder(&[("journeyd.toml", &text), ("j/buy.toml", &journey(&healthy.url, ""))]);
    let daemon = Running::serve(dir.path(), &[]).await;
    eventually("two pings", || async { (pings.requests().len() >= 2).then_some(()) }).await;
    assert!(pings.requests()[0].starts_with("GET /ping/abc"));
    drop(daemon);
}

#[tokio::test]
async fn further_rules_fire_from_real_runs_and_depend_on_nothing_but_them() {
    let slow = Target::scripted(|_, n| response(if n % 3 == 0 { "503 X" } else { "200 OK" }, &[], "")).await;
    let sink = Sink::start().await;
    let text = config(&(receiver("ops", &sink) + "[[routes]]\nto = [\"ops\"]\n" + AT_ONCE));
    let rules = "[slo]\nobjective = 99\nlatency = \"1ms\"\n[alert]\nfail_after = 50\nflapping = false\n\
        [[alerts]]\nid = \"errors\"\nkind = \"error_rate\"\nover = 20\nwindow = \"1m\"\n\
        [[alerts]]\nid = \"slow\"\nkind = \"latency\"\nover = \"1ms\"\nwindow = \"1m\"\nmean = true\n\
        [[alerts]]\nid = \"burn\"\nkind = \"burn_rate\"\n";
    let dir = folder(&[("journeyd.toml", &text), ("j/buy.toml", &journey(&slow.url, rules))]);
    let daemon = Running::serve(dir.path(), &[]).await;
    daemon
        .until_metrics("all three fire", |m| {
            ["errors", "burn"].iter().all(|rule| {
                m.lines()
                    .any(|l| l.starts_with(&format!("journeyd_alert_firing{{alert=\"{rule}\"")) && l.ends_with(" 1"))
            })
        })
        .await;
    let told = sink.until("they are told", |all| !all.is_empty()).await;
    let summary = told[0].alert()["summary"].as_str().unwrap();
    assert!(summary.contains("of responses were 5xx") || summary.contains("error budget burns"), "{summary}");
    assert_eq!(told[0].incident(), "1");
    let (_, text) = get(&format!("{}/api/v1/incidents?state=open", daemon.url)).await;
    let incidents: Json = serde_json::from_str(&text).unwrap();
    // The fast burn rate is as grave as the journey; the others are warnings, and one story.
    assert!(incidents["incidents"].as_array().unwrap().len() <= 2, "{incidents:#}");
    assert_ne!(incidents["incidents"][0]["members"], json!([]));
}
