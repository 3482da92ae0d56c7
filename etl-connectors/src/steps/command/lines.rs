//! Lines of any bytes, in bounded memory.

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// The longest line that is kept, in bytes. The rest of a longer one is dropped, and the line says so.
pub(super) const LONGEST: usize = 1024 * 1024;

/// Reads lines of any length; bytes that are not UTF-8 become replacement characters.
pub(super) struct Lines<R> {
    reader: BufReader<R>,
    kept: Vec<u8>,
    dropped: u64,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn new(reader: R) -> Self {
        Self {
            reader: BufReader::with_capacity(64 * 1024, reader),
            kept: Vec::new(),
            dropped: 0,
        }
    }

    /// The next line without its end; `None` at the end. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> std::io::Result<Option<String>> {
        loop {
            let buffer = self.reader.fill_buf().await?;
            if buffer.is_empty() {
                let rest = !self.kept.is_empty() || self.dropped > 0;
                return Ok(rest.then(|| self.take()));
            }
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let part = &buffer[..end.unwrap_or(buffer.len())];
            let room = LONGEST - self.kept.len();
            self.kept.extend_from_slice(&part[..part.len().min(room)]);
            self.dropped += part.len().saturating_sub(room) as u64;
            let used = end.map_or(buffer.len(), |at| at + 1);
            self.reader.consume(used);
            if end.is_some() {
                return Ok(Some(self.take()));
            }
        }
    }

    fn take(&mut self) -> String {
        if self.kept.last() == Some(&b'\r') {
            self.kept.pop();
        }
        let mut line = String::from_utf8_lossy(&self.kept).into_owned();
        if self.dropped > 0 {
            line.push_str(&format!(" … ({} more bytes left out)", self.dropped));
        }
        self.kept.clear();
        self.dropped = 0;
        line
    }
}
