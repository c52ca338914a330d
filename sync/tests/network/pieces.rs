//! Whether a member has a piece of a blob on its disk now, as it proves to another.

use crate::member::{Member, introduce};
use crate::scene::{seed, with_site};
use std::time::Duration;
use verge_sync::content::Sources as _;
use verge_sync::net::{Network, Piece, PieceError};
use verge_sync::record::KindTable;
use verge_sync::{Digest, NodeId};

/// What has not come by then does not come.
const PATIENCE: Duration = Duration::from_secs(60);

fn node(number: u8) -> NodeId {
    seed(number).node_id()
}

/// What `node` says, asked again where two connections have just become one.
async fn ask(asker: &Network, number: u8, piece: Piece) -> Option<Digest> {
    loop {
        let mut changes = asker.changes();
        match asker.ask_piece(node(number), piece).await {
            Ok(said) => return said,
            Err(error) => {
                let changed = tokio::time::timeout(PATIENCE, changes.changed());
                assert!(changed.await.is_ok_and(|held| held.is_ok()), "{error}");
            }
        }
    }
}

#[tokio::test]
async fn a_piece_is_proved_by_who_has_it_whole_and_by_nobody_else() {
    let (scene, ..) = with_site(3);
    let mut members = Vec::new();
    for number in 0..2 {
        members.push(Member::start(&scene, number, KindTable::default()).await);
    }
    introduce(&scene, &members.iter().collect::<Vec<_>>()).await;
    let mut changes = members[0].network.changes();
    while members[0].network.peers().is_empty() {
        changes.changed().await.unwrap();
    }
    let bytes: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
    let blob = members[1].store.blobs().put(&bytes).unwrap();
    let piece = Piece {
        nonce: [9; 32],
        blob,
        offset: 70_000,
        bytes: 64 << 10,
    };
    let asker = &members[0].network;
    let held = &bytes[70_000..70_000 + (64 << 10)];
    let said = ask(asker, 1, piece).await;
    assert_eq!(said, Some(piece.proof(node(0), node(1), held)));
    assert_eq!(asker.seen_at(&node(1)).unwrap(), members[1].address().ip());

    // What the disk has made of it is what is answered.
    let path = members[1].store.dir().join("blobs").join(blob.to_string());
    let mut damaged = bytes.clone();
    damaged[80_000] ^= 1;
    std::fs::write(path, &damaged).unwrap();
    let said = ask(asker, 1, piece).await;
    assert!(said.is_some() && said != Some(piece.proof(node(0), node(1), held)));

    let beyond = Piece {
        offset: 799_999,
        ..piece
    };
    let missing = Piece {
        blob: Digest::of(b"nobody has this"),
        ..piece
    };
    for piece in [beyond, missing] {
        assert_eq!(ask(asker, 1, piece).await, None);
    }
    let gone = asker.ask_piece(node(2), piece).await;
    assert!(matches!(gone, Err(PieceError::NotConnected)));
    let long = Piece {
        bytes: (64 << 10) + 1,
        ..piece
    };
    let refused = asker.ask_piece(node(1), long).await;
    assert!(matches!(refused, Err(PieceError::Broken(_))), "{refused:?}");
}
