//! The values that members hold where JSON's own types do not say enough.
//! Never shows a parameter's value or a code in `Debug`.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A point in time: on the wire seconds since 1970 with a fraction, here whole milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub unix_ms: i64,
}

impl Timestamp {
    /// From milliseconds since 1970.
    #[must_use]
    pub const fn from_unix_ms(unix_ms: i64) -> Self {
        Self { unix_ms }
    }
}

/// The year 9999's end: no client's date arithmetic goes further.
const UNIX_S_MAX: f64 = 253_402_300_799.0;

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.unix_ms % 1000 == 0 {
            return serializer.serialize_i64(self.unix_ms / 1000);
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "milliseconds up to the year 9999 fit a double's 53 bits"
        )]
        let seconds = self.unix_ms as f64 / 1000.0;
        serializer.serialize_f64(seconds)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        if !(0.0..=UNIX_S_MAX).contains(&seconds) {
            return Err(de::Error::custom(format!(
                "{seconds} is not a time between 1970 and 9999 in seconds since 1970"
            )));
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the range was just checked"
        )]
        let unix_ms = (seconds * 1000.0).round() as i64;
        Ok(Self { unix_ms })
    }
}

/// A value that is sent and stored, and never shown in `Debug`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sensitive<T>(pub T);

impl<T> fmt::Debug for Sensitive<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A document's parameters by name; `Debug` shows the names only.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Parameters(pub BTreeMap<String, Vec<String>>);

impl fmt::Debug for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_seconds_with_a_fraction_only_where_it_has_one() {
        let json = |ms| serde_json::to_string(&Timestamp::from_unix_ms(ms)).unwrap();
        assert_eq!(json(1_437_491_471_000), "1437491471");
        assert_eq!(json(1_437_491_471_123), "1437491471.123");
        for text in ["1437491471", "1437491471.123", "1.437491471E9", "0"] {
            assert!(serde_json::from_str::<Timestamp>(text).is_ok(), "{text}");
        }
        for text in ["-1", "1e300", "253402300800"] {
            assert!(serde_json::from_str::<Timestamp>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn debug_shows_no_values() {
        let parameters = Parameters([("commands".to_owned(), vec!["rm secret".to_owned()])].into());
        assert_eq!(
            format!("{parameters:?} {:?}", Sensitive("code")),
            r#"{"commands"} ***"#
        );
    }
}
