//! Templates: `{{ … }}` in any string of a journey.
//!
//! The expressions are minijinja's, strict: an undefined name is an error, found at load wherever possible.
//! A template is split into literal text and expressions here, so that each expression has its place in the
//! file, keeps its type when it is the whole string, and its result can be told apart from the text around
//! it: what a target sent is percent-encoded in a path, and is never itself a template.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

use minijinja::{Environment, ErrorKind, Expression, UndefinedBehavior};
use serde_json::Value as Json;

use crate::diag::{Place, Span};
use crate::document::{Source, Text};
use crate::journey::functions;
use crate::secret::Secret;

/// What a name means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Root {
    /// A var or a capture.
    Name,
    Env,
    Secret,
}

/// A name used by an expression.
#[derive(Clone, Debug)]
pub struct Reference {
    pub root: Root,
    pub name: String,
    /// The name as the expression spells it: it differs once a fragment's captures got a prefix.
    written: String,
    pub place: Place,
    /// Written as `env.X | default(…)`: may be unset.
    pub has_default: bool,
}

enum Program {
    /// A bare name, `env.X` or `secret.x`: looked up directly.
    Lookup,
    Compiled(Expression<'static, 'static>),
}

struct Code {
    source: String,
    program: Program,
}

#[derive(Clone)]
struct Expr {
    code: Arc<Code>,
    references: Vec<Reference>,
}

#[derive(Clone)]
enum Part {
    Literal(String),
    Expr(Expr),
}

/// A parsed template.
#[derive(Clone)]
pub struct Template {
    parts: Arc<[Part]>,
    /// As written.
    pub text: Arc<str>,
    pub place: Place,
}

/// A value that a name is bound to during a run.
#[derive(Clone, Debug)]
pub struct Bound {
    pub value: Json,
    pub secret: bool,
    /// It came from the target.
    pub captured: bool,
}

/// A secret as templates see it.
#[derive(Clone, Debug)]
pub struct NamedSecret {
    /// The name that masks it.
    pub mask: String,
    pub value: Secret,
}

/// Everything that a template may refer to, at one moment of a run.
#[derive(Clone)]
pub struct Scope {
    pub names: BTreeMap<String, Bound>,
    pub env: Arc<BTreeMap<String, String>>,
    pub secrets: Arc<BTreeMap<String, NamedSecret>>,
    pub functions: functions::Functions,
}

/// A rendered template.
#[derive(Clone, Debug, Default)]
pub struct Rendered {
    pub text: String,
    /// A secret went in.
    pub secret: bool,
    /// Texts computed from secrets that redaction by value would otherwise not recognise, with their masks.
    pub derived: Vec<(String, String)>,
}

/// Why a template could not be rendered. The text is safe to show once redacted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderError {
    /// The missing name, when that is the reason.
    pub missing: Option<String>,
    pub message: String,
}

impl Template {
    /// Parses `text`. Mistakes go to the source's findings.
    pub fn parse(source: &Source<'_>, text: &Text) -> Option<Self> {
        let mut parts = Vec::new();
        let mut ok = true;
        let value = text.value.as_str();
        let mut at = 0;
        while let Some(open) = value[at..].find("{{").map(|i| at + i) {
            if open > at {
                parts.push(Part::Literal(value[at..open].to_owned()));
            }
            let Some(close) = expression_end(value, open + 2) else {
                source.push(
                    source
                        .error(text.part(open..value.len()), "a template is not closed", "`{{` without `}}`")
                        .help("for literal braces write {{ '{{' }}"),
                );
                return None;
            };
            match Expr::parse(source, text, open + 2, &value[open + 2..close]) {
                Some(expr) => parts.push(Part::Expr(expr)),
                None => ok = false,
            }
            at = close + 2;
        }
        if at < value.len() {
            parts.push(Part::Literal(value[at..].to_owned()));
        }
        for part in &parts {
            if let Part::Literal(literal) = part
                && let Some(i) = literal.find("{%")
            {
                let start = value.find(literal.as_str()).unwrap_or(0) + i;
                source.push(
                    source
                        .error(text.part(start..start + 2), "statements are not part of the template language", "only {{ … }} is")
                        .help("write {{ 'a' if condition else 'b' }} for a choice, {{ '{%' }} for the characters themselves"),
                );
                ok = false;
            }
        }
        ok.then(|| Self { parts: parts.into(), text: value.into(), place: source.place(text.span.clone()) })
    }

    /// A template without expressions.
    pub fn literal(text: &str, place: Place) -> Self {
        Self { parts: Arc::new([Part::Literal(text.to_owned())]), text: text.into(), place }
    }

    pub fn references(&self) -> impl Iterator<Item = &Reference> {
        self.parts.iter().flat_map(|part| match part {
            Part::Literal(_) => &[][..],
            Part::Expr(expr) => &expr.references,
        })
    }

    /// The text, when nothing is to be filled in.
    pub fn as_literal(&self) -> Option<&str> {
        match &*self.parts {
            [] => Some(""),
            [Part::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// The template up to the first expression that uses a name for which `captured` holds: the part that the
    /// journey's author alone decided.
    pub fn before_captures(&self, captured: impl Fn(&str) -> bool) -> Self {
        let taints = |part: &Part| match part {
            Part::Literal(_) => false,
            Part::Expr(e) => e.references.iter().any(|r| r.root == Root::Name && captured(&r.name)),
        };
        let parts = self.parts.iter().take_while(|part| !taints(part)).cloned();
        Self { parts: parts.collect(), text: Arc::clone(&self.text), place: self.place.clone() }
    }

    /// The same template with other names for its vars and captures, where `rename` gives one.
    pub fn renamed(&self, rename: &dyn Fn(&str) -> Option<String>) -> Self {
        let mut parts: Vec<Part> = self.parts.to_vec();
        for part in &mut parts {
            if let Part::Expr(expr) = part {
                for reference in expr.references.iter_mut().filter(|r| r.root == Root::Name) {
                    if let Some(name) = rename(&reference.name) {
                        reference.name = name;
                    }
                }
            }
        }
        Self { parts: parts.into(), text: Arc::clone(&self.text), place: self.place.clone() }
    }

    pub fn render(&self, scope: &Scope) -> Result<Rendered, RenderError> {
        self.render_with(scope, |text, _| text)
    }

    /// Renders a request target: a captured value that follows other text is percent-encoded, so that a
    /// hostile target cannot steer the request elsewhere. Vars are the author's own and stay as they are.
    pub fn render_target(&self, scope: &Scope) -> Result<Rendered, RenderError> {
        self.render_with(scope, |text, first| if first { text } else { encode_segment(&text) })
    }

    fn render_with(&self, scope: &Scope, captured: impl Fn(String, bool) -> String) -> Result<Rendered, RenderError> {
        let mut out = Rendered::default();
        for part in self.parts.iter() {
            match part {
                Part::Literal(text) => out.text.push_str(text),
                Part::Expr(expr) => {
                    let value = expr.evaluate(scope)?;
                    let mut text = to_text(&value.value);
                    if value.secret {
                        out.secret = true;
                        if matches!(expr.code.program, Program::Compiled(_)) {
                            out.derived.push((expr.mask(scope), text.clone()));
                        }
                    }
                    if value.captured && !filters_of(&expr.code.source).iter().any(|(_, filter)| *filter == "urlencode")
                    {
                        text = captured(text, out.text.is_empty());
                    }
                    out.text.push_str(&text);
                }
            }
        }
        Ok(out)
    }

    /// Renders to a value: the expression's own type when it is the whole string, else text.
    pub fn render_value(&self, scope: &Scope) -> Result<(Json, Rendered), RenderError> {
        if let [Part::Expr(expr)] = &*self.parts {
            let bound = expr.evaluate(scope)?;
            let text = to_text(&bound.value);
            let derived = match expr.code.program {
                Program::Compiled(_) if bound.secret => vec![(expr.mask(scope), text.clone())],
                _ => Vec::new(),
            };
            return Ok((bound.value, Rendered { text, secret: bound.secret, derived }));
        }
        let rendered = self.render(scope)?;
        Ok((Json::String(rendered.text.clone()), rendered))
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Template({:?})", self.text)
    }
}

impl Expr {
    fn parse(source: &Source<'_>, text: &Text, offset: usize, raw: &str) -> Option<Self> {
        let trimmed = raw.trim();
        let start = offset + (raw.len() - raw.trim_start().len());
        let whole: Span = text.part(start..start + trimmed.len());
        if trimmed.is_empty() {
            source.push(source.error(
                text.part(offset - 2..offset + raw.len() + 2),
                "a template is empty",
                "expected a name",
            ));
            return None;
        }
        let compiled = match ENVIRONMENT.compile_expression_owned(trimmed.to_owned()) {
            Ok(compiled) => compiled,
            Err(error) => {
                let span = error
                    .range()
                    .filter(|r| r.end <= trimmed.len() && r.start < r.end)
                    .map_or(whole, |r| text.part(start + r.start..start + r.end));
                let reason = error.detail().unwrap_or("it cannot be understood").to_owned();
                source.push(source.error(span, "this template expression is not valid", reason));
                return None;
            }
        };
        let mut ok = true;
        for (at, filter) in filters_of(trimmed) {
            if !functions::FILTERS.contains(&filter) {
                let help = match crate::ids::nearest(filter, functions::FILTERS.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("filters: {}", functions::FILTERS.join(", ")),
                };
                let span = text.part(start + at..start + at + filter.len());
                source.push(source.error(span, format!("there is no filter `{filter}`"), "unknown filter").help(help));
                ok = false;
            }
        }
        let mut references = Vec::new();
        for dotted in compiled.undeclared_variables(true) {
            let mut segments = dotted.split('.');
            let first = segments.next().unwrap_or_default();
            let (root, name) = match (first, segments.next()) {
                ("env", Some(name)) => (Root::Env, name),
                ("secret", Some(name)) => (Root::Secret, name),
                ("env" | "secret", None) => {
                    source.push(source.error(
                        whole.clone(),
                        format!("`{first}` needs a name"),
                        format!("expected `{first}.name`"),
                    ));
                    ok = false;
                    continue;
                }
                (function, _) if functions::NAMES.contains(&function) => {
                    let called = find_word(trimmed, function)
                        .is_some_and(|at| trimmed[at + function.len()..].trim_start().starts_with('('));
                    if !called {
                        let at = find_word(trimmed, function).unwrap_or(0);
                        source.push(
                            source
                                .error(
                                    text.part(start + at..start + at + function.len()),
                                    format!("`{function}` is a function"),
                                    "not called",
                                )
                                .help(format!("write {{{{ {function}() }}}}")),
                        );
                        ok = false;
                    }
                    continue;
                }
                (name, _) => (Root::Name, name),
            };
            let written = match root {
                Root::Name => name.to_owned(),
                _ => format!("{first}.{name}"),
            };
            let at = find_word(trimmed, &written).map_or(0..trimmed.len(), |i| i..i + written.len());
            let tail = trimmed[at.end..].trim_start();
            let has_default = tail.strip_prefix('|').is_some_and(|t| t.trim_start().starts_with("default"));
            let span = text.part(start + at.start..start + at.end);
            references.push(Reference {
                root,
                name: name.to_owned(),
                written: name.to_owned(),
                place: source.place(span),
                has_default,
            });
        }
        references.sort_by_key(|r| r.place.span.start);
        let bare = match &references[..] {
            [only] => match only.root {
                Root::Name => trimmed == only.name,
                Root::Env => trimmed == format!("env.{}", only.name),
                Root::Secret => trimmed == format!("secret.{}", only.name),
            },
            _ => false,
        };
        let program = if bare { Program::Lookup } else { Program::Compiled(compiled) };
        let code = Arc::new(Code { source: trimmed.to_owned(), program });
        let expr = Self { code, references };
        if ok && expr.references.is_empty() {
            // Nothing that a run could change: what goes wrong now goes wrong always.
            if let Err(error) = expr.evaluate(&Scope::default()) {
                source.push(source.error(whole, "this template expression cannot be evaluated", error.message));
                return None;
            }
        } else if ok && let Some(problem) = expr.problem_of_the_language() {
            source.push(source.error(whole, "this template expression cannot be evaluated", problem));
            return None;
        }
        ok.then_some(expr)
    }

    /// What no value could mend: a test, function or method that does not exist.
    fn problem_of_the_language(&self) -> Option<String> {
        let Program::Compiled(compiled) = &self.code.program else { return None };
        let any = || minijinja::Value::from("1");
        let mut context = BTreeMap::new();
        let mut named = BTreeMap::from([("env", BTreeMap::new()), ("secret", BTreeMap::new())]);
        for reference in &self.references {
            match reference.root {
                Root::Name => drop(context.insert(reference.written.clone(), any())),
                Root::Env => drop(named.entry("env").or_default().insert(reference.name.clone(), any())),
                Root::Secret => drop(named.entry("secret").or_default().insert(reference.name.clone(), any())),
            }
        }
        context.extend(named.into_iter().map(|(name, values)| (name.to_owned(), minijinja::Value::from(values))));
        Scope::default().functions.bind(&self.code.source, &mut context);
        let error = compiled.eval(minijinja::Value::from(context)).err()?;
        let known =
            matches!(error.kind(), ErrorKind::UnknownTest | ErrorKind::UnknownFunction | ErrorKind::UnknownFilter);
        known.then(|| error.detail().map_or_else(|| error.kind().to_string(), str::to_owned))
    }

    fn evaluate(&self, scope: &Scope) -> Result<Bound, RenderError> {
        if let (Program::Lookup, Some(reference)) = (&self.code.program, self.references.first()) {
            return scope.lookup(reference).ok_or_else(|| scope.missing(reference));
        }
        let Program::Compiled(compiled) = &self.code.program else {
            return Err(RenderError { missing: None, message: format!("`{}` cannot be evaluated", self.code.source) });
        };
        let mut context: BTreeMap<String, minijinja::Value> = BTreeMap::new();
        let mut env = BTreeMap::new();
        let mut secrets = BTreeMap::new();
        let (mut secret, mut captured) = (false, false);
        for reference in &self.references {
            let Some(bound) = scope.lookup(reference) else {
                if reference.has_default {
                    continue;
                }
                return Err(scope.missing(reference));
            };
            secret |= bound.secret;
            captured |= bound.captured;
            let value = minijinja::Value::from(minijinja::value::Serde(&bound.value));
            match reference.root {
                Root::Name => context.insert(reference.written.clone(), value),
                Root::Env => env.insert(reference.name.clone(), value),
                Root::Secret => secrets.insert(reference.name.clone(), value),
            };
        }
        context.insert("env".to_owned(), minijinja::Value::from(env));
        context.insert("secret".to_owned(), minijinja::Value::from(secrets));
        scope.functions.bind(&self.code.source, &mut context);
        let value = compiled.eval(minijinja::Value::from(context)).map_err(|error| RenderError {
            missing: None,
            message: format!(
                "{{{{ {} }}}}: {}",
                self.code.source,
                error.detail().map_or_else(|| error.kind().to_string(), str::to_owned)
            ),
        })?;
        if value.is_undefined() {
            return Err(RenderError { missing: None, message: format!("{{{{ {} }}}} has no value", self.code.source) });
        }
        let value = serde_json::to_value(&value).map_err(|_| RenderError {
            missing: None,
            message: format!("{{{{ {} }}}} is not a plain value", self.code.source),
        })?;
        Ok(Bound { value, secret, captured })
    }

    /// The name that masks what this expression computes.
    fn mask(&self, scope: &Scope) -> String {
        let secret = self.references.iter().find_map(|r| match r.root {
            Root::Secret => scope.secrets.get(&r.name).map(|s| s.mask.clone()),
            Root::Name if scope.names.get(&r.name).is_some_and(|b| b.secret) => Some(r.name.to_uppercase()),
            _ => None,
        });
        secret.unwrap_or_else(|| "SECRET".to_owned())
    }
}

impl Default for Scope {
    /// Nothing is defined, it is 1970, and randomness is 0.
    fn default() -> Self {
        Self {
            names: BTreeMap::new(),
            env: Arc::default(),
            secrets: Arc::default(),
            functions: functions::Functions { now: crate::clock::Timestamp::default(), random: Arc::new(|| 0) },
        }
    }
}

impl Scope {
    fn lookup(&self, reference: &Reference) -> Option<Bound> {
        let name = reference.name.as_str();
        match reference.root {
            Root::Name => self.names.get(name).cloned(),
            Root::Env => self.env.get(name).map(|value| Bound {
                value: Json::String(value.clone()),
                secret: false,
                captured: false,
            }),
            Root::Secret => self.secrets.get(name).map(|secret| Bound {
                value: Json::String(secret.value.expose().to_owned()),
                secret: true,
                captured: false,
            }),
        }
    }

    fn missing(&self, reference: &Reference) -> RenderError {
        let what = match reference.root {
            Root::Name => format!("`{}` has no value", reference.name),
            Root::Env => format!("the environment variable {} is not set", reference.name),
            Root::Secret => format!("the secret `{}` is not set", reference.name),
        };
        RenderError { missing: Some(reference.name.clone()), message: what }
    }
}

/// How a value reads inside a text.
pub fn to_text(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        Json::Null => String::new(),
        other => other.to_string(),
    }
}

/// Percent-encodes what would end or leave a path segment or query value.
fn encode_segment(text: &str) -> String {
    if text == "." || text == ".." {
        return text.replace('.', "%2E");
    }
    let mut out = String::new();
    for b in text.bytes() {
        if b.is_ascii_alphanumeric() || b"-_.~!$'()*,;=".contains(&b) {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
    out
}

/// The byte after which `}}` closes an expression, past any quoted string.
fn expression_end(text: &str, from: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut quote = None;
    let mut depth = 0_usize;
    let mut i = from;
    while i < bytes.len() {
        let b = bytes[i];
        match quote {
            Some(q) => {
                if b == b'\\' {
                    i += 1;
                } else if b == q {
                    quote = None;
                }
            }
            None => match b {
                b'"' | b'\'' => quote = Some(b),
                b'{' => depth += 1,
                b'}' if depth > 0 => depth -= 1,
                b'}' if bytes.get(i + 1) == Some(&b'}') => return Some(i),
                _ => {}
            },
        }
        i += 1;
    }
    None
}

/// The filters that an expression names, with their offsets. Strings are skipped.
fn filters_of(source: &str) -> Vec<(usize, &str)> {
    let bytes = source.as_bytes();
    let mut out = Vec::new();
    let mut quote = None;
    let mut i = 0;
    while i < bytes.len() {
        match (quote, bytes[i]) {
            (Some(_), b'\\') => i += 1,
            (Some(q), b) if b == q => quote = None,
            (None, b @ (b'"' | b'\'')) => quote = Some(b),
            (None, b'|') => {
                let start = i + 1 + (source[i + 1..].len() - source[i + 1..].trim_start().len());
                let len =
                    source[start..].find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(source.len() - start);
                if len > 0 {
                    out.push((start, &source[start..start + len]));
                }
            }
            _ => {}
        }
        i += 1;
    }
    out
}

fn find_word(text: &str, word: &str) -> Option<usize> {
    let boundary = |c: Option<char>| c.is_none_or(|c| !(c.is_alphanumeric() || c == '_' || c == '.'));
    text.match_indices(word)
        .find(|(i, _)| {
            boundary(text[..*i].chars().next_back())
                && text[i + word.len()..].chars().next().is_none_or(|c| !(c.is_alphanumeric() || c == '_'))
        })
        .map(|(i, _)| i)
}

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut env = Environment::empty();
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    functions::add_filters(&mut env);
    env
});

#[cfg(test)]
mod tests;
