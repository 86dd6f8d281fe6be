//! Whom the client trusts, as a rustls configuration. Owns the check of pinned certificates; never
//! accepts a certificate unchecked.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use sha2::{Digest as _, Sha256};

/// Which servers' certificates are accepted.
#[derive(Debug, Clone, Default)]
pub enum Trust {
    /// Those signed by the system's authorities.
    #[default]
    System,
    /// Those signed by these authorities, and by no others.
    Authorities(Vec<CertificateDer<'static>>),
    /// Those with exactly one of these hashes, whatever they say of name and time.
    Hashes(Vec<CertificateHash>),
}

/// SHA-256 of a certificate's DER.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CertificateHash(pub [u8; 32]);

/// The text is not a SHA-256 in hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a certificate hash is 64 hexadecimal digits")]
pub struct HashError;

/// No TLS configuration could be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("the system has no certificate authorities")]
    NoAuthorities,
    #[error("not the certificates of authorities, in PEM")]
    Pem,
    #[error("the TLS configuration is not valid")]
    Config(#[from] rustls::Error),
}

impl Trust {
    /// Reads authorities' certificates.
    pub fn from_pem(pem: &[u8]) -> Result<Self, TlsError> {
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        match read {
            Ok(authorities) if !authorities.is_empty() => Ok(Self::Authorities(authorities)),
            Ok(_) | Err(_) => Err(TlsError::Pem),
        }
    }

    /// A configuration that offers TLS 1.3 and 1.2, and `alpn` where given.
    pub fn client_config(&self, alpn: &[&[u8]]) -> Result<Arc<ClientConfig>, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?;
        let mut config = match self {
            Trust::System => builder.with_root_certificates(system_roots()?).with_no_client_auth(),
            Trust::Authorities(authorities) => {
                let mut roots = RootCertStore::empty();
                authorities.iter().try_for_each(|one| roots.add(one.clone()))?;
                builder.with_root_certificates(roots).with_no_client_auth()
            }
            Trust::Hashes(hashes) => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Pinned {
                    hashes: hashes.clone(),
                    provider,
                }))
                .with_no_client_auth(),
        };
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        Ok(Arc::new(config))
    }
}

fn system_roots() -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() { Err(TlsError::NoAuthorities) } else { Ok(roots) }
}

impl CertificateHash {
    /// The hash of a certificate.
    pub fn of(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }
}

impl FromStr for CertificateHash {
    type Err = HashError;

    /// Reads hexadecimal digits, colons between them allowed.
    fn from_str(text: &str) -> Result<Self, HashError> {
        let digits: Vec<u8> = text
            .chars()
            .filter(|c| *c != ':')
            .map(|c| c.to_digit(16).map(|digit| digit as u8).ok_or(HashError))
            .collect::<Result<_, _>>()?;
        let bytes: Vec<u8> =
            digits.chunks(2).map(|pair| pair.iter().fold(0, |n, d| n << 4 | d)).collect();
        match bytes.try_into() {
            Ok(hash) if digits.len() == 64 => Ok(Self(hash)),
            _ => Err(HashError),
        }
    }
}

impl fmt::Display for CertificateHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for CertificateHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CertificateHash({self})")
    }
}

/// Accepts a certificate by its hash; the handshake's signature is checked as ever.
#[derive(Debug)]
struct Pinned {
    hashes: Vec<CertificateHash>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.hashes.contains(&CertificateHash::of(end_entity)) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_are_read_from_pem() {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let two = format!("{}\n{}", made.cert.pem(), made.cert.pem());
        let Ok(Trust::Authorities(read)) = Trust::from_pem(two.as_bytes()) else {
            panic!("two certificates")
        };
        assert_eq!(read, [made.cert.der().clone(), made.cert.der().clone()]);
        for bad in [&b""[..], b"no PEM", made.signing_key.serialize_pem().as_bytes()] {
            assert!(matches!(Trust::from_pem(bad), Err(TlsError::Pem)));
        }
    }

    #[test]
    fn hashes_are_hexadecimal() {
        let hash = CertificateHash::of(b"der");
        assert_eq!(hash.to_string().parse(), Ok(hash));
        let with_colons: Vec<String> = hash.0.iter().map(|b| format!("{b:02X}")).collect();
        assert_eq!(with_colons.join(":").parse(), Ok(hash));
        for bad in ["", "ab", &"g".repeat(64), &"a".repeat(66), &"a".repeat(63)] {
            assert_eq!(bad.parse::<CertificateHash>(), Err(HashError), "{bad}");
        }
    }
}
