//! How a journey reaches its targets: certificates, protocol version, addresses, proxy.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;

use crate::journey::template::Template;

/// Settings of the connections of a run; the default is what a browser does.
#[derive(Debug, Clone, Default)]
pub struct Network {
    pub tls: Option<Arc<Tls>>,
    pub http_version: Option<HttpVersion>,
    pub ip_family: Option<IpFamily>,
    /// Addresses for names, in lower case.
    pub resolve: Arc<BTreeMap<String, Vec<IpAddr>>>,
    pub proxy: Option<Template>,
}

/// Whom to trust and who to be.
#[derive(Debug, Default)]
pub struct Tls {
    /// Instead of the system's.
    pub authorities: Option<Vec<CertificateDer<'static>>>,
    pub client: Option<Arc<CertifiedKey>>,
    pub server_name: Option<String>,
    pub insecure_skip_verify: bool,
    /// The files as flags of curl.
    pub curl: Vec<(&'static str, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpVersion {
    Http11,
    Http2,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IpFamily {
    V4,
    V6,
}

impl IpFamily {
    pub fn admits(self, ip: IpAddr) -> bool {
        match self {
            Self::V4 => ip.is_ipv4(),
            Self::V6 => ip.is_ipv6(),
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}
