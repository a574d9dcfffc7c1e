//! A disk in memory that fails on request: torn writes, failed syncs, no space, power cuts, bit flips.
//! It never reads a clock or real randomness: the same seed and calls give the same disk.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{Created, FileInfo, Storage};

/// Writes reach the medium in units of this many bytes, in any order until a sync.
const SECTOR: usize = 512;

/// What shall go wrong. Counts are of calls from now on, 0 being the very next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The n-th `sync_data` fails with EIO; the pages it should have written count as clean.
    SyncFails(u64),
    /// The n-th call that changes anything fails, and every call after it: the power is gone.
    PowerCut(u64),
    /// The power goes as soon as the next file is removed.
    PowerCutAfterRemove,
    /// The files may hold no more than this many bytes together.
    Capacity(u64),
    /// Nothing can be changed, as on a file system that somebody has mounted read-only: what was
    /// written is durable before, and a sync has nothing left to do.
    ReadOnly,
    /// Nothing can be changed from the n-th call on that changes anything: that one met an error, and
    /// the file system refuses even to sync.
    ReadOnlyFrom(u64),
    /// No file can be read.
    ReadsFail,
}

#[derive(Debug, Clone, Default)]
struct SimFile {
    /// What the process sees.
    cached: Vec<u8>,
    /// What a power cut leaves at least.
    durable: Vec<u8>,
    /// Sectors written since the last sync.
    dirty: Vec<usize>,
}

impl SimFile {
    fn sync(&mut self) {
        for sector in std::mem::take(&mut self.dirty) {
            copy_sector(&self.cached, &mut self.durable, sector);
        }
    }

    /// Forgets what the page cache has and would not write: the device's content is read again.
    fn drop_clean_pages(&mut self) {
        let cached = std::mem::replace(&mut self.cached, self.durable.clone());
        for sector in &self.dirty {
            copy_sector(&cached, &mut self.cached, *sector);
        }
    }
}

#[derive(Debug, Default)]
struct Disk {
    files: BTreeMap<String, u64>,
    /// The directory as the last `sync_dir` left it.
    durable_files: BTreeMap<String, u64>,
    inodes: BTreeMap<u64, SimFile>,
    next_inode: u64,
    sync_fails: Option<u64>,
    power_cut: Option<u64>,
    power_cut_after_remove: bool,
    powerless: bool,
    capacity: Option<u64>,
    read_only: bool,
    /// It is so since a write failed, and until it is mounted again.
    met_an_error: bool,
    read_only_from: Option<u64>,
    reads_fail: bool,
    changes: u64,
    written_bytes: u64,
}

/// A handle of the simulated disk; clones share it.
#[derive(Debug, Clone, Default)]
pub struct SimStorage {
    disk: Arc<Mutex<Disk>>,
}

/// An open file of a [`SimStorage`].
#[derive(Debug)]
pub struct SimHandle {
    inode: u64,
}

impl SimStorage {
    /// An empty disk that works.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Arms a fault; one of each kind at a time.
    pub fn arm(&self, fault: Fault) {
        let mut disk = self.disk();
        match fault {
            Fault::SyncFails(after) => disk.sync_fails = Some(after),
            Fault::PowerCut(after) => disk.power_cut = Some(after),
            Fault::PowerCutAfterRemove => disk.power_cut_after_remove = true,
            Fault::Capacity(bytes) => disk.capacity = Some(bytes),
            Fault::ReadOnly if disk.met_an_error => {}
            Fault::ReadOnly => {
                disk.inodes.values_mut().for_each(SimFile::sync);
                disk.durable_files = disk.files.clone();
                disk.read_only = true;
            }
            Fault::ReadOnlyFrom(after) => disk.read_only_from = Some(after),
            Fault::ReadsFail => disk.reads_fail = true,
        }
    }

    /// Takes all faults away, except that power stays off until [`Self::restart`] or
    /// [`Self::was_killed`].
    pub fn disarm(&self) {
        self.mend();
        let mut disk = self.disk();
        disk.power_cut = None;
        disk.power_cut_after_remove = false;
    }

    /// Takes the disk's own faults away: an armed power cut still comes.
    pub fn mend(&self) {
        let mut disk = self.disk();
        disk.sync_fails = None;
        disk.capacity = None;
        disk.read_only = false;
        disk.met_an_error = false;
        disk.read_only_from = None;
        disk.reads_fail = false;
    }

    /// It was no power cut that ended the calls, but a kill of their process: what it wrote and had not
    /// synced is still in the page cache.
    pub fn was_killed(&self) {
        let mut disk = self.disk();
        disk.powerless = false;
        disk.power_cut = None;
        disk.power_cut_after_remove = false;
    }

    /// The disk after a power cut: each sector written since its last sync is there or not, as `seed`
    /// decides, and so is each file made or removed since the last `sync_dir`.
    #[must_use]
    pub fn restart(&self, seed: u64) -> Self {
        let mut random = SplitMix(seed);
        let disk = self.disk();
        let mut after = Disk {
            next_inode: disk.next_inode,
            capacity: disk.capacity,
            read_only: disk.read_only,
            reads_fail: disk.reads_fail,
            ..Disk::default()
        };
        let mut names: BTreeMap<_, _> = disk.durable_files.clone();
        for (name, inode) in &disk.files {
            if disk.durable_files.get(name) != Some(inode) && random.coin() {
                names.insert(name.clone(), *inode);
            }
        }
        names.retain(|name, _| disk.files.contains_key(name) || random.coin());
        for (name, inode) in names {
            let mut file = disk.inodes.get(&inode).cloned().unwrap_or_default();
            for sector in std::mem::take(&mut file.dirty) {
                if random.coin() {
                    copy_sector(&file.cached, &mut file.durable, sector);
                }
            }
            file.cached.clone_from(&file.durable);
            after.inodes.insert(inode, file);
            after.files.insert(name, inode);
        }
        after.durable_files.clone_from(&after.files);
        Self {
            disk: Arc::new(Mutex::new(after)),
        }
    }

    /// An independent disk with the same content, all of it durable and without faults.
    #[must_use]
    pub fn copy(&self) -> Self {
        let disk = self.disk();
        let mut inodes = disk.inodes.clone();
        for file in inodes.values_mut() {
            file.durable.clone_from(&file.cached);
            file.dirty.clear();
        }
        let after = Disk {
            files: disk.files.clone(),
            durable_files: disk.files.clone(),
            inodes,
            next_inode: disk.next_inode,
            ..Disk::default()
        };
        Self {
            disk: Arc::new(Mutex::new(after)),
        }
    }

    /// The bytes of a file, for a test to look at.
    #[must_use]
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        let disk = self.disk();
        let inode = disk.files.get(name)?;
        Some(disk.inodes.get(inode)?.cached.clone())
    }

    /// Replaces the bytes of a file, or makes it, durably: for a test to damage what it likes.
    pub fn overwrite(&self, name: &str, bytes: Vec<u8>) {
        let mut disk = self.disk();
        let inode = match disk.files.get(name) {
            Some(inode) => *inode,
            None => disk.name(name),
        };
        disk.durable_files.insert(name.to_owned(), inode);
        let file = SimFile {
            durable: bytes.clone(),
            cached: bytes,
            dirty: Vec::new(),
        };
        disk.inodes.insert(inode, file);
    }

    /// Flips one bit of a file; does nothing outside it.
    pub fn flip(&self, name: &str, bit: u64) {
        let Some(mut bytes) = self.contents(name) else {
            return;
        };
        let at = usize::try_from(bit / 8).unwrap_or(usize::MAX);
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 1 << (bit % 8);
            self.overwrite(name, bytes);
        }
    }

    /// Whether no file can be read.
    #[must_use]
    pub fn reads_fail(&self) -> bool {
        self.disk().reads_fail
    }

    /// Calls so far that changed anything: where a [`Fault::PowerCut`] can strike.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.disk().changes
    }

    /// Bytes written so far.
    #[must_use]
    pub fn written_bytes(&self) -> u64 {
        self.disk().written_bytes
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk {
    fn name(&mut self, name: &str) -> u64 {
        let inode = self.next_inode;
        self.next_inode += 1;
        self.files.insert(name.to_owned(), inode);
        inode
    }

    fn check_power(&self) -> io::Result<()> {
        if self.powerless {
            return Err(io::Error::other("power is cut"));
        }
        Ok(())
    }

    fn check_writable(&self) -> io::Result<()> {
        self.check_power()?;
        if self.read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        Ok(())
    }

    /// Whether a sync has nothing to do, since nothing can be changed.
    fn has_nothing_to_sync(&self) -> bool {
        self.read_only && !self.met_an_error
    }

    fn change(&mut self) -> io::Result<()> {
        self.begin_change()?;
        self.cut_power()
    }

    /// Whether anything can be changed; if not, nothing has.
    fn begin_change(&mut self) -> io::Result<()> {
        if strikes(&mut self.read_only_from) {
            self.read_only = true;
            self.met_an_error = true;
        }
        self.check_writable()?;
        self.changes += 1;
        Ok(())
    }

    /// Whether the power holds during a change.
    fn cut_power(&mut self) -> io::Result<()> {
        if strikes(&mut self.power_cut) {
            self.powerless = true;
        }
        self.check_power()
    }

    fn held_bytes(&self) -> u64 {
        let files = self
            .files
            .values()
            .filter_map(|inode| self.inodes.get(inode));
        files.map(|file| file.cached.len() as u64).sum()
    }

    fn has_room_for(&self, bytes: u64) -> bool {
        self.capacity
            .is_none_or(|capacity| self.held_bytes().saturating_add(bytes) <= capacity)
    }

    fn file(&mut self, inode: u64) -> io::Result<&mut SimFile> {
        self.inodes
            .get_mut(&inode)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// Counts a fault down; `true` on the call it is meant for.
fn strikes(fault: &mut Option<u64>) -> bool {
    match fault.take() {
        Some(0) => true,
        Some(after) => {
            *fault = Some(after - 1);
            false
        }
        None => false,
    }
}

fn copy_sector(from: &[u8], to: &mut Vec<u8>, sector: usize) {
    let start = sector * SECTOR;
    let end = (start + SECTOR).min(from.len());
    if to.len() < end {
        to.resize(end, 0);
    }
    if let (Some(source), Some(target)) = (from.get(start..end), to.get_mut(start..end)) {
        target.copy_from_slice(source);
    }
}

impl Storage for SimStorage {
    type File = SimHandle;

    fn list(&self) -> io::Result<Vec<FileInfo>> {
        let disk = self.disk();
        disk.check_power()?;
        let info = |(name, inode): (&String, &u64)| FileInfo {
            name: name.clone(),
            bytes: disk
                .inodes
                .get(inode)
                .map_or(0, |file| file.cached.len() as u64),
        };
        Ok(disk.files.iter().map(info).collect())
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Created<SimHandle>> {
        let mut disk = self.disk();
        disk.change()?;
        if disk.files.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if !disk.has_room_for(bytes) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let inode = disk.name(name);
        let zeros = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)];
        let file = SimFile {
            durable: zeros.clone(),
            cached: zeros,
            dirty: Vec::new(),
        };
        disk.inodes.insert(inode, file);
        Ok(Created {
            file: SimHandle { inode },
            written_bytes: 0,
        })
    }

    fn open(&self, name: &str) -> io::Result<SimHandle> {
        let mut disk = self.disk();
        disk.check_power()?;
        let inode = disk.files.get(name).copied();
        let inode = inode.ok_or(io::ErrorKind::NotFound)?;
        if disk.read_only {
            disk.file(inode)?.drop_clean_pages();
        }
        Ok(SimHandle { inode })
    }

    fn read_at(&self, file: &SimHandle, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut disk = self.disk();
        disk.check_power()?;
        if disk.reads_fail {
            return Err(io::Error::other("injected: the read failed"));
        }
        let cached = &disk.file(file.inode)?.cached;
        let start = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(cached.len());
        let end = start.saturating_add(buffer.len()).min(cached.len());
        let found = cached.get(start..end).unwrap_or_default();
        if let Some(target) = buffer.get_mut(..found.len()) {
            target.copy_from_slice(found);
        }
        Ok(found.len())
    }

    fn write_at(&self, file: &SimHandle, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.disk();
        disk.begin_change()?;
        let cut = disk.cut_power();
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let file = disk.file(file.inode)?;
        let end = start.saturating_add(bytes.len());
        // A write that the power cut hits still leaves sectors of its own choice behind.
        if file.cached.len() < end {
            file.cached.resize(end, 0);
        }
        if let Some(target) = file.cached.get_mut(start..end) {
            target.copy_from_slice(bytes);
        }
        file.dirty.extend(start / SECTOR..end.div_ceil(SECTOR));
        disk.written_bytes += bytes.len() as u64;
        cut
    }

    fn sync_data(&self, file: &SimHandle) -> io::Result<()> {
        let mut disk = self.disk();
        if disk.has_nothing_to_sync() {
            return disk.check_power();
        }
        disk.change()?;
        let fails = strikes(&mut disk.sync_fails);
        let file = disk.file(file.inode)?;
        if fails {
            file.dirty.clear();
            return Err(io::Error::other("injected: the sync failed"));
        }
        file.sync();
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut disk = self.disk();
        disk.change()?;
        let removed = disk.files.remove(name);
        removed.ok_or(io::ErrorKind::NotFound)?;
        if std::mem::take(&mut disk.power_cut_after_remove) {
            disk.powerless = true;
        }
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut disk = self.disk();
        if disk.has_nothing_to_sync() {
            return disk.check_power();
        }
        disk.change()?;
        disk.durable_files = disk.files.clone();
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let disk = self.disk();
        disk.check_power()?;
        Ok(disk.capacity.map_or(u64::MAX, |capacity| {
            capacity.saturating_sub(disk.held_bytes())
        }))
    }
}

/// A small generator: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }
}
