//! The model's regular expressions, compiled when they are first asked for and kept.
//! Never matches a part of a value: AWS applies each pattern to the whole of it.

use std::sync::OnceLock;

use regex::{Regex, RegexBuilder};

/// The compiled form of one pattern may take this much memory. The model's largest needs about half.
const COMPILED_BYTES_MAX: usize = 2 << 20;

/// Patterns that this engine, which runs in linear time, cannot take as they are, and equivalents that it can.
const EQUIVALENTS: [(&str, &str); 3] = [
    // Look-ahead: one line that is not blank.
    (r"^(?!\s*$).+", r".*\S.*"),
    // The shapes that carry it bound their length too; counting twice would compile to megabytes.
    (r"^.{1,100000}$", r".+"),
    // ISO 8601, in which the second separators refer back to the first ones: written out for each separator.
    (
        r"^([\-]?\d{4}(?!\d{2}\b))((-?)((0[1-9]|1[0-2])(\3([12]\d|0[1-9]|3[01]))?|W([0-4]\d|5[0-2])(-?[1-7])?|(00[1-9]|0[1-9]\d|[12]\d{2}|3([0-5]\d|6[1-6])))([T\s]((([01]\d|2[0-3])((:?)[0-5]\d)?|24\:?00)([\.,]\d(?!:))?)?(\17[0-5]\d([\.,]\d)?)?([zZ]|([\-])([01]\d|2[0-3]):?([0-5]\d)?)?)?)?$",
        ISO_8601,
    ),
];

/// A date alone, or a date and a time; a month without a day and without a dash only before a `T`.
const ISO_8601: &str = r"(?x)
    -?\d{4}
    (?:
        (?: -(?: (?:0[1-9]|1[0-2])(?:-(?:[12]\d|0[1-9]|3[01]))?
               | W(?:[0-4]\d|5[0-2])(?:-?[1-7])?
               | (?:00[1-9]|0[1-9]\d|[12]\d{2}|3(?:[0-5]\d|6[1-6])) )
          | (?:0[1-9]|1[0-2])(?:[12]\d|0[1-9]|3[01])
          | W(?:[0-4]\d|5[0-2])(?:-?[1-7])?
          | (?:00[1-9]|0[1-9]\d|[12]\d{2}|3(?:[0-5]\d|6[1-6])) )
        (?: [T\s] TIME )?
      | (?:0[1-9]|1[0-2]) T TIME
    )?";

/// The time of day of [`ISO_8601`], itself optional in each part, and its zone.
const ISO_8601_TIME: &str = r"
    (?: (?:[01]\d|2[0-3]) [0-5]\d (?:[.,]\d)? (?:[0-5]\d(?:[.,]\d)?)?
      | (?:[01]\d|2[0-3]) : [0-5]\d (?: [.,]\d | :[0-5]\d(?:[.,]\d)? )?
      | (?: (?:[01]\d|2[0-3]) | 24:?00 ) (?:[.,]\d)? )?
    (?: [zZ] | -(?:[01]\d|2[0-3]):?(?:[0-5]\d)? )?";

/// A pattern of the model.
#[derive(Debug)]
pub struct Pattern {
    text: &'static str,
    compiled: OnceLock<Option<Regex>>,
}

impl Pattern {
    pub(super) fn new(text: &'static str) -> Self {
        Self {
            text,
            compiled: OnceLock::new(),
        }
    }

    /// The pattern as the model has it, which is how messages quote it.
    #[must_use]
    pub fn text(&self) -> &'static str {
        self.text
    }

    /// Whether the whole of `value` matches. A pattern that cannot be compiled matches nothing; a test compiles
    /// every one of the committed table.
    #[must_use]
    pub fn matches(&self, value: &str) -> bool {
        let compiled = self.compiled.get_or_init(|| compile(self.text));
        compiled.as_ref().is_some_and(|regex| regex.is_match(value))
    }
}

fn compile(text: &str) -> Option<Regex> {
    let known = EQUIVALENTS.iter().find(|(original, _)| *original == text);
    let source = known.map_or(text, |(_, equivalent)| equivalent);
    let whole = format!(r"\A(?:{})\z", to_this_engine(source));
    RegexBuilder::new(&whole)
        .size_limit(COMPILED_BYTES_MAX)
        .build()
        .ok()
}

/// The service's engine knows the classes below in ASCII only, this one in all of Unicode unless they are spelt out.
fn to_this_engine(source: &str) -> String {
    let source = source.replace("TIME", ISO_8601_TIME);
    let mut out = String::with_capacity(source.len() * 2);
    let mut chars = source.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('w') => out.push_str("[0-9A-Za-z_]"),
            Some('d') => out.push_str("[0-9]"),
            Some('s') => out.push_str(r"[\t\n\x0B\f\r\x20]"),
            Some('S') => out.push_str(r"[^\t\n\x0B\f\r\x20]"),
            Some(escaped) => out.extend(['\\', escaped]),
            None => out.push('\\'),
        }
        // After a class a dash inside brackets stands for itself; this engine wants that said.
        if out.ends_with(']') && chars.peek() == Some(&'-') {
            chars.next();
            out.push_str(r"\-");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::model;

    #[test]
    fn every_pattern_of_the_table_compiles() {
        for shape in model().shapes.values() {
            if let Some(pattern) = &shape.pattern {
                assert!(
                    compile(pattern.text()).is_some(),
                    "{}: {}",
                    shape.name,
                    pattern.text()
                );
            }
        }
    }

    #[test]
    fn every_equivalent_is_still_needed() {
        for (original, _) in EQUIVALENTS {
            let mut patterns = model()
                .shapes
                .values()
                .filter_map(|shape| shape.pattern.as_ref());
            assert!(
                patterns.any(|pattern| pattern.text() == original),
                "{original}"
            );
        }
    }

    #[test]
    fn matches_the_whole_value_in_ascii_classes() {
        let role = Pattern::new(r"[\w-\/.@+=,]{1,64}");
        assert!(role.matches("service/Role-1"));
        assert!(!role.matches("a b"), "a part is not enough");
        assert!(!role.matches("é"), "\\w is ASCII");
        let node = Pattern::new(r"(^i-(\w{8}|\w{17})$)|(^mi-\w{17}$)");
        assert!(node.matches("mi-0123456789abcdef0"));
        assert!(!node.matches("mi-0123456789abcdef0\n"));
        assert!(!node.matches("mi-0123456789abcdef01"));
    }

    #[test]
    fn keeps_the_meaning_of_the_patterns_it_rewrites() {
        let not_blank = Pattern::new(EQUIVALENTS[0].0);
        assert!(not_blank.matches(" x ") && !not_blank.matches("  ") && !not_blank.matches(""));
        let date = Pattern::new(EQUIVALENTS[2].0);
        for good in [
            "2024",
            "2024-02-30",
            "20240230",
            "2024-W05-1",
            "2024-366",
            "2024-02-03T10:15:20Z",
            "20240203T101520",
            "2024-02-03T24:00",
            "2024-02-03 10:15:20.5-05:00",
        ] {
            assert!(date.matches(good), "{good}");
        }
        for bad in [
            "202402",
            "2024-0230",
            "202402-30",
            "2024-02-03T10:1520",
            "2024-02-03T1015:20",
            "2024-13",
            "",
        ] {
            assert!(!date.matches(bad), "{bad}");
        }
    }
}
