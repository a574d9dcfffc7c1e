//! What `--help` teaches, by verb. Never longer than a screen.

/// What help is asked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// The program.
    Program,
    /// `register`
    Register,
    /// `run`
    Run,
    /// `status`
    Status,
    /// `journal inspect`
    JournalInspect,
    /// `inventory`
    Inventory,
    /// `patch scan`
    PatchScan,
    /// `document run`
    DocumentRun,
}

impl Topic {
    /// The topic of the words of a command line.
    pub(super) fn of(words: &[String]) -> Self {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match *words {
            ["register", ..] => Self::Register,
            ["run", ..] => Self::Run,
            ["status", ..] => Self::Status,
            ["journal", ..] => Self::JournalInspect,
            ["inventory", ..] => Self::Inventory,
            ["patch", ..] => Self::PatchScan,
            ["document", ..] => Self::DocumentRun,
            _ => Self::Program,
        }
    }

    /// The verb's words.
    pub(super) fn verb(self) -> &'static str {
        match self {
            Self::Program => "",
            Self::Register => "register",
            Self::Run => "run",
            Self::Status => "status",
            Self::JournalInspect => "journal inspect",
            Self::Inventory => "inventory",
            Self::PatchScan => "patch scan",
            Self::DocumentRun => "document run",
        }
    }
}

/// The help text.
pub(super) fn of(topic: Topic) -> &'static str {
    match topic {
        Topic::Program => PROGRAM,
        Topic::Register => REGISTER,
        Topic::Run => RUN,
        Topic::Status => STATUS,
        Topic::JournalInspect => JOURNAL_INSPECT,
        Topic::Inventory => INVENTORY,
        Topic::PatchScan => PATCH_SCAN,
        Topic::DocumentRun => DOCUMENT_RUN,
    }
}

const PROGRAM: &str = "\
Holdfast's agent: runs commands, scans and inventories this machine, and delivers
every result once, however often the link breaks.

  holdfast-agent register …             become a node of a bridge's fleet, once
  holdfast-agent run                    serve; the init system runs this
  holdfast-agent status                 link, queue, certificate, running commands
  holdfast-agent journal inspect        what the queue's files hold, whole and damaged

Without registration or network:
  holdfast-agent inventory              what is on this machine
  holdfast-agent patch scan             what a patch baseline finds missing
  holdfast-agent document run FILE      run a command document here and now

Each takes --state-dir DIR (else $HOLDFAST_AGENT_STATE_DIR, else
/var/lib/holdfast), --json where it prints, and --help. $HOLDFAST_LOG is off, error, warn, info, debug or trace.

Exit codes: 0 done, 1 failed, 2 usage, 3 done in part, 4 bridge unreachable, 5 denied.
";

const REGISTER: &str = "\
holdfast-agent register --bridge mqtts://HOST:PORT --activation-id ID
    --activation-code CODE --ca-sha256 HEX [--force] [--state-dir DIR] [--json]

Makes this machine a node. `holdfast-bridge activation create` prints the whole line.

  --bridge           where the bridge listens; give it several times to have others
                     tried in turn, now and whenever the agent connects
  --activation-id    which activation
  --activation-code  its code, or - to read it from standard input, where no other
                     user of this machine can see it; the code itself is never sent
  --ca-sha256        SHA-256 of the bridge's root certificate: nothing else is trusted
  --force            become a new node although this state directory is one already;
                     results that still wait for the old node are dropped

Safe to repeat until it has succeeded: after a lost reply the same key asks again and gets the
same node.
";

const RUN: &str = "\
holdfast-agent run [--bridge mqtts://HOST:PORT] [--max-commands N] [--max-running N]
    [--queue-bytes N] [--inventory-every S] [--patch-scan-every S] [--state-dir DIR]

Serves until it is told to stop. While the link is down it goes on with what it has:
commands finish, inventory and patch scans run, and results wait in the queue.

  --bridge            connect there instead of where this node was registered; several are
                      tried in turn. The bridge's certificate is checked all the same.
  --max-commands      commands that wait or run at once, 1 to 10000 (32)
  --max-running       commands that run at once, 1 to 64 (4)
  --queue-bytes       results that wait for the bridge; each command held reserves 352 KiB
                      of it (16777216)
  --inventory-every   seconds between two inventories, at least 60 (1800)
  --patch-scan-every  seconds between two patch scans, at least 60 (86400)

SIGTERM ends it within 15 s, also when the disk does not answer: running steps are
killed with all their processes, and what happened is on disk first. A second SIGTERM
ends it at once. Exit code 1 says that not everything was written. Log lines go to
standard error. A service manager is told that it is ready, how the link is, and that it
lives (systemd: Type=notify, WatchdogSec).
";

const STATUS: &str = "\
holdfast-agent status [--state-dir DIR] [--json]

Shows the link with its last error and next try, the queue by class, the certificate,
the floor of signed time, and running commands. Works while the agent is not running:
then it shows what is on disk.
";

const JOURNAL_INSPECT: &str = "\
holdfast-agent journal inspect [--state-dir DIR] [--json]

Shows what the files of the queue hold, for someone beside the machine. It only reads:
no byte changes and no lock is taken, so it also works while the agent runs, on a
read-only disk and on a damaged one. Look as root or as the agent's user.

By stream (result, audit, state, log, and the ledger of commands): records and bytes
that wait, how far the bridge has acknowledged, the boot and uptime of the oldest and
newest record, and the segment files. A running agent writes acknowledgements down only
now and then: `status` has them at once. Then:

  damaged    which records cannot be read, in which file, from which byte on, and why.
             They stay where they are, unread, until the segment is used again; the
             bridge gets a counted gap, and their commands end as Interrupted
  doubtful   entries of which a newer version is, or may be, damaged: a command among
             them is not begun again
  command    what the ledger knows: Pending, InProgress, Rebooting, or how it ended

`torn at the end` is what a power cut leaves of a write that nobody was told of; while
the agent runs it can also be a write under way: look again. A journal of a newer
format is named and left alone: install that agent again.

Exit code 0 whether something is damaged or not; 1 when the journal cannot be read.
";

const INVENTORY: &str = "\
holdfast-agent inventory [--full] [--state-dir DIR] [--json]

Counts what is on this machine: the node, packages, network, services and components;
--json shows each of them. Needs neither registration nor network, and sends nothing.

  --full   with --json: packages with section, publisher, homepage and summary
  --json   the items themselves, by the attribute names of AWS's inventory
";

const PATCH_SCAN: &str = "\
holdfast-agent patch scan [--root DIR] [--baseline FILE] [--json]

Compares the installed packages with a patch baseline, and changes nothing: no lock,
no fetch. Needs neither registration nor network.

  --root      scan the system below this directory instead of this machine
  --baseline  JSON as `aws ssm get-patch-baseline` prints it, instead of the
              platform's default, which approves security updates

Exit code 0 whether patches are missing or not; --json has the counts.
";

const DOCUMENT_RUN: &str = "\
holdfast-agent document run FILE [--parameters JSON] [--state-dir DIR] [--json]

Runs a command document on this machine as the agent would, and shows the output.
Needs neither registration nor network, and tells nobody: it writes no audit record
either, so keep what sudo or the shell records where that matters. FILE is JSON or YAML, the
name of a built-in document such as AWS-RunShellScript, or - for standard input.

  --parameters   in JSON, as the AWS CLI takes them: '{\"commands\": [\"uptime\"]}'

Exit code 0 when every step that had to succeed did.
";
