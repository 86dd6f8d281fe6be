//! Several workers on one link: who follows what, and what a full mailbox is told.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use meridian_core::seams::{BackplaneError, Delivery, Link, LinkControl};
use meridian_core::vocabulary::{ChannelKey, Stream};
use tokio::sync::mpsc;
use tokio::task::spawn_local;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::world::run;
use crate::delivery::{Distributor, HubInput, Interest};
use crate::hub::testing::{event, key, stream};

/// A backplane's connection on which leaving takes longer than coming.
#[derive(Default)]
struct Control {
    followed: Mutex<BTreeSet<ChannelKey>>,
}

#[async_trait]
impl LinkControl for Control {
    async fn follow(&self, channels: &[(ChannelKey, Stream)]) -> Result<(), BackplaneError> {
        sleep(Duration::from_millis(1)).await;
        self.followed.lock().unwrap().extend(channels.iter().map(|(key, _)| key.clone()));
        Ok(())
    }

    async fn unfollow(&self, channels: &[(ChannelKey, Stream)]) -> Result<(), BackplaneError> {
        sleep(Duration::from_millis(20)).await;
        let mut followed = self.followed.lock().unwrap();
        followed.retain(|followed| channels.iter().all(|(key, _)| key != followed));
        Ok(())
    }
}

struct Node {
    control: Arc<Control>,
    interest: Arc<Interest>,
    link: mpsc::Sender<Delivery>,
    mailboxes: Vec<mpsc::Receiver<HubInput>>,
}

fn node(workers: usize, mailbox: usize) -> Node {
    let (link, deliveries) = mpsc::channel(64);
    let control = Arc::new(Control::default());
    let (senders, mailboxes) = (0..workers).map(|_| mpsc::channel(mailbox)).unzip();
    let (distributor, interest) =
        Distributor::new(Link { deliveries, control: control.clone() }, senders);
    spawn_local(distributor.run(CancellationToken::new()));
    Node { control, interest, link, mailboxes }
}

fn channel() -> [(ChannelKey, Stream); 1] {
    [(key("a:b"), stream())]
}

#[test]
fn one_worker_leaves_while_another_comes() {
    run(async {
        let node = node(2, 4);
        node.interest.follow(0, &channel()).await.unwrap();
        let channel = channel();
        let leaves = node.interest.unfollow(0, &channel);
        let comes = node.interest.follow(1, &channel);
        let (left, came) = tokio::join!(leaves, comes);
        assert_eq!((left, came), (Ok(()), Ok(())));
        assert!(node.control.followed.lock().unwrap().contains(&key("a:b")), "told it follows");
    });
}

#[test]
fn the_last_worker_that_leaves_ends_it() {
    run(async {
        let node = node(2, 4);
        node.interest.follow(0, &channel()).await.unwrap();
        node.interest.follow(1, &channel()).await.unwrap();
        node.interest.unfollow(0, &channel()).await.unwrap();
        assert!(!node.control.followed.lock().unwrap().is_empty());
        node.interest.unfollow(1, &channel()).await.unwrap();
        assert!(node.control.followed.lock().unwrap().is_empty());
    });
}

#[test]
fn an_event_crosses_to_each_interested_worker_once() {
    run(async {
        let mut node = node(3, 4);
        node.interest.follow(0, &channel()).await.unwrap();
        node.interest.follow(2, &channel()).await.unwrap();
        node.link.send(Delivery::Event(event(0, None))).await.unwrap();
        node.link.send(Delivery::Lossy).await.unwrap();
        for (worker, expected) in [(0, 2), (1, 1), (2, 2)] {
            let mailbox = &mut node.mailboxes[worker];
            let mut got = Vec::new();
            mailbox.recv_many(&mut got, expected).await;
            sleep(Duration::from_millis(1)).await;
            assert!(mailbox.try_recv().is_err());
            assert!(matches!(got.last(), Some(HubInput::Lossy)));
            assert_eq!(got.len(), expected);
        }
    });
}

#[test]
fn a_full_mailbox_holds_nobody_up_and_is_told_before_anything_else() {
    run(async {
        let mut node = node(2, 3);
        for worker in 0..2 {
            node.interest.follow(worker, &channel()).await.unwrap();
        }
        for offset in 0..10 {
            node.link.send(Delivery::Event(event(offset, None))).await.unwrap();
            assert!(matches!(node.mailboxes[1].recv().await, Some(HubInput::Event(_))));
        }
        for _ in 0..3 {
            assert!(matches!(node.mailboxes[0].recv().await, Some(HubInput::Event(_))));
        }
        node.link.send(Delivery::Event(event(10, None))).await.unwrap();
        assert!(matches!(node.mailboxes[0].recv().await, Some(HubInput::Lossy)));
        let Some(HubInput::Event(event)) = node.mailboxes[0].recv().await else { panic!("none") };
        assert_eq!(event.offset.0, 10);
    });
}
