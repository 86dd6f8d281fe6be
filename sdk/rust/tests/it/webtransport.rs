//! The client over WebTransport.

use meridian_client::{Choice, Client, Code, From, Publish, State, Transport, Update};
use meridian_core::protocol::{Command, Message};
use wtransport::VarInt;

use crate::server::{WebTransportServer, connected, event, framed, soon, subscribed};

#[tokio::test]
async fn channels_come_on_lanes_and_answers_on_the_first_stream() {
    let server = WebTransportServer::start();
    let play = async {
        let mut session = server.accept().await;
        assert_eq!(session.path, "/v1/wt?codec=msgpack");
        let frame = session.command().await;
        assert!(matches!(frame.command, Command::Connect(_)));
        session.send(Message::Connected(frame.id, Box::new(connected()))).await;
        let mut lanes = Vec::new();
        for channel in ["a:1", "a:2"] {
            let frame = session.command().await;
            let mut lane = session.lane().await;
            lane.write_all(&framed(&subscribed(frame.id, channel, 5))).await.unwrap();
            lanes.push(lane);
        }
        let frame = session.command().await;
        assert!(matches!(frame.command, Command::Publish(_)));
        session.send(Message::Published { id: frame.id, cursor: None }).await;
        // The second lane goes on while the first has sent half a frame.
        let first = framed(&event("a:1", 6, 5, "1"));
        lanes[0].write_all(&first[..10]).await.unwrap();
        lanes[1].write_all(&framed(&event("a:2", 6, 5, "2"))).await.unwrap();
        assert!(matches!(session.command().await.command, Command::Ping));
        lanes[0].write_all(&first[10..]).await.unwrap();
        (session, lanes)
    };
    let use_it = async {
        let builder = Client::builder(server.url())
            .token("token")
            .certificate_hash(server.hash)
            .transport(Choice::Only(Transport::WebTransport));
        let client = soon(builder.connect()).await.unwrap();
        assert_eq!(client.session().unwrap().transport, Transport::WebTransport);
        let mut first = soon(client.subscribe("a:1", From::Now)).await.unwrap();
        let mut second = soon(client.subscribe("a:2", From::Now)).await.unwrap();
        soon(client.publish(Publish::json("a:1", "1"))).await.unwrap();
        assert!(matches!(soon(second.next()).await, Some(Update::Event(_))));
        assert_eq!(first.try_next(), None);
        let pinging = client.clone();
        tokio::select! {
            update = first.next() => assert!(matches!(update, Some(Update::Event(_)))),
            pong = pinging.ping() => panic!("{pong:?}"),
        }
        client
    };
    let ((session, _lanes), client) = tokio::join!(play, use_it);

    let code = Code::TakenOver;
    session.connection.close(VarInt::from_u32(code.number().into()), code.name().as_bytes());
    let mut state = client.state();
    soon(state.wait_for(|state| matches!(state, State::Closed(Some(_))))).await.unwrap();
}

#[tokio::test]
async fn it_wins_the_race_where_it_works() {
    let server = WebTransportServer::start();
    let play = async {
        let mut session = server.accept().await;
        let id = session.command().await.id;
        session.send(Message::Connected(id, Box::new(connected()))).await;
        session
    };
    let builder = Client::builder(server.url()).token("token").certificate_hash(server.hash);
    let (_session, client) = tokio::join!(play, soon(builder.connect()));
    assert_eq!(client.unwrap().session().unwrap().transport, Transport::WebTransport);
}
