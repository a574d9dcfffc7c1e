//! The one validator: a JSON value against an operation's shape.
//! Never repeats a secret value, and never goes deeper than [`MAX_DEPTH`].

use serde_json::Value as Json;

use super::{Kind, Member, Model, Shape, model};
use crate::error::ApiError;

/// How deep a request may nest. The service's own requests stay below 12.
pub const MAX_DEPTH: usize = 32;
/// A message names this many violations; the others are counted.
const VIOLATIONS_NAMED_MAX: usize = 8;
/// A message repeats this many characters of a value.
const VALUE_CHARS_MAX: usize = 100;

/// Checks a request against the operation's input shape: types, required members, sizes, ranges, patterns, enums.
/// A `null` member counts as absent.
///
/// # Errors
/// `UnknownOperationException`; `SerializationException` for a wrong type; `ValidationException` for what violates a
/// constraint, and for a member that the shape does not have: it would be ignored otherwise, and its sender
/// would believe it was honoured.
pub fn validate(operation: &str, request: &Json) -> Result<(), ApiError> {
    let known = model().operations.get(operation);
    let operation = known.ok_or_else(|| ApiError::unknown_operation(operation))?;
    check(model(), operation.input, request, Bounds::Checked)
}

/// Checks a reply against the operation's output shape: types, names, required members, enums.
///
/// Not its sizes and patterns: the service itself answers outside of them (no registration yet is a
/// `RegistrationsCount` of 0, where the shape begins at 1), and clients do not check them.
///
/// # Errors
/// As [`validate`].
pub fn check_reply(operation: &str, reply: &Json) -> Result<(), ApiError> {
    let known = model().operations.get(operation);
    let operation = known.ok_or_else(|| ApiError::unknown_operation(operation))?;
    check(model(), operation.output, reply, Bounds::Free)
}

/// Whether sizes, ranges and patterns count.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bounds {
    Checked,
    Free,
}

fn check(model: &Model, shape: &str, value: &Json, bounds: Bounds) -> Result<(), ApiError> {
    let mut walk = Walk {
        model,
        bounds,
        path: Vec::new(),
        violations: Vec::new(),
        unnamed: 0,
    };
    walk.value(shape, value)?;
    let count = walk.violations.len() + walk.unnamed;
    if count == 0 {
        return Ok(());
    }
    let plural = if count == 1 { "error" } else { "errors" };
    let mut message = format!(
        "{count} validation {plural} detected: {}",
        walk.violations.join("; ")
    );
    if walk.unnamed > 0 {
        message += &format!("; and {} more", walk.unnamed);
    }
    Err(ApiError::validation(message))
}

struct Walk<'m> {
    model: &'m Model,
    bounds: Bounds,
    path: Vec<String>,
    violations: Vec<String>,
    unnamed: usize,
}

impl Walk<'_> {
    fn value(&mut self, shape: &str, value: &Json) -> Result<(), ApiError> {
        let Some(shape) = self.model.shapes.get(shape) else {
            return Err(ApiError::internal_server_error(format!(
                "shape {shape} is not in the table"
            )));
        };
        if self.path.len() > MAX_DEPTH {
            return Err(ApiError::serialization(format!(
                "the request nests deeper than {MAX_DEPTH} levels at '{}'",
                self.place()
            )));
        }
        match (&shape.kind, value) {
            (Kind::Structure(members), Json::Object(given)) => {
                self.structure(shape, members, given)
            }
            (Kind::List(of), Json::Array(items)) => self.list(shape, of, items, value),
            (Kind::Map { key, value: of }, Json::Object(given)) => {
                self.map(shape, key, of, given, value)
            }
            (Kind::String, Json::String(text)) => {
                self.text(shape, text, value);
                Ok(())
            }
            (Kind::Integer | Kind::Long, Json::Number(number)) => match number.as_i64() {
                Some(number)
                    if matches!(shape.kind, Kind::Long) || i32::try_from(number).is_ok() =>
                {
                    self.size(shape, number, "value", value);
                    Ok(())
                }
                Some(_) | None => Err(self.wrong_type(shape, value)),
            },
            (Kind::Boolean, Json::Bool(_)) => Ok(()),
            (Kind::Timestamp, Json::Number(number))
                if number.as_f64().is_some_and(f64::is_finite) =>
            {
                Ok(())
            }
            (Kind::Blob, Json::String(text)) => self.blob(shape, text, value),
            (
                Kind::Structure(_)
                | Kind::List(_)
                | Kind::Map { .. }
                | Kind::String
                | Kind::Integer
                | Kind::Long
                | Kind::Boolean
                | Kind::Timestamp
                | Kind::Blob,
                _,
            ) => Err(self.wrong_type(shape, value)),
        }
    }

    fn structure(
        &mut self,
        shape: &Shape,
        members: &[Member],
        given: &serde_json::Map<String, Json>,
    ) -> Result<(), ApiError> {
        let unknown = given
            .keys()
            .find(|name| !members.iter().any(|member| member.name == *name));
        if let Some(name) = unknown {
            return Err(self.unknown_member(shape, name));
        }
        for member in members {
            self.path.push(lower_first(member.name));
            match given.get(member.name) {
                None | Some(Json::Null) if member.required => {
                    self.violate("null", "Member must not be null");
                }
                None | Some(Json::Null) => {}
                Some(value) => self.value(member.shape, value)?,
            }
            self.path.pop();
        }
        Ok(())
    }

    fn list(
        &mut self,
        shape: &Shape,
        of: &str,
        items: &[Json],
        value: &Json,
    ) -> Result<(), ApiError> {
        self.size(shape, count(items.len()), "length", value);
        for (index, item) in items.iter().enumerate() {
            self.path.push(format!("{}.member", index + 1));
            if item.is_null() {
                self.violate("null", "Member must not be null");
            } else {
                self.value(of, item)?;
            }
            self.path.pop();
        }
        Ok(())
    }

    fn map(
        &mut self,
        shape: &Shape,
        key_shape: &str,
        value_shape: &str,
        given: &serde_json::Map<String, Json>,
        value: &Json,
    ) -> Result<(), ApiError> {
        self.size(shape, count(given.len()), "length", value);
        for (key, item) in given {
            self.path.push(format!("{}.member", shortened(key)));
            self.value(key_shape, &Json::String(key.clone()))?;
            if item.is_null() {
                self.violate("null", "Member must not be null");
            } else {
                self.value(value_shape, item)?;
            }
            self.path.pop();
        }
        Ok(())
    }

    fn text(&mut self, shape: &Shape, text: &str, value: &Json) {
        self.size(shape, count(text.chars().count()), "length", value);
        if !shape.values.is_empty() && !shape.values.contains(&text) {
            let rule = format!(
                "Member must satisfy enum value set: [{}]",
                shape.values.join(", ")
            );
            self.violate(&quoted(shape, value), &rule);
        }
        if self.bounds == Bounds::Checked
            && let Some(pattern) = &shape.pattern
            && !pattern.matches(text)
        {
            let rule = format!(
                "Member must satisfy regular expression pattern: {}",
                pattern.text()
            );
            self.violate(&quoted(shape, value), &rule);
        }
    }

    fn blob(&mut self, shape: &Shape, text: &str, value: &Json) -> Result<(), ApiError> {
        use base64::Engine as _;
        let bytes = base64::engine::general_purpose::STANDARD.decode(text);
        let bytes = bytes.map_err(|_| self.wrong_type(shape, value))?;
        self.size(shape, count(bytes.len()), "length", value);
        Ok(())
    }

    /// `what`: `value` of a number, `length` of anything else.
    fn size(&mut self, shape: &Shape, size: i64, what: &str, value: &Json) {
        if self.bounds == Bounds::Free {
            return;
        }
        if let Some(min) = shape.min.filter(|min| size < *min) {
            let rule = format!("Member must have {what} greater than or equal to {min}");
            self.violate(&quoted(shape, value), &rule);
        }
        if let Some(max) = shape.max.filter(|max| size > *max) {
            let rule = format!("Member must have {what} less than or equal to {max}");
            self.violate(&quoted(shape, value), &rule);
        }
    }

    fn violate(&mut self, value: &str, rule: &str) {
        if self.violations.len() == VIOLATIONS_NAMED_MAX {
            self.unnamed += 1;
            return;
        }
        let place = self.place();
        self.violations.push(format!(
            "Value {value} at '{place}' failed to satisfy constraint: {rule}"
        ));
    }

    fn place(&self) -> String {
        self.path.join(".")
    }

    fn wrong_type(&self, shape: &Shape, value: &Json) -> ApiError {
        let given = match value {
            Json::Null => "NULL_VALUE",
            Json::Bool(_) => "BOOLEAN_VALUE",
            Json::Number(_) => "NUMBER_VALUE",
            Json::String(_) => "STRING_VALUE",
            Json::Array(_) => "START_ARRAY",
            Json::Object(_) => "START_OBJECT",
        };
        let wanted = match shape.kind {
            Kind::Structure(_) => "a structure",
            Kind::List(_) => "a list",
            Kind::Map { .. } => "a map",
            Kind::String => "a String",
            Kind::Integer => "an Integer",
            Kind::Long => "a Long",
            Kind::Boolean => "a Boolean",
            Kind::Timestamp => "a timestamp in seconds since 1970",
            Kind::Blob => "bytes in base64",
        };
        ApiError::serialization(match self.path.is_empty() {
            true => {
                format!("{given} can not be converted to {wanted}: the request must be an object")
            }
            false => format!(
                "{given} can not be converted to {wanted} at '{}'",
                self.place()
            ),
        })
    }

    fn unknown_member(&self, shape: &Shape, name: &str) -> ApiError {
        let mut path = self.path.clone();
        path.push(shortened(name));
        ApiError::validation(format!(
            "1 validation error detected: Member at '{}' is not known: {} has no member '{}' in {}, and a member is \
             never ignored",
            path.join("."),
            shape.name,
            shortened(name),
            self.model.source,
        ))
    }
}

/// A value as messages show it: in quotes, shortened, or `***` when its shape is secret.
fn quoted(shape: &Shape, value: &Json) -> String {
    if shape.secret {
        return "'***'".to_owned();
    }
    let text = match value {
        Json::String(text) => shortened(text),
        Json::Array(items) if items.is_empty() => "[]".to_owned(),
        Json::Object(members) if members.is_empty() => "{}".to_owned(),
        // What a collection holds may be secret where the collection itself is not marked so.
        Json::Array(items) => format!("[{} members]", items.len()),
        Json::Object(members) => format!("{{{} members}}", members.len()),
        Json::Null | Json::Bool(_) | Json::Number(_) => value.to_string(),
    };
    format!("'{text}'")
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(VALUE_CHARS_MAX) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
    }
}

/// Messages spell a member with a small first letter.
fn lower_first(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_lowercase().chain(chars).collect()
    })
}

fn count(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn message(operation: &str, request: &Json) -> String {
        validate(operation, request).unwrap_err().to_string()
    }

    #[test]
    fn accepts_a_request_that_keeps_to_the_model() {
        let request = json!({
            "InstanceIds": ["mi-0123456789abcdef0"], "DocumentName": "AWS-RunShellScript", "MaxErrors": "10%",
            "Parameters": {"commands": ["uptime"]}, "Comment": null, "TimeoutSeconds": 600,
        });
        assert_eq!(validate("SendCommand", &request), Ok(()));
    }

    #[test]
    fn names_each_violation_as_the_service_words_it() {
        assert_eq!(
            message("ListTagsForResource", &json!({"ResourceType": "Node"})),
            "ValidationException: 2 validation errors detected: Value 'Node' at 'resourceType' failed to satisfy \
             constraint: Member must satisfy enum value set: [Document, ManagedInstance, MaintenanceWindow, Parameter, \
             PatchBaseline, OpsItem, OpsMetadata, Automation, Association, CloudConnector]; Value null at 'resourceId' \
             failed to satisfy constraint: Member must not be null"
        );
        assert_eq!(
            message(
                "SendCommand",
                &json!({"DocumentName": "Doc", "TimeoutSeconds": 29, "InstanceIds": ["node"]})
            ),
            "ValidationException: 2 validation errors detected: Value 'node' at 'instanceIds.1.member' failed to \
             satisfy constraint: Member must satisfy regular expression pattern: \
             (^i-(\\w{8}|\\w{17})$)|(^mi-\\w{17}$); Value '29' at 'timeoutSeconds' failed to satisfy constraint: \
             Member must have value greater than or equal to 30"
        );
        assert_eq!(
            message(
                "SendCommand",
                &json!({"DocumentName": "Doc", "InstanceIds": vec!["mi-0123456789abcdef0"; 51]})
            ),
            "ValidationException: 1 validation error detected: Value '[51 members]' at 'instanceIds' failed to \
             satisfy constraint: Member must have length less than or equal to 50"
        );
    }

    #[test]
    fn counts_what_it_does_not_name() {
        let request = json!({"DocumentName": "Doc", "InstanceIds": vec!["x"; 20]});
        let message = message("SendCommand", &request);
        assert!(
            message.contains("20 validation errors detected") && message.ends_with("; and 12 more"),
            "{message}"
        );
    }

    #[test]
    fn refuses_wrong_types_and_unknown_names() {
        assert_eq!(
            message(
                "SendCommand",
                &json!({"DocumentName": "Doc", "InstanceIds": "mi-1"})
            ),
            "SerializationException: STRING_VALUE can not be converted to a list at 'instanceIds'"
        );
        for wrong in [json!(1.5), json!(1_u64 << 40), json!("60"), json!(true)] {
            assert_eq!(
                validate(
                    "SendCommand",
                    &json!({"DocumentName": "Doc", "TimeoutSeconds": wrong})
                )
                .unwrap_err()
                .code(),
                "SerializationException"
            );
        }
        assert_eq!(
            validate("SendCommand", &json!([])).unwrap_err().code(),
            "SerializationException"
        );
        assert_eq!(
            message(
                "SendCommand",
                &json!({"DocumentName": "Doc", "Targets": [{"Kee": "tag:a"}]})
            ),
            "ValidationException: 1 validation error detected: Member at 'targets.1.member.Kee' is not known: Target \
             has no member 'Kee' in botocore 1.44.5, and a member is never ignored"
        );
        assert_eq!(
            validate("Reboot", &json!({})).unwrap_err().code(),
            "UnknownOperationException"
        );
    }

    #[test]
    fn never_repeats_a_secret_or_a_long_value() {
        let request = json!({"Name": "n", "Value": "hunter2", "Type": "x".repeat(500)});
        let message = message("PutParameter", &request);
        assert!(
            message.len() < 400 && !message.contains("hunter2"),
            "{message}"
        );
        let secret = Shape {
            name: "S",
            secret: true,
            kind: Kind::String,
            min: None,
            max: None,
            values: vec![],
            pattern: None,
        };
        assert_eq!(quoted(&secret, &json!("hunter2")), "'***'");
    }

    #[test]
    fn a_reply_keeps_to_names_types_and_enums_but_not_to_ranges() {
        let reply = |activation: Json| {
            check_reply(
                "DescribeActivations",
                &json!({"ActivationList": [activation]}),
            )
        };
        assert_eq!(reply(json!({"RegistrationsCount": 0})), Ok(()));
        for wrong in [
            json!({"RegistrationsCount": "0"}),
            json!({"Registrations": 0}),
        ] {
            assert!(reply(wrong).is_err());
        }
        let state = json!({"Patches": [{"Title": "t", "KBId": "k", "Classification": "", "Severity": "",
                                        "State": "GONE", "InstalledTime": 0}]});
        assert_eq!(
            check_reply("DescribeInstancePatches", &state)
                .unwrap_err()
                .code(),
            "ValidationException"
        );
    }

    #[test]
    fn stops_at_its_depth() {
        let mut nested = json!({"Expression": "a"});
        for _ in 0..40 {
            nested = json!({"Aggregators": [nested]});
        }
        let request = json!({"Aggregators": [nested]});
        assert!(message("GetInventory", &request).contains("nests deeper than 32 levels"));
    }
}
