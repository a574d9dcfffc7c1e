//! Opening a journal: which files are what, where each stream starts and ends, what is damaged.
//! It never changes a file before all of them are known to be of a version it understands.

use std::collections::BTreeMap;

use crate::{
    Config, FileInfo, Journal, OpenError, Policy, SaltSource, Storage, StorageError, StreamConfig,
    StreamId,
    cursor::{Cursor, MAX_STREAMS},
    format::{DATA_START, HeaderRead, SECTOR, SEGMENT_HEADER, SegmentHeader, VERSION, framed},
    ledger::Index,
    meter::Metered,
    pool::{Pool, Spare, segment_name, slot_of},
    salvage,
    scan::{Range, Scanner, Step},
    segment::Segment,
    stream::Stream,
};

/// Damaged ranges listed one by one; beyond it they are only counted.
const DAMAGED_RANGES_MAX: usize = 256;
/// The smallest segment that is worth its two header sectors.
const SEGMENT_BYTES_LEAST: u32 = 4096;

/// Sequences whose records are damaged on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damage {
    /// The stream.
    pub stream: StreamId,
    /// The first of them.
    pub first: u64,
    /// The last of them.
    pub last: u64,
    /// Where they stood; `None` where the file itself is missing or too short.
    pub place: Option<DamagePlace>,
    /// They stand in the last batch, which may never have been durable: what a power cut leaves.
    pub maybe_unsynced: bool,
}

/// Where a damaged record starts. Its bytes stay there, unread, until its segment is used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DamagePlace {
    pub(crate) slot: u32,
    /// Bytes from the start of the file.
    pub offset: u32,
}

impl DamagePlace {
    /// The file's name inside the journal's directory.
    #[must_use]
    pub fn file(&self) -> String {
        segment_name(self.slot)
    }
}

/// A segment file that is shorter than it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Truncated {
    /// Its name.
    pub file: String,
    /// Its length now.
    pub bytes: u64,
    /// Its length as it says itself; `None` where not even that is left.
    pub made_bytes: Option<u32>,
}

/// What opening a journal found.
#[derive(Debug, Default)]
pub struct Recovery {
    /// Whole records still needed, over all streams and the ledger.
    pub records: u64,
    /// Records lost to damage, over all streams and the ledger.
    pub damaged_records: u64,
    /// Where, for the first 256 ranges.
    pub damaged: Vec<Damage>,
    /// Segment files that were cut. What stood behind the cut is among the damaged records only where
    /// a later segment says that there was something.
    pub truncated: Vec<Truncated>,
    /// The end of a stream may be cut off: sequences may repeat, so whoever numbers by them must begin
    /// a new identity.
    pub end_lost: bool,
    /// Keys of the ledger whose newest entry is, or may be, lost to damage, ascending: what the ledger
    /// has of them, if anything, is older. Entries that a power cut tore were never told, and are not
    /// among them.
    pub doubtful: Vec<Vec<u8>>,
    /// No cursor was readable: acknowledged records may be read again, and sequences may repeat, so
    /// whoever numbers by them must begin a new identity.
    pub cursor_lost: bool,
    /// The device had no room for the files that keep a full device usable.
    pub reserve_missing: Option<StorageError>,
    /// The device takes no writes: everything can be read, and what is appended waits until it does.
    /// What a process that was killed left unsynced is then read all the same, and becomes durable
    /// before anything that is appended; [`Journal::is_secured`] says whether it is.
    pub takes_no_writes: Option<StorageError>,
}

pub(crate) fn open<S: Storage>(
    storage: S,
    config: &Config,
    salts: SaltSource,
) -> Result<(Journal<S>, Recovery), OpenError> {
    let mut streams = configured(config)?;
    let storage = Metered::new(storage);
    let files = storage.list().map_err(StorageError::on("list", ""))?;
    let names: Vec<_> = files.iter().map(|file| file.name.clone()).collect();
    let (cursor, cursor_damaged) = Cursor::load(&storage, &names)?;
    let found = read_headers(&storage, &files)?;

    let mut recovery = Recovery {
        truncated: find_truncated(&storage, &found)?,
        ..Recovery::default()
    };
    // One that does not say whose it is may have held the end of any stream.
    let any_end = recovery
        .truncated
        .iter()
        .any(|cut| cut.made_bytes.is_none() && cut.bytes > 0);
    let mut sorted = Sorted::of(found, cursor.written_bytes());
    recovery.cursor_lost =
        cursor.stored().is_empty() && (cursor_damaged || !sorted.chains.is_empty());

    let mut index = Index::default();
    for (id, mut chain) in std::mem::take(&mut sorted.chains) {
        chain.sort_by_key(|segment| segment.header.ordinal);
        let stream = streams
            .entry(id)
            // A stream of an earlier configuration: readable, and full.
            .or_insert_with(|| Stream::new(id, Policy::Refuse, 0, config.segment_bytes));
        stream.segments = chain.into();
    }
    for stream in streams.values_mut() {
        if let Some(progress) = cursor.stored().get(&stream.id) {
            stream.progress = *progress;
        } else if let Some(first) = stream.segments.front() {
            stream.progress.released = first.header.first_seq - 1;
        }
        sorted.spares.extend(drop_finished(stream));
        let end_lost = any_end || is_cut_at_the_end(stream, &recovery.truncated);
        recovery.end_lost |= end_lost;
        scan(&storage, stream, &mut index, &mut recovery)?;
        if stream.id == StreamId::LEDGER && end_lost {
            recovery.doubtful.extend(index.older_than(u64::MAX));
        }
        sorted.count(stream);
    }
    recovery.doubtful.sort();
    recovery.doubtful.dedup();
    storage.set_before(sorted.written_bytes);
    let mut journal = Journal {
        storage,
        streams,
        pool: Pool::new(sorted.spares, sorted.next_ordinal, sorted.next_slot, salts),
        cursor,
        index,
        ledger_cap_bytes: config.ledger_cap_bytes,
        failed_syncs: 0,
        unsecured: true,
        found_synced: false,
    };
    settle(&mut journal, &mut recovery);
    Ok((journal, recovery))
}

/// The segment files by what they are, and what is next after all of them.
struct Sorted {
    chains: BTreeMap<StreamId, Vec<Segment>>,
    spares: Vec<Spare>,
    next_ordinal: u64,
    next_slot: u32,
    /// What the journal had written in all, as far as its files tell.
    written_bytes: u64,
}

impl Sorted {
    fn of(found: Vec<Found>, written_bytes: u64) -> Self {
        let mut sorted = Self {
            chains: BTreeMap::new(),
            spares: Vec::new(),
            next_ordinal: 1,
            next_slot: 0,
            written_bytes,
        };
        for file in found {
            sorted.next_slot = sorted.next_slot.max(file.slot.wrapping_add(1));
            sorted.add(&file);
        }
        sorted
    }

    fn add(&mut self, file: &Found) {
        match file.header {
            Some(header) => {
                self.next_ordinal = self.next_ordinal.max(header.ordinal.saturating_add(1));
                self.written_bytes = self.written_bytes.max(header.written_bytes);
                let mut segment = Segment::new(file.slot, header);
                segment.sealed = file.bytes < header.bytes;
                let chain = self.chains.entry(StreamId::new(header.stream)).or_default();
                chain.push(segment);
            }
            // Made or recycled, but never synced with a record in it.
            None if file.bytes >= SEGMENT_BYTES_LEAST => self.spares.push(Spare {
                slot: file.slot,
                bytes: file.bytes,
                is_written: false,
            }),
            None => {}
        }
    }

    /// A stream has been scanned: its segments say how much was written before and in them.
    fn count<F>(&mut self, stream: &Stream<F>) {
        let segments = stream.segments.iter();
        let told = segments.map(|segment| segment.header.written_bytes + segment.used());
        self.written_bytes = self.written_bytes.max(told.max().unwrap_or(0));
    }
}

fn is_cut_at_the_end<F>(stream: &Stream<F>, truncated: &[Truncated]) -> bool {
    stream.segments.back().is_some_and(|last| {
        let name = last.name();
        truncated.iter().any(|cut| cut.file == name)
    })
}

fn configured<F>(config: &Config) -> Result<BTreeMap<StreamId, Stream<F>>, OpenError> {
    if config.segment_bytes < SEGMENT_BYTES_LEAST || config.segment_bytes > 1 << 30 {
        return Err(OpenError::Config("segment_bytes must be 4 KiB to 1 GiB"));
    }
    let ledger = StreamConfig {
        stream: StreamId::LEDGER,
        cap_bytes: config.ledger_cap_bytes,
        policy: Policy::Refuse,
    };
    let mut streams = BTreeMap::new();
    for wanted in config.streams.iter().chain([&ledger]) {
        let segment_bytes = config.segment_bytes_for(wanted.cap_bytes);
        let stream = Stream::new(
            wanted.stream,
            wanted.policy,
            wanted.cap_bytes,
            segment_bytes,
        );
        if streams.insert(wanted.stream, stream).is_some() {
            return Err(OpenError::Config(
                "a stream is named twice, or is the ledger's",
            ));
        }
    }
    if streams.len() > MAX_STREAMS {
        return Err(OpenError::Config("more than 63 streams"));
    }
    Ok(streams)
}

/// A segment file and what it says of itself.
struct Found {
    slot: u32,
    bytes: u32,
    header: Option<SegmentHeader>,
}

fn read_headers<S: Storage>(storage: &S, files: &[FileInfo]) -> Result<Vec<Found>, OpenError> {
    let mut found = Vec::new();
    for file in files {
        if let Some(slot) = slot_of(&file.name) {
            found.push(Found {
                slot,
                bytes: u32::try_from(file.bytes).unwrap_or(u32::MAX),
                header: read_header(storage, file)?,
            });
        }
    }
    Ok(found)
}

/// The newer of both copies: a recycled file may hold one of its former life.
fn read_header<S: Storage>(
    storage: &S,
    info: &FileInfo,
) -> Result<Option<SegmentHeader>, OpenError> {
    let name = &info.name;
    let file = storage.open(name).map_err(StorageError::on("open", name))?;
    let mut newest: Option<SegmentHeader> = None;
    for offset in [0, info.bytes.saturating_sub(u64::from(SECTOR))] {
        let mut buffer = [0; SEGMENT_HEADER];
        storage
            .read_at(&file, offset, &mut buffer)
            .map_err(StorageError::on("read", name))?;
        match SegmentHeader::decode(&buffer) {
            HeaderRead::Newer(found) => {
                return Err(OpenError::NewerVersion {
                    file: name.clone(),
                    found,
                    supported: VERSION,
                });
            }
            HeaderRead::Valid(header) => {
                newest = newest
                    .filter(|other| other.ordinal >= header.ordinal)
                    .or(Some(header));
            }
            HeaderRead::Invalid => {}
        }
    }
    Ok(newest)
}

/// Files that were cut: shorter than they say, or too short to say anything. One that is empty may
/// also be what a crash left that came while it was made.
fn find_truncated<S: Storage>(
    storage: &S,
    found: &[Found],
) -> Result<Vec<Truncated>, StorageError> {
    let mut truncated = Vec::new();
    for file in found {
        let is_cut = match file.header {
            Some(header) => file.bytes < header.bytes,
            None if file.bytes == 0 => true,
            None => file.bytes < SEGMENT_BYTES_LEAST && has_bytes(storage, file)?,
        };
        if is_cut {
            truncated.push(Truncated {
                file: segment_name(file.slot),
                bytes: file.bytes.into(),
                made_bytes: file.header.map(|header| header.bytes),
            });
        }
    }
    Ok(truncated)
}

/// A file that a crash left while it was being made holds nothing but zeros.
fn has_bytes<S: Storage>(storage: &S, file: &Found) -> Result<bool, StorageError> {
    let name = segment_name(file.slot);
    let opened = storage
        .open(&name)
        .map_err(StorageError::on("open", &name))?;
    let mut bytes = vec![0; file.bytes as usize];
    let got = storage
        .read_at(&opened, 0, &mut bytes)
        .map_err(StorageError::on("read", &name))?;
    Ok(bytes.iter().take(got).any(|byte| *byte != 0))
}

/// Takes the segments out of a chain that hold nothing that is needed: acknowledged or evicted ones
/// at the front, and those whose records stand in the next one again after a failed sync.
fn drop_finished<F>(stream: &mut Stream<F>) -> Vec<Spare> {
    let head = stream.head();
    let chain: Vec<_> = stream.segments.drain(..).collect();
    let ends: Vec<_> = chain
        .iter()
        .skip(1)
        .map(|segment| segment.header.first_seq)
        .chain([u64::MAX])
        .collect();
    let mut spares = Vec::new();
    for (segment, seq_end) in chain.into_iter().zip(ends) {
        if seq_end <= head + 1 || seq_end <= segment.header.first_seq {
            spares.push(Spare {
                slot: segment.slot,
                bytes: segment.header.bytes,
                is_written: false,
            });
        } else {
            stream.segments.push_back(segment);
        }
    }
    spares
}

/// Sequences that cannot be read, first and last, and where they stood.
type Hole = (u64, u64, Option<DamagePlace>);

/// Reads a stream's records once: finds its end, its damage and what its policy needs to know.
fn scan<S: Storage>(
    storage: &S,
    stream: &mut Stream<S::File>,
    index: &mut Index,
    recovery: &mut Recovery,
) -> Result<(), OpenError> {
    let head = stream.head();
    let mut holes: Vec<Hole> = Vec::new();
    let mut expected = head + 1;
    let mut proven_below = head + 1;
    let mut unproven = Vec::new();
    for place in 0..stream.segments.len() {
        let next = stream.segments.get(place + 1);
        let seq_end = next.map_or(u64::MAX, |next| next.header.first_seq);
        let is_last = next.is_none();
        let Some(mut segment) = stream.segments.get_mut(place).map(take_for_scan) else {
            continue;
        };
        let first_seq = segment.header.first_seq;
        let slot = segment.slot;
        if expected < first_seq {
            holes.push((expected, first_seq - 1, None));
        }
        let end = scan_segment(
            storage,
            &mut segment,
            (seq_end, proven_below),
            &mut |step, payload| match step {
                Step::Record(record) if record.seq > head => {
                    recovery.records += 1;
                    if stream.policy == Policy::NewestPerKey {
                        let bytes = framed(record.len as usize);
                        stream.newest.insert(record.key, (record.seq, bytes));
                    }
                    if stream.id == StreamId::LEDGER {
                        index.replay(&record, payload);
                    }
                }
                Step::Record(_) => {}
                Step::Hole {
                    first,
                    last,
                    offset,
                } => {
                    let place = Some(DamagePlace { slot, offset });
                    holes.push((first, last, place));
                }
            },
        )?;
        expected = end.expected.max(first_seq);
        unproven.extend(end.unproven);
        proven_below = proven_below.max(end.proven_below).max(first_seq);
        segment.sealed |= !is_last || expected <= head;
        if let Some(slot) = stream.segments.get_mut(place) {
            *slot = segment;
        }
    }
    stream.durable = (expected - 1).max(head);
    stream.next_seq = stream.durable + 1;
    for (first, last, place) in holes {
        let first = first.max(head + 1);
        if first > last {
            continue;
        }
        let damage = Damage {
            stream: stream.id,
            first,
            last,
            place,
            maybe_unsynced: last >= proven_below
                || unproven
                    .iter()
                    .any(|(from, before)| (*from..*before).contains(&last)),
        };
        stream.after_cut |= last >= proven_below;
        note_damage(stream, damage, recovery);
        if stream.id == StreamId::LEDGER {
            doubt(storage, stream, index, damage, recovery)?;
        }
    }
    stream.locate_begin(storage)?;
    Ok(())
}

/// A segment to fill while its stream is borrowed for what the records say.
fn take_for_scan(segment: &mut Segment) -> Segment {
    let mut taken = Segment::new(segment.slot, segment.header);
    taken.sealed = segment.sealed;
    taken
}

/// What the end of one segment's scan says.
struct ScanEnd {
    expected: u64,
    proven_below: u64,
    unproven: Vec<(u64, u64)>,
}

/// `seq_end` as in [`Range`]; `proven_below` is what earlier segments say.
fn scan_segment<S: Storage>(
    storage: &S,
    segment: &mut Segment,
    (seq_end, proven_below): (u64, u64),
    visit: &mut dyn FnMut(Step, &[u8]),
) -> Result<ScanEnd, StorageError> {
    let name = segment.name();
    let file = segment.open(storage)?;
    let range = Range {
        salt: segment.header.salt,
        offset: DATA_START,
        seq: segment.header.first_seq,
        end: segment.header.copy_offset(),
        seq_end,
    };
    let mut scanner = Scanner::new(storage, &file, range);
    scanner.proven_below = proven_below;
    while let Some(step) = scanner.next().map_err(StorageError::on("read", &name))? {
        match step {
            Step::Record(record) => {
                segment.note(record.seq, record.offset);
                let payload = scanner
                    .payload(&record)
                    .map_err(StorageError::on("read", &name))?;
                visit(step, payload);
            }
            Step::Hole { .. } => visit(step, &[]),
        }
    }
    segment.end = scanner.valid_end.max(DATA_START);
    segment.batch_offset = scanner.batch_offset;
    Ok(ScanEnd {
        expected: scanner.expected,
        proven_below: scanner.proven_below,
        unproven: scanner.unproven,
    })
}

fn note_damage<F>(stream: &mut Stream<F>, damage: Damage, recovery: &mut Recovery) {
    let records = damage.last - damage.first + 1;
    stream.damaged_records += records;
    recovery.damaged_records += records;
    if recovery.damaged.len() < DAMAGED_RANGES_MAX {
        recovery.damaged.push(damage);
    }
}

/// Names the keys whose newest entry may have stood in a damaged stretch of the ledger. One flipped
/// bit names its key itself; after worse, every entry that is older may have had a newer one. What may
/// never have been durable counts only if it is whole but for a bit: nobody was told of it otherwise.
fn doubt<S: Storage>(
    storage: &S,
    stream: &Stream<S::File>,
    index: &Index,
    damage: Damage,
    recovery: &mut Recovery,
) -> Result<(), StorageError> {
    if let Some(place) = damage.place.filter(|_| damage.first == damage.last)
        && let Some(segment) = stream.segment_of(place)
        && let Some(payload) = salvage::payload(storage, segment, place.offset, damage.first)
            .map_err(StorageError::on("read", &place.file()))?
    {
        recovery
            .doubtful
            .extend(index.lost_by(damage.first, &payload));
    } else if !damage.maybe_unsynced {
        recovery.doubtful.extend(index.older_than(damage.last));
    }
    Ok(())
}

/// Makes durable what a killed process left in the page cache, and sets up the reserve. A device that
/// fails here can still be read: the journal is open, and tries again before it writes anything.
fn settle<S: Storage>(journal: &mut Journal<S>, recovery: &mut Recovery) {
    let secured = journal.secure();
    if secured.as_ref().is_err_and(StorageError::is_read_only) {
        journal.found_synced = journal.sync_found().is_ok();
    }
    let stocked = secured.and_then(|()| {
        // That a cursor was lost stays to be seen until somebody has drawn the consequence.
        let stored = if recovery.cursor_lost {
            Ok(())
        } else {
            journal.checkpoint()
        };
        match stored.and_then(|()| journal.stock_reserve()) {
            Err(error) if error.is_storage_full() => {
                recovery.reserve_missing = Some(error);
                Ok(())
            }
            stocked => stocked,
        }
    });
    recovery.takes_no_writes = stocked.err();
}
