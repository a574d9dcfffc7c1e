//! What goes wrong: cuts, crashes, power, disks, sleep, replays, backups.
//! Never breaks a promise that no real system could keep: what was synced stays.

use super::hostile::YEARS_20_MS;
use super::{Event, World};
use crate::Violation;
use crate::machine::{Death, EPOCH_UNIX_MS, Machine};
use crate::random::Random;
use holdfast_journal::{Fault as DiskFault, Storage as _};

const DAY_MS: u64 = 86_400_000;
/// How long a clock that was set right has for what can end without an expiry.
const YEARS_PASS_MS: u64 = 2 * 3_600_000;

/// One thing that goes wrong.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    Cut { machine: usize, ms: u64 },
    Mend { machine: usize },
    Kill { machine: usize },
    Restart { machine: usize },
    PowerCut { machine: usize, writes: u64 },
    CutAtRemoval { machine: usize },
    KillInWrite { machine: usize, writes: u64 },
    PowerOn { machine: usize },
    Reboot { machine: usize },
    SyncFails { machine: usize },
    DiskFull { machine: usize, ms: u64 },
    ReadOnly { machine: usize, ms: u64 },
    TurnsReadOnly { machine: usize, writes: u64 },
    ReadOnlyInWrite { machine: usize, writes: u64 },
    ReadsFail { machine: usize, ms: u64 },
    DiskMends { machine: usize },
    BitFlips { machine: usize, pick: u64 },
    Cloned { machine: usize },
    Sleep { machine: usize, ms: u64 },
    Dozes { machine: usize, ms: u64 },
    Replay { machine: usize, pick: usize },
    Forge { machine: usize, kind: u64 },
    Rotate { bare: bool },
    BridgeDies { ms: u64 },
    BridgeStarts { restored: bool },
    Backup,
    BridgeRestored { ms: u64 },
    Image { machine: usize },
    RolledBack { machine: usize },
    ClockJumps { ms: i64 },
    ClockWrong { clock: Clock, ms: u64, floors: bool },
    ClockRight { floors: bool },
    WireHostile { machine: usize, ms: u64 },
    WireEnds { machine: usize },
    SlowDisk { machine: usize, ms: u64 },
}

/// What the bridge's clock shows that is years off.
#[derive(Debug, Clone, Copy)]
pub(super) enum Clock {
    /// As without a battery.
    Epoch,
    YearsBack,
    YearsAhead,
}

impl Clock {
    pub(super) fn any(random: &mut Random) -> Self {
        let clocks = [Self::Epoch, Self::YearsBack, Self::YearsAhead];
        let picked = clocks.get(random.index(clocks.len()));
        picked.copied().unwrap_or(Self::Epoch)
    }

    /// How far off it is when the right time is `unix_ms`.
    fn jump_ms(self, unix_ms: u64) -> i64 {
        let years = YEARS_20_MS.cast_signed();
        match self {
            Self::Epoch => -unix_ms.cast_signed(),
            Self::YearsBack => -years,
            Self::YearsAhead => years,
        }
    }
}

impl Fault {
    pub(super) fn any(random: &mut Random, machines: usize) -> Self {
        let machine = random.index(machines);
        let ms = random.between(500, 150_000);
        match random.between(0, 39) {
            0..=3 => Self::Cut { machine, ms },
            4..=6 => Self::Kill { machine },
            7 | 8 => {
                let writes = random.between(0, 12);
                Self::PowerCut { machine, writes }
            }
            9 => Self::Reboot { machine },
            10 => Self::SyncFails { machine },
            11 => Self::DiskFull { machine, ms },
            12 => Self::Sleep { machine, ms },
            13 | 14 => {
                let pick = random.index(200);
                Self::Replay { machine, pick }
            }
            15 | 16 => {
                let ms = random.between(100, 30_000);
                Self::BridgeDies { ms }
            }
            17 | 18 => Self::Backup,
            19 => {
                let ms = random.between(100, 30_000);
                Self::BridgeRestored { ms }
            }
            20 | 21 => Self::Image { machine },
            22 => Self::RolledBack { machine },
            23 | 24 => {
                let kind = random.between(0, 6);
                Self::Forge { machine, kind }
            }
            27 => Self::ReadOnly { machine, ms },
            28 => {
                let pick = random.next();
                Self::BitFlips { machine, pick }
            }
            29 => Self::Cloned { machine },
            25 | 26 => {
                let bare = random.one_in(2);
                Self::Rotate { bare }
            }
            30 => {
                let (clock, floors) = (Clock::any(random), random.one_in(2));
                Self::ClockWrong { clock, ms, floors }
            }
            31..=33 => Self::WireHostile { machine, ms },
            34 => Self::SlowDisk { machine, ms },
            35 | 36 => {
                let writes = random.between(0, 10);
                Self::TurnsReadOnly { machine, writes }
            }
            37 => Self::ReadsFail { machine, ms },
            38 => Self::Dozes { machine, ms },
            _ => {
                let ms = random.between(0, 4 * DAY_MS).cast_signed() - 2 * DAY_MS.cast_signed();
                Self::ClockJumps { ms }
            }
        }
    }
}

impl World {
    pub(super) fn fault(&mut self, fault: Fault) -> Result<(), Violation> {
        self.say(|| format!("fault: {fault:?}"));
        self.summary.faults += 1;
        match fault {
            Fault::Cut { machine, ms } => {
                if let Some(link) = self.links.get_mut(machine).filter(|_| !self.peace) {
                    *link = false;
                    self.cut(machine);
                    self.after(ms, Event::Fault(Fault::Mend { machine }));
                }
            }
            Fault::Mend { machine } => {
                if let Some(link) = self.links.get_mut(machine) {
                    *link = true;
                }
            }
            Fault::Kill { machine } => self.kill(machine),
            Fault::Restart { machine } => {
                let stopped = |m: &Machine| !m.is_alive() && !m.off;
                if self.machines.get(machine).is_some_and(stopped) {
                    self.start(machine, false);
                }
            }
            Fault::PowerOn { machine } => {
                let checks = self.random.one_in(3);
                let now = self.now;
                if let Some(off) = self.machines.get_mut(machine).filter(|m| m.off) {
                    off.off = false;
                    // After a power cut a file system may have much to do beside its work.
                    if checks {
                        off.slow_until = now + 20_000;
                    }
                    self.start(machine, true);
                }
            }
            Fault::PowerCut { machine, writes } => {
                self.arm_death(machine, Death::PowerCut, DiskFault::PowerCut(writes));
            }
            Fault::CutAtRemoval { machine } => {
                self.arm_death(machine, Death::PowerCut, DiskFault::PowerCutAfterRemove);
            }
            Fault::KillInWrite { machine, writes } => {
                self.arm_death(machine, Death::Kill, DiskFault::PowerCut(writes));
            }
            Fault::Reboot { machine } => self.power_cut(machine)?,
            Fault::SyncFails { machine } => {
                let fails = DiskFault::SyncFails(self.random.between(0, 3));
                if let Some(machine) = self.machines.get(machine) {
                    machine.storage.arm(fails);
                }
            }
            Fault::DiskFull { machine, ms } => {
                if let Some(full) = self.machines.get(machine) {
                    full.storage.arm(DiskFault::Capacity(0));
                    self.after(ms, Event::Fault(Fault::DiskMends { machine }));
                }
            }
            Fault::ReadOnly { machine, ms } => {
                if let Some(mounted) = self.machines.get(machine) {
                    mounted.storage.arm(DiskFault::ReadOnly);
                    self.after(ms, Event::Fault(Fault::DiskMends { machine }));
                }
            }
            Fault::TurnsReadOnly { machine, writes } => {
                // Where the most belongs together: with the next step that ends.
                if let Some(failing) = self.machines.get_mut(machine) {
                    failing.turns_read_only = Some(writes);
                }
            }
            Fault::ReadOnlyInWrite { machine, writes } => self.turn_read_only(machine, writes),
            Fault::ReadsFail { machine, ms } => {
                if let Some(failing) = self.machines.get(machine) {
                    failing.storage.arm(DiskFault::ReadsFail);
                    self.after(ms, Event::Fault(Fault::DiskMends { machine }));
                }
            }
            Fault::BitFlips { machine, pick } => self.flip(machine, pick),
            Fault::Cloned { machine } => self.clone_machine(machine),
            Fault::DiskMends { machine } => {
                if let Some(mended) = self.machines.get(machine) {
                    mended.storage.mend();
                }
            }
            Fault::Sleep { machine, ms } => {
                if let Some(machine) = self.machines.get_mut(machine).filter(|_| !self.peace) {
                    machine.sleep_until(self.now + ms);
                }
            }
            Fault::Dozes { machine, ms } => {
                if let Some(machine) = self.machines.get_mut(machine) {
                    machine.dozes = Some(ms);
                }
            }
            Fault::Replay { machine, pick } => self.replay(machine, pick)?,
            Fault::Forge { machine, kind } => self.forge(machine, kind)?,
            Fault::Rotate { bare } => self.rotate(bare)?,
            Fault::BridgeDies { ms } => self.bridge_dies(ms, false),
            Fault::BridgeStarts { restored } => self.bridge_starts(restored),
            Fault::Backup => {
                if !self.bridge.up && self.bridge.is_real() {
                    return Ok(());
                }
                self.backup = Some(self.bridge.store.clone());
                self.bridge.back_up_real();
                self.witness.backed_up();
            }
            Fault::BridgeRestored { ms } => {
                let restored = self.backup.is_some();
                self.bridge_dies(ms, restored);
            }
            Fault::Image { machine } => {
                if let Some(machine_) = self.machines.get(machine) {
                    let image = machine_.storage.copy();
                    self.images.insert(machine, image);
                }
            }
            Fault::RolledBack { machine } => self.roll_back(machine),
            Fault::ClockJumps { ms } => {
                self.bridge.clock_jump_ms += ms;
                self.clock_jump_ms_max = self.clock_jump_ms_max.max(self.bridge.clock_jump_ms);
                self.witness.clock_jumped();
            }
            Fault::ClockWrong { clock, ms, floors } => self.set_clock_wrong(clock, ms, floors),
            Fault::ClockRight { floors } => self.set_clock_right(floors),
            Fault::WireHostile { machine, ms } => self.wire_hostile(machine, ms),
            Fault::WireEnds { machine } => self.cut(machine),
            Fault::SlowDisk { machine, ms } => self.slow_disk(machine, ms),
        }
        Ok(())
    }

    /// A write fails in the middle of what belongs together, and nothing can be changed from there on;
    /// whoever notices may try a restart first, and then pull the plug.
    pub(super) fn turn_read_only(&mut self, machine: usize, writes: u64) {
        let Some(failing) = self.machines.get(machine) else {
            return;
        };
        failing.storage.arm(DiskFault::ReadOnlyFrom(writes));
        let ms = self.random.between(500, 150_000);
        if self.random.one_in(2) {
            let after = self.random.between(0, ms);
            self.after(after, Event::Fault(Fault::Kill { machine }));
            if self.random.one_in(2) {
                let later = after + self.random.between(100, 20_000);
                self.after(later, Event::Fault(Fault::Reboot { machine }));
            }
        }
        self.after(ms, Event::Fault(Fault::DiskMends { machine }));
    }

    fn slow_disk(&mut self, index: usize, ms: u64) {
        if let Some(machine) = self.machines.get_mut(index) {
            machine.slow_until = self.now + ms;
        }
    }

    fn set_clock_wrong(&mut self, clock: Clock, ms: u64, floors: bool) {
        let right = EPOCH_UNIX_MS + self.now;
        self.bridge.clock_jump_ms = clock.jump_ms(right);
        self.clock_jump_ms_max = self.clock_jump_ms_max.max(self.bridge.clock_jump_ms);
        self.clock_was_wrong = true;
        self.witness.clock_jumped();
        // Whoever sets it right may think of the nodes, or not.
        self.after(ms, Event::Fault(Fault::ClockRight { floors }));
    }

    fn set_clock_right(&mut self, floors: bool) {
        self.bridge.clock_jump_ms = 0;
        if floors && self.bridge.up {
            self.witness.floors_reset();
            self.bridge.reset_floors(self.now);
            let out = self.bridge.take_out();
            self.perform_bridge(out);
        }
    }

    /// `kill -9`: memory is gone, the page cache is not.
    fn kill(&mut self, index: usize) {
        let Some(machine) = self.machines.get_mut(index) else {
            return;
        };
        if machine.death.is_some() || !machine.is_alive() {
            return;
        }
        self.witness.dies(self.now, machine);
        machine.die();
        self.cut(index);
        self.summary.kills += 1;
        let ms = self.random.between(10, 4_000);
        self.after(ms, Event::Fault(Fault::Restart { machine: index }));
    }

    /// The agent is to die in the middle of what it writes.
    fn arm_death(&mut self, index: usize, death: Death, at: DiskFault) {
        let alive = self.machines.get_mut(index).filter(|m| m.is_alive());
        if let Some(machine) = alive {
            machine.arm_death(death, at);
        }
    }

    /// It does. Where it was killed, the power may go soon after it was started again: what its
    /// successor found and told of is then lost, unless it was made durable first.
    pub(super) fn dies_writing(&mut self, index: usize, death: Death) -> Result<(), Violation> {
        if death == Death::PowerCut {
            return self.power_cut(index);
        }
        if let Some(machine) = self.machines.get_mut(index) {
            machine.storage.was_killed();
            machine.death = None;
        }
        self.kill(index);
        if !self.peace && self.random.one_in(2) {
            let ms = self.random.between(10, 6_000);
            self.after(ms, Event::Fault(Fault::Reboot { machine: index }));
        }
        Ok(())
    }

    /// The power is gone: what was not synced may be, too.
    pub(super) fn power_cut(&mut self, index: usize) -> Result<(), Violation> {
        let seed = self.random.next();
        let Some(machine) = self.machines.get_mut(index) else {
            return Ok(());
        };
        self.witness.dies(self.now, machine);
        machine.die();
        machine.storage = machine.storage.restart(seed);
        machine.death = None;
        machine.suspended_until = 0;
        self.cut(index);
        self.summary.power_cuts += 1;
        let ms = if !self.peace && self.random.one_in(3) {
            self.random.between(1_000, 300_000)
        } else {
            0
        };
        if let Some(machine) = self.machines.get_mut(index) {
            machine.off = true;
        }
        self.after(ms, Event::Fault(Fault::PowerOn { machine: index }));
        Ok(())
    }

    fn bridge_dies(&mut self, ms: u64, restored: bool) {
        if !self.bridge.up {
            return;
        }
        self.bridge.die();
        self.summary.bridge_deaths += 1;
        for id in self.connections.keys().copied().collect::<Vec<_>>() {
            self.close(id);
        }
        self.after(ms, Event::Fault(Fault::BridgeStarts { restored }));
    }

    fn bridge_starts(&mut self, restored: bool) {
        if self.bridge.up {
            return;
        }
        self.bridge
            .start_real(self.now, restored && self.backup.is_some());
        if let Some(backup) = self.backup.clone().filter(|_| restored) {
            self.bridge.store = backup;
            self.witness.bridge_restored();
            self.summary.restores += 1;
        }
        self.bridge.up = true;
    }

    /// A bit of a machine's disk turns over while the agent is not running: what it held may be lost,
    /// the agent starts all the same, and says what is missing.
    fn flip(&mut self, index: usize, pick: u64) {
        let Some(machine) = self.machines.get_mut(index) else {
            return;
        };
        let Ok(files) = machine.storage.list() else {
            return;
        };
        let bytes: u64 = files.iter().map(|file| file.bytes).sum();
        let mut bit = pick % (bytes * 8).max(1);
        self.witness.dies(self.now, machine);
        machine.die();
        machine.off = false;
        for file in files {
            if bit < file.bytes * 8 {
                machine.storage.flip(&file.name, bit);
                break;
            }
            bit -= file.bytes * 8;
        }
        self.witness.rolled_back(machine.node);
        self.cut(index);
        self.start(index, false);
    }

    /// Somebody starts a copy of a machine, identity and all.
    fn clone_machine(&mut self, index: usize) {
        let Some(machine) = self.machines.get(index).filter(|_| !self.peace) else {
            return;
        };
        let copy = machine.copy();
        self.witness.cloned(machine.node);
        self.machines.push(copy);
        self.links.push(true);
        self.start(self.machines.len() - 1, true);
    }

    /// The disk of a machine goes back to an older image.
    fn roll_back(&mut self, index: usize) {
        let Some(image) = self.images.get(&index) else {
            return;
        };
        let Some(machine) = self.machines.get_mut(index) else {
            return;
        };
        self.witness.dies(self.now, machine);
        machine.die();
        machine.off = false;
        machine.storage = image.copy();
        machine.death = None;
        self.witness.rolled_back(machine.node);
        self.summary.roll_backs += 1;
        self.cut(index);
        self.start(index, true);
    }

    /// An expiry that a clock far ahead has set must still come.
    pub(super) fn years_pass(&mut self) {
        self.bridge.clock_jump_ms = self.clock_jump_ms_max;
    }

    /// Everything works again, and from here on the operator releases who is quarantined.
    pub(super) fn make_peace(&mut self) -> Result<(), Violation> {
        self.say(|| "everything works from here on".to_owned());
        self.peace = true;
        self.bridge_starts(false);
        for link in &mut self.links {
            *link = true;
        }
        if self.clock_was_wrong {
            self.set_clock_right(true);
            self.after(YEARS_PASS_MS, Event::YearsPass);
        } else {
            self.years_pass();
        }
        for index in 0..self.machines.len() {
            if let Some(death) = self.machines.get(index).and_then(|m| m.death) {
                self.dies_writing(index, death)?;
            }
        }
        for machine in &mut self.machines {
            machine.storage.disarm();
        }
        // The operator has found the copies, and takes them away.
        for index in self.originals..self.machines.len() {
            if let Some(copy) = self.machines.get_mut(index) {
                copy.die();
            }
            self.cut(index);
        }
        self.machines.truncate(self.originals);
        Ok(())
    }
}
