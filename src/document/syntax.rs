//! TOML's own errors, told as well as ours: what is wrong, where it began, what to write instead.
//!
//! The parser goes on after an error and stumbles over its consequences. So one mistake is told once: an unclosed
//! bracket at its beginning, and nothing that follows from it.

use std::ops::Range;

use crate::diag::Span;

/// A syntax error for people.
#[derive(Debug, PartialEq, Eq)]
pub struct Mistake {
    pub span: Span,
    pub label: String,
    pub help: Option<String>,
    /// What else goes wrong within is a consequence.
    pub shadow: Range<usize>,
}

/// The mistakes behind the parser's errors, which are given as place and message.
pub fn mistakes(text: &str, errors: &[(Span, String)]) -> Vec<Mistake> {
    let mut out: Vec<Mistake> = Vec::new();
    if let Some((opener, bracket)) = unclosed(text)
        && errors.iter().any(|(span, _)| span.start >= opener)
    {
        let (what, close) = if bracket == '[' { ("list", ']') } else { ("table", '}') };
        out.push(Mistake {
            span: opener..opener + 1,
            label: format!("this {what} is not closed"),
            help: Some(format!("it needs a `{close}`")),
            shadow: opener..text.len(),
        });
    }
    for (span, message) in errors {
        if out.iter().any(|earlier| earlier.shadow.contains(&span.start)) {
            continue;
        }
        out.push(mistake(text, span, message));
    }
    out.sort_by_key(|m| m.span.start);
    out
}

fn line_of(text: &str, at: usize) -> Range<usize> {
    let at = text.floor_char_boundary(at.min(text.len()));
    let start = text[..at].rfind('\n').map_or(0, |i| i + 1);
    let end = text[at..].find('\n').map_or(text.len(), |i| at + i);
    start..end
}

fn mistake(text: &str, span: &Span, message: &str) -> Mistake {
    let whole = line_of(text, span.start);
    let line = text[whole.clone()].trim();
    let told = |label: &str, help: Option<String>| Mistake {
        span: span.clone(),
        label: label.to_owned(),
        help,
        shadow: whole.clone(),
    };
    let key = line.split('=').next().unwrap_or_default().trim();
    let value = line.split_once('=').map_or("", |(_, value)| value.trim());
    if message.contains("unclosed") && line.starts_with('[') {
        let name = line.trim_matches(['[', ']', ' ']);
        let closed = if line.starts_with("[[") { format!("[[{name}]]") } else { format!("[{name}]") };
        // Everything up to the next header would land in the wrong table.
        let next = text[whole.end..].find("\n[").map_or(text.len(), |i| whole.end + i);
        let shadow = whole.start..next;
        return Mistake { shadow, ..told("this header is not closed", Some(format!("write {closed}"))) };
    }
    if message.contains("duplicate key") {
        let help = "a key may stand only once in a table; a second [[steps]] needs its own header";
        return told("this key stands here twice", Some(help.to_owned()));
    }
    if message.contains("cannot extend value of type inline table") {
        let help = format!(
            "`{}` stands above as {{ … }}, which is whole: write this key into it, or all of them as `{}.… = …` lines",
            first_part(key),
            first_part(key)
        );
        return told("a table in braces cannot be added to", Some(help));
    }
    if message.contains("escape") {
        let help = "in 'single quotes' a backslash stands for itself; in \"double quotes\" write \\\\";
        return told("TOML has no such escape", Some(help.to_owned()));
    }
    if message.contains("invalid unquoted key") {
        let help = format!(
            "a key with other characters than letters, digits, `-` and `_` needs quotes, as in {}",
            quoted_key(key)
        );
        return told("this cannot stand in a key without quotes", Some(help));
    }
    if message.contains("key with no value") {
        let help = if line.contains('=') {
            format!("a key with spaces needs quotes, as in {}", quoted_key(key))
        } else {
            "a line is key = value".to_owned()
        };
        return told("expected `=`", Some(help));
    }
    if message.contains("multi-line") || (value.starts_with("\"\"\"") || value.starts_with("'''")) {
        return told("this text is not closed", Some("three quotes begin it and end it".to_owned()));
    }
    if value.starts_with(['“', '”', '‘', '’', '„', '«']) {
        return told("these are not TOML's quotes", Some("use straight quotes: \" or '".to_owned()));
    }
    if ["yes", "no", "on", "off", "True", "False", "TRUE", "FALSE"].contains(&value) {
        return told("this is no value", Some("a boolean is true or false".to_owned()));
    }
    if value.starts_with('"') && value.matches('"').count() % 2 == 1 {
        return told("this text is not closed", Some("the string has no closing quote".to_owned()));
    }
    let plain_value = !value.is_empty() && !value.starts_with(['"', '\'', '[', '{', '+', '-']);
    if crate::quantity::parse_duration(value).is_some() {
        return told("a duration is a text", Some(format!("it needs quotes: {key} = \"{value}\"")));
    }
    if message.contains("must be quoted") || plain_value {
        // The value stays out: it may be a secret that somebody forgot to quote.
        return told("this is no value", Some(format!("text needs quotes: {key} = \"…\"")));
    }
    told(&message.replace('\n', ", "), None)
}

fn first_part(key: &str) -> &str {
    key.split('.').next().unwrap_or(key)
}

/// The key with its last part, which is where odd characters stand, in quotes.
fn quoted_key(key: &str) -> String {
    for table in ["expect.json.", "expect.css.", "expect.header.", "expect.cookie."] {
        if let Some(rest) = key.strip_prefix(table) {
            return format!("{table}\"{rest}\"");
        }
    }
    format!("\"{key}\"")
}

/// The bracket of a value that is still open where a header or the next key begins, or at the end.
fn unclosed(text: &str) -> Option<(usize, char)> {
    let mut open: Vec<(usize, char)> = Vec::new();
    let mut at = 0;
    let mut quote: Option<&str> = None;
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim();
        if quote.is_none()
            && let Some((_, bracket)) = open.last()
            && (is_header(trimmed) || (*bracket == '[' && is_assignment(trimmed)))
        {
            return open.last().copied();
        }
        let header = open.is_empty() && quote.is_none() && trimmed.starts_with('[');
        let mut rest = line;
        while !rest.is_empty() && !header {
            let here = at + (line.len() - rest.len());
            if let Some(q) = quote {
                if q.starts_with('"') && rest.starts_with('\\') {
                    let skip = 1 + rest[1..].chars().next().map_or(0, char::len_utf8);
                    rest = &rest[skip..];
                } else if rest.starts_with(q) {
                    quote = None;
                    rest = &rest[q.len()..];
                } else {
                    rest = &rest[rest.chars().next().map_or(1, char::len_utf8)..];
                }
                continue;
            }
            if let Some(q) = ["\"\"\"", "'''", "\"", "'"].into_iter().find(|q| rest.starts_with(q)) {
                quote = Some(q);
                rest = &rest[q.len()..];
                continue;
            }
            match rest.chars().next() {
                Some('#') => break,
                Some(c @ ('[' | '{')) => open.push((here, c)),
                Some(']' | '}') => drop(open.pop()),
                _ => {}
            }
            rest = &rest[rest.chars().next().map_or(1, char::len_utf8)..];
        }
        // Quotes of one line end with it, closed or not.
        if quote.is_some_and(|q| q.len() == 1) {
            quote = None;
        }
        at += line.len();
    }
    open.last().copied()
}

fn is_header(line: &str) -> bool {
    let Some(inner) = line.strip_prefix('[') else { return false };
    let inner = inner.trim_start_matches('[');
    let name = inner.split(']').next().unwrap_or_default();
    !name.is_empty()
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
        && name.contains(char::is_alphabetic)
}

fn is_assignment(line: &str) -> bool {
    let Some((key, _)) = line.split_once('=') else { return false };
    let key = key.trim();
    !key.is_empty() && key.starts_with(|c: char| c.is_ascii_alphabetic()) && !key.contains([',', '{', '['])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_bracket_is_found_where_it_began() {
        for (text, want) in [
            ("a = [1, 2\n[[steps]]\nid = \"x\"\n", Some((4, '['))),
            ("a = { b = 1\n[t]\n", Some((4, '{'))),
            ("a = [1, 2\nb = 3\n", Some((4, '['))),
            ("a = [\n  [1, 2],\n  3,\n]\nb = 1\n", None),
            ("a = \"[\"\nb = '{'\n# [\n", None),
            ("a = \"\"\"\n[x\n\"\"\"\n", None),
            ("a = [\"x]\"", Some((4, '['))),
            ("[t]\n[[u]]\na = {}\n", None),
            ("a = \"\\\"[\"\n", None),
        ] {
            assert_eq!(unclosed(text), want, "{text}");
        }
    }
}
