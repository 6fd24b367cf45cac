//! Who may read and write: TLS, users, tokens, on every path there is.

use std::path::Path;

use rcgen::{CertificateParams, KeyPair};

use crate::support::process::{Running, journeyd, run};
use crate::support::target::{Act, Target, response};
use crate::support::{PATIENCE, eventually, folder};

const READ_TOKEN: &str = "a-token-that-only-reads";
const WRITE_TOKEN: &str = "a-token-that-may-write";

/// Cost 10, as the configuration wants it.
fn hash(password: &str) -> String {
    bcrypt::hash(password, 10).unwrap()
}

/// A certificate for a name that nobody resolves, and its key.
fn certificate() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["journeyd.example".to_owned()]).unwrap().self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// A client that trusts this certificate alone; the name leads to loopback.
fn trusting(pem: &str, port: u16) -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .timeout(PATIENCE)
        .tls_certs_only([reqwest::Certificate::from_pem(pem.as_bytes()).unwrap()])
        .resolve("journeyd.example", std::net::SocketAddr::from(([127, 0, 0, 1], port)))
        .build()
        .unwrap()
}

async fn status(request: reqwest::RequestBuilder) -> u16 {
    request.send().await.map_or(0, |answer| answer.status().as_u16())
}

/// From the line that says where the metrics are.
fn port_of(output: &str) -> Option<u16> {
    let (_, rest) = output.split_once("Metrics at http")?;
    let (address, _) = rest.split_once("/metrics")?;
    address.rsplit(':').next()?.parse().ok()
}

struct Daemon {
    dir: tempfile::TempDir,
    running: Running,
    port: u16,
}

/// A daemon with TLS and `[server.auth]`.
async fn daemon(pem: &(String, String), password: &str) -> Daemon {
    let target = Target::start(Act::Reply(response("200 OK", &[], "ok"))).await;
    let journey = format!("base_url = \"{}\"\n[[steps]]\nid = \"s\"\nrequest = \"GET /\"\n", target.url);
    let config = config(password);
    let files = [("journeyd.toml", config.as_str()), ("a.toml", &journey), ("tls.crt", &pem.0), ("tls.key", &pem.1)];
    let dir = folder(&files);
    let mut command = journeyd(&["serve", "--config", "journeyd.toml", "--listen", "127.0.0.1:0"]);
    command.current_dir(dir.path()).env("READS", READ_TOKEN).env("WRITES", WRITE_TOKEN);
    let running = Running::spawn(command);
    let port = eventually("the address", || async { port_of(&running.output()) }).await;
    Daemon { dir, running, port }
}

fn config(password: &str) -> String {
    format!(
        "journeys = [\"a.toml\"]\n[server]\ntls = {{ cert_file = \"tls.crt\", key_file = \"tls.key\" }}\n[server.auth]\n\
         users = {{ ops = \"{}\" }}\nexcluded_paths = [\"/metrics\"]\n\
         tokens = [{{ secret = \"reads\" }}, {{ secret = \"writes\", scope = \"write\" }}]\n\
         [secrets]\nreads = {{ env = \"READS\" }}\nwrites = {{ env = \"WRITES\" }}\n",
        hash(password)
    )
}

#[tokio::test]
async fn nothing_but_what_is_excluded_answers_strangers_and_only_writers_write() {
    let pem = certificate();
    let daemon = daemon(&pem, "right").await;
    let client = trusting(&pem.0, daemon.port);
    let url = |path: &str| format!("https://journeyd.example:{}{path}", daemon.port);

    // Every path of the API's own document, and all others.
    let document = client.get(url("/api/v1/openapi.json")).bearer_auth(READ_TOKEN).send().await.unwrap();
    let document: serde_json::Value = serde_json::from_str(&document.text().await.unwrap()).unwrap();
    let known: Vec<String> = document["paths"].as_object().unwrap().keys().map(|p| p.replace("{id}", "1")).collect();
    assert!(known.len() > 10, "{known:?}");
    for path in
        known.iter().map(String::as_str).chain(["/", "/nothing-here", "/-/healthy", "/-/ready", "/probe", "//metrics"])
    {
        if path == "/metrics" {
            continue;
        }
        assert_eq!(status(client.get(url(path))).await, 401, "{path}");
        assert_eq!(status(client.post(url(path))).await, 401, "{path}");
    }
    assert_eq!(status(client.get(url("/metrics"))).await, 200);

    let state = url("/api/v1/status");
    assert_eq!(status(client.get(&state).basic_auth("ops", Some("right"))).await, 200);
    assert_eq!(status(client.get(&state).basic_auth("ops", Some("wrong"))).await, 401);
    assert_eq!(status(client.get(&state).bearer_auth(READ_TOKEN)).await, 200);
    let refused = client.get(&state).send().await.unwrap();
    let schemes: Vec<_> = refused.headers().get_all("www-authenticate").iter().map(|v| v.to_str().unwrap()).collect();
    assert_eq!(schemes, ["Basic realm=\"journeyd\"", "Bearer"]);

    let reload = || client.post(url("/-/reload"));
    assert_eq!(status(reload().bearer_auth(READ_TOKEN)).await, 403, "a reader");
    assert_eq!(status(reload().basic_auth("ops", Some("right"))).await, 403, "a user");
    assert_eq!(status(reload().bearer_auth(WRITE_TOKEN)).await, 200);

    // Whoever speaks no TLS learns nothing.
    let plain = reqwest::get(format!("http://127.0.0.1:{}/metrics", daemon.port)).await;
    assert!(plain.is_err(), "{plain:?}");
    let said = daemon.running.output();
    assert!(!said.contains(READ_TOKEN) && !said.contains("$2b$"), "{said}");
}

/// The commands know their own daemon by the certificate that its configuration names.
#[tokio::test]
async fn commands_reach_their_daemon_over_tls_with_the_stores_token() {
    let daemon = daemon(&certificate(), "right").await;
    let ask = async |args: &[&str], env: &[(&str, &str)]| {
        let url = format!("https://127.0.0.1:{}", daemon.port);
        let env = [env, &[("READS", READ_TOKEN), ("WRITES", WRITE_TOKEN)]].concat();
        run(daemon.dir.path(), &[args, &["--config", "journeyd.toml", "--url", &url]].concat(), &env).await
    };
    let done = ask(&["status"], &[]).await;
    assert!(done.code == 0 && done.stdout.contains(": ready"), "{done:?}");
    let done = ask(&["silence", "add", "journey=a", "--comment", "x"], &[]).await;
    assert_eq!(done.code, 0, "{done:?}");
    let done = ask(&["silence", "add", "journey=a", "--comment", "x"], &[("JOURNEYD_TOKEN", READ_TOKEN)]).await;
    assert!(done.code == 2 && done.stderr.contains("may only read"), "{done:?}");
    let done = ask(&["status"], &[("JOURNEYD_TOKEN", "wrong-wrong-wrong")]).await;
    assert!(done.code == 3 && done.stderr.contains("takes a token"), "{done:?}");
    let done = ask(&["check", "--plan"], &[]).await;
    assert!(done.code == 0 && done.stdout.contains("1 unchanged"), "{done:?}");
}

/// The port of a daemon that is down may be anybody's: reads show the store's token only where the configuration says that
/// they take one, and only when asked.
#[tokio::test]
async fn a_read_shows_no_token_to_whom_it_does_not_concern() {
    let journey = "base_url = \"http://127.0.0.1:9\"\n[[steps]]\nid = \"s\"\nrequest = \"GET /\"\n";
    let auth = "[server.auth]\ntokens = [{ secret = \"t\" }]\n[secrets]\nt = { env = \"T\" }\n";
    let mine = ("JOURNEYD_TOKEN", "the-stores-own-token");
    let cases = [
        ("", None, vec![false]),
        (auth, None, vec![false, true]),
        // Who gives one himself means it.
        ("", Some(mine), vec![false, true]),
    ];
    for (auth, given, shown) in cases {
        let thief = Target::start(Act::Reply(response("401 Who", &[], "{}"))).await;
        let config = format!("journeys = [\"a.toml\"]\n{auth}");
        let files =
            [("journeyd.toml", config.as_str()), ("a.toml", journey), ("data/api-token", "the-stores-own-token")];
        let dir = folder(&files);
        let args = ["status", "--config", "journeyd.toml", "--url", &thief.url];
        let env: Vec<(&str, &str)> = given.into_iter().chain([("T", WRITE_TOKEN)]).collect();
        let done = run(dir.path(), &args, &env).await;
        assert_eq!(done.code, 3, "{done:?}");
        let seen: Vec<bool> = thief.requests().iter().map(|r| r.contains("the-stores-own-token")).collect();
        assert_eq!(seen, shown, "{auth}");
    }
}

/// Not that nobody answers somewhere else, but what is wrong here.
#[tokio::test]
async fn a_configuration_that_cannot_be_used_is_what_commands_complain_of() {
    let dir = folder(&[(
        "journeyd.toml",
        "journeys = [\"a.toml\"]\n[server]\ntls = { cert_file = \"a\", key_file = \"b\" }\n",
    )]);
    let done = run(dir.path(), &["status", "--config", "journeyd.toml"], &[]).await;
    assert!(
        done.code == 3 && done.stderr.contains("cannot read a: No such file") && done.stderr.contains("--url"),
        "{done:?}"
    );
}

#[tokio::test]
async fn a_reload_brings_a_new_certificate_and_other_users() {
    let (old, new) = (certificate(), certificate());
    let daemon = daemon(&old, "right").await;
    let write = |name: &str, text: &str| std::fs::write(daemon.dir.path().join(name), text).unwrap();
    let state = format!("https://journeyd.example:{}/api/v1/status", daemon.port);
    let get = async |pem: &str, password: &str| {
        status(trusting(pem, daemon.port).get(&state).basic_auth("ops", Some(password))).await
    };
    assert_eq!(get(&old.0, "right").await, 200);
    // A key that does not fit is refused whole.
    write("tls.key", &new.1);
    daemon.running.signal("HUP");
    eventually("the refusal", || async { daemon.running.output().contains("cannot be used together").then_some(()) })
        .await;
    assert_eq!(get(&old.0, "right").await, 200);
    write("tls.crt", &new.0);
    write("journeyd.toml", &config("other"));
    daemon.running.signal("HUP");
    eventually("the new certificate", || async { (get(&new.0, "other").await == 200).then_some(()) }).await;
    assert_eq!(get(&old.0, "other").await, 0, "the old certificate is gone");
    assert_eq!(get(&new.0, "right").await, 401, "the old password is gone");
}

#[tokio::test]
async fn a_daemon_that_is_open_beyond_this_machine_says_so_unless_somebody_asks() {
    let journey = "base_url = \"http://127.0.0.1:9\"\n[[steps]]\nid = \"s\"\nrequest = \"GET /\"\n";
    for (auth, warns) in
        [("", true), ("[server.auth]\ntokens = [{ secret = \"t\" }]\n[secrets]\nt = { env = \"T\" }\n", false)]
    {
        let config = format!("journeys = [\"a.toml\"]\n{auth}");
        let dir = folder(&[("journeyd.toml", &config), ("a.toml", journey)]);
        let mut command = journeyd(&["serve", "--config", "journeyd.toml", "--listen", "0.0.0.0:0"]);
        command.current_dir(dir.path()).env("T", WRITE_TOKEN);
        let running = Running::spawn(command);
        eventually("it is ready", || async { running.output().contains("ready. Metrics at").then_some(()) }).await;
        let path: &Path = dir.path();
        let port = port_of(&running.output()).unwrap();
        let done = run(
            path,
            &["status", "--config", "journeyd.toml", "--url", &format!("http://127.0.0.1:{port}")],
            &[("T", WRITE_TOKEN)],
        )
        .await;
        assert_eq!(done.code, 0, "{done:?}");
        assert_eq!(running.output().contains("nothing asks who is reading"), warns, "{}", running.output());
    }
}
