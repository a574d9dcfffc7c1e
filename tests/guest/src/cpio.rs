//! Writes cpio archives of the format `newc`, as the kernel unpacks an initramfs (its
//! `Documentation/driver-api/early-userspace/buffer-format.rst`). Never reads one.

/// Kind and permissions of a directory.
const DIRECTORY: u32 = 0o040_755;
/// Kind and permissions of a program.
const PROGRAM: u32 = 0o100_755;
/// Kind and permissions of a symbolic link.
const LINK: u32 = 0o120_777;
/// The name of the archive's last entry.
const TRAILER: &str = "TRAILER!!!";

/// An archive under way. All its files belong to root and bear no date, so that equal contents give
/// equal bytes.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    /// A directory; those above it come first.
    pub(crate) fn directory(&mut self, path: &str) {
        self.entry(path, DIRECTORY, &[]);
    }

    /// A file that anyone may execute.
    pub(crate) fn program(&mut self, path: &str, contents: &[u8]) {
        self.entry(path, PROGRAM, contents);
    }

    /// A symbolic link.
    pub(crate) fn link(&mut self, path: &str, target: &str) {
        self.entry(path, LINK, target.as_bytes());
    }

    /// The archive.
    #[must_use]
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry(TRAILER, 0, &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, contents: &[u8]) {
        self.entries += 1;
        let fields = [
            self.entries,
            mode,
            0, // owner
            0, // group
            1, // links to it
            0, // date
            size_of_u32(contents.len()),
            0,
            0,
            0,
            0, // devices
            size_of_u32(path.len() + 1),
            0, // no checksum in this format
        ];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(path.bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(contents);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// The format's numbers have 32 bits; a file of this harness is a few MiB.
fn size_of_u32(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    #[test]
    fn an_archive_has_the_bytes_of_the_format() {
        let mut archive = Archive::default();
        archive.program("a", b"xyz");
        let bytes = archive.finish();
        let header = "0707010000000100 0081ed00000000 00000000000000 01000000000000 \
                      000300000000 00000000 00000000 00000000 00000002 00000000"
            .replace(' ', "");
        assert!(bytes.starts_with(header.as_bytes()), "{bytes:?}");
        assert_eq!(&bytes[110..116], b"a\0xyz\0");
        assert!(bytes.ends_with(b"TRAILER!!!\0\0\0\0"));
    }

    #[test]
    fn cpio_itself_lists_what_was_put_in() {
        let mut archive = Archive::default();
        archive.directory("bin");
        archive.program("bin/tool", b"1234567");
        archive.link("bin/sh", "tool");
        let Ok(mut cpio) = Command::new("cpio")
            .args(["--list", "--quiet"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
        else {
            // Not every machine has it; the bytes above are checked anywhere.
            return;
        };
        let mut stdin = cpio.stdin.take().unwrap();
        stdin.write_all(&archive.finish()).unwrap();
        drop(stdin);
        let listed = cpio.wait_with_output().unwrap().stdout;
        assert_eq!(listed, b"bin\nbin/tool\nbin/sh\n");
    }
}
