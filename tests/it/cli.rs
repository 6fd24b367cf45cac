//! Commands and exit codes, as DESIGN fixes them: 0 fine, 1 a journey failed, 2 configuration or usage,
//! 3 journeyd's own fault.

use crate::support::folder;
use crate::support::process::{Finished, run};
use crate::support::target::{Act, Target, response};

const PASSING: &str = "base_url = \"{{ env.TARGET }}\"\n[[steps]]\nid = \"home\"\nrequest = \"GET /\"\n";

async fn run_in(files: &[(&str, &str)], args: &[&str], env: &[(&str, &str)]) -> Finished {
    let dir = folder(files);
    run(dir.path(), args, env).await
}

#[tokio::test]
async fn a_passing_journey_exits_0_and_shows_a_waterfall() {
    let target = Target::start(Act::Reply(response("200 OK", &["X-Request-ID: abc"], "hello"))).await;
    let finished = run_in(&[("a.toml", PASSING)], &["run", "a.toml"], &[("TARGET", &target.url)]).await;
    assert_eq!(finished.code, 0, "{finished:?}");
    for part in ["passed", "✔ home", "200", "processing", "HTTP/1.1", "5 B", &format!("{}/", target.url)] {
        assert!(finished.stdout.contains(part), "{part} in {}", finished.stdout);
    }
    assert!(!finished.stdout.contains('\x1b'), "no colour outside a terminal");
}

#[tokio::test]
async fn a_failing_journey_exits_1_and_says_expected_got_where_and_curl() {
    let body = "<html><style>p{}</style><h1>Internal</h1> Server Error</html>";
    let target = Target::start(Act::Reply(response("500 Internal Server Error", &["CF-Ray: 8f-TXL"], body))).await;
    let journey = format!("{PASSING}[[steps]]\nid = \"next\"\nrequest = \"GET /next\"\n");
    let finished = run_in(&[("a.toml", &journey)], &["run", "a.toml"], &[("TARGET", &target.url)]).await;
    assert_eq!(finished.code, 1, "{finished:?}");
    let curl = format!("curl -sS -i -L '{}/'", target.url);
    for part in [
        "failed: http_5xx",
        "✘ home",
        "expected  status 2xx",
        "got       500 Internal Server Error: \"Internal Server Error\"",
        "where     a.toml:3:6",
        "X-Request-ID ",
        "cf-ray 8f-TXL",
        &curl,
        "journeyd run a.toml --until home",
        "next  blocked by the step that failed",
    ] {
        assert!(finished.stdout.contains(part), "{part} in {}", finished.stdout);
    }
}

#[tokio::test]
async fn usage_and_configuration_mistakes_exit_2() {
    let broken = "base_url = 3\n";
    for (files, args, said) in [
        (&[][..], &["run"][..], "required arguments"),
        (&[], &["run", "a.toml", "--nonsense"], "unexpected argument"),
        (&[], &["run", "missing.toml"], "cannot read missing.toml"),
        (&[], &["run", "login"], "there is no journey `login`; give a file's path"),
        (&[], &["serve", "--config", "missing.toml"], "cannot read missing.toml"),
        (&[("a.toml", broken)], &["run", "a.toml"], "`base_url` has the wrong type"),
        (&[("a.toml", broken)], &["check", "a.toml"], "a.toml:1:12"),
        (&[("a.toml", PASSING)], &["run", "a.toml"], "the environment variable TARGET is not set"),
        (&[("a.toml", PASSING)], &["run", "a.toml", "--base-url", "shop"], "--base-url shop: expected a URL"),
        (
            &[("a.toml", PASSING)],
            &["run", "a.toml", "--base-url", "http://h", "--var", "x=1"],
            "this journey has no var `x`",
        ),
        (&[("a.toml", PASSING)], &["run", "a.toml", "--base-url", "http://h", "--until", "nope"], "has the steps home"),
        (&[("a.toml", PASSING)], &["run", "a.toml", "--base-url", "http://h", "--variant", "x"], "has no variants"),
        (&[("a.toml", PASSING)], &["check", "--deny-warnings", "a.toml"], "TARGET is not set"),
    ] {
        let finished = run_in(files, args, &[]).await;
        assert_eq!(finished.code, 2, "{args:?}: {finished:?}");
        assert!(finished.stderr.contains(said), "{args:?}: {said} in {}", finished.stderr);
    }
}

#[tokio::test]
async fn warnings_alone_exit_0() {
    let finished = run_in(&[("a.toml", PASSING)], &["check", "a.toml"], &[]).await;
    assert_eq!(finished.code, 0, "{finished:?}");
    assert!(finished.stderr.contains("warning: the environment variable TARGET is not set"));
}

#[tokio::test]
async fn a_taken_port_is_journeyds_own_fault_and_says_what_to_do() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let files = [("journeyd.toml", "journeys = [\"a.toml\"]\n"), ("a.toml", PASSING)];
    let finished = run_in(
        &files,
        &["serve", "--config", "journeyd.toml", "--listen", &address],
        &[("TARGET", "http://127.0.0.1:1")],
    )
    .await;
    assert_eq!(finished.code, 3, "{finished:?}");
    assert!(finished.stderr.contains(&format!("cannot listen on {address}")) && finished.stderr.contains("--listen"));
}

/// With fewer and fewer descriptors there comes a point where the second connection cannot be opened while the
/// first is kept: that is ours.
#[tokio::test]
async fn running_out_of_descriptors_is_never_the_targets_fault() {
    let target = Target::start(Act::Reply(response("200 OK", &[], "ok"))).await;
    let second = "[[steps]]\nid = \"second\"\nrequest = \"GET http://127.0.0.1:9/\"\n";
    let dir = folder(&[("a.toml", &format!("{PASSING}{second}"))]);
    let mut seen = Vec::new();
    // Wide, since a test runner may leave descriptors of its own open.
    for limit in 7..40 {
        let script = format!("ulimit -n {limit}; exec {} run a.toml", env!("CARGO_BIN_EXE_journeyd"));
        let mut command = tokio::process::Command::new("sh");
        command.args(["-c", &script]).current_dir(dir.path()).env("TARGET", &target.url);
        let finished = Finished::from(command.output().await.unwrap());
        let refused = finished.code == 1 && finished.stdout.contains("connect_refused");
        let could_not_start = finished.code > 100 || finished.stderr.contains("panicked");
        assert!(refused || finished.code == 3 || could_not_start, "limit {limit}: {finished:?}");
        seen.push(finished.stdout.contains("errored: fds"));
    }
    assert!(seen.contains(&true), "no limit hit the connection itself");
}

#[tokio::test]
async fn ids_variants_vars_and_until_select_what_runs() {
    let target = Target::start(Act::Reply(response("200 OK", &[], "hello"))).await;
    let journey = "base_url = \"{{ env.TARGET }}\"\n[vars]\nsku = \"mug\"\n[[variants]]\nid = \"guest\"\n[[variants]]\nid = \"member\"\nvars = { sku = \"tee\" }\n\
                   [[steps]]\nid = \"one\"\nrequest = \"GET /one/{{ sku }}\"\n[[steps]]\nid = \"two\"\nrequest = \"GET /two\"\n";
    let files = [
        ("config/journeyd.toml", "journeys = [\"../j/*.toml\"]\n"),
        ("j/buy.toml", journey),
        ("j/other.toml", "broken = 1\n"),
    ];
    let dir = folder(&files);
    let env = [("TARGET", target.url.as_str())];
    let paths = || target.requests().iter().map(|r| r.split(' ').nth(1).unwrap().to_owned()).collect::<Vec<_>>();

    // By id, with a sibling that is broken: only what is asked for is loaded.
    assert_eq!(run(dir.path(), &["run", "buy"], &env).await.code, 0);
    assert_eq!(paths(), ["/one/mug", "/two", "/one/tee", "/two"]);
    assert_eq!(
        run(dir.path(), &["run", "buy", "--variant", "member", "--until", "one", "--var", "sku=cap"], &env).await.code,
        0
    );
    assert_eq!(paths()[4..], ["/one/cap"]);
    let unknown = run(dir.path(), &["run", "bux"], &env).await;
    assert!(unknown.code == 2 && unknown.stderr.contains("did you mean `buy`?"), "{unknown:?}");
}

/// The rerun line, pasted into a shell, does the same again; and gives no password away.
#[tokio::test]
async fn the_rerun_line_runs_again_with_everything_that_was_given() {
    let target = Target::start(Act::Reply(response("404 Not Found", &[], ""))).await;
    let journey = "base_url = \"http://127.0.0.1:9\"\n[vars]\nword = \"x\"\npassword = \"y\"\n[[steps]]\nid = \"s\"\nrequest = \"GET /\"\nquery = { q = \"{{ word }}\", p = \"{{ password }}\" }\n";
    let dir = folder(&[("my journeys/a.toml", journey), ("my config.toml", "journeys = [\"my journeys/*.toml\"]\n")]);
    let base = target.url.replace("http://", "http://me:planted-pw@");
    let args = [
        "run",
        "--config",
        "my config.toml",
        "a",
        "--base-url",
        &base,
        "--var",
        "word=it's $HOME",
        "--var",
        "password=planted-pw2",
    ];
    let finished = run(dir.path(), &args, &[]).await;
    assert_eq!(finished.code, 1, "{finished:?}");
    assert!(!finished.stdout.contains("planted-pw"), "{}", finished.stdout);
    let rerun = finished.stdout.lines().find_map(|l| l.trim().strip_prefix("rerun")).unwrap().trim();
    let script = rerun.replacen("journeyd", env!("CARGO_BIN_EXE_journeyd"), 1);
    let mut command = tokio::process::Command::new("bash");
    command
        .args(["-c", &script])
        .current_dir(dir.path())
        .env("URL_PASSWORD", "planted-pw")
        .env("PASSWORD", "planted-pw2");
    let again = Finished::from(command.output().await.unwrap());
    assert_eq!(again.code, 1, "{script}: {again:?}");
    let asked: Vec<String> = target.requests().iter().map(|r| r.lines().next().unwrap().to_owned()).collect();
    assert!(asked.len() == 2 && asked[0] == asked[1], "{script}: {asked:?}");
}

#[tokio::test]
async fn results_can_be_read_by_programs() {
    let target = Target::start(Act::Routes(vec![
        ("/bad", response("500 Internal Server Error", &[], "<b>&\"boom\"</b>")),
        ("/", response("200 OK", &[], "ok")),
    ]))
    .await;
    let journey = format!(
        "{PASSING}[[steps]]\nid = \"bad\"\nrequest = \"GET /bad\"\n[[steps]]\nid = \"never\"\nrequest = \"GET /\"\n"
    );
    let dir = folder(&[("a.toml", &journey), ("b.toml", PASSING)]);
    let env = [("TARGET", target.url.as_str())];
    let finished = run(dir.path(), &["run", "a.toml", "b.toml", "--output", "json"], &env).await;
    assert_eq!(finished.code, 1, "{finished:?}");
    let json: serde_json::Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!(json["schema"], 1);
    assert_eq!(json["runs"][0]["outcome"]["failed"], "http_5xx");
    assert_eq!(json["runs"][0]["steps"][1]["outcome"]["failed"]["reason"], "http_5xx");
    assert_eq!(json["runs"][0]["steps"][2]["outcome"], "blocked");
    assert_eq!(json["runs"][1]["outcome"], "passed");
    assert!(json["runs"][1]["steps"][0]["exchange"]["duration_seconds"].as_f64().unwrap() > 0.0);

    let finished = run(dir.path(), &["run", "a.toml", "b.toml", "--output", "junit"], &env).await;
    assert_eq!(finished.code, 1, "{finished:?}");
    let Some(python) = crate::support::python() else { return };
    std::fs::write(dir.path().join("junit.xml"), &finished.stdout).unwrap();
    let script = "import junitparser as j\nx = j.JUnitXml.fromfile('junit.xml')\n\
        for s in x:\n    for c in s:\n        print(s.name, c.name, c.classname, c.is_passed, c.is_skipped, [r.type for r in c.result])\n\
        print(x.tests, x.failures, x.errors, s.skipped)";
    let output = std::process::Command::new(python).args(["-c", script]).current_dir(dir.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let want = "a home a True False []\na bad a False False ['http_5xx']\na never a False True [None]\nb home b True False []\n4 1 0 0\n";
    assert_eq!(text, want, "{}\n{}", finished.stdout, String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn many_runs_are_summed_up() {
    let target =
        Target::scripted(
            |_, before| {
                if before % 4 == 3 { response("503 X", &[], "") } else { response("200 OK", &[], "ok") }
            },
        )
        .await;
    let dir = folder(&[("a.toml", PASSING)]);
    let args = ["run", "a.toml", "--repeat", "40", "--concurrency", "8"];
    let finished = run(dir.path(), &args, &[("TARGET", &target.url)]).await;
    assert_eq!((finished.code, target.requests().len()), (1, 40), "{finished:?}");
    assert!(finished.stdout.contains("a: 40 runs, 30 passed, 10 http_5xx"), "{finished:?}");
    assert!(finished.stdout.contains("p50") && finished.stdout.contains("p99"), "{finished:?}");
    assert_eq!(finished.stdout.matches("failed: http_5xx").count(), 3, "more of the same teach nothing: {finished:?}");
}

#[tokio::test]
async fn verbose_shows_what_went_over_the_wire_and_no_secret() {
    let page = "<form><input type=hidden name=csrf_token value=tok-12345678></form>";
    let headers = ["Content-Type: text/html", "Set-Cookie: sid=session-value-1; HttpOnly"];
    let target = Target::start(Act::Routes(vec![
        ("/form", response("200 OK", &headers, page)),
        ("/", response("200 OK", &["Content-Type: application/json"], "{\"access_token\": \"at-87654321\"}")),
    ]))
    .await;
    let journey = format!(
        "{}[[steps]]\nid = \"login\"\nrequest = \"POST /login\"\nform = {{ user = \"u\", password = \"hunter22-secret\" }}\nheaders = {{ X-Api-Key = \"key-12345678\" }}\n",
        PASSING.replace("GET /", "GET /form")
    );
    let dir = folder(&[("a.toml", &journey)]);
    let finished = run(dir.path(), &["run", "a.toml", "--verbose"], &[("TARGET", &target.url)]).await;
    assert_eq!(finished.code, 0, "{finished:?}");
    for part in [
        "── home ──",
        "> GET ",
        "< HTTP/1.1 200 OK",
        "── login ──",
        "> POST ",
        "user=u",
        "< set-cookie: sid=***; HttpOnly",
        "> cookie: sid=***",
        "> x-api-key: ***",
    ] {
        assert!(finished.stdout.contains(part), "{part} in {}", finished.stdout);
    }
    for secret in ["tok-12345678", "session-value-1", "hunter22-secret", "at-87654321", "key-12345678"] {
        assert!(!finished.stdout.contains(secret), "{secret} in {}", finished.stdout);
    }
}

#[tokio::test]
async fn watching_runs_again_on_every_save_also_after_a_mistake() {
    let target = Target::start(Act::Reply(response("200 OK", &[], "ok"))).await;
    let dir = folder(&[("a.toml", PASSING)]);
    let mut command = crate::support::process::journeyd(&["run", "a.toml", "--watch"]);
    command.current_dir(dir.path()).env("TARGET", &target.url);
    let mut watching = crate::support::process::Running::spawn(command);
    let until = |what: &'static str, n: usize| {
        let output = std::sync::Arc::clone(&watching.output);
        crate::support::eventually(what, move || {
            let seen = output.lock().unwrap().matches(what).count();
            async move { (seen >= n).then_some(()) }
        })
    };
    until("watching for changes", 1).await;
    std::fs::write(dir.path().join("a.toml"), PASSING.replace("GET /", "GET /second")).unwrap();
    until("passed  a", 2).await;
    until("watching for changes", 2).await;
    std::fs::write(dir.path().join("a.toml"), "base_url = 3\n").unwrap();
    until("`base_url` has the wrong type", 1).await;
    until("watching for changes", 3).await;
    std::fs::write(dir.path().join("a.toml"), PASSING).unwrap();
    until("passed  a", 3).await;
    assert!(target.requests()[1].starts_with("GET /second "));
    watching.signal("INT");
    assert_eq!(watching.ended().await, 0);
}

#[tokio::test]
async fn a_plan_says_what_a_reload_would_change() {
    let target = Target::start(Act::Reply(response("200 OK", &[], "ok"))).await;
    let scheduled = |every: &str| PASSING.replace("[[steps]]", &format!("schedule.every = \"{every}\"\n[[steps]]"));
    let dir = folder(&[("journeyd.toml", "journeys = [\"*.journey.toml\"]\n"), ("a.journey.toml", "")]);
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    std::fs::remove_file(dir.path().join("a.journey.toml")).unwrap();
    write("journeyd.toml", "journeys = [\"j/*.toml\"]\n");
    std::fs::create_dir(dir.path().join("j")).unwrap();
    write("j/same.toml", &scheduled("1m"));
    write("j/moved.toml", &scheduled("1m"));
    write("j/gone.toml", &scheduled("1m"));
    let env = [("TARGET", target.url.as_str())];
    let daemon = crate::support::process::Running::serve(dir.path(), &env).await;
    let args = ["check", "--config", "journeyd.toml", "--plan", "--url", &daemon.url];
    let finished = run(dir.path(), &args, &env).await;
    assert!(finished.stdout.contains("0 added, 0 changed, 0 removed, 3 unchanged"), "{finished:?}");
    // A comment moves every line and changes nothing.
    write("j/same.toml", &format!("# a comment\n\n{}", scheduled("1m")));
    write("j/moved.toml", &format!("{}[[steps]]\nid = \"more\"\nrequest = \"GET /more\"\n", scheduled("5m")));
    write("j/new.toml", &scheduled("1m"));
    std::fs::remove_file(dir.path().join("j/gone.toml")).unwrap();
    let finished = run(dir.path(), &args, &env).await;
    assert_eq!(finished.code, 0, "{finished:?}");
    for part in [
        "  + new\n",
        "  ~ moved: schedule every 5m, was every 1m; step more added\n",
        "  - gone\n",
        "1 added, 1 changed, 1 removed, 1 unchanged; series ",
    ] {
        assert!(finished.stdout.contains(part), "{part} in {}", finished.stdout);
    }
    // Five runs ahead for each journey.
    assert_eq!(finished.stdout.matches("Z\n").count(), 15, "{}", finished.stdout);

    let json = run(dir.path(), &[&args[..], &["--format", "json"]].concat(), &env).await;
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["plan"]["added"], serde_json::json!(["new"]));
    assert_eq!(json["journeys"][0]["next_runs"].as_array().unwrap().len(), 5);
    assert_eq!((&json["errors"], &json["warnings"]), (&0.into(), &0.into()));
    // Nobody there: said, and compared with nothing.
    let alone =
        run(dir.path(), &["check", "--config", "journeyd.toml", "--plan", "--url", "http://127.0.0.1:9"], &env).await;
    assert!(alone.code == 0 && alone.stdout.contains("compared with nothing: no daemon could be asked"), "{alone:?}");
}

#[tokio::test]
async fn findings_can_be_read_by_programs() {
    let dir = folder(&[("a.toml", "base_url = 3\nnonsense = 1\n")]);
    let finished = run(dir.path(), &["check", "a.toml", "--format", "json"], &[]).await;
    assert_eq!((finished.code, finished.stderr.as_str()), (2, ""), "{finished:?}");
    let json: serde_json::Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!(json["errors"], 2);
    let first = &json["findings"][0];
    assert_eq!((&first["file"], &first["line"], &first["column"]), (&"a.toml".into(), &1.into(), &12.into()));
    assert_eq!(first["message"], "`base_url` has the wrong type");
}
