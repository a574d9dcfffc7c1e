//! Checks what the compiler cannot: the crate graph points one way, and the cores stay pure.
//! Never changes a file.

use crate::say;
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Each crate of the product, and the rooms it may stand on.
const GRAPH: &[(&str, &[&str])] = &[
    ("holdfast-protocol", &[]),
    ("holdfast-tcp", &[]),
    ("holdfast-documents", &["protocol"]),
    ("holdfast-journal", &[]),
    ("holdfast-agent-core", &["protocol", "documents"]),
    (
        "holdfast-agent-store",
        &["protocol", "agent-core", "journal"],
    ),
    (
        "holdfast-agent",
        &[
            "protocol",
            "tcp",
            "documents",
            "agent-core",
            "agent-store",
            "journal",
        ],
    ),
    ("holdfast-bridge-core", &["protocol", "documents"]),
    (
        "holdfast-aws-api",
        &["protocol", "documents", "bridge-core"],
    ),
    (
        "holdfast-bridge",
        &["protocol", "tcp", "documents", "bridge-core", "aws-api"],
    ),
];

/// Sources that decide: nothing in them may reach the world.
const PURE: &[&str] = &[
    "protocol/src",
    "documents/src",
    "agent/core/src",
    "broker-bridge/core/src",
    "broker-bridge/aws-api/src",
];

/// What a core must not name, and what it should do instead.
const FORBIDDEN: &[(&str, &str)] = &[
    ("std::time::Instant", "time comes in with the input"),
    ("SystemTime", "time comes in with the input"),
    ("Timestamp::now", "time comes in with the input"),
    ("Zoned::now", "time comes in with the input"),
    ("std::fs", "the shell reads and writes files"),
    ("std::net", "the shell owns the sockets"),
    ("std::process", "the shell starts processes"),
    ("std::thread", "the shell owns the threads"),
    ("std::env", "the shell reads its environment"),
    ("tokio", "a core is driven, it never waits"),
    ("SystemRandom", "randomness comes in with the input"),
    ("getrandom", "randomness comes in with the input"),
];

pub(crate) fn run() -> Result<()> {
    let root = workspace_root()?;
    let mut faults = graph_faults(&root)?;
    for room in PURE {
        for file in rust_files(&root.join(room))? {
            let text =
                std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
            faults.extend(purity_faults(
                &file
                    .strip_prefix(&root)
                    .unwrap_or(&file)
                    .display()
                    .to_string(),
                &text,
            ));
        }
    }
    if faults.is_empty() {
        say("tidy: the crate graph points one way and the cores are pure");
        return Ok(());
    }
    bail!("tidy found {} faults:\n{}", faults.len(), faults.join("\n"))
}

pub(crate) fn workspace_root() -> Result<PathBuf> {
    // cargo tells it to what it runs; what was built may have moved since.
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR");
    let manifest = manifest.unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&manifest)
        .parent()
        .map(Path::to_owned)
        .context("xtask stands in the workspace")
}

fn graph_faults(root: &Path) -> Result<Vec<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root)
        .output()
        .context("cargo metadata")?;
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("cargo metadata's answer")?;
    let packages = metadata
        .get("packages")
        .and_then(|list| list.as_array())
        .context("packages")?;
    let mut faults = Vec::new();
    for package in packages {
        let name = text(package, "name").unwrap_or_default();
        let Some((_, allowed)) = GRAPH.iter().find(|(crate_name, _)| *crate_name == name) else {
            continue;
        };
        for dependency in package
            .get("dependencies")
            .and_then(|list| list.as_array())
            .into_iter()
            .flatten()
        {
            // Tests may look across: only what is shipped is held to the graph.
            let room = dependency["name"]
                .as_str()
                .and_then(|name| name.strip_prefix("holdfast-"));
            if let Some(room) = room.filter(|_| text(dependency, "kind").is_none())
                && !allowed.contains(&room)
            {
                faults.push(format!(
                    "{name} must not stand on {room}: it may stand on {allowed:?}"
                ));
            }
        }
    }
    Ok(faults)
}

fn text<'a>(object: &'a serde_json::Value, member: &str) -> Option<&'a str> {
    object.get(member)?.as_str()
}

/// Faults of one file. Its tests may do as they like: they follow `#[cfg(test)]`.
fn purity_faults(name: &str, text: &str) -> Vec<String> {
    if name.ends_with("/tests.rs") {
        return Vec::new();
    }
    let product = text.split("#[cfg(test)]").next().unwrap_or_default();
    let code = |line: &str| !line.trim_start().starts_with("//");
    product
        .lines()
        .enumerate()
        .filter(|(_, line)| code(line))
        .flat_map(|(at, line)| {
            FORBIDDEN
                .iter()
                .filter(|(word, _)| line.contains(word))
                .map(move |(word, instead)| {
                    format!("{name}:{}: a core names `{word}`: {instead}", at + 1)
                })
        })
        .collect()
}

fn rust_files(room: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut rooms = vec![room.to_owned()];
    while let Some(room) = rooms.pop() {
        for entry in std::fs::read_dir(&room).with_context(|| room.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                rooms.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_that_reads_the_clock_is_found_with_its_line() {
        let found = purity_faults(
            "agent/core/src/x.rs",
            "fn f() {\n    let t = SystemTime::now();\n}\n",
        );
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("agent/core/src/x.rs:2:"), "{found:?}");
    }

    #[test]
    fn comments_and_tests_may_name_what_they_like() {
        let text = "// never std::fs\n#[cfg(test)]\nmod tests { use std::fs; }\n";
        assert!(purity_faults("x.rs", text).is_empty());
    }

    #[test]
    fn this_workspace_is_tidy() {
        run().unwrap();
    }
}
