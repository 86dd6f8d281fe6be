//! A server is believed only with a certificate for its name from an authority that is trusted.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use meridian_postgres::{OpenError, PostgresHistory, Tls};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use crate::server::{Server, incarnation};

/// An authority, and its certificate as a file.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    file: PathBuf,
}

impl Authority {
    fn new(folder: &Path, name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let file = folder.join(name);
        std::fs::write(&file, params.self_signed(&key).unwrap().pem()).unwrap();
        Self { issuer: Issuer::new(params, key), file }
    }

    /// Has the server use a new certificate for this name.
    async fn certify(&self, server: &Server, name: &str) {
        let folder = server.stack.folder("pg1");
        let owner = std::fs::metadata(data_file(server, "postgresql.conf").await).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        for (file, text) in [("tls.crt", certificate.pem()), ("tls.key", key.serialize_pem())] {
            let path = folder.join(file);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
            let setting = if file == "tls.crt" { "ssl_cert_file" } else { "ssl_key_file" };
            server.run(&format!("ALTER SYSTEM SET {setting} = '{}'", path.display())).await;
        }
        server.run("ALTER SYSTEM SET ssl = on").await;
        server.stack.kill("pg1");
        server.stack.restart("pg1");
    }
}

async fn data_file(server: &Server, name: &str) -> PathBuf {
    let mut connection = server.connect().await;
    let query = sqlx::query_scalar::<_, String>("SELECT current_setting('data_directory')");
    PathBuf::from(query.fetch_one(&mut connection).await.unwrap()).join(name)
}

async fn open(server: &Server, tls: Tls) -> Result<PostgresHistory, OpenError> {
    let mut options = server.options.clone();
    options.tls = tls;
    PostgresHistory::open(options, &incarnation()).await
}

fn verified(authority: &Authority) -> Tls {
    Tls::Verified { ca_file: Some(authority.file.clone()) }
}

#[tokio::test]
async fn certificates_are_checked() {
    let (server, folder) = (Server::own().await, TempDir::new().unwrap());
    let ours = Authority::new(folder.path(), "ours.pem");
    let other = Authority::new(folder.path(), "other.pem");
    assert!(open(&server, verified(&ours)).await.is_err(), "a server without TLS");

    ours.certify(&server, "127.0.0.1").await;
    let history = open(&server, verified(&ours)).await.unwrap();
    let encrypted = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                     WHERE application_name = 'meridian' AND ssl";
    assert_eq!(server.number(encrypted).await, 1);
    history.close().await;
    assert!(open(&server, verified(&other)).await.is_err(), "another authority");
    assert!(
        open(&server, Tls::Verified { ca_file: None }).await.is_err(),
        "nobody the system knows"
    );
    let nowhere = Tls::Verified { ca_file: Some(folder.path().join("nowhere.pem")) };
    assert!(open(&server, nowhere).await.is_err(), "no such file");

    ours.certify(&server, "db.example.com").await;
    assert!(open(&server, verified(&ours)).await.is_err(), "a certificate for another name");
    open(&server, Tls::Off).await.expect("it was the certificate").close().await;
}
