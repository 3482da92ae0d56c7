//! What a source has read so far.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counts of one running step. Written by the threads that read, read by the one that reports.
#[derive(Debug, Default)]
pub struct Meter {
    bytes_total: AtomicU64,
    bytes_read: AtomicU64,
    rows_read: AtomicU64,
}

impl Meter {
    /// Says that this many more bytes are to be read.
    pub fn expect_bytes(&self, bytes: u64) {
        self.bytes_total.fetch_add(bytes, Relaxed);
    }

    /// Bytes that are to be read, as far as they are known.
    pub fn bytes_expected(&self) -> u64 {
        self.bytes_total.load(Relaxed)
    }

    /// Counts bytes read, as they lie in the source (compressed, if they are).
    pub fn add_bytes(&self, bytes: u64) {
        self.bytes_read.fetch_add(bytes, Relaxed);
    }

    /// Counts records read, good and bad.
    pub fn add_rows(&self, rows: u64) {
        self.rows_read.fetch_add(rows, Relaxed);
    }

    /// Bytes read so far.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Relaxed)
    }

    /// Records read so far.
    pub fn rows_read(&self) -> u64 {
        self.rows_read.load(Relaxed)
    }

    /// Per cent of the expected bytes that are read; `None` while nothing is known of the size.
    pub fn percent(&self) -> Option<u8> {
        let total = self.bytes_total.load(Relaxed);
        let read = u128::from(self.bytes_read());
        (total > 0).then(|| (read * 100 / u128::from(total)).min(100) as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_is_of_the_bytes_and_unknown_without_a_size() {
        let meter = Meter::default();
        meter.add_bytes(5);
        assert_eq!(meter.percent(), None);
        meter.expect_bytes(20);
        assert_eq!(meter.percent(), Some(25));
        meter.add_bytes(u64::from(u32::MAX));
        assert_eq!(meter.percent(), Some(100));
    }
}
