//! What can be broken in the shop, and how a request then fares.

use std::time::Duration;

use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use serde::{Deserialize, Serialize};

/// Routes on which an unhandled exception can be switched on.
pub const ROUTES: [&str; 7] = ["/login", "/account", "/search", "/products", "/cart", "/guest", "/api/orders"];

/// Longer than any step waits.
const MOST_MS: u64 = 60_000;

/// The switches. All off is a healthy shop.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// An unhandled exception on this route and everything below it.
    pub exception: Option<String>,
    /// Every dynamic route fails; static files and /healthz still work.
    pub database_down: bool,
    /// Every dynamic route takes this long.
    pub slow_ms: u64,
    /// 503 with Retry-After.
    pub overload: bool,
    /// The connection is reset instead of an answer.
    pub connection_reset: bool,
    /// Status 200, but the page says that something went wrong.
    pub error_page_200: bool,
    /// Nobody stays signed in.
    pub sessions_lost: bool,
    /// One request in this many fails; 0 is off.
    pub one_in: u64,
}

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Fate {
    Served,
    Reset,
    Exception,
    DatabaseDown,
    Overload,
    ErrorPage,
}

impl Faults {
    /// Decides for the `count`th dynamic request.
    pub fn fate(&self, path: &str, count: u64) -> Fate {
        let below = |route: &str| path == route || path.strip_prefix(route).is_some_and(|rest| rest.starts_with('/'));
        if self.connection_reset {
            Fate::Reset
        } else if self.overload {
            Fate::Overload
        } else if self.database_down {
            Fate::DatabaseDown
        } else if self.exception.as_deref().is_some_and(below)
            || (self.one_in > 0 && scattered(count).is_multiple_of(self.one_in))
        {
            Fate::Exception
        } else if self.error_page_200 {
            Fate::ErrorPage
        } else {
            Fate::Served
        }
    }

    /// What is switched on, in words without values: as a flag's state shows elsewhere.
    pub fn state(&self) -> String {
        let switches = [
            (self.exception.is_some(), "exception"),
            (self.database_down, "database_down"),
            (self.slow_ms > 0, "slow"),
            (self.overload, "overload"),
            (self.connection_reset, "connection_reset"),
            (self.error_page_200, "error_page_200"),
            (self.sessions_lost, "sessions_lost"),
            (self.one_in > 0, "one_in"),
        ];
        let on: Vec<&str> = switches.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
        if on.is_empty() { "healthy".to_owned() } else { on.join("+") }
    }

    pub fn delay(&self) -> Duration {
        Duration::from_millis(self.slow_ms.min(MOST_MS))
    }

    /// What is wrong with these settings.
    pub fn mistake(&self) -> Option<String> {
        match &self.exception {
            Some(route) if !ROUTES.contains(&route.as_str()) => {
                Some(format!("exception: there is no route {route:?}; one of {}", ROUTES.join(", ")))
            }
            _ if self.slow_ms > MOST_MS => Some(format!("slow_ms: at most {MOST_MS}")),
            _ => None,
        }
    }

    /// What is switched on, for the panel and the terminal.
    pub fn describe(&self) -> Vec<String> {
        let mut out = Vec::new();
        out.extend(self.exception.as_ref().map(|route| format!("exception on {route}")));
        let flags = [
            (self.database_down, "database down"),
            (self.overload, "overload"),
            (self.connection_reset, "connections reset"),
            (self.error_page_200, "200 that is an error page"),
            (self.sessions_lost, "sessions lost"),
        ];
        out.extend(flags.into_iter().filter(|(on, _)| *on).map(|(_, name)| name.to_owned()));
        if self.slow_ms > 0 {
            out.push(format!("slow by {} ms", self.slow_ms));
        }
        if self.one_in > 0 {
            out.push(format!("one request in {} fails", self.one_in));
        }
        out
    }
}

/// Requests come in a fixed rhythm; counting them off would hit the same step each time.
fn scattered(count: u64) -> u64 {
    (count.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 29) ^ count.wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 32
}

impl Fate {
    /// The answer of a shop that is broken in this way, as its framework would give it.
    pub fn response(&self) -> Option<Response> {
        let page = |status: StatusCode, title: &str, text: &str| {
            (
                status,
                Html(format!(
                    "<!doctype html><html lang=\"en\"><title>{title}</title><h1>{title}</h1><pre>{text}</pre></html>"
                )),
            )
                .into_response()
        };
        match self {
            Self::Served | Self::Reset => None,
            Self::Exception => Some(page(
                StatusCode::INTERNAL_SERVER_ERROR,
                "Internal Server Error",
                "Traceback (most recent call last):\n  File \"/srv/shop/views.py\", line 42, in dispatch\n\
                 AttributeError: 'NoneType' object has no attribute 'price'",
            )),
            Self::DatabaseDown => Some(page(
                StatusCode::INTERNAL_SERVER_ERROR,
                "Internal Server Error",
                "psycopg.OperationalError: connection to server at \"10.0.0.5\", port 5432 failed: Connection refused",
            )),
            Self::Overload => {
                let mut response = page(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "Service Unavailable",
                    "The server is too busy. Please try again.",
                );
                response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("5"));
                Some(response)
            }
            Self::ErrorPage => Some(page(
                StatusCode::OK,
                "Something went wrong",
                "We are sorry, an unexpected error occurred. Please try again later.",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_n_hits_about_one_in_n_in_every_rhythm() {
        let faults = Faults { one_in: 5, ..Faults::default() };
        for rhythm in [1, 5, 9, 20] {
            let hits = (0..1000).filter(|n| faults.fate("/cart", n * rhythm + 3) == Fate::Exception).count();
            assert!((120..=280).contains(&hits), "rhythm {rhythm}: {hits} of 1000");
        }
    }

    #[test]
    fn each_switch_decides_the_fate_it_names() {
        let faults = |set: fn(&mut Faults)| {
            let mut faults = Faults::default();
            set(&mut faults);
            faults
        };
        for (faults, path, count, want) in [
            (faults(|_| {}), "/cart", 1, Fate::Served),
            (faults(|f| f.exception = Some("/cart".into())), "/cart", 1, Fate::Exception),
            (faults(|f| f.exception = Some("/cart".into())), "/cartoon", 1, Fate::Served),
            (faults(|f| f.exception = Some("/api/orders".into())), "/api/orders/7", 1, Fate::Exception),
            (faults(|f| f.database_down = true), "/search", 1, Fate::DatabaseDown),
            (faults(|f| f.overload = true), "/search", 1, Fate::Overload),
            (faults(|f| f.connection_reset = true), "/search", 1, Fate::Reset),
            (faults(|f| f.error_page_200 = true), "/search", 1, Fate::ErrorPage),
            (faults(|f| f.one_in = 1), "/search", 3, Fate::Exception),
        ] {
            assert_eq!(faults.fate(path, count), want, "{faults:?}");
        }
    }
}
