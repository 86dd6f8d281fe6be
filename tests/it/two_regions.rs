//! Two regions on real servers: one order everywhere, cursors that are good in either, and what any
//! killed part costs: nothing that was acknowledged.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::client::{go_on_elsewhere, token};
use crate::servers::Regions;
use crate::witnesses::{Cast, Witnesses};

const PARTS: [&str; 9] =
    ["edge1", "edge2", "router1", "router2", "redis1", "redis2", "pg1", "pg2", "kafka1"];

/// After the last of a few faults every reader hears again within this: a session of the routers' group
/// that has to end, a WebTransport client that learns of a dead node by its keep-alive, and Kafka's
/// start, one after the other.
const RECOVERY: Duration = Duration::from_secs(45);

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_of_one_region_goes_on_in_the_other() {
    let regions = Regions::start().await;
    let connect = async |at: usize, transport, user: &str| {
        let door = regions.door(1 + at, transport).token(token(user));
        door.connect().await.expect("a connection")
    };
    go_on_elsewhere(10, connect).await;
}

/// `SEED` and `FAULTS` of the environment, or a random seed and as many faults as a test run has time for.
fn plan() -> (u64, usize) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("SEED").unwrap_or_else(rand::random);
    (seed, number("FAULTS").map_or(20, |faults| faults as usize))
}

/// What is killed next: each part once in a random order, then any; at times two at once.
fn victims(random: &mut StdRng, once: &mut Vec<&'static str>) -> Vec<&'static str> {
    let any = |random: &mut StdRng| PARTS[random.random_range(0..PARTS.len())];
    let first = match once.len() {
        0 => any(random),
        left => once.swap_remove(random.random_range(0..left)),
    };
    let second = any(random);
    if second != first && random.random_range(0..4) == 0 {
        vec![first, second]
    } else {
        vec![first]
    }
}

/// Parts are killed at random moments and come back; publishers and readers of both regions go on
/// all the while.
#[tokio::test(flavor = "multi_thread")]
async fn any_part_may_be_killed_under_load() {
    let (seed, faults) = plan();
    println!("SEED={seed} FAULTS={faults}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut regions = Regions::start().await;
    let cast = Cast { publishers: 4, readers: 16, channels: 4, pace: Duration::from_millis(10) };
    let doors = |regions: &Regions, n: usize, transport| regions.door(1 + n / 2 % 2, transport);
    let witnesses = Witnesses::start_at(&|n, transport| doors(&regions, n, transport), &cast).await;
    let (mut once, mut done) = (PARTS.to_vec(), 0);
    let (mut in_a_row, mut longest) = (0, Duration::ZERO);
    while done < faults {
        progress(&witnesses, witnesses.acknowledged() + 50).await;
        let victims = victims(&mut random, &mut once);
        println!("kills {} after {} events", victims.join(" and "), witnesses.acknowledged());
        victims.iter().for_each(|part| regions.kill(part));
        tokio::time::sleep(Duration::from_millis(random.random_range(0..1_000))).await;
        // Servers first: a process that starts needs them.
        let (servers, processes): (Vec<_>, Vec<_>) = victims
            .iter()
            .partition(|part| !part.starts_with("edge") && !part.starts_with("router"));
        for part in servers.into_iter().chain(processes) {
            regions.revive(part).await;
        }
        done += victims.len();
        in_a_row += 1;
        // Now and then the next part dies while the last one's death is not overcome.
        if in_a_row == 3 || random.random() {
            longest = longest.max(witnesses.caught_up(RECOVERY).await);
            in_a_row = 0;
        }
    }
    longest = longest.max(witnesses.caught_up(RECOVERY).await);
    println!("the longest recovery took {longest:?}");
    let verdict = witnesses.finish_at(&|n, transport| doors(&regions, n, transport)).await;
    println!("{verdict:?}");
    assert!(verdict.acknowledged > 50 * faults / 2, "{verdict:?}");
}

async fn progress(witnesses: &Witnesses, to: usize) {
    crate::node::eventually_within(Duration::from_secs(60), "more acknowledged events", || {
        (witnesses.acknowledged() >= to).then_some(())
    })
    .await;
}
