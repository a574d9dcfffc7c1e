//! Reads a process's output to its end: the first bytes are kept, the rest is counted.
//! Never stops reading while the writer is alive, so a talkative script is never blocked by its bound.

use tokio::io::{AsyncRead, AsyncReadExt};

/// What a process wrote to one stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Captured {
    /// The first bytes, up to the bound.
    pub kept: Vec<u8>,
    /// All bytes, kept or not.
    pub total: u64,
}

impl Captured {
    /// Output that the agent itself makes, cut at the bound.
    #[must_use]
    pub fn of_text(text: &str, bytes_max: usize) -> Self {
        Self {
            kept: text
                .as_bytes()
                .get(..bytes_max)
                .unwrap_or(text.as_bytes())
                .to_vec(),
            total: text.len() as u64,
        }
    }

    fn push(&mut self, bytes: &[u8], bytes_max: usize) {
        let room = bytes_max.saturating_sub(self.kept.len());
        self.kept
            .extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        self.total = self.total.saturating_add(bytes.len() as u64);
    }
}

/// Reads until the stream ends. May be dropped at any time: what was read is in `captured`.
///
/// A stream that fails ends there: what a process wrote before is kept.
pub(crate) async fn capture(
    stream: Option<impl AsyncRead + Unpin>,
    captured: &mut Captured,
    bytes_max: usize,
) {
    let Some(mut stream) = stream else { return };
    let mut buffer = Vec::with_capacity(8 * 1024);
    while let Ok(1..) = stream.read_buf(&mut buffer).await {
        captured.push(&buffer, bytes_max);
        buffer.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_over_the_bound_is_counted_and_not_kept() {
        let mut captured = Captured::default();
        let bytes = vec![b'x'; 100_000];
        capture(Some(&bytes[..]), &mut captured, 10).await;
        assert_eq!(captured.kept, b"xxxxxxxxxx");
        assert_eq!(captured.total, 100_000);
    }
}
