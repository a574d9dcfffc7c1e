//! The bill of materials (CycloneDX 1.5): every crate that is linked into a shipped program.
//! Never a crate that only builds or tests it.

use crate::say;
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// Writes one bill for each program into `dist/`.
///
/// # Errors
/// When cargo does not know the crates.
pub(super) fn write(root: &Path) -> Result<()> {
    for program in ["holdfast-agent", "holdfast-bridge"] {
        let bill = bill(root, program)?;
        let count = bill
            .get("components")
            .and_then(Value::as_array)
            .map_or(0, Vec::len);
        let path = root.join("dist").join(format!("{program}.cdx.json"));
        std::fs::write(&path, format!("{bill:#}\n")).with_context(|| path.display().to_string())?;
        say(format!("    {program}.cdx.json: {count} crates"));
    }
    Ok(())
}

fn bill(root: &Path, program: &str) -> Result<Value> {
    // As cargo links it: of all targets, without what only builds or tests.
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--locked",
            "--prefix",
            "none",
            "--edges",
            "normal,no-proc-macro",
        ])
        .args([
            "--target",
            "all",
            "--format",
            "{p}|{l}|{r}",
            "--package",
            program,
        ])
        .current_dir(root)
        .output()
        .context("cargo tree")?;
    ensure!(
        output.status.success(),
        "cargo tree: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout)?;
    let lines: BTreeSet<&str> = text
        .lines()
        .map(|line| line.trim_end_matches(" (*)"))
        .collect();
    let components: Vec<Value> = lines.into_iter().filter_map(component).collect();
    let own = components.iter().find(|crate_| crate_["name"] == program);
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": own},
        "components": components,
    }))
}

/// One line of the tree: `name vVERSION (path)|LICENCE|REPOSITORY`.
fn component(line: &str) -> Option<Value> {
    let mut parts = line.split('|');
    let (package, licence, source) = (parts.next()?, parts.next()?, parts.next()?);
    let mut words = package.split_whitespace();
    let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
    // Old manifests write `/` where SPDX has `OR`.
    let licences =
        (!licence.is_empty()).then(|| json!([{"expression": licence.replace('/', " OR ")}]));
    let sources = (!source.is_empty()).then(|| json!([{"type": "vcs", "url": source}]));
    let component = json!({
        "type": "library",
        "bom-ref": format!("pkg:cargo/{name}@{version}"),
        "name": name,
        "version": version,
        "purl": format!("pkg:cargo/{name}@{version}"),
        "licenses": licences.unwrap_or_else(|| json!([])),
        "externalReferences": sources.unwrap_or_else(|| json!([])),
    });
    Some(component)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_tree_becomes_a_component() {
        let component = component("ring v0.17.14|MIT/ISC|https://example.org/ring").unwrap();
        assert_eq!(component["purl"], "pkg:cargo/ring@0.17.14");
        assert_eq!(component["licenses"][0]["expression"], "MIT OR ISC");
    }

    #[test]
    fn the_agents_bill_has_its_tls_and_no_test_tools() {
        let bill = bill(&crate::tidy::workspace_root().unwrap(), "holdfast-agent").unwrap();
        let names: Vec<_> = bill["components"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["name"].as_str().unwrap())
            .collect();
        assert!(
            names.contains(&"rustls") && names.contains(&"ring"),
            "{names:?}"
        );
        assert!(
            !names.contains(&"proptest") && !names.contains(&"syn"),
            "{names:?}"
        );
    }
}
