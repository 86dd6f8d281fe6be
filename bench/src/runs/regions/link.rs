//! A slow link with processes of this program at its far end, where the broker has the address that it
//! has here. Ends with its handle.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use meridian_stack::Shape;

use crate::control::Worker;
use crate::report::progress;

const PATIENCE: Duration = Duration::from_secs(20);

pub(super) struct Link {
    // Before the link: they are on it.
    forwards: Vec<Worker>,
    link: meridian_stack::Link,
}

impl Link {
    pub(super) fn open(shape: Shape) -> Result<Self> {
        Ok(Self { forwards: Vec::new(), link: meridian_stack::Link::open(shape)? })
    }

    /// A process of this program at the far end.
    pub(super) fn start_far(&self, name: &'static str, args: &[&str]) -> Result<Worker> {
        Worker::start_within(self.link.space(), name, args)
    }

    /// Makes a loopback address of this end answer at the far end as well.
    pub(super) async fn reach(&mut self, address: SocketAddr) -> Result<()> {
        let (here, over) = (address.to_string(), self.over(address.port()).to_string());
        let near = Worker::start("forward", &[&over, &here])?;
        let far = self.start_far("forward", &[&here, &over])?;
        for mut forward in [near, far] {
            ensure!(forward.line(PATIENCE).await? == "listening", "a forward does not listen");
            self.forwards.push(forward);
        }
        Ok(())
    }

    /// Where the far end reaches a port of this one, without `reach`.
    pub(super) fn over(&self, port: u16) -> SocketAddr {
        (self.link.near(), port).into()
    }

    /// Ends it.
    pub(super) fn close(self) -> Result<()> {
        drop(self.forwards);
        let packets = self.link.close()?;
        progress(format_args!("the link's {packets:?}"));
        Ok(())
    }
}
