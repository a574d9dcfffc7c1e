//! `journal inspect`: what the journal's files hold, whole and damaged, for whoever stands beside the machine.
//! Never changes a byte, takes no lock, and shows no parameter, script or output.

use super::{Exit, Failure, output};
use crate::state::StateDir;
use holdfast_agent_core::ledger_command;
use holdfast_journal::{
    Config, Damage, DirReader, Entry, FORMAT_VERSION, Journal, OpenError, Recovery, Storage as _,
    StorageError, StreamId,
};
use holdfast_protocol::NodeId;
use holdfast_protocol::up::{Record, Stamp};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Looks until the owner changes no file in between.
const TRIES: u32 = 5;
/// Read of a stream to date its ends; pieces of output carry no date.
const DATE_BYTES: usize = 64 * 1024;
/// Records at the end of a stream among which one with a date is looked for.
const DATE_RECORDS: u64 = 16;

pub(super) fn show(state: &StateDir, json: bool) -> Result<Exit, Failure> {
    let failed = |text: String| Failure {
        exit: Exit::Failed,
        text,
    };
    let parent = state.path().join("journal");
    let found = journals(&parent).map_err(|error| {
        let parent = parent.display();
        failed(format!(
            "cannot read {parent}: {error}; look as root or as the agent's user, and see --state-dir"
        ))
    })?;
    if found.is_empty() {
        let parent = parent.display();
        return Err(failed(format!(
            "{parent} holds no node's journal; see --state-dir"
        )));
    }
    let mut shown = Vec::new();
    for path in &found {
        let looked = inspect(path).map_err(|error| Failure::new(Exit::Failed, &error))?;
        shown.push(looked);
    }
    if json {
        output::json(&json!({ "journals": shown }));
    } else {
        for journal in &shown {
            output::text(&describe(journal));
        }
    }
    Ok(Exit::Ok)
}

/// The nodes' journals; one, but while a registration is replaced.
fn journals(parent: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(parent)? {
        let entry = entry?;
        let name = entry.file_name();
        if name
            .to_str()
            .is_some_and(|name| name.parse::<NodeId>().is_ok())
        {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

fn inspect(path: &Path) -> Result<Value, OpenError> {
    let mut tries = 1;
    loop {
        match look(path) {
            Err(OpenError::Storage(error)) if has_moved(&error) && tries < TRIES => tries += 1,
            looked => return looked,
        }
    }
}

fn has_moved(error: &StorageError) -> bool {
    error.source.kind() == std::io::ErrorKind::NotFound && !error.file.is_empty()
}

fn look(path: &Path) -> Result<Value, OpenError> {
    // Nothing is written, so nothing needs a salt.
    let (mut journal, mut recovery) =
        Journal::open(DirReader::new(path), &Config::default(), Box::new(|| 0))?;
    // Whatever it reads, it writes nothing; a file that an agent took away meanwhile is another matter.
    let refused = recovery.takes_no_writes.take();
    if let Some(moved) = refused.filter(|refused| !refused.is_read_only()) {
        return Err(moved.into());
    }
    let status = journal.status();
    let streams: Vec<Value> = status
        .streams
        .iter()
        .map(|stream| {
            let (oldest, newest) = dates(&journal, stream.stream, stream.released, stream.durable);
            json!({
                "stream": stream.stream.to_string(),
                "acknowledged": stream.released,
                "evicted": stream.evicted,
                "last": stream.durable,
                "records": stream.records,
                "bytes": stream.used_bytes,
                "damaged": stream.damaged_records,
                "oldest": oldest,
                "newest": newest,
                "segments": segments(&journal, stream.stream),
            })
        })
        .collect();
    let free = DirReader::new(path).free_bytes().ok();
    Ok(json!({
        "path": path.display().to_string(),
        "format": FORMAT_VERSION,
        "streams": streams,
        "damage": damage(&journal, &recovery)?,
        "cursor_lost": recovery.cursor_lost,
        "end_lost": recovery.end_lost,
        "doubtful": recovery.doubtful.iter().map(|key| String::from_utf8_lossy(key)).collect::<Vec<_>>(),
        "commands": commands(&mut journal),
        "reserve": {
            "files": status.spare_segments,
            "bytes": status.spare_bytes,
            "device_free_bytes": free,
        },
        "written_total_bytes": status.written_total_bytes,
    }))
}

fn segments(journal: &Journal<DirReader>, stream: StreamId) -> Vec<Value> {
    let segments = journal.segments().into_iter();
    segments
        .filter(|segment| segment.stream == stream)
        .map(|segment| {
            json!({
                "file": segment.file,
                "first": segment.first,
                "last": segment.last,
                "bytes": segment.bytes,
                "used_bytes": segment.used_bytes,
                "sealed": segment.sealed,
            })
        })
        .collect()
}

/// Boot and uptime of the oldest and the newest record that has a date.
fn dates(
    journal: &Journal<DirReader>,
    stream: StreamId,
    released: u64,
    durable: u64,
) -> (Value, Value) {
    let page = |from| {
        let entries = journal.read(stream, from, DATE_BYTES).unwrap_or_default();
        entries.into_iter().filter_map(|entry| stamp(&entry))
    };
    let oldest = page(released + 1).next();
    let from = durable.saturating_sub(DATE_RECORDS).max(released) + 1;
    let newest = page(from).next_back();
    (shown(oldest), shown(newest))
}

fn stamp(entry: &Entry) -> Option<Stamp> {
    let Entry::Record { payload, .. } = entry else {
        return None;
    };
    match Record::from_stored(payload).ok()? {
        Record::Invocation(update) => Some(update.stamp),
        Record::Audit(event) | Record::Log(event) => Some(event.stamp),
        Record::Report(report) => Some(report.captured),
        Record::Output(_) | Record::Gap(_) => None,
    }
}

fn shown(stamp: Option<Stamp>) -> Value {
    stamp.map_or(Value::Null, |stamp| {
        json!({
            "boot": stamp.boot,
            "uptime_ms": stamp.uptime_ms,
            "unix_ms": stamp.unix_ms,
        })
    })
}

fn damage(journal: &Journal<DirReader>, recovery: &Recovery) -> Result<Vec<Value>, StorageError> {
    let mut found = Vec::new();
    for damage in &recovery.damaged {
        found.push(json!({
            "stream": damage.stream.to_string(),
            "first": damage.first,
            "last": damage.last,
            "file": damage.place.map(|place| place.file()),
            "offset": damage.place.map(|place| place.offset),
            "why": why(journal, damage)?,
        }));
    }
    found.extend(recovery.truncated.iter().map(|cut| {
        json!({
            "file": cut.file,
            "offset": cut.bytes,
            "made_bytes": cut.made_bytes,
            "why": "the file is shorter than it was made",
        })
    }));
    Ok(found)
}

fn why(journal: &Journal<DirReader>, damage: &Damage) -> Result<&'static str, StorageError> {
    Ok(if damage.place.is_none() {
        "their file is missing or cut"
    } else if journal.salvage(damage)?.is_some() {
        "one bit has flipped"
    } else if damage.maybe_unsynced {
        "torn at the end: a write that was never confirmed, or is under way just now"
    } else {
        "the bytes do not match their checksum"
    })
}

fn commands(journal: &mut Journal<DirReader>) -> Vec<Value> {
    let ledger = journal.ledger();
    let mut found = Vec::new();
    for key in ledger.keys(b"") {
        let name = String::from_utf8_lossy(key);
        let value = ledger.get(key).ok().flatten().unwrap_or_default();
        if let Some(found_command) = ledger_command(&name, &value) {
            found.push(json!({
                "command": found_command.command.to_string(),
                "document": found_command.document,
                "state": found_command.state,
                "expires_unix_ms": found_command.expires_unix_ms,
            }));
        }
    }
    found
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn number(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap_or_default()
}

fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    let list = value.get(name).and_then(Value::as_array);
    list.into_iter().flatten()
}

fn describe(journal: &Value) -> String {
    let mut out = String::new();
    let number_of = |name| number(journal, name);
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "journal      {} (format {})",
        text(journal, "path"),
        number_of("format")
    );
    for stream in list(journal, "streams") {
        describe_stream(&mut out, stream);
    }
    for damage in list(journal, "damage") {
        let _ = write!(out, "damaged      ");
        if damage.get("stream").is_some() {
            let (first, last) = (number(damage, "first"), number(damage, "last"));
            let _ = write!(out, "{} {first} to {last}, ", text(damage, "stream"));
        }
        if damage.get("file").is_some_and(Value::is_string) {
            let (file, offset) = (text(damage, "file"), number(damage, "offset"));
            let _ = write!(out, "{file} at byte {offset}, ");
        }
        let _ = writeln!(out, "{}", text(damage, "why"));
    }
    for key in list(journal, "doubtful").filter_map(Value::as_str) {
        let _ = writeln!(
            out,
            "doubtful     {key}: its newest entry is, or may be, lost"
        );
    }
    for (name, says) in [
        ("cursor_lost", "no cursor can be read"),
        ("end_lost", "the end of a stream may be cut off"),
    ] {
        if journal.get(name).and_then(Value::as_bool) == Some(true) {
            let _ = writeln!(
                out,
                "damaged      {says}: the agent sends what waits under a new outbox id"
            );
        }
    }
    for command in list(journal, "commands") {
        let _ = write!(
            out,
            "command      {} {}",
            text(command, "command"),
            text(command, "state")
        );
        if let Some(document) = command.get("document").and_then(Value::as_str) {
            let _ = write!(out, ", {document}");
        }
        let expires = number(command, "expires_unix_ms");
        let _ = match expires {
            0 => writeln!(out),
            _ => writeln!(out, ", expires {} UTC", super::status::date(expires)),
        };
    }
    let reserve = journal.get("reserve").unwrap_or(&Value::Null);
    let _ = writeln!(
        out,
        "reserve      {} spare files, {} bytes; the device has {} bytes left",
        number(reserve, "files"),
        number(reserve, "bytes"),
        number(reserve, "device_free_bytes")
    );
    let _ = writeln!(
        out,
        "wear         {} bytes written in all",
        number_of("written_total_bytes")
    );
    out
}

fn describe_stream(out: &mut String, stream: &Value) {
    let number_of = |name| number(stream, name);
    let _ = writeln!(
        out,
        "{:<12} {} records, {} bytes; acknowledged {}, last {}, evicted {}, damaged {}",
        text(stream, "stream").trim_start_matches("stream "),
        number_of("records"),
        number_of("bytes"),
        number_of("acknowledged"),
        number_of("last"),
        number_of("evicted"),
        number_of("damaged"),
    );
    for end in ["oldest", "newest"] {
        if let Some(stamp) = stream.get(end).filter(|stamp| !stamp.is_null()) {
            let (boot, minutes) = (number(stamp, "boot"), number(stamp, "uptime_ms") / 60_000);
            let _ = writeln!(out, "  {end:<10} boot {boot}, {minutes} min after it");
        }
    }
    for segment in list(stream, "segments") {
        let _ = writeln!(
            out,
            "  {:<16} {} to {}, {} of {} bytes{}",
            text(segment, "file"),
            number(segment, "first"),
            number(segment, "last"),
            number(segment, "used_bytes"),
            number(segment, "bytes"),
            match segment.get("sealed").and_then(Value::as_bool) {
                Some(true) => ", takes no more",
                Some(false) | None => "",
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_journal::DirStorage;
    use std::collections::BTreeMap;
    use std::fs;

    fn bytes_of(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        let files = fs::read_dir(path).unwrap();
        let paths = files.map(|entry| entry.unwrap().path());
        paths
            .map(|path| (path.clone(), fs::read(path).unwrap()))
            .collect()
    }

    fn journal(home: &Path) -> PathBuf {
        let path = home.join("journal").join("mi-0123456789abcdef0");
        fs::create_dir(home.join("journal")).unwrap();
        let storage = DirStorage::open(&path).unwrap();
        let (mut journal, _) = Journal::open(storage, &Config::default(), Box::new(|| 7)).unwrap();
        for n in 0..20_u8 {
            journal.append(StreamId::RESULT, &[n; 100]).unwrap();
            let key = format!("command/00000000-0000-4000-8000-0000000000{n:02}");
            journal.ledger().put(key.as_bytes(), &[n; 50]).unwrap();
            journal.sync().unwrap();
        }
        path
    }

    #[test]
    fn it_shows_damage_in_its_place_and_changes_no_byte_beside_the_owner() {
        let home = tempfile::tempdir().unwrap();
        let path = journal(home.path());
        let _owner = DirStorage::open(&path).unwrap();
        let segment = path.join("segment-00000000");
        let name = fs::read_dir(&path)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|file| {
                fs::read(file)
                    .unwrap()
                    .windows(50)
                    .any(|part| part == [3; 50])
            })
            .unwrap_or(segment);
        let mut bytes = fs::read(&name).unwrap();
        bytes[600] ^= 1;
        fs::write(&name, bytes).unwrap();
        let before = bytes_of(&path);
        let looked = inspect(&path).unwrap();
        assert_eq!(bytes_of(&path), before);
        let damage = &looked["damage"][0];
        assert_eq!(damage["why"], "one bit has flipped", "{looked}");
        assert!(damage["offset"].as_u64().unwrap() <= 600);
        let text = describe(&looked);
        assert!(text.contains("one bit has flipped"), "{text}");
        assert!(text.contains("20 records"), "{text}");
        assert!(
            text.contains("command      00000000-0000-4000-8000-000000000007 "),
            "{text}"
        );
    }

    #[test]
    fn a_journal_is_shown_and_a_directory_without_one_refused() {
        let home = tempfile::tempdir().unwrap();
        journal(home.path());
        let state = StateDir::new(home.path());
        assert_eq!(show(&state, true).unwrap(), Exit::Ok);
        let nothing = tempfile::tempdir().unwrap();
        assert!(show(&StateDir::new(nothing.path()), false).is_err());
    }
}
