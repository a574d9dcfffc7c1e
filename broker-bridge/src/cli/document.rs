//! `document validate`: the same check that a document meets at the bridge and on the agent.
//! Never stores a document.

use super::error::{CliError, chain};
use super::output::Output;
use clap::{Args, Subcommand};
use holdfast_documents::Document;
use holdfast_protocol::limits::DOCUMENT_BYTES_MAX;
use serde_json::json;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Check documents, JSON or YAML, and say what is wrong where
    ///
    /// The check is the one that a document meets at the bridge and again on the node, so what passes here runs there.
    /// It needs no bridge. Ends with 1 if any file is not valid.
    #[command(
        after_help = "Examples:\n  holdfast-bridge document validate restart.yaml\n  \
holdfast-bridge document validate --json documents/*.json"
    )]
    Validate(Validate),
}

#[derive(Debug, Args)]
pub(super) struct Validate {
    /// Files to check
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Taken for uniformity; nothing of it is used
    #[arg(long, value_name = "DIR", hide = true)]
    state_dir: Option<PathBuf>,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
}

impl Verb {
    pub(super) fn run(self) -> Result<(), CliError> {
        let Self::Validate(Validate { files, json, .. }) = self;
        let output = Output { json };
        let mut wrong = 0;
        for file in &files {
            let path = file.display().to_string();
            match check(file) {
                Ok(document) => {
                    let schema = document.schema().as_str();
                    let line = format!("{path}: valid, schema {schema}");
                    let value = json!({ "file": path, "valid": true, "schema": schema });
                    output.value(&line, &value)?;
                }
                Err(why) => {
                    wrong += 1;
                    let value = json!({ "file": path, "valid": false, "why": why });
                    output.value(&format!("{path}: {why}"), &value)?;
                }
            }
        }
        if wrong == 0 {
            return Ok(());
        }
        let why = format!("{wrong} of {} documents are not valid", files.len());
        Err(CliError::Failed(why))
    }
}

fn check(file: &Path) -> Result<Document, String> {
    let mut content = Vec::new();
    File::open(file)
        .and_then(|file| {
            file.take(DOCUMENT_BYTES_MAX as u64 + 1)
                .read_to_end(&mut content)
        })
        .map_err(|error| format!("cannot be read: {error}"))?;
    if content.len() > DOCUMENT_BYTES_MAX {
        return Err(format!(
            "longer than the {DOCUMENT_BYTES_MAX} bytes that a document may have"
        ));
    }
    Document::parse(&content).map_err(|error| chain(&error))
}
