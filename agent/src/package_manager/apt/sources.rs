//! Reads sources.list(5) in both its formats, and names the files apt keeps for a source.
//! Never guesses from the file names found: a list nobody configures any more is not apt's, nor ours.

use std::path::Path;

use crate::package_manager::deb822::{self, Stanza, StanzaReader};
use crate::package_manager::file::{self, Warnings};

/// The longest sources file read.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Sources taken: each is a URI with one suite.
pub const SOURCES_MAX: usize = 1024;

/// One binary source: a URI with one suite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Ends with `/`.
    pub uri: String,
    /// `bookworm-security`, or for a flat repository a path that ends with `/`.
    pub suite: String,
    /// `main` and so on; empty for a flat repository.
    pub components: Vec<String>,
    /// `arch=`, `arch+=` and `arch-=`.
    pub architectures: Selection,
    /// `trusted=`: the administrator's word instead of the signature.
    pub trusted: Option<bool>,
}

/// A list with a default, as options write it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Replaces the default.
    pub only: Option<Vec<String>>,
    /// Added.
    pub plus: Vec<String>,
    /// Taken away.
    pub minus: Vec<String>,
}

impl Selection {
    /// The default with the changes applied.
    #[must_use]
    pub fn apply(&self, default: &[String]) -> Vec<String> {
        let mut chosen = self.only.clone().unwrap_or_else(|| default.to_vec());
        for name in &self.plus {
            if !chosen.contains(name) {
                chosen.push(name.clone());
            }
        }
        chosen.retain(|name| !self.minus.contains(name));
        chosen
    }
}

impl Source {
    /// Whether the packages lie beside the Release file, without components.
    #[must_use]
    pub fn is_flat(&self) -> bool {
        self.suite.ends_with('/')
    }

    /// The host, which `Pin: origin` names; empty for a local source.
    #[must_use]
    pub fn site(&self) -> String {
        let (host, _) = host_and_path(&self.uri);
        match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name.to_owned(),
            _ => host,
        }
    }

    /// Whether it is a disk or directory of this machine, which nobody vouches for.
    #[must_use]
    pub fn is_local(&self) -> bool {
        let (scheme, _) = split_scheme(&self.uri);
        ["file", "copy", "cdrom"]
            .iter()
            .any(|local| scheme.eq_ignore_ascii_case(local))
    }

    /// The name in apt's lists directory of a file beside the Release file.
    #[must_use]
    pub fn list_name(&self, relative: &str) -> String {
        let base = match self.suite.as_str() {
            "/" => self.uri.clone(),
            flat if self.is_flat() => format!("{}{flat}", self.uri),
            suite => format!("{}dists/{suite}/", self.uri),
        };
        escape(&format!("{base}{relative}"))
    }
}

fn split_scheme(uri: &str) -> (&str, &str) {
    uri.split_once(':').unwrap_or(("", uri))
}

/// The host with its port, without credentials and brackets, and the rest of a URI.
fn host_and_path(uri: &str) -> (String, &str) {
    let (_, rest) = split_scheme(uri);
    let (authority, path) = match rest.strip_prefix("//") {
        Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
        // A disk's name stands in brackets, and may hold anything.
        None if rest.starts_with('[') => rest.split_at(rest.find(']').map_or(0, |end| end + 1)),
        None => ("", rest),
    };
    let host = authority.rsplit('@').next().unwrap_or_default();
    (host.replace(['[', ']'], ""), path)
}

/// apt's file name for a URI: without scheme and credentials, `/` as `_`, the rest quoted.
fn escape(uri: &str) -> String {
    let (host, path) = host_and_path(uri);
    let rest = host + path;
    let mut name = String::with_capacity(rest.len());
    for (at, byte) in rest.bytes().enumerate() {
        let is_quoted = || {
            let digits = rest.as_bytes().get(at + 1..at + 3);
            digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
        };
        match byte {
            b'/' => name.push('_'),
            b'%' if is_quoted() => name.push('%'),
            plain if plain.is_ascii_graphic() && !b"\\|{}[]<>\"^~_=!@#$%^&*".contains(&plain) => {
                name.push(char::from(plain));
            }
            other => name.push_str(&format!("%{other:02x}")),
        }
    }
    name
}

/// Reads `sources.list` and `sources.list.d` below `root`; `native` replaces `$(ARCH)`.
pub fn read(root: &Path, native: &str, warnings: &mut Warnings) -> Vec<Source> {
    let directory = root.join("etc/apt/sources.list.d");
    let mut paths = vec![root.join("etc/apt/sources.list")];
    paths.extend(file::parts(&directory, &["list", "sources"], warnings));
    let mut sources = Vec::new();
    for path in paths {
        let Some(content) = file::read_optional(&path, FILE_BYTES_MAX, warnings) else {
            continue;
        };
        if path
            .extension()
            .is_some_and(|extension| extension == "sources")
        {
            read_stanzas(&content, &path, native, &mut sources, warnings);
        } else {
            read_lines(&content, &path, native, &mut sources, warnings);
        }
        if sources.len() > SOURCES_MAX {
            warnings.push(
                &path,
                format_args!("sources above the {SOURCES_MAX} allowed are ignored"),
            );
            sources.truncate(SOURCES_MAX);
        }
    }
    sources
}

fn read_lines(
    content: &[u8],
    path: &Path,
    native: &str,
    sources: &mut Vec<Source>,
    warnings: &mut Warnings,
) {
    for (number, line) in String::from_utf8_lossy(content).lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() || line.starts_with("deb-src") {
            continue;
        }
        match parse_line(line, native) {
            Some(source) => sources.push(source),
            None => warnings.push(
                path,
                format_args!("line {} ignored: not a source", number + 1),
            ),
        }
    }
}

/// `deb [ option=value … ] uri suite component…`
fn parse_line(line: &str, native: &str) -> Option<Source> {
    let rest = line.strip_prefix("deb")?;
    let rest = rest
        .strip_prefix([' ', '\t', '['].as_slice())
        .and(Some(rest))?
        .trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let (uri, rest) = split_uri(rest.trim_start())?;
    let mut words = rest.split_ascii_whitespace();
    let mut source = new_source(uri, words.next()?, native)?;
    source.components = words.map(str::to_owned).collect();
    for option in options.split_ascii_whitespace() {
        let (name, value) = option.split_once('=')?;
        let list = || value.split(',').map(str::to_owned).collect();
        match name.to_ascii_lowercase().as_str() {
            "arch" => source.architectures.only = Some(list()),
            "arch+" => source.architectures.plus = list(),
            "arch-" => source.architectures.minus = list(),
            "trusted" => source.trusted = truth(value),
            _ => {}
        }
    }
    (source.is_flat() == source.components.is_empty()).then_some(source)
}

/// The first word, in which brackets protect blanks: `cdrom:[Debian 12 amd64]/`.
fn split_uri(text: &str) -> Option<(&str, &str)> {
    let protected = text.find(char::is_whitespace).and_then(|blank| {
        let open = text.find('[').filter(|open| *open < blank)?;
        Some(open + text.get(open..)?.find(']')?)
    });
    let from = protected.unwrap_or(0);
    let end = from + text.get(from..)?.find(char::is_whitespace)?;
    text.split_at_checked(end)
}

fn read_stanzas(
    content: &[u8],
    path: &Path,
    native: &str,
    sources: &mut Vec<Source>,
    warnings: &mut Warnings,
) {
    let content = deb822::without_comments(content);
    let mut stanzas = StanzaReader::new(content.as_slice());
    loop {
        match stanzas.next_stanza() {
            Ok(None) => return,
            Ok(Some(stanza)) => {
                if parse_stanza(stanza, native, sources).is_none() {
                    warnings.push(path, "a stanza was ignored: not a source");
                }
            }
            Err(error) => {
                return warnings.push(path, format_args!("the rest was ignored: {error}"));
            }
        }
    }
}

fn parse_stanza(stanza: Stanza<'_>, native: &str, sources: &mut Vec<Source>) -> Option<()> {
    let words = |name: &str| -> Option<Vec<String>> {
        let text = stanza.text_of(name)?;
        Some(text.split_ascii_whitespace().map(str::to_owned).collect())
    };
    let disabled = stanza.text_of("Enabled").and_then(truth) == Some(false);
    if disabled || !words("Types")?.iter().any(|kind| kind == "deb") {
        return Some(());
    }
    let suites = words("Suites")?;
    for uri in words("URIs")? {
        for suite in &suites {
            let mut source = new_source(&uri, suite, native)?;
            source.components = words("Components").unwrap_or_default();
            source.architectures = Selection {
                only: words("Architectures"),
                plus: words("Architectures-Add").unwrap_or_default(),
                minus: words("Architectures-Remove").unwrap_or_default(),
            };
            source.trusted = stanza.text_of("Trusted").and_then(truth);
            (source.is_flat() == source.components.is_empty()).then_some(())?;
            if sources.len() > SOURCES_MAX {
                return Some(());
            }
            sources.push(source);
        }
    }
    Some(())
}

fn new_source(uri: &str, suite: &str, native: &str) -> Option<Source> {
    let mut uri = uri.replace("$(ARCH)", native);
    uri.contains(':').then_some(())?;
    if !uri.ends_with('/') {
        uri.push('/');
    }
    Some(Source {
        uri,
        suite: suite.replace("$(ARCH)", native),
        components: Vec::new(),
        architectures: Selection::default(),
        trusted: None,
    })
}

/// apt's words for true and false.
fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "true" | "with" | "on" | "enable" | "1" => Some(true),
        "no" | "false" | "without" | "off" | "disable" | "0" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package_manager::apt::fixture::Root;
    use proptest::prelude::*;
    use std::fs;

    fn sources(name: &str, content: &str) -> (Vec<Source>, Warnings) {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("etc/apt").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        let mut warnings = Warnings::default();
        (read(root.path(), "amd64", &mut warnings), warnings)
    }

    #[test]
    fn both_formats_say_the_same() {
        let (lines, _) = sources(
            "sources.list",
            "# deb http://no no no\ndeb-src http://x y z\n\
             deb [ arch=amd64,i386 trusted=yes signed-by=/k ] http://u:p@host:81/debian a main contrib # why\n\
             deb [arch=amd64,i386 trusted=yes] http://u:p@host:81/debian b main contrib\n",
        );
        let (stanzas, _) = sources(
            "sources.list.d/x.sources",
            "Types: deb deb-src\n# comment\nURIs: http://u:p@host:81/debian/\nSuites: a b\n\
             Components: main\n# another\n contrib\nArchitectures: amd64 i386\nTrusted: yes\n\n\
             Types: deb\nEnabled: no\nURIs: http://off\nSuites: s\nComponents: c\n",
        );
        assert_eq!(lines, stanzas);
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0].site(), "host");
    }

    #[test]
    fn files_are_named_as_apt_names_them() {
        let root = Root::installed(&[]);
        root.write(
            "etc/apt/sources.list",
            "deb cdrom:[Debian GNU/Linux 12 _Bookworm_ - amd64 20230610-10:21]/ bookworm main contrib\n\
             deb [arch=amd64] http://u:p@host:81/d~x stable/updates main # why\n\
             deb file:/srv/repo ./\ndeb file:///srv/repo2 /\ndeb https://h/x_y sub/$(ARCH)/\n\
             deb mirror+file:///etc/apt/mirrors/debian.list stable main\n\
             deb http://[::1]:8080/a stable main\ndeb http://HOST.example/A%20b/ stable main\n",
        );
        let format = "--format=$(CREATED_BY) $(FILENAME)";
        let output = root.ask(
            "apt-get",
            &["indextargets", "--no-release-info", format],
            "apt",
        );
        let text = String::from_utf8(output.stdout).unwrap();
        let of_apt: Vec<_> = text
            .lines()
            .filter_map(|line| Some(line.strip_prefix("Packages ")?.rsplit_once('/')?.1))
            .filter(|name| !name.contains("_binary-all_") && !name.contains("_binary-i386_"))
            .collect();

        let mut warnings = Warnings::default();
        let mut names = Vec::new();
        for source in read(root.path(), "amd64", &mut warnings) {
            for component in &source.components {
                names.push(source.list_name(&format!("{component}/binary-amd64/Packages")));
            }
            if source.is_flat() {
                names.push(source.list_name("Packages"));
            }
        }
        assert_eq!(names, of_apt);
        assert_eq!(names.len(), 9);
        assert_eq!(warnings, Warnings::default());
    }

    #[test]
    fn local_sources_and_hosts_are_told_apart() {
        let (sources, warnings) = sources(
            "sources.list",
            "deb file:/srv/repo ./\ndeb http://[::1]:80/ s c\ndeb copy:/x s c\ndeb tor+https://h/ s c\nnonsense\n",
        );
        let found: Vec<_> = sources
            .iter()
            .map(|source| (source.is_local(), source.site()))
            .collect();
        let expected = [(true, ""), (false, "::1"), (true, ""), (false, "h")];
        assert_eq!(
            found,
            expected.map(|(local, site)| (local, site.to_owned()))
        );
        assert_eq!(warnings.list.len(), 1);
    }

    #[test]
    fn architectures_are_chosen_added_and_taken_away() {
        let (sources, _) = sources(
            "sources.list",
            "deb [arch+=armhf arch-=i386] http://h s c\n",
        );
        let default = ["amd64".to_owned(), "i386".to_owned()];
        assert_eq!(sources[0].architectures.apply(&default), ["amd64", "armhf"]);
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "(deb|deb-src|\\[|\\]|=|arch|:|/| |\n|Types: deb|URIs: a:b|Suites: |\\PC){0,30}") {
            let _ = sources("sources.list", &text);
            let _ = sources("sources.list.d/a.sources", &text);
        }
    }
}
