//! Where data is: URLs to files and objects. Every path that a user writes goes through [`safe_path`].

mod compression;
mod input;
mod output;
mod path;
mod target;

pub use compression::Compression;
pub(crate) use compression::{Compressed, decompressed};
pub(crate) use input::{Input, PARTITION_NULL, inputs};
pub(crate) use output::OutFile;
pub(crate) use path::{Location, safe_path};
pub use target::Mode;
pub(crate) use target::{Staging, Target};
