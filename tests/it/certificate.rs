//! Certificate files, as an operator would put them there.

use std::path::Path;

use meridian_client::CertificateHash;

/// The configuration that names the files.
pub(crate) const SECTION: &str = "[tls]\ncertificate = 'chain.pem'\nkey = 'key.pem'";

/// Writes a new certificate and its key; its hash.
pub(crate) fn write(dir: &Path) -> CertificateHash {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    for (name, text) in
        [("chain.pem", made.cert.pem()), ("key.pem", made.signing_key.serialize_pem())]
    {
        std::fs::write(dir.join(name), text).expect("a file");
    }
    CertificateHash::of(made.cert.der())
}
