//! `cargo xtask model`: turns botocore's description of the SSM service into the committed table of facts.
//! Never carries the description's prose over, and writes the same bytes for the same input.
//!
//! The files come from the `botocore` wheel of the pinned version (`pip download --no-deps botocore==X`), folder
//! `botocore/data/ssm/2014-11-06/`: `service-2.json` (stored gzipped) and, beside it, `paginators-1.json`.
//! The table's grammar is documented where it is read: `broker-bridge/aws-api/src/model/table.rs`.

#![expect(
    clippy::indexing_slicing,
    reason = "a JSON value indexed by a name answers null, it does not panic"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use lexopt::prelude::*;
use serde_json::Value as Json;

/// Where the table lives, from the workspace's root.
const TABLE: &str = "broker-bridge/aws-api/src/model/ssm.table";

/// Runs the chore: writes the table, or with `--check` compares it with the committed one.
pub(crate) fn run(mut args: lexopt::Parser) -> anyhow::Result<()> {
    let (mut from, mut version, mut check) = (None::<PathBuf>, None::<String>, false);
    while let Some(arg) = args.next()? {
        match arg {
            Long("from") => from = Some(args.value()?.into()),
            Long("version") => version = Some(args.value()?.string()?),
            Long("check") => check = true,
            Short(_) | Long(_) | Value(_) => return Err(arg.unexpected().into()),
        }
    }
    let from = from.context("--from service-2.json is missing")?;
    let version =
        version.context("--version is missing: the version of botocore the file is from")?;
    let service = read_json(&from)?;
    let pages = read_json(&from.with_file_name("paginators-1.json"))?;
    let table = table(&service, &pages, &version)?;

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(TABLE);
    if check {
        let committed = std::fs::read_to_string(&path)
            .with_context(|| format!("reading {}", path.display()))?;
        ensure!(
            committed == table,
            "{TABLE} differs from what {} gives: run the chore without --check and review the change",
            from.display()
        );
    } else {
        std::fs::write(&path, &table).with_context(|| format!("writing {}", path.display()))?;
    }
    let verb = if check { "matches" } else { "written" };
    writeln!(std::io::stdout(), "{TABLE} {verb}: {} bytes", table.len())?;
    Ok(())
}

fn read_json(path: &Path) -> anyhow::Result<Json> {
    let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_slice(&bytes)
        .with_context(|| format!("{} is not JSON (is it still gzipped?)", path.display()))
}

/// The whole table, as text.
fn table(service: &Json, pages: &Json, version: &str) -> anyhow::Result<String> {
    let meta = &service["metadata"];
    ensure!(
        meta["protocol"] == "json" && meta["jsonVersion"] == "1.1",
        "the service does not speak JSON 1.1"
    );
    let mut out = String::from("holdfast-service-table 1\n");
    writeln!(out, "source botocore {}", word(version)?)?;
    writeln!(
        out,
        "service {} {}",
        text(&meta["targetPrefix"])?,
        text(&meta["apiVersion"])?
    )?;
    let operations: BTreeMap<_, _> = object(&service["operations"])?.iter().collect();
    let shapes = object(&service["shapes"])?;
    out += &error_lines(&operations, shapes)?;
    for (name, operation) in &operations {
        let line = operation_line(name, operation, &pages["pagination"][name.as_str()])
            .with_context(|| format!("operation {name}"))?;
        out += &line;
    }
    for (name, shape) in reachable(&operations, shapes)? {
        out += &shape_line(name, shape).with_context(|| format!("shape {name}"))?;
    }
    Ok(out)
}

type Operations<'a> = BTreeMap<&'a String, &'a Json>;
type Shapes = serde_json::Map<String, Json>;

/// `error NAME STATUS MEMBER`: the HTTP status, and which member carries the message (`-`: none declared).
fn error_lines(operations: &Operations<'_>, shapes: &Shapes) -> anyhow::Result<String> {
    let mut names = BTreeSet::new();
    for operation in operations.values() {
        names.extend(declared_errors(operation)?);
    }
    let mut out = String::new();
    for name in names {
        let shape = shapes
            .get(name)
            .with_context(|| format!("error {name} has no shape"))?;
        let fault = shape["fault"].as_bool().unwrap_or(false);
        let stated = shape["error"]["httpStatusCode"].as_u64();
        let status = stated.unwrap_or(if fault { 500 } else { 400 });
        let members = object(&shape["members"])?;
        let message = ["Message", "message"]
            .into_iter()
            .find(|m| members.contains_key(*m))
            .unwrap_or("-");
        writeln!(out, "error {name} {status} {message}")?;
    }
    Ok(out)
}

fn declared_errors(operation: &Json) -> anyhow::Result<Vec<&str>> {
    let errors = operation["errors"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    errors.iter().map(|error| text(&error["shape"])).collect()
}

/// `op NAME INPUT OUTPUT ERRORS PAGES`, lists joined by commas, `-` for an empty one.
fn operation_line(name: &str, operation: &Json, page: &Json) -> anyhow::Result<String> {
    let input = text(&operation["input"]["shape"])?;
    let output = text(&operation["output"]["shape"])?;
    let pages = if page.is_null() {
        Vec::new()
    } else {
        ["input_token", "output_token", "limit_key", "result_key"]
            .into_iter()
            .map(|key| text(&page[key]))
            .collect::<anyhow::Result<Vec<_>>>()?
    };
    let errors = declared_errors(operation)?;
    Ok(format!(
        "op {name} {input} {output} {} {}\n",
        joined(&errors),
        joined(&pages)
    ))
}

fn joined(words: &[&str]) -> String {
    if words.is_empty() {
        "-".to_owned()
    } else {
        words.join(",")
    }
}

/// Every shape that a request or a reply can reach, sorted.
fn reachable<'a>(
    operations: &Operations<'a>,
    shapes: &'a Shapes,
) -> anyhow::Result<BTreeMap<&'a str, &'a Json>> {
    let mut waiting = Vec::new();
    for operation in operations.values() {
        waiting.push(text(&operation["input"]["shape"])?);
        waiting.push(text(&operation["output"]["shape"])?);
    }
    let mut seen = BTreeMap::new();
    while let Some(name) = waiting.pop() {
        if seen.contains_key(name) {
            continue;
        }
        let shape = shapes
            .get(name)
            .with_context(|| format!("shape {name} is missing"))?;
        seen.insert(name, shape);
        for part in ["member", "key", "value"] {
            if !shape[part].is_null() {
                waiting.push(text(&shape[part]["shape"])?);
            }
        }
        for member in shape["members"]
            .as_object()
            .into_iter()
            .flat_map(Shapes::values)
        {
            waiting.push(text(&member["shape"])?);
        }
    }
    Ok(seen)
}

/// `KIND NAME FACT…`; a pattern comes last, since it may hold spaces.
fn shape_line(name: &str, shape: &Json) -> anyhow::Result<String> {
    let kind = text(&shape["type"])?;
    let mut line = format!("{kind} {name}");
    if shape["sensitive"].as_bool().unwrap_or(false) {
        line += " secret";
    }
    match kind {
        "structure" => line += &members(shape)?,
        "list" => write!(line, " of={}", text(&shape["member"]["shape"])?)?,
        "map" => write!(
            line,
            " key={} value={}",
            text(&shape["key"]["shape"])?,
            text(&shape["value"]["shape"])?
        )?,
        "string" | "integer" | "long" | "boolean" | "timestamp" | "blob" => {}
        other => bail!("type {other:?} is not known to this chore"),
    }
    if !shape["min"].is_null() || !shape["max"].is_null() {
        write!(
            line,
            " size={}..{}",
            bound(&shape["min"])?,
            bound(&shape["max"])?
        )?;
    }
    if let Some(values) = shape["enum"].as_array() {
        let values = values
            .iter()
            .map(text)
            .collect::<anyhow::Result<Vec<_>>>()?;
        ensure!(
            values.iter().all(|value| !value.contains(',')),
            "an enum value holds a comma"
        );
        write!(line, " enum={}", values.join(","))?;
    }
    if let Some(pattern) = shape["pattern"].as_str() {
        ensure!(!pattern.contains('\n'), "the pattern holds a line break");
        write!(line, " pattern={pattern}")?;
    }
    line.push('\n');
    Ok(line)
}

/// ` Member:Shape` each, in the service's order; `Member!:Shape` when it is required.
fn members(shape: &Json) -> anyhow::Result<String> {
    let required = match shape["required"].as_array() {
        Some(names) => names.iter().map(text).collect::<anyhow::Result<Vec<_>>>()?,
        None => Vec::new(),
    };
    let mut out = String::new();
    for (name, member) in object(&shape["members"])? {
        let mark = if required.contains(&name.as_str()) {
            "!"
        } else {
            ""
        };
        write!(out, " {}{mark}:{}", word(name)?, text(&member["shape"])?)?;
    }
    Ok(out)
}

fn bound(value: &Json) -> anyhow::Result<String> {
    if value.is_null() {
        return Ok(String::new());
    }
    Ok(value
        .as_i64()
        .context("a bound is not an integer")?
        .to_string())
}

fn text(value: &Json) -> anyhow::Result<&str> {
    word(
        value
            .as_str()
            .with_context(|| format!("{value} is not a name"))?,
    )
}

/// A word of the table: what would break a line or a column is refused.
fn word(text: &str) -> anyhow::Result<&str> {
    let plain = !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control());
    ensure!(plain, "{text:?} cannot stand in the table");
    Ok(text)
}

fn object(value: &Json) -> anyhow::Result<&Shapes> {
    value.as_object().context("an object is expected")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service() -> Json {
        json!({
            "metadata": {"protocol": "json", "jsonVersion": "1.1", "targetPrefix": "Amazon", "apiVersion": "2014"},
            "operations": {
                "Stop": {"input": {"shape": "In"}, "output": {"shape": "Out"}, "errors": []},
                "List": {"input": {"shape": "In"}, "output": {"shape": "Out"},
                         "errors": [{"shape": "Broken"}, {"shape": "Wrong"}], "documentation": "prose"},
            },
            "shapes": {
                "Wrong": {"type": "structure", "members": {"Message": {"shape": "Text"}}, "exception": true},
                "Broken": {"type": "structure", "members": {}, "exception": true, "fault": true},
                "In": {"type": "structure", "required": ["Name"],
                       "members": {"Name": {"shape": "Text"}, "Max": {"shape": "Max"}}},
                "Out": {"type": "structure", "members": {"Items": {"shape": "Items"}}},
                "Items": {"type": "list", "member": {"shape": "Map"}, "max": 5},
                "Map": {"type": "map", "key": {"shape": "Kind"}, "value": {"shape": "Text"}},
                "Kind": {"type": "string", "enum": ["a", "b"]},
                "Max": {"type": "integer", "min": 1, "max": 50},
                "Text": {"type": "string", "sensitive": true, "min": 1, "pattern": "^[a b]+$", "documentation": "prose"},
                "Unused": {"type": "string"},
            },
        })
    }

    #[test]
    fn writes_the_facts_sorted_and_leaves_prose_and_unreachable_shapes_out() {
        let pages = json!({"pagination": {"List": {
            "input_token": "Next", "output_token": "Next", "limit_key": "Max", "result_key": "Items"}}});
        let expected = "\
holdfast-service-table 1
source botocore 1.2.3
service Amazon 2014
error Broken 500 -
error Wrong 400 Message
op List In Out Broken,Wrong Next,Next,Max,Items
op Stop In Out - -
structure In Name!:Text Max:Max
list Items of=Map size=..5
string Kind enum=a,b
map Map key=Kind value=Text
integer Max size=1..50
structure Out Items:Items
string Text secret size=1.. pattern=^[a b]+$
";
        assert_eq!(table(&service(), &pages, "1.2.3").unwrap(), expected);
    }

    #[test]
    fn refuses_a_shape_it_does_not_understand() {
        let mut service = service();
        service["shapes"]["Text"] = json!({"type": "document"});
        let error = table(&service, &json!({}), "1").unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            "shape Text: type \"document\" is not known to this chore"
        );
    }
}
