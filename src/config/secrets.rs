//! `[secrets]`: the only way in which a secret gets in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::config::fields::secret;
use crate::config::files::{Files, normalise};
use crate::config::load::Request;
use crate::diag::{Diagnostic, Gravity, SourceFile, Span};
use crate::document::{Source, TableReader, Text, in_file_order};
use crate::ids::{is_name, nearest};
use crate::journey::template::NamedSecret;
use crate::notify::{Dialect, NotifySettings};
use crate::secret::{MIN_REDACTED_LEN, Redactor, Secret};

/// A secret file may be a certificate bundle, not more.
const MAX_FILE: usize = 64 << 10;

/// What `[secrets]` came to.
#[derive(Default)]
pub struct Secrets {
    pub values: BTreeMap<String, NamedSecret>,
    /// Every entry, and whether it has a value.
    pub known: BTreeMap<String, bool>,
}

impl Secrets {
    /// The value of an entry that `who` needs, and where it is named.
    pub fn named(&self, source: &Source<'_>, name: &Text, who: &str, unset: Gravity) -> Option<(Secret, Span)> {
        if let Some(secret) = self.values.get(&name.value) {
            return Some((secret.value.clone(), name.span.clone()));
        }
        let place = source.place(name.span.clone());
        if self.known.contains_key(&name.value) {
            let mut unset_one =
                Diagnostic::error(place, format!("the secret `{}` has no value, and {who} needs it", name.value))
                    .label("not set")
                    .help("set what [secrets] names for it");
            unset_one.gravity = unset;
            source.push(unset_one);
        } else {
            let near = nearest(&name.value, self.known.keys().map(String::as_str));
            source.push(
                Diagnostic::error(place, format!("there is no secret `{}`", name.value))
                    .label("not in [secrets]")
                    .help_if(near.map(|n| format!("did you mean `{n}`?"))),
            );
        }
        None
    }

    /// Knows every secret, and what is secret of the receivers' URLs.
    pub fn redactor(&self, notify: &NotifySettings) -> Redactor {
        let urls: Vec<(String, Secret)> = notify
            .receivers
            .iter()
            .flat_map(|(id, receiver)| {
                let name = format!("{}_URL", id.as_str().replace('-', "_").to_uppercase());
                let urls = receiver.urls.iter().chain(&receiver.proxy);
                let parts: Vec<String> = urls.flat_map(|url| secret_parts(receiver.dialect, url)).collect();
                parts.into_iter().map(move |part| (name.clone(), Secret::new(&part)))
            })
            .filter(|(_, part)| !self.values.values().any(|secret| secret.value == *part))
            .collect();
        let secrets = self.values.values().map(|s| (s.mask.as_str(), &s.value));
        Redactor::new(secrets.chain(urls.iter().map(|(name, part)| (name.as_str(), part))))
    }
}

/// Whoever knows a chat webhook's path may write there; servers echo paths. The whole is masked, and parts that look like
/// tokens; `services` and `webhooks` are words, and a journey's own URLs may hold them.
fn secret_parts(dialect: Dialect, url: &Secret) -> Vec<String> {
    let Ok(url) = url::Url::parse(url.expose()) else { return Vec::new() };
    let token = |text: &str| text.len() >= 20 || (text.len() >= 8 && text.bytes().any(|b| b.is_ascii_digit()));
    let segments = url.path_segments().into_iter().flatten().map(str::to_owned);
    let values = url.query_pairs().map(|(_, value)| value.into_owned());
    let user = Some(url.username().to_owned());
    let mut parts: Vec<String> = segments.chain(values).chain(user).filter(|text| token(text)).collect();
    if dialect == Dialect::Slack || !parts.is_empty() {
        let path = url.path().to_owned();
        parts.extend(Some(path).filter(|path| path.len() >= 8));
        parts.push(url.as_str().to_owned());
    }
    parts.extend(url.password().map(str::to_owned));
    parts
}

/// Reads the table and the places it names. `base` is the configuration's folder.
pub fn read(table: &TableReader<'_, '_, '_>, base: &Path, request: &Request) -> Secrets {
    let env = &request.env;
    let mut secrets = Secrets::default();
    let source = &table.source;
    hide_values(table);
    for (key, node) in in_file_order(source, table.table) {
        if !is_name(&key.value) {
            source.push(source.error(
                key.span,
                format!("`{}` cannot name a secret", key.value),
                "expected letters, digits and _",
            ));
            continue;
        }
        if node.get_ref().is_str() {
            source.push(
                source
                    .error(node.span(), format!("the secret `{}` stands in the configuration", key.value), "not here")
                    .help(format!(
                        "say where it comes from: {} = {{ env = \"{}\" }}",
                        key.value,
                        key.value.to_uppercase()
                    )),
            );
            continue;
        }
        let Some(entry) = source.table(node, &secret::TABLE) else { continue };
        secrets.known.insert(key.value.clone(), false);
        let named_env = entry.string(&secret::ENV);
        let file = entry.text(&secret::FILE);
        let default = entry.string(&secret::DEFAULT);
        let credential = entry.text(&secret::CREDENTIAL).and_then(|text| credential_path(&entry, text, env));
        let sources = [&secret::ENV, &secret::FILE, &secret::CREDENTIAL];
        let written = sources.iter().filter(|f| entry.get(f).is_some()).count();
        if written == 0 && entry.get(&secret::DEFAULT).is_none() {
            source.push(
                source
                    .error(
                        key.span.clone(),
                        format!("the secret `{}` has no source", key.value),
                        "expected env, file or credential",
                    )
                    .help(format!("{} = {{ env = \"{}\" }}", key.value, key.value.to_uppercase())),
            );
            continue;
        }
        if written > 1 {
            source.push(source.error(
                key.span.clone(),
                format!("the secret `{}` has {written} sources", key.value),
                "expected one of env, file and credential",
            ));
        }
        let from_env = named_env.as_ref().and_then(|name| env.get(name).cloned()).filter(|v| !v.is_empty());
        let place = file
            .as_ref()
            .map(|text| (text, base.join(&text.value)))
            .or(credential.as_ref().map(|(t, p)| (t, p.clone())));
        let from_file = match place {
            Some((path, at)) => match read_file(&request.files, &normalise(&at)) {
                Ok(value) => Some(value).filter(|v| !v.is_empty()),
                Err(error) if default.is_none() => {
                    source.push(
                        Diagnostic::warning(
                            source.place(path.span.clone()),
                            format!("the secret file {} cannot be read", path.value),
                        )
                        .label(error.to_string()),
                    );
                    None
                }
                Err(_) => None,
            },
            None => None,
        };
        let Some(value) = from_env.or(from_file).or(default) else { continue };
        if value.len() < MIN_REDACTED_LEN {
            source.push(
                Diagnostic::warning(
                    source.place(key.span),
                    format!("the secret `{}` is shorter than {MIN_REDACTED_LEN} characters", key.value),
                )
                .label("too short to be recognised in texts")
                .help("it cannot be masked by value where a target echoes it; use a longer one"),
            );
        }
        secrets.known.insert(key.value.clone(), true);
        let mask = named_env.unwrap_or_else(|| key.value.to_uppercase());
        secrets.values.insert(key.value, NamedSecret { mask, value: Secret::new(&value) });
    }
    secrets
}

/// Where systemd puts a credential. Outside of a unit there is none: the secret is unset.
fn credential_path(
    entry: &TableReader<'_, '_, '_>,
    name: Text,
    env: &BTreeMap<String, String>,
) -> Option<(Text, PathBuf)> {
    if name.value.is_empty() || name.value.contains('/') || name.value.starts_with('.') {
        entry.source.push(entry.source.error(
            name.span,
            "this is not the name of a credential",
            "expected the name in LoadCredential=NAME:…",
        ));
        return None;
    }
    let folder = PathBuf::from(env.get("CREDENTIALS_DIRECTORY")?);
    let path = folder.join(&name.value);
    Some((name, path))
}

/// Values that stand in the file, by mistake or as a default, are masked wherever a line of it is shown: every text
/// but the names of where a secret comes from.
fn hide_values(table: &TableReader<'_, '_, '_>) {
    let mut spans = Vec::new();
    for (_, node) in table.table {
        match node.get_ref().as_table() {
            Some(entry) => {
                let places = [secret::ENV.name, secret::FILE.name, secret::CREDENTIAL.name];
                let values = entry.iter().filter(|(key, _)| !places.contains(&key.get_ref().as_ref()));
                spans.extend(values.map(|(_, value)| value.span()));
            }
            None => spans.push(node.span()),
        }
    }
    table.source.file.hide(&spans);
}

/// Hashes of passwords, wherever they stand: whoever sees one can try passwords at it.
pub fn hide_hashes(file: &SourceFile) {
    let mut spans = Vec::new();
    for (start, _) in file.text.match_indices("$2") {
        let rest = &file.text[start..];
        let length = rest.bytes().take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'$' | b'.' | b'/')).count();
        // `$2y$10$` and more than a little.
        if length > 20 && rest.as_bytes().get(3) == Some(&b'$') {
            spans.push(start..start + length);
        }
    }
    file.hide(&spans);
}

/// Where the file is not valid TOML, nobody knows which texts are values: hides all that may be of `[secrets]`.
pub fn hide_section(file: &SourceFile) {
    let mut spans = Vec::new();
    let mut inside = false;
    let mut offset = 0;
    for line in file.text.split_inclusive('\n') {
        let trimmed = line.trim();
        let header =
            trimmed.strip_prefix('[').and_then(|rest| rest.split(']').next()).map(|name| name.trim_start_matches('['));
        let is_header = header.is_some_and(|name| name.chars().all(|c| c.is_alphanumeric() || "_-.\"' ".contains(c)));
        if let Some(name) = header.filter(|_| is_header) {
            inside = name.trim_start_matches(['"', '\'', ' ']).starts_with("secrets");
        } else {
            inside |= trimmed.trim_start_matches(['"', '\'']).starts_with("secrets");
            if inside {
                // A line without `=` goes on with a value begun above.
                let start = line.find('=').map_or(0, |equals| equals + 1);
                spans.push(offset + start..offset + line.trim_end().len().max(start));
            }
        }
        offset += line.len();
    }
    file.hide(&spans);
}

fn read_file(files: &Files, path: &Path) -> std::io::Result<String> {
    let text = files.read(path)?;
    if text.len() > MAX_FILE {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "larger than 64 KiB"));
    }
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
