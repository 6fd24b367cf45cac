//! Name resolution with its own verdicts.
//!
//! `getaddrinfo` says "name or service not known" for everything, also when journeyd ran out of descriptors.
//! hickory tells NXDOMAIN from SERVFAIL from silence, and silence is asked about once more: if the resolver
//! answers a question about the root, it is alive and the target's name servers are not.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RecordType;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::journey::network::IpFamily;
use crate::runner::timing::{Mark, Marks};

/// More addresses than this of one family are not tried: the connect timeout is divided among them.
const MAX_PER_FAMILY: usize = 3;
/// Per try; two tries end within the connect timeout, so that silence gets its own verdict.
const TIMEOUT: Duration = Duration::from_secs(2);
const ATTEMPTS: usize = 2;
/// A lookup that takes longer makes one wonder whether the resolver is there at all.
const SUSPICIOUS: Duration = Duration::from_millis(500);

/// Why a name has no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResolveProblem {
    NoSuchName,
    NoAddress,
    /// Addresses, but none of the family that the journey asks for.
    OtherFamily(IpFamily),
    ServFail,
    Refused,
    /// The resolver is alive but got no answer from the target's name servers.
    TargetSilent,
    /// No resolver answers: nothing is known about the target.
    NoResolver,
    /// A descriptor or port was lacking; the OS error code.
    Os(i32),
}

#[derive(Debug, Clone)]
pub struct ResolveError {
    pub name: String,
    pub problem: ResolveProblem,
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match self.problem {
            ResolveProblem::NoSuchName => write!(f, "the name {name} does not exist (NXDOMAIN)"),
            ResolveProblem::NoAddress => write!(f, "the name {name} has no address"),
            ResolveProblem::OtherFamily(family) => {
                write!(f, "the name {name} has no {} address (ip_family)", family.as_str())
            }
            ResolveProblem::ServFail => write!(f, "the name servers of {name} fail (SERVFAIL)"),
            ResolveProblem::Refused => write!(f, "the resolver refuses to look up {name} (REFUSED)"),
            ResolveProblem::TargetSilent => write!(f, "the name servers of {name} do not answer"),
            ResolveProblem::NoResolver => write!(f, "no DNS resolver answers, asked for {name}"),
            ResolveProblem::Os(code) => {
                write!(f, "could not ask for {name}: {}", std::io::Error::from_raw_os_error(code))
            }
        }
    }
}

impl Error for ResolveError {}

/// One for all runs; without a cache, since each run measures.
#[derive(Clone)]
pub struct Resolver(Arc<RwLock<Option<Arc<TokioResolver>>>>);

impl Resolver {
    /// From `/etc/resolv.conf` and `/etc/hosts`. A machine without a resolver still monitors addresses.
    pub fn from_system() -> Self {
        Self(Arc::new(RwLock::new(build(TokioResolver::builder_tokio()))))
    }

    fn current(&self) -> Option<Arc<TokioResolver>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Nobody answers: perhaps the machine has moved to another network since.
    fn reread(&self) {
        if let Some(fresh) = build(TokioResolver::builder_tokio()) {
            *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(fresh);
        }
    }

    /// Whether a resolver answers; `None` if there is none to ask.
    pub async fn answers(&self) -> Option<bool> {
        let resolver = self.current()?;
        let alive = root_answers(&resolver).await;
        if !alive {
            self.reread();
        }
        Some(alive)
    }

    async fn lookup(&self, name: &str, marks: &Marks) -> Result<Vec<SocketAddr>, ResolveError> {
        let fail = |problem| ResolveError { name: name.to_owned(), problem };
        let Some(resolver) = self.current() else {
            self.reread();
            return Err(fail(ResolveProblem::NoResolver));
        };
        // Asked while the name is still being looked up, so that an answer is there when the time runs out.
        let probe = async {
            tokio::time::sleep(SUSPICIOUS).await;
            let answers = root_answers(&resolver).await;
            if answers {
                marks.set(Mark::ResolverAnswers);
            }
            answers
        };
        let lookup = resolver.lookup_ip(name);
        tokio::pin!(probe, lookup);
        let mut alive = None;
        let result = loop {
            tokio::select! {
                biased;
                result = &mut lookup => break result,
                answers = &mut probe, if alive.is_none() => alive = Some(answers),
            }
        };
        let error = match result {
            Ok(found) => return Ok(few_of_each_family(found.iter())),
            Err(error) => error,
        };
        let problem = match (problem_of(&error), alive) {
            (Some(problem), _) => problem,
            (None, Some(true)) => ResolveProblem::TargetSilent,
            (None, None) if root_answers(&resolver).await => ResolveProblem::TargetSilent,
            (None, _) => ResolveProblem::NoResolver,
        };
        if problem == ResolveProblem::NoResolver {
            self.reread();
        }
        Err(fail(problem))
    }
}

type Builder = hickory_resolver::ResolverBuilder<hickory_resolver::net::runtime::TokioRuntimeProvider>;

fn build(builder: Result<Builder, NetError>) -> Option<Arc<TokioResolver>> {
    let built = builder.and_then(|mut builder| {
        let options = builder.options_mut();
        options.cache_size = 0;
        options.timeout = TIMEOUT;
        options.attempts = ATTEMPTS;
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        builder.build()
    });
    match built {
        Ok(resolver) => Some(Arc::new(resolver)),
        Err(error) => {
            tracing::warn!(%error, "no DNS resolver is configured; only addresses can be reached. Name one in /etc/resolv.conf.");
            None
        }
    }
}

fn few_of_each_family(found: impl Iterator<Item = std::net::IpAddr>) -> Vec<SocketAddr> {
    let (mut v4, mut v6) = (0, 0);
    let kept = found.filter(|ip| {
        let seen = if ip.is_ipv4() { &mut v4 } else { &mut v6 };
        *seen += 1;
        *seen <= MAX_PER_FAMILY
    });
    kept.map(|ip| SocketAddr::new(ip, 0)).collect()
}

/// `None` when nobody answered.
fn problem_of(error: &NetError) -> Option<ResolveProblem> {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => Some(match none.response_code {
            ResponseCode::NXDomain => ResolveProblem::NoSuchName,
            ResponseCode::ServFail => ResolveProblem::ServFail,
            ResponseCode::Refused => ResolveProblem::Refused,
            _ => ResolveProblem::NoAddress,
        }),
        NetError::Dns(DnsError::ResponseCode(ResponseCode::Refused)) => Some(ResolveProblem::Refused),
        NetError::Dns(_) => Some(ResolveProblem::ServFail),
        NetError::Io(error) => match error.raw_os_error() {
            Some(code @ (EMFILE | ENFILE | EADDRNOTAVAIL)) => Some(ResolveProblem::Os(code)),
            _ => None,
        },
        _ => None,
    }
}

/// Linux error numbers for what a process can run out of.
pub const EMFILE: i32 = 24;
pub const ENFILE: i32 = 23;
pub const EADDRNOTAVAIL: i32 = 99;

async fn root_answers(resolver: &TokioResolver) -> bool {
    match resolver.lookup(".", RecordType::NS).await {
        Ok(_) => true,
        // Any answer will do, also "no".
        Err(error) => matches!(error, NetError::Dns(_)),
    }
}

/// The resolver with the marks of one run and what its journey says of addresses.
pub struct RunResolver {
    pub resolver: Resolver,
    pub marks: Marks,
    pub fixed: Arc<BTreeMap<String, Vec<IpAddr>>>,
    pub family: Option<IpFamily>,
    /// A name that stands for another: `tls.server_name` for the URL's host.
    pub alias: Option<(String, String)>,
}

impl Resolve for RunResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (resolver, marks, family) = (self.resolver.clone(), self.marks.clone(), self.family);
        let plain = name.as_str().trim_end_matches('.').to_ascii_lowercase();
        let (host, plain) = match &self.alias {
            Some((alias, host)) if *alias == plain => (host.clone(), host.clone()),
            _ => (name.as_str().to_owned(), plain),
        };
        let literal = host.trim_matches(['[', ']']).parse::<IpAddr>().ok().map(|ip| vec![ip]);
        let fixed = self.fixed.get(&plain).cloned().or(literal);
        Box::pin(async move {
            marks.set(Mark::ResolveStarted);
            let mut found: Vec<SocketAddr> = match fixed {
                Some(ips) => ips.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect(),
                None => resolver.lookup(&host, &marks).await?,
            };
            if let Some(family) = family {
                found.retain(|address| family.admits(address.ip()));
                if found.is_empty() {
                    return Err(ResolveError { name: host, problem: ResolveProblem::OtherFamily(family) }.into());
                }
            }
            marks.set(Mark::Resolved);
            let addrs: Addrs = Box::new(found.into_iter());
            Ok(addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
    use hickory_resolver::net::runtime::TokioRuntimeProvider;
    use tokio::net::UdpSocket;

    /// A name server that gives `rcode` to questions about the root and to others, or no answer at all.
    async fn server(root: Option<u8>, other: Option<u8>) -> Resolver {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut packet = [0; 512];
            while let Ok((n, from)) = socket.recv_from(&mut packet).await {
                // After the 12 bytes of the header comes the question; the root's name is a single zero.
                let rcode = if packet[12] == 0 { root } else { other };
                if let Some(rcode) = rcode {
                    let mut answer = packet[..n].to_vec();
                    answer[2] |= 0x80;
                    answer[3] = 0x80 | rcode;
                    let _ = socket.send_to(&answer, from).await;
                }
            }
        });
        let mut udp = ConnectionConfig::udp();
        udp.port = address.port();
        let config = ResolverConfig::from_name_servers(vec![NameServerConfig::new(address.ip(), true, vec![udp])]);
        let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        Resolver(Arc::new(RwLock::new(build(Ok(builder)))))
    }

    #[tokio::test]
    async fn silence_of_the_resolver_is_ours_and_everything_else_is_the_targets() {
        const NXDOMAIN: Option<u8> = Some(3);
        let cases = [
            (Some(0), NXDOMAIN, ResolveProblem::NoSuchName),
            (Some(0), Some(2), ResolveProblem::ServFail),
            (Some(0), Some(5), ResolveProblem::Refused),
            (Some(0), Some(0), ResolveProblem::NoAddress),
            (Some(0), None, ResolveProblem::TargetSilent),
            (None, None, ResolveProblem::NoResolver),
        ];
        // Together, for each silence takes its seconds.
        let verdicts = cases.map(|(root, other, want)| async move {
            let resolver = server(root, other).await;
            let error = resolver.lookup("shop.example.", &Marks::new()).await.unwrap_err();
            assert_eq!(error.problem, want, "root {root:?}, other {other:?}");
        });
        futures_util::future::join_all(verdicts).await;
    }

    #[test]
    fn at_most_three_addresses_of_a_family_are_tried() {
        let many: Vec<std::net::IpAddr> =
            (1..=9).map(|n| std::net::Ipv4Addr::new(10, 0, 0, n).into()).chain(["::1".parse().unwrap()]).collect();
        assert_eq!(few_of_each_family(many.into_iter()).len(), 4);
    }
}
