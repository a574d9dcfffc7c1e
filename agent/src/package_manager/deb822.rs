//! Streams deb822 stanzas (deb822(5)) out of any reader through one small, reused buffer.
//! Never holds more than one stanza, and never more of it than its limit.

use std::io::{self, Read};

/// The first size of the buffer: nearly every stanza fits, and it bounds a scan's memory.
const BUFFER_BYTES: usize = 32 * 1024;

/// The longest stanza accepted. The longest of Debian 12 has about 100 kB of `Provides`.
pub const STANZA_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Why no further stanza could be read.
#[derive(Debug, thiserror::Error)]
pub enum StanzaError {
    /// The reader failed: an I/O error, or damaged compressed data.
    #[error("reading failed after {read_bytes} bytes")]
    Read {
        /// Plain bytes delivered before the failure.
        read_bytes: u64,
        /// The reader's reason.
        #[source]
        source: io::Error,
    },
    /// A stanza is longer than [`STANZA_BYTES_MAX`].
    #[error("the stanza at byte {at_byte} is longer than the {STANZA_BYTES_MAX} bytes allowed")]
    TooLong {
        /// Where the stanza starts, in plain bytes.
        at_byte: u64,
    },
}

/// Hands out one stanza after another.
#[derive(Debug)]
pub struct StanzaReader<R> {
    source: R,
    buffer: Vec<u8>,
    /// The unread part of `buffer` is `start..end`.
    start: usize,
    end: usize,
    read_bytes: u64,
    ended: bool,
}

impl<R: Read> StanzaReader<R> {
    /// Reads from `source`, which needs no buffering of its own.
    pub fn new(source: R) -> Self {
        Self {
            source,
            buffer: vec![0; BUFFER_BYTES],
            start: 0,
            end: 0,
            read_bytes: 0,
            ended: false,
        }
    }

    /// Plain bytes read from the source so far.
    pub fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    /// The next stanza, or `None` at the end. After an error the reader is at its end.
    ///
    /// # Errors
    /// [`StanzaError`], with the position.
    pub fn next_stanza(&mut self) -> Result<Option<Stanza<'_>>, StanzaError> {
        self.next_wanted(&mut |_| true)
    }

    /// The next stanza that is short, or that `wants` takes. A stanza which the buffer cannot hold is
    /// shown to `wants` by its beginning before the buffer grows for it: the longest of Debian's lists
    /// are of packages that nobody has.
    ///
    /// # Errors
    /// [`StanzaError`], with the position.
    pub fn next_wanted(
        &mut self,
        wants: &mut dyn FnMut(Stanza<'_>) -> bool,
    ) -> Result<Option<Stanza<'_>>, StanzaError> {
        let mut scanned = self.skip_blank_lines()?;
        loop {
            match self.find_end(&mut scanned) {
                Some((length, consumed)) => {
                    let stanza = self.start..self.start + length;
                    self.start += consumed;
                    return Ok(self.buffer.get(stanza).map(Stanza));
                }
                None if self.ended => {
                    let stanza = self.start..self.end;
                    self.start = self.end;
                    return Ok((!stanza.is_empty())
                        .then(|| self.buffer.get(stanza).map(Stanza))
                        .flatten());
                }
                None if self.is_full() && !wants(self.head()) => {
                    self.skip_stanza()?;
                    scanned = self.skip_blank_lines()?;
                }
                None => self.fill()?,
            }
        }
    }

    fn is_full(&self) -> bool {
        self.unread().len() == self.buffer.len()
    }

    /// The whole lines at hand of a stanza whose end is not.
    fn head(&self) -> Stanza<'_> {
        let unread = self.unread();
        let end = memchr::memrchr(b'\n', unread).map_or(0, |newline| newline + 1);
        Stanza(unread.get(..end).unwrap_or_default())
    }

    /// Drops a stanza up to the blank line behind it, within the bound that holds for any.
    fn skip_stanza(&mut self) -> Result<(), StanzaError> {
        let at_byte = self.read_bytes - self.unread().len() as u64;
        let mut at_line_start = true;
        loop {
            while let Some(newline) = memchr::memchr(b'\n', self.unread()) {
                let line = self.unread().get(..newline).unwrap_or_default();
                let is_blank = at_line_start && matches!(line, b"" | b"\r");
                self.start += newline + 1;
                if is_blank {
                    return Ok(());
                }
                at_line_start = true;
            }
            // A lone carriage return waits for what follows it.
            at_line_start &= matches!(self.unread(), b"" | b"\r");
            if !at_line_start || self.ended {
                self.start = self.end;
            }
            if self.ended {
                return Ok(());
            }
            if self.read_bytes - at_byte > STANZA_BYTES_MAX as u64 {
                self.ended = true;
                self.start = self.end;
                return Err(StanzaError::TooLong { at_byte });
            }
            self.fill()?;
        }
    }

    fn unread(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// Moves to the first line that is not blank; the result is how much of it was looked at: nothing.
    fn skip_blank_lines(&mut self) -> Result<usize, StanzaError> {
        loop {
            let blank = self
                .unread()
                .iter()
                .take_while(|byte| matches!(byte, b'\n' | b'\r'))
                .count();
            self.start += blank;
            if self.start < self.end || self.ended {
                return Ok(0);
            }
            self.fill()?;
        }
    }

    /// Looks for the blank line that ends the stanza: its length and that with the blank line.
    /// `scanned` remembers the start of the first line not yet seen whole.
    fn find_end(&self, scanned: &mut usize) -> Option<(usize, usize)> {
        let unread = self.unread();
        loop {
            let rest = unread.get(*scanned..)?;
            let line_length = memchr::memchr(b'\n', rest)?;
            if line_length == 0 || (line_length == 1 && rest.first() == Some(&b'\r')) {
                return Some((*scanned, *scanned + line_length + 1));
            }
            *scanned += line_length + 1;
        }
    }

    /// Reads more behind the unread part, after moving that to the front; grows a full buffer.
    fn fill(&mut self) -> Result<(), StanzaError> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.end == self.buffer.len() {
            if self.buffer.len() >= STANZA_BYTES_MAX {
                self.ended = true;
                let at_byte = self.read_bytes - self.end as u64;
                self.end = 0;
                return Err(StanzaError::TooLong { at_byte });
            }
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        let free = self.buffer.get_mut(self.end..).unwrap_or_default();
        match self.source.read(free) {
            Ok(0) => self.ended = true,
            Ok(count) => {
                self.end += count;
                self.read_bytes += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => {
                // What is left may be half a stanza: it must not pass for a whole one.
                self.ended = true;
                self.end = 0;
                let read_bytes = self.read_bytes;
                return Err(StanzaError::Read { read_bytes, source });
            }
        }
        Ok(())
    }
}

/// One stanza: `Name: value` lines, with continuation lines that start with a blank.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stanza<'a>(&'a [u8]);

impl<'a> Stanza<'a> {
    /// Takes bytes that hold one stanza.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The stanza as it stands in the file.
    #[must_use]
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// Its fields in order: name and trimmed value, which includes any continuation lines.
    pub fn fields(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            while !rest.is_empty() {
                let (field, after) = rest.split_at_checked(field_length(rest))?;
                rest = after;
                if let Some((name, value)) = split_field(field) {
                    return Some((name, value));
                }
            }
            None
        })
    }

    /// The bytes of the first field of this name, whose case does not matter.
    #[must_use]
    pub fn bytes_of(self, name: &str) -> Option<&'a [u8]> {
        self.fields()
            .find(|(found, _)| found.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
    }

    /// The text of the first field of this name; `None` also where it is not UTF-8.
    #[must_use]
    pub fn text_of(self, name: &str) -> Option<&'a str> {
        std::str::from_utf8(self.bytes_of(name)?).ok()
    }
}

/// The length of the first field with its continuation lines and final newline.
fn field_length(rest: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', rest)
        .map(|newline| newline + 1)
        .find(|next| !matches!(rest.get(*next), Some(b' ' | b'\t')))
        .unwrap_or(rest.len())
}

fn split_field(field: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, value) = field.split_at_checked(memchr::memchr(b':', field)?)?;
    Some((name.trim_ascii(), value.get(1..)?.trim_ascii()))
}

/// Drops lines that start with `#`, as apt does in the files people edit.
#[must_use]
pub fn without_comments(text: &[u8]) -> Vec<u8> {
    text.split_inclusive(|byte| *byte == b'\n')
        .filter(|line| line.first() != Some(&b'#'))
        .flatten()
        .copied()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Delivers at most `step` bytes a call, so that every boundary is met.
    struct Trickle<'a>(&'a [u8], usize);

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(buffer.len()).min(self.0.len());
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    fn stanzas(text: &[u8], step: usize) -> Vec<Vec<u8>> {
        let mut reader = StanzaReader::new(Trickle(text, step));
        let mut found = Vec::new();
        while let Some(stanza) = reader.next_stanza().unwrap() {
            found.push(stanza.bytes().to_vec());
        }
        found
    }

    #[test]
    fn splits_at_blank_lines_whatever_the_reader_delivers() {
        let text = b"\n\nA: 1\nB: 2\n more\n\n\nA: 3\r\n\r\nA: 4";
        for step in 1..12 {
            assert_eq!(
                stanzas(text, step),
                [&b"A: 1\nB: 2\n more\n"[..], b"A: 3\r\n", b"A: 4"]
            );
        }
    }

    #[test]
    fn finds_fields_by_name_with_their_continuation_lines() {
        let stanza = Stanza(b"Package: a\nDepends: b,\n c\nno colon\nempty:\nX:y\n");
        assert_eq!(stanza.text_of("package"), Some("a"));
        assert_eq!(stanza.text_of("Depends"), Some("b,\n c"));
        assert_eq!(stanza.text_of("Empty"), Some(""));
        assert_eq!(stanza.text_of("X"), Some("y"));
        assert_eq!(stanza.text_of("Absent"), None);
    }

    #[test]
    fn grows_for_a_long_stanza_and_refuses_one_above_the_limit() {
        let long = [
            b"A: ".as_slice(),
            &vec![b'x'; 3 * BUFFER_BYTES],
            b"\n\nB: 1\n",
        ]
        .concat();
        assert_eq!(stanzas(&long, 5000).len(), 2);

        let endless = vec![b'x'; STANZA_BYTES_MAX + 1];
        let mut reader = StanzaReader::new(endless.as_slice());
        let refused = reader.next_stanza().unwrap_err();
        assert!(matches!(refused, StanzaError::TooLong { at_byte: 0 }));
        assert!(reader.next_stanza().unwrap().is_none());
    }

    #[test]
    fn a_long_stanza_that_nobody_wants_is_passed_over_in_the_buffer_there_is() {
        let long = |name: &str, end: &str| {
            let line = "x".repeat(3 * BUFFER_BYTES);
            format!("Package: {name}\nProvides: {line}\n more\n{end}")
        };
        for (end, step) in [("\n", 5000), ("\r\n", 1), ("\r\n\n", 4096), ("", 5000)] {
            let text = [
                long("unwanted", "\n"),
                long("wanted", "\n"),
                long("unwanted", end),
            ]
            .concat();
            let text = format!("{text}Package: short\n");
            let mut reader = StanzaReader::new(Trickle(text.as_bytes(), step));
            let mut wants = |head: Stanza<'_>| head.text_of("Package") == Some("wanted");
            let first = reader.next_wanted(&mut |_| false).unwrap();
            let name = first.and_then(|stanza| stanza.text_of("Package"));
            assert_eq!(name, (!end.is_empty()).then_some("short"));
            assert_eq!(reader.buffer.len(), BUFFER_BYTES);

            let mut reader = StanzaReader::new(Trickle(text.as_bytes(), step));
            let kept = reader.next_wanted(&mut wants).unwrap().unwrap();
            assert_eq!(kept.text_of("Package"), Some("wanted"));
            assert!(kept.text_of("Provides").unwrap().ends_with("more"));
        }
        let endless = vec![b'x'; STANZA_BYTES_MAX + BUFFER_BYTES];
        let mut reader = StanzaReader::new(endless.as_slice());
        let refused = reader.next_wanted(&mut |_| false).unwrap_err();
        assert!(matches!(refused, StanzaError::TooLong { at_byte: 0 }));
    }

    #[test]
    fn a_read_error_never_yields_half_a_stanza() {
        struct Failing<'a>(&'a [u8]);
        impl Read for Failing<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                match self.0.len() {
                    0 => Err(io::ErrorKind::InvalidData.into()),
                    _ => self.0.read(buffer),
                }
            }
        }
        let mut reader = StanzaReader::new(Failing(b"A: 1\n\nA: 2\nB: "));
        assert!(reader.next_stanza().unwrap().is_some());
        assert!(matches!(
            reader.next_stanza(),
            Err(StanzaError::Read { read_bytes: 14, .. })
        ));
        assert!(reader.next_stanza().unwrap().is_none());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_to_their_end(text in proptest::collection::vec(
            prop_oneof![Just(b'\n'), Just(b':'), Just(b' '), any::<u8>()], 0..300), step in 1usize..40)
        {
            let found = stanzas(&text, step);
            for stanza in &found {
                let fields: Vec<_> = Stanza(stanza).fields().collect();
                prop_assert!(fields.len() <= stanza.len());
            }
            prop_assert_eq!(&found, &stanzas(&text, usize::MAX));
        }
    }
}
