//! What the tests share: the binary, its output, targets that misbehave.

pub mod monitoring;
pub mod process;
pub mod sink;
pub mod target;

use std::path::{Path, PathBuf};
use std::time::Duration;

/// The repository's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn fixtures() -> PathBuf {
    root().join("tests/fixtures")
}

/// How long anything may take before a test fails. Generous: it bounds, it does not measure.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Polls until `probe` gives a value; fails the test after [`PATIENCE`].
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut probe: impl FnMut() -> F) -> T {
    let mut last = tokio::time::interval(Duration::from_millis(50));
    for _ in 0..PATIENCE.as_millis() / 50 {
        last.tick().await;
        if let Some(value) = probe().await {
            return value;
        }
    }
    panic!("gave up waiting: {what}");
}

/// A folder with files, removed at the end.
pub fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    dir
}

/// The value of a series in an exposition.
pub fn sample(exposition: &str, series: &str) -> Option<f64> {
    let line = exposition.lines().find(|l| l.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')))?;
    line[series.len() + 1..].split(' ').next()?.parse().ok()
}

/// A client that neither follows redirects nor uses a proxy.
pub fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).timeout(PATIENCE).build().unwrap()
}

pub async fn get(url: &str) -> (u16, String) {
    match client().get(url).send().await {
        Ok(response) => (response.status().as_u16(), response.text().await.unwrap_or_default()),
        Err(_) => (0, String::new()),
    }
}

/// Whether everything must be there, as `./tests/run --install` and CI see to.
pub fn all_required() -> bool {
    std::env::var_os("JOURNEYD_TEST_REQUIRE_ALL").is_some()
}

/// The Python of `tests/requirements.txt`; says loudly when it is missing.
pub fn python() -> Option<PathBuf> {
    let folder = root().join("target/test-python");
    let path = folder.join("bin/python");
    if folder.join("requirements.txt").exists() {
        return Some(path);
    }
    assert!(!all_required(), "target/test-python is missing: ./tests/run --install");
    eprintln!("SKIPPED: the packages of tests/requirements.txt are not installed (./tests/run --install)");
    None
}

/// The packages of `tests/node/package.json`; says loudly when they are missing.
pub fn node_modules() -> Option<PathBuf> {
    let path = root().join("target/test-node/node_modules");
    if path.is_dir() {
        return Some(path);
    }
    assert!(!all_required(), "target/test-node is missing: ./tests/run --install");
    eprintln!("SKIPPED: the packages of tests/node/package.json are not installed (./tests/run --install)");
    None
}

/// The same where a browser is needed too.
pub fn python_with_browser() -> Option<PathBuf> {
    if !Path::new("/usr/bin/chromium").exists() {
        assert!(!all_required(), "chromium is not installed: ./tests/run --install");
        eprintln!("SKIPPED: chromium is not installed (./tests/run --install)");
        return None;
    }
    python()
}
