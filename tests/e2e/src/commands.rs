//! Run Command as a test sees it: scripts that leave marks, and what became of them.
//! Never reads the bridge's database.

use crate::api::Api;
use crate::{PATIENCE, until};
use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Sends a shell script to nodes; `more` are further members of the request. Returns the command.
///
/// # Errors
/// When the API refuses.
pub fn send_script(api: &Api, nodes: &[&str], script: &str, more: &Value) -> Result<String> {
    let mut input = json!({
        "DocumentName": "AWS-RunShellScript",
        "InstanceIds": nodes,
        "Parameters": {"commands": [script]},
    });
    if let (Some(input), Some(more)) = (input.as_object_mut(), more.as_object()) {
        input.extend(more.clone());
    }
    let answer = api.call("SendCommand", &input)?;
    let command = answer.pointer("/Command/CommandId").and_then(Value::as_str);
    Ok(command.context("CommandId")?.to_owned())
}

/// `GetCommandInvocation`.
///
/// # Errors
/// When the API refuses.
pub fn invocation(api: &Api, command: &str, node: &str) -> Result<Value> {
    let input = json!({"CommandId": command, "InstanceId": node});
    api.call("GetCommandInvocation", &input)
}

/// Waits for an invocation's end.
///
/// # Errors
/// After [`PATIENCE`].
pub fn finished(api: &Api, command: &str, node: &str) -> Result<Value> {
    until(&format!("{command} has ended"), PATIENCE, || {
        let invocation = invocation(api, command, node)?;
        Ok(is_terminal(text(&invocation, "Status")).then_some(invocation))
    })
}

/// Waits until an invocation has this `StatusDetails`.
///
/// # Errors
/// After [`PATIENCE`].
pub fn until_details(api: &Api, command: &str, node: &str, wanted: &str) -> Result<Value> {
    until(&format!("{command} is {wanted}"), PATIENCE, || {
        let invocation = invocation(api, command, node)?;
        Ok((text(&invocation, "StatusDetails") == wanted).then_some(invocation))
    })
}

/// Whether nothing can follow a `Status`.
#[must_use]
pub fn is_terminal(status: &str) -> bool {
    !["Pending", "InProgress", "Delayed", "Cancelling"].contains(&status)
}

/// All invocations, newest first, page by page: `ListCommandInvocations` with `more` members.
///
/// # Errors
/// When the API refuses.
pub fn invocations(api: &Api, more: &Value) -> Result<Vec<Value>> {
    let mut found = Vec::new();
    let mut token: Option<Value> = None;
    loop {
        let mut input = json!({"MaxResults": 50});
        if let Some(input) = input.as_object_mut() {
            input.extend(more.as_object().cloned().unwrap_or_default());
            input.extend(token.map(|token: Value| ("NextToken".into(), token)));
        }
        let answer = api.call("ListCommandInvocations", &input)?;
        let page = answer.get("CommandInvocations").and_then(Value::as_array);
        found.extend(page.context("CommandInvocations")?.iter().cloned());
        token = answer
            .get("NextToken")
            .filter(|token| token.as_str().is_some_and(|token| !token.is_empty()))
            .cloned();
        if token.is_none() {
            return Ok(found);
        }
    }
}

/// A text member; empty where there is none.
#[must_use]
pub fn text<'a>(object: &'a Value, member: &str) -> &'a str {
    object
        .get(member)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// A file to which scripts append a word each, so that it shows who ran, how often, in what order.
#[derive(Debug, Clone)]
pub struct Marks(PathBuf);

impl Marks {
    /// The marks of a file, which need not exist.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// The line of a script that leaves a mark: one short `write` to a file opened with `O_APPEND`.
    #[must_use]
    pub fn line(&self, mark: &str) -> String {
        format!("echo {mark} >> '{}'", self.0.display())
    }

    /// All marks, in order.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn all(&self) -> Result<Vec<String>> {
        match std::fs::read_to_string(&self.0) {
            Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error).with_context(|| self.0.display().to_string()),
        }
    }

    /// How often each mark was left.
    ///
    /// # Errors
    /// As [`Self::all`].
    pub fn counts(&self) -> Result<BTreeMap<String, usize>> {
        let mut counts = BTreeMap::new();
        for mark in self.all()? {
            *counts.entry(mark).or_insert(0) += 1;
        }
        Ok(counts)
    }
}

/// A file that scripts wait for.
#[derive(Debug, Clone)]
pub struct Gate(PathBuf);

impl Gate {
    /// A gate that opens when the file is made.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// The line of a script that waits; not for ever once the test and its folder are gone.
    #[must_use]
    pub fn line(&self) -> String {
        let folder = self.0.parent().unwrap_or(Path::new("/"));
        format!(
            "while [ -d '{}' ] && [ ! -e '{}' ]; do sleep 0.05; done",
            folder.display(),
            self.0.display()
        )
    }

    /// Opens it.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn open(&self) -> Result<()> {
        std::fs::write(&self.0, "").with_context(|| self.0.display().to_string())
    }
}
