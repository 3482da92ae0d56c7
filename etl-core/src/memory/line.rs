//! The line of jobs that wait to be claimed. It has a lane for each limit of a pipeline, because a lane is shut as a whole
//! while its pipeline is at that limit: shut lanes cost a claim nothing, however many jobs stand in them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::model::{JobId, PipelineId, Timestamp};

/// A job's place: highest priority first, then oldest, then by id.
pub(super) type Place = (Reverse<u8>, Timestamp, JobId);

#[derive(Default)]
pub(super) struct Line {
    pipelines: HashMap<PipelineId, Lanes>,
    /// The first place of each open lane.
    heads: BTreeSet<Place>,
}

#[derive(Default)]
struct Lanes {
    running: u32,
    by_limit: BTreeMap<Option<u32>, Lane>,
}

#[derive(Default)]
struct Lane {
    places: BTreeSet<Place>,
    /// What `heads` has of this lane.
    head: Option<Place>,
}

fn is_open(limit: Option<u32>, running: u32) -> bool {
    limit.is_none_or(|limit| running < limit)
}

impl Lane {
    fn show_head(&mut self, is_open: bool, heads: &mut BTreeSet<Place>) {
        let head = self.places.first().copied().filter(|_| is_open);
        if head != self.head {
            if let Some(old) = self.head {
                heads.remove(&old);
            }
            heads.extend(head);
            self.head = head;
        }
    }
}

impl Line {
    /// The job that is to be claimed next.
    pub(super) fn first(&self) -> Option<JobId> {
        self.heads.first().map(|(_, _, job)| *job)
    }

    /// All jobs in open lanes, in the order of claiming.
    pub(super) fn open_places(&self) -> BTreeSet<Place> {
        let lanes = self.pipelines.values();
        let open = lanes.flat_map(|lanes| {
            let by_limit = lanes.by_limit.iter();
            by_limit.filter(|(limit, _)| is_open(**limit, lanes.running))
        });
        open.flat_map(|(_, lane)| lane.places.iter().copied())
            .collect()
    }

    /// Whether jobs of this limit may be claimed.
    pub(super) fn is_open(&self, pipeline: PipelineId, limit: Option<u32>) -> bool {
        let lanes = self.pipelines.get(&pipeline);
        is_open(limit, lanes.map_or(0, |lanes| lanes.running))
    }

    pub(super) fn join(&mut self, pipeline: PipelineId, limit: Option<u32>, place: Place) {
        let lanes = self.pipelines.entry(pipeline).or_default();
        let lane = lanes.by_limit.entry(limit).or_default();
        lane.places.insert(place);
        lane.show_head(is_open(limit, lanes.running), &mut self.heads);
    }

    pub(super) fn leave(&mut self, pipeline: PipelineId, limit: Option<u32>, place: Place) {
        let Some(lanes) = self.pipelines.get_mut(&pipeline) else {
            return;
        };
        let Some(lane) = lanes.by_limit.get_mut(&limit) else {
            return;
        };
        lane.places.remove(&place);
        lane.show_head(is_open(limit, lanes.running), &mut self.heads);
        if lane.places.is_empty() {
            lanes.by_limit.remove(&limit);
        }
    }

    pub(super) fn started(&mut self, pipeline: PipelineId) {
        let lanes = self.pipelines.entry(pipeline).or_default();
        lanes.running += 1;
        lanes.show_heads(&mut self.heads);
    }

    pub(super) fn stopped(&mut self, pipeline: PipelineId) {
        let Some(lanes) = self.pipelines.get_mut(&pipeline) else {
            return;
        };
        lanes.running = lanes.running.saturating_sub(1);
        lanes.show_heads(&mut self.heads);
        if lanes.running == 0 && lanes.by_limit.is_empty() {
            self.pipelines.remove(&pipeline);
        }
    }
}

impl Lanes {
    fn show_heads(&mut self, heads: &mut BTreeSet<Place>) {
        for (limit, lane) in &mut self.by_limit {
            lane.show_head(is_open(*limit, self.running), heads);
        }
    }
}
