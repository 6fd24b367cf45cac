//! Recordings of a real browser become journeys that pass at once.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::support::process::{Running, run};
use crate::support::{PATIENCE, folder, python_with_browser, root};

fn script(python: &Path, name: &str) -> Command {
    let mut command = Command::new(python);
    command.arg(root().join("tests/browser").join(name)).kill_on_drop(true).stdin(Stdio::null());
    command
}

/// The Django site of `tests/browser/site.py`.
struct Site {
    url: String,
    _child: Child,
    _dir: tempfile::TempDir,
}

impl Site {
    async fn start(python: &Path) -> Self {
        let dir = folder(&[]);
        let mut child = script(python, "site.py").arg(dir.path()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("the site starts").unwrap().unwrap();
        Self { url, _child: child, _dir: dir }
    }
}

/// Records `scenario` with Chromium.
async fn record(python: &Path, scenario: &str, url: &str, dir: &Path) -> PathBuf {
    let har = dir.join("recording.har");
    let mut command = script(python, "record.py");
    command.args([scenario, url]).arg(&har).stderr(Stdio::piped());
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("the recording ends").unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    har
}

/// Imports the recording and runs the journey, with the secret that the import asks for.
async fn import_and_run(dir: &Path, password: &str) -> (String, String) {
    let imported = run(dir, &["import", "har", "recording.har", "--output", "imported.toml"], &[]).await;
    assert_eq!(imported.code, 0, "{imported:?}");
    let journey = std::fs::read_to_string(dir.join("imported.toml")).unwrap();
    assert!(!journey.contains(password) && !imported.stderr.contains(password), "{journey}");
    let secrets = imported.stderr.lines().find(|l| l.contains("{ env = ")).expect("a secret").trim();
    std::fs::write(dir.join("journeyd.toml"), format!("journeys = [\"imported.toml\"]\n[secrets]\n{secrets}\n"))
        .unwrap();
    let args = ["check", "--config", "journeyd.toml", "--deny-warnings"];
    let checked = run(dir, &args, &[("SITE_PASSWORD", password)]).await;
    assert_eq!(checked.code, 0, "{journey}\n{checked:?}");
    // Twice: nothing in it was good for one time only.
    for _ in 0..2 {
        let args = ["run", "--config", "journeyd.toml", "imported"];
        let finished = run(dir, &args, &[("SITE_PASSWORD", password)]).await;
        assert_eq!(finished.code, 0, "{journey}\n{finished:?}");
    }
    (journey, imported.stderr)
}

#[tokio::test]
async fn a_session_in_the_demo_shop_becomes_a_journey_that_passes() {
    let Some(python) = python_with_browser() else { return };
    let demo = Running::demo().await;
    let dir = folder(&[]);
    record(&python, "shop", &demo.shop, dir.path()).await;
    let (journey, notes) = import_and_run(dir.path(), "demo-password").await;
    for part in [
        "capture.csrf_token = { css = \"form#login input[name=csrf_token]\", attr = \"value\" }",
        "password = \"{{ secret.site_password }}\"",
        "user = \"synthetic-member\"",
        "expect.url = { ends_with = \"/account\" }",
        "expect.css.h1 = \"Your account\"",
        "capture.order_id = { json = \"$.order.id\" }",
        "request = \"GET /api/orders/{{ order_id }}\"",
    ] {
        assert!(journey.contains(part), "{part} in {journey}");
    }
    assert!(notes.contains("static files") && notes.contains("add [[cleanup]]"), "{notes}");
    assert!(!journey.contains("shop.css"), "{journey}");
}

#[tokio::test]
async fn a_session_in_a_django_site_becomes_a_journey_that_passes() {
    let Some(python) = python_with_browser() else { return };
    let site = Site::start(&python).await;
    let dir = folder(&[]);
    record(&python, "django", &site.url, dir.path()).await;
    let (journey, _) = import_and_run(dir.path(), "in-wonderland-42").await;
    for part in [
        "csrfmiddlewaretoken = \"{{ csrfmiddlewaretoken }}\"",
        "csrfmiddlewaretoken = \"{{ csrfmiddlewaretoken_2 }}\"",
        "expect.cookie.sessionid = { exists = true }",
        "request = \"POST /api/notes/{{ note_id }}/star\"",
        "headers = { X-CSRFToken = \"{{ x_csrftoken }}\" }",
        "note = \"{{ note_id | int }}\"",
    ] {
        assert!(journey.contains(part), "{part} in {journey}");
    }
}

#[tokio::test]
async fn a_copied_curl_command_becomes_a_journey() {
    let demo = Running::demo().await;
    let curl = format!(
        "curl '{}/search?q=mug' -H 'accept: text/html' -H 'Cookie: session=s3cr3t-session' -H 'Authorization: Bearer hunter22-token' --compressed",
        demo.shop
    );
    let dir = folder(&[("copied.sh", &curl)]);
    let imported = run(dir.path(), &["import", "curl", "copied.sh"], &[]).await;
    assert_eq!(imported.code, 0, "{imported:?}");
    for part in [
        "request = \"GET /search\"",
        "query = { q = \"mug\" }",
        "auth = { bearer = \"{{ secret.site_access_token }}\" }",
        "cookies are left out",
    ] {
        assert!(imported.stdout.contains(part), "{part} in {}", imported.stdout);
    }
    assert!(!imported.stdout.contains("hunter22") && !imported.stdout.contains("s3cr3t"), "{}", imported.stdout);
    std::fs::write(dir.path().join("copied.toml"), &imported.stdout).unwrap();
    let config = "journeys = [\"copied.toml\"]\n[secrets]\nsite_access_token = { env = \"SITE_ACCESS_TOKEN\" }\n";
    std::fs::write(dir.path().join("journeyd.toml"), config).unwrap();
    let args = ["run", "--config", "journeyd.toml", "copied"];
    let finished = run(dir.path(), &args, &[("SITE_ACCESS_TOKEN", "hunter22-token")]).await;
    assert_eq!(finished.code, 0, "{finished:?}");
}

#[tokio::test]
async fn what_cannot_be_imported_is_told_and_nothing_is_written_over() {
    let har = r#"{"log": {"entries": [{"request": {"method": "GET", "url": "http://h.example/a.png"}}]}}"#;
    let dir = folder(&[("broken.har", "<html>"), ("assets.har", har), ("there.toml", "mine")]);
    for (args, why) in [
        (&["import", "har", "broken.har"][..], "broken.har: this is not a HAR file: expected value at line 1 column 1"),
        (&["import", "har", "missing.har"], "cannot read missing.har"),
        (&["import", "har", "assets.har"], "assets.har: nothing is left: only static files"),
        (&["import", "curl", "broken.har"], "broken.har: this is not a curl command"),
    ] {
        let finished = run(dir.path(), args, &[]).await;
        assert_eq!(finished.code, 2, "{finished:?}");
        assert!(finished.stderr.contains(why), "{why} in {}", finished.stderr);
    }
    std::fs::write(dir.path().join("c.sh"), "curl http://h.example/x").unwrap();
    let finished = run(dir.path(), &["import", "curl", "c.sh", "-o", "there.toml"], &[]).await;
    assert_eq!(finished.code, 2, "{finished:?}");
    assert!(finished.stderr.contains("there is a file there.toml already"), "{finished:?}");
    assert_eq!(std::fs::read_to_string(dir.path().join("there.toml")).unwrap(), "mine");
}
