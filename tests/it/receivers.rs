//! Receivers as they are: a real Alertmanager from Debian, a real SMTP server, and what each chat service would say.

use std::process::Stdio;
use std::sync::atomic::Ordering;

use serde_json::Value as Json;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::support::monitoring::{free_port, have};
use crate::support::process::{Running, run};
use crate::support::target::{Target, response};
use crate::support::{eventually, folder, get, python, root};

fn journey(target: &str) -> String {
    format!(
        "title = \"Buy\"\nlabels = {{ service = \"shop\" }}\nbase_url = \"{target}\"\nschedule = {{ every = \"1s\" }}\n\
         [[steps]]\nid = \"home\"\nrequest = \"GET /\"\n"
    )
}

const AT_ONCE: &str = "[[routes]]\nto = [\"ops\"]\ngroup_wait = \"0s\"\ngroup_interval = \"1s\"\n";

/// Debian's Alertmanager, telling `hook` of everything at once.
struct Alertmanager {
    url: String,
    _child: Child,
    _dir: tempfile::TempDir,
}

impl Alertmanager {
    async fn telling(hook: &str) -> Option<Self> {
        if !have("prometheus-alertmanager") {
            return None;
        }
        let config = format!(
            "route:\n  receiver: hook\n  group_by: [alertname, journey]\n  group_wait: 0s\n  group_interval: 1s\n  repeat_interval: 4h\n\
             receivers:\n  - name: hook\n    webhook_configs:\n      - url: {hook}\n        send_resolved: true\n"
        );
        let dir = folder(&[("alertmanager.yml", &config)]);
        let port = free_port();
        let child = Command::new("prometheus-alertmanager")
            .args(["--config.file=alertmanager.yml", "--storage.path=data", "--cluster.listen-address="])
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .current_dir(dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let url = format!("http://127.0.0.1:{port}");
        eventually("Alertmanager", || async { (get(&format!("{url}/-/ready")).await.0 == 200).then_some(()) }).await;
        Some(Self { url, _child: child, _dir: dir })
    }

    async fn alerts(&self) -> Vec<Json> {
        let (_, text) = get(&format!("{}/api/v2/alerts", self.url)).await;
        serde_json::from_str(&text).unwrap_or_default()
    }

    async fn down(&self) -> Option<Json> {
        self.alerts().await.into_iter().find(|alert| alert["labels"]["alertname"] == "JourneydDown")
    }
}

/// Status of each alert group that Alertmanager told of, watchdog apart.
fn told(hook: &Target) -> Vec<String> {
    let bodies =
        hook.requests().into_iter().filter_map(|r| serde_json::from_str::<Json>(r.split_once("\r\n\r\n")?.1).ok());
    bodies
        .filter(|body| body["groupLabels"]["alertname"] == "JourneydDown")
        .map(|body| body["status"].as_str().unwrap_or("").to_owned())
        .collect()
}

#[tokio::test]
async fn a_real_alertmanager_hears_of_the_outage_once_and_of_its_end_also_over_a_restart() {
    let (target, status) = Target::switchable().await;
    let (hook, _) = Target::switchable().await;
    let Some(alertmanager) = Alertmanager::telling(&hook.url).await else { return };
    let config = format!(
        "journeys = [\"j/*.toml\"]\nlocation = \"fra\"\n[receivers.ops]\ntype = \"alertmanager\"\nurl = [\"{}\"]\n{AT_ONCE}",
        alertmanager.url
    );
    let dir = folder(&[("journeyd.toml", &config), ("j/buy.toml", &journey(&target.url))]);
    let mut daemon = Running::serve(dir.path(), &[]).await;
    eventually("the watchdog", || async {
        alertmanager.alerts().await.into_iter().find(|a| a["labels"]["alertname"] == "JourneydWatchdog")
    })
    .await;
    assert!(alertmanager.down().await.is_none());
    status.store(503, Ordering::SeqCst);
    let first = eventually("it fires there", || alertmanager.down()).await;
    assert_eq!(first["labels"]["journey"], "buy");
    assert_eq!(first["labels"]["service"], "shop");
    assert_eq!(first["labels"]["location"], "fra");
    assert!(first["annotations"]["summary"].as_str().unwrap().contains("step home failed: http_5xx 503"), "{first:#}");
    eventually("it is told on", || async { (told(&hook) == ["firing"]).then_some(()) }).await;
    daemon.signal("KILL");
    daemon.ended().await;
    let daemon = Running::serve(dir.path(), &[]).await;
    let ends = |alert: &Json| alert["endsAt"].as_str().unwrap().to_owned();
    let again = eventually("it is sent again", || async {
        alertmanager.down().await.filter(|alert| ends(alert) > ends(&first))
    })
    .await;
    assert_eq!(again["fingerprint"], first["fingerprint"], "the same alert");
    assert_eq!(again["startsAt"], first["startsAt"]);
    assert_eq!(told(&hook), ["firing"], "and nobody hears of it twice");
    status.store(200, Ordering::SeqCst);
    eventually("its end is told on", || async { (told(&hook) == ["firing", "resolved"]).then_some(()) }).await;
    drop(daemon);
}

/// A certificate of an own authority for 127.0.0.1, as PEM files.
fn certificates(dir: &std::path::Path) {
    let mut authority = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let ca = authority.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let own = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
    let own = own.signed_by(&key, &issuer).unwrap();
    std::fs::write(dir.join("ca.pem"), ca.pem()).unwrap();
    std::fs::write(dir.join("cert.pem"), own.pem()).unwrap();
    std::fs::write(dir.join("key.pem"), key.serialize_pem()).unwrap();
}

struct MailServer {
    port: u16,
    dir: tempfile::TempDir,
    _child: Child,
}

impl MailServer {
    async fn start() -> Option<Self> {
        let python = python()?;
        let dir = tempfile::tempdir().unwrap();
        certificates(dir.path());
        std::fs::create_dir(dir.path().join("mails")).unwrap();
        let mut child = Command::new(python)
            .arg(root().join("tests/mail/server.py"))
            .args(["mails", "cert.pem", "key.pem", "journeyd", "mail-password"])
            .current_dir(dir.path())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).await.unwrap();
        Some(Self { port: line.trim().parse().expect("the server's port"), dir, _child: child })
    }

    fn mails(&self) -> Vec<String> {
        let mut files: Vec<_> =
            std::fs::read_dir(self.dir.path().join("mails")).unwrap().map(|f| f.unwrap().path()).collect();
        files.sort();
        files.iter().map(|file| std::fs::read_to_string(file).unwrap_or_default()).collect()
    }

    fn receiver(&self, to: &str) -> String {
        format!(
            "[receivers.ops]\ntype = \"email\"\nsmarthost = \"127.0.0.1:{}\"\nfrom = \"journeyd <journeyd@example.org>\"\n\
             to = [\"{to}\"]\nuser = \"journeyd\"\npassword = {{ secret = \"smtp\" }}\nca_file = \"{}\"\n\
             timezone = \"Europe/Berlin\"\n[secrets]\nsmtp = {{ env = \"SMTP\" }}\n",
            self.port,
            self.dir.path().join("ca.pem").display()
        )
    }
}

fn header(mail: &str, name: &str) -> String {
    let unfolded = mail.replace("\r\n ", " ");
    let line = unfolded.lines().find(|line| line.to_lowercase().starts_with(&format!("{}:", name.to_lowercase())));
    line.map_or_else(String::new, |line| line[name.len() + 1..].trim().to_owned())
}

#[tokio::test]
async fn mail_goes_out_over_starttls_with_a_login_and_stays_in_one_thread() {
    let Some(server) = MailServer::start().await else { return };
    let (target, status) = Target::switchable().await;
    let config = format!("journeys = [\"j/*.toml\"]\n{}{AT_ONCE}", server.receiver("ops@example.org"));
    let dir = folder(&[("journeyd.toml", &config), ("j/buy.toml", &journey(&target.url))]);
    let env = [("SMTP", "mail-password")];
    let tried = run(dir.path(), &["notify", "test", "ops", "--config", "journeyd.toml"], &env).await;
    assert_eq!(tried.code, 0, "{}{}", tried.stdout, tried.stderr);
    let daemon = Running::serve(dir.path(), &env).await;
    status.store(503, Ordering::SeqCst);
    eventually("the alert's mail", || async { (server.mails().len() >= 2).then_some(()) }).await;
    status.store(200, Ordering::SeqCst);
    eventually("the resolve's mail", || async { (server.mails().len() >= 3).then_some(()) }).await;
    let mails = server.mails();
    let (first, last) = (&mails[1], &mails[2]);
    assert!(header(first, "Subject").starts_with("FIRING buy: step home failed: http_5xx 503"), "{first}");
    assert!(header(last, "Subject").starts_with("RESOLVED buy"), "{last}");
    assert_eq!(header(first, "References"), header(last, "References"), "one thread");
    assert_ne!(header(first, "Message-ID"), header(last, "Message-ID"));
    assert_eq!(header(first, "Auto-Submitted"), "auto-generated");
    assert!(first.contains("multipart/alternative") && first.contains("text/html"));
    assert!(!mails.concat().contains("mail-password") && !daemon.output().contains("mail-password"));
}

#[tokio::test]
async fn a_mail_server_that_refuses_is_told_apart_from_one_that_is_busy() {
    let Some(server) = MailServer::start().await else { return };
    for (to, password, want) in [
        ("nobody@example.org", "mail-password", "would not try again"),
        ("later@example.org", "mail-password", "would try again"),
        ("ops@example.org", "wrong", "would not try again"),
    ] {
        let config = format!("journeys = []\n{}", server.receiver(to));
        let dir = folder(&[("journeyd.toml", &config)]);
        let tried =
            run(dir.path(), &["notify", "test", "ops", "--config", "journeyd.toml"], &[("SMTP", password)]).await;
        assert!(tried.code == 1 && tried.stderr.contains(want), "{to}: {}", tried.stderr);
        assert!(!tried.stderr.contains(password) || password == "wrong", "{}", tried.stderr);
    }
}

/// What a service says, and what follows.
#[tokio::test]
async fn each_service_is_taken_at_its_word() {
    for (kind, more, answer, delivered) in [
        ("slack", "", response("200 OK", &[], "ok"), true),
        ("slack", "", response("404 Not Found", &[], "channel_not_found"), false),
        ("mattermost", "", response("200 OK", &[], "ok"), true),
        ("discord", "", response("204 No Content", &[], ""), true),
        ("discord", "", response("404 Not Found", &[], "{\"message\": \"Unknown Webhook\", \"code\": 10015}"), false),
        ("teams", "", response("202 Accepted", &[], ""), true),
        ("google_chat", "", response("200 OK", &[], "{\"name\": \"spaces/x/messages/y\"}"), true),
        ("telegram", "token = { secret = \"t\" }\nchat = -100\n", response("200 OK", &[], "{\"ok\":true}"), true),
        (
            "telegram",
            "token = { secret = \"t\" }\nchat = \"@x\"\n",
            response(
                "403 Forbidden",
                &[],
                "{\"ok\":false,\"error_code\":403,\"description\":\"Forbidden: bot was blocked\"}",
            ),
            false,
        ),
        (
            "pagerduty",
            "routing_key = { secret = \"t\" }\n",
            response("202 Accepted", &[], "{\"status\":\"success\"}"),
            true,
        ),
        (
            "pagerduty",
            "routing_key = { secret = \"t\" }\n",
            response("400 Bad Request", &[], "{\"status\":\"invalid event\"}"),
            false,
        ),
        ("ntfy", "token = { secret = \"t\" }\n", response("200 OK", &[], "{\"id\":\"x\"}"), true),
        ("alertmanager", "", response("200 OK", &[], ""), true),
        ("webhook", "format = \"alertmanager\"\n", response("200 OK", &[], ""), true),
        ("webhook", "template = '{ \"text\": {{ headline | tojson }} }'\n", response("200 OK", &[], ""), true),
    ] {
        let target = Target::scripted(move |_, _| answer.clone()).await;
        let config = format!(
            "journeys = []\n[receivers.ops]\ntype = \"{kind}\"\nurl = \"{}/hook-1234567890\"\n{more}[secrets]\nt = {{ env = \"T\" }}\n",
            target.url
        );
        let dir = folder(&[("journeyd.toml", &config)]);
        let env = [("T", "a-very-secret-token")];
        let tried = run(dir.path(), &["notify", "test", "ops", "--config", "journeyd.toml"], &env).await;
        let text = format!("{kind}: {}{}", tried.stdout, tried.stderr);
        assert_eq!(tried.code, i32::from(!delivered), "{text}");
        assert!(!text.contains("a-very-secret-token") && !text.contains("hook-1234567890"), "{text}");
        let request = target.requests().pop().unwrap_or_default();
        assert!(request.starts_with("POST "), "{request}");
    }
}
