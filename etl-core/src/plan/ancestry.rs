//! Who comes before whom, as far as it can be told of a graph that may be faulty.

use std::collections::{HashMap, HashSet};

use crate::model::Step;

/// Answers whether one step comes after another. Of the ways from a step to what it depends on, the one over each first
/// dependency is numbered, so that most questions about chains and trees are answered without a search, however long.
pub(super) struct Ancestry<'a> {
    positions: HashMap<&'a str, u32>,
    /// By step, in order.
    dependencies: Vec<Vec<u32>>,
    /// For each step the numbers that it and its descendants in the forest of first dependencies have: from, to.
    spans: Vec<(u32, u32)>,
    /// For each step a number larger than that of every step before it; the largest for what is in or behind a cycle.
    depths: Vec<u32>,
}

impl<'a> Ancestry<'a> {
    pub(super) fn of(steps: &'a [Step]) -> Self {
        let positions: HashMap<&str, u32> = steps
            .iter()
            .enumerate()
            .map(|(at, step)| (step.name.as_str(), at as u32))
            .collect();
        let known = |step: &Step| {
            let known = step.dependencies.iter();
            known
                .filter_map(|on| positions.get(on.as_str()).copied())
                .collect()
        };
        let mut dependencies: Vec<Vec<u32>> = steps.iter().map(known).collect();
        let (spans, depths) = (spans(&dependencies), depths(&dependencies));
        for on in &mut dependencies {
            on.sort_unstable();
        }
        Self {
            positions,
            dependencies,
            spans,
            depths,
        }
    }

    pub(super) fn position(&self, name: &str) -> Option<u32> {
        self.positions.get(name).copied()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &'a str> {
        self.positions.keys().copied()
    }

    pub(super) fn is_ancestor(&self, ancestor: u32, step: u32) -> bool {
        let (from, to) = self.spans[ancestor as usize];
        let (number, _) = self.spans[step as usize];
        let direct = self.dependencies[step as usize].binary_search(&ancestor);
        if direct.is_ok() || (from < number && number < to) {
            return true;
        }
        let least = self.depths[ancestor as usize];
        let (mut seen, mut open) = (HashSet::new(), vec![step]);
        while let Some(at) = open.pop() {
            for &on in &self.dependencies[at as usize] {
                if on == ancestor {
                    return true;
                }
                // What is less deep than the ancestor can't come after it.
                if self.depths[on as usize] >= least && seen.insert(on) {
                    open.push(on);
                }
            }
        }
        false
    }
}

/// Numbers the forest in which each step hangs below its first dependency, depth first. Steps that hang in a cycle keep
/// an empty span.
fn spans(dependencies: &[Vec<u32>]) -> Vec<(u32, u32)> {
    let mut below: Vec<Vec<u32>> = vec![Vec::new(); dependencies.len()];
    let mut open = Vec::new();
    for (at, on) in dependencies.iter().enumerate() {
        match on.first() {
            Some(first) => below[*first as usize].push(at as u32),
            None => open.push((at as u32, false)),
        }
    }
    let (mut spans, mut next) = (vec![(0, 0); dependencies.len()], 1);
    while let Some((at, is_done)) = open.pop() {
        let span = &mut spans[at as usize];
        if is_done {
            span.1 = next;
        } else {
            span.0 = next;
            next += 1;
            open.push((at, true));
            open.extend(below[at as usize].iter().map(|step| (*step, false)));
        }
    }
    spans
}

/// The length of the longest way to each step (Kahn's order); what is in or behind a cycle is deeper than everything else.
fn depths(dependencies: &[Vec<u32>]) -> Vec<u32> {
    let mut dependents: Vec<Vec<u32>> = vec![Vec::new(); dependencies.len()];
    let mut awaited: Vec<usize> = dependencies.iter().map(Vec::len).collect();
    for (at, on) in dependencies.iter().enumerate() {
        for on in on {
            dependents[*on as usize].push(at as u32);
        }
    }
    let mut depths = vec![u32::MAX; dependencies.len()];
    let mut open: Vec<u32> = (0..dependencies.len() as u32)
        .filter(|at| awaited[*at as usize] == 0)
        .collect();
    let mut reached = vec![0; dependencies.len()];
    while let Some(at) = open.pop() {
        let depth: u32 = reached[at as usize];
        depths[at as usize] = depth;
        for &dependent in &dependents[at as usize] {
            let deeper = &mut reached[dependent as usize];
            *deeper = (*deeper).max(depth + 1);
            awaited[dependent as usize] -= 1;
            if awaited[dependent as usize] == 0 {
                open.push(dependent);
            }
        }
    }
    depths
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn steps(dependencies: &[Vec<usize>]) -> Vec<Step> {
        let step = |(at, on): (usize, &Vec<usize>)| {
            let mut step = Step::new(format!("s{at}"), "x");
            step.dependencies = on.iter().map(|on| format!("s{on}")).collect();
            step
        };
        dependencies.iter().enumerate().map(step).collect()
    }

    proptest! {
        #[test]
        fn it_says_what_following_every_edge_says(edges in prop::collection::vec((0usize..12, 0usize..12), 0..30)) {
            let mut dependencies = vec![Vec::new(); 12];
            for (step, on) in edges {
                dependencies[step].push(on);
            }
            let steps = steps(&dependencies);
            let ancestry = Ancestry::of(&steps);
            for step in 0..12 {
                let (mut after, mut open) = (HashSet::new(), vec![step]);
                while let Some(at) = open.pop() {
                    open.extend(dependencies[at].iter().filter(|on| after.insert(**on)));
                }
                for other in (0..12).filter(|other| *other != step) {
                    let expected = after.contains(&other);
                    prop_assert_eq!(ancestry.is_ancestor(other as u32, step as u32), expected, "{} before {}", other, step);
                }
            }
        }
    }

    #[test]
    fn the_first_of_a_long_chain_is_told_at_once() {
        let chain: Vec<Vec<usize>> = (0..20_000usize)
            .map(|at| at.checked_sub(1).into_iter().collect())
            .collect();
        let steps = steps(&chain);
        let ancestry = Ancestry::of(&steps);
        assert!((1..20_000).all(|at| ancestry.is_ancestor(0, at)));
        assert!((1..20_000).all(|at| !ancestry.is_ancestor(at, 0)));
    }
}
