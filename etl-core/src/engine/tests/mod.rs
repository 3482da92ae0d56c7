//! The machine under random graphs, outcomes, crashes and cancellations, against a world that checks every law.

mod laws;
mod stories;
mod world;
