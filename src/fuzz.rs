//! Entries for the fuzzers in `fuzz/`: what people and browsers write, in any shape, must end in an answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::diag::{Findings, Gravity, SourceFile, render_all};
use crate::document::{Source, Text};
use crate::ids::JourneyId;
use crate::import;
use crate::journey::link::{Library, World, link};
use crate::journey::parse::{FragmentFile, parse_fragment, parse_journey};
use crate::journey::parse_settings::Settings;
use crate::journey::request::Attached;
use crate::journey::template::{Scope, Template};

/// Every fragment is this text.
struct Same(String);

impl Library for Same {
    fn fragment(&self, from: &Arc<SourceFile>, path: &Text, findings: &Findings) -> Option<Arc<FragmentFile>> {
        // A circle ends where the names repeat; ten of them are enough.
        let name = format!("{}{}", from.name, path.value.len() % 10);
        let file = SourceFile::new(name, self.0.clone());
        (from.name.len() < 10).then(|| Arc::new(parse_fragment(&file, findings)))
    }

    fn bytes(&self, _: &Attached, _: bool, _: &Findings) -> Option<bytes::Bytes> {
        Some(bytes::Bytes::from_static(b"content"))
    }
}

/// A journey file; what follows a NUL is the fragment that it uses. Every finding is rendered.
pub fn journey(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (text, fragment) = text.split_once('\0').unwrap_or((text, ""));
    let Some(id) = JourneyId::new("fuzz") else { return };
    let findings = Findings::default();
    let parsed = parse_journey(&SourceFile::new("f", text), &findings);
    let known = BTreeMap::from([("pw".to_owned(), true)]);
    let world = World {
        defaults: &Settings::default(),
        env: &BTreeMap::from([("URL".to_owned(), "http://h".to_owned())]),
        secrets: &known,
        unset: Gravity::Warning,
        overrides: &BTreeMap::new(),
        base_url: None,
    };
    let linked = link(id, parsed, &Same(fragment.to_owned()), &world, &findings);
    assert!(linked.is_some() || findings.has_errors(), "refused without a reason");
    let all = findings.into_sorted();
    assert!(render_all(&all, false).contains("error"));
}

/// A template, parsed and rendered three ways.
pub fn template(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // A list repeated a hundred million times takes minutes: its author would wait, nobody else can write one.
    if text.contains('*') || text.contains("range") {
        return;
    }
    let findings = Findings::default();
    let source = Source { file: SourceFile::new("t", text), findings: &findings };
    let whole = Text { value: text.to_owned(), span: 0..text.len(), origin: Some(0) };
    if let Some(template) = Template::parse(&source, &whole) {
        let scope = Scope::default();
        let _ = template.render(&scope);
        let _ = template.render_target(&scope);
        let _ = template.render_value(&scope);
    } else {
        assert!(findings.has_errors(), "refused without a reason");
    }
}

/// A HAR file; whatever is made of it must be a journey that parses.
pub fn har(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(recorded) = import::har::read(text) {
        is_a_journey(import::journey(recorded, &[]));
    }
}

/// Curl commands; the same.
pub fn curl(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(commands) = import::curl::read(text) {
        is_a_journey(import::journey(commands.requests, &[]));
    }
}

fn is_a_journey(imported: Result<import::Imported, import::ImportError>) {
    let Ok(imported) = imported else { return };
    let findings = Findings::default();
    parse_journey(&SourceFile::new("imported.toml", imported.text.as_str()), &findings);
    let all = findings.into_sorted();
    let broken = all.iter().any(|d| d.gravity == Gravity::Error);
    assert!(!broken, "{}\n{}", imported.text, render_all(&all, false));
}
