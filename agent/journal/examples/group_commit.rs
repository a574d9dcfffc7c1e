//! Measures the journal on a real directory: durable records a second, one by one and in batches.
//! It never measures a disk that lies about its syncs better than the disk itself does.
//!
//! `cargo run --release -p holdfast-journal --example group_commit -- DIRECTORY [RECORDS [BATCH]]`
//! DIRECTORY must exist and be empty; one line of `key=value` fields a run, for `xtask bench`.
//! BATCH runs only that size (1 or 64), so that a device's counters can be read around it.
#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use std::{error::Error, fs, path::Path, time::Instant};

use holdfast_journal::{
    Config, DirStorage, Entry, Journal, Policy, SaltSource, StreamConfig, StreamId,
};

const PAYLOAD: [u8; 1024] = [0x5A; 1024];
const BATCH: usize = 64;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let directory = arguments
        .next()
        .ok_or("usage: group_commit DIRECTORY [RECORDS [BATCH]]")?;
    let mut number = |default| match arguments.next() {
        Some(text) => text.to_string_lossy().parse::<usize>(),
        None => Ok(default),
    };
    let records = number(1000)?;
    let only_batch = number(0)?;
    let directory = Path::new(&directory);
    for batch in [1, BATCH] {
        if only_batch == 0 || only_batch == batch {
            let directory = directory.join(format!("batch-{batch}"));
            measure(&directory, batch, records)?;
            measure_open(&directory)?;
        }
    }
    Ok(())
}

fn config() -> Config {
    Config {
        streams: vec![StreamConfig {
            stream: StreamId::RESULT,
            cap_bytes: 1 << 30,
            policy: Policy::Refuse,
        }],
        ..Config::default()
    }
}

fn salts() -> SaltSource {
    let mut salt = 0u64;
    Box::new(move || {
        salt = salt.wrapping_add(0x9E37_79B9_7F4A_7C15);
        salt
    })
}

fn measure(directory: &Path, batch: usize, records: usize) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(directory)?;
    let storage = DirStorage::open(directory)?;
    let (mut journal, _) = Journal::open(storage, &config(), salts())?;
    let start = Instant::now();
    for _ in 0..records.div_ceil(batch) {
        for _ in 0..batch {
            journal.append(StreamId::RESULT, &PAYLOAD)?;
        }
        journal.sync()?;
    }
    let seconds = start.elapsed().as_secs_f64();
    let done = records.div_ceil(batch) * batch;
    println!(
        "batch={batch} records={done} seconds={seconds:.3} records_per_second={:.0} written_per_payload={:.2}",
        done as f64 / seconds,
        journal.status().written_bytes as f64 / (done * PAYLOAD.len()) as f64,
    );
    Ok(())
}

fn measure_open(directory: &Path) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let storage = DirStorage::open(directory)?;
    let (journal, recovery) = Journal::open(storage, &config(), salts())?;
    let open = start.elapsed();
    let start = Instant::now();
    let mut next = 1;
    loop {
        let page = journal.read(StreamId::RESULT, next, 256 * 1024)?;
        let Some(last) = page.last() else { break };
        next = Entry::last_seq(last) + 1;
    }
    println!(
        "open_ms={} read_ms={} records={} peak_rss_kib={}",
        open.as_millis(),
        start.elapsed().as_millis(),
        recovery.records,
        peak_rss_kib(),
    );
    Ok(())
}

fn peak_rss_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|rest| rest.trim().strip_suffix("kB"));
    number
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0)
}
