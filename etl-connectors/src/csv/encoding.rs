//! Any encoding to UTF-8, as a stream.

use std::io::{self, Read};

use encoding_rs::{Decoder, DecoderResult, Encoding, UTF_8};

/// Any encoding as UTF-8. Malformed input becomes the byte 0xFF, which is not UTF-8 either, so that the record that it is in
/// is found bad by the same check as in a UTF-8 file.
pub(super) struct Utf8Reader {
    inner: Box<dyn Read + Send>,
    /// `None`: the bytes are passed on as they are.
    decoder: Option<Decoder>,
    raw: Vec<u8>,
    consumed: usize,
    ended: bool,
    flushed: bool,
    pending: Vec<u8>,
    taken: usize,
}

const RAW_BYTES: usize = 64 * 1024;

impl Utf8Reader {
    pub(super) fn new(mut inner: Box<dyn Read + Send>, encoding: &'static Encoding) -> Self {
        // The mark is looked for here and not by the decoder, so that UTF-8, the common case, needs no decoder.
        let mut start = Vec::new();
        let failed = (&mut inner).take(3).read_to_end(&mut start).err();
        let (encoding, mark) = Encoding::for_bom(&start).unwrap_or((encoding, 0));
        start.drain(..mark);
        let inner: Box<dyn Read + Send> = match failed {
            Some(error) => Box::new(Failing(Some(error))),
            None => inner,
        };
        let is_utf8 = encoding == UTF_8;
        Self {
            inner,
            decoder: (!is_utf8).then(|| encoding.new_decoder_without_bom_handling()),
            raw: if is_utf8 { Vec::new() } else { start.clone() },
            consumed: 0,
            ended: false,
            flushed: false,
            pending: if is_utf8 { start } else { Vec::new() },
            taken: 0,
        }
    }

    /// Decodes some more into `pending`.
    fn refill(&mut self) -> io::Result<()> {
        self.pending.clear();
        self.taken = 0;
        let Some(decoder) = &mut self.decoder else {
            return Ok(());
        };
        while self.pending.is_empty() && !self.flushed {
            if self.consumed == self.raw.len() && !self.ended {
                self.raw.clear();
                self.consumed = 0;
                let read = (&mut self.inner)
                    .take(RAW_BYTES as u64)
                    .read_to_end(&mut self.raw)?;
                self.ended = read < RAW_BYTES;
            }
            let raw = &self.raw[self.consumed..];
            let room = decoder
                .max_utf8_buffer_length_without_replacement(raw.len())
                .unwrap_or(4 * RAW_BYTES);
            self.pending.resize(room + 1, 0);
            let (result, read, written) =
                decoder.decode_to_utf8_without_replacement(raw, &mut self.pending, self.ended);
            self.consumed += read;
            self.pending.truncate(written);
            match result {
                DecoderResult::InputEmpty => self.flushed = self.ended,
                DecoderResult::OutputFull => {}
                DecoderResult::Malformed(..) => self.pending.push(0xFF),
            }
        }
        Ok(())
    }
}

impl Read for Utf8Reader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.pending.len() {
            if self.decoder.is_none() {
                return self.inner.read(into);
            }
            self.refill()?;
        }
        let pending = &self.pending[self.taken..];
        let length = pending.len().min(into.len());
        into[..length].copy_from_slice(&pending[..length]);
        self.taken += length;
        Ok(length)
    }
}

struct Failing(Option<io::Error>);

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}
