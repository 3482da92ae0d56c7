//! Artifact storage: each attempt writes under a prefix of its own, so that a zombie can overwrite nothing.

mod area;

pub use area::{ArtifactArea, ArtifactStorage, BadStorageUrl};
