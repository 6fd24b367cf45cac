//! The demo's stand-in for a chat: shows what Slack would have been sent. It understands what the demo sends, no
//! more.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::response::Html;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::Value;

use crate::clock::{Timestamp, now};
use crate::demo::pages;

const MOST: usize = 30;

type Messages = Arc<Mutex<VecDeque<(Timestamp, Value)>>>;

pub fn router() -> Router {
    Router::new().route(super::CHAT_HOOK, post(receive)).route("/chat", get(show)).with_state(Messages::default())
}

async fn receive(State(messages): State<Messages>, Json(message): Json<Value>) -> &'static str {
    let mut messages = messages.lock().unwrap_or_else(PoisonError::into_inner);
    messages.push_front((now(), message));
    messages.truncate(MOST);
    "ok"
}

async fn show(State(messages): State<Messages>) -> Html<String> {
    let messages = messages.lock().unwrap_or_else(PoisonError::into_inner);
    let mut body = String::from(
        "<h1>Chat</h1><p>What a Slack channel would show. <a href=\"/faults\">Break something</a>, wait for two failed \
         runs, and reload.</p>",
    );
    for (at, message) in messages.iter() {
        let attachment = &message["attachments"][0];
        let color = attachment["color"].as_str().unwrap_or("#888");
        body.push_str(&format!(
            "<article class=\"message\" style=\"border-left: 4px solid {}; padding-left: 1em\"><small>{at}</small>",
            pages::escape(color)
        ));
        for block in attachment["blocks"].as_array().into_iter().flatten() {
            let text = block["text"]["text"].as_str().or_else(|| block["elements"][0]["text"].as_str()).unwrap_or("");
            let tag = if block["type"] == "header" { "h3" } else { "pre" };
            body.push_str(&format!("<{tag}>{}</{tag}>", pages::escape(&plain(text))));
        }
        body.push_str("</article>");
    }
    Html(pages::page("Chat", None, &body))
}

/// Slack's markup without its dates and escapes.
fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find('<') {
        let Some(end) = rest[start..].find('>').map(|end| start + end) else { break };
        out.push_str(&rest[..start]);
        let inner = &rest[start + 1..end];
        out.push_str(inner.rsplit('|').next().unwrap_or(inner));
        rest = &rest[end + 1..];
    }
    out.push_str(rest);
    out.replace('*', "").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}
