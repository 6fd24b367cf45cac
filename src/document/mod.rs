//! Reading a spanned TOML document against field tables.
//!
//! A [`TableReader`] takes keys out of a table; it has told of every unknown key before the first one is read.

mod field;
pub mod schema;
mod syntax;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diag::{Diagnostic, Findings, Place, SourceFile, Span};
use crate::ids::{ID_RULE, is_id, nearest};
use crate::quantity::{DURATION_RULE, SIZE_RULE, parse_duration, parse_size};

pub(crate) use field::fields;
pub use field::{Field, Shape, TableKind};

/// A value with its place.
pub type Node<'i> = Spanned<DeValue<'i>>;

/// A file being read, and where its findings go.
#[derive(Clone, Debug)]
pub struct Source<'f> {
    pub file: Arc<SourceFile>,
    pub findings: &'f Findings,
}

impl<'f> Source<'f> {
    pub fn place(&self, span: Range<usize>) -> Place {
        Place { file: Arc::clone(&self.file), span }
    }

    pub fn error(&self, span: Span, message: impl Into<String>, label: impl Into<String>) -> Diagnostic {
        Diagnostic::error(self.place(span), message).label(label)
    }

    pub fn push(&self, diagnostic: Diagnostic) {
        self.findings.push(diagnostic);
    }

    /// Parses the text; TOML's own errors become findings, and what could be read is returned all the same.
    pub fn parse<'i>(&self, text: &'i str) -> Spanned<DeTable<'i>> {
        let (table, errors) = DeTable::parse_recoverable(text);
        let errors: Vec<(Span, String)> =
            errors.iter().map(|e| (e.span().unwrap_or(0..0), e.message().to_owned())).collect();
        for mistake in syntax::mistakes(text, &errors) {
            self.push(self.error(mistake.span, "this is not valid TOML", mistake.label).help_if(mistake.help));
            self.findings.shadow(self.place(mistake.shadow));
        }
        table
    }

    /// Opens `node` as a table of `kind`.
    pub fn table<'i, 't>(&self, node: &'t Node<'i>, kind: &'static TableKind) -> Option<TableReader<'f, 'i, 't>> {
        match node.get_ref() {
            DeValue::Table(table) => Some(self.open(table, node.span(), kind)),
            other => {
                self.wrong_type(node.span(), kind.what, "a table", other);
                None
            }
        }
    }

    /// Opens a table whose node is already known to be one.
    pub fn open<'i, 't>(
        &self,
        table: &'t DeTable<'i>,
        span: Span,
        kind: &'static TableKind,
    ) -> TableReader<'f, 'i, 't> {
        for (key, _) in table {
            let name = key.get_ref().as_ref();
            match kind.fields.iter().find(|f| f.name == name) {
                Some(field) if field.planned => self.push(
                    self.error(key.span(), format!("`{name}` is not available in this version of journeyd"), "planned")
                        .help("remove it for now; the CHANGELOG lists what is not built yet"),
                ),
                Some(_) => {}
                None => {
                    if let Some(help) = (kind.misplaced)(name) {
                        let message = format!("`{name}` stands in {}, where it has no meaning", kind.what);
                        self.push(self.error(key.span(), message, "TOML put it into this table").help(help));
                        continue;
                    }
                    let known = || kind.fields.iter().filter(|f| !f.planned).map(|f| f.name);
                    let help = match nearest(name, known()) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => format!("{} takes: {}", kind.what, known().collect::<Vec<_>>().join(", ")),
                    };
                    self.push(
                        self.error(key.span(), format!("{} has no key `{name}`", kind.what), "unknown key").help(help),
                    );
                }
            }
        }
        TableReader { source: self.clone(), table, span }
    }

    /// Warns of keys in a table with free keys that were probably meant for what stands around it.
    pub fn warn_of_swallowed(&self, table: &DeTable<'_>, name: &str, keys: &[&str]) {
        for (key, _) in table.iter().filter(|(key, _)| keys.contains(&key.get_ref().as_ref())) {
            let key_name = key.get_ref();
            self.push(
                Diagnostic::warning(self.place(key.span()), format!("`{key_name}` stands in the `{name}` table"))
                    .label("TOML put it into this table")
                    .help(format!(
                        "every key after a [{name}] header belongs to it: if this one does not, move it above the header; if it does, \
                         write {name} = {{ … }} on one line"
                    )),
            );
        }
    }

    pub fn wrong_type(&self, span: Span, what: &str, expects: &str, found: &DeValue<'_>) {
        self.push(self.error(
            span,
            format!("{what} has the wrong type"),
            format!("expected {expects}, found {}", type_name(found)),
        ));
    }
}

/// The type of a TOML value with its article.
pub fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// A text with its place, and where its characters stand in the file.
#[derive(Clone, Debug)]
pub struct Text {
    pub value: String,
    /// The whole value, quotes included.
    pub span: Span,
    /// Where the first character stands, when the file holds the value without escapes.
    pub origin: Option<usize>,
}

impl Text {
    /// The file's span for `range` of the value; the whole value when escapes make it inexact.
    pub fn part(&self, range: Range<usize>) -> Span {
        match self.origin {
            Some(origin) => origin + range.start..origin + range.end,
            None => self.span.clone(),
        }
    }

    fn read(source: &Source<'_>, span: Span, value: &str) -> Self {
        let raw = source.file.text.get(span.clone()).unwrap_or("");
        let quote = ["\"\"\"", "'''", "\"", "'"].into_iter().find(|q| raw.starts_with(q)).unwrap_or("");
        let mut offset = quote.len();
        if quote.len() == 3 && raw[offset..].starts_with('\n') {
            offset += 1;
        }
        let exact = raw.get(offset..raw.len().saturating_sub(quote.len())) == Some(value);
        Self { value: value.to_owned(), origin: exact.then_some(span.start + offset), span }
    }
}

/// Takes keys out of one table.
#[derive(Clone)]
pub struct TableReader<'f, 'i, 't> {
    pub source: Source<'f>,
    pub table: &'t DeTable<'i>,
    pub span: Span,
}

impl<'f, 'i, 't> TableReader<'f, 'i, 't> {
    pub fn get(&self, field: &'static Field) -> Option<&'t Node<'i>> {
        self.table.get(field.name)
    }

    pub fn key_span(&self, field: &'static Field) -> Span {
        self.table.get_key_value(field.name).map_or(self.span.clone(), |(key, _)| key.span())
    }

    fn wrong(&self, field: &'static Field, node: &Node<'i>) {
        self.source.wrong_type(node.span(), &format!("`{}`", field.name), field.expects, node.get_ref());
    }

    pub fn text(&self, field: &'static Field) -> Option<Text> {
        let node = self.get(field)?;
        let text = as_text(&self.source, node);
        if text.is_none() {
            self.wrong(field, node);
        }
        text
    }

    pub fn string(&self, field: &'static Field) -> Option<String> {
        self.text(field).map(|t| t.value)
    }

    pub fn boolean(&self, field: &'static Field) -> Option<bool> {
        let node = self.get(field)?;
        let value = node.get_ref().as_bool();
        if value.is_none() {
            self.wrong(field, node);
        }
        value
    }

    /// A whole number within `range`.
    pub fn integer(&self, field: &'static Field, range: std::ops::RangeInclusive<i64>) -> Option<i64> {
        let node = self.get(field)?;
        match as_integer(node.get_ref()) {
            Some(value) if range.contains(&value) => Some(value),
            Some(value) => {
                self.source.push(self.source.error(
                    node.span(),
                    format!("`{}` is out of range", field.name),
                    format!("expected {} to {}, found {value}", range.start(), range.end()),
                ));
                None
            }
            None => {
                self.wrong(field, node);
                None
            }
        }
    }

    /// A duration of at least `least`.
    pub fn duration(&self, field: &'static Field, least: Duration) -> Option<Spanned<Duration>> {
        let node = self.get(field)?;
        let Some(text) = node.get_ref().as_str() else {
            self.wrong(field, node);
            return None;
        };
        match parse_duration(text) {
            Some(value) if value >= least => Some(Spanned::new(node.span(), value)),
            Some(_) => {
                self.source.push(self.source.error(
                    node.span(),
                    format!("`{}` is too short", field.name),
                    format!("expected at least {}", crate::quantity::show_duration(least)),
                ));
                None
            }
            None => {
                self.source.push(self.source.error(
                    node.span(),
                    format!("`{}` is not a duration", field.name),
                    format!("expected {DURATION_RULE}"),
                ));
                None
            }
        }
    }

    pub fn size(&self, field: &'static Field) -> Option<u64> {
        let node = self.get(field)?;
        let size = node.get_ref().as_str().and_then(parse_size);
        if size.is_none() {
            self.source.push(self.source.error(
                node.span(),
                format!("`{}` is not a size", field.name),
                format!("expected {SIZE_RULE}"),
            ));
        }
        size
    }

    /// An id, checked against [`ID_RULE`].
    pub fn id(&self, field: &'static Field) -> Option<Text> {
        let text = self.text(field)?;
        if is_id(&text.value) {
            return Some(text);
        }
        self.source.push(
            self.source
                .error(text.span.clone(), format!("`{}` is not a valid id", text.value), format!("expected {ID_RULE}"))
                .help_if(suggest_id(&text.value)),
        );
        None
    }

    /// One of a closed set of words.
    pub fn word<T: Copy>(&self, field: &'static Field, words: &[(&'static str, T)]) -> Option<T> {
        let text = self.text(field)?;
        let found = words.iter().find(|(name, _)| *name == text.value).map(|(_, value)| *value);
        if found.is_none() {
            let near = nearest(&text.value, words.iter().map(|(name, _)| *name));
            self.source.push(
                self.source
                    .error(
                        text.span,
                        format!("there is no {} `{}`", field.name, text.value),
                        format!("expected {}", field.expects),
                    )
                    .help_if(near.map(|n| format!("did you mean \"{n}\"?"))),
            );
        }
        found
    }

    /// A list of strings; a single string counts as a list of one.
    pub fn texts(&self, field: &'static Field) -> Option<Vec<Text>> {
        let node = self.get(field)?;
        if let Some(text) = as_text(&self.source, node) {
            return Some(vec![text]);
        }
        let Some(list) = node.get_ref().as_array() else {
            self.wrong(field, node);
            return None;
        };
        let texts: Vec<Text> = list
            .iter()
            .filter_map(|item| {
                let text = as_text(&self.source, item);
                if text.is_none() {
                    self.wrong(field, item);
                }
                text
            })
            .collect();
        Some(texts)
    }

    pub fn open(&self, field: &'static Field, kind: &'static TableKind) -> Option<TableReader<'f, 'i, 't>> {
        self.source.table(self.get(field)?, kind)
    }

    /// The entries of a table with free keys, in file order.
    pub fn entries(&self, field: &'static Field) -> Vec<(Text, &'t Node<'i>)> {
        let Some(node) = self.get(field) else { return Vec::new() };
        match node.get_ref() {
            DeValue::Table(table) => in_file_order(&self.source, table),
            _ => {
                self.wrong(field, node);
                Vec::new()
            }
        }
    }

    /// The tables of a `[[name]]` list.
    pub fn tables(&self, field: &'static Field, kind: &'static TableKind) -> Vec<TableReader<'f, 'i, 't>> {
        let Some(node) = self.get(field) else { return Vec::new() };
        match node.get_ref() {
            DeValue::Array(list) => list.iter().filter_map(|item| self.source.table(item, kind)).collect(),
            other => {
                let help = format!("write [[{}]] with two brackets: there can be several", field.name);
                self.source.push(
                    self.source
                        .error(
                            self.key_span(field),
                            format!("`{}` is a list of tables", field.name),
                            format!("expected [[{}]], found {}", field.name, type_name(other)),
                        )
                        .help(help),
                );
                Vec::new()
            }
        }
    }

    pub fn missing(&self, field: &'static Field, what: &str, help: &str) {
        // Only the table's first line is marked: a caret under thirty lines helps nobody.
        let text = &self.source.file.text;
        let start = self.span.start.min(text.len());
        let end = text[start..].find('\n').map_or(text.len(), |i| start + i).min(self.span.end.max(start + 1));
        self.source.push(
            self.source
                .error(start..end, format!("{what} has no `{}`", field.name), format!("expected {}", field.expects))
                .help(help),
        );
    }
}

/// A table's entries as they stand in the file (TOML tables are sorted by key in memory).
pub fn in_file_order<'i, 't>(source: &Source<'_>, table: &'t DeTable<'i>) -> Vec<(Text, &'t Node<'i>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries.into_iter().map(|(key, node)| (Text::read(source, key.span(), key.get_ref()), node)).collect()
}

pub fn as_text(source: &Source<'_>, node: &Node<'_>) -> Option<Text> {
    node.get_ref().as_str().map(|value| Text::read(source, node.span(), value))
}

pub fn as_integer(value: &DeValue<'_>) -> Option<i64> {
    let integer = value.as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

pub fn as_float(value: &DeValue<'_>) -> Option<f64> {
    value.as_float()?.as_str().parse().ok()
}

fn suggest_id(text: &str) -> Option<String> {
    let tidy: String =
        text.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' }).collect();
    let tidy = tidy.trim_matches(['-', '_']);
    is_id(tidy).then(|| format!("for example `{tidy}`; the readable name belongs in `title`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fields!(thing, "a thing" {
        NAME: "name", "a string", Text, "What it is called.";
        WAIT: "wait", "a duration", Duration, "How long.", default "'1s'";
    } planned { "later" });

    fn findings(text: &str, read: impl Fn(&TableReader<'_, '_, '_>)) -> Vec<String> {
        let findings = Findings::default();
        let source = Source { file: SourceFile::new("t.toml", text), findings: &findings };
        let table = source.parse(text);
        read(&source.open(table.get_ref(), 0..text.len(), &thing::TABLE));
        findings.into_sorted().into_iter().map(|d| format!("{}: {} [{}]", d.place.show(), d.message, d.label)).collect()
    }

    #[test]
    fn unknown_planned_and_mistyped_keys_are_all_told() {
        let found = findings("nmae = 1\nlater = 2\nwait = 3\n", |t| {
            t.duration(&thing::WAIT, Duration::ZERO);
        });
        assert_eq!(
            found,
            [
                "t.toml:1:1: a thing has no key `nmae` [unknown key]",
                "t.toml:2:1: `later` is not available in this version of journeyd [planned]",
                "t.toml:3:8: `wait` has the wrong type [expected a duration, found an integer]",
            ]
        );
    }

    #[test]
    fn spans_inside_a_string_are_exact_without_escapes_and_the_whole_value_with_them() {
        let text = "name = 'ab{{ x }}'\nwait = \"a\\tb\"\n";
        findings(text, |t| {
            let name = t.text(&thing::NAME).unwrap();
            assert_eq!(&text[name.part(2..9)], "{{ x }}");
            let wait = t.text(&thing::WAIT).unwrap();
            assert_eq!(&text[wait.part(0..1)], "\"a\\tb\"");
        });
    }
}
