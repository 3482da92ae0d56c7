//! Steps by position, checked: every name known and unique, no cycle.

use std::collections::{HashMap, HashSet};

use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};

use crate::model::{Fault, Step, nearest};

/// For how many unknown dependencies the nearest step is looked for: each is compared with every step.
const MAX_HINTS: usize = 20;

/// An acyclic graph of steps.
#[derive(Debug, Clone, Default)]
pub struct Dag {
    by_name: HashMap<String, u32>,
    dependencies: Adjacency,
    dependents: Adjacency,
}

/// Lists of neighbours, one after the other in one vector.
#[derive(Debug, Clone, Default)]
struct Adjacency {
    starts: Vec<u32>,
    neighbours: Vec<u32>,
}

impl Adjacency {
    fn new(steps: usize, edges: impl Iterator<Item = (u32, u32)> + Clone) -> Self {
        let mut starts = vec![0u32; steps + 1];
        for (from, _) in edges.clone() {
            starts[from as usize + 1] += 1;
        }
        for at in 0..steps {
            starts[at + 1] += starts[at];
        }
        let mut next = starts.clone();
        let mut neighbours = vec![0u32; *starts.last().unwrap_or(&0) as usize];
        for (from, to) in edges {
            neighbours[next[from as usize] as usize] = to;
            next[from as usize] += 1;
        }
        Self { starts, neighbours }
    }

    fn of(&self, step: u32) -> &[u32] {
        let at = step as usize;
        &self.neighbours[self.starts[at] as usize..self.starts[at + 1] as usize]
    }
}

impl Dag {
    /// Builds the graph.
    ///
    /// # Errors
    /// Every duplicate name, unknown dependency, duplicate dependency, and for each knot of steps that wait for each other
    /// one cycle, spelt out.
    pub fn build(steps: &[Step]) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        let mut by_name = HashMap::with_capacity(steps.len());
        for (at, step) in steps.iter().enumerate() {
            if by_name.insert(step.name.clone(), at as u32).is_some() {
                let message = format!("the step name {:?} is used twice", step.name);
                faults.push(
                    Fault::new(format!("/steps/{at}/name"), message)
                        .hint("names identify steps: give it its own"),
                );
            }
        }
        let mut edges: Vec<(u32, u32)> = Vec::new();
        let mut hints = MAX_HINTS;
        for (at, step) in steps.iter().enumerate() {
            let mut listed = HashSet::with_capacity(step.dependencies.len());
            for (position, name) in step.dependencies.iter().enumerate() {
                let pointer = format!("/steps/{at}/dependencies/{position}");
                match by_name.get(name) {
                    None => {
                        let message = format!(
                            "step {:?} depends on {name:?}, which does not exist",
                            step.name
                        );
                        let known = by_name.keys().map(String::as_str);
                        let hint = (hints > 0).then(|| nearest(name, known)).flatten();
                        hints = hints.saturating_sub(1);
                        faults.push(Fault::new(pointer, message).did_you_mean(hint));
                    }
                    Some(on) if !listed.insert(*on) => {
                        faults.push(Fault::new(
                            pointer,
                            format!("the dependency {name:?} is listed twice"),
                        ));
                    }
                    Some(&on) => edges.push((at as u32, on)),
                }
            }
        }
        faults.extend(cycles(steps, &edges));
        if !faults.is_empty() {
            return Err(faults);
        }
        let dependencies = Adjacency::new(steps.len(), edges.iter().copied());
        let dependents = Adjacency::new(steps.len(), edges.iter().map(|&(step, on)| (on, step)));
        Ok(Self {
            by_name,
            dependencies,
            dependents,
        })
    }

    /// How many steps.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there is no step.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// The position of a step.
    pub fn index(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    /// What a step waits for, by position.
    pub fn dependencies(&self, step: u32) -> &[u32] {
        self.dependencies.of(step)
    }

    /// Who waits for a step, by position.
    pub fn dependents(&self, step: u32) -> &[u32] {
        self.dependents.of(step)
    }
}

/// One fault for each knot of steps that wait for each other.
fn cycles(steps: &[Step], edges: &[(u32, u32)]) -> Vec<Fault> {
    let mut graph = DiGraph::<(), (), u32>::with_capacity(steps.len(), edges.len());
    for _ in steps {
        graph.add_node(());
    }
    for &(step, on) in edges {
        graph.add_edge(
            NodeIndex::new(step as usize),
            NodeIndex::new(on as usize),
            (),
        );
    }
    let mut faults: Vec<(usize, Fault)> = Vec::new();
    // Kosaraju's and not Tarjan's algorithm: petgraph's Tarjan recurses, and a chain may be 100,000 steps long.
    for knot in kosaraju_scc(&graph) {
        let Some(&first) = knot.iter().min() else {
            continue;
        };
        if knot.len() == 1 && !graph.contains_edge(first, first) {
            continue;
        }
        let members: HashSet<_> = knot.iter().copied().collect();
        let path = cycle_through(&graph, first, &members);
        let names: Vec<&str> = path
            .iter()
            .map(|at| steps[at.index()].name.as_str())
            .collect();
        let shown = if names.len() > 12 {
            format!(
                "{} -> … ({} more) … -> {}",
                names[..6].join(" -> "),
                names.len() - 7,
                names[names.len() - 1]
            )
        } else {
            names.join(" -> ")
        };
        let fault = Fault::new(
            format!("/steps/{}/dependencies", first.index()),
            format!("steps wait for each other: {shown}"),
        )
        .hint("remove one of these dependencies");
        faults.push((first.index(), fault));
    }
    faults.sort_by_key(|(at, _)| *at);
    faults.into_iter().map(|(_, fault)| fault).collect()
}

/// A shortest cycle from `start` back to it, within its knot.
fn cycle_through(
    graph: &DiGraph<(), (), u32>,
    start: NodeIndex,
    members: &HashSet<NodeIndex>,
) -> Vec<NodeIndex> {
    let mut came_from: HashMap<NodeIndex, NodeIndex> = HashMap::new();
    let mut open = std::collections::VecDeque::from([start]);
    while let Some(at) = open.pop_front() {
        for next in graph.neighbors(at).filter(|next| members.contains(next)) {
            if next == start {
                let mut path = vec![start];
                let mut back = at;
                while back != start {
                    path.push(back);
                    back = came_from[&back];
                }
                path.push(start);
                path.reverse();
                return path;
            }
            if let std::collections::hash_map::Entry::Vacant(entry) = came_from.entry(next) {
                entry.insert(at);
                open.push_back(next);
            }
        }
    }
    vec![start, start]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(name: &str, dependencies: &[&str]) -> Step {
        let mut step = Step::new(name, "sleep");
        step.dependencies = dependencies.iter().map(ToString::to_string).collect();
        step
    }

    #[test]
    fn every_fault_is_found_at_once_and_cycles_are_spelt_out() {
        let steps = [
            step("a", &["c"]),
            step("b", &["a", "a"]),
            step("c", &["b"]),
            step("c", &[]),
            step("d", &["extrct"]),
            step("extract", &["extract"]),
        ];
        let faults = Dag::build(&steps).unwrap_err();
        let messages: Vec<String> = faults
            .iter()
            .map(|fault| format!("{} {}", fault.pointer, fault.message))
            .collect();
        assert_eq!(
            messages,
            [
                "/steps/3/name the step name \"c\" is used twice",
                "/steps/1/dependencies/1 the dependency \"a\" is listed twice",
                "/steps/4/dependencies/0 step \"d\" depends on \"extrct\", which does not exist",
                "/steps/5/dependencies steps wait for each other: extract -> extract",
            ]
        );
        let cycle =
            Dag::build(&[step("a", &["c"]), step("b", &["a"]), step("c", &["b"])]).unwrap_err();
        assert_eq!(
            cycle[0].message,
            "steps wait for each other: a -> c -> b -> a"
        );
    }

    #[test]
    fn a_chain_of_100_000_steps_is_no_danger_to_the_stack() {
        let steps: Vec<Step> = (0..100_000)
            .map(|at| {
                let before = format!("s{}", at - i32::from(at > 0));
                step(
                    &format!("s{at}"),
                    if at == 0 {
                        &[]
                    } else {
                        std::slice::from_ref(&before)
                    }
                    .iter()
                    .map(String::as_str)
                    .collect::<Vec<_>>()
                    .as_slice(),
                )
            })
            .collect();
        let dag = Dag::build(&steps).unwrap();
        assert_eq!(dag.dependents(0), [1]);
        assert_eq!(dag.dependencies(99_999), [99_998]);
    }

    #[test]
    fn a_step_that_waits_for_20_000_others_is_built_without_comparing_each_with_each() {
        let mut steps: Vec<Step> = (0..20_000).map(|at| step(&format!("s{at}"), &[])).collect();
        let mut last = step("last", &[]);
        last.dependencies = steps.iter().map(|step| step.name.clone()).collect();
        steps.push(last);
        let dag = Dag::build(&steps).unwrap();
        assert_eq!(dag.dependencies(20_000).len(), 20_000);
    }

    #[test]
    fn many_unknown_dependencies_are_all_told_and_only_the_first_get_a_hint() {
        let mut steps: Vec<Step> = (0..5_000).map(|at| step(&format!("s{at}"), &[])).collect();
        for (at, step) in steps.iter_mut().enumerate() {
            step.dependencies = vec![format!("t{at}")];
        }
        let faults = Dag::build(&steps).unwrap_err();
        assert_eq!(faults.len(), 5_000);
        let hints = faults.iter().filter(|fault| fault.hint.is_some()).count();
        assert_eq!(hints, MAX_HINTS);
    }
}
