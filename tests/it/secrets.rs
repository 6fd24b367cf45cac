//! Planted secrets must not come out anywhere: terminal, logs, metrics, curl lines, diagnostics.

use base64::Engine as _;

use crate::support::process::{Running, run};
use crate::support::target::{Act, Target, response};
use crate::support::{folder, get};

const FROM_ENV: &str = "pl@nted env/secret+1";
const FROM_FILE: &str = "planted-file-secret-2";
const CAPTURED: &str = "planted-captured-token-3";
const SESSION: &str = "planted-session-cookie-4";

const CONFIG: &str =
    "journeys = [\"j.toml\"]\n[secrets]\nfrom_env = { env = \"PLANTED\" }\nfrom_file = { file = \"secret.txt\" }\n";

/// The target echoes what it is sent, in every spelling, and then fails.
fn echo() -> String {
    let encoded: String = url::form_urlencoded::byte_serialize(FROM_ENV.as_bytes()).collect();
    let base64 = base64::engine::general_purpose::STANDARD.encode(FROM_ENV);
    format!("<p>{FROM_ENV} {encoded} {base64} {FROM_FILE} {CAPTURED} {SESSION}</p>")
}

async fn target() -> Target {
    let cookie = format!("Set-Cookie: sid={SESSION}; HttpOnly; Path=/");
    let leak = echo();
    let location = format!("Location: /fail?token={CAPTURED}&s={FROM_FILE}");
    Target::start(Act::Routes(vec![
        (
            "/start",
            response(
                "200 OK",
                &[&cookie, "Content-Type: text/html"],
                &format!("<input name=csrf_token value='{CAPTURED}'>"),
            ),
        ),
        ("/hop", response("302 Found", &[&location], "")),
        ("/fail", response("500 Internal Server Error", &[&format!("X-Request-Id: {FROM_FILE}")], &leak)),
        ("/soft", response("200 OK", &["Content-Type: text/html"], &leak)),
    ]))
    .await
}

fn journey(url: &str, last: &str) -> String {
    format!(
        r#"
base_url = "{url}"
headers = {{ X-Api-Key = "{{{{ secret.from_file }}}}" }}
schedule = {{ every = "1s" }}
vars = {{ login = "user:{{{{ secret.from_env }}}}", hashed = "{{{{ secret.from_env | sha256 }}}}" }}
[[steps]]
id = "start"
request = "GET /start"
capture.csrf_token = {{ css = "input", attr = "value" }}
[[steps]]
id = "last"
{last}
"#
    )
}

fn forbidden() -> Vec<String> {
    let hashed = {
        use sha2::Digest as _;
        sha2::Sha256::digest(FROM_ENV).iter().map(|b| format!("{b:02x}")).collect::<String>()
    };
    vec![
        FROM_ENV.to_owned(),
        url::form_urlencoded::byte_serialize(FROM_ENV.as_bytes()).collect(),
        "pl@nted%20env".to_owned(),
        base64::engine::general_purpose::STANDARD.encode(FROM_ENV),
        "nted env".to_owned(),
        FROM_FILE.to_owned(),
        CAPTURED.to_owned(),
        SESSION.to_owned(),
        hashed,
    ]
}

fn assert_clean(what: &str, text: &str) {
    for secret in forbidden() {
        assert!(!text.contains(&secret), "{what} shows {secret}:\n{text}");
    }
}

const LEAKY: [&str; 5] = [
    "request = \"POST /fail\"\nform = { user = \"{{ login }}\", token = \"{{ csrf_token }}\", h = \"{{ hashed }}\" }",
    "request = \"POST /fail\"\njson = { password = \"{{ secret.from_env }}\", b64 = \"{{ secret.from_env | b64encode }}\" }",
    "request = \"GET /hop\"\nquery = { q = \"{{ secret.from_env }}\", t = \"{{ csrf_token }}\" }\nheaders = { Authorization = \"Bearer {{ secret.from_file }}\" }",
    "request = \"GET /soft\"\nexpect.css.p = \"{{ secret.from_env }}-{{ csrf_token }}\"",
    "request = \"POST /soft\"\nbody = \"{{ login }}\"\nexpect.body = { contains = \"{{ hashed }} nowhere\" }",
];

#[tokio::test]
async fn no_secret_reaches_the_terminal_of_run() {
    let target = target().await;
    for last in LEAKY {
        let dir = folder(&[
            ("config/journeyd.toml", &CONFIG.replace("j.toml", "../j.toml")),
            ("config/secret.txt", FROM_FILE),
            ("j.toml", &journey(&target.url, last)),
        ]);
        let finished = run(dir.path(), &["run", "j", "--log-level", "debug"], &[("PLANTED", FROM_ENV)]).await;
        assert_eq!(finished.code, 1, "{last}: {finished:?}");
        assert_clean("stdout", &finished.stdout);
        assert_clean("stderr", &finished.stderr);
        assert!(
            finished.stdout.contains("$PLANTED")
                || finished.stdout.contains("$FROM_FILE")
                || finished.stdout.contains("$CSRF_TOKEN"),
            "{}",
            finished.stdout
        );
    }
    // The wire is where they belong.
    let wire = target.requests().join("\n");
    assert!(wire.contains(FROM_FILE) && wire.contains(CAPTURED) && wire.contains(SESSION), "{wire}");
}

#[tokio::test]
async fn no_secret_reaches_logs_or_metrics_of_the_daemon() {
    let target = target().await;
    for format in ["text", "json"] {
        let dir = folder(&[
            ("journeyd.toml", CONFIG),
            ("secret.txt", &format!("{FROM_FILE}\n")),
            ("j.toml", &journey(&target.url, LEAKY[0])),
        ]);
        let mut command = crate::support::process::journeyd(&[
            "serve",
            "--config",
            "journeyd.toml",
            "--listen",
            "127.0.0.1:0",
            "--log-level",
            "debug",
            "--log-format",
            format,
        ]);
        command.current_dir(dir.path()).env("PLANTED", FROM_ENV);
        let mut daemon = Running::start(command, "Metrics at ").await;
        let metrics = daemon.until_metrics("a failed run", |m| m.contains("journeyd_step_failures_total{")).await;
        assert_clean("/metrics", &metrics);
        assert_clean("the landing page", &get(&daemon.url).await.1);
        daemon.signal("TERM");
        assert_eq!(daemon.ended().await, 0);
        let log = daemon.output();
        assert!(log.contains("http_5xx") && log.contains("$FROM_FILE"), "{log}");
        assert_clean("the log", &log);
        if format == "json" {
            for line in log.lines() {
                assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{line}");
            }
        }
    }
}

/// Also what nobody called a secret, by the name of its field.
#[tokio::test]
async fn a_password_written_into_the_journey_is_masked_by_its_field() {
    let target = Target::start(Act::Reply(response("401 Unauthorized", &[], "no: planted-file-secret-2"))).await;
    for line in [
        "form = { user = \"me\", password = \"planted-file-secret-2\" }",
        "json = { login = { api_key = \"planted-file-secret-2\" } }",
        "query = { access_token = \"planted-file-secret-2\" }",
        "headers = { Authorization = \"Bearer planted-file-secret-2\" }",
    ] {
        let text = format!("base_url = \"{}\"\n[[steps]]\nid = \"s\"\nrequest = \"POST /\"\n{line}\n", target.url);
        let dir = folder(&[("j.toml", &text)]);
        let finished = run(dir.path(), &["run", "j.toml"], &[]).await;
        assert_eq!(finished.code, 1);
        assert_clean(line, &finished.stdout);
        assert!(finished.stdout.contains("curl -sS"), "{}", finished.stdout);
    }
}

#[tokio::test]
async fn a_secret_in_a_broken_configuration_is_not_quoted() {
    for config in [
        "journeys = []\n[secrets]\nx = \"planted-file-secret-2\"\n",
        "journeys = []\n[secrets]\nx = { env = \"A\", default = \"planted-file-secret-2\", nonsense = 1 }\n",
        "journeys = []\n[secrets]\nx = { env = \"A\", default = \"planted-file-secret-2 }\n",
        "journeys = []\n[secrets]\nx = planted-file-secret-2\n",
        "journeys = []\n[secrets]\nx = { value = \"planted-file-secret-2\" }\n",
        "journeys = []\n[secrets]\nx = { env = \"A\", defualt = \"planted-file-secret-2\" }\n",
        "journeys = []\nsecrets.x = planted-file-secret-2\n",
        "journeys = []\nsecrets = { x = planted-file-secret-2 }\n",
        "journeys = []\n[secrets.x]\nvalue = \"planted-file-secret-2\"\n",
        "journeys = []\nsecrets = \"planted-file-secret-2\"\n",
        "journeys = []\nsecrets = [\"planted-file-secret-2\"]\n",
        "[\"secrets\"]\npw = { env = \"A\", default = \"planted-file-secret-2\"\n",
        "secrets = {\n  pw = { default = \"planted-file-secret-2\", evn = \"A\" }\n}\njourneys = [\n",
        "journeys = []\n[secrets]\nx = \"\"\"\nplanted-file-secret-2\"\"\"\nb = = 1\n",
    ] {
        let dir = folder(&[("journeyd.toml", config)]);
        let finished = run(dir.path(), &["check", "--config", "journeyd.toml"], &[]).await;
        assert_eq!(finished.code, 2);
        assert_clean("the diagnostic", &finished.stderr);
    }
}

const SECRET: &str = "hunter22-very-secret";

/// Runs one step against a target that answers everything with `reply`; gives output and requests.
async fn leak_test(journey: &str, reply: Vec<u8>) -> (String, Vec<String>) {
    let target = Target::start(Act::Reply(reply)).await;
    let config = "journeys = []\n[secrets]\npw = { env = \"PW\" }\n";
    let text = journey.replace("TARGET", &target.url);
    let dir = folder(&[("config/journeyd.toml", config), ("j.toml", &text)]);
    let finished = run(dir.path(), &["run", "j.toml", "--log-level", "debug"], &[("PW", SECRET)]).await;
    assert_eq!(finished.code, 1, "{finished:?}");
    (format!("{}{}", finished.stdout, finished.stderr), target.requests())
}

/// Shapes in which a secret once came out.
#[tokio::test]
async fn secrets_stay_in_when_computed_cut_or_carried_by_shared_headers() {
    let step = "[[steps]]\nid = \"s\"\nrequest = \"GET /\"\n";
    let error = |body: &str| response("500 Internal Server Error", &["Retry-After: hunter22-very-secret"], body);
    let padded = |n: usize| format!("{}{SECRET}{SECRET}", "x".repeat(n));
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("user:{SECRET}"));
    let hash = {
        use sha2::Digest as _;
        sha2::Sha256::digest(SECRET).iter().map(|b| format!("{b:02x}")).collect::<String>()
    };
    let mut cases: Vec<(String, Vec<u8>)> = vec![
        (
            format!(
                "headers = {{ Authorization = \"Basic {{{{ ('user:' ~ secret.pw) | b64encode }}}}\" }}\nbase_url = \"TARGET\"\n{step}"
            ),
            error(""),
        ),
        (format!("user_agent = \"ua-{{{{ secret.pw | sha256 }}}}\"\nbase_url = \"TARGET\"\n{step}"), error("")),
        (
            format!("base_url = \"TARGET\"\n{step}expect.body = {{ contains = \"{{{{ secret.pw | sha256 }}}}\" }}\n"),
            response("200 OK", &[], "no"),
        ),
        (
            format!("base_url = \"TARGET\"\n{step}expect.json.\"$.access_token\" = {{ starts_with = \"ey\" }}\n"),
            response("200 OK", &[], &format!("{{\"access_token\": \"{SECRET}\"}}")),
        ),
    ];
    let token = format!("{{\"auth\": {{\"access_token\": \"{SECRET}\", \"pin_secret\": \"{SECRET}\"}}, \"u\": 1}}");
    for (line, reply) in [
        // Captured by a step that fails on its status.
        ("capture.x = { json = \"$.auth.access_token\", secret = true }", error(&token)),
        // Never captured at all, but named so by the target.
        ("expect.json.\"$.auth\" = { contains = \"zzz\" }", response("200 OK", &[], &token)),
        ("expect.body = { contains = \"zzz\" }", response("200 OK", &[], &token)),
        ("json = { client_secret = \"hunter22-very-secret\", n = 1 }", error("")),
        ("body = \"grant_type=password&client_secret=hunter22-very-secret&x=1\"", error("")),
        ("redirects = 0", response("302 Found", &["Location: http://u:hunter22-very-secret@[bad/"], "")),
        ("expect.url = \"http://x/\"", response("200 OK", &[], "")),
    ] {
        // A body goes with POST.
        let step = if line.contains("client_secret") { step.replace("GET", "POST") } else { step.to_owned() };
        cases.push((format!("base_url = \"TARGET\"\n{step}{line}\n"), reply));
    }
    // Wherever a text is cut, no half of a secret is left.
    for n in [120, 140, 145, 150, 155, 158, 4080, 4090] {
        cases.push((format!("base_url = \"TARGET\"\n{step}"), error(&padded(n))));
        cases
            .push((format!("base_url = \"TARGET\"\n{step}expect.body = \"y\"\n"), response("200 OK", &[], &padded(n))));
    }
    for (journey, reply) in cases {
        // `redirects = 0` lets a redirect pass; everything else fails, and must say so.
        let journey =
            if journey.contains("redirects = 0") { format!("{journey}expect.status = 200\n") } else { journey };
        let (output, _) = leak_test(&journey, reply).await;
        for leak in [&SECRET[..6], basic.as_str(), hash.as_str()] {
            assert!(!output.contains(leak), "{leak} in\n{journey}\n{output}");
        }
    }
}

#[tokio::test]
async fn addresses_with_credentials_are_masked() {
    let target =
        Target::start(Act::Reply(response("302 Found", &[&format!("Location: /next?access_token={SECRET}")], "")))
            .await;
    let base = target.url.replace("http://", &format!("http://user:{SECRET}@"));
    let text = "base_url = \"{{ env.SHOP }}\"\n[[steps]]\nid = \"s\"\nrequest = \"GET /\"\nredirects = 2\n";
    let dir = folder(&[("j.toml", text)]);
    let finished = run(dir.path(), &["run", "j.toml"], &[("SHOP", &base)]).await;
    assert_eq!(finished.code, 1, "{finished:?}");
    assert!(!finished.stdout.contains(&SECRET[..6]), "{}", finished.stdout);
}
