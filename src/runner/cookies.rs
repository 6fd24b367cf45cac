//! The cookie jar of one run, with limits, on `cookie_store`.

use cookie_store::{CookieStore, RawCookie};
use http::HeaderMap;
use url::Url;

/// RFC 6265 §6.1 asks for at least these; a hostile target gets no more.
const MAX_COOKIE: usize = 4096;
const MAX_PER_DOMAIN: usize = 50;
const MAX_TOTAL: usize = 300;
/// Shorter values are settings such as `dark` or `en-US`, unless their cookie is named like a secret.
const TELLING_LENGTH: usize = 8;

#[derive(Default)]
pub struct Jar {
    store: CookieStore,
}

/// What a response's cookies did.
#[derive(Default)]
pub struct Stored {
    /// Values that must not be shown.
    pub secrets: Vec<String>,
    pub warnings: Vec<String>,
}

impl Jar {
    /// Takes in `Set-Cookie` headers.
    pub fn store(&mut self, url: &Url, headers: &HeaderMap) -> Stored {
        let mut stored = Stored::default();
        for header in headers.get_all(http::header::SET_COOKIE) {
            let Ok(text) = header.to_str() else {
                stored.warnings.push("a cookie is not ASCII; it was left out".into());
                continue;
            };
            if text.len() > MAX_COOKIE {
                stored.warnings.push(format!("a cookie of {} bytes was left out (limit {MAX_COOKIE})", text.len()));
                continue;
            }
            let Ok(cookie) = RawCookie::parse(text.to_owned()) else {
                stored.warnings.push("a cookie could not be understood; it was left out".into());
                continue;
            };
            if self.store.iter_any().count() >= MAX_TOTAL || self.store.matches(url).len() >= MAX_PER_DOMAIN {
                stored.warnings.push(format!("more than {MAX_PER_DOMAIN} cookies for one site; the rest was left out"));
                break;
            }
            let value = cookie.value().to_owned();
            let telling = crate::secret::is_secret_key(cookie.name()) || cookie.http_only() == Some(true);
            let name = crate::journey::assertion::shorten(cookie.name(), 40);
            if self.store.insert_raw(&cookie, url).is_err() && !value.is_empty() {
                stored.warnings.push(format!("the cookie {name} is not for this site; it was left out"));
            }
            if telling || value.len() >= TELLING_LENGTH {
                stored.secrets.push(value);
            }
        }
        stored
    }

    /// The `Cookie` header for a request to `url`.
    pub fn header(&self, url: &Url) -> Option<String> {
        let pairs: Vec<String> =
            self.store.get_request_values(url).map(|(name, value)| format!("{name}={value}")).collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }

    /// The value of a cookie that a request to `url` would carry.
    pub fn value(&self, url: &Url, name: &str) -> Option<String> {
        self.store.get_request_values(url).find(|(known, _)| *known == name).map(|(_, value)| value.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(jar: &mut Jar, url: &str, cookies: &[&str]) -> Stored {
        let mut headers = HeaderMap::new();
        for cookie in cookies {
            headers.append(http::header::SET_COOKIE, cookie.parse().unwrap());
        }
        jar.store(&Url::parse(url).unwrap(), &headers)
    }

    fn header(jar: &Jar, url: &str) -> Option<String> {
        jar.header(&Url::parse(url).unwrap())
    }

    #[test]
    fn cookies_go_back_where_they_came_from_and_nowhere_else() {
        let mut jar = Jar::default();
        set(&mut jar, "http://a.example/x", &["sid=1; Path=/", "deep=2; Path=/x/y", "tls=3; Secure; Path=/"]);
        assert_eq!(header(&jar, "http://a.example/").as_deref(), Some("sid=1"));
        assert_eq!(header(&jar, "http://b.example/"), None);
        set(&mut jar, "http://a.example/", &["sid=; Max-Age=0; Path=/"]);
        assert_eq!(header(&jar, "http://a.example/"), None);
    }

    #[test]
    fn a_site_cannot_set_cookies_for_another_or_without_end() {
        let mut jar = Jar::default();
        let foreign = set(&mut jar, "http://a.example/", &["x=1; Domain=b.example"]);
        assert_eq!(foreign.warnings.len(), 1);
        let many: Vec<String> = (0..90).map(|n| format!("c{n}=v")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(set(&mut jar, "http://a.example/", &many).warnings.len(), 1);
        assert_eq!(header(&jar, "http://a.example/").unwrap().split("; ").count(), MAX_PER_DOMAIN);
        let huge = format!("h={}", "v".repeat(5000));
        assert_eq!(set(&mut jar, "http://c.example/", &[&huge]).warnings.len(), 1);
    }

    #[test]
    fn session_values_are_secrets_and_settings_are_not() {
        let mut jar = Jar::default();
        let stored = set(
            &mut jar,
            "http://a.example/",
            &["theme=dark", "session=abc", "x=yes; HttpOnly", "id=0123456789abcdef"],
        );
        assert_eq!(stored.secrets, ["abc", "yes", "0123456789abcdef"]);
    }
}
