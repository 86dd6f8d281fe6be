//! The demo's data: real departures, read and checked once. What the columns mean and where they come
//! from is in `README.md` beside the files.

use std::collections::HashMap;

use anyhow::{Error, Result, anyhow};

const FLIGHTS: &str = include_str!("flights.csv");
const AIRPORTS: &str = include_str!("airports.csv");
const FLIGHTS_HEAD: &str = "departed,delay_min,distance_mi,origin,destination";
const AIRPORTS_HEAD: &str = "code,city";

/// A departure as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Flight {
    /// Origin and number of the row among that origin's rows: `SFO107`.
    pub(super) name: String,
    /// Minutes since midnight, local time of the origin.
    pub(super) departed_min: u16,
    /// Minutes late on arrival; negative if early.
    pub(super) delay_min: i32,
    pub(super) distance_mi: u32,
    pub(super) origin: String,
    pub(super) destination: String,
    /// Of the destination.
    pub(super) city: String,
}

/// The built-in departures, by time.
pub(super) fn built_in() -> Result<Vec<Flight>> {
    parse(FLIGHTS, &cities(AIRPORTS)?)
}

fn cities(text: &str) -> Result<HashMap<&str, &str>> {
    let file = "airports.csv";
    rows(file, text, AIRPORTS_HEAD)?
        .map(|(row, line)| match line.split_once(',') {
            Some((code, city)) if is_airport(code) && !city.is_empty() => Ok((code, city)),
            _ => Err(fault(file, row, "is not an airport and its city")),
        })
        .collect()
}

fn parse(text: &str, cities: &HashMap<&str, &str>) -> Result<Vec<Flight>> {
    let file = "flights.csv";
    let mut flights = Vec::new();
    let mut of_origin: HashMap<&str, usize> = HashMap::new();
    let mut last_min = 0;
    for (row, line) in rows(file, text, FLIGHTS_HEAD)? {
        let fault = |problem| fault(file, row, problem);
        let columns: Vec<&str> = line.split(',').collect();
        let [departed, delay, distance, origin, destination] = columns[..] else {
            return Err(fault("does not have five columns"));
        };
        let departed_min = minutes(departed).ok_or_else(|| fault("has no time of day"))?;
        if departed_min < last_min {
            return Err(fault("is earlier than the row before it"));
        }
        last_min = departed_min;
        if !is_airport(origin) {
            return Err(fault("has no origin"));
        }
        let city = cities.get(destination).ok_or_else(|| fault("has an unknown destination"))?;
        let number = of_origin.entry(origin).or_default();
        *number += 1;
        flights.push(Flight {
            name: format!("{origin}{number:03}"),
            departed_min,
            delay_min: delay.parse().map_err(|_| fault("has no delay"))?,
            distance_mi: distance.parse().map_err(|_| fault("has no distance"))?,
            origin: origin.to_owned(),
            destination: destination.to_owned(),
            city: (*city).to_owned(),
        });
    }
    if flights.is_empty() {
        return Err(fault(file, 2, "is missing"));
    }
    Ok(flights)
}

/// The rows after the heading, with their numbers.
fn rows<'a>(
    file: &'static str,
    text: &'a str,
    head: &str,
) -> Result<impl Iterator<Item = (usize, &'a str)>> {
    let mut lines = text.lines();
    if lines.next() != Some(head) {
        return Err(fault(file, 1, "is not the expected heading"));
    }
    Ok(lines.enumerate().map(|(index, line)| (index + 2, line)))
}

/// Rows are counted from 1, with the heading.
fn fault(file: &str, row: usize, problem: &str) -> Error {
    anyhow!("row {row} of the demo's {file} {problem}")
}

fn is_airport(code: &str) -> bool {
    code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_uppercase())
}

fn minutes(time: &str) -> Option<u16> {
    let (hours, minutes) = time.split_once(':')?;
    let (hours, minutes): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
    (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(rows: &str) -> Result<Vec<Flight>> {
        let cities = HashMap::from([("LAX", "Los Angeles")]);
        parse(&format!("{FLIGHTS_HEAD}\n{rows}"), &cities)
    }

    #[test]
    fn the_built_in_data_is_whole() {
        let flights = built_in().unwrap();
        assert_eq!(flights.len(), 2050);
        let origins: std::collections::BTreeSet<_> =
            flights.iter().map(|flight| flight.origin.as_str()).collect();
        let expected = ["ATL", "BOS", "DEN", "DFW", "JFK", "LAX", "MIA", "ORD", "SEA", "SFO"];
        assert!(origins.into_iter().eq(expected));
    }

    #[test]
    fn reads_a_row() {
        let flights = parsed("10:35,-7,337,SFO,LAX\n10:35,96,337,SFO,LAX\n").unwrap();
        assert_eq!(
            flights[0],
            Flight {
                name: "SFO001".to_owned(),
                departed_min: 635,
                delay_min: -7,
                distance_mi: 337,
                origin: "SFO".to_owned(),
                destination: "LAX".to_owned(),
                city: "Los Angeles".to_owned(),
            }
        );
        assert_eq!(flights[1].name, "SFO002");
    }

    #[test]
    fn names_the_row_that_is_wrong() {
        for (rows, expected) in [
            ("", "row 2 of the demo's flights.csv is missing"),
            ("24:00,0,337,SFO,LAX", "row 2 of the demo's flights.csv has no time of day"),
            ("10:35,x,337,SFO,LAX", "row 2 of the demo's flights.csv has no delay"),
            ("10:35,0,-1,SFO,LAX", "row 2 of the demo's flights.csv has no distance"),
            ("10:35,0,337,sfo,LAX", "row 2 of the demo's flights.csv has no origin"),
            ("10:35,0,337,SFO,XXX", "row 2 of the demo's flights.csv has an unknown destination"),
            ("10:35,0,337,SFO", "row 2 of the demo's flights.csv does not have five columns"),
            (
                "10:35,0,337,SFO,LAX\n10:34,0,337,SFO,LAX",
                "row 3 of the demo's flights.csv is earlier than the row before it",
            ),
        ] {
            assert_eq!(parsed(rows).unwrap_err().to_string(), expected);
        }
        let headless = parse("10:35,0,337,SFO,LAX", &HashMap::new()).unwrap_err().to_string();
        assert_eq!(headless, "row 1 of the demo's flights.csv is not the expected heading");
    }
}
