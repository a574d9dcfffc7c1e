//! A disk with a volatile cache, as a power cut finds it: what was flushed stays, of the rest
//! anything may be there or not, sector by sector. Never a socket, a file or a clock.

use holdfast_e2e::Random;
use std::fmt;

/// What the disk writes as a whole or not at all: a block of the file system on it. ext4's own journal
/// counts on that: one that is torn inside a commit block does not mount again without `fsck`.
pub const SECTOR_BYTES: usize = 1024;

/// Bytes of writes that a recording holds.
pub const RECORDING_BYTES_MAX: usize = 256 << 20;

/// A request outside the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfRange;

/// A write that has been answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// First byte.
    pub offset: usize,
    /// What was written.
    pub bytes: Vec<u8>,
}

/// What reached the disk, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A write, now in the cache.
    Write(Write),
    /// The cache is on the medium.
    Flush,
}

/// Everything that reached a disk, and what it held before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// The medium when it began.
    pub image: Vec<u8>,
    /// What came, in order; first what was in the cache when it began.
    pub events: Vec<Event>,
}

/// What a cut leaves of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Nothing.
    Lost,
    /// All of it: a cut just after the disk wrote it by itself.
    Kept,
    /// The first writes, and a part of one.
    Prefix,
    /// Any sectors, each with the same chance.
    Scattered,
}

/// What a cut did.
#[derive(Debug, Clone, Copy)]
pub struct Cut {
    /// How it chose.
    pub fate: Fate,
    /// Sectors in the cache.
    pub unflushed: usize,
    /// Of these, on the medium now.
    pub kept: usize,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            fate,
            unflushed,
            kept,
        } = self;
        write!(f, "{kept} of {unflushed} unflushed sectors left ({fate:?})")
    }
}

/// The disk.
#[derive(Debug, Clone)]
pub struct Disk {
    /// What survives.
    medium: Vec<u8>,
    /// What is read: the medium under the cache.
    seen: Vec<u8>,
    cache: Vec<Write>,
    recording: Option<Recording>,
    recorded_bytes: usize,
}

impl Disk {
    /// A disk with these contents, all of them on the medium.
    #[must_use]
    pub fn new(image: Vec<u8>) -> Self {
        Self {
            seen: image.clone(),
            medium: image,
            cache: Vec::new(),
            recording: None,
            recorded_bytes: 0,
        }
    }

    /// Its size.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.medium.len()
    }

    /// What would be there after the harshest cut.
    #[must_use]
    pub fn medium(&self) -> &[u8] {
        &self.medium
    }

    /// Reads.
    ///
    /// # Errors
    /// [`OutOfRange`].
    pub fn read(&self, offset: usize, bytes: usize) -> Result<&[u8], OutOfRange> {
        let end = offset.checked_add(bytes).ok_or(OutOfRange)?;
        self.seen.get(offset..end).ok_or(OutOfRange)
    }

    /// Takes a write into the cache.
    ///
    /// # Errors
    /// [`OutOfRange`].
    pub fn write(&mut self, write: Write) -> Result<(), OutOfRange> {
        put(&mut self.seen, &write).ok_or(OutOfRange)?;
        self.record(|| Event::Write(write.clone()), write.bytes.len());
        self.cache.push(write);
        Ok(())
    }

    /// Puts the cache onto the medium.
    pub fn flush(&mut self) {
        for write in self.cache.drain(..) {
            // It was in range when it came.
            let _ = put(&mut self.medium, &write);
        }
        self.record(|| Event::Flush, 0);
    }

    fn record(&mut self, event: impl FnOnce() -> Event, bytes: usize) {
        if let Some(recording) = &mut self.recording {
            self.recorded_bytes += bytes;
            // Beyond the bound it only counts, and is refused as a whole when it is taken.
            if self.recorded_bytes <= RECORDING_BYTES_MAX {
                recording.events.push(event());
            }
        }
    }

    /// Notes all that comes from here on.
    pub fn start_recording(&mut self) {
        self.recording = Some(Recording {
            image: self.medium.clone(),
            events: self.cache.iter().cloned().map(Event::Write).collect(),
        });
        self.recorded_bytes = 0;
    }

    /// How many events are noted.
    #[must_use]
    pub fn recorded(&self) -> usize {
        let recording = self.recording.as_ref();
        recording.map_or(0, |recording| recording.events.len())
    }

    /// Ends the recording. `None` when there was none, or it passed [`RECORDING_BYTES_MAX`].
    pub fn take_recording(&mut self) -> Option<Recording> {
        let recording = self.recording.take()?;
        (self.recorded_bytes <= RECORDING_BYTES_MAX).then_some(recording)
    }

    /// Cuts the power. Sectors that were written twice since the last flush may be left in either
    /// state, or in the one before.
    pub fn cut(&mut self, random: &mut Random) -> Cut {
        let fates = [Fate::Lost, Fate::Kept, Fate::Prefix, Fate::Scattered];
        let fate = *random.of_these(&fates).unwrap_or(&Fate::Lost);
        let sectors: Vec<Write> = self.cache.drain(..).flat_map(sectors).collect();
        let unflushed = sectors.len();
        let prefix = random.below(unflushed + 1);
        let percent = 1 + random.below(99);
        let mut kept = 0;
        for (at, sector) in sectors.iter().enumerate() {
            let stays = match fate {
                Fate::Lost => false,
                Fate::Kept => true,
                Fate::Prefix => at < prefix,
                Fate::Scattered => random.below(100) < percent,
            };
            if stays {
                kept += 1;
                let _ = put(&mut self.medium, sector);
            }
        }
        self.seen.clone_from(&self.medium);
        Cut {
            fate,
            unflushed,
            kept,
        }
    }
}

/// A write's parts that reach the medium as a whole or not at all.
fn sectors(write: Write) -> impl Iterator<Item = Write> {
    let mut offset = write.offset;
    let mut rest = write.bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let in_this = SECTOR_BYTES - offset % SECTOR_BYTES;
        let after = rest.split_off(in_this.min(rest.len()));
        let sector = Write {
            offset,
            bytes: std::mem::replace(&mut rest, after),
        };
        offset += sector.bytes.len();
        Some(sector)
    })
}

fn put(image: &mut [u8], write: &Write) -> Option<()> {
    let end = write.offset.checked_add(write.bytes.len())?;
    image
        .get_mut(write.offset..end)?
        .copy_from_slice(&write.bytes);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 8 * SECTOR_BYTES;

    fn write(offset: usize, byte: u8, bytes: usize) -> Write {
        Write {
            offset,
            bytes: vec![byte; bytes],
        }
    }

    /// A disk with four sectors of 1 flushed, and 2 over all eight that is not.
    fn half_flushed() -> Disk {
        let mut disk = Disk::new(vec![0; SIZE]);
        disk.write(write(0, 1, SIZE / 2)).unwrap();
        disk.flush();
        disk.write(write(0, 2, SIZE)).unwrap();
        disk
    }

    #[test]
    fn what_was_written_is_read_before_it_is_flushed() {
        let disk = half_flushed();
        assert_eq!(disk.read(0, SIZE).unwrap(), [2; SIZE]);
        assert_eq!(disk.read(1, SIZE), Err(OutOfRange));
        assert_eq!(disk.clone().write(write(SIZE, 1, 1)), Err(OutOfRange));
    }

    #[test]
    fn a_cut_leaves_whole_sectors_of_what_was_flushed_or_written_since() {
        let mut fates = Vec::new();
        for seed in 0..64 {
            let mut disk = half_flushed();
            let cut = disk.cut(&mut Random::new(seed));
            let image = disk.read(0, SIZE).unwrap();
            let mut kept = 0;
            for (at, sector) in image.chunks(SECTOR_BYTES).enumerate() {
                let flushed = u8::from(at < 4);
                assert!(sector.iter().all(|byte| *byte == sector[0]), "torn inside");
                assert!(
                    [flushed, 2].contains(&sector[0]),
                    "seed {seed}, sector {at}"
                );
                kept += usize::from(sector[0] == 2);
            }
            assert_eq!((kept, cut.unflushed), (cut.kept, 8), "{cut}");
            match cut.fate {
                Fate::Lost => assert_eq!(kept, 0),
                Fate::Kept => assert_eq!(kept, 8),
                Fate::Prefix => assert!(image.is_sorted_by_key(|byte| *byte != 2)),
                Fate::Scattered => {}
            }
            fates.push(format!("{:?}", cut.fate));
        }
        fates.sort();
        fates.dedup();
        assert_eq!(fates, ["Kept", "Lost", "Prefix", "Scattered"]);
    }

    #[test]
    fn a_sector_written_twice_may_be_left_in_its_first_state() {
        let left = |seed| {
            let mut disk = Disk::new(vec![0; SIZE]);
            disk.write(write(0, 1, SECTOR_BYTES)).unwrap();
            disk.write(write(0, 2, SECTOR_BYTES)).unwrap();
            disk.cut(&mut Random::new(seed));
            disk.medium()[0]
        };
        let mut states: Vec<u8> = (0..64).map(left).collect();
        states.sort_unstable();
        states.dedup();
        assert_eq!(states, [0, 1, 2]);
    }

    #[test]
    fn a_recording_holds_what_came_since_it_began_in_order() {
        let mut disk = half_flushed();
        assert_eq!(disk.take_recording(), None);
        disk.start_recording();
        disk.write(write(3, 7, 9)).unwrap();
        disk.flush();
        assert_eq!(disk.recorded(), 3);
        let recording = disk.take_recording().unwrap();
        let cached = Event::Write(write(0, 2, SIZE));
        let events = [cached, Event::Write(write(3, 7, 9)), Event::Flush];
        assert_eq!(recording.events, events);
        assert_eq!(recording.image[SIZE / 2 - 1..=SIZE / 2], [1, 0]);
    }
}
