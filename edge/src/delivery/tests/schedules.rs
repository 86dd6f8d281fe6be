//! Random schedules: publishes, repeats, slow and stuck readers, drops, resumes, takeovers, losses and
//! retention. Whatever happens, what a client holds is the log's truth less what retention removed.

use std::collections::HashSet;
use std::time::Duration;

use meridian_core::embedded::faulty::{Announce, BackplaneFaults, Chance};
use meridian_core::vocabulary::{Cursor, Position};
use tokio::task::yield_now;
use tokio::time::sleep;

use super::world::{BOUNDS, Client, World, run};
use crate::delivery::From;
use crate::hub::testing::key;

const CHANNELS: [&str; 3] = ["a:x", "a:y", "a:z"];
const STEPS: usize = 60;
const SCHEDULES: u64 = 400;

struct Schedule {
    world: World,
    chance: Chance,
    clients: Vec<Client>,
    published: u64,
    seed: u64,
}

impl Schedule {
    async fn new(seed: u64) -> Self {
        let world = World::new(seed).await;
        Self { world, chance: Chance::new(seed), clients: Vec::new(), published: 0, seed }
    }

    fn channel(&mut self) -> &'static str {
        CHANNELS[self.chance.below(CHANNELS.len() as u64) as usize]
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.chance.below(bound)
    }

    async fn publish(&mut self) {
        let channel = self.channel();
        // Now and then a retry of something recent.
        let id = if self.chance.happens(150) {
            self.published.saturating_sub(self.chance.below(10))
        } else {
            self.published += 1;
            self.published
        };
        self.world.publish(channel, &format!("e{id}")).await;
    }

    async fn subscribe(&mut self) {
        if self.clients.len() >= 6 {
            return self.leave();
        }
        let channel = self.channel();
        let stream = self.world.stream(channel);
        let end = self.world.log.records().len() as i64;
        let passed = self.below(end as u64 + 1) as i64 - 1;
        let position = Position { epoch: stream.epoch, passed };
        let from = match self.below(3) {
            0 => From::Now,
            1 => From::Last(self.below(8) as usize),
            _ => From::Cursor(Cursor { log: stream.log, partition: stream.partition, position }),
        };
        self.clients.extend(self.world.try_subscribe(channel, from).await);
    }

    fn leave(&mut self) {
        let client = self.below(self.clients.len() as u64) as usize;
        let client = self.clients.swap_remove(client);
        self.world.leave(&client);
    }

    async fn with_a_client(&mut self, what: u64) {
        if self.clients.is_empty() {
            return;
        }
        let index = self.below(self.clients.len() as u64) as usize;
        let (bytes, follower) = (self.below(600) as usize, self.clients[index].follower);
        let client = &mut self.clients[index];
        match what {
            0 => client.read(),
            1 => client.block(),
            2 => client.let_in(bytes),
            3 => client.let_in(usize::MAX),
            4 => self.world.hands.hub.borrow_mut().pause(follower),
            5 => self.world.hands.hub.borrow_mut().resume(follower),
            _ => {
                let client = self.clients.swap_remove(index);
                self.clients.push(self.world.resume(client).await);
            }
        }
    }

    async fn trouble(&mut self, what: u64) {
        let (channel, count) = (self.channel(), self.below(6) as usize);
        let world = &mut self.world;
        let some = BackplaneFaults {
            dropped: 200,
            delayed: 200,
            lost_acknowledgement: 100,
            lost_request: 50,
        };
        match what {
            0 => world.backplane.set_faults(some),
            1 => world.backplane.set_faults(BackplaneFaults::default()),
            2 => world.backplane.forget_everything(Announce::Lossy).await.unwrap(),
            3 => world.backplane.forget_everything(Announce::Silent).await.unwrap(),
            4 => {
                let stream = world.stream(channel);
                world.backplane.lose_writes(&stream, count, Announce::Silent).await.unwrap();
            }
            5 => world.kill_routers(),
            6 | 7 => world.start_router(),
            8 | 9 => world.history.retain(&key(channel), count),
            10 => world.history.down(true),
            11 => world.history.down(false),
            12 => world.slow.set_most(Duration::from_millis(40)),
            _ => world.slow.set_most(Duration::ZERO),
        }
    }

    async fn step(&mut self) {
        match self.below(100) {
            0..35 => self.publish().await,
            35..38 => {
                for _ in 0..12 {
                    self.publish().await;
                }
            }
            38..48 => self.subscribe().await,
            48..75 => {
                let what = self.below(8);
                self.with_a_client(what).await;
            }
            75..87 => {
                let what = self.below(14);
                self.trouble(what).await;
            }
            _ => sleep(Duration::from_millis(self.chance.below(400))).await,
        }
        for _ in 0..self.below(6) {
            yield_now().await;
        }
        self.check_memory();
    }

    fn check_memory(&self) {
        let hub = self.world.hands.hub.borrow();
        assert!(hub.ring_bytes() <= BOUNDS.ring.bytes, "ring: {}", hub.ring_bytes());
        assert!(hub.page_bytes() <= BOUNDS.page_bytes + 60_000, "pages: {}", hub.page_bytes());
        for client in &self.clients {
            let (waiting, bytes) = client.load();
            assert!(waiting <= 1 && bytes <= 128 * 1024, "outbox: {waiting}, {bytes}");
        }
    }

    /// Everything that was broken works again; nothing more is published.
    async fn calm_down(&mut self) {
        self.world.backplane.set_faults(BackplaneFaults::default());
        self.world.backplane.release().await;
        self.world.history.down(false);
        self.world.slow.set_most(Duration::ZERO);
        self.world.start_router();
        for client in &self.clients {
            self.world.hands.hub.borrow_mut().resume(client.follower);
            client.let_in(usize::MAX);
        }
        sleep(Duration::from_secs(20)).await;
    }

    fn check(&mut self) {
        let removed: HashSet<Position> = self.world.history.removed().into_iter().collect();
        for client in &mut self.clients {
            client.read();
            let truth = self.world.truth(client.key.channel.as_str());
            let within = |gap: &(Position, Position), at: Position| gap.0 < at && at <= gap.1;
            for gap in &client.chain.gaps {
                let lost: Vec<_> = truth.iter().filter(|at| within(gap, **at)).collect();
                assert!(!lost.is_empty(), "seed {}: nothing in {gap:?}", self.seed);
                let there: Vec<_> = lost.iter().filter(|at| !removed.contains(**at)).collect();
                assert!(there.is_empty(), "seed {}: {there:?} in {gap:?}", self.seed);
            }
            let told = |at: &Position| client.chain.gaps.iter().any(|gap| within(gap, *at));
            let wanted: Vec<Position> =
                truth.into_iter().filter(|at| *at > client.start && !told(at)).collect();
            assert_eq!(client.chain.held, wanted, "seed {}, from {}", self.seed, client.start);
        }
    }
}

fn run_schedule(seed: u64) {
    run(async {
        let mut schedule = Schedule::new(seed).await;
        for _ in 0..STEPS {
            schedule.step().await;
        }
        schedule.calm_down().await;
        schedule.check();
    });
}

#[test]
fn whatever_happens_each_client_holds_the_truth() {
    let first = std::env::var("MERIDIAN_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = first.map_or(0..SCHEDULES, |seed| seed..seed + 1);
    for seed in seeds {
        let ran = std::panic::catch_unwind(|| run_schedule(seed));
        assert!(ran.is_ok(), "schedule {seed} failed: run it with MERIDIAN_SEED={seed}");
    }
}
