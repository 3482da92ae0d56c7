//! Where data is: URLs to files and objects. Every path that a user writes goes through [`safe_path`].

mod beside;
mod compression;
mod content;
mod input;
mod output;
mod path;
mod staging;

pub(crate) use compression::Compressed;
pub use compression::Compression;
use compression::decompressed;
pub(crate) use input::{Input, PARTITION_NULL, inputs};
pub(crate) use output::OutFile;
pub(crate) use path::{Location, safe_path};
pub use staging::Mode;
pub(crate) use staging::{Staging, Target};
