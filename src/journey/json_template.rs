//! JSON values with templates in their strings.

use serde_json::Value as Json;

use crate::journey::template::{RenderError, Rendered, Scope, Template};

/// The templates of a value, shared or exclusive: written once for both.
macro_rules! walk {
    ($name:ident $(, $mutability:tt)?) => {
        pub fn $name<'a>(&'a $($mutability)? self, out: &mut Vec<&'a $($mutability)? Template>) {
            match self {
                Self::Plain(_) => {}
                Self::Text(template) => out.push(template),
                Self::List(items) => {
                    for item in items {
                        item.$name(out);
                    }
                }
                Self::Object(entries) => {
                    for (_, value) in entries {
                        value.$name(out);
                    }
                }
            }
        }
    };
}

/// A JSON value with templates in its strings.
#[derive(Debug, Clone)]
pub enum JsonTemplate {
    Plain(Json),
    Text(Template),
    List(Vec<JsonTemplate>),
    Object(Vec<(String, JsonTemplate)>),
}

impl JsonTemplate {
    /// Renders to a value; `note` is told of every string rendered on the way.
    pub fn render(&self, scope: &Scope, note: &mut dyn FnMut(&Rendered)) -> Result<Json, RenderError> {
        Ok(match self {
            Self::Plain(value) => value.clone(),
            Self::Text(template) => {
                let (value, rendered) = template.render_value(scope)?;
                note(&rendered);
                value
            }
            Self::List(items) => {
                let mut list = Vec::with_capacity(items.len());
                for item in items {
                    list.push(item.render(scope, note)?);
                }
                Json::Array(list)
            }
            Self::Object(entries) => {
                let mut map = serde_json::Map::new();
                for (key, value) in entries {
                    map.insert(key.clone(), value.render(scope, note)?);
                }
                Json::Object(map)
            }
        })
    }

    walk!(collect);
    walk!(collect_mut, mut);

    pub fn templates(&self) -> Vec<&Template> {
        let mut out = Vec::new();
        self.collect(&mut out);
        out
    }
}
