//! What Linux says of a process: CPU time and memory, read from outside it.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

/// CPU time that a process used so far, user and system, in microseconds (in steps of a clock tick,
/// 10 ms as a rule).
pub(crate) fn cpu_us(pid: u32) -> Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))
        .with_context(|| format!("process {pid} is gone"))?;
    let ticks = cpu_ticks(&stat).context("/proc/PID/stat is not as expected")?;
    Ok(ticks * 1_000_000 / rustix::param::clock_ticks_per_second())
}

/// The same of a process, its children, and those of its children that have ended: of a Postgres with
/// its backends.
pub(crate) fn family_cpu_us(pid: u32) -> Result<u64> {
    let mut ticks = 0;
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        if !name.as_encoded_bytes().iter().all(u8::is_ascii_digit) {
            continue;
        }
        // One that has just ended counts with its parent.
        let Ok(stat) = fs::read_to_string(Path::new("/proc").join(&name).join("stat")) else {
            continue;
        };
        if name.to_str() == Some(&pid.to_string()) {
            ticks += family_ticks(&stat).context("/proc/PID/stat is not as expected")?;
        } else if parent(&stat) == Some(pid) {
            ticks += cpu_ticks(&stat).context("/proc/PID/stat is not as expected")?;
        }
    }
    Ok(ticks * 1_000_000 / rustix::param::clock_ticks_per_second())
}

/// Resident memory of a process, in bytes.
pub(crate) fn rss_bytes(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))
        .with_context(|| format!("process {pid} is gone"))?;
    rss_kib(&status).map(|kib| kib * 1024).context("/proc/PID/status is not as expected")
}

/// Datagrams that arrived for nobody's free buffer, on the whole machine: lost ACKs make a QUIC server
/// look cheaper than it is.
pub(crate) fn udp_in_errors() -> Result<u64> {
    let snmp = fs::read_to_string("/proc/net/snmp").context("reading /proc/net/snmp")?;
    udp_field(&snmp, "InErrors").context("/proc/net/snmp is not as expected")
}

/// Fields 14 and 15 of `stat`; the command in field 2 may hold spaces and brackets.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// The same with fields 16 and 17, of children that were waited for.
fn family_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let fields = rest.split_ascii_whitespace().skip(11).take(4);
    fields.map(|field| field.parse::<u64>().ok()).sum()
}

fn parent(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn rss_kib(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// A number of the `Udp:` pair of lines, names first.
fn udp_field(snmp: &str, name: &str) -> Option<u64> {
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Udp:"));
    let at = lines.next()?.split_ascii_whitespace().position(|word| word == name)?;
    lines.next()?.split_ascii_whitespace().nth(at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_any_command_name() {
        let stat = "42 (a) b) S 1 42 42 0 -1 4194304 1 2 3 4 700 80 5 6 20 0 3 0 99 1000 200";
        assert_eq!(cpu_ticks(stat), Some(780));
        assert_eq!((family_ticks(stat), parent(stat)), (Some(791), Some(1)));
        assert_eq!(cpu_ticks("42 (a"), None);
    }

    #[test]
    fn memory_is_found() {
        let status = "Name:\tmeridian\nVmHWM:\t  9000 kB\nVmRSS:\t    8124 kB\n";
        assert_eq!(rss_kib(status), Some(8124));
        assert_eq!(rss_kib("Name:\tx\n"), None);
    }

    #[test]
    fn udp_errors_are_found_by_name() {
        let snmp = "Tcp: A\nTcp: 1\nUdp: InDatagrams NoPorts InErrors\nUdp: 10 2 7\nUdpLite: InErrors\nUdpLite: 9\n";
        assert_eq!(udp_field(snmp, "InErrors"), Some(7));
        assert_eq!(udp_field(snmp, "Other"), None);
    }

    #[test]
    fn this_process_can_be_read() {
        let pid = std::process::id();
        assert!(rss_bytes(pid).is_ok_and(|bytes| bytes > 0) && cpu_us(pid).is_ok());
        let alone = cpu_us(pid).unwrap();
        assert!(family_cpu_us(pid).is_ok_and(|family| family >= alone));
    }
}
