//! The journey language on the wire: what each key makes journeyd send, and what it makes of the answers.

use crate::support::process::{Finished, Running, run};
use crate::support::target::{Act, Target, response};
use crate::support::{folder, get, root};

const CONFIG: &str = "journeys = [\"j.toml\"]\n[secrets]\npw = { env = \"PW\" }\n";
const PW: (&str, &str) = ("PW", "hunter22-very-secret");

/// Runs a journey of one file against `target`, with one secret `pw`.
async fn run_journey(target: &str, journey: &str) -> Finished {
    run_files(target, &[("j.toml", journey)], &["run", "--config", "journeyd.toml", "j"]).await
}

async fn run_files(target: &str, files: &[(&str, &str)], args: &[&str]) -> Finished {
    let dir = folder(files);
    std::fs::write(dir.path().join("journeyd.toml"), CONFIG).unwrap();
    let finished = run(dir.path(), args, &[PW, ("TARGET", target)]).await;
    assert!(!format!("{finished:?}").contains(PW.1), "the secret shows: {finished:?}");
    finished
}

fn step(lines: &str) -> String {
    format!("base_url = \"{{{{ env.TARGET }}}}\"\n[[steps]]\nid = \"s\"\n{lines}\n")
}

/// The part of the output that says why a step failed.
fn why(finished: &Finished) -> String {
    let field = |name: &str| {
        finished.stdout.lines().find_map(|l| l.trim().strip_prefix(name)).unwrap_or_default().trim().to_owned()
    };
    format!("{} | {} | {}", field("reason"), field("expected"), field("got"))
}

fn ok(body: &str) -> Vec<u8> {
    response("200 OK", &["Content-Type: application/json"], body)
}

fn header(request: &str, name: &str) -> Option<String> {
    let head = request.split("\r\n\r\n").next().unwrap();
    head.lines()
        .find_map(|l| l.split_once(": ").filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.to_owned()))
}

#[tokio::test]
async fn bodies_are_sent_as_their_kind_asks() {
    let target = Target::start(Act::Reply(ok("{}"))).await;
    let journey = "base_url = \"{{ env.TARGET }}\"\n[vars]\nsku = \"mug\"\n\
        [[steps]]\nid = \"file\"\nrequest = \"POST /file\"\nbody_file = \"order.xml\"\n\
        [[steps]]\nid = \"typed\"\nrequest = \"POST /typed\"\nbody_file = \"order.xml\"\nheaders = { Content-Type = \"text/x-order\" }\n\
        [[steps]]\nid = \"parts\"\nrequest = \"POST /parts\"\nmultipart = { title = \"a {{ sku }}\", \
          up = { file = \"order.xml\", filename = \"o\\\"1.xml\" }, note = { text = \"hi\", type = \"text/markdown\" } }\n\
        [[steps]]\nid = \"gql\"\nrequest = \"POST /gql\"\ngraphql = { query = \"query Q { a }\", variables = { n = 1, s = \"{{ sku }}\" }, operation = \"Q\" }\n";
    let files = [("j.toml", journey), ("order.xml", "<order>{{ not a template }}</order>")];
    let finished = run_files(&target.url, &files, &["run", "--config", "journeyd.toml", "j"]).await;
    assert_eq!(finished.code, 0, "{finished:?}");
    let requests = target.requests();
    let body = |n: usize| requests[n].split_once("\r\n\r\n").unwrap().1.to_owned();
    assert_eq!(body(0), "<order>{{ not a template }}</order>");
    assert_eq!(header(&requests[0], "content-type").unwrap(), "application/xml");
    assert_eq!(header(&requests[1], "content-type").unwrap(), "text/x-order");
    let kind = header(&requests[2], "content-type").unwrap();
    let boundary = kind.strip_prefix("multipart/form-data; boundary=").unwrap();
    let want = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\na mug\r\n\
         --{boundary}\r\nContent-Disposition: form-data; name=\"up\"; filename=\"o%221.xml\"\r\nContent-Type: application/xml\r\n\r\n\
         <order>{{{{ not a template }}}}</order>\r\n\
         --{boundary}\r\nContent-Disposition: form-data; name=\"note\"\r\nContent-Type: text/markdown\r\n\r\nhi\r\n--{boundary}--\r\n"
    );
    assert_eq!(body(2), want);
    assert_eq!(body(3), r#"{"query":"query Q { a }","variables":{"n":1,"s":"mug"},"operationName":"Q"}"#);
}

#[tokio::test]
async fn graphql_errors_fail_a_step_unless_it_looks_at_them_itself() {
    let errors = r#"{"data": null, "errors": [{"message": "no such product"}, {"message": "b"}]}"#;
    let target = Target::start(Act::Reply(ok(errors))).await;
    let gql = "request = \"POST /\"\ngraphql = { query = \"{ a }\" }\n";
    let finished = run_journey(&target.url, &step(gql)).await;
    assert_eq!(
        why(&finished),
        "assertion_json (graphql_errors), json $.errors | no GraphQL errors | \"no such product\" and 1 more"
    );
    let own = step(&format!("{gql}expect.json.\"$.errors[0].message\" = {{ contains = \"product\" }}"));
    assert_eq!(run_journey(&target.url, &own).await.code, 0);
    let fine = Target::start(Act::Reply(ok(r#"{"data": {"a": 1}, "errors": []}"#))).await;
    assert_eq!(run_journey(&fine.url, &step(gql)).await.code, 0);
}

#[tokio::test]
async fn credentials_go_to_whom_they_are_for_and_nowhere_else() {
    let other = Target::start(Act::Reply(ok("{}"))).await;
    let elsewhere = format!("Location: {}/landed", other.url);
    let target = Target::scripted(move |request, _| {
        if request.starts_with("GET /away") { response("302 Found", &[&elsewhere], "") } else { ok("{}") }
    })
    .await;
    let journey = "base_url = \"{{ env.TARGET }}\"\nauth = { basic = { user = \"probe\", password = \"{{ secret.pw }}\" } }\n\
        [[steps]]\nid = \"shared\"\nrequest = \"GET /shared\"\n\
        [[steps]]\nid = \"own\"\nrequest = \"GET /own\"\nauth = { bearer = \"{{ secret.pw }}\" }\n\
        [[steps]]\nid = \"none\"\nrequest = \"GET /none\"\nauth = \"none\"\n\
        [[steps]]\nid = \"away\"\nrequest = \"GET /away\"\n\
        [[steps]]\nid = \"away-own\"\nrequest = \"GET /away2\"\nauth = { bearer = \"{{ secret.pw }}\" }\n";
    let finished = run_journey(&target.url, journey).await;
    assert_eq!(finished.code, 0, "{finished:?}");
    let sent: Vec<Option<String>> = target.requests().iter().map(|r| header(r, "authorization")).collect();
    let basic = "Basic cHJvYmU6aHVudGVyMjItdmVyeS1zZWNyZXQ=".to_owned();
    let bearer = "Bearer hunter22-very-secret".to_owned();
    assert_eq!(sent, [Some(basic.clone()), Some(bearer.clone()), None, Some(basic), Some(bearer)]);
    let landed = other.requests();
    assert_eq!(landed.len(), 2);
    assert!(landed.iter().all(|r| header(r, "authorization").is_none()), "{landed:?}");
}

#[tokio::test]
async fn the_curl_line_of_a_failed_step_says_bodies_credentials_and_network_settings() {
    let target = Target::start(Act::Reply(response("500 X", &[], ""))).await;
    let files = |lines: &str| {
        format!(
            "base_url = \"{{{{ env.TARGET }}}}\"\nhttp_version = \"1.1\"\nip_family = \"ipv4\"\n[[steps]]\nid = \"s\"\n{lines}\n"
        )
    };
    for (lines, want) in [
        (
            "request = \"POST /\"\nauth = { basic = { user = \"probe\", password = \"{{ secret.pw }}\" } }\nbody_file = \"o.json\"",
            "curl -sS -i -L --http1.1 -4 -X POST 'TARGET/' -u 'probe:'\"$PW\" -H 'Content-Type: application/json' --data-binary '@o.json'",
        ),
        (
            "request = \"POST /\"\nmultipart = { t = \"@x\", f = { file = \"o.json\" } }",
            "curl -sS -i -L --http1.1 -4 -X POST 'TARGET/' --form-string 't=@x' -F 'f=@o.json;filename=o.json;type=application/json'",
        ),
        (
            "request = \"GET /\"\nauth = { bearer = \"{{ secret.pw }}\" }",
            "curl -sS -i -L --http1.1 -4 'TARGET/' -H 'Authorization: Bearer '\"$PW\"",
        ),
    ] {
        let journey = files(lines);
        let all = [("j.toml", journey.as_str()), ("o.json", "{}")];
        let finished = run_files(&target.url, &all, &["run", "--config", "journeyd.toml", "j"]).await;
        let want = want.replace("TARGET", &target.url).replace(
            " -X POST",
            if lines.contains("body_file") || lines.contains("multipart") { "" } else { " -X POST" },
        );
        assert!(finished.stdout.contains(&want), "{want}\nin {}", finished.stdout);
    }
}

/// A token endpoint and an API that takes the tokens it gave, until told that they are withdrawn.
async fn oauth_target(lasts: &'static str) -> Target {
    let issued = std::sync::atomic::AtomicUsize::new(0);
    Target::scripted(move |request, _| {
        use std::sync::atomic::Ordering::SeqCst;
        if request.starts_with("POST /token") {
            let n = issued.fetch_add(1, SeqCst) + 1;
            return ok(&format!("{{\"access_token\": \"token-number-{n}\", \"token_type\": \"Bearer\"{lasts}}}"));
        }
        let current = format!("authorization: Bearer token-number-{}\r\n", issued.load(SeqCst));
        let withdrawn = request.starts_with("GET /withdraw");
        if withdrawn {
            issued.fetch_add(1, SeqCst);
        }
        if request.to_lowercase().contains(&current.to_lowercase()) {
            ok("{}")
        } else {
            response("401 Unauthorized", &[], "{}")
        }
    })
    .await
}

const OAUTH: &str = "base_url = \"{{ env.TARGET }}\"\n[auth.oauth2]\ntoken_url = \"{{ env.TARGET }}/token\"\nclient_id = \"probe\"\n\
    client_secret = \"{{ secret.pw }}\"\nscope = \"a b\"\n";

fn tokens(target: &Target) -> usize {
    target.requests().iter().filter(|r| r.starts_with("POST /token")).count()
}

#[tokio::test]
async fn an_oauth2_token_is_kept_over_steps_and_runs_and_renewed_when_it_is_refused() {
    let target = oauth_target(", \"expires_in\": 3600").await;
    let two = "[[steps]]\nid = \"a\"\nrequest = \"GET /a\"\n[[steps]]\nid = \"b\"\nrequest = \"GET /b\"\n";
    let args = ["run", "--config", "journeyd.toml", "j", "--repeat", "3"];
    let finished = run_files(&target.url, &[("j.toml", &format!("{OAUTH}{two}"))], &args).await;
    assert_eq!(finished.code, 0, "{finished:?}");
    assert_eq!(tokens(&target), 1, "one for three runs of two steps");
    let first = &target.requests()[0];
    assert!(first.ends_with("grant_type=client_credentials&scope=a+b"), "{first}");
    assert_eq!(header(first, "authorization").unwrap(), "Basic cHJvYmU6aHVudGVyMjItdmVyeS1zZWNyZXQ=");

    // Withdrawn in the middle: the step that meets it gets a new one and passes, and says so.
    let withdraw = "[[steps]]\nid = \"a\"\nrequest = \"GET /withdraw\"\n[[steps]]\nid = \"b\"\nrequest = \"POST /b\"\n";
    let target = oauth_target(", \"expires_in\": 3600").await;
    let finished = run_files(&target.url, &[("j.toml", &format!("{OAUTH}{withdraw}"))], &args[..4]).await;
    assert_eq!((finished.code, tokens(&target)), (0, 2), "{finished:?}");
    assert!(
        finished.stdout.contains("the kept access token was refused (401); sent again with a new one"),
        "{finished:?}"
    );

    // One that ends at once is asked for each time.
    let target = oauth_target(", \"expires_in\": 0").await;
    run_files(&target.url, &[("j.toml", &format!("{OAUTH}{two}"))], &args[..4]).await;
    assert_eq!(tokens(&target), 2);
}

#[tokio::test]
async fn an_oauth2_token_that_is_refused_fails_the_step_with_the_endpoints_own_words() {
    let refused = response("401 Unauthorized", &["Content-Type: application/json"], r#"{"error":"invalid_client"}"#);
    let target = Target::start(Act::Routes(vec![("/token", refused), ("/", ok("{}"))])).await;
    let finished = run_journey(&target.url, &format!("{OAUTH}[[steps]]\nid = \"a\"\nrequest = \"GET /a\"\n")).await;
    assert_eq!(
        why(&finished),
        "http_4xx (oauth2_token), oauth2 token | status 200 with an access_token | 401: \"{\\\"error\\\":\\\"invalid_client\\\"}\""
    );
    assert_eq!(target.requests().len(), 1, "nothing is sent without a token");
    assert!(finished.stdout.contains("-u 'probe:'\"$PW\""), "{}", finished.stdout);
}

#[tokio::test]
async fn a_poll_repeats_until_its_condition_holds_and_fails_at_once_on_what_is_expected() {
    let pending = Target::scripted(|_, before| {
        if before < 3 { ok(r#"{"status": "pending"}"#) } else { ok(r#"{"status": "paid", "receipt": "r-1"}"#) }
    })
    .await;
    let poll = "request = \"GET /\"\npoll = { every = \"100ms\", for = \"20s\", until.json.\"$.status\" = \"paid\" }\n";
    let more = "capture.receipt = { json = \"$.receipt\" }\nexpect.json.\"$.status\" = { in = [\"pending\", \"paid\"] }\n\
                [[steps]]\nid = \"t\"\nrequest = \"GET /{{ receipt }}\"\n";
    let finished = run_journey(&pending.url, &step(&format!("{poll}{more}"))).await;
    assert_eq!(finished.code, 0, "{finished:?}");
    assert!(finished.stdout.contains("asked 4 times"), "{finished:?}");
    assert!(pending.requests()[4].starts_with("GET /r-1 "), "{:?}", pending.requests());

    let failed = Target::start(Act::Reply(ok(r#"{"status": "failed"}"#))).await;
    let finished =
        run_journey(&failed.url, &step(&format!("{poll}expect.json.\"$.status\" = {{ not_equals = \"failed\" }}")))
            .await;
    assert_eq!((finished.code, failed.requests().len()), (1, 1), "{finished:?}");

    let never = Target::start(Act::Reply(ok(r#"{"status": "pending"}"#))).await;
    let short = poll.replace("20s", "250ms");
    let finished = run_journey(&never.url, &step(&short)).await;
    let text = why(&finished);
    assert!(
        text.starts_with("assertion_json, json $.status | json $.status = \"paid\" | \"pending\" (asked "),
        "{text}"
    );

    // Waiting for a status: until it comes, others are no failures.
    let appears =
        Target::scripted(|_, before| if before < 2 { response("404 Not Found", &[], "") } else { ok("{}") }).await;
    let status = "request = \"GET /\"\npoll = { every = \"100ms\", until.status = 200 }\n";
    assert_eq!(run_journey(&appears.url, &step(status)).await.code, 0);
}

#[tokio::test]
async fn a_retry_is_for_what_may_be_sent_twice_and_shows() {
    let flaky = || Target::scripted(|_, before| if before == 0 { response("503 X", &[], "") } else { ok("{}") });
    let target = flaky().await;
    let finished = run_journey(&target.url, &step("request = \"GET /\"\nretry = { times = 1, wait = \"10ms\" }")).await;
    assert_eq!(finished.code, 0, "{finished:?}");
    assert!(finished.stdout.contains("retry: attempt 1 failed after"), "{finished:?}");
    assert!(finished.stdout.contains("http_5xx, 503 Service Unavailable"), "{finished:?}");
    // A page that is wrong stays wrong: assertions are not tried again.
    let wrong = Target::start(Act::Reply(ok("{}"))).await;
    let asserted = step("request = \"GET /\"\nretry = 3\nexpect.json.\"$.a\" = 1");
    assert_eq!((run_journey(&wrong.url, &asserted).await.code, wrong.requests().len()), (1, 1));
    // An order is not placed twice unless asked for; then with the same key.
    let target = flaky().await;
    let order = "request = \"POST /\"\njson = { key = \"{{ uuid() }}\" }\nretry = { times = 2, wait = \"10ms\", any_method = true }";
    assert_eq!(run_journey(&target.url, &step(order)).await.code, 0);
    let bodies: Vec<String> =
        target.requests().iter().map(|r| r.split_once("\r\n\r\n").unwrap().1.to_owned()).collect();
    assert_eq!(bodies.len(), 2);
    assert_eq!(bodies[0], bodies[1]);
}

#[tokio::test]
async fn retries_are_counted_in_the_metrics() {
    let target =
        Target::scripted(|_, before| if before % 2 == 0 { response("503 X", &[], "") } else { ok("{}") }).await;
    let journey = step("request = \"GET /\"\nretry = { times = 1, wait = \"10ms\" }")
        .replace("[[steps]]", "schedule.every = \"1s\"\n[[steps]]");
    let dir = folder(&[("j.toml", &journey), ("journeyd.toml", "journeys = [\"j.toml\"]\n")]);
    let daemon = Running::serve(dir.path(), &[("TARGET", &target.url)]).await;
    let series = "journeyd_step_retries_total{journey=\"j\",variant=\"\",location=\"local\",step=\"s\"}";
    daemon.until_metrics("retries", |m| crate::support::sample(m, series).is_some_and(|n| n >= 2.0)).await;
    assert!(!daemon.metrics().await.contains("run_failures_total{journey=\"j\",variant=\"\",location=\"local\"} 1"));
}

#[tokio::test]
async fn a_pause_waits_before_the_request_and_stays_out_of_the_latency() {
    let target = Target::start(Act::Reply(ok("{}"))).await;
    let journey = step("request = \"GET /\"\npause = \"300ms\"\nexpect.within = \"250ms\"");
    let finished = run_journey(&target.url, &journey).await;
    assert_eq!(finished.code, 0, "{finished:?}");
    let long = journey.replace("300ms", "20s").replace("[[steps]]", "timeout = \"10s\"\n[[steps]]");
    let finished = run_journey(&target.url, &long).await;
    assert_eq!(finished.code, 2);
    assert!(finished.stderr.contains("the step `s` can never run"), "{finished:?}");
}

#[tokio::test]
async fn captures_take_the_type_they_are_given() {
    let target =
        Target::start(Act::Reply(ok(r#"{"n": "42", "price": "12.50", "on": "true", "id": 7, "word": "x"}"#))).await;
    let journey = step(
        "request = \"GET /\"\ncapture.n = { json = \"$.n\", type = \"integer\" }\ncapture.price = { json = \"$.price\", type = \"number\" }\n\
         capture.on = { json = \"$.on\", type = \"boolean\" }\ncapture.id = { json = \"$.id\", type = \"string\" }\n\
         [[steps]]\nid = \"use\"\nrequest = \"POST /use\"\njson = { n = \"{{ n }}\", price = \"{{ price }}\", on = \"{{ on }}\", id = \"{{ id }}\" }",
    );
    assert_eq!(run_journey(&target.url, &journey).await.code, 0);
    assert!(target.requests()[1].ends_with(r#"{"n":42,"price":12.5,"on":true,"id":"7"}"#), "{:?}", target.requests());
    let bad = step(
        "request = \"GET /\"\ncapture.n = { json = \"$.word\", type = \"integer\" }\nexpect.body = { contains = \"{{ n }}\" }",
    );
    let finished = run_journey(&target.url, &bad).await;
    assert!(why(&finished).ends_with("\"x\", which is not an integer"), "{}", why(&finished));
}

#[tokio::test]
async fn names_are_resolved_as_the_journey_says() {
    let target = Target::start(Act::Reply(ok("{}"))).await;
    let port = target.url.rsplit(':').next().unwrap();
    let journey = |more: &str| {
        format!("base_url = \"http://shop.invalid:{port}\"\n{more}\n[[steps]]\nid = \"s\"\nrequest = \"GET /\"\n")
    };
    let finished = run_journey("", &journey("resolve = { \"Shop.invalid\" = \"127.0.0.1\" }")).await;
    assert_eq!(finished.code, 0, "{finished:?}");
    assert!(header(&target.requests()[0], "host").unwrap().starts_with("shop.invalid:"));
    let finished =
        run_journey("", &journey("ip_family = \"ipv6\"\nresolve = { \"shop.invalid\" = \"127.0.0.1\" }")).await;
    assert_eq!(
        why(&finished),
        "dns (dns_nodata), name | a name that resolves | the name shop.invalid has no IPv6 address (ip_family)"
    );
    // Not listening on ::1; the other address answers.
    let both = run_journey("", &journey("resolve = { \"shop.invalid\" = [\"::1\", \"127.0.0.1\"] }")).await;
    assert_eq!(both.code, 0, "{both:?}");
}

#[tokio::test]
async fn requests_go_through_the_proxy_that_the_journey_names() {
    let proxy = Target::start(Act::Reply(ok("{}"))).await;
    let at = proxy.url.replace("http://", "http://user:hunter22-very-secret@");
    let journey = format!(
        "base_url = \"http://shop.invalid\"\nproxy = \"{}\"\n[[steps]]\nid = \"s\"\nrequest = \"GET /x\"\n",
        at.replace("hunter22-very-secret", "{{ secret.pw }}")
    );
    let finished = run_journey("", &journey).await;
    assert_eq!(finished.code, 0, "{finished:?}");
    let request = &proxy.requests()[0];
    assert!(request.starts_with("GET http://shop.invalid/x HTTP/1.1"), "{request}");
    assert_eq!(header(request, "proxy-authorization").unwrap(), "Basic dXNlcjpodW50ZXIyMi12ZXJ5LXNlY3JldA==");
    // A proxy of the environment is not looked at.
    let target = Target::start(Act::Reply(ok("{}"))).await;
    let dir = folder(&[("j.toml", &step("request = \"GET /\""))]);
    let env =
        [("TARGET", target.url.as_str()), ("http_proxy", "http://127.0.0.1:9"), ("HTTP_PROXY", "http://127.0.0.1:9")];
    assert_eq!(run(dir.path(), &["run", "j.toml"], &env).await.code, 0);
}

#[tokio::test]
async fn error_pages_fail_and_challenges_say_nothing_of_the_site() {
    let html = |body: &str| response("200 OK", &["Content-Type: text/html"], body);
    let challenge = "<title>Just a moment...</title><script src=/cdn-cgi/challenge-platform/x></script>";
    let login = "<title>Sign in</title><form><input type=password name=p></form>";
    let target = Target::start(Act::Routes(vec![
        ("/maintenance", html("<title>Shop | Under maintenance</title>")),
        ("/challenge", response("403 Forbidden", &["Content-Type: text/html"], challenge)),
        ("/account", response("302 Found", &["Location: /login?next=/account"], "")),
        ("/login", html(login)),
        ("/json", ok(r#"{"error": "out of stock"}"#)),
    ]))
    .await;
    for (lines, code, want) in [
        (
            "request = \"GET /maintenance\"",
            1,
            "soft_error (maintenance_page), page | content | 200 with a maintenance page: title \"Shop | Under maintenance\"",
        ),
        ("request = \"GET /maintenance\"\nexpect.no_error_page = false", 0, " |  | "),
        (
            "request = \"GET /account\"",
            1,
            "soft_error (login_page), page | content | 200 with a login page instead of content: a password field at /login",
        ),
        ("request = \"GET /account\"\nexpect.url = { contains = \"/login\" }", 0, " |  | "),
        ("request = \"GET /login\"", 0, " |  | "),
        (
            "request = \"GET /json\"",
            1,
            "soft_error (json_error), page | content | 200 with an error: JSON error: \"out of stock\"",
        ),
        ("request = \"GET /json\"\nexpect.json.\"$.error\" = { contains = \"stock\" }", 0, " |  | "),
        ("request = \"GET /challenge\"", 3, " |  | "),
        ("request = \"GET /challenge\"\nexpect.status = 403", 0, " |  | "),
        (
            "request = \"GET /challenge\"\nexpect.no_error_page = false",
            1,
            "http_4xx, status | status 2xx | 403 Forbidden",
        ),
    ] {
        let finished = run_journey(&target.url, &step(lines)).await;
        assert_eq!(finished.code, code, "{lines}: {finished:?}");
        assert_eq!(why(&finished), want, "{lines}: {finished:?}");
    }
    let finished = run_journey(&target.url, &step("request = \"GET /challenge\"")).await;
    assert!(
        finished.stdout.contains("errored: challenged") && finished.stdout.contains("allow-list it"),
        "{finished:?}"
    );
    // Off for the whole journey, and on again for a step.
    let off = step("request = \"GET /maintenance\"").replace("[[steps]]", "expect.no_error_page = false\n[[steps]]");
    assert_eq!(run_journey(&target.url, &off).await.code, 0);
    assert_eq!(run_journey(&target.url, &format!("{off}expect.no_error_page = true\n")).await.code, 1);
}

#[tokio::test]
async fn a_fragment_used_twice_keeps_its_values_apart() {
    let target = Target::scripted(|_, before| ok(&format!("{{\"token\": \"token-number-{before}\"}}"))).await;
    let fragment = "[[steps]]\nid = \"get\"\nrequest = \"GET /get\"\ncapture.token = { json = \"$.token\" }\n\
                    [[steps]]\nid = \"use\"\nrequest = \"POST /use\"\nauth = { bearer = \"{{ token }}\" }\npoll = { every = \"100ms\", until.json.\"$.token\" = { not_equals = \"{{ token }}\" } }\n";
    let journey = "base_url = \"{{ env.TARGET }}\"\n[[steps]]\nuse = \"f.toml\"\n[[steps]]\nuse = \"f.toml\"\nas = \"again\"\n\
                   [[steps]]\nid = \"last\"\nrequest = \"POST /last\"\njson = { a = \"{{ token }}\", b = \"{{ again_token }}\" }\n";
    let dir = folder(&[("journeys/j.toml", journey), ("journeys/f.toml", fragment)]);
    let finished = run(dir.path(), &["run", "journeys/j.toml"], &[("TARGET", &target.url)]).await;
    assert_eq!(finished.code, 0, "{finished:?}");
    let requests = target.requests();
    assert_eq!(header(&requests[1], "authorization").unwrap(), "Bearer token-number-0");
    assert_eq!(header(&requests[3], "authorization").unwrap(), "Bearer token-number-2");
    assert!(requests[4].ends_with(r#"{"a":"token-number-0","b":"token-number-2"}"#), "{requests:?}");
}

#[tokio::test]
async fn defaults_hold_for_journeys_that_say_nothing_and_for_no_others() {
    let target = Target::start(Act::Reply(ok("{}"))).await;
    let config = "journeys = [\"*.toml\"]\n[defaults]\nbase_url = \"{{ env.TARGET }}\"\nauth = { bearer = \"shared-token-1\" }\nheaders = { X-A = \"1\", X-B = \"1\" }\nuser_agent = \"probe/1\"\nhttp_version = \"1.1\"\nexpect.no_error_page = false\n";
    let plain = "[[steps]]\nid = \"s\"\nrequest = \"GET /plain\"\n";
    let own = "auth = { bearer = \"own-token-12\" }\nheaders = { X-B = \"2\" }\nuser_agent = \"own/1\"\n[[steps]]\nid = \"s\"\nrequest = \"GET /own\"\n";
    let dir = folder(&[("journeyd.toml", config), ("plain.toml", plain), ("own.toml", own)]);
    let args = ["run", "--config", "journeyd.toml", "plain", "own"];
    let finished = run(dir.path(), &args, &[("TARGET", &target.url)]).await;
    assert_eq!(finished.code, 0, "{finished:?}");
    let seen: Vec<Vec<String>> = target
        .requests()
        .iter()
        .map(|r| ["authorization", "x-a", "x-b", "user-agent"].map(|n| header(r, n).unwrap()).to_vec())
        .collect();
    assert_eq!(seen[0], ["Bearer shared-token-1", "1", "1", "probe/1"]);
    assert_eq!(seen[1], ["Bearer own-token-12", "1", "2", "own/1"]);
}

#[tokio::test]
async fn secrets_come_from_files_credentials_and_env_files_too() {
    let target = Target::start(Act::Reply(ok("{}"))).await;
    let config = "journeys = [\"j.toml\"]\n[secrets]\na = { file = \"a.txt\" }\nb = { credential = \"b\" }\nc = { env = \"C\" }\nd = { env = \"D\" }\n";
    let journey = step(
        "request = \"POST /\"\njson = { a = \"{{ secret.a }}\", b = \"{{ secret.b }}\", c = \"{{ secret.c }}\", d = \"{{ secret.d }}\" }",
    );
    let dir = folder(&[
        ("journeyd.toml", config),
        ("j.toml", &journey),
        ("a.txt", "from-a-file\n"),
        ("creds/b", "from-a-credential"),
        (".env", "# comment\nC=from-env-file\nexport D='quoted # value'\nTARGET=http://127.0.0.1:9\n"),
    ]);
    let creds = dir.path().join("creds");
    let env = [("TARGET", target.url.as_str()), ("CREDENTIALS_DIRECTORY", creds.to_str().unwrap())];
    let args = ["run", "--config", "journeyd.toml", "--env-file", ".env", "j"];
    let finished = run(dir.path(), &args, &env).await;
    assert_eq!(finished.code, 0, "what is set wins over the file: {finished:?}");
    let want = r#"{"a":"from-a-file","b":"from-a-credential","c":"from-env-file","d":"quoted # value"}"#;
    assert!(target.requests()[0].ends_with(want), "{:?}", target.requests());
    std::fs::write(dir.path().join(".env"), "A=1\nC is a secret\n").unwrap();
    let finished = run(dir.path(), &args, &env).await;
    assert_eq!(finished.code, 2);
    assert!(
        finished.stderr.contains(".env:2: expected NAME=value") && !finished.stderr.contains("is a secret"),
        "{finished:?}"
    );
}

/// Every recipe passes against the demo, and they are the ones that the cookbook tells of.
#[tokio::test]
async fn every_recipe_of_the_cookbook_passes_against_the_demo() {
    let demo = Running::demo().await;
    let page = std::fs::read_to_string(root().join("docs/cookbook.md")).unwrap();
    let mut recipes: Vec<String> = std::fs::read_dir(root().join("docs/cookbook"))
        .unwrap()
        .filter_map(|e| e.unwrap().file_name().into_string().unwrap().strip_suffix(".toml").map(str::to_owned))
        .filter(|name| name != "journeyd" && name != "vendure")
        .collect();
    recipes.sort();
    assert!(recipes.len() >= 10, "{recipes:?}");
    for recipe in recipes {
        assert!(page.contains(&format!("(cookbook/{recipe}.toml)")), "docs/cookbook.md does not tell of {recipe}");
        let args = ["run", "--config", "docs/cookbook/journeyd.toml", &recipe];
        let finished = run(root(), &args, &[("SHOP_URL", &demo.shop)]).await;
        assert_eq!(finished.code, 0, "{recipe}: {finished:?}");
    }
    let checked = run(root(), &["check", "--deny-warnings", "--config", "docs/cookbook/journeyd.toml"], &[]).await;
    assert_eq!((checked.code, checked.stderr.as_str()), (0, ""), "{checked:?}");
    assert_eq!(get(&format!("{}/healthz", demo.shop)).await.0, 200);
}

/// A real shop that nobody made for journeyd; takes npm and minutes, so it belongs to `./tests/run --long`.
#[tokio::test]
async fn a_real_shop_is_walked_from_login_to_payment_over_graphql() {
    let shop = root().join("target/vendure");
    if !shop.join("installed").exists() {
        assert!(
            std::env::var_os("JOURNEYD_TEST_LONG").is_none(),
            "target/vendure is missing: ./tests/run --install --long"
        );
        eprintln!("SKIPPED: Vendure is not installed (./tests/run --install --long)");
        return;
    }
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let mut command = tokio::process::Command::new("node");
    command.args(["shop.js", &port]).current_dir(&shop).kill_on_drop(true).stdin(std::process::Stdio::null());
    let vendure = Running::spawn(command);
    crate::support::eventually("Vendure", || async { vendure.output().contains("up").then_some(()) }).await;
    let url = format!("http://127.0.0.1:{port}");
    let args = ["run", "--config", "docs/cookbook/journeyd.toml", "vendure", "--repeat", "2"];
    let finished = run(root(), &args, &[("VENDURE_URL", &url)]).await;
    assert_eq!(finished.code, 0, "{finished:?}");
    assert!(finished.stdout.contains("vendure: 2 runs, 2 passed"), "{finished:?}");
}

#[tokio::test]
async fn a_token_is_for_the_endpoint_that_gave_it_and_for_origins_that_get_it() {
    // Two endpoints of one name: a journey that resolves it elsewhere asks there.
    let one = oauth_target(", \"expires_in\": 3600").await;
    let two = oauth_target(", \"expires_in\": 3600").await;
    let port = |target: &Target| target.url.rsplit(':').next().unwrap().to_owned();
    let journey = |more: &str| {
        let text = OAUTH.replace("[auth.oauth2]", &format!("{more}\n[auth.oauth2]"));
        format!("{text}[[steps]]\nid = \"a\"\nrequest = \"GET /a\"\n")
            .replace("{{ env.TARGET }}", "http://auth.invalid:PORT")
    };
    // The same grant but for the address: the port differs too, so the proxy stands for the other way there.
    let resolve = "resolve = { \"auth.invalid\" = \"127.0.0.1\" }";
    let first = journey(resolve).replace("PORT", &port(&one));
    let second = journey(&format!("proxy = \"{}\"", two.url)).replace("PORT", &port(&one));
    let files = [("one.toml", first.as_str()), ("two.toml", second.as_str())];
    let dir = folder(&files);
    std::fs::write(dir.path().join("journeyd.toml"), CONFIG.replace("j.toml", "*e.toml\", \"two.toml")).unwrap();
    let args = ["run", "--config", "journeyd.toml", "one", "two"];
    let finished = run(dir.path(), &args, &[PW]).await;
    assert_eq!(tokens(&one), 1, "{finished:?}");
    assert!(two.requests().iter().any(|r| r.starts_with("POST http://auth.invalid")), "{finished:?}");

    // An origin that the author did not name gets no token, and none is fetched or renewed for it.
    let stranger = Target::start(Act::Reply(response("401 Unauthorized", &[], "{}"))).await;
    let give = format!("{{\"url\": \"{}/x\"}}", stranger.url);
    let target = Target::start(Act::Reply(ok(&give))).await;
    let journey = "base_url = \"{{ env.TARGET }}\"\n[[steps]]\nid = \"a\"\nrequest = \"GET /a\"\nauth = \"none\"\ncapture.url = { json = \"$.url\" }\n\
         [[steps]]\nid = \"b\"\nrequest = \"POST {{ url }}\"\n".to_string()
    .replacen("[[steps]]", &OAUTH.replace("base_url = \"{{ env.TARGET }}\"\n", "").replace("[auth", "\n[auth"), 1)
    .replace("scope = \"a b\"\n", "scope = \"a b\"\n[[steps]]");
    let finished = run_journey(&target.url, &journey).await;
    assert_eq!((finished.code, stranger.requests().len(), tokens(&target)), (1, 1, 0), "{finished:?}");
    assert!(header(&stranger.requests()[0], "authorization").is_none());
}

#[tokio::test]
async fn a_poll_ends_when_its_time_is_up_also_within_a_request() {
    let slow = Target::scripted(|_, before| if before == 0 { ok(r#"{"status": "pending"}"#) } else { vec![] }).await;
    let poll = "request = \"GET /\"\npoll = { every = \"100ms\", for = \"900ms\", until.json.\"$.status\" = \"paid\" }";
    let finished = run_journey(&slow.url, &step(poll)).await;
    let text = why(&finished);
    assert!(
        text.starts_with("assertion_json, json $.status | json $.status = \"paid\" | \"pending\" (asked 2 times"),
        "{text}"
    );
    let pending = Target::start(Act::Reply(ok(r#"{"status": "pending"}"#))).await;
    let cut = step(&poll.replace("900ms", "30s")).replace("[[steps]]", "timeout = \"1s\"\n[[steps]]");
    let finished = run_journey(&pending.url, &cut).await;
    assert!(why(&finished).ends_with("then the run's time was over)"), "{}", why(&finished));
}

#[tokio::test]
async fn a_secret_is_masked_however_a_page_or_an_api_spells_it() {
    let secret = "pä+s&w'o\"rd/99";
    let spellings = [
        "p&auml;+s&amp;w&#39;o&#34;rd/99".replace("&auml;", "ä"),
        "pä&#43;s&#38;w'o&quot;rd&#x2F;99".to_owned(),
        "p\\u00e4+s&w'o\\\"rd\\/99".to_owned(),
    ];
    for spelled in spellings {
        let page = format!("<h1>no</h1><p>{spelled}</p>");
        let body = format!("{{\"echo\": \"{spelled}\"}}");
        let target = Target::start(Act::Routes(vec![
            ("/page", response("500 X", &["Content-Type: text/html"], &page)),
            (
                "/title",
                response(
                    "200 OK",
                    &["Content-Type: text/html"],
                    &format!("<title>Internal Server Error: {spelled}</title>"),
                ),
            ),
            ("/json", response("500 X", &["Content-Type: application/json"], &body)),
        ]))
        .await;
        for path in ["/page", "/title", "/json"] {
            let journey = step(&format!("request = \"POST {path}\"\nform = {{ password = \"{{{{ secret.pw }}}}\" }}"));
            let dir = folder(&[("j.toml", &journey), ("journeyd.toml", CONFIG)]);
            let args = ["run", "--config", "journeyd.toml", "j", "--verbose"];
            let finished = run(dir.path(), &args, &[("PW", secret), ("TARGET", &target.url)]).await;
            let decoded = finished
                .stdout
                .replace("&#39;", "'")
                .replace("&#34;", "\"")
                .replace("&amp;", "&")
                .replace("\\\"", "\"");
            assert!(
                !decoded.contains("s&w'o") && !finished.stdout.contains("#38;w"),
                "{spelled} {path}: {}",
                finished.stdout
            );
        }
    }
}

#[tokio::test]
async fn what_a_target_hands_out_leaves_room_for_what_the_journey_captures() {
    let many: Vec<String> = (0..600).map(|n| format!("{{\"token\": \"handed-out-{n:05}\"}}")).collect();
    let target = Target::start(Act::Routes(vec![
        ("/many", response("500 X", &["Content-Type: application/json"], &format!("[{}]", many.join(",")))),
        ("/late", response("500 X", &[], "late-captured-value and late-captured-value")),
    ]))
    .await;
    let journey = step("request = \"GET /many\"").replace("[[steps]]", "[vars]\nkeep = \"x\"\n[[steps]]")
        + "[[cleanup]]\nid = \"c\"\nrequest = \"POST /late\"\nform = { session_token = \"late-captured-value\" }\n";
    let finished = run_journey(&target.url, &journey).await;
    assert!(!finished.stdout.contains("late-captured-value"), "{}", finished.stdout);
}

#[tokio::test]
async fn a_page_that_would_stall_a_parser_does_not_stall_the_transcript() {
    let page = "<div>".repeat(100_000);
    let target = Target::start(Act::Reply(response("200 OK", &["Content-Type: text/html"], &page))).await;
    let dir = folder(&[("j.toml", &step("request = \"GET /\""))]);
    let finished = run(dir.path(), &["run", "j.toml", "--verbose"], &[("TARGET", &target.url)]).await;
    assert_eq!(finished.code, 0, "{}", finished.stderr);
}
