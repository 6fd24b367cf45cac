//! Targets that break on the wire: each must end in time, with its own kind, in bounded memory.

use std::path::Path;
use std::time::Duration;

use crate::support::process::{Finished, run};
use crate::support::target::{Act, Target, response};
use crate::support::{PATIENCE, folder};

/// Runs a one-step journey against `url` and gives `reason (kind)` and the whole output.
async fn verdict(url: &str, extra: &str) -> (String, String) {
    let journey =
        format!("base_url = \"{url}\"\n[[steps]]\nid = \"s\"\nrequest = \"GET /\"\ntimeout = \"1s\"\n{extra}\n");
    let dir = folder(&[("config/journeyd.toml", "journeys = []\n[limits]\nbody = \"256KiB\"\n"), ("j.toml", &journey)]);
    let finished = run_in_little_memory(dir.path(), &["run", "j.toml"]).await;
    let line =
        finished.stdout.lines().find_map(|l| l.trim().strip_prefix("reason")).unwrap_or("passed").trim().to_owned();
    let reason = line.split(',').next().unwrap_or("").to_owned();
    (reason, format!("{}{}", finished.stdout, finished.stderr))
}

/// With less address space than a target could fill in a second: what is not bounded ends the process.
async fn run_in_little_memory(dir: &Path, args: &[&str]) -> Finished {
    let mut command = tokio::process::Command::new("/bin/sh");
    command
        .args(["-c", "ulimit -v 900000; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_journeyd")])
        .args(args)
        .current_dir(dir)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("MALLOC_ARENA_MAX", "2")
        .kill_on_drop(true)
        .stdin(std::process::Stdio::null());
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("journeyd ended").unwrap();
    Finished::from(output)
}

fn bytes(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

fn gzip(data: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn encoded(body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn cookies(n: usize) -> String {
    (0..n).map(|i| format!("Set-Cookie: c{i}={}\r\n", "v".repeat(3900))).collect()
}

#[tokio::test]
async fn every_way_of_breaking_has_its_own_kind() {
    let many_headers: String = (0..500).map(|n| format!("X-{n}: v\r\n")).collect();
    let redirect = |to: &str| response("302 Found", &[&format!("Location: {to}")], "");
    let chunk = [b"10000\r\n".to_vec(), vec![b'x'; 0x10000], b"\r\n".to_vec()].concat();
    let cases: Vec<(&str, Act, &str)> = vec![
        ("closes without an answer", Act::Close, "connect_reset (http_closed)"),
        ("resets", Act::Reset, "connect_reset (http_reset)"),
        ("never answers", Act::ReplyAndHang(vec![]), "read_timeout (http_ttfb_timeout)"),
        (
            "stops within the head",
            Act::ReplyAndHang(bytes("HTTP/1.1 200 OK\r\nX: ")),
            "read_timeout (http_ttfb_timeout)",
        ),
        (
            "endless early hints",
            Act::Drip(vec![], bytes("HTTP/1.1 103 Early Hints\r\n\r\n"), Duration::from_millis(5)),
            "read_timeout (http_ttfb_timeout)",
        ),
        (
            "drips its body",
            Act::Drip(
                bytes("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"),
                bytes("x"),
                Duration::from_millis(50),
            ),
            "body_timeout",
        ),
        (
            "stops within the body",
            Act::ReplyAndHang(bytes("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")),
            "body_timeout",
        ),
        (
            "endless body",
            Act::Drip(bytes("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), chunk, Duration::ZERO),
            "too_large (body_too_large)",
        ),
        (
            "cuts its body short",
            Act::ReplyAndClose(bytes("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")),
            "protocol (body_short)",
        ),
        (
            "bad chunk size",
            Act::Reply(bytes("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")),
            "protocol (http_parse)",
        ),
        ("gzip bomb", Act::Reply(encoded(&gzip(&vec![0; 8 << 20]))), "too_large (body_too_large)"),
        (
            "drips its head",
            Act::Drip(bytes("HTTP/1.1 200 OK\r\n"), bytes("X-A: b\r\n"), Duration::from_millis(30)),
            "read_timeout (http_ttfb_timeout)",
        ),
        (
            "a header of 10 MB",
            Act::ReplyAndClose([bytes("HTTP/1.1 200 OK\r\nX: "), vec![b'x'; 10 << 20], bytes("\r\n\r\n")].concat()),
            "too_large (http_head_too_large)",
        ),
        (
            "200 cookies of 4 KB",
            Act::Reply(bytes(&format!("HTTP/1.1 200 OK\r\n{}Content-Length: 0\r\n\r\n", cookies(200)))),
            "too_large (http_head_too_large)",
        ),
        ("redirect to javascript", Act::Reply(redirect("javascript:alert(1)")), "redirect (redirect_scheme)"),
        ("redirect to data", Act::Reply(redirect("data:text/html,x")), "redirect (redirect_scheme)"),
        ("bad gzip", Act::Reply(encoded(b"not gzip at all")), "protocol (body_encoding)"),
        (
            "500 headers",
            Act::Reply(bytes(&format!("HTTP/1.1 200 OK\r\n{many_headers}Content-Length: 0\r\n\r\n"))),
            "too_large (http_head_too_large)",
        ),
        ("ssh banner", Act::ReplyAndClose(bytes("SSH-2.0-OpenSSH_9.2\r\n")), "protocol (http_parse)"),
        (
            "two lengths",
            Act::Reply(bytes("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab")),
            "protocol (http_parse)",
        ),
        ("status 999999", Act::Reply(bytes("HTTP/1.1 999999 X\r\nContent-Length: 0\r\n\r\n")), "protocol (http_parse)"),
        (
            "redirect circle",
            Act::Routes(vec![("/a", redirect("/")), ("/", redirect("/a"))]),
            "redirect (redirect_loop)",
        ),
        ("redirect to a file", Act::Reply(redirect("file:///etc/passwd")), "redirect (redirect_scheme)"),
        ("redirect to nowhere", Act::Reply(redirect("http://[::1")), "redirect (redirect_bad_location)"),
        ("rate limit", Act::Reply(response("429 Too Many Requests", &["Retry-After: 30"], "")), "rate_limited"),
        ("not found", Act::Reply(response("404 Not Found", &[], "")), "http_4xx"),
        ("bad gateway", Act::Reply(response("502 Bad Gateway", &[], "")), "http_5xx"),
        ("not modified", Act::Reply(response("304 Not Modified", &[], "")), "assertion_status"),
    ];
    for (name, act, want) in cases {
        let target = Target::start(act).await;
        let (reason, output) = verdict(&target.url, "").await;
        // body_timeout has no finer kind.
        assert_eq!(reason, want, "{name}:\n{output}");
    }
}

#[tokio::test]
async fn what_is_only_odd_passes() {
    let ok = "HTTP/1.1 200 OK\r\n";
    for (name, reply) in [
        ("early hints", format!("HTTP/1.1 103 Early Hints\r\n\r\n{ok}Content-Length: 0\r\n\r\n")),
        ("latin-1 header", format!("{ok}X-Name: caf\u{e9}\r\nContent-Length: 0\r\n\r\n")),
        ("line feeds alone", "HTTP/1.1 200 OK\nContent-Length: 2\n\nhi".to_owned()),
        ("chunked", format!("{ok}Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n")),
        ("no content", "HTTP/1.1 204 No Content\r\n\r\n".to_owned()),
    ] {
        let target = Target::start(Act::Reply(reply.into_bytes())).await;
        let (reason, output) = verdict(&target.url, "").await;
        assert_eq!(reason, "passed", "{name}:\n{output}");
    }
}

#[tokio::test]
async fn connections_that_cannot_be_made_say_why() {
    let refused = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    assert_eq!(verdict(&refused, "").await.0, "connect_refused (tcp_refused)");
    // RFC 6761 §6.4: this name never exists, and resolvers know it.
    assert_eq!(verdict("http://shop.invalid", "").await.0, "dns (dns_nxdomain)");
    // A listener with a full backlog lets SYNs fall on the floor, as a firewall does.
    let (url, _hold) = black_hole();
    assert_eq!(verdict(&url, "").await.0, "connect_timeout (tcp_timeout)");
}

fn black_hole() -> (String, (std::net::TcpListener, Vec<std::net::TcpStream>)) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut held = Vec::new();
    // Nobody accepts: the queue fills (128 and some), then SYNs are dropped.
    for _ in 0..10_000 {
        match std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
            Ok(stream) => held.push(stream),
            Err(_) => break,
        }
    }
    (format!("http://{address}"), (listener, held))
}

#[tokio::test]
async fn a_page_that_would_stall_a_parser_is_given_up() {
    let page = "<div>".repeat(50_000);
    let target = Target::start(Act::Reply(response("200 OK", &["Content-Type: text/html"], &page))).await;
    let (reason, output) = verdict(
        &target.url,
        "timeout = \"30s\"\nexpect.css.h1 = { exists = true }".replace("timeout = \"30s\"\n", "").as_str(),
    )
    .await;
    assert_eq!(reason, "too_large (html_too_complex)", "{output}");
}

#[tokio::test]
async fn the_runs_time_limit_is_told_from_the_steps() {
    let target = Target::start(Act::ReplyAndHang(vec![])).await;
    let journey =
        format!("timeout = \"300ms\"\nbase_url = \"{}\"\n[[steps]]\nid = \"s\"\nrequest = \"GET /\"\n", target.url);
    let dir = folder(&[("j.toml", &journey)]);
    let finished = run(dir.path(), &["run", "j.toml"], &[]).await;
    assert!(finished.stdout.contains("reason    run_timeout, response"), "{}", finished.stdout);
    assert!(finished.stdout.contains("the time for all steps together (300 ms) was over"));
}

#[tokio::test]
async fn a_kept_connection_that_the_server_closes_does_not_fail_the_step() {
    // One reply per connection, then it closes without saying so: the next request meets a dead connection.
    let target = Target::start(Act::ReplyAndClose(response("200 OK", &["Connection: keep-alive"], "ok"))).await;
    let journey = format!(
        "base_url = \"{}\"\n[[steps]]\nid = \"a\"\nrequest = \"GET /a\"\n[[steps]]\nid = \"b\"\nrequest = \"GET /b\"\n[[steps]]\nid = \"c\"\nrequest = \"GET /c\"\n",
        target.url
    );
    let dir = folder(&[("j.toml", &journey)]);
    let finished = run(dir.path(), &["run", "j.toml"], &[]).await;
    assert_eq!(finished.code, 0, "{}", finished.stdout);
}

#[tokio::test]
async fn bodies_that_are_made_to_hurt_are_told_and_cost_nothing() {
    let html = |body: &str| response("200 OK", &["Content-Type: text/html"], body);
    let json = |body: &str| response("200 OK", &["Content-Type: application/json"], body);
    let css = "expect.css.h1 = { exists = true }";
    let path = "expect.json.\"$.a\" = 1";
    let invalid =
        [&b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 17\r\n\r\n<h1>\xff\xfe\xc3(\xf0\x9f</h1>  "
            [..]]
        .concat();
    for (name, reply, extra, want) in [
        ("deep JSON", json(&"[".repeat(150_000)), path, "assertion_json (json_invalid)"),
        ("a million deep", json(&"[".repeat(250_000)), path, "too_large (json_too_large)"),
        ("wide JSON", json(&format!("[{}1]", "1,".repeat(125_000))), path, "assertion_json"),
        ("invalid UTF-8", invalid.clone(), "expect.css.h1 = \"no\"", "assertion_css"),
        ("invalid UTF-8 that is not looked at", invalid, "", "passed"),
        ("deep HTML", html(&"<div>".repeat(50_000)), css, "too_large (html_too_complex)"),
        ("bold without end", html(&"<b>".repeat(80_000)), css, "assertion_css"),
        ("many attributes", html(&format!("<p {}>", "a=1 ".repeat(60_000))), css, "assertion_css"),
        ("an unclosed comment", html(&format!("<!--{}", "-".repeat(200_000))), css, "assertion_css"),
        ("unclosed titles", html(&"<title>".repeat(30_000)), css, "assertion_css"),
    ] {
        let target = Target::start(Act::Reply(reply)).await;
        let (reason, output) = verdict(&target.url, extra).await;
        assert_eq!(reason, want, "{name}: {output}");
    }
    // 60 cookies fit into the head and not into the jar; the site works all the same.
    let head = format!("HTTP/1.1 200 OK\r\n{}Content-Length: 0\r\n\r\n", cookies(60));
    let target = Target::start(Act::Reply(bytes(&head))).await;
    let (reason, output) = verdict(&target.url, "").await;
    assert_eq!(reason, "passed", "{output}");
    assert!(output.contains("more than 50 cookies for one site"), "{output}");
}

/// A name with an IPv6 address that swallows packets and an IPv4 address that answers.
#[tokio::test]
async fn a_dead_ipv6_address_does_not_fail_a_site_that_answers_over_ipv4() {
    let target = Target::start(Act::Reply(response("200 OK", &[], "ok"))).await;
    let port: u16 = target.url.rsplit(':').next().unwrap().parse().unwrap();
    let hole = std::net::TcpListener::bind(("::1", port)).unwrap();
    let address = hole.local_addr().unwrap();
    let mut held = Vec::new();
    while let Ok(stream) = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        held.push(stream);
        assert!(held.len() < 10_000);
    }
    let journey = |more: &str| {
        format!(
            "base_url = \"http://both.invalid:{port}\"\nresolve = {{ \"both.invalid\" = [\"::1\", \"127.0.0.1\"] }}\n{more}[[steps]]\nid = \"s\"\nrequest = \"GET /\"\ntimeout = \"8s\"\n"
        )
    };
    let dir = folder(&[("j.toml", &journey("")), ("six.toml", &journey("ip_family = \"ipv6\"\n"))]);
    let finished = run(dir.path(), &["run", "j.toml"], &[]).await;
    assert_eq!(finished.code, 0, "{finished:?}");
    let finished = run(dir.path(), &["run", "six.toml"], &[]).await;
    assert!(finished.stdout.contains("connect_timeout (tcp_timeout)"), "{finished:?}");
}

/// HTTP/2 in frames: settings, then what `frames` says for each connection.
async fn h2_target(frames: fn(usize) -> Vec<u8>) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut connections = 0;
        while let Ok((mut stream, _)) = listener.accept().await {
            let reply = frames(connections);
            connections += 1;
            tokio::spawn(async move {
                let mut buffer = vec![0; 16 << 10];
                let _ = stream.write_all(&frame(4, 0, 0, &[])).await;
                let mut seen = Vec::new();
                // Until the request's HEADERS frame on stream 1 is here.
                while !seen.windows(5).any(|w| w[0] == 1 && w[2..5] == [0, 0, 0] || w[..2] == [1, 5]) {
                    match stream.read(&mut buffer).await {
                        Ok(n) if n > 0 => seen.extend_from_slice(&buffer[..n]),
                        _ => return,
                    }
                }
                let _ = stream.write_all(&reply).await;
                let _ = stream.read(&mut buffer).await;
            });
        }
    });
    url
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

#[tokio::test]
async fn a_server_that_sends_goaway_is_told_apart_from_one_that_breaks() {
    // Frame 7 is GOAWAY: the last stream served, and an error code (11: enhance your calm). Frame 3 resets a stream.
    let refused = h2_target(|_| frame(7, 0, 0, &[0_u32.to_be_bytes(), 11_u32.to_be_bytes()].concat())).await;
    let (reason, output) = verdict_of(&refused, "http_version = \"2\"\n").await;
    assert_eq!(reason, "protocol (h2_goaway)", "{output}");
    // Answered, and then told to go: fine.
    let polite = h2_target(|_| {
        // HPACK: `:status: 200` is entry 8 of the static table.
        let headers = frame(1, 0x5, 1, &[0x88]);
        [headers, frame(7, 0, 0, &[1_u32.to_be_bytes(), 0_u32.to_be_bytes()].concat())].concat()
    })
    .await;
    let (reason, output) = verdict_of(&polite, "http_version = \"2\"\n").await;
    assert_eq!(reason, "passed", "{output}");
    let reset = h2_target(|_| frame(3, 0, 1, &2_u32.to_be_bytes())).await;
    let (reason, output) = verdict_of(&reset, "http_version = \"2\"\n").await;
    assert_eq!(reason, "protocol (h2_reset)", "{output}");
}

/// The same as [`verdict`] with journey-level settings.
async fn verdict_of(url: &str, settings: &str) -> (String, String) {
    let journey =
        format!("{settings}base_url = \"{url}\"\n[[steps]]\nid = \"s\"\nrequest = \"GET /\"\ntimeout = \"3s\"\n");
    let dir = folder(&[("j.toml", &journey)]);
    let finished = run_in_little_memory(dir.path(), &["run", "j.toml"]).await;
    let line = finished.stdout.lines().find_map(|l| l.trim().strip_prefix("reason")).unwrap_or("passed").trim();
    (line.split(',').next().unwrap_or("").to_owned(), format!("{}{}", finished.stdout, finished.stderr))
}
