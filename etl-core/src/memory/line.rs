//! The line of jobs that wait to be claimed. It has a lane for each pipeline version, because a lane is shut as a whole while
//! its pipeline is at the version's limit: shut lanes cost a claim nothing, however many jobs stand in them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::model::{JobId, PipelineId, PipelineRef, Timestamp};

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
    by_version: BTreeMap<u64, Lane>,
}

#[derive(Default)]
struct Lane {
    limit: Option<u32>,
    places: BTreeSet<Place>,
    /// What `heads` has of this lane.
    head: Option<Place>,
}

impl Lane {
    fn is_open(&self, running: u32) -> bool {
        self.limit.is_none_or(|limit| running < limit)
    }

    fn show_head(&mut self, running: u32, heads: &mut BTreeSet<Place>) {
        let head = self
            .is_open(running)
            .then(|| self.places.first().copied())
            .flatten();
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

    /// Whether jobs of this version may be claimed.
    pub(super) fn is_open(&self, pipeline: &PipelineRef) -> bool {
        self.pipelines.get(&pipeline.id).is_some_and(|lanes| {
            lanes
                .by_version
                .get(&pipeline.version)
                .is_some_and(|lane| lane.is_open(lanes.running))
        })
    }

    pub(super) fn join(&mut self, pipeline: &PipelineRef, limit: Option<u32>, place: Place) {
        let lanes = self.pipelines.entry(pipeline.id).or_default();
        let lane = lanes.by_version.entry(pipeline.version).or_default();
        lane.limit = limit;
        lane.places.insert(place);
        lane.show_head(lanes.running, &mut self.heads);
    }

    pub(super) fn leave(&mut self, pipeline: &PipelineRef, place: Place) {
        let Some(lanes) = self.pipelines.get_mut(&pipeline.id) else {
            return;
        };
        let Some(lane) = lanes.by_version.get_mut(&pipeline.version) else {
            return;
        };
        lane.places.remove(&place);
        lane.show_head(lanes.running, &mut self.heads);
        if lane.places.is_empty() {
            lanes.by_version.remove(&pipeline.version);
        }
    }

    pub(super) fn started(&mut self, pipeline: PipelineId) {
        let lanes = self.pipelines.entry(pipeline).or_default();
        lanes.running += 1;
        for lane in lanes.by_version.values_mut() {
            lane.show_head(lanes.running, &mut self.heads);
        }
    }

    pub(super) fn stopped(&mut self, pipeline: PipelineId) {
        let Some(lanes) = self.pipelines.get_mut(&pipeline) else {
            return;
        };
        lanes.running = lanes.running.saturating_sub(1);
        for lane in lanes.by_version.values_mut() {
            lane.show_head(lanes.running, &mut self.heads);
        }
        if lanes.running == 0 && lanes.by_version.is_empty() {
            self.pipelines.remove(&pipeline);
        }
    }
}
