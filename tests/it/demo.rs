//! The demo: everything passes on a healthy shop, and each fault fails what it should, for the right reason.

use crate::support::process::{Running, run};
use crate::support::{get, root, sample};

#[tokio::test]
async fn the_demo_runs_shows_and_ends() {
    let mut demo = Running::demo().await;
    for (path, part) in
        [("/", "Demo shop"), ("/faults", "Database down"), ("/healthz", "ok"), ("/static/shop.css", "font")]
    {
        let (status, body) = get(&format!("{}{path}", demo.shop)).await;
        assert!(status == 200 && body.contains(part), "{path}: {status} {body}");
    }
    let plans =
        [("checkout", "guest"), ("checkout", "member"), ("login", ""), ("search", "guest"), ("search", "member")];
    let runs = |(journey, variant): (&str, &str)| {
        format!("journeyd_journey_runs_total{{journey=\"{journey}\",variant=\"{variant}\",location=\"local\"}}")
    };
    // Twice each: the schedule goes on, every 3 s.
    let metrics = demo
        .until_metrics("two runs of everything", |m| {
            plans.iter().all(|p| sample(m, &runs(*p)).is_some_and(|n| n >= 2.0))
        })
        .await;
    for plan in plans {
        let failures = runs(plan).replace("runs_total", "run_failures_total");
        assert_eq!(sample(&metrics, &failures), Some(0.0), "{plan:?}\n{}", demo.output());
    }
    demo.fault("{\"exception\": \"/search\"}").await;
    let failures = runs(("search", "guest")).replace("runs_total", "run_failures_total");
    demo.until_metrics("search fails", |m| sample(m, &failures).is_some_and(|n| n >= 1.0)).await;
    let output = demo.output();
    assert!(output.contains("/faults   break something here") && output.contains("/metrics"), "{output}");
    assert!(output.contains("✔ login") && output.contains("✘ search/guest"), "{output}");
    assert!(output.contains("search: http_5xx, expected status 2xx, got 500 Internal Server Error"), "{output}");
    demo.signal("INT");
    assert_eq!(demo.ended().await, 0, "{}", demo.output());
}

#[tokio::test]
async fn each_fault_fails_what_it_should_for_the_right_reason() {
    let demo = Running::demo().await;
    let env = [("SHOP_URL", demo.shop.as_str())];
    let outcome = |finished: &crate::support::process::Finished| {
        let mut out: Vec<String> = finished
            .stdout
            .lines()
            .filter(|l| l.contains("  in ") && l.contains("trace "))
            .map(|l| l.split("  ").next().unwrap().to_owned())
            .collect();
        out.dedup();
        out
    };
    for (fault, journey, want) in [
        ("{}", "checkout", "passed"),
        ("{\"exception\": \"/api/orders\"}", "checkout", "failed: http_5xx"),
        ("{\"exception\": \"/api/orders\"}", "search", "passed"),
        ("{\"database_down\": true}", "search", "failed: http_5xx"),
        ("{\"overload\": true}", "login", "failed: http_5xx"),
        ("{\"connection_reset\": true}", "login", "failed: connect_reset"),
        ("{\"error_page_200\": true}", "login", "failed: soft_error"),
        ("{\"sessions_lost\": true}", "login", "failed: http_4xx"),
        ("{\"slow_ms\": 2100}", "search", "failed: assertion_latency"),
        ("{\"one_in\": 1}", "login", "failed: http_5xx"),
    ] {
        crate::support::client().delete(format!("{}/api/faults", demo.shop)).send().await.unwrap();
        demo.fault(fault).await;
        let finished = run(root(), &["run", journey], &env).await;
        assert_eq!(outcome(&finished), [want], "{fault}: {}", finished.stdout);
    }
    demo.fault("{\"database_down\": true}").await;
    assert_eq!(get(&format!("{}/static/shop.css", demo.shop)).await.0, 200, "static works without a database");
    let overload =
        crate::support::client().put(format!("{}/api/faults", demo.shop)).header("content-type", "application/json");
    overload.body("{\"database_down\": false, \"overload\": true}").send().await.unwrap();
    let response = crate::support::client().get(format!("{}/search", demo.shop)).send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.headers()["retry-after"].to_str().unwrap()), (503, "5"));
    let wrong =
        crate::support::client().put(format!("{}/api/faults", demo.shop)).header("content-type", "application/json");
    assert_eq!(wrong.body("{\"nonsense\": 1}").send().await.unwrap().status(), 422);
}

/// The panel is a page: what a person clicks has the same effect.
#[tokio::test]
async fn the_fault_panel_works_as_a_form() {
    let demo = Running::demo().await;
    let panel = format!("{}/faults", demo.shop);
    let form = "exception=%2Fcart&overload=true&slow_ms=0&one_in=0";
    let post = crate::support::client().post(&panel).header("content-type", "application/x-www-form-urlencoded");
    assert_eq!(post.body(form).send().await.unwrap().status(), 303);
    let (_, page) = get(&panel).await;
    assert!(page.contains("On: exception on /cart, overload."), "{page}");
    crate::support::client().post(format!("{panel}/clear")).send().await.unwrap();
    assert!(get(&panel).await.1.contains("Everything works."));
}

#[tokio::test]
async fn a_taken_port_is_passed_over() {
    // Two demos at once, both with default ports.
    let first = Running::start(crate::support::process::journeyd(&["demo"]), "metrics  ").await;
    let second = Running::start(crate::support::process::journeyd(&["demo"]), "metrics  ").await;
    assert_ne!(first.url, second.url);
}
