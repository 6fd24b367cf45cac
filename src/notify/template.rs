//! A webhook's body as its receiver wants it: a minijinja template over what the standard body holds.

use std::sync::Arc;

use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior, Value, context};

use crate::notify::message::Message;
use crate::notify::story::{Story, lines};
use crate::notify::{discord, webhook};

/// What a webhook is sent.
#[derive(Debug, Clone)]
pub enum Body {
    /// Standard Webhooks, as DESIGN §5 has it.
    Standard,
    /// What Alertmanager sends to webhooks.
    Alertmanager,
    Own {
        template: BodyTemplate,
        content_type: String,
    },
}

/// Larger bodies are refused by many receivers, and no template needs them.
const MOST: usize = 1 << 20;

/// A template that was tried at load.
#[derive(Debug, Clone)]
pub struct BodyTemplate(Arc<str>);

impl BodyTemplate {
    /// Parses it and tries it on `sample`; the error names line and cause.
    pub fn parse(text: &str, sample: &Message) -> Result<Self, String> {
        let template = Self(text.into());
        template.render(sample)?;
        Ok(template)
    }

    /// `type`, `timestamp`, `incident`, `alerts` as in the standard body; `headline`, `title`, `text` in words.
    pub fn render(&self, message: &Message) -> Result<String, String> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(200_000));
        // Whoever wants JSON writes `| tojson`: that is exact where escaping for HTML is not.
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        let body = webhook::render(message);
        let story = Story::of(message);
        let values = context! {
            type => Value::from(Serde(&body["type"])),
            timestamp => Value::from(Serde(&body["timestamp"])),
            incident => Value::from(Serde(&body["data"]["incident"])),
            alerts => Value::from(Serde(&body["data"]["alerts"])),
            alert => Value::from(Serde(&body["data"]["alerts"][0])),
            headline => story.headline,
            title => story.title,
            text => lines(&discord::Plain { zone: chrono_tz::Tz::UTC }, &story.lines).join("\n"),
        };
        let text = environment.render_str(&self.0, values).map_err(|error| match error.line() {
            Some(line) => {
                format!("line {line}: {}", error.detail().map_or_else(|| error.kind().to_string(), str::to_owned))
            }
            None => error.to_string(),
        })?;
        if text.len() > MOST { Err("the body is larger than 1 MiB".to_owned()) } else { Ok(text) }
    }
}
