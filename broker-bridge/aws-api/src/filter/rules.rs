//! Which keys and values an operation's filters may have, and how they are read.
//! Never guesses: an unknown key is an error that lists the known ones.

use super::condition::{Condition, Key, Operator, Test};
use crate::error::ApiError;

/// One operation's filters.
#[derive(Clone, Copy)]
pub(super) struct Rules {
    pub(super) operation: &'static str,
    pub(super) keys: &'static [(&'static str, Values)],
    /// `tag:NAME` and `tag-key` are keys too.
    pub(super) tags: bool,
    pub(super) wrong_key: fn(String) -> ApiError,
    pub(super) wrong_value: fn(String) -> ApiError,
}

/// The values that a key takes.
#[derive(Clone, Copy)]
pub(super) enum Values {
    Any,
    OneOf(&'static [&'static str]),
    /// What the property begins with.
    Prefix,
    /// One time; what happened then or later.
    NotBefore,
    /// One time; what happened earlier.
    Before,
    /// `INSTALLED_OTHER`, or `InstalledOther` for the same.
    PatchState,
}

/// A filter as the request has it.
#[derive(Clone, Copy)]
pub(super) struct Raw<'a> {
    pub(super) key: &'a str,
    pub(super) operator: Option<&'a str>,
    pub(super) values: &'a [String],
}

impl<'a> Raw<'a> {
    pub(super) fn of(key: &'a str, values: &'a [String]) -> Self {
        Self {
            key,
            operator: None,
            values,
        }
    }
}

const PATCH_STATES: &[&str] = &[
    "INSTALLED",
    "INSTALLED_OTHER",
    "INSTALLED_PENDING_REBOOT",
    "INSTALLED_REJECTED",
    "MISSING",
    "NOT_APPLICABLE",
    "FAILED",
    "AVAILABLE_SECURITY_UPDATE",
];

impl Rules {
    pub(super) fn read_all<'a>(
        &self,
        filters: impl Iterator<Item = Raw<'a>>,
    ) -> Result<Vec<Condition>, ApiError> {
        filters.map(|filter| self.read(filter)).collect()
    }

    fn read(&self, filter: Raw<'_>) -> Result<Condition, ApiError> {
        let (key, values) = self.key(filter.key)?;
        if filter.values.is_empty() {
            return Err((self.wrong_value)(format!(
                "{}'s filter '{}' has no value.",
                self.operation, filter.key
            )));
        }
        let operator = match filter.operator {
            None => Operator::Equal,
            Some(text) => Operator::parse(text)
                .ok_or_else(|| self.wrong(filter.key, text, "no such comparison"))?,
        };
        let text = |operator, values| Test::Text { operator, values };
        let test = match values {
            Values::Any => text(operator, filter.values.to_vec()),
            Values::Prefix => text(Operator::BeginWith, filter.values.to_vec()),
            Values::OneOf(known) => {
                if let Some(value) = filter
                    .values
                    .iter()
                    .find(|value| !known.contains(&value.as_str()))
                {
                    return Err(self.wrong(
                        filter.key,
                        value,
                        &format!("it takes {}", known.join(", ")),
                    ));
                }
                text(operator, filter.values.to_vec())
            }
            Values::PatchState => text(operator, self.patch_states(filter)?),
            Values::NotBefore => Test::NotBefore {
                unix_ms: self.time(filter)?,
            },
            Values::Before => Test::Before {
                unix_ms: self.time(filter)?,
            },
        };
        Ok(Condition { key, test })
    }

    fn key(&self, given: &str) -> Result<(Key, Values), ApiError> {
        if let Some((name, values)) = self.keys.iter().find(|(name, _)| *name == given) {
            return Ok((Key::Named(name), *values));
        }
        if self.tags && given == "tag-key" {
            return Ok((Key::TagKey, Values::Any));
        }
        match given.strip_prefix("tag:") {
            Some(tag) if self.tags && !tag.is_empty() => {
                Ok((Key::Tag(tag.to_owned()), Values::Any))
            }
            Some(_) | None => {
                let names: Vec<&str> = self.keys.iter().map(|(name, _)| *name).collect();
                let tags = if self.tags { ", tag-key, tag:NAME" } else { "" };
                let shown: String = given.chars().take(100).collect();
                Err((self.wrong_key)(format!(
                    "{} cannot filter by '{shown}'; the keys are: {}{tags}.",
                    self.operation,
                    names.join(", ")
                )))
            }
        }
    }

    fn time(&self, filter: Raw<'_>) -> Result<i64, ApiError> {
        let [text] = filter.values else {
            return Err(self.wrong(filter.key, &filter.values.join(", "), "it takes one time"));
        };
        let time: Result<jiff::Timestamp, _> = text.parse();
        let time = time.map_err(|_| {
            self.wrong(
                filter.key,
                text,
                "it takes a time such as 2024-07-07T00:00:00Z",
            )
        })?;
        Ok(time.as_millisecond())
    }

    fn patch_states(&self, filter: Raw<'_>) -> Result<Vec<String>, ApiError> {
        let plain = |text: &str| text.replace('_', "").to_ascii_lowercase();
        let state = |value: &String| {
            let known = PATCH_STATES
                .iter()
                .find(|state| plain(state) == plain(value));
            known.map(|state| (*state).to_owned()).ok_or_else(|| {
                self.wrong(
                    filter.key,
                    value,
                    &format!("it takes {}", PATCH_STATES.join(", ")),
                )
            })
        };
        filter.values.iter().map(state).collect()
    }

    fn wrong(&self, key: &str, value: &str, why: &str) -> ApiError {
        let shown: String = value.chars().take(100).collect();
        (self.wrong_value)(format!(
            "{}'s filter '{key}' cannot be '{shown}': {why}.",
            self.operation
        ))
    }
}
