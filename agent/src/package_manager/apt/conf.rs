//! Reads the few apt.conf(5) settings that decide what apt would offer.
//! Never follows `#include` or directories moved by `Dir::…`, and never runs what a configuration names.

use std::path::Path;

use crate::package_manager::file::{self, Warnings};

/// The longest configuration file read.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Nesting of `{ }` followed.
const DEPTH_MAX: usize = 32;

/// What was configured; the last mention of a setting wins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conf {
    /// `APT::Default-Release`: a suite, codename or version preferred with priority 990.
    pub default_release: Option<String>,
    /// `APT::Architecture`, where it is not dpkg's own.
    pub architecture: Option<String>,
    /// `APT::Architectures`; empty asks dpkg.
    pub architectures: Vec<String>,
}

impl Conf {
    /// Reads `apt.conf.d` and then `apt.conf` below `root`, as apt does.
    pub fn read(root: &Path, warnings: &mut Warnings) -> Self {
        let directory = root.join("etc/apt/apt.conf.d");
        let mut paths = file::parts(&directory, &["", "conf"], warnings);
        paths.push(root.join("etc/apt/apt.conf"));
        let mut conf = Self::default();
        for path in paths {
            if let Some(content) = file::read_optional(&path, FILE_BYTES_MAX, warnings) {
                conf.apply(&String::from_utf8_lossy(&content));
            }
        }
        conf
    }

    /// Applies one file's settings. What does not parse is passed over to the next `;`.
    fn apply(&mut self, text: &str) {
        let mut scopes: Vec<String> = Vec::new();
        let mut words: Vec<String> = Vec::new();
        for token in Tokens(text) {
            match token {
                Token::Word(word) => words.push(word),
                Token::Open if scopes.len() < DEPTH_MAX => {
                    scopes.push(words.drain(..).next().unwrap_or_default());
                }
                Token::Open => return,
                Token::Close => {
                    words.clear();
                    scopes.pop();
                }
                Token::End => {
                    self.set(&scopes, &words);
                    words.clear();
                }
            }
        }
    }

    /// `words` is a name and its value, or inside a list a bare value.
    fn set(&mut self, scopes: &[String], words: &[String]) {
        let (name, value) = match words {
            [name, value] => (name.as_str(), value),
            [value] => ("", value),
            _ => return,
        };
        let mut path: Vec<&str> = scopes.iter().map(String::as_str).collect();
        path.push(name);
        let path = path.join("::").to_ascii_lowercase();
        match path.as_str() {
            "apt::default-release" => self.default_release = Some(value.clone()),
            "apt::architecture" => self.architecture = Some(value.clone()),
            "apt::architectures" | "apt::architectures::" => {
                let names = value.split([',', ' ']).filter(|name| !name.is_empty());
                self.architectures.extend(names.map(str::to_owned));
            }
            _ => {}
        }
    }
}

enum Token {
    Word(String),
    Open,
    Close,
    End,
}

/// Splits into words, `{`, `}` and `;`, without comments (`//`, `#` to the line's end, `/* */`).
struct Tokens<'a>(&'a str);

impl Iterator for Tokens<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        loop {
            self.0 = self.0.trim_start();
            self.0 = if self.0.starts_with("//") || self.0.starts_with('#') {
                self.0.split_once('\n')?.1
            } else if self.0.starts_with("/*") {
                self.0.split_once("*/")?.1
            } else {
                break;
            };
        }
        let mut rest = self.0.chars();
        let token = match rest.next()? {
            '{' => Token::Open,
            '}' => Token::Close,
            ';' => Token::End,
            '"' => {
                let (word, after) = rest.as_str().split_once('"')?;
                self.0 = after;
                return Some(Token::Word(word.to_owned()));
            }
            _ => {
                let length = self
                    .0
                    .find(|c: char| c.is_whitespace() || "{};\"".contains(c))
                    .unwrap_or(self.0.len());
                let (word, after) = self.0.split_at_checked(length)?;
                self.0 = after;
                return Some(Token::Word(word.to_owned()));
            }
        };
        self.0 = rest.as_str();
        Some(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_both_ways_of_writing_a_setting() {
        let mut conf = Conf::default();
        conf.apply(
            "// APT::Default-Release \"no\";\n/* no */ # no \"\nAPT::Default-Release \"stable\";\n\
             APT { Architectures { \"amd64\"; \"i386\"; }; Architecture armhf; }\n\
             DPkg::Post-Invoke { \"rm -f /x/* || true\"; };\nAPT::Architectures:: \"arm64\";",
        );
        assert_eq!(conf.default_release.as_deref(), Some("stable"));
        assert_eq!(conf.architecture.as_deref(), Some("armhf"));
        assert_eq!(conf.architectures, ["amd64", "i386", "arm64"]);
    }

    proptest! {
        #[test]
        fn any_text_is_read_to_its_end(text in "([{};\"/*#\n ]|APT|::|[a-z]){0,60}") {
            Conf::default().apply(&text);
        }
    }
}
