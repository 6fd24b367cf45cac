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

/// The README's first own journey, as the reader would write it.
#[tokio::test]
async fn the_readme_example_is_a_valid_journey() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let examples: Vec<&str> = readme
        .split("```toml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .filter(|text| text.contains("[[steps]]"))
        .collect();
    assert!(!examples.is_empty());
    for (n, text) in examples.into_iter().enumerate() {
        let name = format!("example-{n}.toml");
        let dir = folder(&[(&name, text)]);
        let finished = run(dir.path(), &["check", "--deny-warnings", &name], &[]).await;
        assert_eq!((finished.code, finished.stderr.as_str()), (0, ""), "{text}\n{finished:?}");
    }
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
