//! The small languages inside strings: regular expressions, JSONPath, CSS selectors. Compiled at load.

use regex::{Regex, RegexBuilder};
use scraper::Selector;
use serde_json_path::JsonPath;

use crate::document::{Source, Text};
use crate::journey::assertion::{CssQuery, JsonQuery};

/// Limits on a regular expression: ten thousand journeys must not eat the memory, and no request can.
const REGEX_SIZE: usize = 1 << 20;
const REGEX_LENGTH: usize = 4096;

pub fn read_regex(source: &Source<'_>, text: &Text) -> Option<Regex> {
    if text.value.len() > REGEX_LENGTH {
        source.push(source.error(
            text.span.clone(),
            "this regular expression is too long",
            format!("at most {REGEX_LENGTH} bytes"),
        ));
        return None;
    }
    match RegexBuilder::new(&text.value).size_limit(REGEX_SIZE).dfa_size_limit(2 * REGEX_SIZE).build() {
        Ok(regex) => Some(regex),
        Err(regex::Error::CompiledTooBig(limit)) => {
            source.push(
                source
                    .error(
                        text.span.clone(),
                        "this regular expression is too large",
                        format!("more than {limit} bytes when compiled"),
                    )
                    .help("large repetitions such as {1000} multiply: lower them"),
            );
            None
        }
        Err(error) => {
            let message = error.to_string();
            let reason = message.lines().last().unwrap_or("").trim_start_matches("error: ").to_owned();
            source.push(
                source
                    .error(text.span.clone(), "this regular expression is not valid", reason)
                    .help("in TOML, 'single quotes' keep backslashes as they are"),
            );
            None
        }
    }
}

/// A JSONPath without what stands in quotes: names may hold any character.
fn without_names(path: &str) -> String {
    let mut out = String::new();
    let mut quote = None;
    let mut escaped = false;
    for c in path.chars() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(q) if c == q => quote = None,
            Some(_) => {}
            None if c == '\'' || c == '"' => quote = Some(c),
            None => out.push(c),
        }
    }
    out
}

pub fn read_json_path(source: &Source<'_>, text: &Text) -> Option<JsonQuery> {
    let written = text.value.as_str();
    let bare = without_names(written);
    if bare.matches("..").count() > 1 {
        source.push(source.error(
            text.span.clone(),
            "this JSONPath descends twice",
            "at most one `..`: two can visit every node many times",
        ));
        return None;
    }
    if bare.chars().skip(1).any(|c| c == '$') || bare.matches('?').count() > 1 {
        source.push(source.error(
            text.span.clone(),
            "this JSONPath is too powerful",
            "one filter, and no `$` within it: others can visit every node for every node",
        ));
        return None;
    }
    match JsonPath::parse(written) {
        // RFC 9535 admits only singular queries in comparisons, so the parser itself can tell.
        Ok(path) => Some(JsonQuery {
            singular: JsonPath::parse(&format!("$[?{written}==1]")).is_ok(),
            text: written.to_owned(),
            path,
        }),
        Err(error) => {
            let at = error.position().min(written.len());
            let span = if written.is_char_boundary(at) && at < written.len() {
                text.part(at..written.len())
            } else {
                text.span.clone()
            };
            let help = if written.starts_with('$') {
                "RFC 9535, for example \"$.items[0].name\" or \"$.items[?@.price > 10]\"".to_owned()
            } else {
                format!("a JSONPath starts with $: \"$.{written}\"")
            };
            source.push(source.error(span, "this JSONPath is not valid", "cannot be understood from here").help(help));
            None
        }
    }
}

pub fn read_selector(source: &Source<'_>, text: &Text, attr: Option<String>) -> Option<CssQuery> {
    match Selector::parse(&text.value) {
        Ok(selector) => Some(CssQuery { text: text.value.clone(), selector, attr }),
        Err(_) => {
            source.push(
                source
                    .error(text.span.clone(), "this CSS selector is not valid", "this is not a selector that journeyd knows")
                    .help("CSS 4 without pseudo-elements; a selector with spaces or dots needs quotes as a key: expect.css.\"ul.results li\""),
            );
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::{Findings, SourceFile};

    #[test]
    fn paths_that_could_run_for_minutes_are_refused_and_odd_names_are_not() {
        for (path, fine) in [
            ("$.a[0].b", true),
            ("$['a$b']['c?d..e']", true),
            ("$.items[?@.price > 10].name", true),
            ("$..id", true),
            ("$..a..b", false),
            ("$[?count($.*) > 9]", false),
            ("$[?@[?@.a]]", false),
        ] {
            let findings = Findings::default();
            let source = Source { file: SourceFile::new("t", path), findings: &findings };
            let text = Text { value: path.to_owned(), span: 0..path.len(), origin: Some(0) };
            assert_eq!(read_json_path(&source, &text).is_some(), fine, "{path}");
        }
    }

    #[test]
    fn singular_paths_are_known_as_such() {
        for (path, singular) in
            [("$.a.b", true), ("$['a'][0]", true), ("$.a[*]", false), ("$..a", false), ("$[?@.a]", false)]
        {
            let findings = Findings::default();
            let source = Source { file: SourceFile::new("t", path), findings: &findings };
            let text = Text { value: path.to_owned(), span: 0..path.len(), origin: Some(0) };
            assert_eq!(read_json_path(&source, &text).unwrap().singular, singular, "{path}");
        }
    }
}
