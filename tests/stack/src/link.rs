//! A slow link from this network namespace to a new one, through a process in user space. Owns that process;
//! what runs at the far end ends with its owner, and so does the namespace. Needs root.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Error, Result};
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use rustix::process::geteuid;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tunlink.py");

/// What the link does to packets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shape {
    pub round_trip_ms: u32,
    pub loss_percent: f64,
}

/// Packets that came to the link, both ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packets {
    pub carried: u64,
    pub lost: u64,
    /// Dropped because too many were under way.
    pub overflow: u64,
}

/// The network namespace at the far end of a link.
#[derive(Debug, Clone)]
pub struct Space(PathBuf);

/// A link that is up. Ends with its handle; what is at its far end should have ended before.
#[derive(Debug)]
pub struct Link {
    near: IpAddr,
    far: IpAddr,
    space: Space,
    process: Child,
    /// The process ends when this does.
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Link {
    /// Makes a namespace, and the link to it.
    pub fn open(shape: Shape) -> Result<Self> {
        if !geteuid().is_root() {
            return Err(Error::other("a link needs root"));
        }
        let mut process = Command::new("python3")
            .arg(SCRIPT)
            .args(["--delay", &(f64::from(shape.round_trip_ms) / 2.0).to_string()])
            .args(["--loss", &shape.loss_percent.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = process.stdin.take();
        let stdout = process.stdout.take().ok_or_else(|| Error::other("its stdout is piped"))?;
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        let Some((near, far, space)) = read_ready(&line) else {
            drop(stdin);
            let status = process.wait()?;
            return Err(Error::other(format!("the link said {line:?} and ended with {status}")));
        };
        Ok(Self { near, far, space, process, stdin, stdout })
    }

    /// This end's address: what listens on it is reached from both ends.
    pub fn near(&self) -> IpAddr {
        self.near
    }

    /// The far end's address.
    pub fn far(&self) -> IpAddr {
        self.far
    }

    /// Where the far end is.
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// Ends it; what came to it.
    pub fn close(mut self) -> Result<Packets> {
        self.end()?;
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        read_packets(&line).ok_or_else(|| Error::other(format!("the link said {line:?}")))
    }

    fn end(&mut self) -> Result<()> {
        drop(self.stdin.take());
        self.process.wait().map(|_| ())
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

impl Space {
    /// A command that runs in it.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut net = std::ffi::OsString::from("--net=");
        net.push(&self.0);
        let mut command = Command::new("nsenter");
        command.arg(net).arg("--").arg(program);
        command
    }

    /// Moves the calling thread into it, for good: the sockets that it opens from now on are there.
    pub fn enter(&self) -> Result<()> {
        let space = File::open(self.path())?;
        Ok(move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network))?)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

/// `ready NEAR FAR NAMESPACE`.
fn read_ready(line: &str) -> Option<(IpAddr, IpAddr, Space)> {
    let mut words = line.strip_prefix("ready ")?.split_whitespace();
    let (near, far) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some((near, far, Space(words.next()?.into())))
}

/// `carried N N lost N N overflow N N`.
fn read_packets(line: &str) -> Option<Packets> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let both_ways = |name: &str| {
        let at = words.iter().position(|word| *word == name)?;
        let count = |at: usize| words.get(at)?.parse::<u64>().ok();
        Some(count(at + 1)? + count(at + 2)?)
    };
    Some(Packets {
        carried: both_ways("carried")?,
        lost: both_ways("lost")?,
        overflow: both_ways("overflow")?,
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;

    /// Answers each byte of one connection, at the far end.
    fn echo(link: &Link) -> (SocketAddr, thread::JoinHandle<()>) {
        let (space, far) = (link.space().clone(), link.far());
        let (tell, told) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            space.enter().unwrap();
            let listener = TcpListener::bind((far, 0)).unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_nodelay(true).unwrap();
            let mut byte = [0];
            while stream.read(&mut byte).unwrap() == 1 {
                stream.write_all(&byte).unwrap();
            }
        });
        (told.recv().unwrap(), thread)
    }

    #[test]
    fn what_crosses_a_link_takes_its_time_and_gets_lost() {
        let shape = Shape { round_trip_ms: 20, loss_percent: 10.0 };
        let link = match Link::open(shape) {
            Ok(link) => link,
            Err(error) => {
                assert!(!geteuid().is_root(), "{error}");
                assert_eq!(error.to_string(), "a link needs root");
                return;
            }
        };
        let (address, echoing) = echo(&link);
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        for byte in 0..50 {
            let began = Instant::now();
            stream.write_all(&[byte]).unwrap();
            let mut answer = [0];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(answer, [byte]);
            assert!(began.elapsed() >= Duration::from_millis(20), "{:?}", began.elapsed());
        }
        drop(stream);
        echoing.join().unwrap();
        // What has the address there listens there only.
        assert!(TcpListener::bind((link.far(), 0)).is_err());
        let seen = link.space().command("ip").args(["-br", "addr"]).output().unwrap();
        assert!(String::from_utf8_lossy(&seen.stdout).contains(&link.far().to_string()));
        let far = link.far();
        let packets = link.close().unwrap();
        assert!(packets.carried > 100 && packets.lost > 0 && packets.overflow == 0, "{packets:?}");
        let again =
            TcpStream::connect_timeout(&(far, address.port()).into(), Duration::from_secs(1));
        assert!(again.is_err(), "the link is gone");
    }

    #[test]
    fn what_the_link_says_is_read() {
        let (near, far, space) = read_ready("ready 10.89.0.1 10.89.0.2 /proc/7/fd/5\n").unwrap();
        assert_eq!((near.to_string(), far.to_string()), ("10.89.0.1".into(), "10.89.0.2".into()));
        assert_eq!(space.path(), Path::new("/proc/7/fd/5"));
        let packets = read_packets("carried 1 2 lost 3 4 overflow 0 5\n");
        assert_eq!(packets, Some(Packets { carried: 3, lost: 7, overflow: 5 }));
        assert!(read_ready("").is_none() && read_packets("carried 1 2 lost 3 4\n").is_none());
    }
}
