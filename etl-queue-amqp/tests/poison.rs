//! Messages that are no hints are put aside, with what they were, and hold nothing up.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod broker;

use etl_core::contract::Queue;
use etl_core::model::Hint;
use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::AMQPValue;

use broker::{Names, Operator, a_hint, assert_silent, next, take};

fn json() -> BasicProperties {
    BasicProperties::default().with_content_type("application/json".into())
}

fn header(message: &Delivery, name: &str) -> String {
    let headers = message.properties.headers().as_ref().unwrap();
    match headers.inner().get(name) {
        Some(AMQPValue::LongString(text)) => text.to_string(),
        other => panic!("{name} is {other:?}"),
    }
}

/// Of what was put aside, each with its reason.
async fn put_aside(operator: &Operator, names: &Names, count: usize) -> Vec<(String, Delivery)> {
    let mut letters = Vec::new();
    for _ in 0..count {
        let letter = operator.take(&names.dead_letters).await;
        letters.push((header(&letter, "x-etl-reason"), letter));
    }
    letters
}

/// Bodies that are no hints, with what is said of them.
fn bodies() -> Vec<(Vec<u8>, BasicProperties, &'static str)> {
    let hint = serde_json::to_vec(&a_hint(5)).unwrap();
    vec![
        (b"\xff\x00{".to_vec(), json(), "not a hint"),
        (Vec::new(), json(), "not a hint"),
        (b"{\"job\":7,\"priority\":5}".to_vec(), json(), "not a hint"),
        (
            hint.clone(),
            json().with_content_type("text/plain".into()),
            "content type is \"text/plain\"",
        ),
        (
            hint,
            json().with_content_type("application/x-msgpack".into()),
            "content type is",
        ),
        (vec![b'x'; 2000], json(), "2000 bytes are more than 1024"),
        (
            vec![b'{'; 4 * 1024 * 1024],
            json(),
            "4194304 bytes are more than 1024",
        ),
    ]
}

#[tokio::test]
async fn what_waits_behind_messages_that_are_no_hints_is_taken_at_once() {
    let names = Names::new();
    let (queue, operator) = (names.connect().await, Operator::new().await);
    let of_jobs = names.queue(5);
    let (first, last) = (a_hint(5), a_hint(5));
    queue.publish(&[first]).await.unwrap();
    let bodies = bodies();
    for (body, properties, _) in &bodies {
        operator.put(&of_jobs, body, properties.clone()).await;
    }
    queue.publish(&[last]).await.unwrap();

    assert_eq!((take(&queue).await, take(&queue).await), (first, last));
    assert_silent(&queue).await;
    let letters = put_aside(&operator, &names, bodies.len()).await;
    for (body, _, said) in &bodies {
        let found = letters.iter().find(|(reason, letter)| {
            let kept = body.len().min(64 * 1024);
            reason.contains(said) && letter.data == body[..kept]
        });
        let (_, letter) = found.unwrap_or_else(|| panic!("nothing was put aside for {said:?}"));
        assert_eq!(header(letter, "x-etl-queue"), of_jobs);
        assert_eq!(header(letter, "x-etl-bytes"), body.len().to_string());
    }
    // Nothing of it is left where hints are, also not unacknowledged.
    drop(queue);
    operator.waits(&of_jobs, 0).await;
    assert_eq!(operator.counts(&names.dead_letters).await.0, 0);
}

#[tokio::test]
async fn who_listens_to_an_empty_queue_is_not_woken_by_what_is_no_hint() {
    let names = Names::new();
    let (queue, operator) = (names.connect().await, Operator::new().await);
    let waiting = async { next(&queue, 1).await.pop().unwrap() };
    let putting = async {
        operator.heard(&names.queue(5)).await;
        for (body, properties, _) in bodies() {
            operator.put(&names.queue(5), &body, properties).await;
        }
        put_aside(&operator, &names, bodies().len()).await;
        let hint = a_hint(0);
        queue.publish(&[hint]).await.unwrap();
        hint
    };
    let (delivery, hint): (_, Hint) = tokio::join!(waiting, putting);
    assert_eq!(delivery.hint(), hint);
    delivery.ack().await.unwrap();
}

#[tokio::test]
async fn a_hint_that_keeps_coming_back_is_put_aside_and_the_next_is_taken() {
    let names = Names::new();
    let (queue, operator) = (names.connect().await, Operator::new().await);
    let (bad, good) = (a_hint(5), a_hint(0));
    queue.publish(&[bad, good]).await.unwrap();
    let mut deliveries = 0;
    loop {
        let delivery = next(&queue, 1).await.pop().unwrap();
        if delivery.hint() == good {
            delivery.ack().await.unwrap();
            break;
        }
        assert_eq!(delivery.hint(), bad);
        deliveries += 1;
        assert!(deliveries <= 20, "it comes back for ever");
        // Not acknowledged, as by a worker that dies of it.
        drop(delivery);
        // It is back before the next is asked for.
        operator.waits(&names.queue(5), 1).await;
    }
    assert_eq!(deliveries, 20);
    let letters = put_aside(&operator, &names, 1).await;
    let (reason, letter) = &letters[0];
    assert_eq!(reason, "it came back 20 times");
    assert_eq!(serde_json::from_slice::<Hint>(&letter.data).unwrap(), bad);
    assert_silent(&queue).await;
}
