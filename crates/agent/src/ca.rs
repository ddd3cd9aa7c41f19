//! The cluster's own certificate authority: one key that signs every node's certificate.
//!
//! The authority's directory belongs on a machine that an operator trusts, and is needed only to issue.
//! A node's name stands in its certificate as subject and as DNS name; it is the node's identity towards
//! its peers. To renew, issue again and restart the agents one by one: old and new are valid side by side.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use regent_adapters::durable;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The authority's and a node's certificate file names.
pub const CA_CERTIFICATE: &str = "ca.crt";
/// The authority's key; never on a node.
pub const CA_KEY: &str = "ca.key";
/// A node's certificate.
pub const NODE_CERTIFICATE: &str = "node.crt";
/// A node's key.
pub const NODE_KEY: &str = "node.key";

/// For how many years the authority's and a node's certificate are valid. A certificate that ends is an outage
/// of everything, at an hour nobody chose; revoking is done by making a new authority.
const YEARS: (i32, i32) = (30, 10);

/// Why no certificate was made.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// There is one already, and its nodes would be orphaned.
    #[error("failed to make an authority: {0} has one already")]
    Exists(PathBuf),
    /// There is none.
    #[error("failed to read the authority: {0}: {1}")]
    Missing(PathBuf, io::Error),
    /// The name cannot stand in a certificate.
    #[error("failed to issue: \"{0}\" is no node's name")]
    Name(String),
    /// A file could not be written.
    #[error("failed to write {0}: {1}")]
    Write(PathBuf, io::Error),
    /// The certificate could not be made.
    #[error("failed to make the certificate: {0}")]
    Make(#[from] rcgen::Error),
}

impl CaError {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            CaError::Exists(_) => "issue with that one, or name another directory",
            CaError::Missing(..) => "regent ca init --dir DIR, once per cluster",
            CaError::Name(_) => {
                "its name in the configuration: lower-case letters, digits, inner hyphens"
            }
            CaError::Write(..) => "run as a user who may write there",
            CaError::Make(_) => "the authority's files may be damaged: restore them",
        }
    }
}

/// Makes an authority in `dir`; refuses where there is one.
pub fn init(dir: &Path) -> Result<(), CaError> {
    let key_path = dir.join(CA_KEY);
    if key_path.exists() {
        return Err(CaError::Exists(dir.into()));
    }
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.distinguished_name = subject("regent authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid(&mut params, YEARS.0);
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    directory(dir)?;
    write(&key_path, key.serialize_pem().as_bytes(), 0o600)?;
    write(&dir.join(CA_CERTIFICATE), certificate.pem().as_bytes(), 0o644)
}

/// Issues a certificate for `node` into `out`: `ca.crt`, `node.crt`, `node.key`.
pub fn issue(node: &str, dir: &Path, out: &Path) -> Result<(), CaError> {
    let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if node.is_empty()
        || node.len() > 63
        || !node.chars().all(letters)
        || node.starts_with('-')
        || node.ends_with('-')
    {
        return Err(CaError::Name(node.into()));
    }
    let read = |name: &str| {
        let path = dir.join(name);
        fs::read_to_string(&path).map_err(|e| CaError::Missing(path, e))
    };
    let authority = read(CA_CERTIFICATE)?;
    let issuer = Issuer::from_ca_cert_pem(&authority, KeyPair::from_pem(&read(CA_KEY)?)?)?;
    let mut params = CertificateParams::new(vec![node.to_string()])?;
    params.distinguished_name = subject(node);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // An agent both listens and dials.
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    valid(&mut params, YEARS.1);
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &issuer)?;
    directory(out)?;
    write(&out.join(NODE_KEY), key.serialize_pem().as_bytes(), 0o600)?;
    write(&out.join(NODE_CERTIFICATE), certificate.pem().as_bytes(), 0o644)?;
    write(&out.join(CA_CERTIFICATE), authority.as_bytes(), 0o644)
}

fn subject(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    subject
}

/// Valid from a date long past: a host whose clock lost its battery must still find its peers.
fn valid(params: &mut CertificateParams, years: i32) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let year = 1970 + (since.as_secs() / 31_556_952) as i32;
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(year + years, 1, 1);
}

fn directory(dir: &Path) -> Result<(), CaError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(dir).map_err(|e| CaError::Write(dir.into(), e))
}

/// An agent never reads half a file; the mode holds from the first byte.
fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), CaError> {
    durable::replace(path, bytes, mode).map_err(|e| CaError::Write(path.into(), e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn keys_are_for_root_alone_and_an_authority_is_never_replaced() {
        let dir = crate::scratch::Scratch::new("ca");
        let (ca, node) = (dir.path().join("ca"), dir.path().join("mn1"));
        init(&ca).unwrap();
        issue("mn1", &ca, &node).unwrap();
        for key in [ca.join(CA_KEY), node.join(NODE_KEY)] {
            assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600, "{key:?}");
        }
        assert!(matches!(init(&ca), Err(CaError::Exists(_))));
        let first = fs::read(node.join(NODE_CERTIFICATE)).unwrap();
        issue("mn1", &ca, &node).unwrap();
        assert_ne!(fs::read(node.join(NODE_CERTIFICATE)).unwrap(), first, "renewed");
    }

    #[test]
    fn a_name_that_is_none_is_refused() {
        let dir = crate::scratch::Scratch::new("ca-name");
        init(dir.path()).unwrap();
        for name in ["", "MN1", "a b", "-a", "../x"] {
            let issued = issue(name, dir.path(), &dir.path().join("out"));
            assert!(matches!(issued, Err(CaError::Name(_))), "{name}");
        }
    }

    #[test]
    fn without_an_authority_nothing_is_issued() {
        let dir = crate::scratch::Scratch::new("ca-none");
        let issued = issue("mn1", dir.path(), &dir.path().join("out"));
        assert!(matches!(issued, Err(CaError::Missing(..))));
    }
}
