//! The machine under random graphs, outcomes, crashes and cancellations, against a world that checks every law.

mod fairness;
mod handing_back;
mod laws;
mod limits;
mod rules;
mod scale;
mod stories;
mod world;
