//! Who is turned away at the public port, before it is anybody, as records of the audit log.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use rustls::{CertificateError, Error};

use crate::{
    audit::Refusal,
    session::sessions::Service,
    telemetry::{self, names},
};

/// Where somebody came from, and by which of the node's addresses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stranger {
    pub(super) source: IpAddr,
    pub(super) listener: Option<SocketAddr>,
}

impl Stranger {
    /// Has it kept that `wall` has turned it away for `reason`; `what` is what it asked for, as far as that is known.
    pub(super) fn note(self, service: &Service, wall: &'static str, reason: &'static str, what: &str) {
        telemetry::count(&names::TURNED_AWAY, &[wall]);
        service.realms.audit.refused(&Refusal {
            source: Some(self.source.to_canonical()),
            listener: self.listener,
            what,
            ..Refusal::of(wall, reason)
        });
    }
}

/// Why a handshake of TLS was refused; `None` where it only failed: the peer left, spoke something else, or refused this node.
pub(super) fn tls_refusal(error: &io::Error) -> Option<&'static str> {
    let error = error.get_ref()?.downcast_ref::<Error>()?;
    Some(match error {
        Error::NoCertificatesPresented => "no client certificate",
        Error::InvalidCertificate(fault) => match fault {
            CertificateError::Revoked => "client certificate revoked",
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => "client certificate expired",
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "client certificate not valid yet",
            CertificateError::UnknownIssuer => "client certificate of an unknown authority",
            CertificateError::ExpiredRevocationList | CertificateError::ExpiredRevocationListContext { .. } => {
                "revocation list of the client certificate expired"
            }
            _ => "client certificate not valid",
        },
        Error::PeerIncompatible(_) => "no TLS version or suite in common",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_is_not_taken_is_told_from_a_connection_that_broke() {
        let wrapped = |error: Error| io::Error::new(io::ErrorKind::InvalidData, error);
        let revoked = wrapped(Error::InvalidCertificate(CertificateError::Revoked));
        assert_eq!(tls_refusal(&revoked), Some("client certificate revoked"));
        assert_eq!(
            tls_refusal(&wrapped(Error::NoCertificatesPresented)),
            Some("no client certificate")
        );
        assert_eq!(tls_refusal(&wrapped(Error::DecryptError)), None);
        assert_eq!(tls_refusal(&io::ErrorKind::ConnectionReset.into()), None);
    }
}
