//! Numbers that are spread as if by chance and depend on nothing but what they are made of, so that everybody who asks gets the
//! same, and a run is a function of its inputs.

/// A number in [0, 1) that depends on everything that it is given and on nothing else.
pub(crate) fn fraction(seed: u64, parts: impl IntoIterator<Item = u64>) -> f64 {
    let mixed = parts
        .into_iter()
        .fold(seed, |state, part| mix(state ^ part));
    (mixed >> 11) as f64 / (1u64 << 53) as f64
}

/// One step of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
fn mix(state: u64) -> u64 {
    let z = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
