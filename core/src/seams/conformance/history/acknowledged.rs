//! Acknowledged positions of named subscribers.

use super::HistoryFixture;
use crate::seams::conformance::{acknowledged, acknowledged_key as key};
use crate::seams::{AcknowledgedKey, History};

/// A higher generation wins, then a higher position; within one call as well.
pub async fn acknowledged_positions_merge(fixture: &impl HistoryFixture) {
    let history = fixture.open().await;
    let (one, two) = (key("one"), key("two"));
    assert_eq!(history.acknowledged(&one).await, Ok(None));
    let steps = [
        (vec![(0, 1, 5)], (0, 1, 5)),
        (vec![(0, 1, 4)], (0, 1, 5)),
        (vec![(0, 1, 6), (0, 1, 9), (0, 1, 7)], (0, 1, 9)),
        (vec![(1, 1, 2)], (1, 1, 2)),
        (vec![(0, 1, 99)], (1, 1, 2)),
        (vec![(1, 2, -1)], (1, 2, -1)),
        (vec![(1, 1, 99), (1, 1, 100)], (1, 2, -1)),
        (vec![(1, 2, -1)], (1, 2, -1)),
    ];
    for (written, expected) in steps {
        let acks =
            written.iter().map(|(g, e, p)| (one.clone(), acknowledged(*g, *e, *p))).collect();
        let (generation, epoch, passed) = expected;
        let expected = acknowledged(generation, epoch, passed);
        // A higher one than all that were given was held: it is told.
        let told = (!written.contains(&(generation, epoch, passed)))
            .then(|| (one.clone(), expected.clone()));
        assert_eq!(history.acknowledge(acks).await, Ok(Vec::from_iter(told)), "{written:?}");
        assert_eq!(history.acknowledged(&one).await, Ok(Some(expected)), "{written:?}");
    }
    assert_eq!(history.acknowledged(&two).await, Ok(None));
    fixture.shut(history).await;
}

/// And many are taken in one call.
pub async fn acknowledged_positions_outlive_the_handle(fixture: &impl HistoryFixture) {
    let history = fixture.open().await;
    let keys: Vec<AcknowledgedKey> = (0..300).map(|i| key(&format!("s{i}"))).collect();
    let acks = keys.iter().enumerate().map(|(i, key)| (key.clone(), acknowledged(0, 1, i as i64)));
    history.acknowledge(acks.collect()).await.unwrap();
    fixture.shut(history).await;
    let history = fixture.open().await;
    for (i, key) in keys.iter().enumerate() {
        let stored = history.acknowledged(key).await.unwrap();
        assert_eq!(stored, Some(acknowledged(0, 1, i as i64)));
    }
    fixture.shut(history).await;
}
