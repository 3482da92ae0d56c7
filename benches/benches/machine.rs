//! What a step costs in the plan and in the machine, by criterion: to see what a change of the engine does to it.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use etl_benches::{Form, Noop, compile, drive, pipeline};
use etl_core::plan;
use etl_core::registry::Registry;

const STEPS: usize = 10_000;

fn machine(criterion: &mut Criterion) {
    let registry = Registry::new().with(Noop);
    let mut group = criterion.benchmark_group("machine");
    group
        .sample_size(20)
        .measurement_time(Duration::from_secs(3))
        .throughput(Throughput::Elements(STEPS as u64));
    for form in Form::ALL {
        let document = Arc::new(pipeline(form, STEPS));
        let compiled = compile(&document, &registry).expect("invariant: the pipeline is valid");
        group.bench_function(BenchmarkId::new("validate", form.name()), |bencher| {
            bencher.iter(|| plan::validate(&document, &registry));
        });
        group.bench_function(BenchmarkId::new("compile", form.name()), |bencher| {
            bencher.iter(|| compile(&document, &registry).map(|plan| plan.steps.len()));
        });
        group.bench_function(BenchmarkId::new("drive", form.name()), |bencher| {
            bencher.iter(|| drive(&compiled).map_err(|error| error.to_string()));
        });
    }
    group.finish();
}

criterion_group!(benches, machine);
criterion_main!(benches);
