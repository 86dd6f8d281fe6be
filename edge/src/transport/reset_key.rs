//! The key of a node's stateless resets (RFC 9000 §10.3): by it a client knows that the answer to a
//! packet of a connection that the node has lost is the node's own. Owns the file that it is kept in.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

const BYTES: usize = 64;

/// A node's own, secret; no two nodes may share one, since each would end the other's connections.
#[derive(Clone)]
pub struct ResetKey(pub(super) [u8; BYTES]);

impl ResetKey {
    /// A fresh one. After a restart clients learn by silence only that their connections are gone.
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// The node's own, kept in a folder that is this process's alone; made where there is none, or half of
    /// one. The name is one that a configuration may give a node.
    pub fn kept_in(folder: &Path, node: &str) -> io::Result<Self> {
        let path = folder.join(file_name(node));
        match std::fs::read(&path) {
            Ok(bytes) => {
                if let Ok(key) = bytes.try_into() {
                    return Ok(Self(key));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let key = Self::random();
        create(&path)?.write_all(&key.0)?;
        Ok(key)
    }
}

fn file_name(node: &str) -> String {
    format!("quic-reset-{node}.key")
}

/// An empty file that only its owner reads.
fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_key_outlives_its_process_and_damage_makes_a_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let kept = || ResetKey::kept_in(folder.path(), "n1").unwrap().0;
        let first = kept();
        assert_eq!(kept(), first);
        assert_ne!(ResetKey::kept_in(folder.path(), "n2").unwrap().0, first);
        assert_ne!(ResetKey::random().0, first);
        std::fs::write(folder.path().join(file_name("n1")), &first[..10]).unwrap();
        let second = kept();
        assert_ne!(second, first);
        assert_eq!(kept(), second);
    }

    #[cfg(unix)]
    #[test]
    fn only_its_owner_reads_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        ResetKey::kept_in(folder.path(), "n1").unwrap();
        let file = std::fs::metadata(folder.path().join(file_name("n1"))).unwrap();
        let mode = file.permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
