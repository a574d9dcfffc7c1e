//! AWS:Service: systemd's services as their unit files and processes show them, else SysV scripts.
//! Never asks systemd, which may not run; drop-in files are not looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::Inventory;
use crate::package_manager::file::{self, Warnings};

const COLUMNS: [&str; 7] = [
    "Name",
    "DisplayName",
    "ServiceType",
    "Status",
    "DependentServices",
    "ServicesDependedOn",
    "StartType",
];
/// Where unit files lie; of several of one name the first counts (systemd.unit(5)).
const UNIT_DIRECTORIES: [&str; 5] = [
    "etc/systemd/system",
    "run/systemd/system",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
];
/// The longest unit file read.
const FILE_BYTES_MAX: u64 = 256 * 1024;
/// Services listed.
const SERVICES_MAX: usize = 4096;
/// Processes looked at.
const PROCESSES_MAX: usize = 65_536;

/// Lists the services below `root`.
#[must_use]
pub fn gather(root: &Path) -> Inventory {
    let mut warnings = Warnings::default();
    let mut services = units(root, &mut warnings);
    let running = running_units(root);
    for (name, service) in &mut services {
        service.running |= running.contains(name);
    }
    add_scripts(root, &mut services, &mut warnings);
    if services.len() > SERVICES_MAX {
        let problem = format!(
            "only {SERVICES_MAX} of {} services are listed",
            services.len()
        );
        warnings.push(root, problem);
    }
    let mut dependents: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, service) in &services {
        for needed in &service.needs {
            dependents.entry(needed).or_default().push(name);
        }
    }
    let rows = services.iter().take(SERVICES_MAX).map(|(name, service)| {
        vec![
            name.clone(),
            service.description.clone(),
            service.kind.clone(),
            if service.running {
                "Running"
            } else {
                "Stopped"
            }
            .to_owned(),
            dependents
                .get(name.as_str())
                .map_or_else(String::new, |names| names.join(",")),
            service.needs.iter().cloned().collect::<Vec<_>>().join(","),
            service.start.as_str().to_owned(),
        ]
    });
    let rows = rows.collect();
    Inventory::new("AWS:Service", 1, &COLUMNS, rows, warnings)
}

/// When a service starts, in the words that the schema knows from Windows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum StartType {
    /// Another unit, such as a boot target, wants it.
    Automatic,
    /// When someone or something asks for it.
    #[default]
    Manual,
    /// Masked: never.
    Disabled,
}

impl StartType {
    fn as_str(self) -> &'static str {
        match self {
            Self::Automatic => "Automatic",
            Self::Manual => "Manual",
            Self::Disabled => "Disabled",
        }
    }
}

#[derive(Debug, Default)]
struct Service {
    description: String,
    kind: String,
    needs: BTreeSet<String>,
    start: StartType,
    running: bool,
}

/// What a directory of units says of one name.
enum Unit {
    File(PathBuf),
    /// A link to `/dev/null`.
    Masked,
    /// A link to a unit of another name, which is listed under that.
    Alias,
}

fn units(root: &Path, warnings: &mut Warnings) -> BTreeMap<String, Service> {
    let mut found: BTreeMap<String, Unit> = BTreeMap::new();
    let mut wanted = BTreeSet::new();
    for directory in UNIT_DIRECTORIES.map(|directory| root.join(directory)) {
        for name in file::names_in(&directory, warnings) {
            if name.ends_with(".wants") || name.ends_with(".requires") {
                wanted.extend(file::names_in(&directory.join(&name), warnings));
            } else if name.ends_with(".service") {
                let unit = unit(directory.join(&name), &name);
                found.entry(name).or_insert(unit);
            }
        }
    }
    wanted.retain(|name| name.ends_with(".service"));

    let mut services = BTreeMap::new();
    let plain = found.keys().filter(|name| !name.contains("@."));
    let names: BTreeSet<String> = plain.chain(&wanted).cloned().collect();
    for name in names {
        let unit = found.get(&name).or_else(|| found.get(&template_of(&name)?));
        let mut service = match unit {
            Some(Unit::File(path)) => read_unit(path, warnings),
            Some(Unit::Masked) => Service {
                start: StartType::Disabled,
                ..Service::default()
            },
            // What is wanted and not there does not start.
            Some(Unit::Alias) | None => continue,
        };
        if wanted.contains(&name) && service.start != StartType::Disabled {
            service.start = StartType::Automatic;
        }
        services.insert(name, service);
    }
    services
}

fn unit(path: PathBuf, name: &str) -> Unit {
    let Ok(target) = fs::read_link(&path) else {
        return Unit::File(path);
    };
    match target.file_name().and_then(|target| target.to_str()) {
        _ if target == Path::new("/dev/null") => Unit::Masked,
        Some(target) if target == name => Unit::File(path),
        Some(_) | None => Unit::Alias,
    }
}

/// `getty@tty1.service` is an instance of `getty@.service`.
fn template_of(name: &str) -> Option<String> {
    let (prefix, _) = name.split_once('@')?;
    Some(format!("{prefix}@.service"))
}

fn read_unit(path: &Path, warnings: &mut Warnings) -> Service {
    let content = file::read_optional(path, FILE_BYTES_MAX, warnings).unwrap_or_default();
    parse_unit(&String::from_utf8_lossy(&content))
}

fn parse_unit(text: &str) -> Service {
    let mut service = Service {
        kind: "simple".to_owned(),
        ..Service::default()
    };
    let mut section = "";
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
            continue;
        }
        let Some((name, value)) = line.split_once('=') else {
            continue;
        };
        let value = value.trim();
        match (section, name.trim_end()) {
            ("[Unit]", "Description") => value.clone_into(&mut service.description),
            ("[Unit]", "Requires" | "Requisite" | "BindsTo") => {
                let units = value.split_ascii_whitespace();
                let needed = units.filter(|unit| unit.ends_with(".service"));
                service.needs.extend(needed.map(str::to_owned));
            }
            ("[Service]", "Type") => value.clone_into(&mut service.kind),
            _ => {}
        }
    }
    service
}

/// The services that have processes: systemd gives each service a control group of its name.
fn running_units(root: &Path) -> BTreeSet<String> {
    let mut running = BTreeSet::new();
    let processes = fs::read_dir(root.join("proc")).into_iter().flatten();
    for entry in processes.flatten().take(PROCESSES_MAX) {
        let is_process = entry.file_name().to_str().is_some_and(is_number);
        if !is_process {
            continue;
        }
        let content = fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        let paths = content
            .lines()
            .filter_map(|line| line.splitn(3, ':').nth(2));
        running.extend(paths.filter_map(|path| {
            let mut groups = path.split('/');
            groups
                .find(|group| group.ends_with(".service"))
                .map(str::to_owned)
        }));
    }
    running
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Adds the scripts of `init.d` that no unit stands for.
fn add_scripts(root: &Path, services: &mut BTreeMap<String, Service>, warnings: &mut Warnings) {
    let mut started = BTreeSet::new();
    for level in 2..=5 {
        let links = file::names_in(&root.join(format!("etc/rc{level}.d")), warnings);
        // `S01cron` starts cron.
        let names = links
            .iter()
            .filter_map(|link| link.strip_prefix('S')?.get(2..));
        started.extend(names.map(str::to_owned));
    }
    for name in file::names_in(&root.join("etc/init.d"), warnings) {
        let is_unit = services.contains_key(&format!("{name}.service"));
        if is_unit || name.starts_with('.') || name == "README" || name == "skeleton" {
            continue;
        }
        let pid = file::first_line(&root.join(format!("run/{name}.pid")));
        let running = pid
            .filter(|pid| is_number(pid))
            .is_some_and(|pid| root.join("proc").join(pid).is_dir());
        let start = match started.contains(&name) {
            true => StartType::Automatic,
            false => StartType::Manual,
        };
        let service = Service {
            kind: "sysv".to_owned(),
            start,
            running,
            ..Service::default()
        };
        services.insert(name, service);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::symlink;

    fn write(root: &Path, path: &str, content: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn row(inventory: &Inventory, name: &str) -> Option<Vec<String>> {
        inventory.rows.iter().find(|row| row[0] == name).cloned()
    }

    #[test]
    fn units_masks_aliases_and_instances_are_told_apart() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let lib = "usr/lib/systemd/system";
        write(
            root,
            &format!("{lib}/a.service"),
            "[Unit]\nDescription=A\n[Service]\nType=notify\n",
        );
        write(
            root,
            &format!("{lib}/b.service"),
            "[Unit]\nRequires=a.service x.target\n",
        );
        write(root, &format!("{lib}/c.service"), "[Unit]\nDescription=C\n");
        write(
            root,
            &format!("{lib}/t@.service"),
            "[Unit]\nDescription=T\n",
        );
        write(root, "proc/12/cgroup", "0::/system.slice/a.service/inner\n");
        let etc = root.join("etc/systemd/system");
        fs::create_dir_all(etc.join("multi-user.target.wants")).unwrap();
        symlink(
            "/lib/systemd/system/a.service",
            etc.join("multi-user.target.wants/a.service"),
        )
        .unwrap();
        symlink(
            "/lib/systemd/system/t@.service",
            etc.join("multi-user.target.wants/t@1.service"),
        )
        .unwrap();
        symlink("/lib/systemd/system/a.service", etc.join("alias.service")).unwrap();
        symlink("/dev/null", etc.join("c.service")).unwrap();
        write(root, "etc/init.d/a", "");
        write(root, "etc/init.d/old", "");
        write(root, "etc/rc2.d/S01old", "");

        let inventory = gather(root);
        let found: Vec<_> = inventory
            .rows
            .iter()
            .map(|row| format!("{} {} {} {}", row[0], row[2], row[3], row[6]))
            .collect();
        assert_eq!(
            found,
            [
                "a.service notify Running Automatic",
                "b.service simple Stopped Manual",
                "c.service  Stopped Disabled",
                "old sysv Stopped Automatic",
                "t@1.service simple Stopped Automatic",
            ]
        );
        assert_eq!(row(&inventory, "a.service").unwrap()[4], "b.service");
        assert_eq!(row(&inventory, "b.service").unwrap()[5], "a.service");
        assert_eq!(inventory.warnings, Warnings::default());
    }

    proptest! {
        #[test]
        fn any_unit_is_read(text in "([\\[\\]= \n]|Unit|Service|Type|Requires|\\PC){0,40}") {
            let _ = parse_unit(&text);
        }
    }
}
