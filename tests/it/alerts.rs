//! From a failing run to a message: once, whole, in order, whatever happens on the way.

use std::sync::atomic::Ordering;

use base64::Engine as _;
use hmac::{Hmac, KeyInit as _, Mac as _};

use crate::support::process::{Running, run};
use crate::support::sink::{Delivery, Sink};
use crate::support::target::{Act, Target, response};
use crate::support::{eventually, folder, sample};

fn journey(target: &str, rest: &str) -> String {
    format!(
        "title = \"Buy\"\nowner = \"team-a\"\nrunbook = \"https://r.example/buy\"\nlabels = {{ service = \"shop\" }}\n\
         base_url = \"{target}\"\nschedule = {{ every = \"1s\" }}\n{rest}\n\
         [[steps]]\nid = \"front\"\nrequest = \"GET /\"\nexpect.status = {{ ge = 100 }}\n\
         [[steps]]\nid = \"pay\"\nrequest = \"POST /orders?a=1\"\njson = {{ sku = \"mug\" }}\n\
         [[steps]]\nid = \"confirm\"\nrequest = \"GET /confirm\"\n"
    )
}

fn config(sink: &Sink, routes: &str) -> String {
    format!(
        "journeys = [\"j/*.toml\"]\nlocation = \"fra\"\n[receivers.ops]\ntype = \"webhook\"\nurl = \"{}\"\n{routes}\n",
        sink.url()
    )
}

const AT_ONCE: &str = "[[routes]]\nto = [\"ops\"]\ngroup_wait = \"0s\"\ngroup_interval = \"1s\"\n";

fn firing(journey: &str) -> String {
    format!("journeyd_alert_firing{{alert=\"down\",journey=\"{journey}\",variant=\"\",severity=\"critical\"}}")
}

#[tokio::test]
async fn an_outage_is_one_message_and_one_resolve_also_over_a_kill() {
    let (target, status) = Target::switchable().await;
    let sink = Sink::start().await;
    let secret = format!("{}signing_secret = {{ secret = \"key\" }}\n", "");
    let text = config(&sink, &secret) + AT_ONCE + "[secrets]\nkey = { env = \"KEY\" }\n";
    let dir = folder(&[("journeyd.toml", &text), ("j/buy.toml", &journey(&target.url, ""))]);
    let env = [("KEY", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")];
    let mut daemon = Running::serve(dir.path(), &env).await;
    let up = "journeyd_journey_up{journey=\"buy\",variant=\"\",location=\"fra\"}";
    daemon.until_metrics("a good run", |m| sample(m, up) == Some(1.0)).await;

    status.store(503, Ordering::SeqCst);
    let told = sink.until("the alert", |all| !all.is_empty()).await;
    let first = &told[0];
    assert_eq!((first.kind(), first.reason(), first.incident()), ("alert.firing", "first", "1"));
    let alert = first.alert();
    assert_eq!(alert["journey"]["id"], "buy");
    assert_eq!(alert["journey"]["runbook"], "https://r.example/buy");
    assert_eq!(alert["failed_runs"], 2);
    let failure = &alert["failure"];
    assert_eq!((&failure["step"], &failure["reason"]), (&"pay".into(), &"http_5xx".into()));
    assert_eq!((&failure["status"], &failure["expected"]), (&503.into(), &"status 2xx".into()));
    assert!(alert["last_good_at"].is_string() && failure["trace_id"].as_str().unwrap().len() == 32, "{alert:#}");
    assert_eq!(failure["passed_steps"], serde_json::json!(["front"]));
    assert_eq!(failure["blocked_steps"], serde_json::json!(["confirm"]));
    let curl = failure["curl"].as_str().unwrap();
    assert!(curl.contains(&format!("'{}/orders?a=1'", target.url)), "{curl}");
    // The request id is one that the target saw.
    let request_id = failure["request_id"].as_str().unwrap();
    assert!(target.requests().iter().any(|r| r.contains(request_id)));
    // Signed as the standard says.
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(
        &base64::engine::general_purpose::STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap(),
    )
    .unwrap();
    mac.update(format!("{}.{}.{}", first.id, first.timestamp, first.text).as_bytes());
    let want = base64::engine::general_purpose::STANDARD.encode(mac.finalize().into_bytes());
    assert_eq!(first.signature, format!("v1,{want}"));

    // The process is killed while the alert fires: it neither tells again nor forgets.
    daemon
        .until_metrics("the delivery is known", |m| {
            sample(m, "journeyd_notifications_total{receiver=\"ops\"}") == Some(1.0)
        })
        .await;
    daemon.signal("KILL");
    daemon.ended().await;
    let mut daemon = Running::serve(dir.path(), &env).await;
    let text = daemon.metrics().await;
    assert_eq!(sample(&text, &firing("buy")), Some(1.0), "restored before the first run");
    assert_eq!(sample(&text, up), Some(0.0));
    assert_eq!(sample(&text, "journeyd_incidents_open{severity=\"critical\"}"), Some(1.0));
    let runs = "journeyd_journey_runs_total{journey=\"buy\",variant=\"\",location=\"fra\"}";
    daemon.until_metrics("more failed runs", |m| sample(m, runs).is_some_and(|n| n >= 3.0)).await;
    status.store(200, Ordering::SeqCst);
    let told = sink.until("the resolve", |all| all.len() >= 2).await;
    let last = told.last().unwrap();
    assert_eq!((last.kind(), last.reason(), last.incident()), ("alert.resolved", "recovered", "1"));
    assert!(last.body["data"]["incident"]["duration_seconds"].as_u64().unwrap() >= 2);
    daemon.until_metrics("it is over", |m| sample(m, &firing("buy")) == Some(0.0)).await;
    daemon.signal("TERM");
    assert_eq!(daemon.ended().await, 0);
    assert_eq!(sink.told().len(), 2, "{:?}", sink.told());
}

#[tokio::test]
async fn an_outage_that_heals_within_the_group_wait_is_one_message() {
    let (target, status) = Target::switchable().await;
    let sink = Sink::start().await;
    let routes = "[[routes]]\nmatch = { service = \"shop\" }\nto = [\"ops\"]\ngroup_wait = \"1h\"\n";
    let dir = folder(&[("journeyd.toml", &config(&sink, routes)), ("j/buy.toml", &journey(&target.url, ""))]);
    let daemon = Running::serve(dir.path(), &[]).await;
    status.store(500, Ordering::SeqCst);
    daemon.until_metrics("it fires", |m| sample(m, &firing("buy")) == Some(1.0)).await;
    let queue = "journeyd_notification_queue_length{receiver=\"ops\"}";
    assert_eq!(sample(&daemon.metrics().await, queue), Some(1.0));
    status.store(200, Ordering::SeqCst);
    let told = sink.until("the message", |all| !all.is_empty()).await;
    assert_eq!((told[0].kind(), told[0].reason()), ("alert.resolved", "was_down"));
    daemon.until_metrics("nothing waits", |m| sample(m, queue) == Some(0.0)).await;
    assert_eq!(sink.told().len(), 1);
}

#[tokio::test]
async fn a_receiver_in_trouble_gets_the_message_later_under_the_same_id_and_one_that_refuses_is_shown() {
    let (target, status) = Target::switchable().await;
    let (sink, refusing) = (Sink::start().await, Sink::start().await);
    sink.answer(503);
    refusing.answer(404);
    let more = format!("[receivers.gone]\ntype = \"webhook\"\nurl = \"{}\"\n", refusing.url());
    let text = config(&sink, &more) + &AT_ONCE.replace("\"ops\"", "\"ops\", \"gone\"");
    let dir = folder(&[("journeyd.toml", &text), ("j/buy.toml", &journey(&target.url, ""))]);
    let daemon = Running::serve(dir.path(), &[]).await;
    status.store(500, Ordering::SeqCst);
    // The other receiver's trouble is an alert of its own.
    let of =
        |all: &[Delivery]| -> Vec<Delivery> { all.iter().filter(|d| d.alert()["id"] == "down").cloned().collect() };
    sink.until("the first attempt", |all| !of(all).is_empty()).await;
    sink.answer(200);
    let told = of(&sink.until("the second attempt", |all| of(all).len() >= 2).await);
    assert_eq!(told[0].id, told[1].id);
    assert_eq!(told[0].text, told[1].text);
    let failures = |receiver: &str, reason: &str| {
        format!("journeyd_notification_failures_total{{receiver=\"{receiver}\",reason=\"{reason}\"}}")
    };
    let text = daemon
        .until_metrics("both ends are known", |m| {
            sample(m, "journeyd_notification_last_success_timestamp_seconds{receiver=\"ops\"}").is_some()
        })
        .await;
    assert!(sample(&text, &failures("ops", "server_error")).is_some_and(|n| n >= 1.0));
    assert_eq!(sample(&text, &failures("gone", "client_error")), Some(1.0));
    assert_eq!(sample(&text, "journeyd_notification_queue_length{receiver=\"gone\"}"), Some(0.0), "it is parked");
    assert!(daemon.output().contains("parked"), "{}", daemon.output());
    // Once it listens again it learns of the whole outage in one message.
    refusing.answer(200);
    status.store(200, Ordering::SeqCst);
    let told = of(&refusing.until("the end", |all| of(all).len() >= 2).await);
    assert_eq!((told[1].kind(), told[1].reason()), ("alert.resolved", "was_down"));
    let told = of(&sink.until("the end", |all| of(all).len() >= 3).await);
    assert_eq!((told[2].kind(), told[2].reason()), ("alert.resolved", "recovered"));
}

#[tokio::test]
async fn another_step_joins_the_outage_and_a_removed_journey_ends_it() {
    let front = response("500 X", &[], "");
    let ok = response("200 OK", &[], "{}");
    let (bad, good) = (
        Target::start(Act::Routes(vec![("/orders", response("502 X", &[], "")), ("/", ok.clone())])).await,
        Target::start(Act::Reply(front)).await,
    );
    let sink = Sink::start().await;
    // The journey's target changes under it: first the order fails, then everything.
    let at = |url: &str| journey(url, "").replace("expect.status = { ge = 100 }\n", "");
    let dir = folder(&[
        ("journeyd.toml", &config(&sink, AT_ONCE)),
        ("j/buy.toml", &at(&bad.url)),
        ("j/other.toml", &at(&bad.url).replace("every = \"1s\"", "every = \"1h\"")),
    ]);
    let daemon = Running::serve(dir.path(), &[]).await;
    sink.until("the alert", |all| !all.is_empty()).await;
    std::fs::write(dir.path().join("j/buy.toml"), at(&good.url)).unwrap();
    daemon.signal("HUP");
    let told = sink.until("the news", |all| all.len() >= 2).await;
    assert_eq!((told[1].kind(), told[1].reason(), told[1].incident()), ("alert.updated", "step_joined", "1"));
    assert_eq!(told[1].body["data"]["incident"]["steps"], serde_json::json!(["pay", "front"]));
    std::fs::remove_file(dir.path().join("j/buy.toml")).unwrap();
    daemon.signal("HUP");
    let told = sink.until("the end", |all| all.len() >= 3).await;
    assert_eq!((told[2].kind(), told[2].reason(), told[2].incident()), ("alert.resolved", "removed", "1"));
    assert_eq!(told[2].alert()["journey"]["title"], "Buy", "it is still known what it was");
    eventually("the whole story, to the delivered resolve", || async {
        let text = crate::support::get(&format!("{}/api/v1/incidents", daemon.url)).await.1;
        let incidents: serde_json::Value = serde_json::from_str(&text).unwrap();
        let timeline = incidents["incidents"][0]["timeline"].as_array()?.clone();
        let story: Vec<&str> = timeline.iter().map(|e| e["what"].as_str().unwrap()).collect();
        (story == ["first_failure", "opened", "told", "step_joined", "told", "resolved", "told"]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn no_secret_reaches_a_message_or_the_store() {
    const CANARY: &str = "canary-9f2c71b8";
    let target = Target::start(Act::Reply(response("500 X", &[], &format!("echo {CANARY}")))).await;
    let sink = Sink::start().await;
    let text = config(&sink, "")
        + "[secrets]\npw = { env = \"PW\" }\nurl = { env = \"HOOK\" }\n[receivers.chat]\ntype = \"slack\"\nurl = { secret = \"url\" }\n"
        + &AT_ONCE.replace("\"ops\"", "\"ops\", \"chat\"");
    let journey = format!(
        "base_url = \"{}\"\nschedule = {{ every = \"1s\" }}\n[[steps]]\nid = \"in\"\nrequest = \"POST /in?p={{{{ secret.pw }}}}\"\nform = {{ password = \"{{{{ secret.pw }}}}\" }}\n",
        target.url
    );
    let dir = folder(&[("journeyd.toml", &text), ("j/in.toml", &journey)]);
    let hook = format!("{}/T0/B0/{CANARY}", sink.url());
    let mut daemon = Running::serve(dir.path(), &[("PW", CANARY), ("HOOK", &hook)]).await;
    eventually("both messages", || async { (sink_requests(&sink) >= 2).then_some(()) }).await;
    daemon.signal("TERM");
    daemon.ended().await;
    assert!(!daemon.output().contains(CANARY), "{}", daemon.output());
    for delivery in sink.deliveries() {
        assert!(!delivery.text.contains(CANARY), "{}", delivery.text);
    }
    for entry in std::fs::read_dir(dir.path().join("data")).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains(CANARY), "{}", path.display());
    }
}

fn sink_requests(sink: &Sink) -> usize {
    sink.deliveries().len()
}

#[tokio::test]
async fn notify_test_says_what_became_of_it() {
    let sink = Sink::start().await;
    let dir = folder(&[("journeyd.toml", &config(&sink, "")), ("j/buy.toml", &journey("http://127.0.0.1:9", ""))]);
    let test = |name: &'static str| {
        let path = dir.path().to_owned();
        async move { run(&path, &["notify", "test", name, "--config", "journeyd.toml"], &[]).await }
    };
    let good = test("ops").await;
    assert_eq!((good.code, good.stdout.as_str()), (0, "delivered to ops: HTTP 200: {}\n"), "{}", good.stderr);
    assert_eq!(sink.deliveries()[0].kind(), "notifier.test");
    sink.answer(404);
    let bad = test("ops").await;
    assert_eq!(bad.code, 1);
    assert!(bad.stderr.contains("HTTP 404") && bad.stderr.contains("would not try again"), "{}", bad.stderr);
    let unknown = test("opps").await;
    assert_eq!(unknown.code, 2);
    assert!(unknown.stderr.contains("did you mean `ops`?"), "{}", unknown.stderr);
}

/// Many servers answer with the path that they were asked for, and a chat webhook's path is its secret.
#[tokio::test]
async fn what_a_receiver_echoes_of_its_url_is_masked() {
    let echo = "Cannot POST /services/T0/B0/TOKSECRET123 \u{1b}[2J";
    let chat = Target::start(Act::Reply(response("404 Not Found", &[], echo))).await;
    let (target, status) = Target::switchable().await;
    status.store(500, Ordering::SeqCst);
    let config = format!(
        "journeys = [\"j/*.toml\"]\n[receivers.ops]\ntype = \"slack\"\nurl = \"{}/services/T0/B0/TOKSECRET123\"\n{AT_ONCE}",
        chat.url
    );
    let dir = folder(&[("journeyd.toml", &config), ("j/buy.toml", &journey(&target.url, ""))]);
    let tried = run(dir.path(), &["notify", "test", "ops", "--config", "journeyd.toml"], &[]).await;
    assert!(tried.code == 1 && tried.stderr.contains("Cannot POST $OPS_URL"), "{tried:?}");
    assert!(!tried.stderr.contains('\u{1b}'), "{tried:?}");
    let mut daemon = Running::serve(dir.path(), &[]).await;
    eventually("the refusal", || async { daemon.output().contains("is parked").then_some(()) }).await;
    daemon.signal("TERM");
    daemon.ended().await;
    let state = std::fs::read(dir.path().join("data/state.db")).unwrap();
    for text in [&tried.stderr, &daemon.output(), &String::from_utf8_lossy(&state).into_owned()] {
        assert!(!text.contains("TOKSECRET123"), "{text}");
    }
}

#[tokio::test]
async fn a_dry_run_sends_nothing_and_leaves_nothing() {
    let (target, status) = Target::switchable().await;
    status.store(500, Ordering::SeqCst);
    let sink = Sink::start().await;
    let dir = folder(&[("journeyd.toml", &config(&sink, AT_ONCE)), ("j/buy.toml", &journey(&target.url, ""))]);
    let mut daemon = Running::serve_with(dir.path(), &["--dry-run"], &[]).await;
    eventually("the message in the log", || async {
        daemon.output().contains("FIRING buy: step pay failed: http_5xx 500").then_some(())
    })
    .await;
    daemon.signal("TERM");
    assert_eq!(daemon.ended().await, 0);
    assert_eq!(sink_requests(&sink), 0);
    assert!(!dir.path().join("data").exists());
}
