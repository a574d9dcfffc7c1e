//! Orders Debian versions (deb-version(7)): epoch, upstream version, revision, with `~` before everything.
//! Never validates: any bytes have a place in the order, so a hostile index cannot stop a scan.

use std::cmp::Ordering;

/// Compares two version strings as `dpkg --compare-versions` does.
///
/// A missing epoch equals `0:` and a missing revision equals `-0`.
#[must_use]
pub fn compare(left: &str, right: &str) -> Ordering {
    let (left_epoch, left_rest) = split_epoch(left.as_bytes());
    let (right_epoch, right_rest) = split_epoch(right.as_bytes());
    let (left_upstream, left_revision) = split_revision(left_rest);
    let (right_upstream, right_revision) = split_revision(right_rest);
    compare_part(left_epoch, right_epoch)
        .then_with(|| compare_part(left_upstream, right_upstream))
        .then_with(|| compare_part(left_revision, right_revision))
}

fn split_epoch(version: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b':', version).and_then(|at| version.split_at_checked(at)) {
        Some((epoch, rest)) => (epoch, rest.get(1..).unwrap_or_default()),
        None => (&[], version),
    }
}

fn split_revision(version: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memrchr(b'-', version).and_then(|at| version.split_at_checked(at)) {
        Some((upstream, rest)) => (upstream, rest.get(1..).unwrap_or_default()),
        None => (version, &[]),
    }
}

/// Alternates between runs of other characters and runs of digits, the latter compared as numbers
/// of any length.
fn compare_part(mut left: &[u8], mut right: &[u8]) -> Ordering {
    while !left.is_empty() || !right.is_empty() {
        let left_text = take_while(&mut left, |byte| !byte.is_ascii_digit());
        let right_text = take_while(&mut right, |byte| !byte.is_ascii_digit());
        let left_number = trim_zeros(take_while(&mut left, u8::is_ascii_digit));
        let right_number = trim_zeros(take_while(&mut right, u8::is_ascii_digit));
        let order = compare_text(left_text, right_text)
            .then_with(|| left_number.len().cmp(&right_number.len()))
            .then_with(|| left_number.cmp(right_number));
        if order != Ordering::Equal {
            return order;
        }
    }
    Ordering::Equal
}

fn compare_text(left: &[u8], right: &[u8]) -> Ordering {
    let weights = |text: &[u8], at: usize| text.get(at).map_or(0, |byte| weight(*byte));
    (0..left.len().max(right.len()))
        .map(|at| weights(left, at).cmp(&weights(right, at)))
        .find(|order| *order != Ordering::Equal)
        .unwrap_or(Ordering::Equal)
}

/// The end of a run weighs 0: after `~`, before letters, which come before all else.
fn weight(byte: u8) -> i32 {
    match byte {
        b'~' => -1,
        letter if letter.is_ascii_alphabetic() => i32::from(letter),
        other => i32::from(other) + 256,
    }
}

fn take_while<'a>(rest: &mut &'a [u8], wanted: impl Fn(&u8) -> bool) -> &'a [u8] {
    let length = rest
        .iter()
        .position(|byte| !wanted(byte))
        .unwrap_or(rest.len());
    let (taken, left) = rest.split_at_checked(length).unwrap_or((rest, &[]));
    *rest = left;
    taken
}

fn trim_zeros(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    digits.get(zeros..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::process::Command;

    fn dpkg_says(left: &str, relation: &str, right: &str) -> bool {
        Command::new("dpkg")
            .args(["--compare-versions", left, relation, right])
            .stderr(std::process::Stdio::null())
            .status()
            .expect("these tests ask `dpkg` (Debian package dpkg)")
            .success()
    }

    #[test]
    fn orders_the_known_traps() {
        for ascending in [
            ["9.9", "9.10"],
            ["1.0~rc1", "1.0"],
            ["1.0~~", "1.0~"],
            ["1.0", "1.0a"],
            ["1.0a", "1.0+b"],
            ["2.0", "1:1.0"],
            ["1.0-1", "1.0-1+deb12u1"],
            ["1.0-1~bpo12+1", "1.0-1"],
            ["1.0-9", "1.0.1-1"],
            ["99999999999999999999998", "99999999999999999999999"],
            ["1.2-3", "1.2-3-1"],
        ] {
            let [lower, higher] = ascending;
            assert_eq!(compare(lower, higher), Ordering::Less, "{lower} < {higher}");
            assert_eq!(compare(higher, lower), Ordering::Greater);
        }
    }

    #[test]
    fn treats_absent_epoch_revision_and_leading_zeros_as_nothing() {
        for [left, right] in [
            ["0:1.0", "1.0"],
            ["1.0-0", "1.0"],
            ["1.007", "1.7"],
            ["00:1", "1"],
        ] {
            assert_eq!(compare(left, right), Ordering::Equal, "{left} = {right}");
        }
    }

    fn version() -> impl Strategy<Value = String> {
        "([0-3]:)?[0-9][0-9a-c.+~]{0,6}(-[0-9a-c+.~]{1,4})?"
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn agrees_with_dpkg(left in version(), right in version()) {
            let relation = match compare(&left, &right) {
                Ordering::Less => "lt",
                Ordering::Equal => "eq",
                Ordering::Greater => "gt",
            };
            prop_assert!(dpkg_says(&left, relation, &right), "{left} {relation} {right}");
        }
    }

    proptest! {
        #[test]
        fn is_a_total_order_over_any_text(a in ".{0,12}", b in ".{0,12}", c in ".{0,12}") {
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            if compare(&a, &b).is_le() && compare(&b, &c).is_le() {
                prop_assert!(compare(&a, &c).is_le());
            }
        }
    }
}
