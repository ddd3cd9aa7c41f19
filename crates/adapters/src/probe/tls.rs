//! TLS for a probe: verified under a named authority, or not at all; either way the certificate's end is watched.

use crate::probe::result::CheckResult;
use crate::probe::threads::{Flight, Threads};
use regent_config::probe::{Endpoint, Host};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A certificate that ends sooner is warned of; those that renew themselves do so earlier.
const WARN_DAYS: i64 = 14;
const DAY: i64 = 24 * 3600;

type Made = Result<Arc<ClientConfig>, String>;

/// Connects by TLS, again and again.
pub(crate) struct TlsCheck {
    name: Option<ServerName<'static>>,
    place: String,
    ca: Option<PathBuf>,
    client: Option<Arc<ClientConfig>>,
    flight: Flight<Made>,
    warning: Option<String>,
}

impl TlsCheck {
    /// For this place.
    pub(crate) fn new(endpoint: &Endpoint, ca: Option<PathBuf>) -> TlsCheck {
        let name = match &endpoint.host {
            Host::Address(address) => Some(ServerName::from(*address)),
            Host::Name(name) => ServerName::try_from(name.clone()).ok(),
        };
        let place = endpoint.to_string();
        TlsCheck { name, place, ca, client: None, flight: Flight::new(), warning: None }
    }

    /// What will go wrong, as of the last connection.
    pub(crate) fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    /// The same connection with TLS on it.
    pub(crate) async fn connect(
        &mut self,
        stream: TcpStream,
        threads: &Threads,
        bound: Duration,
    ) -> Result<TlsStream<TcpStream>, CheckResult> {
        let no_name =
            || CheckResult::Unknown(format!("{} is no name for a certificate", self.place));
        let name = self.name.clone().ok_or_else(no_name)?;
        let client = match &self.client {
            Some(client) => Arc::clone(client),
            None => {
                let made = self.make(threads, bound).await?;
                Arc::clone(self.client.insert(made))
            }
        };
        let connected = Box::pin(TlsConnector::from(client).connect(name, stream)).await;
        let stream = connected.map_err(|error| {
            // The authority's file may be another by now.
            self.client = None;
            words(&error)
        })?;
        let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
        self.warning = certificates.first().and_then(|first| {
            let end = end_of(first)?;
            let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
            warning(end, i64::try_from(now).ok()?)
                .map(|end| format!("the certificate of {} {end}", self.place))
        });
        Ok(stream)
    }

    /// The file is read on a thread: it may be on a mount that hangs.
    async fn make(
        &mut self,
        threads: &Threads,
        bound: Duration,
    ) -> Result<Arc<ClientConfig>, CheckResult> {
        let ca = self.ca.clone();
        let launch = |sender: tokio::sync::oneshot::Sender<Made>| {
            threads.run(move || {
                // If nobody waits, the probe is gone.
                let _ = sender.send(client(ca.as_deref()));
            });
        };
        match self.flight.take(bound, launch).await {
            Ok(Ok(client)) => Ok(client),
            Ok(Err(why)) => Err(CheckResult::Unknown(why)),
            Err(late) => Err(CheckResult::late(late, bound)),
        }
    }
}

fn client(ca: Option<&Path>) -> Made {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| format!("no TLS: {error}"))?;
    let mut client = match ca {
        None => builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider))),
        Some(path) => {
            let unreadable = |error: &dyn std::fmt::Display| {
                format!("the authority in {} cannot be read: {error}", path.display())
            };
            let mut roots = RootCertStore::empty();
            let all = CertificateDer::pem_file_iter(path).map_err(|e| unreadable(&e))?;
            for certificate in all {
                let certificate = certificate.map_err(|e| unreadable(&e))?;
                roots.add(certificate).map_err(|e| unreadable(&e))?;
            }
            builder.with_root_certificates(roots)
        }
    }
    .with_no_client_auth();
    // Every look sees the certificate.
    client.resumption = Resumption::disabled();
    Ok(Arc::new(client))
}

fn words(error: &io::Error) -> CheckResult {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    let why = match tls {
        Some(Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        )) => "the certificate has ended".to_owned(),
        // A bad signature is what an authority of the same name and another key leaves.
        Some(Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        )) => "the certificate is not of the expected authority".to_owned(),
        Some(Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => "the certificate is for another name".to_owned(),
        Some(Error::InvalidMessage(_)) => "the answer is not TLS".to_owned(),
        Some(error) => format!("no TLS: {error}"),
        None => format!("no TLS: {error}"),
    };
    CheckResult::Failed(why)
}

/// When a certificate ends, in seconds since 1970.
fn end_of(certificate: &CertificateDer<'_>) -> Option<i64> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(parsed.validity().not_after.timestamp())
}

fn warning(end: i64, now: i64) -> Option<String> {
    let left = end - now;
    let days = |seconds: i64| match seconds / DAY {
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    };
    match left {
        _ if left <= -DAY => Some(format!("ended {} ago", days(-left))),
        ..=0 => Some("has ended".to_owned()),
        1..DAY => Some("ends within a day".to_owned()),
        _ if left < WARN_DAYS * DAY => Some(format!("ends in {}", days(left))),
        _ => None,
    }
}

/// Believes everybody: a probe without an authority only wants to see the certificate.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_warned_of_two_weeks_before() {
        let at = |days: i64| warning(1_000_000 + days * DAY + 60, 1_000_000);
        assert_eq!(at(14), None);
        assert_eq!(at(12).as_deref(), Some("ends in 12 days"));
        assert_eq!(at(1).as_deref(), Some("ends in 1 day"));
        assert_eq!(at(0).as_deref(), Some("ends within a day"));
        assert_eq!(warning(5, 5).as_deref(), Some("has ended"));
        assert_eq!(at(-3).as_deref(), Some("ended 2 days ago"));
    }
}
