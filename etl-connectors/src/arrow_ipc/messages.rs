//! An Arrow IPC file or stream, message by message. Lengths that the bytes claim are checked before memory is taken for them,
//! which the library's own reader does not do.

use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::buffer::Buffer;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::convert::fb_to_schema;
use arrow::ipc::reader::{read_dictionary, read_record_batch};
use arrow::ipc::{Message, MessageHeader, root_as_message};

/// What a file begins and ends with. After it and its padding comes the same as in a stream, so both are read as streams and a
/// compressed file needs no seeking.
const FILE_MAGIC: &[u8; 6] = b"ARROW1";
const FILE_HEAD_BYTES: usize = 8;

/// Writers pad the beginning to 8 bytes or to 64: how many words of zeros may follow the first 8 bytes.
const MAX_PADDING_WORDS: usize = 14;

/// What every message begins with, but for those of the very first versions of the format.
const CONTINUATION: [u8; 4] = [0xFF; 4];

/// The longest description of a message.
const MAX_METADATA_BYTES: usize = 64 * 1024 * 1024;

/// The largest record batch, as it is in the file and decompressed.
const MAX_BODY_BYTES: usize = 1024 * 1024 * 1024;

/// The messages of one file.
pub(super) struct Messages<R> {
    content: R,
    /// What was read of the content to tell files from streams, and is not consumed yet.
    head: io::Cursor<Vec<u8>>,
    is_file: bool,
    schema: SchemaRef,
    dictionaries: HashMap<i64, ArrayRef>,
}

/// A message: its description and its data.
struct Frame {
    metadata: Vec<u8>,
    body: Buffer,
}

impl<R: Read> Messages<R> {
    /// Reads up to the columns.
    pub(super) fn open(mut content: R) -> Result<Self, ArrowError> {
        let mut head = Vec::with_capacity(FILE_HEAD_BYTES);
        (&mut content)
            .take(FILE_HEAD_BYTES as u64)
            .read_to_end(&mut head)?;
        let is_file = head.starts_with(FILE_MAGIC);
        if is_file {
            for _ in 0..=MAX_PADDING_WORDS {
                head.clear();
                (&mut content).take(4).read_to_end(&mut head)?;
                if head != [0; 4] {
                    break;
                }
            }
        }
        let mut messages = Self {
            content,
            head: io::Cursor::new(head),
            is_file,
            schema: Arc::new(Schema::empty()),
            dictionaries: HashMap::new(),
        };
        let first = messages.frame()?.ok_or_else(cut_off)?;
        let schema = message(&first.metadata)?
            .header_as_schema()
            .filter(|schema| schema.fields().is_some())
            .ok_or_else(|| damaged("it does not begin with a schema"))?;
        messages.schema = Arc::new(fb_to_schema(schema));
        Ok(messages)
    }

    /// The columns.
    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The next batch; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        while let Some(frame) = self.frame()? {
            let message = message(&frame.metadata)?;
            match message.header_type() {
                MessageHeader::DictionaryBatch => {
                    let batch = message
                        .header_as_dictionary_batch()
                        .ok_or_else(|| damaged("a dictionary is missing"))?;
                    read_dictionary(
                        &frame.body,
                        batch,
                        &self.schema,
                        &mut self.dictionaries,
                        &message.version(),
                    )?;
                }
                MessageHeader::RecordBatch => {
                    let batch = message
                        .header_as_record_batch()
                        .ok_or_else(|| damaged("a record batch is missing"))?;
                    return read_record_batch(
                        &frame.body,
                        batch,
                        self.schema.clone(),
                        &self.dictionaries,
                        None,
                        &message.version(),
                    )
                    .map(Some);
                }
                MessageHeader::NONE => {}
                _ => return Err(damaged("a message is of no known kind")),
            }
        }
        Ok(None)
    }

    fn frame(&mut self) -> Result<Option<Frame>, ArrowError> {
        let mut prefix = self.bytes(4)?;
        if prefix.is_empty() && !self.is_file {
            // The mark at the end is optional in a stream.
            return Ok(None);
        }
        if prefix == CONTINUATION {
            prefix = self.bytes(4)?;
        }
        let length: [u8; 4] = prefix.try_into().map_err(|_| cut_off())?;
        let length = u32::from_le_bytes(length) as usize;
        if length == 0 {
            return self.end().map(|()| None);
        }
        if length > MAX_METADATA_BYTES {
            return Err(damaged("the description of a message is too long"));
        }
        let metadata = self.exactly(length)?;
        let message = message(&metadata)?;
        let length = usize::try_from(message.bodyLength())
            .ok()
            .filter(|length| *length <= MAX_BODY_BYTES)
            .ok_or_else(|| damaged("a record batch is larger than 1 GiB; write smaller ones"))?;
        let body = self.exactly(length)?;
        check_buffers(&message, &body)?;
        Ok(Some(Frame {
            metadata,
            body: Buffer::from_vec(body),
        }))
    }

    /// After the last message: a file must have its end, or it is cut off.
    fn end(&mut self) -> Result<(), ArrowError> {
        if !self.is_file {
            return Ok(());
        }
        let mut last = Vec::new();
        loop {
            let more = self.bytes(64 * 1024)?;
            if more.is_empty() {
                break;
            }
            last.extend_from_slice(&more);
            last.drain(..last.len().saturating_sub(FILE_MAGIC.len()));
        }
        if last == FILE_MAGIC {
            Ok(())
        } else {
            Err(cut_off())
        }
    }

    fn exactly(&mut self, length: usize) -> Result<Vec<u8>, ArrowError> {
        let bytes = self.bytes(length)?;
        if bytes.len() == length {
            Ok(bytes)
        } else {
            Err(cut_off())
        }
    }

    /// Up to `length` bytes, fewer at the end. Memory grows with what is there, not with what is asked for.
    fn bytes(&mut self, length: usize) -> Result<Vec<u8>, ArrowError> {
        let mut bytes = Vec::new();
        (&mut self.head)
            .chain(&mut self.content)
            .take(length as u64)
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

fn message(metadata: &[u8]) -> Result<Message<'_>, ArrowError> {
    root_as_message(metadata).map_err(|error| damaged(&error.to_string()))
}

/// Checks that the buffers of a batch lie in its body, and what the compressed ones claim to hold.
fn check_buffers(message: &Message<'_>, body: &[u8]) -> Result<(), ArrowError> {
    let batch = message.header_as_record_batch().or_else(|| {
        message
            .header_as_dictionary_batch()
            .and_then(|dictionary| dictionary.data())
    });
    let Some((buffers, batch)) = batch.and_then(|batch| Some((batch.buffers()?, batch))) else {
        return Ok(());
    };
    let mut total = 0_u64;
    for buffer in buffers {
        let bytes = usize::try_from(buffer.offset())
            .ok()
            .zip(usize::try_from(buffer.length()).ok())
            .and_then(|(offset, length)| body.get(offset..offset.checked_add(length)?))
            .ok_or_else(|| damaged("a buffer lies outside of its message"))?;
        if batch.compression().is_some()
            && let Some(length) = bytes.first_chunk::<8>()
        {
            // Minus one means that this buffer is not compressed.
            total = total.saturating_add(i64::from_le_bytes(*length).max(0).cast_unsigned());
        }
    }
    if total > MAX_BODY_BYTES as u64 {
        return Err(damaged(
            "a record batch is larger than 1 GiB when decompressed; write smaller ones",
        ));
    }
    Ok(())
}

fn damaged(what: &str) -> ArrowError {
    ArrowError::IpcError(what.to_owned())
}

fn cut_off() -> ArrowError {
    io::Error::from(io::ErrorKind::UnexpectedEof).into()
}
