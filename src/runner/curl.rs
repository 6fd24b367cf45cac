//! The one line that repeats a request, with secrets as shell variables.

use crate::secret::{Piece, Redactor};

/// What the line says.
pub struct CurlLine<'a> {
    pub method: &'a http::Method,
    pub url: &'a str,
    /// Flags with their values, if they have one.
    pub flags: &'a [(&'static str, String)],
    /// `user:password` of HTTP Basic.
    pub user: Option<&'a str>,
    pub headers: &'a [(String, String)],
    pub body: CurlBody<'a>,
    pub sends_cookies: bool,
    pub follows: bool,
}

pub enum CurlBody<'a> {
    None,
    Form(&'a [(String, String)]),
    Raw(&'a str),
    File(&'a str),
    Parts(Vec<CurlPart<'a>>),
}

/// A part of a multipart body: a file's path, or text.
pub struct CurlPart<'a> {
    pub name: &'a str,
    pub path: Option<&'a str>,
    pub text: &'a str,
    pub filename: Option<&'a str>,
    pub media_type: Option<&'a str>,
}

impl CurlLine<'_> {
    /// Safe to paste into a shell whatever the target or the secrets contain; only a text with control characters
    /// needs one that knows `$'…'` (bash, zsh).
    pub fn render(&self, redactor: &Redactor) -> String {
        let mut out = vec!["curl".to_owned(), "-sS".to_owned(), "-i".to_owned()];
        if self.follows {
            out.push("-L".to_owned());
        }
        for (flag, value) in self.flags {
            out.push((*flag).to_owned());
            if !value.is_empty() {
                out.push(shell_word(value, redactor));
            }
        }
        if self.url.contains(['[', ']', '{', '}']) {
            // Or curl takes brackets for a range of addresses.
            out.push("-g".to_owned());
        }
        let has_body = !matches!(self.body, CurlBody::None);
        match self.method.as_str() {
            "GET" if !has_body => {}
            "POST" if has_body => {}
            "HEAD" => out.push("--head".to_owned()),
            other => out.push(format!("-X {other}")),
        }
        out.push(quote(self.url, redactor));
        if let Some(user) = self.user {
            out.push(format!("-u {}", quote(user, redactor)));
        }
        for (name, value) in self.headers {
            out.push(format!("-H {}", quote(format!("{name}: {value}").trim_end(), redactor)));
        }
        if self.sends_cookies {
            out.push("-b \"$JOURNEYD_COOKIE\"".to_owned());
        }
        match &self.body {
            CurlBody::None => {}
            CurlBody::Form(fields) => {
                out.extend(
                    fields.iter().map(|(name, value)| {
                        format!("--data-urlencode {}", quote(&format!("{name}={value}"), redactor))
                    }),
                );
            }
            CurlBody::Raw(text) => out.push(format!("--data-raw {}", quote(text, redactor))),
            CurlBody::File(path) => out.push(format!("--data-binary {}", quote(&format!("@{path}"), redactor))),
            CurlBody::Parts(parts) => out.extend(parts.iter().map(|part| part.render(redactor))),
        }
        out.join(" ")
    }
}

impl CurlPart<'_> {
    fn render(&self, redactor: &Redactor) -> String {
        let more = [("filename", self.filename), ("type", self.media_type)];
        let more: String = more.iter().filter_map(|(name, v)| v.map(|v| format!(";{name}={v}"))).collect();
        match self.path {
            Some(path) => format!("-F {}", quote(&format!("{}=@{path}{more}", self.name), redactor)),
            // `-F` would read `@` and `<` at the beginning as files, and `;` as an end.
            None if more.is_empty() => {
                format!("--form-string {}", quote(&format!("{}={}", self.name, self.text), redactor))
            }
            None => {
                let text = self.text.replace('\\', "\\\\").replace('"', "\\\"");
                format!("-F {}", quote(&format!("{}=\"{text}\"{more}", self.name), redactor))
            }
        }
    }
}

/// One word of a command, quoted only where it must be.
pub fn shell_word(text: &str, redactor: &Redactor) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    let masked = redactor.split(text).iter().any(|piece| matches!(piece, Piece::Masked(_)));
    if !masked && !text.is_empty() && text.chars().all(plain) { text.to_owned() } else { quote(text, redactor) }
}

/// Single quotes for text, double quotes around the variables that stand for secrets.
fn quote(text: &str, redactor: &Redactor) -> String {
    let mut out = String::new();
    for piece in redactor.split(text) {
        match piece {
            Piece::Masked(name) => out.push_str(&format!("\"${name}\"")),
            Piece::Text(text) if text.chars().any(char::is_control) => {
                out.push_str("$'");
                for c in text.chars() {
                    match c {
                        '\'' | '\\' => out.extend(['\\', c]),
                        '\n' => out.push_str("\\n"),
                        '\r' => out.push_str("\\r"),
                        '\t' => out.push_str("\\t"),
                        // One byte or more, as the shell writes it.
                        c if c.is_control() => {
                            let mut bytes = [0; 4];
                            c.encode_utf8(&mut bytes).bytes().for_each(|b| out.push_str(&format!("\\x{b:02x}")));
                        }
                        c => out.push(c),
                    }
                }
                out.push('\'');
            }
            Piece::Text(text) => {
                out.push('\'');
                out.push_str(&text.replace('\'', "'\\''"));
                out.push('\'');
            }
        }
    }
    if out.is_empty() { "''".to_owned() } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    #[test]
    fn the_line_is_one_shell_line_with_secrets_as_variables() {
        let secret = Secret::new("it's secret");
        let redactor = Redactor::new([("SHOP_PASSWORD", &secret)]);
        let fields = [("user".to_owned(), "o'neil".to_owned()), ("password".to_owned(), "it's secret".to_owned())];
        let line = CurlLine {
            method: &http::Method::POST,
            url: "http://h/login?a=1&b=2",
            flags: &[],
            user: None,
            headers: &[("Accept-Language".to_owned(), "en".to_owned())],
            body: CurlBody::Form(&fields),
            sends_cookies: true,
            follows: true,
        };
        assert_eq!(
            line.render(&redactor),
            "curl -sS -i -L 'http://h/login?a=1&b=2' -H 'Accept-Language: en' -b \"$JOURNEYD_COOKIE\" \
             --data-urlencode 'user=o'\\''neil' --data-urlencode 'password='\"$SHOP_PASSWORD\""
        );
    }

    #[test]
    fn methods_are_named_only_where_curl_would_choose_another() {
        let line = |method: http::Method, body| {
            CurlLine {
                method: &method,
                url: "http://h/",
                flags: &[],
                user: None,
                headers: &[],
                body,
                sends_cookies: false,
                follows: false,
            }
            .render(&Redactor::default())
        };
        assert_eq!(line(http::Method::GET, CurlBody::None), "curl -sS -i 'http://h/'");
        assert_eq!(line(http::Method::DELETE, CurlBody::None), "curl -sS -i -X DELETE 'http://h/'");
        assert_eq!(line(http::Method::POST, CurlBody::None), "curl -sS -i -X POST 'http://h/'");
        assert_eq!(line(http::Method::POST, CurlBody::Raw("a\nb")), "curl -sS -i 'http://h/' --data-raw $'a\\nb'");
    }
}
