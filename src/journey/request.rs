//! What a step sends besides its target: body, credentials, and how often.

use std::time::Duration;

use bytes::Bytes;

use crate::diag::Place;
use crate::document::Text;
use crate::journey::assertion::Assertion;
use crate::journey::json_template::JsonTemplate;
use crate::journey::template::Template;

#[derive(Debug, Clone)]
pub enum Body {
    None,
    Form(Vec<(String, Template)>),
    Json(JsonTemplate),
    Text(Template),
    File(Attached),
    Multipart(Vec<Part>),
    GraphQl(GraphQl),
}

/// A file that is sent as it is.
#[derive(Debug, Clone)]
pub struct Attached {
    /// As written, relative to the file that names it.
    pub path: Text,
    pub place: Place,
    /// Read when the journey is linked.
    pub bytes: Bytes,
}

impl Attached {
    /// The last part of the path.
    pub fn name(&self) -> &str {
        self.path.value.rsplit('/').next().unwrap_or_default()
    }

    /// The path from the working directory, as files are shown.
    pub fn shown_path(&self) -> String {
        match self.place.file.name.rsplit_once('/') {
            Some((folder, _)) if !self.path.value.starts_with('/') => format!("{folder}/{}", self.path.value),
            _ => self.path.value.clone(),
        }
    }

    /// The media type by the file's ending: the few that uploads and API calls use.
    pub fn media_type(&self) -> &'static str {
        const TYPES: [(&str, &str); 14] = [
            ("csv", "text/csv"),
            ("gif", "image/gif"),
            ("htm", "text/html"),
            ("html", "text/html"),
            ("jpeg", "image/jpeg"),
            ("jpg", "image/jpeg"),
            ("json", "application/json"),
            ("pdf", "application/pdf"),
            ("png", "image/png"),
            ("svg", "image/svg+xml"),
            ("txt", "text/plain"),
            ("webp", "image/webp"),
            ("xml", "application/xml"),
            ("zip", "application/zip"),
        ];
        let ending = self.name().rsplit_once('.').map_or_else(String::new, |(_, e)| e.to_ascii_lowercase());
        TYPES.iter().find(|(e, _)| *e == ending).map_or("application/octet-stream", |(_, t)| t)
    }
}

/// One part of a `multipart/form-data` body.
#[derive(Debug, Clone)]
pub struct Part {
    pub name: String,
    pub content: Content,
    pub filename: Option<Template>,
    pub media_type: Option<String>,
}

#[derive(Debug, Clone)]
pub enum Content {
    Text(Template),
    File(Attached),
}

#[derive(Debug, Clone)]
pub struct GraphQl {
    pub query: Template,
    pub variables: Vec<(String, JsonTemplate)>,
    pub operation: Option<Template>,
    /// Some assertion looks at `$.errors`, so that they are not failures by themselves.
    pub errors_asserted: bool,
}

#[derive(Debug, Clone)]
pub enum Auth {
    /// Not even the journey's.
    None,
    Basic {
        user: Template,
        password: Template,
    },
    Bearer(Template),
    OAuth2(Box<OAuth2>),
}

/// The client credentials grant of RFC 6749 §4.4.
#[derive(Debug, Clone)]
pub struct OAuth2 {
    pub token_url: Template,
    pub client_id: Template,
    pub client_secret: Template,
    pub scope: Option<Template>,
    pub audience: Option<Template>,
    /// Id and secret go into the form instead of a Basic header.
    pub in_body: bool,
}

/// Repeats a request until something holds.
#[derive(Debug, Clone)]
pub struct Poll {
    pub every: Duration,
    pub lasts: Duration,
    /// Written by the user, not the default.
    pub lasts_is_own: bool,
    pub until: Vec<Assertion>,
}

/// Repeats a request that broke.
#[derive(Debug, Clone, Copy)]
pub struct Retry {
    pub times: u32,
    pub wait: Duration,
    pub any_method: bool,
}

/// Between two requests of a poll unless it says otherwise, and at least.
pub const POLL_EVERY: Duration = Duration::from_secs(2);
pub const POLL_LEAST: Duration = Duration::from_millis(100);
pub const POLL_FOR: Duration = Duration::from_secs(30);
pub const RETRY_WAIT: Duration = Duration::from_secs(1);

/// The templates of a value, shared or exclusive: written once for both.
macro_rules! walk {
    ($name:ident, $nested:ident $(, $mutability:tt)?) => {
        pub fn $name<'a>(&'a $($mutability)? self, out: &mut Vec<&'a $($mutability)? Template>) {
            match self {
                Self::None | Self::File(_) => {}
                Self::Form(fields) => {
                    for (_, template) in fields {
                        out.push(template);
                    }
                }
                Self::Json(json) => json.$nested(out),
                Self::Text(text) => out.push(text),
                Self::Multipart(parts) => {
                    for Part { content, filename, .. } in parts {
                        if let Some(filename) = filename {
                            out.push(filename);
                        }
                        if let Content::Text(text) = content {
                            out.push(text);
                        }
                    }
                }
                Self::GraphQl(GraphQl { query, variables, operation, .. }) => {
                    out.push(query);
                    for (_, value) in variables {
                        value.$nested(out);
                    }
                    if let Some(operation) = operation {
                        out.push(operation);
                    }
                }
            }
        }
    };
}

macro_rules! walk_auth {
    ($name:ident $(, $mutability:tt)?) => {
        pub fn $name<'a>(&'a $($mutability)? self, out: &mut Vec<&'a $($mutability)? Template>) {
            match self {
                Self::None => {}
                Self::Basic { user, password } => out.extend([user, password]),
                Self::Bearer(token) => out.push(token),
                Self::OAuth2(oauth2) => {
                    let OAuth2 { token_url, client_id, client_secret, scope, audience, in_body: _ } = &$($mutability)? **oauth2;
                    out.extend([token_url, client_id, client_secret]);
                    for template in [scope, audience] {
                        if let Some(template) = template {
                            out.push(template);
                        }
                    }
                }
            }
        }
    };
}

impl Body {
    walk!(collect, collect);
    walk!(collect_mut, collect_mut, mut);

    pub fn files(&mut self) -> Vec<&mut Attached> {
        match self {
            Self::File(file) => vec![file],
            Self::Multipart(parts) => parts
                .iter_mut()
                .filter_map(|part| match &mut part.content {
                    Content::File(file) => Some(file),
                    Content::Text(_) => None,
                })
                .collect(),
            _ => Vec::new(),
        }
    }
}

impl Auth {
    walk_auth!(collect);
    walk_auth!(collect_mut, mut);
}
