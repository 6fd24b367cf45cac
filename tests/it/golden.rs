//! One file per kind of mistake, with the exact text that it gets. `UPDATE_GOLDEN=1` rewrites the texts.

use std::path::PathBuf;

use crate::support::{fixtures, process::run};

#[tokio::test]
async fn every_mistake_gets_its_text() {
    let dir = fixtures().join("bad");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "toml"))
        .collect();
    files.sort();
    assert!(files.len() >= 85, "{} fixtures", files.len());
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut wrong = Vec::new();
    for file in &files {
        let name = file.file_name().unwrap().to_str().unwrap();
        let finished = if name.starts_with("config-") {
            run(&dir, &["check", "--config", name], &[]).await
        } else {
            run(&dir, &["check", name], &[]).await
        };
        let got = format!("exit {}\n{}", finished.code, finished.stderr.replace(dir.to_str().unwrap(), "DIR"));
        let golden = file.with_extension("err");
        if update {
            std::fs::write(&golden, &got).unwrap();
        } else {
            let want = std::fs::read_to_string(&golden).unwrap_or_default();
            if got != want {
                wrong.push(format!("{name}\n--- expected\n{want}\n--- got\n{got}"));
            }
        }
        // Whatever else: a place with line and column, and never a bare parser dump.
        assert!(got.contains(&format!("{name}:")) || got.contains("shared/"), "{got}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
