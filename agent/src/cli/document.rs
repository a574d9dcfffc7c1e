//! `document run`: a document on this machine, step after step, as a command would have it.
//! Never tells anybody: no bridge, no outbox.

use super::{Exit, Failure, output, read};
use crate::clock;
use crate::platform;
use crate::plugin::gatherer::THIS_PROGRAM;
use crate::plugin::{self, Captured, End, Environment, Job, Stop};
use crate::state::StateDir;
use holdfast_documents::limits::DOCUMENT_BYTES_MAX;
use holdfast_documents::{
    BindError, Disposition, Document, OnFailure, OnSuccess, Plan, PlannedStep, Platform, Supplied,
    library, supplied_from_json,
};
use holdfast_protocol::limits::{STDERR_BYTES_MAX, STDOUT_BYTES_MAX};
use serde_json::{Value, json};
use std::error::Error;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

/// A step's own exit codes, as the agent takes them: succeed or fail, and skip the rest; reboot.
const EXIT_SUCCEED: i32 = 168;
const EXIT_FAIL: i32 = 169;
const EXIT_REBOOT: i32 = 194;

pub(super) fn run(
    runtime: &Runtime,
    state: &StateDir,
    file: &Path,
    parameters: Option<&str>,
    json: bool,
) -> Result<Exit, Failure> {
    let plan = plan(file, parameters)?;
    let scratch = scratch(state)?;
    let environment = Environment {
        node: state
            .identity()
            .map_or_else(|_| String::new(), |identity| identity.node.to_string()),
        platform: platform::detect(None),
        command: String::new(),
        program: Some(THIS_PROGRAM.into()),
    };
    let shown = |report: StepReport| {
        if !json {
            report.print();
        }
        report
    };
    let (reports, good) = runtime.block_on(run_plan(plan, &scratch, &environment, shown));
    let _ = std::fs::remove_dir_all(&scratch);
    if json {
        let steps: Vec<Value> = reports.iter().map(StepReport::to_json).collect();
        output::json(&json!({ "success": good, "steps": steps }));
    }
    Ok(if good { Exit::Ok } else { Exit::Failed })
}

/// Scripts of this process alone: below the state directory where it is ours, else beside others'
/// temporary files, in a directory that nobody else may enter. It is made here under a name that
/// nobody could foresee: one that somebody else has made would be theirs to change scripts in.
fn scratch(state: &StateDir) -> Result<PathBuf, Failure> {
    let failed = |error: &dyn Error| Failure::new(Exit::Failed, error);
    let name: [u8; 8] = clock::random().map_err(|error| failed(&error))?;
    let name = format!("holdfast-document-{}", hex::encode(name));
    let below = |parent: &Path| {
        let path = parent.join(&name);
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.map(|()| path)
    };
    if state.path().is_dir()
        && state.create().is_ok()
        && let Ok(path) = below(state.path())
    {
        return Ok(path);
    }
    below(&std::env::temp_dir()).map_err(|error| failed(&error))
}

fn plan(file: &Path, parameters: Option<&str>) -> Result<Plan, Failure> {
    let failed = |error: &dyn Error| {
        let failure = Failure::new(Exit::Failed, error);
        Failure {
            text: format!("document {}: {}", file.display(), failure.text),
            ..failure
        }
    };
    let built_in = file.to_str().and_then(library::find);
    let document = match built_in {
        Some(document) if !file.exists() => document
            .default_version()
            .document()
            .map_err(|error| failed(&error))?,
        Some(_) | None => {
            let bytes = read::file(file, DOCUMENT_BYTES_MAX).map_err(|error| {
                let mut failure = failed(&error);
                if error.kind() == io::ErrorKind::NotFound {
                    failure.text.push_str(&built_ins());
                }
                failure
            })?;
            Document::parse(bytes).map_err(|error| failed(&error))?
        }
    };
    let supplied = match parameters {
        Some(text) => {
            supplied_from_json(text).map_err(|error| Failure::new(Exit::Usage, &error))?
        }
        None => Supplied::default(),
    };
    let bound = document.bind(&supplied).map_err(|error| {
        let mut failure = Failure::new(Exit::Usage, &error);
        if let BindError::Missing { name } = &error {
            let hint = format!("; give it as --parameters '{{\"{name}\": [\"…\"]}}'");
            failure.text.push_str(&hint);
        }
        failure
    })?;
    document
        .plan(&bound, Platform::Linux)
        .map_err(|error| failed(&error))
}

/// What else could be meant by a name.
fn built_ins() -> String {
    let names = library::all().iter().map(|document| document.name());
    let names: Vec<&str> = names.collect();
    format!("; built-in documents: {}", names.join(", "))
}

struct StepReport {
    name: String,
    action: &'static str,
    state: &'static str,
    exit_code: Option<i32>,
    detail: String,
    stdout: Captured,
    stderr: Captured,
}

impl StepReport {
    fn skipped(step: &PlannedStep, detail: String) -> Self {
        Self {
            name: step.name.clone(),
            action: step.action.as_str(),
            state: "Skipped",
            exit_code: None,
            detail,
            stdout: Captured::default(),
            stderr: Captured::default(),
        }
    }

    fn print(&self) {
        output::text(&format!("== {} ({})\n", self.name, self.action));
        output::bytes(&self.stdout.kept);
        output::error_bytes(&self.stderr.kept);
        let cut = (self.stdout.total + self.stderr.total)
            .saturating_sub((self.stdout.kept.len() + self.stderr.kept.len()) as u64);
        if cut > 0 {
            output::text(&format!("… and {cut} more bytes, not kept\n"));
        }
        let code = self
            .exit_code
            .map_or_else(String::new, |code| format!(", exit code {code}"));
        let detail = if self.detail.is_empty() {
            String::new()
        } else {
            format!(": {}", self.detail)
        };
        output::text(&format!("-- {}{code}{detail}\n", self.state));
    }

    fn to_json(&self) -> Value {
        json!({
            "name": self.name,
            "action": self.action,
            "status": self.state,
            "exit_code": self.exit_code,
            "detail": self.detail,
            "stdout": String::from_utf8_lossy(&self.stdout.kept),
            "stderr": String::from_utf8_lossy(&self.stderr.kept),
            "stdout_bytes": self.stdout.total,
            "stderr_bytes": self.stderr.total,
        })
    }
}

/// Runs the steps in order; returns what each came to, and whether all that had to succeed did.
async fn run_plan(
    plan: Plan,
    scratch: &Path,
    environment: &Environment,
    shown: impl Fn(StepReport) -> StepReport,
) -> (Vec<StepReport>, bool) {
    let (mut reports, mut good, mut ended) = (Vec::new(), true, false);
    for (at, step) in plan.steps.into_iter().enumerate() {
        let report = match &step.disposition {
            _ if ended && !step.finally => {
                StepReport::skipped(&step, "an earlier step ended the document".into())
            }
            Disposition::Skip(reason) => StepReport::skipped(&step, reason.to_string()),
            Disposition::Run(_) => run_step(&step, scratch.join(at.to_string()), environment).await,
        };
        if report.state != "Success" && report.state != "Skipped" {
            good &= step.on_failure == OnFailure::SuccessAndExit;
            ended |= step.on_failure != OnFailure::Continue;
        } else if report.state == "Success" {
            ended |= step.on_success == OnSuccess::Exit;
        }
        ended |= matches!(report.exit_code, Some(EXIT_SUCCEED | EXIT_FAIL));
        let cancelled = report.state == "Cancelled";
        reports.push(shown(report));
        if cancelled {
            return (reports, false);
        }
    }
    (reports, good)
}

async fn run_step(step: &PlannedStep, directory: PathBuf, environment: &Environment) -> StepReport {
    let Disposition::Run(inputs) = &step.disposition else {
        return StepReport::skipped(step, String::new());
    };
    let job = Job {
        inputs: inputs.clone(),
        limit: Some(Duration::from_secs(step.timeout_seconds.into())),
        output_bytes_max: (STDOUT_BYTES_MAX, STDERR_BYTES_MAX),
        directory,
        noted: false,
        environment: environment.clone(),
    };
    let (stop, stopped) = oneshot::channel();
    let interrupted = async {
        if tokio::signal::ctrl_c().await.is_ok() {
            let _ = stop.send(Stop::Cancelled);
        }
        std::future::pending::<()>().await;
    };
    let outcome = tokio::select! {
        outcome = Box::pin(plugin::run(job, stopped)) => outcome,
        () = interrupted => return StepReport::skipped(step, String::new()),
    };
    let (state, exit_code) = match outcome.end {
        End::Exited(code @ (0 | EXIT_SUCCEED)) => ("Success", Some(code)),
        End::Exited(code) => ("Failed", Some(code)),
        End::Signalled(_) | End::NotStarted => ("Failed", None),
        End::Stopped(Stop::Cancelled) => ("Cancelled", None),
        End::Stopped(Stop::TimedOut) => ("TimedOut", None),
    };
    let detail = match exit_code {
        Some(EXIT_REBOOT) => "it asked for a reboot, and a local run does not reboot".into(),
        Some(_) | None => outcome.detail,
    };
    StepReport {
        name: step.name.clone(),
        action: step.action.as_str(),
        state,
        exit_code,
        detail,
        stdout: outcome.stdout,
        stderr: outcome.stderr,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A document with a step for each script, and further members of it.
    fn document(steps: &[(&str, Value)]) -> Plan {
        let steps = steps.iter().enumerate().map(|(at, (script, more))| {
            let mut step = json!({
                "action": "aws:runShellScript",
                "name": format!("step{at}"),
                "inputs": {"runCommand": [script]},
            });
            if let (Some(step), Some(more)) = (step.as_object_mut(), more.as_object()) {
                step.extend(more.clone());
            }
            step
        });
        let text = json!({
            "schemaVersion": "2.2",
            "description": "",
            "mainSteps": steps.collect::<Vec<_>>(),
        });
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("document.json");
        std::fs::write(&file, text.to_string()).unwrap();
        plan(&file, None).unwrap_or_else(|failure| panic!("{}", failure.text))
    }

    async fn states(steps: &[(&str, Value)]) -> (Vec<&'static str>, bool) {
        let scratch = tempfile::tempdir().unwrap();
        let environment = Environment::default();
        let plan = document(steps);
        let (reports, good) = run_plan(plan, scratch.path(), &environment, |report| report).await;
        (reports.iter().map(|report| report.state).collect(), good)
    }

    #[tokio::test]
    async fn a_failure_decides_as_the_document_says() {
        let next = ("true", Value::Null);
        let failing = |more| ("exit 3", more);
        let goes_on = states(&[failing(Value::Null), next.clone()]).await;
        assert_eq!(goes_on, (vec!["Failed", "Success"], false));
        let exit = json!({"onFailure": "exit"});
        let ends = states(&[failing(exit), next.clone()]).await;
        assert_eq!(ends, (vec!["Failed", "Skipped"], false));
        let exit = json!({"onFailure": "successAndExit"});
        let ends_well = states(&[failing(exit), next.clone()]).await;
        assert_eq!(ends_well, (vec!["Failed", "Skipped"], true));
    }

    #[tokio::test]
    async fn a_steps_own_exit_codes_mean_what_they_mean_to_the_agent() {
        let next = ("true", Value::Null);
        let succeeds = states(&[("exit 168", Value::Null), next.clone()]).await;
        assert_eq!(succeeds, (vec!["Success", "Skipped"], true));
        let fails = states(&[("exit 169", Value::Null), next.clone()]).await;
        assert_eq!(fails, (vec!["Failed", "Skipped"], false));
        let reboots = states(&[("exit 194", Value::Null)]).await;
        assert_eq!(reboots, (vec!["Failed"], false));
    }

    #[test]
    fn what_is_no_document_or_parameter_is_refused_by_name() {
        let refused = |file: &str, parameters| match plan(Path::new(file), parameters) {
            Ok(_) => panic!("{file} is taken"),
            Err(failure) => (failure.exit, failure.text),
        };
        let (exit, text) = refused("/no/such/document.json", None);
        assert_eq!(exit, Exit::Failed);
        assert!(text.contains("/no/such/document.json"), "{text}");
        let (_, text) = refused("AWS-NoSuch", None);
        assert!(
            text.ends_with("AWS-RunPatchBaseline, AWS-RunShellScript"),
            "{text}"
        );
        let (exit, text) = refused("AWS-RunShellScript", None);
        assert_eq!(exit, Exit::Usage);
        assert!(text.contains(r#"--parameters '{"commands": ["#), "{text}");
        let (exit, text) = refused("AWS-RunShellScript", Some(r#"{"comands": ["true"]}"#));
        assert_eq!(exit, Exit::Usage);
        assert!(text.contains("comands"), "{text}");
        let (exit, _) = refused("AWS-RunShellScript", Some("{"));
        assert_eq!(exit, Exit::Usage);
    }

    #[test]
    fn scripts_do_not_lie_where_others_can_write() {
        let home = tempfile::tempdir().unwrap();
        let state = StateDir::new(home.path());
        let of = |state| scratch(state).unwrap_or_else(|failure| panic!("{}", failure.text));
        assert!(of(&state).starts_with(home.path()));
        assert_ne!(of(&state), of(&state), "nobody can make it before");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(home.path(), mode).unwrap();
        let elsewhere = of(&state);
        assert!(!elsewhere.starts_with(home.path()));
        let mode = std::os::unix::fs::PermissionsExt::mode;
        assert_eq!(
            mode(&elsewhere.metadata().unwrap().permissions()) & 0o777,
            0o700
        );
        std::fs::remove_dir(elsewhere).unwrap();
    }
}
