//! From an error chain to a verdict: whose fault, which reason, which kind. Pure.
//!
//! The chain is walked and downcast; no text meant for people is ever matched, and none of reqwest's texts is
//! ever shown, since they contain the URL with whatever secrets it has.

use std::error::Error;
use std::io;

use crate::report::{Fault, Reason};
use crate::runner::resolver::{EADDRNOTAVAIL, EMFILE, ENFILE, ResolveError, ResolveProblem};
use crate::runner::timing::Stage;

/// What a broken request means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub blame: Blame,
    /// What happened, for people; holds nothing secret by construction.
    pub text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    Target { reason: Reason, kind: &'static str },
    Ours(Fault),
}

fn target(reason: Reason, kind: &'static str, text: impl Into<String>) -> Verdict {
    Verdict { blame: Blame::Target { reason, kind }, text: text.into() }
}

fn ours(fault: Fault, text: impl Into<String>) -> Verdict {
    Verdict { blame: Blame::Ours(fault), text: text.into() }
}

/// Time ran out while the request was in `stage`.
pub fn timed_out(stage: Stage) -> Verdict {
    match stage {
        Stage::Resolving { resolver_answers: true } => {
            target(Reason::Dns, "dns_timeout", "the target's name servers did not answer in time")
        }
        Stage::Resolving { resolver_answers: false } => ours(Fault::Resolver, "no DNS resolver answered in time"),
        Stage::Connecting => target(Reason::ConnectTimeout, "tcp_timeout", "no TCP connection in time"),
        Stage::Handshake => target(Reason::TlsHandshake, "tls_timeout", "the TLS handshake did not finish in time"),
        Stage::Waiting => target(Reason::ReadTimeout, "http_ttfb_timeout", "no response in time"),
        Stage::Transferring => target(Reason::BodyTimeout, "body_timeout", "the response's body did not end in time"),
    }
}

/// The verdict on `error`, which struck in `stage`.
pub fn classify(error: &reqwest::Error, stage: Stage) -> Verdict {
    let mut link: Option<&(dyn Error + 'static)> = Some(error);
    let mut is_connect_timeout = error.is_timeout();
    let mut ended_early = false;
    let mut hyper_verdict = None;
    while let Some(current) = link {
        if let Some(problem) = current.downcast_ref::<ResolveError>() {
            return resolve_verdict(problem);
        }
        if let Some(error) = current.downcast_ref::<io::Error>() {
            if let Some(verdict) = io_verdict(error, stage) {
                return verdict;
            }
            is_connect_timeout |= error.kind() == io::ErrorKind::TimedOut;
            ended_early |= error.kind() == io::ErrorKind::UnexpectedEof;
        }
        if let Some(error) = current.downcast_ref::<rustls::Error>() {
            return tls_verdict(error);
        }
        if let Some(error) = current.downcast_ref::<h2::Error>() {
            return h2_verdict(error);
        }
        if let Some(error) = current.downcast_ref::<hyper::Error>() {
            // The deepest says most: a cancelled request has what cancelled it below.
            hyper_verdict = Some(http_verdict(error, stage));
        }
        // An io error's `source` skips what it wraps.
        let wrapped = current.downcast_ref::<io::Error>().and_then(|e| e.get_ref());
        link = match wrapped {
            Some(inner) => Some(inner),
            None => current.source(),
        };
    }
    if is_connect_timeout {
        return timed_out(stage);
    }
    if ended_early {
        return closed(stage);
    }
    hyper_verdict.unwrap_or_else(|| match stage {
        Stage::Resolving { .. } => target(Reason::Dns, "dns_other", "the name could not be resolved"),
        Stage::Connecting => target(Reason::ConnectUnreachable, "tcp_other", "the connection could not be made"),
        Stage::Handshake => target(Reason::TlsHandshake, "tls_other", "the TLS handshake failed"),
        Stage::Waiting | Stage::Transferring => {
            target(Reason::Protocol, "http_other", "the response could not be read")
        }
    })
}

fn resolve_verdict(error: &ResolveError) -> Verdict {
    let text = error.to_string();
    match error.problem {
        ResolveProblem::NoSuchName => target(Reason::Dns, "dns_nxdomain", text),
        ResolveProblem::NoAddress | ResolveProblem::OtherFamily(_) => target(Reason::Dns, "dns_nodata", text),
        ResolveProblem::ServFail => target(Reason::Dns, "dns_servfail", text),
        ResolveProblem::Refused => target(Reason::Dns, "dns_refused", text),
        ResolveProblem::TargetSilent => target(Reason::Dns, "dns_timeout", text),
        ResolveProblem::NoResolver => ours(Fault::Resolver, text),
        ResolveProblem::Os(EADDRNOTAVAIL) => ours(Fault::Ports, text),
        ResolveProblem::Os(_) => ours(Fault::Fds, text),
    }
}

/// Linux error numbers; `io::ErrorKind` lumps some of them together.
mod errno {
    pub const EACCES: i32 = 13;
    pub const EPERM: i32 = 1;
    pub const EINVAL: i32 = 22;
    pub const EPIPE: i32 = 32;
    pub const ENOMEM: i32 = 12;
    pub const ENOBUFS: i32 = 105;
    pub const ENETDOWN: i32 = 100;
    pub const ENETUNREACH: i32 = 101;
    pub const ECONNABORTED: i32 = 103;
    pub const ECONNRESET: i32 = 104;
    pub const ETIMEDOUT: i32 = 110;
    pub const ECONNREFUSED: i32 = 111;
    pub const EHOSTUNREACH: i32 = 113;
}

fn io_verdict(error: &io::Error, stage: Stage) -> Option<Verdict> {
    let code = error.raw_os_error()?;
    let text = error.to_string();
    Some(match code {
        EMFILE | ENFILE => ours(Fault::Fds, format!("journeyd has no free file descriptor: {text}")),
        errno::ENOMEM | errno::ENOBUFS => ours(Fault::Fds, format!("this machine is out of network memory: {text}")),
        EADDRNOTAVAIL => ours(Fault::Ports, format!("this machine has no free local port: {text}")),
        errno::ECONNREFUSED => target(Reason::ConnectRefused, "tcp_refused", text),
        errno::ETIMEDOUT if stage == Stage::Connecting => target(Reason::ConnectTimeout, "tcp_timeout", text),
        errno::ETIMEDOUT => timed_out(stage),
        errno::ECONNRESET | errno::ECONNABORTED | errno::EPIPE => match stage {
            Stage::Connecting | Stage::Resolving { .. } => target(Reason::ConnectReset, "tcp_reset", text),
            Stage::Handshake => target(Reason::TlsHandshake, "tls_reset", text),
            Stage::Waiting | Stage::Transferring => target(Reason::ConnectReset, "http_reset", text),
        },
        errno::EACCES | errno::EPERM => target(Reason::ConnectUnreachable, "tcp_denied", text),
        errno::EHOSTUNREACH | errno::ENETUNREACH | errno::ENETDOWN | errno::EINVAL => {
            target(Reason::ConnectUnreachable, "tcp_unreachable", text)
        }
        _ => return None,
    })
}

fn closed(stage: Stage) -> Verdict {
    match stage {
        Stage::Handshake => {
            target(Reason::TlsHandshake, "tls_closed", "the server closed the connection during the TLS handshake")
        }
        Stage::Transferring => {
            target(Reason::Protocol, "body_short", "the server closed the connection before the body was complete")
        }
        _ => target(Reason::ConnectReset, "http_closed", "the server closed the connection without an answer"),
    }
}

fn tls_verdict(error: &rustls::Error) -> Verdict {
    use rustls::{CertificateError as Cert, Error as Tls};
    match error {
        Tls::InvalidCertificate(problem) => {
            let kind = match problem {
                Cert::Expired | Cert::ExpiredContext { .. } => "tls_expired",
                Cert::NotValidYet | Cert::NotValidYetContext { .. } => "tls_not_yet",
                Cert::NotValidForName | Cert::NotValidForNameContext { .. } => "tls_name",
                Cert::UnknownIssuer => "tls_issuer",
                Cert::BadSignature => "tls_signature",
                Cert::Revoked => "tls_revoked",
                _ => "tls_certificate",
            };
            target(Reason::TlsCertificate, kind, problem.to_string())
        }
        Tls::AlertReceived(alert) => {
            let text = format!("the server refused the TLS handshake: {alert:?}");
            let text = match alert {
                rustls::AlertDescription::ProtocolVersion | rustls::AlertDescription::HandshakeFailure => {
                    format!("{text}; it may offer only TLS 1.1 or RSA key exchange, journeyd needs TLS 1.2 with ECDHE")
                }
                _ => text,
            };
            target(Reason::TlsHandshake, "tls_refused", text)
        }
        Tls::InvalidMessage(_) => {
            target(Reason::TlsHandshake, "tls_not_tls", "what answers on this port does not speak TLS")
        }
        other => target(Reason::TlsHandshake, "tls_other", other.to_string()),
    }
}

fn h2_verdict(error: &h2::Error) -> Verdict {
    if error.is_io() {
        return target(Reason::ConnectReset, "http_reset", "the HTTP/2 connection broke off");
    }
    let reason = error.reason().map_or_else(|| "protocol error".to_owned(), |r| r.description().to_owned());
    match (error.is_go_away(), error.is_reset()) {
        (true, _) if !error.is_remote() => {
            let text = format!("what answers does not speak HTTP/2 ({reason})");
            target(Reason::Protocol, "h2_other", text)
        }
        (true, _) => target(Reason::Protocol, "h2_goaway", format!("the server ended the HTTP/2 connection: {reason}")),
        (_, true) => target(Reason::Protocol, "h2_reset", format!("the server reset the HTTP/2 stream: {reason}")),
        _ => target(Reason::Protocol, "h2_other", format!("HTTP/2 broke: {reason}")),
    }
}

fn http_verdict(error: &hyper::Error, stage: Stage) -> Verdict {
    if error.is_parse_too_large() {
        target(Reason::TooLarge, "http_head_too_large", "the response's head is too large")
    } else if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        closed(stage)
    } else if error.is_timeout() {
        timed_out(stage)
    } else {
        // Also what hyper has no name for: bytes before the request was sent, a broken chunk.
        target(Reason::Protocol, "http_parse", "what the server sent is not valid HTTP")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_machine_ran_out_of_is_our_own_fault() {
        for (code, fault) in
            [(EMFILE, Fault::Fds), (ENFILE, Fault::Fds), (EADDRNOTAVAIL, Fault::Ports), (errno::ENOBUFS, Fault::Fds)]
        {
            let verdict = io_verdict(&io::Error::from_raw_os_error(code), Stage::Connecting).unwrap();
            assert_eq!(verdict.blame, Blame::Ours(fault), "{code}");
        }
        let silent = ResolveError { name: "x".into(), problem: ResolveProblem::NoResolver };
        assert_eq!(resolve_verdict(&silent).blame, Blame::Ours(Fault::Resolver));
    }

    #[test]
    fn an_os_error_means_something_else_in_each_stage() {
        let reason = |code, stage| match io_verdict(&io::Error::from_raw_os_error(code), stage).map(|v| v.blame) {
            Some(Blame::Target { reason, kind }) => (reason, kind),
            other => panic!("{other:?}"),
        };
        use errno::*;
        for (code, stage, want) in [
            (ECONNREFUSED, Stage::Connecting, (Reason::ConnectRefused, "tcp_refused")),
            (ECONNRESET, Stage::Connecting, (Reason::ConnectReset, "tcp_reset")),
            (ECONNRESET, Stage::Handshake, (Reason::TlsHandshake, "tls_reset")),
            (ECONNRESET, Stage::Waiting, (Reason::ConnectReset, "http_reset")),
            (ETIMEDOUT, Stage::Connecting, (Reason::ConnectTimeout, "tcp_timeout")),
            (ETIMEDOUT, Stage::Waiting, (Reason::ReadTimeout, "http_ttfb_timeout")),
            (EHOSTUNREACH, Stage::Connecting, (Reason::ConnectUnreachable, "tcp_unreachable")),
            (EACCES, Stage::Connecting, (Reason::ConnectUnreachable, "tcp_denied")),
        ] {
            assert_eq!(reason(code, stage), want, "{code} in {stage:?}");
        }
    }

    #[test]
    fn certificates_tell_what_is_wrong_with_them() {
        use rustls::{CertificateError as Cert, Error as Tls};
        for (error, reason, kind) in [
            (Tls::InvalidCertificate(Cert::Expired), Reason::TlsCertificate, "tls_expired"),
            (Tls::InvalidCertificate(Cert::NotValidForName), Reason::TlsCertificate, "tls_name"),
            (Tls::InvalidCertificate(Cert::UnknownIssuer), Reason::TlsCertificate, "tls_issuer"),
            (Tls::InvalidMessage(rustls::InvalidMessage::InvalidContentType), Reason::TlsHandshake, "tls_not_tls"),
            (Tls::AlertReceived(rustls::AlertDescription::ProtocolVersion), Reason::TlsHandshake, "tls_refused"),
        ] {
            assert_eq!(tls_verdict(&error).blame, Blame::Target { reason, kind });
        }
    }
}
