//! Who may read and who may write: TLS, users and tokens, in the manner of Prometheus' web configuration.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use rustls::pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

use crate::entropy::random_u64;
use crate::secret::Secret;

/// What stands in place of an unknown user's hash, behind the cost. Of no password.
const NOBODY: &str = "$CwTycUXWue0Thq9StjUM0uJ8oRwG1xQ4yZ0y0yY5C7wq0iYB8Y1e6";
/// Who waits for a password to be compared. More are sent away at once: each of them holds a connection.
const QUEUE: usize = 8;
/// Remembered logins. A scraper has one.
const REMEMBERED: usize = 256;

/// What the `[server]` section asks for. A reload replaces it as a whole.
#[derive(Clone, Default)]
pub struct Access {
    pub tls: Option<Tls>,
    pub auth: Option<Auth>,
}

/// The certificate that is shown, and its key.
#[derive(Clone)]
pub struct Tls {
    /// `None` where the key may not be read, which only a daemon needs.
    pub config: Option<Arc<rustls::ServerConfig>>,
    /// So that commands on this machine know their daemon.
    pub certificate: CertificateDer<'static>,
}

#[derive(Clone, Default)]
pub struct Auth {
    /// bcrypt hashes by name. Users read.
    pub users: BTreeMap<String, String>,
    pub tokens: Vec<(Secret, Scope)>,
    /// Answered without being asked who it is.
    pub excluded_paths: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    Read,
    Write,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    Welcome,
    Unknown,
    /// Too many others are being looked at.
    Busy,
}

/// Whether a request may change something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writing {
    Allowed,
    /// Known, but only to read.
    Forbidden,
    Unknown,
}

/// What a request brought.
enum Presented {
    Nothing,
    Token(String),
    User { name: String, password: String },
}

fn presented(headers: &HeaderMap) -> Presented {
    let given = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).and_then(|v| v.split_once(' '));
    match given {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Presented::Token(token.trim().to_owned()),
        Some((scheme, pair)) if scheme.eq_ignore_ascii_case("basic") => {
            let decoded = STANDARD.decode(pair.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            match decoded.as_deref().and_then(|pair| pair.split_once(':')) {
                Some((name, password)) => Presented::User { name: name.to_owned(), password: password.to_owned() },
                None => Presented::Nothing,
            }
        }
        _ => Presented::Nothing,
    }
}

/// Stands before every route.
pub struct Guard {
    access: RwLock<Arc<Access>>,
    /// The store's own token, which may write.
    own: Option<Secret>,
    /// Logins that were right, under a key that nobody can compute outside (CVE-2022-46146 was a key that could be).
    remembered: Mutex<HashSet<[u8; 32]>>,
    key: [u8; 32],
    /// One hash at a time: bcrypt is slow by design, and runs are measured on this machine.
    turn: Arc<Semaphore>,
    queue: Arc<Semaphore>,
}

impl Guard {
    pub fn new(access: Access, own: Option<Secret>) -> Self {
        let mut key = [0; 32];
        key.chunks_exact_mut(8).for_each(|part| part.copy_from_slice(&random_u64().to_be_bytes()));
        Self {
            access: RwLock::new(Arc::new(access)),
            own,
            remembered: Mutex::default(),
            key,
            turn: Arc::new(Semaphore::new(1)),
            queue: Arc::new(Semaphore::new(QUEUE)),
        }
    }

    pub fn replace(&self, access: Access) {
        *self.access.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(access);
    }

    fn access(&self) -> Arc<Access> {
        Arc::clone(&self.access.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn tls(&self) -> Option<Arc<rustls::ServerConfig>> {
        self.access().tls.as_ref().and_then(|tls| tls.config.clone())
    }

    /// Whether somebody is asked who it is; and whether by name and password.
    pub fn asks(&self) -> Option<bool> {
        self.access().auth.as_ref().map(|auth| !auth.users.is_empty())
    }

    /// Whether a token that may write was brought. Users were looked at before, when reads are not open.
    pub fn writing(&self, headers: &HeaderMap) -> Writing {
        match presented(headers) {
            Presented::Token(token) => match self.scope_of(&token) {
                Some(Scope::Write) => Writing::Allowed,
                Some(Scope::Read) => Writing::Forbidden,
                None => Writing::Unknown,
            },
            Presented::User { .. } if self.asks().is_some() => Writing::Forbidden,
            _ => Writing::Unknown,
        }
    }

    fn scope_of(&self, token: &str) -> Option<Scope> {
        // Digests are compared, so that the time taken says nothing of the token.
        let same = |known: &Secret| Sha256::digest(token) == Sha256::digest(known.expose());
        if self.own.as_ref().is_some_and(same) {
            return Some(Scope::Write);
        }
        let access = self.access();
        let tokens = access.auth.as_ref().map_or(&[][..], |auth| &auth.tokens);
        tokens.iter().filter(|(known, _)| same(known)).map(|(_, scope)| *scope).max()
    }

    /// Whether this path may be read by whoever sent these headers.
    pub async fn admit(&self, path: &str, headers: &HeaderMap) -> Admission {
        let access = self.access();
        let Some(auth) = &access.auth else { return Admission::Welcome };
        if auth.excluded_paths.iter().any(|excluded| excluded == path) {
            return Admission::Welcome;
        }
        match presented(headers) {
            Presented::Nothing => Admission::Unknown,
            Presented::Token(token) if self.scope_of(&token).is_some() => Admission::Welcome,
            Presented::Token(_) => Admission::Unknown,
            Presented::User { name, password } => self.knows(auth, name, password).await,
        }
    }

    async fn knows(&self, auth: &Auth, name: String, password: String) -> Admission {
        let known = auth.users.get(&name);
        let hash = known.cloned().unwrap_or_else(|| nobody(&auth.users));
        let Some(mark) = self.mark(&name, &hash, &password) else { return Admission::Unknown };
        let remembered = || self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered().contains(&mark) {
            return Admission::Welcome;
        }
        let Ok(place) = Arc::clone(&self.queue).try_acquire_owned() else { return Admission::Busy };
        let Ok(turn) = Arc::clone(&self.turn).acquire_owned().await else { return Admission::Busy };
        // Both go along: whoever hangs up does not end the work that he began, and must not make room for more.
        let compare = move || {
            let _until_it_is_done = (place, turn);
            bcrypt::verify(password, &hash).unwrap_or(false)
        };
        let compared = tokio::task::spawn_blocking(compare).await;
        if known.is_none() || !compared.unwrap_or(false) {
            return Admission::Unknown;
        }
        let mut remembered = remembered();
        if remembered.len() >= REMEMBERED {
            remembered.clear();
        }
        remembered.insert(mark);
        Admission::Welcome
    }

    fn mark(&self, name: &str, hash: &str, password: &str) -> Option<[u8; 32]> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).ok()?;
        for part in [name, hash, password] {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        Some(mac.finalize().into_bytes().into())
    }
}

/// A hash that takes as long as the slowest of these, so that the time taken does not say who exists.
fn nobody(users: &BTreeMap<String, String>) -> String {
    let costs = users.values().filter_map(|hash| hash.parse::<bcrypt::HashParts>().ok()).map(|parts| parts.get_cost());
    format!("$2b${:02}{NOBODY}", costs.max().unwrap_or(10))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        headers
    }

    fn basic(pair: &str) -> HeaderMap {
        headers(&format!("Basic {}", STANDARD.encode(pair)))
    }

    fn guard() -> Guard {
        // The lowest cost, so that the test is fast.
        let hash = bcrypt::hash("right", 4).unwrap();
        let auth = Auth {
            users: BTreeMap::from([("ops".to_owned(), hash)]),
            tokens: vec![(Secret::new("reads"), Scope::Read), (Secret::new("writes"), Scope::Write)],
            excluded_paths: vec!["/metrics".to_owned()],
        };
        Guard::new(Access { tls: None, auth: Some(auth) }, Some(Secret::new("own")))
    }

    #[tokio::test]
    async fn only_the_known_read_and_only_tokens_of_that_scope_write() {
        let guard = guard();
        use Admission::{Unknown, Welcome};
        let cases = [
            (HeaderMap::new(), Unknown, Writing::Unknown),
            (basic("ops:right"), Welcome, Writing::Forbidden),
            (basic("ops:wrong"), Unknown, Writing::Forbidden),
            (basic("nobody:right"), Unknown, Writing::Forbidden),
            (basic("ops"), Unknown, Writing::Unknown),
            (headers("Basic !!!"), Unknown, Writing::Unknown),
            (headers("Bearer reads"), Welcome, Writing::Forbidden),
            (headers("bearer  writes "), Welcome, Writing::Allowed),
            (headers("Bearer own"), Welcome, Writing::Allowed),
            (headers("Bearer read"), Unknown, Writing::Unknown),
            (headers("Bearer "), Unknown, Writing::Unknown),
            (headers("Digest own"), Unknown, Writing::Unknown),
        ];
        for (given, reads, writes) in cases {
            assert_eq!(guard.admit("/api/v1/status", &given).await, reads, "{given:?}");
            assert_eq!(guard.writing(&given), writes, "{given:?}");
        }
        assert_eq!(guard.admit("/metrics", &HeaderMap::new()).await, Welcome);
        assert_eq!(guard.admit("/metrics/", &HeaderMap::new()).await, Unknown, "a path that only looks like it");
    }

    /// A crowd with wrong passwords keeps neither connections nor whoever brings a token or was here before.
    #[tokio::test]
    async fn a_crowd_is_sent_away_at_once() {
        let guard = guard();
        assert_eq!(guard.admit("/", &basic("ops:right")).await, Admission::Welcome);
        let _busy = guard.turn.acquire().await.unwrap();
        let _others = guard.queue.try_acquire_many(u32::try_from(QUEUE).unwrap()).unwrap();
        assert_eq!(guard.admit("/", &basic("ops:wrong")).await, Admission::Busy);
        assert_eq!(guard.admit("/", &basic("ops:right")).await, Admission::Welcome, "remembered");
        assert_eq!(guard.admit("/", &headers("Bearer reads")).await, Admission::Welcome);
    }

    /// bcrypt goes on when the client has gone: its place in the queue is taken until then.
    #[tokio::test]
    async fn who_hangs_up_makes_no_room() {
        let slow = BTreeMap::from([("ops".to_owned(), bcrypt::hash("right", 10).unwrap())]);
        let guard = Guard::new(Access { tls: None, auth: Some(Auth { users: slow, ..Auth::default() }) }, None);
        let given = basic("ops:wrong");
        {
            let asking = guard.admit("/", &given);
            tokio::pin!(asking);
            tokio::select! {
                biased;
                _ = &mut asking => panic!("it takes a while"),
                () = tokio::task::yield_now() => {}
            }
        }
        assert_eq!(guard.queue.available_permits(), QUEUE - 1);
        assert_eq!(guard.turn.available_permits(), 0);
        // And free once it is done.
        assert_eq!(guard.admit("/", &basic("ops:right")).await, Admission::Welcome);
    }

    #[tokio::test]
    async fn a_remembered_login_ends_with_its_hash() {
        let guard = guard();
        let reads = async |pair: &str| guard.admit("/", &basic(pair)).await == Admission::Welcome;
        assert!(reads("ops:right").await);
        assert!(reads("ops:right").await, "remembered");
        let auth =
            Auth { users: BTreeMap::from([("ops".to_owned(), bcrypt::hash("new", 4).unwrap())]), ..Auth::default() };
        guard.replace(Access { tls: None, auth: Some(auth) });
        assert!(!reads("ops:right").await);
        assert!(reads("ops:new").await);
    }

    #[test]
    fn nobodys_hash_costs_what_the_slowest_of_the_others_does() {
        let users = |costs: &[u32]| costs.iter().map(|c| (c.to_string(), format!("$2b${c:02}{NOBODY}"))).collect();
        for (costs, want) in [(&[][..], 10), (&[11][..], 11), (&[12, 10][..], 12)] {
            let hash = nobody(&users(costs));
            assert_eq!(hash.parse::<bcrypt::HashParts>().unwrap().get_cost(), want);
        }
        assert!(bcrypt::verify("", &format!("$2b$04{NOBODY}")).is_ok(), "it is a hash, and bcrypt works on it");
    }
}
