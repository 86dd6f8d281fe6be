//! Fan-out over WebTransport lanes, beside the floor of plain TCP writes at the same rate.

use anyhow::Result;

use super::fanout::{alternate, summarize};
use super::subject::Subject;
use super::summary::table;
use crate::cli::WtArgs;
use crate::procfs::udp_in_errors;
use crate::report::{self, progress};
use crate::server::Server;
use crate::target::{LoadPlan, PublishPlan, Transport, channels, from_now};

pub(crate) async fn wt(args: WtArgs) -> Result<()> {
    let meridian = Server::meridian(&args.common, false).await?;
    let mut subjects = vec![
        subject("meridian, WebTransport", meridian, Transport::WebTransport, &args).await?,
        subject("floor, TCP", Server::floor(false).await?, Transport::WebSocket, &args).await?,
    ];
    let errors = udp_in_errors()?;
    let turns = alternate(&mut subjects, &args.rounds).await?;
    let errors = udp_in_errors()? - errors;
    if errors > 0 {
        progress(format_args!(
            "{errors} datagrams were lost in full sockets: the server looks cheaper than it is"
        ));
    }
    let shape = format!("{} × {}/s", report::count(args.sessions as f64), args.rate);
    let summaries = summarize(&shape, &subjects, &turns)?;
    for subject in subjects {
        subject.stop().await?;
    }
    report::publish(&table(&summaries), &summaries, args.common.json.as_deref())
}

async fn subject(
    name: &'static str,
    server: Server,
    transport: Transport,
    args: &WtArgs,
) -> Result<Subject> {
    let names = channels("wt", 1);
    let load = LoadPlan {
        target: server.target.clone(),
        transport,
        connections: args.sessions,
        channels: from_now(&names),
        hold: false,
    };
    let publish = PublishPlan {
        target: server.target.clone(),
        channels: names,
        bytes: args.common.bytes,
        rate: args.rate,
    };
    Subject::start(name, server, load, publish).await
}
