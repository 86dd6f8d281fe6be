//! Hands bytes on between two addresses: the broker of the one region names an address of its own host,
//! which the other region must find there too.

use anyhow::Result;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::cli::ForwardArgs;
use crate::control::Orders;

/// Until its stdin ends.
pub(crate) async fn run(args: ForwardArgs) -> Result<()> {
    let listener = TcpListener::bind(args.listen).await?;
    println!("listening");
    let mut orders = Orders::new();
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            order = orders.next::<()>() => return order.map(|_| ()),
            accepted = listener.accept() => {
                tasks.spawn(hand_on(accepted?.0, args.to));
            }
            // One that broke off is its client's to open again.
            Some(_) = tasks.join_next() => {}
        }
    }
}

async fn hand_on(mut from: TcpStream, to: std::net::SocketAddr) -> Result<()> {
    let mut to = TcpStream::connect(to).await?;
    from.set_nodelay(true)?;
    to.set_nodelay(true)?;
    copy_bidirectional(&mut from, &mut to).await?;
    Ok(())
}
