//! What several verbs need of a state directory: its store, the time, randomness, addresses.
//! Never keeps anything open longer than a verb.

use super::error::CliError;
use super::output::warn;
use crate::serve::is_an_agents;
use crate::store::{Caller, DATABASE, Store, UnixMs};
use ring::rand::{SecureRandom, SystemRandom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The OS clock, milliseconds since 1970.
pub(crate) fn now() -> UnixMs {
    jiff::Timestamp::now().as_millisecond()
}

/// A time as keys and certificates have it; 0 before 1970.
pub(crate) fn unix_ms(time: UnixMs) -> u64 {
    u64::try_from(time).unwrap_or(0)
}

/// Opens the store of a state directory, beside a bridge that may be running; makes an empty one
/// where there is none, and says so.
pub(crate) async fn open(state_dir: &Path) -> Result<Store, CliError> {
    let shown = state_dir.display();
    if is_an_agents(state_dir) {
        return Err(no_bridge(state_dir));
    }
    let is_new = !state_dir.join(DATABASE).exists();
    let failed = CliError::because(format!("cannot open the state directory `{shown}`"));
    let store = Store::open(state_dir).await.map_err(failed)?;
    if is_new {
        warn(&format!(
            "`{shown}` held no bridge's state, so a new one was made there, with a root of its own: give \
             `serve` the same --state-dir, or delete it if it is mistyped"
        ));
    }
    Ok(store)
}

/// Opens the store of a state directory that is in use already: a mistyped path makes no empty one.
pub(crate) async fn open_existing(state_dir: &Path) -> Result<Store, CliError> {
    if state_dir.join(DATABASE).exists() {
        return open(state_dir).await;
    }
    Err(no_bridge(state_dir))
}

fn no_bridge(state_dir: &Path) -> CliError {
    let shown = state_dir.display();
    let what = if is_an_agents(state_dir) {
        "is an agent's state directory"
    } else {
        "holds no bridge's state"
    };
    CliError::Failed(format!(
        "`{shown}` {what}; give the --state-dir of `serve`, or set HOLDFAST_BRIDGE_STATE_DIR"
    ))
}

/// Who is recorded for a change that a verb makes: the user of this process, and who logged in where that is another.
pub(crate) fn caller() -> Caller {
    let user =
        std::fs::metadata("/proc/self").map_or_else(|_| "unknown".into(), |me| name(me.uid()));
    // The kernel keeps it across `su` and `sudo`; nobody is logged in as the highest number.
    let login = std::fs::read_to_string("/proc/self/loginuid").ok();
    let login = login.and_then(|login| login.trim().parse::<u32>().ok());
    let login = login.filter(|login| *login != u32::MAX).map(name);
    match login.filter(|login| *login != user) {
        Some(login) => Caller::local_user(&format!("{user} (login {login})"), now()),
        None => Caller::local_user(&user, now()),
    }
}

/// A user's name as `/etc/passwd` has it, else its number.
fn name(uid: u32) -> String {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let user = fields.next()?;
        (fields.nth(1)? == uid.to_string()).then_some(user)
    });
    named.map_or_else(|| uid.to_string(), str::to_owned)
}

/// Reads a time span of a number and its unit, such as `90m` or `7d`, in milliseconds.
pub(crate) fn span(text: &str) -> Option<i64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit_ms = match unit {
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 60 * 60 * 1000,
        "d" => 24 * 60 * 60 * 1000,
        _ => return None,
    };
    let digits = number.bytes().all(|byte| byte.is_ascii_digit());
    number
        .parse::<i64>()
        .ok()
        .filter(|_| digits)?
        .checked_mul(unit_ms)
}

/// Fresh randomness.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], CliError> {
    let mut bytes = [0; N];
    match SystemRandom::new().fill(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(_) => Err(CliError::Failed("the system gives no randomness".into())),
    }
}

/// A time for people and programs, such as `2026-01-31T12:00:00Z`.
pub(crate) fn time(unix_ms: UnixMs) -> String {
    jiff::Timestamp::from_millisecond(unix_ms)
        .and_then(|time| time.round(jiff::Unit::Second))
        .map_or_else(|_| unix_ms.to_string(), |time| time.to_string())
}
