//! Laws of the catalog.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use uuid::Uuid;

use super::StoreFixture;
use super::scene::Scene;
use crate::contract::StoreErrorKind;
use crate::contract::store::{PipelineFilter, PutPipeline};
use crate::model::{By, Cursor, PageRequest, Pipeline, PipelineId};
use crate::testing::a_pipeline;

fn p(step: &str) -> std::sync::Arc<Pipeline> {
    a_pipeline("p").step(step).build()
}

pub(super) async fn a_changed_document_is_a_new_version(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let start = scene.now();
    let first = scene.put(p("a")).await;
    scene.pass(Duration::from_millis(5)).await;
    let second = scene.put(p("b")).await;
    let again = scene.put(p("b")).await;

    assert_eq!(first.reference.version, 1);
    assert_eq!(
        (&*first.reference.namespace, &*first.reference.name),
        ("default", "p")
    );
    assert_eq!(second.reference.version, 2);
    assert_eq!(second.reference.id, first.reference.id);
    assert_eq!(again, second);
    scene.assert_time(Some(first.created_at), start);
    assert_eq!(first.updated_at, first.created_at);
    assert_eq!(second.created_at, first.created_at);
    scene.assert_time(Some(second.updated_at), scene.now());
    let back = scene.put(p("a")).await;
    assert_eq!(back.reference.version, 3);

    let found = async |version| scene.store.pipeline("default", "p", version).await.unwrap();
    assert_eq!(found(None).await, Some(back));
    assert_eq!(found(Some(1)).await, Some(first.clone()));
    assert_eq!(found(Some(2)).await, Some(second));
    for none in [0, 4, u64::MAX] {
        assert_eq!(found(Some(none)).await, None);
        let by_id = scene.store.pipeline_version(first.reference.id, none).await;
        assert_eq!(by_id.unwrap(), None);
    }
    let other = scene.store.pipeline("other", "p", None).await.unwrap();
    assert_eq!(other, None);
    let other = PipelineId(uuid::Uuid::nil());
    let other = scene.store.pipeline_version(other, 1).await.unwrap();
    assert_eq!(other, None);
}

pub(super) async fn a_document_put_again_is_no_new_version_whatever_numbers_it_has(
    fixture: &dyn StoreFixture,
) {
    let scene = Scene::on(fixture).await;
    let numbers = json!([
        1e16,
        -2.5e17,
        1e300,
        1.0,
        -0.0,
        0.1,
        5e-324,
        u64::MAX,
        i64::MIN
    ]);
    let document = || {
        let numbers = numbers.clone();
        let document = a_pipeline("p").step("a");
        document.with(|p| {
            p.steps[0].config = json!({ "numbers": numbers });
        })
    };
    for _ in 0..2 {
        let stored = scene.put(document().build()).await;
        assert_eq!(stored.reference.version, 1);
    }
}

pub(super) async fn a_version_says_who_wrote_it(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    for (step, by) in [("a", "ada"), ("b", "grace")] {
        let put = PutPipeline {
            document: p(step),
            expected_version: None,
            by: By(by.into()),
        };
        let reference = scene.store.put_pipeline(put).await.unwrap();
        let stored = scene.store.pipeline("default", "p", None).await.unwrap();
        let stored = stored.unwrap();
        assert_eq!(stored.created_by, By(by.into()));
        assert_eq!(stored.reference, reference);
        assert_eq!(stored.document, p(step));
    }
}

pub(super) async fn a_stale_writer_is_refused(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let put = async |step, expected_version| {
        let put = PutPipeline {
            document: p(step),
            expected_version,
            by: By::system(),
        };
        let answer = scene.store.put_pipeline(put).await;
        answer
            .map(|reference| reference.version)
            .map_err(|fault| fault.kind)
    };
    let stale = Err(StoreErrorKind::Stale);
    assert_eq!(put("a", Some(1)).await, stale);
    assert_eq!(put("a", Some(0)).await, Ok(1));
    assert_eq!(put("b", Some(0)).await, stale);
    assert_eq!(put("b", Some(1)).await, Ok(2));
    assert_eq!(put("c", Some(1)).await, stale);
    // Also with the document that is there.
    assert_eq!(put("b", Some(1)).await, stale);
    assert_eq!(put("b", Some(2)).await, Ok(2));
    scene.store.remove_pipeline("default", "p").await.unwrap();
    assert_eq!(put("d", Some(2)).await, stale);
    assert_eq!(put("d", Some(0)).await, Ok(3));
}

pub(super) async fn a_removed_pipeline_keeps_its_versions(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let first = scene.put(p("a")).await;
    let remove = async || scene.store.remove_pipeline("default", "p").await.unwrap();
    let current = async |id| scene.store.pipeline_by_id(id).await.unwrap();
    assert_eq!(current(first.reference.id).await, Some(first.clone()));
    assert_eq!(current(PipelineId(Uuid::now_v7())).await, None);
    assert!(remove().await);
    assert!(!remove().await);
    let found = async |version| scene.store.pipeline("default", "p", version).await.unwrap();
    assert_eq!(found(None).await, None);
    assert_eq!(current(first.reference.id).await, None);
    assert_eq!(found(Some(1)).await, Some(first.clone()));
    let all = scene
        .store
        .pipelines(&PipelineFilter::default(), &PageRequest::default())
        .await
        .unwrap();
    assert_eq!(all.items, []);
    let by_id = scene.store.pipeline_version(first.reference.id, 1).await;
    assert_eq!(by_id.unwrap(), Some(first.clone()));

    let back = scene.put(p("a")).await;
    assert_eq!(back.reference.id, first.reference.id);
    assert_eq!(back.reference.version, 2);
    assert_eq!(back.created_at, first.created_at);
    assert_eq!(current(back.reference.id).await, Some(back.clone()));
    assert_eq!(found(None).await, Some(back));
}

pub(super) async fn the_list_is_by_namespace_and_name_in_pages(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    for (namespace, name) in [
        ("b", "x"),
        ("a", "z"),
        ("a-b", "a"),
        ("a", "y2"),
        ("a", "y10"),
        ("a", "y"),
    ] {
        for step in ["old", "new"] {
            let tags = vec![name[..1].to_owned(), "t".into()];
            let document = a_pipeline(name).in_namespace(namespace).step(step);
            scene.put(document.with(|p| p.tags = tags).build()).await;
        }
    }
    let list = async |filter: PipelineFilter, limit| {
        let mut page = PageRequest::first(limit);
        let mut names = Vec::new();
        loop {
            let answer = scene.store.pipelines(&filter, &page).await.unwrap();
            assert!(answer.items.len() <= limit);
            for stored in answer.items {
                assert_eq!(stored.reference.version, 2);
                let reference = stored.reference;
                names.push(format!("{}/{}", reference.namespace, reference.name));
            }
            match answer.next_cursor {
                Some(cursor) => page.cursor = Some(cursor),
                None => return names,
            }
        }
    };
    let all = ["a/y", "a/y10", "a/y2", "a/z", "a-b/a", "b/x"];
    for limit in 1..=7 {
        assert_eq!(list(PipelineFilter::default(), limit).await, all);
    }
    let of = |namespace: &str, tag: Option<&str>| PipelineFilter {
        namespace: Some(namespace.into()),
        tag: tag.map(Into::into),
    };
    assert_eq!(list(of("a", None), 2).await, all[..4]);
    assert_eq!(list(of("a", Some("y")), 2).await, all[..3]);
    assert!(list(of("a", Some("x")), 2).await.is_empty());
    let tagged = PipelineFilter {
        tag: Some("t".into()),
        ..PipelineFilter::default()
    };
    assert_eq!(list(tagged, 4).await, all);

    let strange = PageRequest {
        limit: 1,
        cursor: Some(Cursor("strange".into())),
    };
    let fault = scene
        .store
        .pipelines(&PipelineFilter::default(), &strange)
        .await;
    let fault = fault.expect_err("the list never gave that cursor");
    assert_eq!(fault.kind, StoreErrorKind::NotFound);
}

pub(super) async fn racing_writers_get_a_version_each(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let mut racers = tokio::task::JoinSet::new();
    for n in 0..scene.facts.racers {
        let store = scene.store.clone();
        racers.spawn(async move {
            let put = |step, expected_version| PutPipeline {
                document: p(&format!("{step}{n}")),
                expected_version,
                by: By::system(),
            };
            let free = store.put_pipeline(put("free", None)).await.unwrap();
            // Of those that have seen the first version, at most one writes the second.
            let guarded = store.put_pipeline(put("guarded", Some(1))).await;
            (free.version, guarded.is_ok())
        });
    }
    let count = racers.len() as u64;
    let answers = racers.join_all().await;
    let versions: BTreeSet<u64> = answers.iter().map(|(version, _)| *version).collect();
    assert_eq!(versions.len() as u64, count);
    assert!(answers.iter().filter(|(_, won)| *won).count() <= 1);
    let last = scene.store.pipeline("default", "p", None).await.unwrap();
    let winners = answers.iter().filter(|(_, won)| *won).count() as u64;
    assert_eq!(last.unwrap().reference.version, count + winners);
}
