//! Artifact storage: each attempt writes under a prefix of its own, so that a zombie can overwrite nothing.

mod area;
mod presign;

pub use area::{ArtifactArea, ArtifactStorage, BadStorageUrl};
pub use presign::{Lifetime, PresignError, PresignedUrl, Presigner};
