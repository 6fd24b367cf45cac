//! Every shipped file loads, and every example in the documentation does what it says.

use crate::support::{folder, process::run, root};

#[tokio::test]
async fn the_shipped_configuration_loads_in_an_empty_environment_without_a_word() {
    let finished = run(root(), &["check", "--deny-warnings"], &[]).await;
    assert_eq!((finished.code, finished.stderr.as_str()), (0, ""), "{finished:?}");
    for journey in ["login", "search/guest", "search/member", "checkout/guest", "checkout/member"] {
        assert!(finished.stdout.contains(&format!("ok  {journey} ")), "{}", finished.stdout);
    }
}

/// The settings that stand there as comments are valid too, and the routes take every shipped journey.
#[tokio::test]
async fn the_shipped_configuration_loads_with_its_commented_settings_in_use() {
    let text = std::fs::read_to_string(root().join("config/journeyd.toml")).unwrap();
    let secrets =
        "slack_url = { env = \"SLACK_URL\" }\noncall_key = { env = \"KEY\" }\nsmtp_password = { env = \"SMTP\" }\n";
    let used: Vec<&str> = text
        .lines()
        .map(|line| {
            line.strip_prefix('#').filter(|rest| !rest.is_empty() && !rest.starts_with([' ', ':'])).unwrap_or(line)
        })
        .collect();
    let used = used
        .join("\n")
        .replace("\n[secrets]\n", &format!("\n[secrets]\n{secrets}"))
        .replace("../journeys", root().join("journeys").to_str().unwrap());
    assert!(used.contains("\n[receivers.ops-chat]\n") && used.contains("\n[[routes]]\n"), "{used}");
    let dir = folder(&[("config/journeyd.toml", &used)]);
    let env = [
        ("SLACK_URL", "https://hooks.slack.example/services/T/B/x"),
        ("KEY", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        ("SMTP", "mail-password"),
    ];
    let finished = run(dir.path(), &["check", "--deny-warnings"], &env).await;
    assert_eq!((finished.code, finished.stderr.as_str()), (0, ""), "{finished:?}");
}

/// The README's examples, as the reader would put them together: the journey, the steps added to it, the configuration.
#[tokio::test]
async fn the_readme_examples_are_a_valid_configuration() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let blocks: Vec<String> = readme
        .split("```toml\n")
        .skip(1)
        .map(|rest| {
            rest.split("```")
                .next()
                .unwrap()
                .lines()
                .map(|l| l.strip_prefix("   ").unwrap_or(l))
                .collect::<Vec<_>>()
                .join("\n")
        })
        .collect();
    let [journey, config, steps, receivers] = &blocks[..] else { panic!("{blocks:#?}") };
    let secrets = "slack_url = { env = \"SLACK_URL\" }\n";
    let config = format!("{config}\n{secrets}{receivers}");
    let dir = folder(&[("journeyd.toml", &config), ("my-site.toml", &format!("{journey}\n{steps}"))]);
    let args = ["check", "--deny-warnings", "--config", "journeyd.toml"];
    let env = [("SHOP_PASSWORD", "long enough"), ("SLACK_URL", "https://hooks.slack.example/services/T/B/x")];
    let finished = run(dir.path(), &args, &env).await;
    assert_eq!((finished.code, finished.stderr.as_str()), (0, ""), "{finished:?}");
    let alone = run(dir.path(), &["check", "my-site.toml"], &[]).await;
    assert!(alone.stderr.contains("there is no secret `shop_password`"), "{alone:?}");
}

/// Every assertion and capture that the reference shows is one.
#[tokio::test]
async fn the_examples_of_the_language_reference_are_valid() {
    let reference = std::fs::read_to_string(root().join("docs/journeys.md")).unwrap();
    let blocks: Vec<&str> =
        reference.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert_eq!(blocks.len(), 2);
    let step = "base_url = \"http://127.0.0.1:1\"\n[[steps]]\nid = \"s\"\nrequest = \"GET /\"\n";
    let dir = folder(&[("j.toml", &format!("{step}{}{}", blocks[0], blocks[1]))]);
    let finished = run(dir.path(), &["check", "j.toml"], &[]).await;
    assert_eq!(finished.code, 0, "{finished:?}");
    assert!(finished.stderr.contains("0 errors, 8 warnings"), "{finished:?}");
}

#[tokio::test]
async fn what_the_demo_embeds_is_what_serve_loads() {
    let demo = std::fs::read_to_string(root().join("src/cli/demo.rs")).unwrap();
    let mut shipped: Vec<String> = Vec::new();
    for folder in ["journeys", "journeys/shared"] {
        for entry in std::fs::read_dir(root().join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.ends_with(".toml") {
                shipped.push(format!("{folder}/{name}"));
            }
        }
    }
    for file in shipped {
        assert!(demo.contains(&format!("include_str!(\"../../{file}\")")), "the demo does not embed {file}");
    }
}

/// What maps to what: the files of docs/migrate load, and hold what the page says they do.
#[tokio::test]
async fn the_worked_files_of_the_migration_page_load() {
    let env = [("SLACK_URL", "https://hooks.slack.example/services/T/B/X")];
    for from in ["blackbox_exporter", "gatus", "uptime-kuma"] {
        let dir = root().join("docs/migrate").join(from);
        let finished = run(&dir, &["check", "--deny-warnings", "--config", "journeyd.toml"], &env).await;
        assert_eq!((finished.code, finished.stderr.as_str()), (0, ""), "{from}: {finished:?}");
        assert!(finished.stdout.lines().count() >= 2, "{from}");
    }
}

/// The configuration of docs/access.md, with files behind it.
#[tokio::test]
async fn the_access_page_is_a_valid_configuration() {
    let page = std::fs::read_to_string(root().join("docs/access.md")).unwrap();
    let block = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["h".to_owned()]).unwrap().self_signed(&key).unwrap();
    let hash = bcrypt::hash("x", 10).unwrap();
    let config = format!("journeys = [\"a.toml\"]\n{}", block.replace("$2y$10$…", &hash));
    let dir = folder(&[
        ("journeyd.toml", &config),
        ("a.toml", "base_url = \"http://h\"\n[[steps]]\nid = \"s\"\nrequest = \"GET /\"\n"),
        ("tls.crt", &certificate.pem()),
        ("tls.key", &key.serialize_pem()),
        ("scrape-token", "0123456789abcdef0123"),
        ("deploy-token", "fedcba98765432100123"),
    ]);
    let finished = run(dir.path(), &["check", "--deny-warnings", "--config", "journeyd.toml"], &[]).await;
    assert_eq!((finished.code, finished.stderr.as_str()), (0, ""), "{finished:?}");
}

/// Links between the pages lead somewhere, headings included.
#[test]
fn every_link_of_the_documentation_leads_somewhere() {
    let anchor = |heading: &str| -> String {
        let kept = heading.trim_start_matches('#').trim().to_lowercase();
        kept.chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
            .collect::<String>()
            .replace(' ', "-")
    };
    let mut pages = vec![root().join("README.md"), root().join("ARCHITECTURE.md"), root().join("deploy/README.md")];
    pages.extend(
        std::fs::read_dir(root().join("docs"))
            .unwrap()
            .map(|e| e.unwrap().path())
            .filter(|p| p.extension().is_some_and(|e| e == "md")),
    );
    for page in pages {
        let text = std::fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            if link.starts_with("http") || link.is_empty() {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            assert!(target.exists(), "{}: {link}", page.display());
            if !heading.is_empty() {
                let text = std::fs::read_to_string(&target).unwrap();
                assert!(text.lines().any(|l| l.starts_with('#') && anchor(l) == heading), "{}: {link}", page.display());
            }
        }
    }
}
