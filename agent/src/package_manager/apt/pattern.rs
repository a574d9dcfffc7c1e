//! The expressions of apt_preferences(5) and of patch baselines: shell globs and `/regular expressions/`.
//! Never backtracks without bound: globs take linear space and at most length × length steps.

use regex_lite::{Regex, RegexBuilder};

/// A compiled regular expression may take this much memory.
const REGEX_BYTES_MAX: usize = 256 * 1024;

/// A pattern over a whole text, without regard to case.
#[derive(Debug, Clone)]
pub enum Pattern {
    /// `*`, `?`, `[a-z]`, `[!a]` and `\` as fnmatch(3) takes them.
    Glob(String),
    /// Found anywhere in the text.
    Regex(Regex),
}

impl Pattern {
    /// Reads `/…/` as an extended regular expression and all else as a glob.
    ///
    /// # Errors
    /// The expression's own error.
    pub fn parse(text: &str) -> Result<Self, regex_lite::Error> {
        let inner = text
            .strip_prefix('/')
            .and_then(|rest| rest.strip_suffix('/'));
        match inner {
            Some(expression) => RegexBuilder::new(expression)
                .case_insensitive(true)
                .size_limit(REGEX_BYTES_MAX)
                .build()
                .map(Self::Regex),
            None => Ok(Self::Glob(text.to_owned())),
        }
    }

    /// Whether `text` matches.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Self::Glob(glob) => glob_matches(glob.as_bytes(), text.as_bytes()),
            Self::Regex(regex) => regex.is_match(text),
        }
    }
}

/// fnmatch(3) with FNM_CASEFOLD. After a mismatch it returns to the last `*` only, which is enough.
#[must_use]
pub fn glob_matches(glob: &[u8], text: &[u8]) -> bool {
    let (mut rest_glob, mut rest_text) = (glob, text);
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        if let [b'*', after @ ..] = rest_glob {
            retry = Some((after, rest_text));
            rest_glob = after;
            continue;
        }
        if let (true, []) = (rest_glob.is_empty(), rest_text) {
            return true;
        }
        let step = rest_text
            .split_first()
            .and_then(|(byte, after)| Some((match_one(rest_glob, *byte)?, after)));
        if let Some((after_glob, after_text)) = step {
            (rest_glob, rest_text) = (after_glob, after_text);
            continue;
        }
        let Some((after_star, [_, text_after @ ..])) = retry else {
            return false;
        };
        retry = Some((after_star, text_after));
        (rest_glob, rest_text) = (after_star, text_after);
    }
}

/// Matches one byte with the first element of `glob`: what is left of that.
fn match_one(glob: &[u8], byte: u8) -> Option<&[u8]> {
    match glob {
        [b'?', after @ ..] => Some(after),
        [b'[', after @ ..] => match match_set(after, byte) {
            Some((true, rest)) => Some(rest),
            Some((false, _)) => None,
            // Without a closing bracket it stands for itself.
            None => (byte == b'[').then_some(after),
        },
        [b'\\', literal, after @ ..] | [literal, after @ ..] => {
            literal.eq_ignore_ascii_case(&byte).then_some(after)
        }
        [] => None,
    }
}

/// Matches a bracket expression, whose `[` is gone; `None` where it never closes.
fn match_set(set: &[u8], byte: u8) -> Option<(bool, &[u8])> {
    let (negated, mut rest) = match set {
        [b'!' | b'^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let (lower, upper) = (byte.to_ascii_lowercase(), byte.to_ascii_uppercase());
    let mut found = false;
    let mut first = true;
    loop {
        rest = match rest {
            [b']', after @ ..] if !first => return Some((found != negated, after)),
            [low, b'-', high, after @ ..] if *high != b']' => {
                found |= (low..=high).contains(&&lower) || (low..=high).contains(&&upper);
                after
            }
            [member, after @ ..] => {
                found |= *member == lower || *member == upper;
                after
            }
            [] => return None,
        };
        first = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn globs_match_whole_texts() {
        for (glob, text, expected) in [
            ("*", "", true),
            ("*", "anything", true),
            ("lib*-dev", "libc6-dev", true),
            ("lib*-dev", "libc6-dev2", false),
            ("LIB?", "libc", true),
            ("lib[a-c]6", "libc6", true),
            ("lib[!a-c]6", "libc6", false),
            ("lib[]x]", "lib]", true),
            ("a[", "a[", true),
            (r"a\*", "a*", true),
            (r"a\*", "ab", false),
            ("*a*b*c", "xxaxxbxxabc", true),
            ("", "a", false),
        ] {
            assert_eq!(
                glob_matches(glob.as_bytes(), text.as_bytes()),
                expected,
                "{glob} {text}"
            );
        }
    }

    #[test]
    fn regular_expressions_match_anywhere_without_case() {
        let pattern = Pattern::parse("/^lib(c|m)[0-9]+/").unwrap();
        assert!(pattern.matches("LIBC6"));
        assert!(!pattern.matches("xlibc6"));
        assert!(Pattern::parse("/(/").is_err());
    }

    proptest! {
        #[test]
        fn hostile_globs_end_quickly(glob in "[*?a\\[\\]!\\\\-]{0,40}", text in "a{0,200}b?") {
            let _ = glob_matches(glob.as_bytes(), text.as_bytes());
        }
    }
}
