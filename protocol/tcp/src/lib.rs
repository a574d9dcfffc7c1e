//! What both ends of a link ask of TCP: what is lost is repeated at a steady pace, not before the link
//! can have answered, and given up in time. Never opens, reads or closes a connection.
//!
//! TCP doubles its wait with each repeat that is lost too, up to two minutes: where every third packet
//! is lost, a link that works says nothing for half a minute now and then. Linux can wait at most a
//! given time (`TCP_RTO_MAX_MS`, since 6.15), but that time holds for the first repeat as well. A fixed
//! one, shorter than a slow link takes to answer, would fill that link with repeats of what is only
//! late. So it follows the delay that TCP measures.

use nix::libc;
use nix::sys::socket::sockopt::{GetOsString, GetStruct, SetStruct};
use nix::sys::socket::{GetSockOpt as _, SetSockOpt as _};
use rustix::net::sockopt::{set_tcp_thin_linear_timeouts, set_tcp_user_timeout};
use std::ffi::OsString;
use std::os::fd::AsFd;

/// Sent data that stays unacknowledged for so long ends the connection, in milliseconds: long enough
/// for a dozen repeats, since a poor link pays for a new connection with what was under way.
const UNACKNOWLEDGED_MS_MAX: u32 = 20_000;

/// The longest wait before a repeat, in milliseconds: the shortest that Linux takes.
const WITHIN_MS_MIN: u32 = 1_000;
/// The longest that it takes, and what it does unasked.
const WITHIN_MS_MAX: u32 = 120_000;

/// `TCP_RTO_MAX_MS` (`include/uapi/linux/tcp.h`), which no library names yet.
const TCP_RTO_MAX_MS: libc::c_int = 44;

/// The longest wait before a repeat, in milliseconds.
#[derive(Debug, Clone)]
struct RepeatWithin;

nix::setsockopt_impl!(
    RepeatWithin,
    libc::IPPROTO_TCP,
    TCP_RTO_MAX_MS,
    u32,
    SetStruct<'_, u32>
);

/// What TCP knows of a connection.
#[derive(Debug, Clone, Copy)]
struct Knowledge;

nix::getsockopt_impl!(
    Knowledge,
    libc::IPPROTO_TCP,
    libc::TCP_INFO,
    TcpInfo,
    GetStruct<TcpInfo>
);

/// The beginning of Linux's `struct tcp_info` (`include/uapi/linux/tcp.h`), up to the round trip: every
/// kernel has so much of it.
#[derive(Debug)]
#[repr(C)]
struct TcpInfo {
    states: [u8; 8],
    before: [u32; 15],
    /// Smoothed, in microseconds.
    round_trip_us: u32,
}

/// As much memory as [`TcpInfo`] takes, none of it a zero, which would end a string.
struct Told([u8; size_of::<TcpInfo>()]);

impl AsMut<[u8]> for Told {
    fn as_mut(&mut self) -> &mut [u8] {
        self.0.iter_mut().for_each(|byte| *byte |= 1);
        &mut self.0
    }
}

/// How much is told of a connection, as the length of a string.
#[derive(Debug, Clone, Copy)]
struct Extent;

nix::getsockopt_impl!(
    Extent,
    libc::IPPROTO_TCP,
    libc::TCP_INFO,
    OsString,
    GetOsString<Told>
);

/// Whether the round trip is told. qemu, which runs programs of other processors, hands on four bytes,
/// and nix ends a program that reads less than it asked for.
fn tells_round_trip(socket: &impl AsFd) -> bool {
    let told = Extent.get(socket);
    told.is_ok_and(|told| told.len() == size_of::<TcpInfo>())
}

/// The pace of one connection.
#[derive(Debug)]
pub struct Pace {
    /// What is set; nothing where the kernel knows no such bound, or does not tell what it should follow.
    within_ms: Option<u32>,
}

impl Pace {
    /// Sets the pace of a fresh connection. A kernel that cannot is only slower.
    #[must_use]
    pub fn set(socket: &impl AsFd) -> Self {
        let _ = set_tcp_user_timeout(socket, UNACKNOWLEDGED_MS_MAX);
        let _ = set_tcp_thin_linear_timeouts(socket, true);
        let known = tells_round_trip(socket) && RepeatWithin.set(socket, &WITHIN_MS_MIN).is_ok();
        let mut pace = Self {
            within_ms: known.then_some(WITHIN_MS_MIN),
        };
        // The greeting of TCP itself was a round trip.
        pace.follow(socket);
        pace
    }

    /// Follows the link's delay: to be called when something has arrived.
    pub fn follow(&mut self, socket: &impl AsFd) {
        let Some(set) = self.within_ms else {
            return;
        };
        let Ok(known) = Knowledge.get(socket) else {
            return;
        };
        let due = within_ms(known.round_trip_us);
        // Not for every breath of the link.
        if due.abs_diff(set) > set / 8 && RepeatWithin.set(socket, &due).is_ok() {
            self.within_ms = Some(due);
        }
    }
}

/// Half as long again as the link takes to answer, for its queues grow and shrink.
fn within_ms(round_trip_us: u32) -> u32 {
    let round_trip_ms = round_trip_us / 1_000;
    (round_trip_ms + round_trip_ms / 2).clamp(WITHIN_MS_MIN, WITHIN_MS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_repeat_waits_for_an_answer_that_is_only_late() {
        for (round_trip_ms, within) in [
            (0, 1_000),
            (40, 1_000),
            (666, 1_000),
            (800, 1_200),
            (9_000, 13_500),
            (4_000_000, 120_000),
        ] {
            assert_eq!(
                within_ms(round_trip_ms * 1_000),
                within,
                "{round_trip_ms} ms"
            );
        }
    }

    #[test]
    fn what_is_told_in_full_is_not_taken_for_less() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(tells_round_trip(&one));
        // No connection at all, and so no such option.
        assert!(!tells_round_trip(
            &std::fs::File::open("/dev/null").unwrap()
        ));
    }

    #[test]
    fn a_connection_has_a_pace_and_a_measured_round_trip() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut other, _) = listener.accept().unwrap();
        let mut pace = Pace::set(&one);
        one.write_all(b"?").unwrap();
        other.read_exact(&mut [0]).unwrap();
        other.write_all(b"!").unwrap();
        one.read_exact(&mut [0]).unwrap();
        let known = Knowledge.get(&one).unwrap();
        // On loopback: an answer, and within a second.
        assert!((1..1_000_000).contains(&known.round_trip_us), "{known:?}");
        let set = pace.within_ms;
        pace.follow(&one);
        assert_eq!(pace.within_ms, set, "loopback is as fast as any");
    }
}
