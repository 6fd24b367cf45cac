//! Real peers from Debian's packages: Prometheus and its tools. Without them tests say so and pass, unless everything
//! is required, as `./tests/run --install` and CI see to.

use std::process::Stdio;

use serde_json::Value as Json;

use super::{all_required, client, eventually, folder, get};

/// Whether `program` can be started; a missing one is an error where everything is required.
pub fn have(program: &str) -> bool {
    let found =
        std::process::Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_err() {
        assert!(!all_required(), "{program} is not installed: ./tests/run --install");
        eprintln!("SKIPPED: {program} is not installed");
    }
    found.is_ok()
}

/// A port that was free a moment ago, for programs that cannot choose one themselves.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub struct Prometheus {
    pub url: String,
    _child: tokio::process::Child,
    _dir: tempfile::TempDir,
}

impl Prometheus {
    /// Scrapes these `http://address` every second, as job `journeyd`.
    pub async fn scraping(targets: &[&str]) -> Self {
        let list: Vec<String> = targets.iter().map(|t| format!("'{}'", t.trim_start_matches("http://"))).collect();
        Self::with(&format!("  - job_name: journeyd\n    static_configs:\n      - targets: [{}]\n", list.join(", ")))
            .await
    }

    /// With these entries under `scrape_configs`.
    pub async fn with(scrape_configs: &str) -> Self {
        let config = format!("global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\nscrape_configs:\n{scrape_configs}");
        let dir = folder(&[("prometheus.yml", &config)]);
        let port = free_port();
        let child = tokio::process::Command::new("prometheus")
            .args([
                "--config.file=prometheus.yml",
                "--storage.tsdb.path=data",
                "--enable-feature=exemplar-storage",
                "--log.level=warn",
            ])
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .current_dir(dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let url = format!("http://127.0.0.1:{port}");
        eventually("Prometheus", || async { (get(&format!("{url}/-/ready")).await.0 == 200).then_some(()) }).await;
        Self { url, _child: child, _dir: dir }
    }

    /// `data` of an answer of the HTTP API.
    pub async fn api(&self, path: &str, pairs: &[(&str, &str)]) -> Json {
        let mut url = url::Url::parse(&format!("{}/api/v1/{path}", self.url)).unwrap();
        url.query_pairs_mut().extend_pairs(pairs);
        let text = client().get(url).send().await.unwrap().text().await.unwrap();
        let json: Json = serde_json::from_str(&text).unwrap();
        assert_eq!(json["status"], "success", "{pairs:?}: {json}");
        json["data"].clone()
    }

    /// The single value of an instant query.
    pub async fn query(&self, promql: &str) -> Option<f64> {
        self.api("query", &[("query", promql)]).await["result"].get(0)?["value"][1].as_str()?.parse().ok()
    }

    pub async fn until(&self, promql: &str, test: impl Fn(f64) -> bool) -> f64 {
        eventually(promql, || async { self.query(promql).await.filter(|v| test(*v)) }).await
    }
}
