//! One condition, and whether a value meets it.
//! Never fails: a value that cannot be compared does not meet it.

use std::cmp::Ordering;

/// What a list is narrowed by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Which property.
    pub key: Key,
    /// What it must be.
    pub test: Test,
}

/// The property that a condition is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// One of the operation's own.
    Named(&'static str),
    /// A tag's value.
    Tag(String),
    /// The keys of the tags.
    TagKey,
    /// An attribute of a type of inventory.
    Attribute {
        /// Such as `AWS:Application`.
        type_name: &'static str,
        /// Such as `Name`.
        attribute: &'static str,
    },
}

/// What the property must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Test {
    /// Text compared with each of these.
    Text {
        /// How.
        operator: Operator,
        /// At least one, and any one suffices; of `NotEqual`, none may be equal.
        values: Vec<String>,
    },
    /// At this time or later, in milliseconds since 1970.
    NotBefore {
        /// The time.
        unix_ms: i64,
    },
    /// Earlier than this time, in milliseconds since 1970.
    Before {
        /// The time.
        unix_ms: i64,
    },
}

/// How texts are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// The same.
    Equal,
    /// Not the same.
    NotEqual,
    /// Begins with it.
    BeginWith,
    /// Orders before it; runs of digits order as numbers, so 3.9 is before 3.10.
    LessThan,
    /// Orders after it.
    GreaterThan,
}

impl Operator {
    /// Reads both spellings that the service has.
    pub(super) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "Equal" | "EQUAL" => Self::Equal,
            "NotEqual" | "NOT_EQUAL" => Self::NotEqual,
            "BeginWith" | "BEGIN_WITH" => Self::BeginWith,
            "LessThan" | "LESS_THAN" => Self::LessThan,
            "GreaterThan" | "GREATER_THAN" => Self::GreaterThan,
            _ => return None,
        })
    }
}

impl Condition {
    /// Whether a text meets the condition; an absent one only meets `NotEqual`.
    #[must_use]
    pub fn is_met_by(&self, value: Option<&str>) -> bool {
        let Test::Text { operator, values } = &self.test else {
            return false;
        };
        let Some(value) = value else {
            return *operator == Operator::NotEqual;
        };
        let mut wanted = values.iter().map(String::as_str);
        match operator {
            Operator::Equal => wanted.any(|wanted| value == wanted),
            Operator::NotEqual => wanted.all(|wanted| value != wanted),
            Operator::BeginWith => wanted.any(|wanted| value.starts_with(wanted)),
            Operator::LessThan => wanted.any(|wanted| natural_order(value, wanted).is_lt()),
            Operator::GreaterThan => wanted.any(|wanted| natural_order(value, wanted).is_gt()),
        }
    }

    /// Whether any of several texts meets the condition, such as the platforms of a document; of `NotEqual`, all must.
    #[must_use]
    pub fn is_met_by_any<'a>(&self, values: impl IntoIterator<Item = &'a str>) -> bool {
        let mut values = values.into_iter();
        match &self.test {
            Test::Text {
                operator: Operator::NotEqual,
                ..
            } => values.all(|value| self.is_met_by(Some(value))),
            Test::Text { .. } | Test::NotBefore { .. } | Test::Before { .. } => {
                values.any(|value| self.is_met_by(Some(value)))
            }
        }
    }

    /// Whether a time, in milliseconds since 1970, meets the condition.
    #[must_use]
    pub fn is_met_at(&self, time_ms: i64) -> bool {
        match self.test {
            Test::NotBefore { unix_ms } => time_ms >= unix_ms,
            Test::Before { unix_ms } => time_ms < unix_ms,
            Test::Text { .. } => false,
        }
    }
}

/// Compares runs of digits as numbers and all else by character.
fn natural_order(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (left, right);
    loop {
        let (left_number, left_rest) = leading_number(left);
        let (right_number, right_rest) = leading_number(right);
        if !left_number.is_empty() && !right_number.is_empty() {
            // Without leading zeros the longer number is the greater.
            let by_length = left_number.len().cmp(&right_number.len());
            let order = by_length.then_with(|| left_number.cmp(right_number));
            if order.is_ne() {
                return order;
            }
            (left, right) = (left_rest, right_rest);
            continue;
        }
        let (mut left_chars, mut right_chars) = (left.chars(), right.chars());
        match (left_chars.next(), right_chars.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(a), Some(b)) if a != b => return a.cmp(&b),
            (Some(_), Some(_)) => (left, right) = (left_chars.as_str(), right_chars.as_str()),
        }
    }
}

/// The digits that a text begins with, without leading zeros but with at least one digit, and what follows them.
fn leading_number(text: &str) -> (&str, &str) {
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = text.split_at_checked(end).unwrap_or(("", text));
    let significant = digits.trim_start_matches('0');
    let shown = if significant.is_empty() {
        digits.get(..digits.len().min(1))
    } else {
        Some(significant)
    };
    (shown.unwrap_or_default(), rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_within_text_order_as_numbers() {
        for (less, greater) in [
            ("3.9", "3.10"),
            ("1", "2"),
            ("a2", "a10"),
            ("", "a"),
            ("007", "8"),
            ("1.0", "1.0-1"),
        ] {
            assert_eq!(
                natural_order(less, greater),
                Ordering::Less,
                "{less} {greater}"
            );
            assert_eq!(
                natural_order(greater, less),
                Ordering::Greater,
                "{less} {greater}"
            );
        }
        assert_eq!(natural_order("1.01", "1.1"), Ordering::Equal);
    }

    proptest! {
        #[test]
        fn the_order_is_one(a in "[0-9a-c.]{0,8}", b in "[0-9a-c.]{0,8}", c in "[0-9a-c.]{0,8}") {
            prop_assert_eq!(natural_order(&a, &b), natural_order(&b, &a).reverse());
            if natural_order(&a, &b).is_le() && natural_order(&b, &c).is_le() {
                prop_assert!(natural_order(&a, &c).is_le());
            }
        }
    }
}
