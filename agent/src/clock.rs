//! Time since boot, an alarm in it, the boot's identity, and the operating system's randomness.
//! Never the wall clock: nothing here knows what day it is.

use holdfast_agent_core::Monotonic;
use ring::rand::{SecureRandom, SystemRandom};
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};
use std::io;
use std::os::fd::OwnedFd;
use tokio::io::unix::AsyncFd;

/// When this agent was built, milliseconds since 1970: real time is not below it.
pub const BUILT_UNIX_MS: u64 = {
    let mut digits = env!("HOLDFAST_BUILT_UNIX_S").as_bytes();
    let mut seconds = 0;
    while let [digit, rest @ ..] = digits {
        seconds = seconds * 10 + (*digit - b'0') as u64;
        digits = rest;
    }
    seconds * 1000
};

const _: () = assert!(
    BUILT_UNIX_MS > 1_700_000_000_000,
    "a build is dated after 2023"
);

/// Milliseconds since boot, suspend included.
#[must_use]
pub fn now() -> Monotonic {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let millis = u64::try_from(time.tv_nsec / 1_000_000).unwrap_or(0);
    Monotonic(seconds * 1000 + millis)
}

/// Wakes at a moment of boot time, also when the machine slept past it.
#[derive(Debug)]
pub struct Alarm {
    timer: AsyncFd<OwnedFd>,
    set: Option<Monotonic>,
}

impl Alarm {
    /// An alarm that is not set.
    ///
    /// # Errors
    /// The system's, when it has no such timer.
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Boottime, flags)?;
        #[expect(
            deprecated,
            reason = "its successor is an unsafe fn; an `OwnedFd` cannot be closed while it is in here"
        )]
        let timer = AsyncFd::new(timer)?;
        Ok(Self { timer, set: None })
    }

    /// Sets the alarm, or turns it off.
    ///
    /// # Errors
    /// The system's.
    pub fn set(&mut self, at: Option<Monotonic>) -> io::Result<()> {
        if at != self.set {
            self.arm(at)?;
            self.set = at;
        }
        Ok(())
    }

    /// Waits for the alarm; for ever while it is off. It is off afterwards.
    ///
    /// # Errors
    /// The system's.
    pub async fn ring(&mut self) -> io::Result<()> {
        self.timer.readable().await?.clear_ready();
        // Also forgets the expiry, so that nothing has to be read.
        self.arm(None)?;
        self.set = None;
        Ok(())
    }

    fn arm(&self, at: Option<Monotonic>) -> io::Result<()> {
        let zero = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let value = at.map_or(zero, |Monotonic(ms)| Timespec {
            tv_sec: i64::try_from(ms / 1000).unwrap_or(i64::MAX),
            // A zero would turn it off: what is due at boot is due at once.
            tv_nsec: i64::try_from(ms % 1000).unwrap_or(0) * 1_000_000 + 1,
        });
        let time = Itimerspec {
            it_interval: zero,
            it_value: value,
        };
        timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::ABSTIME, &time)?;
        Ok(())
    }
}

/// Identifies this boot of the machine.
///
/// # Errors
/// The system's, where `/proc` does not tell.
pub fn boot_id() -> io::Result<[u8; 16]> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let mut id = [0; 16];
    hex::decode_to_slice(text.trim().replace('-', ""), &mut id)
        .map_err(|why| io::Error::other(why.to_string()))?;
    Ok(id)
}

/// The operating system has no randomness to give.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the operating system gives no random numbers")]
pub struct NoRandomness;

/// Fresh randomness of the operating system.
///
/// # Errors
/// [`NoRandomness`].
pub fn random<const LEN: usize>() -> Result<[u8; LEN], NoRandomness> {
    let mut bytes = [0; LEN];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| NoRandomness)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_alarm_rings_once_and_is_then_off() {
        let mut alarm = Alarm::new().unwrap();
        for ms in [0, 1, now().0, now().0 + 20] {
            alarm.set(Some(Monotonic(ms))).unwrap();
            alarm.ring().await.unwrap();
            assert!(now().0 >= ms);
        }
        tokio::select! {
            biased;
            _ = alarm.ring() => panic!("it is off"),
            () = tokio::task::yield_now() => {}
        }
    }

    #[test]
    fn this_boot_has_an_identity() {
        assert_ne!(boot_id().unwrap(), [0; 16]);
    }
}
