//! What the commands print for people: events in columns, all else in sentences. What others published can't
//! steer the terminal.

use std::fmt::Write as _;

use super::json::{Object, Payload, Phase, Reason, Shown};

const DIM: &str = "\x1b[2m";
const CYAN: &str = "\x1b[36m";
const YELLOW: &str = "\x1b[33m";
const RESET: &str = "\x1b[0m";
/// Wider values stand out of their column.
const WIDEST: usize = 40;

/// The columns as wide as what stood in them so far.
#[derive(Debug, Default)]
pub(super) struct Columns {
    widths: [usize; 4],
    colours: bool,
}

impl Columns {
    pub(super) fn new(colours: bool) -> Self {
        Self { colours, ..Self::default() }
    }

    /// Time, channel, cursor, id, key and data.
    pub(super) fn event(&mut self, event: &Shown<'_>) -> String {
        let cells = [
            event.channel,
            event.cursor.as_deref().unwrap_or("-"),
            event.id.unwrap_or("-"),
            event.key.unwrap_or("-"),
        ];
        let mut line = self.paint(&time(event.time), DIM);
        for (at, (cell, colour)) in cells.into_iter().zip([CYAN, DIM, "", YELLOW]).enumerate() {
            let cell = printable(cell);
            let width = cell.chars().count();
            self.widths[at] = self.widths[at].max(width).min(WIDEST);
            let pad = " ".repeat(self.widths[at].saturating_sub(width));
            let _ = write!(line, "  {}{pad}", self.paint(&cell, colour));
        }
        let data = data(event);
        if !data.is_empty() {
            let _ = write!(line, "  {data}");
        }
        line
    }

    /// Cursor, id and the line that it was.
    pub(super) fn published(&mut self, cursor: Option<&str>, id: &str) -> String {
        let cursor = cursor.unwrap_or("-");
        self.widths[1] = self.widths[1].max(cursor.len()).min(WIDEST);
        format!("{cursor:<width$}  {}", printable(id), width = self.widths[1])
    }

    fn paint(&self, text: &str, colour: &str) -> String {
        if self.colours && !colour.is_empty() {
            format!("{colour}{text}{RESET}")
        } else {
            text.to_owned()
        }
    }
}

/// The sentence for what is not an event.
pub(super) fn sentence(object: &Object<'_>) -> String {
    let text = match object {
        Object::State(Phase::Connected { transport, node, region, reconnects, .. }) => {
            let again = if *reconnects > 0 { " again" } else { "" };
            format!("connected{again} to {node} in {region} by {transport}")
        }
        Object::State(Phase::Waiting { message, delay_ms, .. }) => {
            format!("no connection, trying again in {delay_ms} ms: {message}")
        }
        Object::Subscribed { channel, class, cursor, behind } => {
            let at = cursor.map(|cursor| format!(" after {cursor}")).unwrap_or_default();
            let behind = behind.map(|at| format!("; the region is only at {at} yet"));
            format!("subscribed to {channel} ({class}){at}{}", behind.unwrap_or_default())
        }
        Object::Gap { channel, reason, from, cursor } => {
            let from = from.map(|from| format!(" after {from}")).unwrap_or_default();
            format!("gap on {channel} ({reason}): what lay{from} up to {cursor} is gone")
        }
        Object::Skipped { channel, count } => {
            format!("skipped {count} on {channel}: this reader was too slow")
        }
        Object::Error { code, message, advice, channel, line, id, applied } => {
            failed(code, message, *advice, &[*channel, *id, *applied], *line)
        }
        Object::End { reason, events, cursors } => {
            let on = cursors.iter().map(|(channel, cursor)| match cursors.len() {
                1 => cursor.clone(),
                _ => format!("{channel}={cursor}"),
            });
            let on: Vec<String> = on.collect();
            let on = if on.is_empty() {
                String::new()
            } else {
                format!("; go on after {}", on.join(" "))
            };
            let plural = if *events == 1 { "" } else { "s" };
            format!("{events} event{plural}{}{on}", why(*reason))
        }
        Object::Sent { reason, published, failed, line, id } => {
            let failed = if *failed > 0 { format!(", {failed} failed") } else { String::new() };
            let rest = match reason {
                Reason::Done => String::new(),
                _ => format!(
                    "; nothing behind line {line} was sent. Again with --id {id}: stored once"
                ),
            };
            format!("{published} published{failed}{}{rest}", why(*reason))
        }
        Object::Event(_) | Object::Published { .. } => String::new(),
    };
    printable(&text)
}

fn failed(
    code: &str,
    message: &str,
    advice: Option<&str>,
    about: &[Option<&str>; 3],
    line: Option<u64>,
) -> String {
    let [channel, id, applied] = about;
    let mut text = "error: ".to_owned();
    if let Some(channel) = channel {
        let _ = write!(text, "{channel}: ");
    }
    match (line, id) {
        (Some(line), Some(id)) => {
            let _ = write!(text, "line {line} ({id}): ");
        }
        (None, Some(id)) => {
            let _ = write!(text, "{id}: ");
        }
        _ => {}
    }
    if !matches!(code, "local" | "usage") {
        let _ = write!(text, "{code}: ");
    }
    text.push_str(message);
    if let Some(applied) = applied {
        let _ = write!(text, " (it is at {applied})");
    }
    if let Some(advice) = advice {
        let _ = write!(text, "; {advice}");
    }
    text
}

fn why(reason: Reason) -> &'static str {
    match reason {
        Reason::Done => "",
        Reason::Time => " in the time given",
        Reason::Interrupted => " until interrupted",
        Reason::Failed => " until it failed",
    }
}

fn data(event: &Shown<'_>) -> String {
    let payload = match &event.payload {
        Payload::Data(json) => printable(json.get()),
        Payload::Text(text) => printable(text),
        Payload::Bin(base64) => format!("({} bytes) {base64}", event.bytes),
        Payload::Nothing {} => String::new(),
    };
    match event.kind {
        Some(kind) => format!("({kind}) {payload}").trim_end().to_owned(),
        None => payload,
    }
}

/// The text with what a terminal would obey, or hide, spelled out.
fn printable(text: &str) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(steers) {
        return text.to_owned();
    }
    let spell = |c: char| if steers(c) { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(spell).collect()
}

/// Milliseconds since 1970 as RFC 3339, in UTC.
fn time(ms: u64) -> String {
    let (days, in_day) = (ms / 86_400_000, ms % 86_400_000);
    let (year, month, day) = date(days);
    let (hours, minutes) = (in_day / 3_600_000, in_day / 60_000 % 60);
    let (seconds, millis) = (in_day / 1_000 % 60, in_day % 1_000);
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{millis:03}Z")
}

/// The Gregorian date so many days after 1970-01-01. Years are counted from March, so that the leap day is
/// a year's last; 400 of them have 146,097 days.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use meridian_client::{Body, Epoch, EventView, Offset, Prev};

    use super::*;
    use crate::client::json::placed;

    fn event(id: &str, key: Option<&str>, data: &'static [u8]) -> meridian_client::Event {
        let key = key.map(str::to_owned);
        let body = Body { key, data: data.into(), ..Body::default() };
        let at = Some((Offset(7), Prev::None));
        let time_ms = 1_764_000_000_123;
        placed("1.global.1.3", Epoch(1), EventView { at, time_ms, id: Some(id.to_owned()), body })
    }

    #[test]
    fn columns_stay_as_wide_as_they_were() {
        let mut columns = Columns::new(false);
        let (wide, narrow) =
            (event("long-id", Some("k"), b"{ \"a\": 1 }"), event("b", None, b"\xff\xfe"));
        assert_eq!(
            columns.event(&Shown::live("room:a", &wide)),
            "2025-11-24T16:00:00.123Z  room:a  1.global.1.3.7  long-id  k  {\"a\":1}"
        );
        assert_eq!(
            columns.event(&Shown::live("room:a", &narrow)),
            "2025-11-24T16:00:00.123Z  room:a  1.global.1.3.7  b        -  (2 bytes) //4="
        );
        let mut columns = Columns::new(true);
        assert!(columns.event(&Shown::live("room:a", &narrow)).contains("\x1b[36mroom:a\x1b[0m"));
    }

    #[test]
    fn nothing_published_steers_the_terminal() {
        let mut columns = Columns::new(false);
        let hostile = event("\x1b[2Jid", Some("a\nb"), "\"\u{9b}31m \u{202e}\"".as_bytes());
        let line = columns.event(&Shown::live("room:a", &hostile));
        assert!(!line.contains(|c: char| c.is_control() || c == '\u{202e}'), "{line:?}");
        assert!(line.contains("\\u{1b}[2Jid") && line.contains("a\\nb"), "{line}");
    }

    #[test]
    fn times_are_dates() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_735_689_599_000, "2024-12-31T23:59:59.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(time(ms), text);
        }
    }
}
