//! Seeds of random schedules. A failing one is printed; `MERIDIAN_SEED` runs it alone.

/// The seeds to run, `count` unless one is asked for.
pub fn seeds(count: u64) -> Vec<u64> {
    match std::env::var("MERIDIAN_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..count).collect(),
    }
}

/// Prints the seed if the test panics while this lives.
pub struct Printed(pub u64);

impl Drop for Printed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("MERIDIAN_SEED={}", self.0);
        }
    }
}
