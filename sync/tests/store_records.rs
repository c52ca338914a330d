//! The records of a store: places, byte forms, meta values, batches, and a database that is newer,
//! damaged or torn.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that does not work"
)]

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use verge_sync::store::records::{BATCH_BYTES_MAX, ROW_BYTES_MAX};
use verge_sync::store::{
    Batch, Fault, LocalDisk, MetaValue, Outcome, Placed, Row, Store, StoreError,
};
use verge_sync::{Digest, RecordId, Version};

fn open(dir: &Path) -> Result<Store, StoreError> {
    Store::open(dir, Arc::new(LocalDisk))
}

fn id(byte: u8) -> RecordId {
    RecordId::from_bytes([byte; 32])
}

/// A record at the one place of these tests.
fn row(byte: u8) -> Row {
    Row {
        id: id(byte),
        kind: 3,
        subject: b"subject".to_vec(),
        author: [1; 32],
        epoch: 2,
        sequence: 5,
        bytes: vec![byte; 40],
    }
}

fn put(store: &Store, rows: Vec<Row>) -> Outcome {
    store.records().put(rows).unwrap().wait().unwrap()
}

fn ids(store: &Store) -> Vec<RecordId> {
    store
        .records()
        .all()
        .unwrap()
        .into_iter()
        .map(|row| row.id)
        .collect()
}

/// Which of several records of one place are kept is decided by whoever knows what follows them.
#[test]
fn records_are_kept_until_they_are_said_to_be_gone() {
    use Placed::{Known, New};
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let outcome = put(&store, [3, 1, 2, 1].map(row).to_vec());
    assert_eq!(outcome.placed, [New, New, New, Known]);
    let batch = Batch {
        rows: vec![row(4)],
        // One that was just placed, one that was there, one that never was.
        gone: [4, 2, 9].map(id).to_vec(),
        ..Batch::default()
    };
    store.records().write(batch).unwrap().wait().unwrap();
    assert_eq!(ids(&store), [id(1), id(3)]);
    drop(store);
    let store = open(dir.path()).unwrap();
    assert_eq!(ids(&store), [id(1), id(3)]);
}

#[test]
fn every_part_of_a_place_counts() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let others = [
        Row { kind: 4, ..row(10) },
        Row {
            kind: u64::MAX,
            ..row(11)
        },
        Row {
            subject: b"Subject".to_vec(),
            ..row(12)
        },
        Row {
            subject: Vec::new(),
            ..row(13)
        },
        Row {
            author: [2; 32],
            ..row(14)
        },
        Row {
            epoch: u32::MAX,
            ..row(15)
        },
        Row {
            sequence: u32::MAX,
            ..row(16)
        },
    ];
    put(&store, vec![row(1), row(2)]);
    put(&store, others.to_vec());
    let mut expected = vec![row(1), row(2)];
    expected.extend(others);
    drop(store);
    assert_eq!(open(dir.path()).unwrap().records().all().unwrap(), expected);
}

#[test]
fn of_two_byte_forms_the_lower_digest_stays() {
    let forms = [b"one".to_vec(), b"two".to_vec()];
    let lower = forms.iter().min_by_key(|bytes| Digest::of(bytes)).unwrap();
    for order in [[0, 1], [1, 0]] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path()).unwrap();
        let rows = order.map(|index: usize| Row {
            bytes: forms[index].clone(),
            ..row(1)
        });
        let outcome = put(&store, rows.to_vec());
        let second = if rows[1].bytes == *lower {
            Placed::Replaced
        } else {
            Placed::Known
        };
        assert_eq!(outcome.placed, [Placed::New, second]);
        assert_eq!(store.records().all().unwrap()[0].bytes, *lower);
    }
}

#[test]
fn meta_values_and_rows_become_durable_together() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let values = [
        ("n", MetaValue::Number(u64::MAX)),
        ("log", MetaValue::Bytes(vec![0, 1, 2])),
        ("none", MetaValue::Bytes(Vec::new())),
    ];
    assert_eq!(store.records().meta("n").unwrap(), None);
    store
        .records()
        .put_meta("n", MetaValue::Number(7))
        .unwrap()
        .wait()
        .unwrap();
    let meta = values
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.clone()))
        .collect();
    store
        .records()
        .write(Batch {
            rows: vec![row(1)],
            meta,
            ..Batch::default()
        })
        .unwrap()
        .wait()
        .unwrap();
    drop(store);
    let store = open(dir.path()).unwrap();
    for (key, value) in values {
        assert_eq!(store.records().meta(key).unwrap(), Some(value));
    }
    assert_eq!(ids(&store), [id(1)]);
}

#[test]
fn the_revision_grows_when_the_set_of_records_changes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let revision = store.records().revision();
    assert_eq!(*revision.borrow(), 0);
    put(&store, vec![row(2), row(1)]);
    assert_eq!(*revision.borrow(), 1);
    put(&store, vec![row(1), row(2)]);
    store
        .records()
        .put_meta("key", MetaValue::Number(1))
        .unwrap()
        .wait()
        .unwrap();
    assert_eq!(*revision.borrow(), 1, "nothing new");
    put(&store, vec![row(0)]);
    assert_eq!(*revision.borrow(), 2);
}

#[tokio::test]
async fn writes_are_awaited_and_gathered() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let mut revision = store.records().revision();
    let writes: Vec<_> = (0..50_u8)
        .map(|byte| {
            store
                .records()
                .put(vec![Row {
                    sequence: byte.into(),
                    ..row(byte)
                }])
                .unwrap()
        })
        .collect();
    for write in writes {
        assert_eq!(write.await.unwrap().placed, [Placed::New]);
    }
    assert!(revision.has_changed().unwrap());
    let commits = *revision.borrow_and_update();
    assert!(commits < 50, "{commits} commits for 50 writes at once");
    assert_eq!(ids(&store).len(), 50);
}

#[test]
fn a_write_that_nobody_awaits_is_durable_after_closing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    put(&store, vec![row(1)]);
    drop(store.records().put(vec![row(2)]).unwrap());
    drop(store);
    assert_eq!(ids(&open(dir.path()).unwrap()), [id(1), id(2)]);
}

#[test]
fn limits_are_refused_before_the_queue() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let sized = |bytes: usize| Row {
        bytes: vec![0; bytes - b"subject".len()],
        ..row(1)
    };
    put(&store, vec![sized(ROW_BYTES_MAX)]);
    let refused = [
        store.records().put(vec![sized(ROW_BYTES_MAX + 1)]),
        store
            .records()
            .put(vec![sized(ROW_BYTES_MAX); BATCH_BYTES_MAX / ROW_BYTES_MAX]),
        store
            .records()
            .put_meta("key", MetaValue::Bytes(vec![0; ROW_BYTES_MAX + 1])),
    ];
    for result in refused {
        let error = result.unwrap_err();
        assert!(matches!(error, StoreError::TooLarge { .. }), "{error}");
        assert_eq!(error.fault(), Fault::Caller);
    }
}

/// 16 MiB may wait: a writer that is kept from the disk by a commit of 4 MiB sees the others come.
#[test]
fn a_full_queue_is_refused_and_empties() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let batch = |first: u32| -> Vec<_> {
        let numbers = first..first + 60;
        let row = |number: u32| Row {
            id: RecordId::from_digest(Digest::of(&number.to_be_bytes())),
            sequence: number,
            bytes: vec![0; 60_000],
            ..row(0)
        };
        numbers.map(row).collect()
    };
    put(&store, batch(0));
    let mut writes = Vec::new();
    let refused = (1..1_000_u32).find_map(|number| {
        store
            .records()
            .put(batch(number * 60))
            .map(|write| writes.push(write))
            .err()
    });
    let error = refused.unwrap();
    assert!(matches!(error, StoreError::Busy), "{error}");
    assert_eq!(error.fault(), Fault::Load);
    for write in writes {
        write.wait().unwrap();
    }
    put(&store, batch(100_000));
}

#[test]
fn one_process_owns_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let error = open(dir.path()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("another verge process owns {}", dir.path().display())
    );
    let clone = store.clone();
    drop(store);
    assert!(open(dir.path()).is_err(), "a clone is left");
    drop(clone);
    open(dir.path()).unwrap();
}

#[test]
fn a_version_is_on_the_shelf_from_one_write_to_another() {
    let dir = tempfile::tempdir().unwrap();
    let version = |byte| Version::from_bytes([byte; 32]);
    let write = |store: &Store, whole: &[u8], not_whole: &[u8]| {
        let batch = Batch {
            whole: whole.iter().map(|byte| version(*byte)).collect(),
            not_whole: not_whole.iter().map(|byte| version(*byte)).collect(),
            ..Batch::default()
        };
        store.records().write(batch).unwrap().wait().unwrap();
    };
    let held = |store: &Store| [1, 2, 3].map(|byte| store.shelf().holds(&version(byte)));
    let store = open(dir.path()).unwrap();
    let changes = store.shelf().changes();
    write(&store, &[1, 2, 3, 2], &[]);
    assert!(changes.has_changed().unwrap());
    assert_eq!(held(&store), [true, true, true]);
    write(&store, &[], &[3, 9]);
    drop(store);
    let store = open(dir.path()).unwrap();
    assert_eq!(held(&store), [true, true, false]);
    assert_eq!(store.shelf().versions().len(), 2);
}

/// A directory of the release before has a database without the shelf.
#[test]
fn a_database_of_schema_1_is_brought_up() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    put(&store, vec![row(1)]);
    drop(store);
    let connection = rusqlite::Connection::open(dir.path().join("verge.sqlite")).unwrap();
    connection.execute_batch("DROP TABLE whole").unwrap();
    connection.pragma_update(None, "user_version", 1).unwrap();
    drop(connection);
    let store = open(dir.path()).unwrap();
    assert_eq!(ids(&store), [id(1)]);
    assert_eq!(store.shelf().versions(), []);
}

#[test]
fn a_newer_schema_is_refused_with_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()).unwrap());
    let path = dir.path().join("verge.sqlite");
    let connection = rusqlite::Connection::open(&path).unwrap();
    let version: u32 = connection
        .pragma_query_value(None, "user_version", |r| r.get(0))
        .unwrap();
    assert_eq!(version, 2);
    connection.pragma_update(None, "user_version", 9).unwrap();
    drop(connection);
    let expected = format!(
        "records database {} has schema 9, this release knows schemas up to 2: start the newer \
         release of verge that wrote it",
        path.display()
    );
    assert_eq!(open(dir.path()).unwrap_err().to_string(), expected);
}

#[test]
fn a_damaged_database_is_named_with_what_to_do() {
    let damages: [fn(&Path); 2] = [
        |path| {
            fs::write(
                path,
                "not a database at all, but long enough to have a head\n",
            )
            .unwrap()
        },
        |path| {
            // All but the first page, which holds the schema.
            let bytes = fs::metadata(path).unwrap().len();
            let file = OpenOptions::new().write(true).open(path).unwrap();
            let junk = vec![0xa5; usize::try_from(bytes - 4096).unwrap()];
            file.write_all_at(&junk, 4096).unwrap();
        },
    ];
    for damage in damages {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path()).unwrap();
        put(
            &store,
            (0..100)
                .map(|byte| Row {
                    sequence: byte.into(),
                    ..row(byte)
                })
                .collect(),
        );
        drop(store);
        let path = dir.path().join("verge.sqlite");
        damage(&path);
        let error = open(dir.path()).unwrap_err();
        assert!(
            matches!(error, StoreError::DatabaseDamaged { .. }),
            "{error:?}"
        );
        assert_eq!(error.fault(), Fault::Disk);
        let text = error.to_string();
        assert!(text.contains(&path.display().to_string()), "{text}");
        assert!(
            text.contains("move this file and its -wal file away"),
            "{text}"
        );
    }
}

/// A crash can tear the log at any place: the commits before it hold, the others never were.
#[test]
fn a_log_torn_anywhere_holds_whole_commits() {
    const COMMITS: u8 = 6;
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()).unwrap());
    let store = open(dir.path()).unwrap();
    let mut ends = vec![0];
    for number in 0..COMMITS {
        let rows = [2 * number, 2 * number + 1];
        put(
            &store,
            rows.map(|byte| Row {
                sequence: byte.into(),
                ..row(byte)
            })
            .to_vec(),
        );
        ends.push(
            fs::metadata(dir.path().join("verge.sqlite-wal"))
                .unwrap()
                .len(),
        );
    }
    let log = fs::read(dir.path().join("verge.sqlite-wal")).unwrap();
    let database = fs::read(dir.path().join("verge.sqlite")).unwrap();
    for cut in (0..log.len()).step_by(769).chain([log.len()]) {
        let mut torn = log.clone();
        torn.truncate(cut);
        let mut zeroed = torn.clone();
        zeroed.resize(log.len(), 0);
        let cut = u64::try_from(cut).unwrap();
        let whole = ends.iter().filter(|end| **end <= cut).count() - 1;
        for left in [torn, zeroed] {
            let image = tempfile::tempdir().unwrap();
            fs::write(image.path().join("verge.sqlite"), &database).unwrap();
            fs::write(image.path().join("verge.sqlite-wal"), left).unwrap();
            let found = ids(&open(image.path()).unwrap());
            let expected: Vec<_> = (0..u8::try_from(2 * whole).unwrap()).map(id).collect();
            assert_eq!(found, expected, "cut at {cut}");
        }
    }
}
