//! Reads dpkg's database of a root: its status file with the journal of an interrupted run laid over it.
//! Never takes dpkg's lock and never keeps the whole database: each package is shown once, then forgotten.

use std::io;
use std::path::{Path, PathBuf};

use super::deb822::{Stanza, StanzaError, StanzaReader};
use super::file::{self, Warnings};

/// Where the database lies below a root.
const STATUS: &str = "var/lib/dpkg/status";
/// What dpkg wrote since it last rewrote the status file: files of digits, to be applied in order.
const JOURNAL: &str = "var/lib/dpkg/updates";
/// Packages a database may record.
pub const PACKAGES_MAX: usize = 200_000;
/// dpkg rewrites the status file every 250 records, so its journal stays far below these.
const JOURNAL_RECORDS_MAX: usize = 1000;
const JOURNAL_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Why a database could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The status file cannot be opened.
    #[error("cannot open the package database {path}: is this a Debian root, and readable?")]
    Open {
        /// The status file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The status file, or a journal record, cannot be read to its end.
    #[error("cannot read the package database {path} to its end; `dpkg --audit` may say more")]
    Read {
        /// The file that failed.
        path: PathBuf,
        /// What failed in it.
        #[source]
        source: StanzaError,
    },
    /// More packages than [`PACKAGES_MAX`].
    #[error("the package database {path} records more than the {PACKAGES_MAX} packages allowed")]
    TooManyPackages {
        /// The status file.
        path: PathBuf,
    },
    /// The journal is larger than dpkg ever lets it grow.
    #[error(
        "dpkg's journal at {path} is above the {JOURNAL_RECORDS_MAX} records or \
         {JOURNAL_BYTES_MAX} bytes allowed; run `dpkg --configure -a`"
    )]
    JournalTooLarge {
        /// The journal's directory.
        path: PathBuf,
    },
}

/// What the administrator wants of a package (the first word of `Status`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// Nothing was ever said.
    Unknown,
    /// Installed.
    Install,
    /// Left at the version it has.
    Hold,
    /// Removed, its configuration kept.
    Deinstall,
    /// Removed with its configuration.
    Purge,
}

/// How far a package is installed (the third word of `Status`, dpkg(1)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Known, but not there.
    NotInstalled,
    /// Removed; its configuration files are left.
    ConfigFiles,
    /// Unpacking or removal was interrupted.
    HalfInstalled,
    /// Unpacked, not configured.
    Unpacked,
    /// Its configuration was interrupted or failed.
    HalfConfigured,
    /// Waits for another package to process its trigger.
    TriggersAwaited,
    /// Was triggered and has not processed it yet.
    TriggersPending,
    /// Unpacked and configured.
    Installed,
}

impl State {
    /// Whether a version is on the disk, however far it got: apt calls this the current version.
    #[must_use]
    pub fn is_present(self) -> bool {
        match self {
            Self::NotInstalled | Self::ConfigFiles => false,
            Self::HalfInstalled
            | Self::Unpacked
            | Self::HalfConfigured
            | Self::TriggersAwaited
            | Self::TriggersPending
            | Self::Installed => true,
        }
    }
}

/// The three words of a `Status` field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// What is wanted.
    pub want: Want,
    /// The package is broken and must be installed anew before anything else.
    pub reinstall_required: bool,
    /// How far it is installed.
    pub state: State,
}

impl Status {
    /// Reads `install ok installed` and the like; `None` for words that dpkg does not know.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_ascii_whitespace();
        let want = match words.next()? {
            "unknown" => Want::Unknown,
            "install" => Want::Install,
            "hold" => Want::Hold,
            "deinstall" => Want::Deinstall,
            "purge" => Want::Purge,
            _ => return None,
        };
        let reinstall_required = match words.next()? {
            "ok" => false,
            "reinstreq" => true,
            _ => return None,
        };
        let state = match words.next()? {
            "not-installed" => State::NotInstalled,
            "config-files" => State::ConfigFiles,
            "half-installed" => State::HalfInstalled,
            "unpacked" => State::Unpacked,
            "half-configured" => State::HalfConfigured,
            "triggers-awaited" => State::TriggersAwaited,
            "triggers-pending" => State::TriggersPending,
            "installed" => State::Installed,
            _ => return None,
        };
        Some(Self {
            want,
            reinstall_required,
            state,
        })
    }
}

/// One package as dpkg records it.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Its name, without an architecture.
    pub name: &'a str,
    /// `amd64`, `all`; empty in records that predate multi-arch.
    pub architecture: &'a str,
    /// Its version; empty for what was never installed.
    pub version: &'a str,
    /// What is wanted of it and how far it is.
    pub status: Status,
    /// All its fields.
    pub stanza: Stanza<'a>,
}

impl<'a> Record<'a> {
    /// Reads a stanza of the status file; `None` for one without a usable name or status.
    #[must_use]
    pub fn parse(stanza: Stanza<'a>) -> Option<Self> {
        let name = stanza.text_of("Package").filter(|name| is_name(name))?;
        Some(Self {
            name,
            architecture: stanza.text_of("Architecture").unwrap_or_default(),
            version: stanza.text_of("Version").unwrap_or_default(),
            status: Status::parse(stanza.text_of("Status")?)?,
            stanza,
        })
    }

    fn shares_its_name(&self) -> bool {
        self.stanza.bytes_of("Multi-Arch") == Some(b"same")
    }
}

/// Whether the text can be a package's name: no blanks, no separators, of a sane length.
fn is_name(text: &str) -> bool {
    (1..=255).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"/:,|()".contains(&byte))
}

/// Shows every package of the database below `root`, in the file's order, to `visit`.
///
/// After an interrupted run the journal tells the truth and the status file does not; a journal
/// record replaces the package's own.
///
/// # Errors
/// [`DatabaseError`]; a single stanza that says nothing usable is only a warning.
pub fn read(
    root: &Path,
    warnings: &mut Warnings,
    visit: &mut dyn FnMut(&Record<'_>),
) -> Result<(), DatabaseError> {
    let path = root.join(STATUS);
    let status = file::open(&path).map_err(|source| DatabaseError::Open {
        path: path.clone(),
        source,
    })?;
    let journal = Journal::read(&root.join(JOURNAL), warnings)?;
    let mut stanzas = StanzaReader::new(status);
    let mut count = 0;
    loop {
        let stanza = stanzas.next_stanza();
        let Some(stanza) = stanza.map_err(|source| DatabaseError::Read {
            path: path.clone(),
            source,
        })?
        else {
            break;
        };
        count += 1;
        if count > PACKAGES_MAX {
            return Err(DatabaseError::TooManyPackages { path });
        }
        match Record::parse(stanza) {
            Some(record) if journal.replaces(&record) => {}
            Some(record) => visit(&record),
            None => warnings.push(
                &path,
                format_args!("package {count} ignored: no name or status"),
            ),
        }
    }
    journal.show(visit);
    Ok(())
}

/// The records of the journal; of several for one package the last stands.
#[derive(Default)]
struct Journal {
    records: Vec<JournalRecord>,
    bytes: u64,
}

struct JournalRecord {
    name: String,
    stanza: Vec<u8>,
}

impl Journal {
    fn read(directory: &Path, warnings: &mut Warnings) -> Result<Self, DatabaseError> {
        let mut journal = Self::default();
        for name in file::names_in(directory, warnings) {
            if !name.bytes().all(|byte| byte.is_ascii_digit()) {
                continue;
            }
            let path = directory.join(name);
            match file::read(&path, JOURNAL_BYTES_MAX.saturating_sub(journal.bytes)) {
                Ok(content) => journal.add(&path, &content, warnings)?,
                // dpkg may have folded it into the status file since the directory was listed.
                Err(error) if file::is_absent(&error) => {}
                Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                    let path = directory.to_path_buf();
                    return Err(DatabaseError::JournalTooLarge { path });
                }
                Err(source) => return Err(DatabaseError::Open { path, source }),
            }
        }
        Ok(journal)
    }

    fn add(
        &mut self,
        path: &Path,
        content: &[u8],
        warnings: &mut Warnings,
    ) -> Result<(), DatabaseError> {
        self.bytes = self.bytes.saturating_add(content.len() as u64);
        let mut stanzas = StanzaReader::new(content);
        loop {
            let stanza = stanzas.next_stanza();
            let Some(stanza) = stanza.map_err(|source| DatabaseError::Read {
                path: path.to_path_buf(),
                source,
            })?
            else {
                return Ok(());
            };
            let Some(record) = Record::parse(stanza) else {
                // dpkg may leave padding behind a record; anything else is worth a word.
                if !stanza.bytes().iter().all(u8::is_ascii_control) {
                    warnings.push(path, "ignored: no name or status");
                }
                continue;
            };
            self.records.retain(|older| !older.is_replaced_by(&record));
            self.records.push(JournalRecord {
                name: record.name.to_owned(),
                stanza: stanza.bytes().to_vec(),
            });
            if self.records.len() > JOURNAL_RECORDS_MAX {
                let path = path.to_path_buf();
                return Err(DatabaseError::JournalTooLarge { path });
            }
        }
    }

    fn replaces(&self, older: &Record<'_>) -> bool {
        self.records
            .iter()
            .filter(|newer| newer.name == older.name)
            .filter_map(|newer| Record::parse(Stanza::new(&newer.stanza)))
            .any(|newer| supersedes(&newer, older))
    }

    fn show(&self, visit: &mut dyn FnMut(&Record<'_>)) {
        for record in &self.records {
            if let Some(record) = Record::parse(Stanza::new(&record.stanza)) {
                visit(&record);
            }
        }
    }
}

impl JournalRecord {
    fn is_replaced_by(&self, newer: &Record<'_>) -> bool {
        self.name == newer.name
            && Record::parse(Stanza::new(&self.stanza))
                .is_some_and(|older| supersedes(newer, &older))
    }
}

/// Whether two records are of one package: the same architecture, or a name that only one
/// architecture can have, so that a package may move from `all` to `amd64`.
fn supersedes(newer: &Record<'_>, older: &Record<'_>) -> bool {
    newer.name == older.name
        && (newer.architecture == older.architecture
            || !(newer.shares_its_name() || older.shares_its_name()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::fs;
    use std::process::Command;

    /// A root whose database is the given status file and journal files.
    fn root(status: &str, journal: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join(JOURNAL)).unwrap();
        fs::write(root.path().join(STATUS), status).unwrap();
        for (name, content) in journal {
            fs::write(root.path().join(JOURNAL).join(name), content).unwrap();
        }
        root
    }

    fn stanza(name: &str, architecture: &str, version: &str, status: &str, more: &str) -> String {
        format!(
            "Package: {name}\nStatus: {status}\nMaintainer: M <m@example.org>\n\
             Architecture: {architecture}\nVersion: {version}\n{more}Description: d\n\n"
        )
    }

    fn rows(root: &Path) -> (BTreeSet<String>, Warnings) {
        let mut rows = BTreeSet::new();
        let mut warnings = Warnings::default();
        read(root, &mut warnings, &mut |record| {
            let words = record.stanza.text_of("Status").unwrap();
            rows.insert(format!(
                "{} {} {} {words}",
                record.name, record.architecture, record.version
            ));
        })
        .unwrap();
        (rows, warnings)
    }

    fn dpkg_query_rows(root: &Path) -> BTreeSet<String> {
        let output = Command::new("dpkg-query")
            .arg("--admindir")
            .arg(root.join("var/lib/dpkg"))
            .args([
                "-W",
                "-f",
                "${Package} ${Architecture} ${Version} ${Status}\\n",
            ])
            .output()
            .expect("this test asks `dpkg-query` (Debian package dpkg)");
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn this_machines_database_is_what_dpkg_query_lists() {
        let (rows, warnings) = rows(Path::new("/"));
        assert_eq!(rows, dpkg_query_rows(Path::new("/")));
        assert_eq!(warnings, Warnings::default());
    }

    #[test]
    fn the_journal_of_an_interrupted_run_is_laid_over_the_status_file() {
        let same = "Multi-Arch: same\n";
        let status = [
            stanza("a", "amd64", "1", "install ok installed", ""),
            stanza("b", "amd64", "1", "hold ok installed", same),
            stanza("b", "i386", "1", "install ok installed", same),
            stanza("c", "all", "1", "install ok installed", ""),
        ]
        .concat();
        let journal = [
            stanza("a", "amd64", "2", "install reinstreq half-installed", ""),
            stanza("a", "amd64", "2", "install ok unpacked", ""),
            stanza("b", "i386", "2", "install ok half-configured", same),
            stanza(
                "c",
                "amd64",
                "2",
                "install ok triggers-pending",
                "Triggers-Pending: x\n",
            ),
            stanza("new", "amd64", "1:1", "install ok installed", ""),
        ];
        let files: Vec<_> = ["0000", "0001", "0002", "0003", "0004"]
            .into_iter()
            .zip(journal.iter().map(String::as_str))
            .chain([("tmp.i", "Package: half-writ")])
            .collect();
        let root = root(&status, &files);

        let (rows, warnings) = rows(root.path());
        assert_eq!(
            rows.iter().map(String::as_str).collect::<Vec<_>>(),
            [
                "a amd64 2 install ok unpacked",
                "b amd64 1 hold ok installed",
                "b i386 2 install ok half-configured",
                "c amd64 2 install ok triggers-pending",
                "new amd64 1:1 install ok installed",
            ]
        );
        assert_eq!(rows, dpkg_query_rows(root.path()));
        assert_eq!(warnings, Warnings::default());
    }

    #[test]
    fn a_stanza_that_says_nothing_is_a_warning_and_the_rest_stands() {
        let status = stanza("a", "amd64", "1", "install ok installed", "")
            + "Package: ../../etc/passwd\nStatus: install ok installed\n\n"
            + "Package: b\nStatus: install fine installed\n\n"
            + &stanza("c", "amd64", "1", "install ok installed", "");
        let root = root(&status, &[]);
        let (rows, warnings) = rows(root.path());
        assert_eq!((rows.len(), warnings.list.len()), (2, 2));
    }

    #[test]
    fn an_absent_database_is_refused_with_its_path() {
        let root = tempfile::tempdir().unwrap();
        let refused = read(root.path(), &mut Warnings::default(), &mut |_| {}).unwrap_err();
        assert!(matches!(refused, DatabaseError::Open { .. }));
        assert!(refused.to_string().contains("var/lib/dpkg/status"));
    }

    #[test]
    fn a_journal_beyond_what_dpkg_writes_is_refused() {
        let record = |number| {
            stanza(
                &format!("p{number}"),
                "all",
                "1",
                "install ok installed",
                "",
            )
        };
        let journal: String = (0..=JOURNAL_RECORDS_MAX).map(record).collect();
        let root = root("", &[("0000", &journal)]);
        let refused = read(root.path(), &mut Warnings::default(), &mut |_| {}).unwrap_err();
        assert!(matches!(refused, DatabaseError::JournalTooLarge { .. }));
    }

    proptest! {
        #[test]
        fn any_status_file_is_read_or_refused(content in "(Package: |Status: |install ok installed|[a-z:\n ]){0,40}") {
            let root = root(&content, &[("0001", &content)]);
            let _ = read(root.path(), &mut Warnings::default(), &mut |record| {
                assert!(is_name(record.name));
            });
        }
    }
}
