//! The flights demo's schedule: which event of which flight comes next, and after what wait. Never
//! publishes and never looks at a clock.

mod flights;

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use flights::Flight;

/// A simulated minute a second.
const SPEED: u64 = 60;
/// No silence is longer, so that the night passes quickly.
const LONGEST_WAIT: Duration = Duration::from_millis(500);
/// The loop begins when every airport is busy.
const DAY_BEGINS_MIN: u64 = 7 * 60;
const DAY_MIN: u64 = 24 * 60;
const MINUTE_MS: u64 = 60_000;

/// An event to publish.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Departure {
    pub(crate) channel: String,
    /// Unique over all loops and runs.
    pub(crate) id: String,
    pub(crate) data: Value,
}

/// What is told of a flight, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Status {
    Scheduled,
    Boarding,
    Departed,
}

const LIFE: [Status; 3] = [Status::Scheduled, Status::Boarding, Status::Departed];

impl Status {
    /// How long before the departure it is told, in simulated minutes.
    fn lead_min(self) -> u64 {
        match self {
            Self::Scheduled => 20,
            Self::Boarding => 8,
            Self::Departed => 0,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Boarding => "boarding",
            Self::Departed => "departed",
        }
    }
}

/// One event of the day, by its simulated time since the day began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Step {
    at_ms: u64,
    flight: usize,
    status: Status,
}

/// An endless replay of one day.
#[derive(Debug)]
pub(crate) struct Schedule {
    run: String,
    flights: Vec<Flight>,
    steps: Vec<Step>,
    position: usize,
    day: u64,
}

/// The schedule of the built-in data. `run` tells the events of this start of the process from those
/// of another; at most 32 bytes of what event ids may hold.
pub(crate) fn schedule(run: &str) -> Result<Schedule> {
    let flights = flights::built_in()?;
    let steps = steps(&flights);
    Ok(Schedule { run: run.to_owned(), flights, steps, position: 0, day: 0 })
}

impl Schedule {
    /// The next event, and how long after the one before it.
    pub(crate) fn next(&mut self) -> (Duration, Departure) {
        let step = self.steps[self.position];
        let wait = match self.position {
            0 => LONGEST_WAIT,
            position => {
                let passed_ms = step.at_ms - self.steps[position - 1].at_ms;
                Duration::from_millis(passed_ms / SPEED).min(LONGEST_WAIT)
            }
        };
        let departure = self.departure(step);
        self.position += 1;
        if self.position == self.steps.len() {
            self.position = 0;
            self.day += 1;
        }
        (wait, departure)
    }

    fn departure(&self, step: Step) -> Departure {
        let flight = &self.flights[step.flight];
        let status = step.status.name();
        let mut data = json!({
            "flight": flight.name,
            "to": flight.destination,
            "city": flight.city,
            "departs": format!("{:02}:{:02}", flight.departed_min / 60, flight.departed_min % 60),
            "status": status,
            "distance_mi": flight.distance_mi,
        });
        if step.status == Status::Departed {
            data["delay_min"] = flight.delay_min.into();
        }
        Departure {
            channel: format!("flights:{}", flight.origin),
            id: format!("{}-{}-{}-{status}", self.run, self.day, flight.name),
            data,
        }
    }
}

/// Every event of the day in order. Flights of the same minute are spread over it.
fn steps(flights: &[Flight]) -> Vec<Step> {
    let mut in_minute = vec![0u64; DAY_MIN as usize];
    for flight in flights {
        in_minute[usize::from(flight.departed_min)] += 1;
    }
    let mut before = vec![0u64; DAY_MIN as usize];
    let mut steps = Vec::with_capacity(flights.len() * LIFE.len());
    for (index, flight) in flights.iter().enumerate() {
        let minute = usize::from(flight.departed_min);
        let into_day = (u64::from(flight.departed_min) + DAY_MIN - DAY_BEGINS_MIN) % DAY_MIN;
        let within_ms = before[minute] * MINUTE_MS / in_minute[minute];
        before[minute] += 1;
        for status in LIFE {
            let minutes = into_day + Status::Scheduled.lead_min() - status.lead_min();
            steps.push(Step { at_ms: minutes * MINUTE_MS + within_ms, flight: index, status });
        }
    }
    steps.sort_unstable();
    steps
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    fn one_day(schedule: &mut Schedule) -> Vec<(Duration, Departure)> {
        (0..schedule.steps.len()).map(|_| schedule.next()).collect()
    }

    #[test]
    fn every_flight_lives_its_life_in_order() {
        let mut schedule = schedule("run").unwrap();
        let mut lives: HashMap<String, Vec<String>> = HashMap::new();
        for (_, Departure { channel, data, .. }) in one_day(&mut schedule) {
            let flight = data["flight"].as_str().unwrap();
            assert_eq!(channel, format!("flights:{}", &flight[..3]));
            assert_eq!(data["delay_min"].is_i64(), data["status"] == "departed", "{data}");
            let status = data["status"].as_str().unwrap().to_owned();
            lives.entry(flight.to_owned()).or_default().push(status);
        }
        assert_eq!(lives.len(), schedule.flights.len());
        assert!(lives.values().all(|life| life == &["scheduled", "boarding", "departed"]));
    }

    #[test]
    fn departures_come_by_the_clock_of_the_day() {
        let mut schedule = schedule("run").unwrap();
        let departed: Vec<String> = one_day(&mut schedule)
            .into_iter()
            .filter(|(_, departure)| departure.data["status"] == "departed")
            .map(|(_, departure)| departure.data["departs"].as_str().unwrap().to_owned())
            .collect();
        let midnight = departed.windows(2).filter(|pair| pair[0] > pair[1]).count();
        assert_eq!(midnight, 1);
        assert!(departed[0].as_str() >= "07:00");
    }

    #[test]
    fn ids_are_unique_over_loops_and_runs() {
        let mut ids = HashSet::new();
        let mut events = 0;
        for run in ["1764000000000", "1764000000001"] {
            let mut schedule = schedule(run).unwrap();
            for _ in 0..3 {
                for (_, departure) in one_day(&mut schedule) {
                    assert!(departure.id.len() <= 64, "{}", departure.id);
                    ids.insert(departure.id);
                    events += 1;
                }
            }
        }
        assert_eq!(ids.len(), events);
    }

    #[test]
    fn the_rate_is_steady() {
        let mut schedule = schedule("run").unwrap();
        let day = one_day(&mut schedule);
        let total: Duration = day.iter().map(|(wait, _)| *wait).sum();
        assert!(
            (Duration::from_secs(15 * 60)..Duration::from_secs(20 * 60)).contains(&total),
            "{total:?}"
        );
        let mut in_ten_seconds = HashMap::<u64, u32>::new();
        let mut now = Duration::ZERO;
        for (wait, _) in &day {
            assert!(*wait <= LONGEST_WAIT);
            now += *wait;
            *in_ten_seconds.entry(now.as_secs() / 10).or_default() += 1;
        }
        let last = total.as_secs() / 10;
        for (window, events) in in_ten_seconds {
            assert!(window == last || (15..=120).contains(&events), "{events} in window {window}");
        }
    }
}
