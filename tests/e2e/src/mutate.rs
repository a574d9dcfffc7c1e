//! Damages valid bytes and JSON in the ways that parsers are known to trip over.
//! Never makes an input longer than a few times what it was, so that a bound is not all it meets.

use crate::Random;
use serde_json::{Map, Value, json};

/// One to four damages of some bytes; `others` lend pieces.
pub fn bytes(random: &mut Random, from: &[u8], others: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = from.to_vec();
    for _ in 0..=random.below(4) {
        damage(random, &mut bytes, others);
    }
    bytes
}

/// Values that numbers, lengths and tags break at.
const EDGES: [u8; 8] = [0x00, 0x01, 0x7f, 0x80, 0x81, 0xfe, 0xff, 0x20];

fn damage(random: &mut Random, bytes: &mut Vec<u8>, others: &[Vec<u8>]) {
    let at = random.below(bytes.len());
    match random.below(8) {
        // One bit.
        0 | 1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
        2 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = EDGES.get(random.below(EDGES.len())).copied().unwrap_or(0);
            }
        }
        3 => bytes.truncate(at),
        4 => {
            let end = (at + 1 + random.below(16)).min(bytes.len());
            bytes.drain(at.min(end)..end);
        }
        // The largest number that postcard's varints can hold, where a length may stand.
        5 => {
            let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
            let end = (at + 1).min(bytes.len());
            bytes.splice(at.min(end)..end, huge);
        }
        6 => {
            let piece = bytes.get(at..).unwrap_or_default();
            let piece = piece.get(..random.below(64).min(piece.len()));
            let piece = piece.unwrap_or_default().to_vec();
            bytes.splice(at..at, piece);
        }
        _ => {
            let other = random.of_these(others).cloned().unwrap_or_default();
            let from = random.below(other.len());
            bytes.truncate(at);
            bytes.extend_from_slice(other.get(from..).unwrap_or_default());
        }
    }
}

/// One to three damages of a JSON object that leave it JSON, and now and then damaged bytes.
pub fn json(random: &mut Random, from: &Value) -> Vec<u8> {
    let mut value = from.clone();
    for _ in 0..=random.below(3) {
        descend(random, &mut value, 0);
    }
    let text = value.to_string().into_bytes();
    if random.below(8) == 0 {
        bytes(random, &text, &[])
    } else {
        text
    }
}

fn descend(random: &mut Random, value: &mut Value, depth: usize) {
    let stop = depth > 0 && random.below(3) == 0;
    match value {
        Value::Object(members) if !stop && !members.is_empty() => member(random, members, depth),
        Value::Array(items) if !stop && !items.is_empty() => {
            let at = random.below(items.len());
            match (random.below(4), items.get_mut(at)) {
                (0, _) => drop(items.remove(at)),
                (1, Some(item)) => {
                    let copy = item.clone();
                    items.extend(std::iter::repeat_n(copy, random.below(60)));
                }
                (_, Some(item)) => descend(random, item, depth + 1),
                (_, None) => {}
            }
        }
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_) => *value = replacement(random, value),
    }
}

fn member(random: &mut Random, members: &mut Map<String, Value>, depth: usize) {
    let at = random.below(members.len());
    let Some(name) = members.keys().nth(at).cloned() else {
        return;
    };
    match random.below(6) {
        0 => drop(members.remove(&name)),
        1 => {
            let wrong = replacement(random, &Value::Null);
            members.insert(format!("{name}x"), wrong);
        }
        _ => {
            if let Some(value) = members.get_mut(&name) {
                descend(random, value, depth + 1);
            }
        }
    }
}

fn replacement(random: &mut Random, value: &Value) -> Value {
    let text = value.as_str().unwrap_or("x");
    match random.below(14) {
        0 => Value::Null,
        1 => json!(true),
        2 => json!(-1),
        3 => json!(u64::MAX),
        4 => json!(1e308),
        5 => json!(""),
        6 => json!([value]),
        7 => json!({"Key": value}),
        8 => json!(text.repeat(1 + random.below(40))),
        9 => json!(format!("{text}\u{0}\u{202e}\u{1f4a3}'\"--;%")),
        10 => json!("9".repeat(1 + random.below(30))),
        11 => (0..random.below(60)).fold(json!(1), |inner, _| json!([inner])),
        12 => {
            let mut damaged = bytes(random, text.as_bytes(), &[]);
            damaged.truncate(4096);
            json!(String::from_utf8_lossy(&damaged))
        }
        _ => json!(random.number()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn a_seed_repeats_its_damage_and_another_differs() {
        let valid = json!({"InstanceIds": ["mi-0123456789abcdef0"], "MaxResults": 5});
        let run = |seed| {
            let mut random = Random::new(seed);
            (0..50)
                .map(|_| json(&mut random, &valid))
                .collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }

    #[test]
    fn damage_stays_within_a_few_times_the_input() {
        let mut random = Random::new(7);
        let valid: Vec<u8> = (0..200).collect();
        for _ in 0..2000 {
            let damaged = bytes(&mut random, &valid, std::slice::from_ref(&valid));
            assert!(damaged.len() < 2000, "{}", damaged.len());
        }
    }
}
