//! Diagnostics: what is wrong in a file, where, what was expected, and what to do about it.
//!
//! Parsers collect all of them; nobody stops at the first. Rendering is `annotate-snippets`, the renderer
//! of rustc, so that carets stand where people expect them.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock};

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

/// A configuration file's name, as the user knows it, and its text.
pub struct SourceFile {
    pub name: String,
    pub text: String,
    /// The text as it may be shown, once something in it turned out to be a secret.
    shown: RwLock<Option<String>>,
}

/// Not the text: it may hold what must not be shown.
impl fmt::Debug for SourceFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl PartialEq for SourceFile {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.text == other.text
    }
}

impl Eq for SourceFile {}

impl SourceFile {
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        Arc::new(Self { name: name.into(), text: text.into(), shown: RwLock::default() })
    }

    /// Keeps `spans` out of every diagnostic: a line is shown whole, whatever the caret points at.
    pub fn hide(&self, spans: &[Span]) {
        let mut bytes = self.shown().into_bytes();
        for span in spans {
            // Line breaks stay, so that places stay.
            bytes[span.clone()].iter_mut().filter(|b| **b != b'\n').for_each(|b| *b = b'*');
        }
        *self.shown.write().unwrap_or_else(PoisonError::into_inner) =
            Some(String::from_utf8_lossy(&bytes).into_owned());
    }

    fn shown(&self) -> String {
        self.shown.read().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_else(|| self.text.clone())
    }

    /// One-based line and column (in characters) of a byte offset.
    pub fn line_column(&self, offset: usize) -> (usize, usize) {
        let mut at = offset.min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        let before = &self.text[..at];
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

/// Bytes `start..end` of a file.
pub type Span = Range<usize>;

/// A place in a file.
#[derive(Clone, PartialEq, Eq)]
pub struct Place {
    pub file: Arc<SourceFile>,
    pub span: Span,
}

/// Without line and column: what is the same elsewhere in its file is the same.
impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file.name)
    }
}

impl Place {
    /// `FILE:LINE:COL`.
    pub fn show(&self) -> String {
        let (line, column) = self.file.line_column(self.span.start);
        format!("{}:{line}:{column}", self.file.name)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gravity {
    Error,
    Warning,
}

/// One finding. `message` says what is wrong, `label` (under the caret) what was expected or found there,
/// `help` what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    pub gravity: Gravity,
    pub place: Place,
    pub message: String,
    pub label: String,
    pub help: Option<String>,
    /// A second place that matters, such as the first of two duplicates, in the same file.
    pub other: Option<(Span, String)>,
}

impl Diagnostic {
    pub fn error(place: Place, message: impl Into<String>) -> Self {
        Self { gravity: Gravity::Error, place, message: message.into(), label: String::new(), help: None, other: None }
    }

    pub fn warning(place: Place, message: impl Into<String>) -> Self {
        Self { gravity: Gravity::Warning, ..Self::error(place, message) }
    }

    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub fn help_if(mut self, help: Option<String>) -> Self {
        self.help = help.or(self.help);
        self
    }

    pub fn other(mut self, span: Span, label: impl Into<String>) -> Self {
        self.other = Some((span, label.into()));
        self
    }

    pub fn render(&self, colour: bool) -> String {
        let title = match self.gravity {
            Gravity::Error => Level::ERROR.primary_title(&self.message),
            Gravity::Warning => Level::WARNING.primary_title(&self.message),
        };
        let shown = self.place.file.shown();
        let text = shown.as_str();
        // Parsers count bytes, and some end within a character.
        let clamp = |span: &Span| {
            let end = text.ceil_char_boundary(span.end.min(text.len()));
            text.floor_char_boundary(span.start.min(end))..end
        };
        let mut snippet = Snippet::source(text)
            .path(self.place.file.name.as_str())
            .annotation(AnnotationKind::Primary.span(clamp(&self.place.span)).label(self.label.as_str()));
        if let Some((span, label)) = &self.other {
            snippet = snippet.annotation(AnnotationKind::Context.span(clamp(span)).label(label.as_str()));
        }
        let mut group = title.element(snippet);
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        renderer.render(&[group])
    }
}

/// Collects findings while files are read. Shared by reference, so that every parser can add to it.
#[derive(Debug, Default)]
pub struct Findings {
    list: RefCell<Vec<Diagnostic>>,
    /// Where what goes wrong follows from a mistake that is told.
    shadows: RefCell<Vec<Place>>,
}

impl Findings {
    pub fn push(&self, diagnostic: Diagnostic) {
        let place = &diagnostic.place;
        let follows = |shadow: &Place| shadow.file == place.file && shadow.span.contains(&place.span.start);
        if self.shadows.borrow().iter().any(follows) {
            return;
        }
        // A fragment used by ten journeys is read ten times; its mistakes are told once.
        let mut list = self.list.borrow_mut();
        if !list.contains(&diagnostic) {
            list.push(diagnostic);
        }
    }

    /// Says that a mistake, already told, has consequences within `place` that are not worth telling.
    pub fn shadow(&self, place: Place) {
        self.shadows.borrow_mut().push(place);
    }

    pub fn has_errors(&self) -> bool {
        self.error_count() > 0
    }

    pub fn error_count(&self) -> usize {
        self.list.borrow().iter().filter(|d| d.gravity == Gravity::Error).count()
    }

    /// Everything found, by file and position.
    pub fn into_sorted(self) -> Vec<Diagnostic> {
        let mut list = self.list.into_inner();
        list.sort_by(|a, b| {
            (&a.place.file.name, a.place.span.start, a.gravity).cmp(&(
                &b.place.file.name,
                b.place.span.start,
                b.gravity,
            ))
        });
        list
    }
}

/// All findings as one text for a terminal, with a closing count.
pub fn render_all(diagnostics: &[Diagnostic], colour: bool) -> String {
    let mut out = String::new();
    for diagnostic in diagnostics {
        out.push_str(&diagnostic.render(colour));
        out.push_str("\n\n");
    }
    let count = |gravity| diagnostics.iter().filter(|d| d.gravity == gravity).count();
    let (errors, warnings) = (count(Gravity::Error), count(Gravity::Warning));
    let files: BTreeSet<&str> = diagnostics.iter().map(|d| d.place.file.name.as_str()).collect();
    let plural = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
    out.push_str(&format!(
        "{}, {} in {}\n",
        plural(errors, "error"),
        plural(warnings, "warning"),
        plural(files.len(), "file")
    ));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diagnostic_shows_place_caret_expectation_and_help() {
        let file = SourceFile::new("j.toml", "title = \"x\"\nlabels = 3\n");
        let place = Place { file, span: 21..22 };
        let text = Diagnostic::error(place, "`labels` has the wrong type")
            .label("expected a table")
            .help("write it so")
            .render(false);
        assert!(text.contains("error: `labels` has the wrong type"), "{text}");
        assert!(text.contains("j.toml:2:10"), "{text}");
        assert!(text.contains("^ expected a table"), "{text}");
        assert!(text.contains("help: write it so"), "{text}");
    }

    #[test]
    fn a_span_that_ends_within_a_character_is_widened() {
        let file = SourceFile::new("x", "größe = 1");
        let text = Diagnostic::error(Place { file, span: 3..5 }, "m").other(0..3, "o").render(false);
        assert!(text.contains("größe"), "{text}");
    }

    #[test]
    fn columns_count_characters_not_bytes() {
        let file = SourceFile::new("x", "é = 1\nüü = 2");
        assert_eq!(file.line_column(3), (1, 3));
        assert_eq!(file.line_column(11), (2, 3));
    }
}
