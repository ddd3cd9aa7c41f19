//! Who a peer is: mutual TLS 1.3 under the cluster's own authority, and nothing else.
//!
//! There is no plaintext mode and no older version. A certificate under the authority is not enough: the name
//! in it must be the one that the configuration has for the peer, on both sides.

use crate::ca::{CA_CERTIFICATE, NODE_CERTIFICATE, NODE_KEY};
use rustls::client::{Resumption, verify_server_name};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The name in a certificate that may ask and command from outside, and is no node.
pub const OPERATOR: &str = "operator";

/// What this process shows, and whom it believes.
#[derive(Clone)]
pub struct Identity {
    /// The name in its certificate.
    pub name: String,
    /// For connections it opens.
    pub client: Arc<ClientConfig>,
    /// For connections it takes.
    pub server: Arc<ServerConfig>,
}

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is missing or no certificate or key.
    #[error("failed to read {0}: {1}")]
    File(PathBuf, String),
    /// The certificate names nobody of this cluster.
    #[error("failed to tell who this is: {file} names none of {known}")]
    Nobody {
        /// The certificate.
        file: PathBuf,
        /// Who could have been named.
        known: String,
    },
    /// Certificate, key and authority do not fit.
    #[error("failed to use the certificates in {0}: {1}")]
    Unfit(PathBuf, rustls::Error),
}

impl TlsError {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            TlsError::File(..) => {
                "regent ca issue NODE --dir AUTHORITY --out DIR, then copy the three files here"
            }
            TlsError::Nobody { .. } => {
                "issue a certificate for this node's name as the configuration has it"
            }
            TlsError::Unfit(..) => "take all three files from one regent ca issue",
        }
    }
}

/// Reads the identity in `dir`; `known` are the names that may stand in its certificate.
pub fn load<'n>(
    dir: &Path,
    known: impl Iterator<Item = &'n str> + Clone,
) -> Result<Identity, TlsError> {
    let path = |name: &str| dir.join(name);
    let file = |name: &str, e: rustls::pki_types::pem::Error| {
        let why = if let rustls::pki_types::pem::Error::Io(e) = &e {
            e.to_string()
        } else {
            format!("no PEM of this kind: {e}")
        };
        TlsError::File(path(name), why)
    };
    let authority =
        CertificateDer::from_pem_file(path(CA_CERTIFICATE)).map_err(|e| file(CA_CERTIFICATE, e))?;
    let own = CertificateDer::from_pem_file(path(NODE_CERTIFICATE))
        .map_err(|e| file(NODE_CERTIFICATE, e))?;
    let key = PrivateKeyDer::from_pem_file(path(NODE_KEY)).map_err(|e| file(NODE_KEY, e))?;
    let name = known
        .clone()
        .find(|name| is_named(&own, name))
        .ok_or_else(|| TlsError::Nobody {
            file: path(NODE_CERTIFICATE),
            known: known.collect::<Vec<_>>().join(", "),
        })?
        .to_string();

    let unfit = |e: rustls::Error| TlsError::Unfit(dir.into(), e);
    let mut roots = RootCertStore::empty();
    roots.add(authority).map_err(unfit)?;
    let roots = Arc::new(roots);
    let provider = provider();
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
            .build()
            .map_err(|e| unfit(rustls::Error::General(e.to_string())))?;
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(unfit)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![own.clone()], key.clone_key())
        .map_err(unfit)?;
    // Every connection shows its certificate anew: no ticket outlives an authority that was replaced.
    server.send_tls13_tickets = 0;
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(unfit)?
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![own], key)
        .map_err(unfit)?;
    client.resumption = Resumption::disabled();
    Ok(Identity { name, client: Arc::new(client), server: Arc::new(server) })
}

/// Does this certificate name this node?
pub fn is_named(certificate: &CertificateDer<'_>, name: &str) -> bool {
    let Ok(parsed) = ParsedCertificate::try_from(certificate) else { return false };
    ServerName::try_from(name).is_ok_and(|name| verify_server_name(&parsed, &name).is_ok())
}

/// Named, never looked up: a second provider anywhere in the build would make the default ambiguous.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
