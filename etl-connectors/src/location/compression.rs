//! Compression around a whole file, by its extension or as told.

use std::io::{self, BufReader, BufWriter, Read, Write};

use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::OutFile;

const BUFFER_BYTES: usize = 256 * 1024;

/// How a whole file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// By the file's extension: `.gz` and `.zst`, else none.
    #[default]
    Auto,
    /// Not at all.
    None,
    /// gzip (RFC 1952).
    Gzip,
    /// Zstandard (RFC 8878).
    Zstd,
}

impl Compression {
    /// What `Auto` means for a file of this name.
    pub(crate) fn of(self, name: &str) -> Self {
        let ends = |extension: &str| {
            std::path::Path::new(name)
                .extension()
                .is_some_and(|found| found.eq_ignore_ascii_case(extension))
        };
        match self {
            Self::Auto if ends("gz") || ends("gzip") => Self::Gzip,
            Self::Auto if ends("zst") || ends("zstd") => Self::Zstd,
            Self::Auto => Self::None,
            told => told,
        }
    }

    /// What a file's name ends with under it.
    pub(crate) const fn extension(self) -> &'static str {
        match self {
            Self::Auto | Self::None => "",
            Self::Gzip => ".gz",
            Self::Zstd => ".zst",
        }
    }
}

/// The content of a file that may be compressed. Memory is bounded whatever the ratio.
pub(super) fn decompressed(
    reader: impl Read + Send + 'static,
    compression: Compression,
) -> io::Result<Box<dyn Read + Send>> {
    Ok(match compression {
        Compression::Auto | Compression::None => Box::new(reader),
        Compression::Gzip => Box::new(MultiGzDecoder::new(BufReader::with_capacity(
            BUFFER_BYTES,
            reader,
        ))),
        Compression::Zstd => {
            let mut decoder = zstd::Decoder::new(reader)?;
            // A frame may ask for a window of gigabytes; 128 MiB is what zstd's own tool allows by default.
            decoder.window_log_max(27)?;
            Box::new(decoder)
        }
    })
}

/// A file being written, compressed or not.
#[derive(Debug)]
pub(crate) enum Compressed {
    Plain(BufWriter<OutFile>),
    Gzip(GzEncoder<BufWriter<OutFile>>),
    Zstd(Zstd),
}

/// The encoder has no `Debug` of its own.
pub(crate) struct Zstd(zstd::Encoder<'static, BufWriter<OutFile>>);

impl std::fmt::Debug for Zstd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Zstd")
    }
}

impl Compressed {
    /// Writes to `file`. `Auto` counts as none: whoever knows the name has resolved it.
    pub(crate) fn new(file: OutFile, compression: Compression) -> io::Result<Self> {
        let file = BufWriter::with_capacity(BUFFER_BYTES, file);
        Ok(match compression {
            Compression::Auto | Compression::None => Self::Plain(file),
            Compression::Gzip => Self::Gzip(GzEncoder::new(file, flate2::Compression::default())),
            Compression::Zstd => Self::Zstd(Zstd(zstd::Encoder::new(file, 3)?)),
        })
    }

    /// Completes the file and says how many bytes it has.
    pub(crate) fn close(self) -> io::Result<u64> {
        let file = match self {
            Self::Plain(file) => file,
            Self::Gzip(encoder) => encoder.finish()?,
            Self::Zstd(encoder) => encoder.0.finish()?,
        };
        file.into_inner()
            .map_err(io::IntoInnerError::into_error)?
            .close()
    }
}

impl Write for Compressed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Zstd(encoder) => encoder.0.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(file) => file.flush(),
            Self::Gzip(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.0.flush(),
        }
    }
}
