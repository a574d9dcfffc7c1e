//! Man pages and completions from what the program itself says to `--help`, so that they agree.
//! Never words of their own but headings.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// A verb with its help; the program's own help has no words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verb {
    /// Such as `patch scan`.
    pub words: String,
    /// What `--help` prints.
    pub help: String,
}

/// The manual page, section 8.
#[must_use]
pub fn page(program: &str, version: &str, summary: &str, verbs: &[Verb]) -> Vec<u8> {
    let mut page = format!(
        ".TH {} 8 \"\" \"Holdfast {}\" \"Holdfast\"\n.SH NAME\n{} \\- {}\n",
        program.to_uppercase(),
        roff(version),
        roff(program),
        roff(summary)
    );
    for verb in verbs {
        let heading = if verb.words.is_empty() {
            "DESCRIPTION".to_owned()
        } else {
            verb.words.to_uppercase()
        };
        page += &format!(".SH {}\n.nf\n", roff(&heading));
        for line in verb.help.trim_end().lines() {
            page += &roff(line);
            page.push('\n');
        }
        page += ".fi\n";
    }
    page.into_bytes()
}

/// Text that roff shows as it is.
fn roff(line: &str) -> String {
    let line = line.trim_end().replace('\\', "\\e").replace('-', "\\-");
    if line.starts_with(['.', '\'']) {
        format!("\\&{line}")
    } else {
        line
    }
}

/// Words that may follow each beginning of a command line, longest beginnings first.
fn following(verbs: &[Verb]) -> Vec<(String, BTreeSet<String>)> {
    let mut following: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for verb in verbs {
        let mut before = String::new();
        for word in verb.words.split_whitespace() {
            following
                .entry(before.clone())
                .or_default()
                .insert(word.to_owned());
            before += word;
            before.push(' ');
        }
        following
            .entry(before)
            .or_default()
            .extend(flags(&verb.help));
    }
    let mut following: Vec<_> = following.into_iter().collect();
    following.sort_by_key(|(before, _)| std::cmp::Reverse(before.len()));
    following
}

/// The long flags that a help text names.
fn flags(help: &str) -> impl Iterator<Item = String> {
    help.split("--").skip(1).filter_map(|rest| {
        let end =
            rest.find(|at: char| !(at.is_ascii_lowercase() || at.is_ascii_digit() || at == '-'));
        let name = rest.get(..end.unwrap_or(rest.len()))?.trim_end_matches('-');
        (name.len() > 1).then(|| format!("--{name}"))
    })
}

fn cases(verbs: &[Verb], act: &str) -> String {
    let mut text = String::new();
    for (before, words) in following(verbs) {
        let words: Vec<_> = words.into_iter().collect();
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "        \"{before}\"*) {} ;;",
            act.replace("WORDS", &words.join(" "))
        );
    }
    text
}

/// For bash.
#[must_use]
pub fn bash(program: &str, verbs: &[Verb]) -> Vec<u8> {
    let function = program.replace('-', "_");
    format!(
        "_{function}() {{\n    local words=\n    case \"${{COMP_WORDS[*]:1:COMP_CWORD-1}} \" in\n{}    esac\n    \
         mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"${{COMP_WORDS[COMP_CWORD]}}\")\n}}\n\
         complete -o default -F _{function} {program}\n",
        // Nothing typed yet leaves one blank.
        cases(verbs, "words=\"WORDS\"").replace("\"\"*)", "*)")
    )
    .into_bytes()
}

/// For zsh.
#[must_use]
pub fn zsh(program: &str, verbs: &[Verb]) -> Vec<u8> {
    format!(
        "#compdef {program}\n\ncase \"${{words[2,CURRENT-1]}} \" in\n{}esac\n_files\n",
        cases(verbs, "compadd -- WORDS")
            .replace("\"\"*)", "*)")
            .replace("        ", "    ")
    )
    .into_bytes()
}

/// For fish.
#[must_use]
pub fn fish(program: &str, verbs: &[Verb]) -> Vec<u8> {
    let mut text = String::new();
    for (before, words) in following(verbs) {
        let last = before.split_whitespace().last();
        let condition = last.map_or_else(
            || "__fish_use_subcommand".to_owned(),
            |last| format!("__fish_seen_subcommand_from {last}"),
        );
        for word in words {
            let what = word
                .strip_prefix("--")
                .map_or_else(|| format!("-a {word}"), |flag| format!("-l {flag}"));
            let _ = writeln!(text, "complete -c {program} -n \"{condition}\" {what}");
        }
    }
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verbs() -> Vec<Verb> {
        let verb = |words: &str, help: &str| Verb {
            words: words.into(),
            help: help.into(),
        };
        vec![
            verb("", "Does things. --help helps.\n"),
            verb(
                "patch scan",
                "prog patch scan [--root DIR] [--json]\n\n.dot \\ --root\n",
            ),
            verb("run", "prog run --bridge mqtts://HOST\n"),
        ]
    }

    #[test]
    fn the_page_shows_each_verb_and_escapes_what_roff_would_read() {
        let page = String::from_utf8(page("prog-x", "1.0", "does things", &verbs())).unwrap();
        assert!(
            page.starts_with(".TH PROG-X 8 \"\" \"Holdfast 1.0\""),
            "{page}"
        );
        assert!(page.contains("prog\\-x \\- does things\n"), "{page}");
        assert!(page.contains(".SH PATCH SCAN\n.nf\n"), "{page}");
        assert!(page.contains("\\&.dot \\e \\-\\-root\n"), "{page}");
    }

    #[test]
    fn what_follows_is_a_verbs_words_then_its_flags() {
        let following = following(&verbs());
        let words = |before: &str| {
            let found = following.iter().find(|(known, _)| known == before);
            found.unwrap().1.iter().cloned().collect::<Vec<_>>()
        };
        assert_eq!(words(""), ["--help", "patch", "run"]);
        assert_eq!(words("patch "), ["scan"]);
        assert_eq!(words("patch scan "), ["--json", "--root"]);
        assert_eq!(following[0].0, "patch scan ");
    }

    #[test]
    fn bash_completes_the_words_it_was_given() {
        let script = String::from_utf8(bash("prog", &verbs())).unwrap();
        let ask = format!(
            "{script}COMP_WORDS=(prog patch scan --r); COMP_CWORD=3; _prog; echo \"${{COMPREPLY[*]}}\""
        );
        let output = std::process::Command::new("bash")
            .args(["-c", &ask])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "--root\n");
    }
}
