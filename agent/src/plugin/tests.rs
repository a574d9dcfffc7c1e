use super::*;
use holdfast_documents::RunScript;
use holdfast_protocol::limits::{STDERR_BYTES_MAX, STDOUT_BYTES_MAX};
use rustix::process::{Pid, test_kill_process};
use std::path::Path;

fn script(directory: &Path, text: &str) -> Job {
    Job {
        inputs: StepInputs::RunShellScript(RunScript {
            commands: text.lines().map(str::to_owned).collect(),
            working_directory: None,
            env: vec![("SSM_name".into(), "a b\"c".into())],
        }),
        limit: None,
        output_bytes_max: (STDOUT_BYTES_MAX, STDERR_BYTES_MAX),
        directory: directory.join("step"),
        noted: false,
        environment: Environment {
            node: "mi-0123456789abcdef0".into(),
            ..Environment::default()
        },
    }
}

async fn run_script(text: &str) -> StepOutcome {
    let home = tempfile::tempdir().unwrap();
    let (_stop, stopped) = oneshot::channel();
    let outcome = run(script(home.path(), text), stopped).await;
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
    outcome
}

/// Blocks until somebody has written a line into the pipe at `path`.
async fn line_from(path: PathBuf) -> String {
    tokio::task::spawn_blocking(move || std::fs::read_to_string(path).unwrap())
        .await
        .unwrap()
}

fn pipe(directory: &Path) -> PathBuf {
    let path = directory.join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU).unwrap();
    path
}

async fn until_gone(pid: i32) {
    let pid = Pid::from_raw(pid).unwrap();
    while test_kill_process(pid).is_ok() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_script_ends_with_its_code_and_both_streams() {
    let outcome = run_script("echo out $SSM_name $AWS_SSM_INSTANCE_ID\necho err >&2\nexit 7").await;
    assert_eq!(outcome.end, End::Exited(7));
    assert_eq!(outcome.stdout.kept, b"out a b\"c mi-0123456789abcdef0\n");
    assert_eq!(outcome.stderr.kept, b"err\n");
}

#[tokio::test]
async fn a_script_has_no_input_and_cannot_wait_for_any() {
    let outcome = run_script("cat; echo end").await;
    assert_eq!(outcome.stdout.kept, b"end\n");
}

#[tokio::test]
async fn a_shebang_is_honoured() {
    let outcome = run_script("#!/usr/bin/env cat\nthis is no shell").await;
    assert_eq!(
        outcome.stdout.kept,
        b"#!/usr/bin/env cat\nthis is no shell\n"
    );
    let outcome = run_script("#!/no/such/interpreter\n").await;
    assert_eq!(outcome.end, End::NotStarted);
    assert!(
        outcome.detail.contains("/no/such/interpreter"),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn output_above_the_bounds_is_counted_and_the_script_is_not_blocked() {
    let outcome =
        run_script("head -c 1000000 /dev/zero\nhead -c 500000 /dev/zero >&2\necho end >&2").await;
    assert_eq!(outcome.end, End::Exited(0));
    assert_eq!(
        (outcome.stdout.kept.len(), outcome.stdout.total),
        (STDOUT_BYTES_MAX, 1_000_000)
    );
    assert_eq!(
        (outcome.stderr.kept.len(), outcome.stderr.total),
        (STDERR_BYTES_MAX, 500_004)
    );
}

#[tokio::test]
async fn a_missing_working_directory_fails_the_step_by_name() {
    let home = tempfile::tempdir().unwrap();
    let mut job = script(home.path(), "echo");
    if let StepInputs::RunShellScript(script) = &mut job.inputs {
        script.working_directory = Some("/no/such/place".into());
    }
    let (_stop, stopped) = oneshot::channel();
    let outcome = run(job, stopped).await;
    assert_eq!(outcome.end, End::NotStarted);
    assert_eq!(
        outcome.detail,
        "working directory /no/such/place does not exist on this node"
    );
}

#[tokio::test]
async fn a_stop_kills_the_whole_group() {
    let home = tempfile::tempdir().unwrap();
    let pipe = pipe(home.path());
    let text = format!(
        "sleep 1000 & echo $! > {}\necho begun\nwait",
        pipe.display()
    );
    let (stop, stopped) = oneshot::channel();
    let running = tokio::spawn(run(script(home.path(), &text), stopped));
    let child: i32 = line_from(pipe).await.trim().parse().unwrap();
    stop.send(Stop::Cancelled).unwrap();
    let outcome = running.await.unwrap();
    assert_eq!(outcome.end, End::Stopped(Stop::Cancelled));
    until_gone(child).await;
}

#[tokio::test]
async fn a_group_that_ignores_term_is_killed() {
    let home = tempfile::tempdir().unwrap();
    let pipe = pipe(home.path());
    let text = format!(
        "trap '' TERM\nsh -c 'trap \"\" TERM; echo $$ > {}; sleep 1000'",
        pipe.display()
    );
    let (stop, stopped) = oneshot::channel();
    let running = tokio::spawn(run(script(home.path(), &text), stopped));
    let child: i32 = line_from(pipe).await.trim().parse().unwrap();
    stop.send(Stop::Cancelled).unwrap();
    assert_eq!(running.await.unwrap().end, End::Stopped(Stop::Cancelled));
    until_gone(child).await;
}

#[tokio::test]
async fn the_time_limit_ends_a_step() {
    let home = tempfile::tempdir().unwrap();
    let mut job = script(home.path(), "echo begun\nsleep 1000");
    job.limit = Some(Duration::from_millis(200));
    let (_stop, stopped) = oneshot::channel();
    let outcome = run(job, stopped).await;
    assert_eq!(outcome.end, End::Stopped(Stop::TimedOut));
}

#[tokio::test]
async fn an_orphan_that_holds_the_pipes_does_not_hold_the_step() {
    let home = tempfile::tempdir().unwrap();
    let pipe = pipe(home.path());
    let text = format!("sleep 1000 & echo $! > {}\necho done", pipe.display());
    let (_stop, stopped) = oneshot::channel();
    let running = tokio::spawn(run(script(home.path(), &text), stopped));
    let orphan: i32 = line_from(pipe).await.trim().parse().unwrap();
    let outcome = running.await.unwrap();
    assert_eq!(outcome.end, End::Exited(0));
    assert_eq!(outcome.stdout.kept, b"done\n");
    // A script may leave a service behind: the end of its step is not the service's.
    let orphan = Pid::from_raw(orphan).unwrap();
    assert!(test_kill_process(orphan).is_ok());
    rustix::process::kill_process(orphan, rustix::process::Signal::KILL).unwrap();
}

#[tokio::test]
async fn a_step_killed_from_elsewhere_says_so() {
    let outcome = run_script("kill -9 $$").await;
    assert_eq!(outcome.end, End::Signalled(9));
    assert_eq!(outcome.detail, "ended by signal 9");
}

#[tokio::test]
async fn an_agent_that_ends_before_a_step_takes_all_its_processes_along() {
    let home = tempfile::tempdir().unwrap();
    let pipe = pipe(home.path());
    let text = format!("sleep 1000 &\necho $! > {}\nwait", pipe.display());
    let (_stop, stopped) = oneshot::channel();
    let running = tokio::spawn(run(script(home.path(), &text), stopped));
    let sleeper = line_from(pipe).await;
    running.abort();
    until_gone(sleeper.trim().parse().unwrap()).await;
}
