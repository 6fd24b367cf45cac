//! The journey language on real responses.

use crate::support::folder;
use crate::support::process::{Finished, run};
use crate::support::target::{Act, Target, response};

async fn run_journey(text: &str, target: &Target) -> Finished {
    let dir = folder(&[("j.toml", &text.replace("TARGET", &target.url))]);
    run(dir.path(), &["run", "j.toml"], &[]).await
}

fn head_of(requests: &[String], path: &str) -> String {
    requests
        .iter()
        .find(|r| r.split(' ').nth(1) == Some(path))
        .unwrap_or_else(|| panic!("{path} in {requests:?}"))
        .to_ascii_lowercase()
}

#[tokio::test]
async fn every_capture_and_assertion_works_on_a_real_response() {
    let page = "<html><h1> Hello  <b>World</b></h1><ul class=results><li><a href='next?id=7'>first</a><li>second</ul>Order no. 4711.</html>";
    let json = "{\"order\": {\"id\": \"007\", \"total\": 12.5, \"lines\": [{\"sku\": \"a\", \"n\": 1}, {\"sku\": \"b\", \"n\": 2}]}, \"none\": null}";
    let target = Target::start(Act::Routes(vec![
        (
            "/page",
            response(
                "200 OK",
                &[
                    "Content-Type: text/html",
                    "X-Tag: one",
                    "X-Tag: two",
                    "Set-Cookie: lang=en; Path=/",
                    "Location: /elsewhere",
                ],
                page,
            ),
        ),
        ("/api", response("201 Created", &["Content-Type: application/json"], json)),
        ("/next", response("200 OK", &[], "next")),
        ("/use", response("200 OK", &[], "fine")),
    ]))
    .await;
    let text = r#"
base_url = "TARGET"
[vars]
greeting = "Hello World"
[[steps]]
id = "page"
request = "GET /page"
query = { q = "a b&c", n = 3, tag = ["x", "y"] }
expect.status = { ge = 200, lt = 300 }
expect.within = "5s"
expect.header.x-tag = "two"
expect.header.content-type = { starts_with = "text/", not_contains = "json" }
expect.cookie.lang = "en"
expect.body = { contains = ["Order no.", "first"], matches = 'no\. \d+' }
expect.css.h1 = "{{ greeting }}"
expect.css."ul.results li" = { count = { ge = 2, lt = 3 } }
expect.css.".error" = { exists = false }
expect.css."li a" = { attr = "href", contains = "id={{ number_in_href }}" }
expect.url = { contains = "/page?q=a+b%26c&n=3&tag=x&tag=y" }
expect.redirects = 0
expect.size = { gt = 50 }
capture.next = { css = "li a", attr = "href" }
capture.number = { regex = 'no\. (\d+)' }
capture.number_in_href = { css = "li a", attr = "href", regex = 'id=(\d)' }
capture.tag = { header = "X-Tag" }
capture.where = { header = "Location" }
capture.lang = { cookie = "lang" }
capture.address = { url = true }
[[steps]]
id = "api"
request = "POST /api"
json = { a = [1, 2.5, true, "x {{ number }}"], "deep key" = { b = "{{ number }}" }, when = 2026-11-22 }
expect.status = [200, 201]
expect.json."$.order.id" = { equals = "007", type = "string" }
expect.json."$.order.total" = { gt = 12, le = 12.5, type = "number" }
expect.json."$.order.lines" = { count = 2, type = "list" }
expect.json."$.order.lines[*].sku" = { contains = "b", count = 2 }
expect.json."$.order.lines[?@.n > 1].sku" = ["b"]
expect.json."$.none" = { exists = true, type = "null" }
expect.json."$.missing" = { exists = false }
capture.id = { json = "$.order.id" }
capture.total = { json = "$.order.total" }
capture.skus = { json = "$.order.lines[*].sku" }
[[steps]]
id = "next"
request = "GET {{ next }}"
[[steps]]
id = "use"
request = "PUT /use/{{ id }}/{{ tag }}"
headers = { X-Total = "{{ total }}", X-Where = "{{ where }}", X-Lang = "{{ lang }}", X-Address = "{{ address }}" }
json = { id = "{{ id }}", total = "{{ total }}", skus = "{{ skus }}", text = "{{ total | string }}" }
[[steps]]
id = "text"
request = "POST /use/text"
body = "number={{ number }}"
headers = { Content-Type = "text/plain" }
"#;
    let finished = run_journey(text, &target).await;
    assert_eq!(finished.code, 0, "{finished:?}");
    let requests = target.requests();
    assert!(head_of(&requests, "/next?id=7").starts_with("get /next?id=7 "), "resolved against the page's address");
    let api = requests.iter().find(|r| r.starts_with("POST /api")).unwrap();
    assert!(api.ends_with(r#"{"a":[1,2.5,true,"x 4711"],"deep key":{"b":"4711"},"when":"2026-11-22"}"#), "{api}");
    assert!(api.to_ascii_lowercase().contains("content-type: application/json"));
    let put = requests.iter().find(|r| r.starts_with("PUT /use/007/one ")).unwrap();
    assert!(put.ends_with(r#"{"id":"007","total":12.5,"skus":["a","b"],"text":"12.5"}"#), "{put}");
    let head = put.to_ascii_lowercase();
    for header in ["x-total: 12.5", "x-lang: en", "cookie: lang=en", &format!("x-where: {}/elsewhere", target.url)] {
        assert!(head.contains(header), "{header} in {head}");
    }
    assert!(requests.iter().any(|r| r.starts_with("POST /use/text") && r.ends_with("number=4711")));
}

#[tokio::test]
async fn a_failing_assertion_says_expected_and_got() {
    let target = Target::start(Act::Routes(vec![
        (
            "/html",
            response(
                "200 OK",
                &["Content-Type: text/html", "X-A: 1", "Set-Cookie: sid=topsecretvalue; HttpOnly"],
                "<h1>Oops</h1>",
            ),
        ),
        ("/json", response("200 OK", &[], "{\"n\": 5}")),
    ]))
    .await;
    for (path, line, reason, expected, got) in [
        ("/html", "expect.css.h1 = \"Mug\"", "assertion_css, css h1", "css h1 = \"Mug\"", "\"Oops\""),
        ("/html", "expect.css.p = { exists = true }", "assertion_css, css p", "css p exists", "nothing"),
        ("/html", "expect.css.h1 = { count = 3 }", "assertion_css, css h1", "css h1 count = 3", "count 1"),
        ("/html", "expect.header.x-a = \"2\"", "assertion_header, header x-a", "header x-a = \"2\"", "\"1\""),
        (
            "/html",
            "expect.cookie.sid = \"other\"",
            "assertion_cookie, cookie sid",
            "cookie sid = \"other\"",
            "another value",
        ),
        (
            "/html",
            "expect.body = { matches = 'M.g' }",
            "assertion_body, body",
            "body matches /M.g/",
            "\"<h1>Oops</h1>\"",
        ),
        ("/html", "expect.url = { ends_with = \"/x\" }", "assertion_url, url", "url ends with \"/x\"", "/html\""),
        ("/html", "expect.status = 204", "assertion_status, status", "status = 204", "200 OK"),
        ("/html", "expect.size = { gt = 100 }", "assertion_size, size", "size > 100", "13"),
        (
            "/html",
            "expect.json.\"$.n\" = 5",
            "assertion_json (json_invalid), json $.n",
            "a body that can be read",
            "the body is not JSON",
        ),
        ("/json", "expect.json.\"$.n\" = { gt = 9 }", "assertion_json, json $.n", "json $.n > 9", "5"),
        ("/json", "expect.json.\"$.m\" = { gt = 9 }", "assertion_json, json $.m", "json $.m > 9", "nothing"),
        (
            "/json",
            "capture.id = { json = \"$.id\" }",
            "capture_missing, capture id",
            "a value from json $.id",
            "nothing",
        ),
        (
            "/html",
            "capture.id = { regex = 'id=(\\d+)' }",
            "capture_missing, capture id",
            "a value from body /id=(\\d+)/",
            "no match",
        ),
        (
            "/html",
            "capture.link = { css = \"h1\", attr = \"href\" }",
            "capture_missing, capture link",
            "css h1 @href",
            "an element without the attribute href",
        ),
    ] {
        let text = format!("base_url = \"TARGET\"\n[[steps]]\nid = \"s\"\nrequest = \"GET {path}\"\n{line}\n");
        let finished = run_journey(&text, &target).await;
        assert_eq!(finished.code, 1, "{line}: {finished:?}");
        for (name, want) in [("reason", reason), ("expected", expected), ("got", got)] {
            let shown = finished.stdout.lines().find_map(|l| l.trim().strip_prefix(name)).unwrap_or("").trim();
            assert!(shown.contains(want), "{line}: {name} {shown:?}, not {want:?}");
        }
        assert!(!finished.stdout.contains("topsecretvalue"));
    }
}

/// An error page fails every assertion; the reason is the error.
#[tokio::test]
async fn the_status_comes_before_captures_and_assertions_and_those_go_by_file_order() {
    let target = Target::start(Act::Routes(vec![
        ("/500", response("500 Internal Server Error", &[], "")),
        ("/ok", response("200 OK", &[], "<p>x</p>")),
    ]))
    .await;
    let both = "capture.a = { css = \"h1\" }\nexpect.css.h2 = \"x\"\n";
    let swapped = "expect.css.h2 = \"x\"\ncapture.a = { css = \"h1\" }\n";
    for (path, lines, reason) in
        [("/500", both, "http_5xx"), ("/ok", both, "capture_missing"), ("/ok", swapped, "assertion_css")]
    {
        let text = format!("base_url = \"TARGET\"\n[[steps]]\nid = \"s\"\nrequest = \"GET {path}\"\n{lines}");
        let finished = run_journey(&text, &target).await;
        assert!(finished.stdout.contains(&format!("failed: {reason} ")), "{reason}: {}", finished.stdout);
    }
}

#[tokio::test]
async fn redirects_are_followed_as_browsers_do_and_cookies_go_along() {
    let target = Target::start(Act::Routes(vec![
        ("/login", response("302 Found", &["Location: /welcome", "Set-Cookie: session=s3ss10n-value; Path=/"], "")),
        ("/keep", response("307 Temporary Redirect", &["Location: /kept"], "")),
        ("/", response("200 OK", &[], "ok")),
    ]))
    .await;
    let text = r#"
base_url = "TARGET"
[[steps]]
id = "login"
request = "POST /login"
form = { user = "me", note = "ä b" }
expect.url = { ends_with = "/welcome" }
expect.redirects = 1
[[steps]]
id = "keep"
request = "POST /keep"
json = { a = 1 }
[[steps]]
id = "no-follow"
request = "GET /login"
redirects = 0
expect.status = 302
expect.header.location = "/welcome"
"#;
    let finished = run_journey(text, &target).await;
    assert_eq!(finished.code, 0, "{finished:?}");
    let requests = target.requests();
    assert!(requests[0].starts_with("POST /login ") && requests[0].ends_with("user=me&note=%C3%A4+b"), "{requests:?}");
    assert!(
        requests[1].starts_with("GET /welcome ")
            && requests[1].to_ascii_lowercase().contains("cookie: session=s3ss10n-value")
    );
    assert!(requests[3].starts_with("POST /kept ") && requests[3].ends_with("{\"a\":1}"), "307 keeps method and body");
}

#[tokio::test]
async fn request_ids_and_shared_headers_go_only_to_origins_that_the_author_named() {
    let stranger = Target::start(Act::Reply(response("200 OK", &[], "hi"))).await;
    let friend = Target::start(Act::Reply(response("200 OK", &[], "hi"))).await;
    let link = format!("<a class=out href='{}/captured'>out</a>", stranger.url);
    let redirect = format!("Location: {}/redirected", stranger.url);
    let target = Target::start(Act::Routes(vec![
        ("/page", response("200 OK", &["Content-Type: text/html"], &link)),
        ("/away", response("302 Found", &[&redirect], "")),
    ]))
    .await;
    let text = r#"
base_url = "TARGET"
headers = { X-Shared = "shared-value" }
vars = { friend = "FRIEND" }
[[steps]]
id = "page"
request = "GET /page"
capture.out = { css = "a.out", attr = "href" }
[[steps]]
id = "captured"
request = "GET {{ out }}"
headers = { Authorization = "Bearer abcdefgh" }
[[steps]]
id = "away"
request = "GET /away"
headers = { Authorization = "Bearer abcdefgh", X-Plain = "plain" }
[[steps]]
id = "friend"
request = "GET {{ friend }}/named"
"#;
    let finished = run_journey(&text.replace("FRIEND", &friend.url), &target).await;
    assert_eq!(finished.code, 0, "{finished:?}");
    let traced = |head: &str| ["x-request-id:", "traceparent:", "x-shared: shared-value"].map(|h| head.contains(h));
    assert_eq!(traced(&head_of(&target.requests(), "/page")), [true; 3]);
    assert_eq!(traced(&head_of(&friend.requests(), "/named")), [true; 3], "a var counts as written");
    for path in ["/captured", "/redirected"] {
        let head = head_of(&stranger.requests(), path);
        assert_eq!(traced(&head), [false; 3], "{head}");
        assert!(head.contains("user-agent: journeyd/"), "{head}");
    }
    let redirected = head_of(&stranger.requests(), "/redirected");
    assert!(!redirected.contains("authorization") && redirected.contains("x-plain: plain"), "{redirected}");
    assert!(head_of(&target.requests(), "/away").contains("authorization: bearer abcdefgh"));
    // One trace a run, one id a request.
    let id = |head: String, name: &str| head.split(name).nth(1).unwrap().lines().next().unwrap().trim().to_owned();
    let (page, away) = (head_of(&target.requests(), "/page"), head_of(&target.requests(), "/away"));
    let (first, second) = (id(page.clone(), "traceparent:"), id(away.clone(), "traceparent:"));
    assert_eq!(first.split('-').nth(1), second.split('-').nth(1));
    assert_ne!(id(page, "x-request-id:"), id(away, "x-request-id:"));
}

#[tokio::test]
async fn a_captured_value_cannot_change_where_a_request_goes() {
    let target = Target::start(Act::Routes(vec![
        ("/id", response("200 OK", &[], "{\"id\": \"../admin?delete=1#x\"}")),
        ("/", response("200 OK", &[], "ok")),
    ]))
    .await;
    let text = "base_url = \"TARGET\"\n[[steps]]\nid = \"a\"\nrequest = \"GET /id\"\ncapture.id = { json = \"$.id\" }\n[[steps]]\nid = \"b\"\nrequest = \"DELETE /orders/{{ id }}\"\n";
    assert_eq!(run_journey(text, &target).await.code, 0);
    assert!(target.requests()[1].starts_with("DELETE /orders/..%2Fadmin%3Fdelete=1%23x "), "{:?}", target.requests());
}

#[tokio::test]
async fn cleanup_runs_whatever_happened_once_what_it_names_exists() {
    let target = Target::start(Act::Routes(vec![
        ("/order", response("200 OK", &[], "{\"id\": \"o-1\"}")),
        ("/fails", response("500 Internal Server Error", &[], "")),
        ("/cancel/", response("204 No Content", &[], "")),
    ]))
    .await;
    let cleanup = "[[cleanup]]\nid = \"cancel\"\nrequest = \"DELETE /cancel/{{ order_id }}\"\n";
    let order = "[[steps]]\nid = \"order\"\nrequest = \"POST /order\"\ncapture.order_id = { json = \"$.id\" }\n";
    let fails = "[[steps]]\nid = \"fails\"\nrequest = \"GET /fails\"\n";
    let after = run_journey(&format!("base_url = \"TARGET\"\n{order}{fails}{cleanup}"), &target).await;
    assert_eq!(after.code, 1);
    assert!(after.stdout.contains("✔ cancel"), "{}", after.stdout);
    assert!(target.requests().last().unwrap().starts_with("DELETE /cancel/o-1 "));
    let before = run_journey(&format!("base_url = \"TARGET\"\n{fails}{order}{cleanup}"), &target).await;
    assert!(before.stdout.contains("cancel  not needed"), "{}", before.stdout);
    // A cleanup that fails is shown, and changes nothing.
    let broken = "[[cleanup]]\nid = \"undo\"\nrequest = \"GET /fails\"\n";
    let kept = run_journey(&format!("base_url = \"TARGET\"\n{order}{broken}[[steps]]\nid = \"x\"\nrequest = \"GET /order\"\nexpect.body = {{ contains = \"{{{{ order_id }}}}\" }}\n"), &target).await;
    assert_eq!(kept.code, 0, "{kept:?}");
    assert!(kept.stdout.contains("✘ undo"));
}

#[tokio::test]
async fn a_fragment_used_twice_keeps_its_captures_apart() {
    let target = Target::start(Act::Routes(vec![
        ("/token", response("200 OK", &[], "{\"t\": \"abc\"}")),
        ("/use", response("200 OK", &[], "ok")),
    ]))
    .await;
    let fragment = "[vars]\npath = \"/token\"\n[[steps]]\nid = \"get\"\nrequest = \"GET {{ path }}\"\ncapture.value = { json = \"$.t\" }\n\
                    [[steps]]\nid = \"put\"\nrequest = \"PUT /use/{{ value }}\"\nbody = \"{{ value | upper }}\"\n";
    let journey = format!(
        "base_url = \"{}\"\n[[steps]]\nuse = \"shared/f.toml\"\n[[steps]]\nuse = \"shared/f.toml\"\nas = \"again\"\n\
         [[steps]]\nid = \"last\"\nrequest = \"GET /use/{{{{ value }}}}/{{{{ again_value }}}}\"\n",
        target.url
    );
    let dir = folder(&[("j.toml", &journey), ("shared/f.toml", fragment)]);
    let finished = run(dir.path(), &["run", "j.toml"], &[]).await;
    assert_eq!(finished.code, 0, "{finished:?}");
    for id in ["get", "put", "again-get", "again-put", "last"] {
        assert!(finished.stdout.contains(&format!("✔ {id} ")), "{id}");
    }
    let puts: Vec<_> = target.requests().into_iter().filter(|r| r.starts_with("PUT /use/abc ")).collect();
    assert!(puts.len() == 2 && puts.iter().all(|p| p.ends_with("ABC")), "{puts:?}");
}

#[tokio::test]
async fn each_run_opens_its_own_connection_and_keeps_it_for_its_steps() {
    let target = Target::start(Act::Reply(response("200 OK", &[], "ok"))).await;
    let step = |id: &str| format!("[[steps]]\nid = \"{id}\"\nrequest = \"GET /\"\n");
    let two = "[[variants]]\nid = \"one\"\n[[variants]]\nid = \"two\"\n";
    let text = format!("base_url = \"TARGET\"\n{two}{}{}{}", step("a"), step("b"), step("c"));
    let finished = run_journey(&text, &target).await;
    assert_eq!((target.connections(), target.requests().len()), (2, 6), "{finished:?}");
    let facts: Vec<&str> = finished.stdout.lines().filter(|l| l.contains("processing ")).collect();
    assert!(facts[0].contains("connect ") && !facts[0].contains("reused"), "{facts:?}");
    for line in &facts[1..3] {
        assert!(line.contains("connection reused") && !line.contains("connect "), "{facts:?}");
    }
}

/// Credentials of a step are for the origin that it names, also when another step names the one redirected to.
#[tokio::test]
async fn credentials_follow_no_redirect_to_another_origin() {
    let other = Target::start(Act::Reply(response("200 OK", &[], "hi"))).await;
    let away = format!("Location: {}/landed", other.url);
    let target = Target::start(Act::Reply(response("302 Found", &[&away], ""))).await;
    let text = format!(
        "base_url = \"TARGET\"\n[[steps]]\nid = \"a\"\nrequest = \"GET /a\"\n\
         headers = {{ Authorization = \"Bearer abcdefgh\", X-Api-Key = \"12345678\", X-Plain = \"plain\" }}\n\
         [[steps]]\nid = \"b\"\nrequest = \"GET {}/b\"\n",
        other.url
    );
    assert_eq!(run_journey(&text, &target).await.code, 0);
    let landed = head_of(&other.requests(), "/landed");
    assert!(
        !landed.contains("authorization") && !landed.contains("x-api-key") && landed.contains("x-plain"),
        "{landed}"
    );
}

/// What a step made although it failed is cleaned up.
#[tokio::test]
async fn a_creating_step_that_fails_on_its_status_is_cleaned_up_all_the_same() {
    let target = Target::start(Act::Routes(vec![
        ("/order", response("200 OK", &[], "{\"id\": \"o-1\"}")),
        ("/cancel/", response("204 No Content", &[], "")),
    ]))
    .await;
    let text = "base_url = \"TARGET\"\n[[steps]]\nid = \"order\"\nrequest = \"POST /order\"\nexpect.status = 201\n\
                capture.order_id = { json = \"$.id\" }\n[[cleanup]]\nid = \"cancel\"\nrequest = \"DELETE /cancel/{{ order_id }}\"\n";
    let finished = run_journey(text, &target).await;
    assert!(
        finished.stdout.contains("failed: assertion_status") && finished.stdout.contains("✔ cancel"),
        "{finished:?}"
    );
}

/// A redirect that leads nowhere shows nothing of the response that led there.
#[tokio::test]
async fn a_hop_without_an_answer_does_not_show_the_one_before() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let target = Target::start(Act::Reply(response("302 Found", &[&format!("Location: http://{closed}/")], ""))).await;
    let finished = run_journey("base_url = \"TARGET\"\n[[steps]]\nid = \"s\"\nrequest = \"GET /\"\n", &target).await;
    assert!(
        finished.stdout.contains("✘ s     ---") && finished.stdout.contains("connect_refused"),
        "{}",
        finished.stdout
    );
    assert!(!finished.stdout.contains("HTTP/1.1") && !finished.stdout.contains("(from "), "{}", finished.stdout);
}

#[tokio::test]
async fn existence_of_an_attribute_is_not_that_of_its_element() {
    let target = Target::start(Act::Reply(response("200 OK", &["Content-Type: text/html"], "<a>x</a>"))).await;
    for (want, code) in [("true", 1), ("false", 0)] {
        let text = format!(
            "base_url = \"TARGET\"\n[[steps]]\nid = \"s\"\nrequest = \"GET /\"\nexpect.css.a = {{ attr = \"href\", exists = {want} }}\n"
        );
        assert_eq!(run_journey(&text, &target).await.code, code, "exists = {want}");
    }
}

/// The curl line does what the step did: run it, and compare what arrives.
#[tokio::test]
async fn the_curl_line_repeats_the_request() {
    if std::process::Command::new("curl").arg("--version").output().is_err() {
        assert!(
            std::env::var_os("JOURNEYD_TEST_REQUIRE_ALL").is_none(),
            "curl is not installed: ./tests/run --install"
        );
        eprintln!("SKIPPED: curl is not installed");
        return;
    }
    for step in [
        "request = \"GET /a\"\nquery = { q = \"x y&z\", brackets = \"[1-3]{a,b}\" }\nheaders = { X-One = \"it's\" }",
        "request = \"POST /a\"\nform = { user = \"me & you\", note = \"ä = 'b'\" }",
        "request = \"PUT /a\"\njson = { a = 1, text = \"line one\\nline two\" }",
        "request = \"POST /a\"\nbody = \"line one\\nline 'two' \\\\ \\t end\"",
        "request = \"DELETE /a\"",
    ] {
        let target =
            Target::start(Act::Reply(response("500 Internal Server Error", &["Connection: close"], "no"))).await;
        let text = format!("base_url = \"TARGET\"\nuser_agent = \"me/1\"\n[[steps]]\nid = \"s\"\n{step}\n");
        let finished = run_journey(&text, &target).await;
        let curl = finished.stdout.lines().find_map(|l| l.trim().strip_prefix("curl ")).expect("a curl line").trim();
        let mut command = tokio::process::Command::new("bash");
        let ran = command.args(["-c", &format!("timeout 20 {curl}")]).output().await.unwrap();
        assert!(ran.status.success(), "{curl}: {ran:?}");
        let requests = target.requests();
        let essence = |request: &str| {
            let (head, body) = request.split_once("\r\n\r\n").unwrap();
            let mut lines = head.lines();
            let first = lines.next().unwrap().to_owned();
            let kept = ["content-type", "user-agent", "x-one"];
            let mut headers: Vec<String> =
                lines.map(str::to_ascii_lowercase).filter(|l| kept.iter().any(|k| l.starts_with(k))).collect();
            headers.sort();
            // curl encodes a space of a form as %20 or +, as it likes; both mean the same.
            (first, headers, body.replace("%20", "+"))
        };
        assert_eq!(essence(&requests[1]), essence(&requests[0]), "{curl}");
    }
}

/// A response must not be able to hold a worker: neither by cookies nor by the size of its address.
#[tokio::test]
async fn a_target_that_floods_cookies_and_addresses_ends_in_time() {
    let cookies: Vec<String> = (0..150).map(|n| format!("Set-Cookie: a={n}{}", "r".repeat(1900))).collect();
    let location = format!("Location: /{}", "l".repeat(40_000));
    let mut headers: Vec<&str> = cookies.iter().map(String::as_str).collect();
    headers.push(&location);
    let target = Target::start(Act::Reply(response("302 Found", &headers, ""))).await;
    let text = "base_url = \"TARGET\"\n[[steps]]\nid = \"s\"\nrequest = \"GET /\"\n";
    let finished = run_journey(text, &target).await;
    assert!(
        finished.stdout.contains("redirect (redirect_l"),
        "{}",
        &finished.stdout[..2000.min(finished.stdout.len())]
    );
    assert!(finished.stdout.len() < 60_000, "{} bytes of output", finished.stdout.len());
}
