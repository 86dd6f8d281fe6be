//! Certificates and TLS settings: TLS 1.3 only, one provider, and certificates that change without a
//! restart. Owns no connection.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};

/// A browser takes a certificate's hash only if it is valid for at most 14 days.
const SELF_MADE_DAYS: i64 = 13;
/// A self-made certificate is renewed this long before its end.
const RENEW_BEFORE: Duration = Duration::from_secs(3 * 86_400);

/// Why a certificate could not be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read the certificate {path}")]
    Certificate { path: PathBuf, source: rustls_pki_types::pem::Error },
    #[error("cannot read the key {path}")]
    Key { path: PathBuf, source: rustls_pki_types::pem::Error },
    #[error("certificate and key do not go together")]
    Mismatch(#[source] rustls::Error),
    #[error("cannot make a certificate")]
    SelfMade(#[source] rcgen::Error),
    #[error("TLS settings")]
    Settings(#[source] rustls::Error),
}

enum Origin {
    Files { certificate: PathBuf, key: PathBuf },
    SelfMade { names: Vec<String> },
}

/// The node's certificate, as it is now.
pub struct Certificates {
    origin: Origin,
    current: RwLock<Current>,
}

#[derive(Clone)]
struct Current {
    key: Arc<CertifiedKey>,
    /// Modification times of the files, or when it was made.
    stamp: [Option<SystemTime>; 2],
}

impl Certificates {
    /// From PEM files.
    pub fn from_files(certificate: PathBuf, key: PathBuf) -> Result<Arc<Self>, TlsError> {
        let current = read_files(&certificate, &key)?;
        let origin = Origin::Files { certificate, key };
        Ok(Arc::new(Self { origin, current: RwLock::new(current) }))
    }

    /// Makes an ECDSA P-256 certificate for these names, valid for 13 days.
    pub fn self_made(names: Vec<String>) -> Result<Arc<Self>, TlsError> {
        let current = make(&names)?;
        Ok(Arc::new(Self { origin: Origin::SelfMade { names }, current: RwLock::new(current) }))
    }

    /// SHA-256 of the certificate's DER, as browsers take it for WebTransport.
    pub fn hash(&self) -> [u8; 32] {
        let current = self.now();
        let leaf = current.key.cert.first().map(|der| der.as_ref()).unwrap_or_default();
        Sha256::digest(leaf).into()
    }

    /// Takes changed files, or makes a new certificate before the old one ends. `true`: it changed.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let old = self.now();
        let new = match &self.origin {
            Origin::Files { certificate, key } => {
                if stamp(certificate, key) == old.stamp {
                    return Ok(false);
                }
                read_files(certificate, key)?
            }
            Origin::SelfMade { names } => {
                let lifetime = Duration::from_secs(SELF_MADE_DAYS as u64 * 86_400);
                let age = old.stamp[0].and_then(|made| made.elapsed().ok()).unwrap_or_default();
                if age + RENEW_BEFORE < lifetime {
                    return Ok(false);
                }
                make(names)?
            }
        };
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(true)
    }

    fn now(&self) -> Current {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Settings for TCP (`h2` and `http/1.1`).
    pub(crate) fn tcp_config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, TlsError> {
        self.config(&[b"h2", b"http/1.1"]).map(Arc::new)
    }

    /// Settings for QUIC (`h3`).
    pub(crate) fn quic_config(self: &Arc<Self>) -> Result<ServerConfig, TlsError> {
        let mut config = self.config(&[b"h3"])?;
        // 0-RTT data could be replayed, and nothing here needs it.
        config.max_early_data_size = 0;
        Ok(config)
    }

    fn config(self: &Arc<Self>, alpn: &[&[u8]]) -> Result<ServerConfig, TlsError> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(TlsError::Settings)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Resolver(self.clone())));
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        Ok(config)
    }
}

/// Hands out the certificate as it is at each handshake.
struct Resolver(Arc<Certificates>);

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Resolver")
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.now().key)
    }
}

fn stamp(certificate: &PathBuf, key: &PathBuf) -> [Option<SystemTime>; 2] {
    [certificate, key].map(|path| std::fs::metadata(path).and_then(|m| m.modified()).ok())
}

fn read_files(certificate: &PathBuf, key: &PathBuf) -> Result<Current, TlsError> {
    let stamp = stamp(certificate, key);
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|source| TlsError::Certificate { path: certificate.clone(), source })?;
    let key_der = PrivateKeyDer::from_pem_file(key)
        .map_err(|source| TlsError::Key { path: key.clone(), source })?;
    let key = certified(chain, key_der)?;
    Ok(Current { key, stamp })
}

fn make(names: &[String]) -> Result<Current, TlsError> {
    let pair =
        rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(TlsError::SelfMade)?;
    let mut params = rcgen::CertificateParams::new(names.to_vec()).map_err(TlsError::SelfMade)?;
    let now = SystemTime::now();
    // An hour back, for clients whose clocks are a little behind.
    params.not_before = (now - Duration::from_secs(3600)).into();
    params.not_after = (now + Duration::from_secs(SELF_MADE_DAYS as u64 * 86_400)).into();
    let certificate = params.self_signed(&pair).map_err(TlsError::SelfMade)?;
    let key_der = PrivateKeyDer::Pkcs8(pair.serialize_der().into());
    let key = certified(vec![certificate.der().clone()], key_der)?;
    Ok(Current { key, stamp: [Some(now), None] })
}

fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<CertifiedKey>, TlsError> {
    let provider = ring::default_provider();
    CertifiedKey::from_der(chain, key, &provider).map(Arc::new).map_err(TlsError::Mismatch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_taken_again_when_they_change() {
        let dir = tempfile::tempdir().unwrap();
        let (certificate, key) = (dir.path().join("c.pem"), dir.path().join("k.pem"));
        let write = |age: u64| {
            let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
            std::fs::write(&certificate, made.cert.pem()).unwrap();
            std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
            let when = SystemTime::now() - Duration::from_secs(age);
            std::fs::File::options().write(true).open(&key).unwrap().set_modified(when).unwrap();
        };
        write(100);
        let certificates = Certificates::from_files(certificate.clone(), key.clone()).unwrap();
        let before = certificates.hash();
        assert!(!certificates.reload().unwrap());
        write(50);
        assert!(certificates.reload().unwrap());
        assert_ne!(certificates.hash(), before);
        std::fs::write(&certificate, "damaged").unwrap();
        let after = certificates.hash();
        assert!(certificates.reload().is_err());
        assert_eq!(certificates.hash(), after, "a damaged file leaves the old one in use");
    }

    #[test]
    fn self_made_ones_are_short_lived() {
        let certificates = Certificates::self_made(vec!["localhost".into()]).unwrap();
        assert!(!certificates.reload().unwrap());
        assert_ne!(certificates.hash(), [0; 32]);
    }
}
