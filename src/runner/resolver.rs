//! Name resolution with its own verdicts.
//!
//! `getaddrinfo` says "name or service not known" for everything, also when journeyd ran out of descriptors.
//! hickory tells NXDOMAIN from SERVFAIL from silence, and silence is asked about once more: if the resolver
//! answers a question about the root, it is alive and the target's name servers are not.

use std::error::Error;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RecordType;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::runner::timing::{Mark, Marks};

/// More addresses than this of one family are not tried: the connect timeout is divided among them.
const MAX_PER_FAMILY: usize = 3;
const TIMEOUT: Duration = Duration::from_secs(2);
const ATTEMPTS: usize = 2;

/// Why a name has no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResolveProblem {
    NoSuchName,
    NoAddress,
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
pub struct Resolver(Option<Arc<TokioResolver>>);

impl Resolver {
    /// From `/etc/resolv.conf` and `/etc/hosts`. A machine without a resolver still monitors addresses.
    pub fn from_system() -> Self {
        let build = || {
            let mut builder = TokioResolver::builder_tokio()?;
            let options = builder.options_mut();
            options.cache_size = 0;
            options.timeout = TIMEOUT;
            options.attempts = ATTEMPTS;
            options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
            builder.build()
        };
        match build() {
            Ok(resolver) => Self(Some(Arc::new(resolver))),
            Err(error) => {
                tracing::warn!(%error, "no DNS resolver is configured; only addresses can be reached");
                Self(None)
            }
        }
    }

    async fn lookup(&self, name: &str) -> Result<Vec<SocketAddr>, ResolveError> {
        let fail = |problem| ResolveError { name: name.to_owned(), problem };
        let Some(resolver) = &self.0 else { return Err(fail(ResolveProblem::NoResolver)) };
        match resolver.lookup_ip(name).await {
            Ok(found) => {
                let (mut v4, mut v6) = (0, 0);
                let kept = found.iter().filter(|ip| {
                    let seen = if ip.is_ipv4() { &mut v4 } else { &mut v6 };
                    *seen += 1;
                    *seen <= MAX_PER_FAMILY
                });
                Ok(kept.map(|ip| SocketAddr::new(ip, 0)).collect())
            }
            Err(error) => Err(fail(match problem_of(&error) {
                Some(problem) => problem,
                None if root_answers(resolver).await => ResolveProblem::TargetSilent,
                None => ResolveProblem::NoResolver,
            })),
        }
    }
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

/// The resolver with the marks of one run.
pub struct RunResolver {
    pub resolver: Resolver,
    pub marks: Marks,
}

impl Resolve for RunResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (resolver, marks) = (self.resolver.clone(), self.marks.clone());
        Box::pin(async move {
            marks.set(Mark::ResolveStarted);
            let found = resolver.lookup(name.as_str()).await?;
            marks.set(Mark::Resolved);
            let addrs: Addrs = Box::new(found.into_iter());
            Ok(addrs)
        })
    }
}
