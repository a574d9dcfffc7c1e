//! Pages of docs/install/: the commands that a reader is told to type as root, by heading.
//! Never a command that the page does not show.

use anyhow::{Context as _, Result, ensure};
use std::path::Path;

/// A page's root commands, with words that stand for a reader's own values.
#[derive(Debug)]
pub(super) struct Page {
    name: String,
    text: String,
    fills: Vec<(String, String)>,
}

impl Page {
    /// Reads a page.
    ///
    /// # Errors
    /// When it is not there.
    pub(super) fn read(root: &Path, name: &str) -> Result<Self> {
        let path = root.join("docs").join("install").join(name);
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Ok(Self {
            name: name.to_owned(),
            text,
            fills: Vec::new(),
        })
    }

    /// From now on, a word of capitals stands for a value.
    pub(super) fn fill(&mut self, word: &str, value: &str) {
        self.fills.retain(|(known, _)| known != word);
        self.fills.push((word.to_owned(), value.to_owned()));
    }

    /// The commands below a heading, in order: lines of `console` blocks that begin with `# `.
    ///
    /// # Errors
    /// When the page has no such heading, or it shows no command.
    pub(super) fn commands(&self, heading: &str) -> Result<Vec<String>> {
        let mut commands = Vec::new();
        let (mut within, mut console) = (false, false);
        for line in self.text.lines() {
            match line {
                "```console" => console = true,
                "```" => console = false,
                _ if console && within => {
                    commands.extend(line.strip_prefix("# ").map(|line| self.filled(line)));
                }
                _ => {
                    if let Some(found) = line.strip_prefix("## ") {
                        within = found == heading;
                    }
                }
            }
        }
        ensure!(
            !commands.is_empty(),
            "docs/install/{}: no command below `## {heading}`",
            self.name
        );
        Ok(commands)
    }

    fn filled(&self, line: &str) -> String {
        // A remark behind a command is for the reader.
        let line = line.split("   #").next().unwrap_or(line);
        let mut filled = String::new();
        let mut word = String::new();
        let finish = |word: &mut String, filled: &mut String| {
            let value = self.fills.iter().find(|(known, _)| known == word);
            filled.push_str(value.map_or(word.as_str(), |(_, value)| value));
            word.clear();
        };
        for letter in line.chars() {
            if letter.is_ascii_uppercase() {
                word.push(letter);
            } else {
                finish(&mut word, &mut filled);
                filled.push(letter);
            }
        }
        finish(&mut word, &mut filled);
        filled.trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Page {
        Page {
            name: "x.md".into(),
            text: "# X\n\n## Install\n\n```console\n$ mine\n# dpkg -i a_VERSION_ARCH.deb\n# echo HOSTS HOST:1   # there\n```\n\n## Remove\n\n```\n# no console\n```\n".into(),
            fills: vec![],
        }
    }

    #[test]
    fn only_root_commands_below_the_heading_are_taken_with_their_words_filled_in() {
        let mut page = page();
        for (word, value) in [("VERSION", "1.0"), ("ARCH", "amd64"), ("HOST", "h")] {
            page.fill(word, value);
        }
        let commands = page.commands("Install").unwrap();
        assert_eq!(commands, ["dpkg -i a_1.0_amd64.deb", "echo HOSTS h:1"]);
    }

    #[test]
    fn a_heading_that_is_not_there_or_shows_nothing_is_an_error() {
        for heading in ["Remove", "Upgrade"] {
            let error = page().commands(heading).unwrap_err().to_string();
            assert!(error.contains("docs/install/x.md"), "{error}");
        }
    }
}
