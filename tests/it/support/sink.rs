//! A receiver of webhooks that remembers what it was sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::Value;

use super::eventually;
use super::target::Target;

pub struct Sink {
    target: Target,
    status: Arc<AtomicU16>,
}

/// A delivered webhook.
#[derive(Debug, Clone)]
pub struct Delivery {
    pub id: String,
    pub timestamp: String,
    pub signature: String,
    pub text: String,
    pub body: Value,
}

impl Delivery {
    fn parse(request: &str) -> Self {
        let (head, text) = request.split_once("\r\n\r\n").unwrap();
        let header = |name: &str| {
            let line = head.lines().find(|l| l.to_lowercase().starts_with(&format!("{name}: ")));
            line.map_or_else(String::new, |l| l[name.len() + 2..].trim().to_owned())
        };
        Self {
            id: header("webhook-id"),
            timestamp: header("webhook-timestamp"),
            signature: header("webhook-signature"),
            text: text.to_owned(),
            body: serde_json::from_str(text).unwrap(),
        }
    }

    pub fn kind(&self) -> &str {
        self.body["type"].as_str().unwrap()
    }

    pub fn reason(&self) -> &str {
        self.alert()["reason"].as_str().unwrap()
    }

    pub fn incident(&self) -> &str {
        self.body["data"]["incident"]["id"].as_str().unwrap()
    }

    pub fn alert(&self) -> &Value {
        &self.body["data"]["alerts"][0]
    }
}

impl Sink {
    pub async fn start() -> Self {
        let (target, status) = Target::switchable().await;
        Self { target, status }
    }

    pub fn url(&self) -> String {
        format!("{}/hook", self.target.url)
    }

    /// Answers with this from now on.
    pub fn answer(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    /// Every request so far, refused ones included.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.target.requests().iter().map(|r| Delivery::parse(r)).collect()
    }

    /// Types and reasons so far.
    pub fn told(&self) -> Vec<(String, String)> {
        self.deliveries().iter().map(|d| (d.kind().to_owned(), d.reason().to_owned())).collect()
    }

    pub async fn until(&self, what: &str, test: impl Fn(&[Delivery]) -> bool) -> Vec<Delivery> {
        eventually(what, || async {
            let all = self.deliveries();
            test(&all).then_some(all)
        })
        .await
    }
}
