//! Random schedules of publishes, retries, crashes, takeovers and losses, each by its seed. What the
//! history holds in the end is what the rules make of the log.

use meridian_region_router::partition::Outcome;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::world::{Running, World};

struct Schedule {
    rng: StdRng,
    world: World,
    workers: Vec<Running>,
    ids: usize,
}

impl Schedule {
    fn new(seed: u64) -> Self {
        let mut world = World::new();
        let mut rng = StdRng::seed_from_u64(seed);
        world.options.heads = rng.random_range(1..6);
        world.options.read_records = rng.random_range(1..9);
        world.options.unwritten_bytes = rng.random_range(500..5_000);
        Self { rng, world, workers: Vec::new(), ids: 0 }
    }

    fn publish(&mut self) {
        self.ids += 1;
        let back = if self.rng.random_bool(0.3) { self.rng.random_range(0..12) } else { 0 };
        let id = format!("{}", self.ids.saturating_sub(back));
        let channel = format!("{}", self.rng.random_range(0..4));
        self.world.log.advance_ms(self.rng.random_range(0..300));
        self.world.publish(&channel, &id);
    }

    async fn step(&mut self) {
        let world = &self.world;
        match self.rng.random_range(0..100) {
            0..60 => self.publish(),
            60..66 => self.workers.push(self.world.start()),
            66..70 if !self.workers.is_empty() => {
                let which = self.rng.random_range(0..self.workers.len());
                self.workers.swap_remove(which).kill().await;
            }
            70..74 => world.backplane.lose_writes(self.rng.random_range(1..6)),
            74..75 => world.backplane.empty(),
            75..78 => world.backplane.state().lost_answers = 1,
            78..81 => world.history.state().lost_answers = 1,
            81..84 => world.backplane.down(self.rng.random_bool(0.5)),
            84..87 => world.history.down(self.rng.random_bool(0.5)),
            87..90 => world.history.open(self.rng.random_bool(0.5)),
            // Lets the workers go on for a while; the time is the paused clock's.
            _ => {
                for _ in 0..self.rng.random_range(1..40) {
                    tokio::task::yield_now().await;
                }
                if self.rng.random_bool(0.3) {
                    let ms = self.rng.random_range(1..4_000);
                    tokio::time::advance(std::time::Duration::from_millis(ms)).await;
                }
            }
        }
    }

    /// Everything is well again: one worker more comes, and the others stop or are fenced.
    async fn finish(mut self) {
        self.world.backplane.down(false);
        self.world.history.down(false);
        self.world.history.open(true);
        self.world.backplane.state().lost_answers = 0;
        self.world.history.state().lost_answers = 0;
        for worker in self.workers.drain(..) {
            let outcome = worker.stop().await;
            assert!(matches!(outcome, Outcome::Stopped | Outcome::Fenced), "{outcome:?}");
        }
        let last = self.world.start();
        self.publish();
        self.world.until_stored().await;
        let kept = self.world.history.state().checkpoint.as_ref().unwrap().last_kept;
        self.world.until_marked(kept.passed).await;
        self.world.check();
        last.kill().await;
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_happens_the_history_is_what_the_log_says() {
    for seed in 0..150 {
        println!("seed {seed}");
        let mut schedule = Schedule::new(seed);
        for step in 0..200 {
            schedule.step().await;
            if step % 16 == 0 {
                schedule.world.check_midway();
            }
        }
        schedule.finish().await;
    }
}
