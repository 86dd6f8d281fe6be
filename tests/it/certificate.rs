//! Certificate files, as an operator would put them there.

use std::path::Path;
use std::time::{Duration, SystemTime};

use meridian_client::CertificateHash;

/// The configuration that names the files.
pub(crate) const SECTION: &str = "[tls]\ncertificate = 'chain.pem'\nkey = 'key.pem'";

/// Writes a new certificate and its key; its hash.
pub(crate) fn write(dir: &Path) -> CertificateHash {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(names).expect("names");
    // Browsers, and clients like them, take a hash only of one that lives two weeks at most.
    let (now, hour) = (SystemTime::now(), Duration::from_secs(3600));
    (params.not_before, params.not_after) = ((now - hour).into(), (now + 24 * hour).into());
    let made = params.self_signed(&key).expect("a certificate");
    for (name, text) in [("chain.pem", made.pem()), ("key.pem", key.serialize_pem())] {
        std::fs::write(dir.join(name), text).expect("a file");
    }
    CertificateHash::of(made.der())
}
