//! `status`: asks the running agent, else reads what is on disk.
//! Never changes what the agent would do next.

use super::{Exit, Failure, output};
use crate::run::{self, control};
use crate::state::StateDir;
use serde_json::Value;
use std::fmt::Write as _;

pub(super) fn show(state: &StateDir, json: bool) -> Result<Exit, Failure> {
    let asked = control::ask(&state.control_socket()).unwrap_or_else(|error| {
        tracing::debug!(%error, "the running agent does not answer");
        None
    });
    let status = match asked {
        Some(status) => status,
        None => run::offline_status(state).map_err(|error| Failure::new(Exit::Failed, &error))?,
    };
    if json {
        output::json(&status);
    } else {
        output::text(&describe(&status));
    }
    Ok(Exit::Ok)
}

fn text<'a>(status: &'a Value, pointer: &str) -> &'a str {
    status
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn number(status: &Value, pointer: &str) -> Option<u64> {
    status.pointer(pointer).and_then(Value::as_u64)
}

fn describe(status: &Value) -> String {
    let mut out = String::new();
    let running = status.get("running").and_then(Value::as_bool);
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "node         {} (agent {}, {})",
        text(status, "/node"),
        text(status, "/version"),
        if running == Some(true) {
            "running"
        } else {
            "not running: this is what is on disk"
        }
    );
    if running == Some(true) {
        link(&mut out, status);
    }
    if let Some(why) = status.get("refused").and_then(Value::as_str) {
        let _ = writeln!(out, "refused      {why}");
    }
    if let Some(why) = status.get("disk").and_then(Value::as_str) {
        let _ = writeln!(out, "disk         {why}");
    }
    let strays = status.get("strays").and_then(Value::as_array);
    for stray in strays.into_iter().flatten().filter_map(Value::as_str) {
        let _ = writeln!(out, "warning      {stray} is not the agent's: move it away");
    }
    for queue in status
        .get("queues")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let figure = |name: &str| queue.get(name).and_then(Value::as_u64).unwrap_or(0);
        let _ = writeln!(
            out,
            "queue        {:<7} {:>6} records {:>9} of {} bytes, {} reserved, {} lost",
            text(queue, "/class"),
            figure("records"),
            figure("bytes"),
            figure("cap_bytes"),
            figure("reserved_bytes"),
            figure("lost"),
        );
    }
    if let (Some(now), Some(ever)) = (
        number(status, "/journal/written_bytes"),
        number(status, "/journal/written_total_bytes"),
    ) {
        let _ = writeln!(
            out,
            "wear         {now} bytes written since the start, {ever} in all"
        );
    }
    for command in status
        .get("commands")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let step = number(command, "/step").map(|step| format!(", step {step}"));
        let _ = writeln!(
            out,
            "command      {} {} {}{}",
            text(command, "/command"),
            text(command, "/document"),
            text(command, "/state"),
            step.unwrap_or_default(),
        );
    }
    times(&mut out, status);
    out
}

fn link(out: &mut String, status: &Value) {
    let bridge = number(status, "/link/bridge").and_then(|at| usize::try_from(at).ok());
    let bridge = bridge.and_then(|at| status.get("bridges")?.get(at)?.as_str());
    let next = number(status, "/link/next_try_in_ms")
        .map(|ms| format!(", next try in {:.1} s", seconds(ms)));
    let _ = writeln!(
        out,
        "link         {} {}{}",
        text(status, "/link/state"),
        bridge.unwrap_or_default(),
        next.unwrap_or_default(),
    );
    if let Some(error) = status.pointer("/link/last_error").and_then(Value::as_str) {
        let ago = number(status, "/link/last_error_ms_ago").unwrap_or(0);
        let _ = writeln!(out, "last error   {error} ({:.0} s ago)", seconds(ago));
    }
}

fn times(out: &mut String, status: &Value) {
    let day = |pointer| number(status, pointer).map_or_else(String::new, date);
    let _ = writeln!(
        out,
        "certificate  until {} UTC",
        day("/certificate/expires_unix_ms")
    );
    let _ = writeln!(out, "signed time  at least {} UTC", day("/floor_unix_ms"));
    for (name, pointer) in [
        ("inventory", "/inventory_in_ms"),
        ("patch scan", "/patch_scan_in_ms"),
    ] {
        if let Some(ms) = number(status, pointer) {
            let _ = writeln!(out, "{name:<12} in {:.0} min", seconds(ms) / 60.0);
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

/// `2026-11-22 03:04`, of milliseconds since 1970 (days after Howard Hinnant's algorithm).
pub(super) fn date(unix_ms: u64) -> String {
    let (days, minutes) = (unix_ms / 86_400_000, unix_ms / 60_000 % 1440);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}",
        minutes / 60,
        minutes % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_become_a_date() {
        assert_eq!(date(0), "1970-01-01 00:00");
        assert_eq!(date(1_709_208_000_000), "2024-02-29 12:00");
        assert_eq!(date(4_102_444_799_999), "2099-12-31 23:59");
    }

    #[test]
    fn wear_is_shown_since_the_start_and_in_all() {
        let journal = serde_json::json!({ "written_bytes": 7, "written_total_bytes": 40 });
        let shown = describe(&serde_json::json!({ "journal": journal }));
        assert!(shown.contains("7 bytes written since the start, 40 in all"));
    }

    #[test]
    fn a_status_without_members_is_still_described() {
        assert!(describe(&Value::Null).contains("not running"));
    }
}
