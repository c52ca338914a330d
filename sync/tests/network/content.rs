//! Blobs between members over real sockets: what a source that lies, stalls or breaks off costs,
//! and how a transfer goes on.

use crate::member::{Member, in_step, introduce};
use crate::rogue::{dial, framed, rogue, speak};
use crate::scene::{Scene, deploy_body, seed, with_site};
use crate::source::{Act, Source};
use iroh::endpoint::{RecvStream, SendStream, VarInt};
use iroh_blobs::Hash;
use iroh_blobs::protocol::{ChunkRanges, ChunkRangesExt, ChunkRangesSeq, GetRequest};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use verge_sync::clock::UnixTime;
use verge_sync::content::{
    FetchError, GatherConfig, Gatherer, Repairs, Size, Sources, Thrift, shown,
};
use verge_sync::manifest::{
    BlobRef, Coding, Content, ContentPath, Delivery, Location, Manifest, Representation,
};
use verge_sync::record::KindTable;
use verge_sync::store::{Batch, LocalDisk, Store};
use verge_sync::{AccountId, Digest, NodeId, ProviderId, SiteId, SitePath, Version};

/// What has not come by then does not come.
const PATIENCE: Duration = Duration::from_secs(60);
/// The close code of a peer that broke the protocol.
const FAULT: u32 = 4;
/// The tree beside the bytes, and the head of an answer.
const SLACK_BYTES: u64 = 64 << 10;
const BLOB_BYTES: usize = 3 << 20;

/// Bytes that nothing compresses, the same for the same number.
fn noise(number: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&number.to_be_bytes());
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

fn exactly(blob: &[u8]) -> Size {
    Size::Exactly(u64::try_from(blob.len()).unwrap())
}

/// A site of one big file.
struct Site {
    blob: Vec<u8>,
    manifest: Vec<u8>,
    sequence: Vec<u8>,
    version: Version,
    bytes: u64,
}

impl Site {
    /// `length` is what the manifest says of the blob, truly or not.
    fn of(blob: Vec<u8>, length: u64) -> Self {
        let identity = Digest::of(&blob);
        let path = SitePath::new("film.bin").unwrap();
        let content = Content {
            recipe: 1,
            paths: BTreeMap::from([(
                path.clone(),
                ContentPath {
                    identity,
                    length,
                    media_type: "video/mp4".to_owned(),
                },
            )]),
            sections: BTreeMap::new(),
        };
        let representation = Representation {
            coding: Coding::Identity,
            digest: identity,
            sha256: [7; 32],
            length,
            location: Some(Location {
                blob_index: 0,
                offset: 0,
            }),
        };
        let delivery = Delivery {
            blobs: vec![BlobRef {
                digest: identity,
                bytes: length,
            }],
            representations: BTreeMap::from([(identity, vec![representation])]),
            first_seen: BTreeMap::from([(path, UnixTime(0))]),
            ..Delivery::default()
        };
        let bytes = delivery.encode(&content).unwrap();
        let manifest = Manifest::decode(bytes.clone()).unwrap();
        Self {
            blob,
            sequence: manifest.sequence(),
            version: manifest.version(),
            bytes: manifest.version_bytes(),
            manifest: bytes,
        }
    }

    fn honest(number: u64) -> Self {
        let blob = noise(number, BLOB_BYTES);
        let length = u64::try_from(blob.len()).unwrap();
        Self::of(blob, length)
    }

    /// Puts all of it into the member's store, as if it had been pushed there.
    async fn put(&self, member: &Member) {
        let blobs = member.store.blobs();
        for bytes in [&self.blob, &self.manifest, &self.sequence] {
            blobs.put(bytes).unwrap();
        }
        let batch = Batch {
            whole: vec![self.version],
            ..Batch::default()
        };
        member.store.records().write(batch).unwrap().await.unwrap();
        let held = shown(&member.effect(), &member.store, &BTreeSet::new());
        member.network.tell(held);
    }

    async fn deploy(&self, at: &mut Member, account: AccountId, site: SiteId) {
        let mut body = deploy_body("", account, 0);
        body.version = self.version;
        body.blobs = Digest::of(&self.sequence);
        body.blobs_bytes = self.bytes;
        at.write(|author, effect| author.deploy(effect, site, body).unwrap())
            .await;
    }
}

struct Street {
    members: Vec<Member>,
    _scene: Scene,
    account: AccountId,
    site: SiteId,
}

/// Two honest members and the places of `others`, who do as they like.
async fn street(others: u8) -> Street {
    let (scene, account, site) = with_site(2 + others);
    let mut members = Vec::new();
    for number in 0..2 {
        members.push(Member::start(&scene, number, KindTable::default()).await);
    }
    introduce(&scene, &members.iter().collect::<Vec<_>>()).await;
    in_step(&members.iter().collect::<Vec<_>>()).await;
    for (member, other) in [(0, 1), (1, 0)] {
        connected(&members[member], other).await;
    }
    Street {
        members,
        _scene: scene,
        account,
        site,
    }
}

fn node(number: u8) -> NodeId {
    seed(number).node_id()
}

/// Waits until `member` can ask member `other`.
async fn connected(member: &Member, other: u8) {
    let mut changes = member.network.changes();
    let is_there = || member.network.peers().iter().any(|p| p.node == node(other));
    let wait = async {
        while !is_there() {
            changes.changed().await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap();
}

async fn fetch(member: &Member, from: u8, blob: &[u8], size: Size) -> Result<(), FetchError> {
    let mut partial = member.store.partial(Digest::of(blob)).unwrap();
    let fetched = member.network.fetch(node(from), size, &mut partial).await;
    if fetched.is_ok() {
        partial.finish(&member.store)?;
    }
    fetched
}

/// What lies in `partial/`, in bytes.
fn partial_bytes(member: &Member) -> u64 {
    let entries = std::fs::read_dir(member.folder().join("partial")).unwrap();
    entries
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum()
}

fn partial_path(member: &Member, blob: &[u8]) -> PathBuf {
    member
        .folder()
        .join("partial")
        .join(Digest::of(blob).to_string())
}

/// Brings what is missing at the member for as long as the rest takes.
fn gather(member: &Member) -> tokio::task::JoinHandle<()> {
    let config = GatherConfig {
        provider: ProviderId::from_bytes([0; 32]),
        at_once_max: 2,
    };
    let gatherer = Gatherer::new(
        member.store.clone(),
        Arc::clone(&member.network),
        member.replica.watch(),
        config,
        Arc::new(|_, _, _| Ok(())),
        (
            Repairs::default(),
            Arc::new(Thrift::new(0, BTreeSet::new())),
        ),
    );
    tokio::spawn(gatherer.run())
}

/// Waits until the version is whole at the member.
async fn holds(member: &Member, version: Version) {
    let mut changes = member.store.shelf().changes();
    let wait = async {
        while !member.store.shelf().holds(&version) {
            changes.changed().await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap();
}

#[tokio::test]
async fn a_source_that_lies_loses_its_connection_and_leaves_nothing() {
    let blob = noise(1, BLOB_BYTES);
    let long = u64::try_from(blob.len()).unwrap();
    let lies = [
        (Act::OtherBytes, Size::AtMost(long)),
        (Act::OtherBytes, exactly(&blob)),
        (Act::Zeros, exactly(&blob)),
        (Act::OtherSize(long - 1), exactly(&blob)),
        (Act::OtherSize(long * 2), exactly(&blob)),
        (Act::OtherSize(0), exactly(&blob)),
        (Act::OtherSize(u64::MAX), Size::AtMost(long)),
        (Act::OtherSize(1 << 40), Size::AtMost(1 << 40)),
        (Act::OtherSize(long / 2), Size::AtMost(long)),
    ];
    let street = street(9).await;
    let member = &street.members[0];
    for (number, (act, size)) in (2..).zip(lies) {
        let liar = Source::connect(number, member, &blob, act).await;
        connected(member, number).await;
        let fetched = fetch(member, number, &blob, size).await;
        assert!(
            matches!(fetched, Err(FetchError::Wrong(_))),
            "{act:?}: {fetched:?}"
        );
        assert_eq!(partial_bytes(member), 0, "{act:?}");
        assert!(!member.store.blobs().contains(&Digest::of(&blob)).unwrap());
        let closed = tokio::time::timeout(PATIENCE, liar.connection().closed()).await;
        let code = match closed.unwrap() {
            iroh::endpoint::ConnectionError::ApplicationClosed(close) => close.error_code,
            other => panic!("{act:?}: {other}"),
        };
        assert_eq!(code, VarInt::from_u32(FAULT), "{act:?}");
        // It took no more than what the node reads ahead.
        assert!(liar.sent() < 4 << 20, "{act:?}");
        liar.close().await;
    }
}

/// What a source sends after the end of the blob is not read.
#[tokio::test]
async fn a_stream_that_does_not_end_brings_the_blob_and_no_more() {
    let blob = noise(2, BLOB_BYTES);
    let street = street(1).await;
    let member = &street.members[0];
    let babbler = Source::connect(2, member, &blob, Act::Endless).await;
    connected(member, 2).await;
    fetch(member, 2, &blob, exactly(&blob)).await.unwrap();
    let read = member
        .store
        .blobs()
        .read_verified(&Digest::of(&blob), 1 << 30);
    assert!(read.unwrap().unwrap() == blob);
    babbler.close().await;
}

#[tokio::test]
async fn a_source_that_says_nothing_is_left() {
    let blob = noise(3, BLOB_BYTES);
    let street = street(1).await;
    let member = &street.members[0];
    let silent = Source::connect(2, member, &blob, Act::Silent).await;
    connected(member, 2).await;
    let fetched = fetch(member, 2, &blob, exactly(&blob)).await;
    assert!(matches!(fetched, Err(FetchError::Slow)), "{fetched:?}");
    silent.does(Act::Honest);
    fetch(member, 2, &blob, exactly(&blob)).await.unwrap();
    silent.close().await;
}

/// The blob then comes from an honest member, though the liar says that it holds the version.
#[tokio::test]
async fn what_a_liar_does_not_give_an_honest_member_gives() {
    let acts = [
        Act::OtherBytes,
        Act::OtherSize(17),
        Act::Zeros,
        Act::Cut(1 << 20),
        Act::Silent,
    ];
    let mut street = street(5).await;
    let gathering = gather(&street.members[0]);
    for (number, act) in (2..).zip(acts) {
        let made = Site::honest(u64::from(number));
        let liar = Source::connect(number, &street.members[0], &made.blob, act).await;
        connected(&street.members[0], number).await;
        let _claim = liar.claims(made.version).await;
        made.put(&street.members[1]).await;
        made.deploy(&mut street.members[1], street.account, street.site)
            .await;
        holds(&street.members[0], made.version).await;
        let read = street.members[0].store.blobs();
        let read = read.read_verified(&Digest::of(&made.blob), 1 << 30);
        assert!(read.unwrap().unwrap() == made.blob, "{act:?}");
        liar.close().await;
    }
    gathering.abort();
}

/// A member once cut its honest peers off for sending a blob of its true length, where the version
/// of a rogue gave another.
#[tokio::test]
async fn a_version_that_lies_about_lengths_costs_honest_members_nothing() {
    let blob = noise(5, 17 << 20);
    let truth = u64::try_from(blob.len()).unwrap();
    let mut street = street(1).await;
    for (number, length) in [(6, truth - 1), (8, truth * 2)] {
        let made = Site::of(blob.clone(), length);
        made.put(&street.members[1]).await;
        made.deploy(&mut street.members[1], street.account, street.site)
            .await;
        // And one whose list of blobs is a film.
        let mut listed = Site::of(noise(number, 9), 9);
        listed.sequence = blob.clone();
        listed.put(&street.members[1]).await;
        listed
            .deploy(&mut street.members[1], street.account, street.site)
            .await;
        let good = Site::honest(number + 1);
        let gathering = gather(&street.members[0]);
        let fetched = fetch(&street.members[0], 1, &blob, Size::Exactly(length)).await;
        assert!(
            matches!(fetched, Err(ref error) if !matches!(error, FetchError::Wrong(_))),
            "{fetched:?}"
        );
        good.put(&street.members[1]).await;
        good.deploy(&mut street.members[1], street.account, street.site)
            .await;
        holds(&street.members[0], good.version).await;
        assert!(!street.members[0].store.shelf().holds(&made.version));
        assert!(!street.members[0].store.shelf().holds(&listed.version));
        gathering.abort();
    }
}

#[tokio::test]
async fn a_transfer_goes_on_where_it_was_cut() {
    let blob = noise(8, BLOB_BYTES);
    let all = u64::try_from(blob.len()).unwrap();
    let street = street(1).await;
    let member = &street.members[0];
    let source = Source::connect(2, member, &blob, Act::Cut(2 << 20)).await;
    connected(member, 2).await;
    assert!(fetch(member, 2, &blob, exactly(&blob)).await.is_err());
    let here = partial_bytes(member);
    assert!(here > 1 << 20, "{here}");
    source.sent();
    // As after a crash: the store is opened anew, on what lies there.
    let copy = tempfile::tempdir().unwrap();
    let store = Store::open(copy.path(), Arc::new(LocalDisk)).unwrap();
    let name = Digest::of(&blob).to_string();
    std::fs::copy(
        partial_path(member, &blob),
        copy.path().join("partial").join(&name),
    )
    .unwrap();
    source.does(Act::Honest);
    let mut partial = store.partial(Digest::of(&blob)).unwrap();
    let fetched = member
        .network
        .fetch(node(2), exactly(&blob), &mut partial)
        .await;
    fetched.unwrap();
    let again = source.sent();
    assert!(
        again < all - here + SLACK_BYTES,
        "{again} of {all} after {here}"
    );
    partial.finish(&store).unwrap();
    assert!(store.blobs().contains(&Digest::of(&blob)).unwrap());
    // And in the running node.
    fetch(member, 2, &blob, exactly(&blob)).await.unwrap();
    assert!(source.sent() < all - here + SLACK_BYTES);
    source.close().await;
}

/// The node was killed once the last byte had come and before the blob had its name. A blob whose
/// length is a multiple of 16 KiB was asked for from its end on then, and its source taken for a
/// liar.
#[tokio::test]
async fn a_transfer_that_was_whole_already_costs_nothing() {
    let blob = noise(9, BLOB_BYTES);
    let street = street(1).await;
    let member = &street.members[0];
    for size in [exactly(&blob), Size::AtMost(1 << 30)] {
        std::fs::write(partial_path(member, &blob), &blob).unwrap();
        let source = Source::connect(2, member, &blob, Act::Honest).await;
        connected(member, 2).await;
        fetch(member, 2, &blob, size).await.unwrap();
        assert!(source.sent() < SLACK_BYTES);
        source.close().await;
    }
}

/// A version after one that is here comes with what its manifest differs in, unless the peer lies.
#[tokio::test]
async fn a_manifest_comes_by_what_it_differs_in() {
    let sites: Vec<Site> = (30..33).map(Site::honest).collect();
    let mut street = street(1).await;
    let gathering = gather(&street.members[0]);
    for site in &sites[..2] {
        site.put(&street.members[1]).await;
        site.deploy(&mut street.members[1], street.account, street.site)
            .await;
        holds(&street.members[0], site.version).await;
    }
    let [first, second, third] = &sites[..] else {
        unreachable!("three of them");
    };
    let network = &street.members[0].network;
    let base = (first.version.digest(), first.manifest.clone());
    let change = |from, base, site: &Site| network.fetch_change(from, base, site.version.digest());
    let given = change(node(1), base.clone(), second).await.unwrap();
    assert!(given.unwrap() == second.manifest);
    // Not of what is not there, nor from what is not there.
    assert!(
        change(node(1), base.clone(), third)
            .await
            .unwrap()
            .is_none()
    );
    let other = (third.version.digest(), third.manifest.clone());
    assert!(change(node(1), other, second).await.unwrap().is_none());

    let liar = Source::connect(2, &street.members[0], &third.blob, Act::Difference).await;
    connected(&street.members[0], 2).await;
    let given = change(node(2), base, third).await;
    assert!(matches!(given, Err(FetchError::Wrong(_))), "{given:?}");
    third.put(&street.members[1]).await;
    third
        .deploy(&mut street.members[1], street.account, street.site)
        .await;
    holds(&street.members[0], third.version).await;
    gathering.abort();
    liar.close().await;
}

/// A short blob comes pressed where that makes it shorter, and whole where it does not.
#[tokio::test]
async fn a_short_blob_comes_pressed() {
    let text: Vec<u8> = (0..20_000_u32)
        .flat_map(|n| format!("<p>{n}\n").into_bytes())
        .collect();
    let mut street = street(0).await;
    let network = Arc::clone(&street.members[0].network);
    let nothing = || (Digest::of(b""), Vec::new());
    for (blob, is_pressed) in [
        (text.clone(), true),
        (noise(41, 50_000), false),
        // Longer than what is pressed.
        ([text.as_slice(); 8].concat(), false),
    ] {
        let length = u64::try_from(blob.len()).unwrap();
        let made = Site::of(blob, length);
        made.put(&street.members[1]).await;
        let digest = Digest::of(&made.blob);
        let given = network.fetch_change(node(1), nothing(), digest).await;
        let given = given.unwrap();
        assert_eq!(given.is_some(), is_pressed, "{length}");
        assert!(given.is_none_or(|given| given == made.blob));
        let gathering = gather(&street.members[0]);
        made.deploy(&mut street.members[1], street.account, street.site)
            .await;
        holds(&street.members[0], made.version).await;
        let read = street.members[0]
            .store
            .blobs()
            .read_verified(&digest, 1 << 30);
        assert!(read.unwrap().unwrap() == made.blob);
        gathering.abort();
    }
}

#[tokio::test]
async fn a_torn_beginning_is_begun_anew() {
    let mut street = street(1).await;
    for (number, length) in (20..).zip([100, 16 << 10, BLOB_BYTES / 2, BLOB_BYTES, BLOB_BYTES * 2])
    {
        let made = Site::honest(number);
        for bytes in [&made.blob, &made.manifest, &made.sequence] {
            let garbage = noise(11, length);
            std::fs::write(partial_path(&street.members[0], bytes), garbage).unwrap();
        }
        made.put(&street.members[1]).await;
        made.deploy(&mut street.members[1], street.account, street.site)
            .await;
        let gathering = gather(&street.members[0]);
        holds(&street.members[0], made.version).await;
        assert_eq!(street.members[0].network.peers().len(), 1, "{length}");
        gathering.abort();
    }
}

/// A request for more than one run gets no byte; the next one, of one run, is answered.
#[tokio::test]
async fn a_request_for_many_runs_is_not_answered() {
    let blob = noise(12, 1 << 20);
    let street = street(1).await;
    let member = &street.members[0];
    member.store.blobs().put(&blob).unwrap();
    let hash = Hash::from_bytes(*Digest::of(&blob).as_bytes());
    let runs = |count: u64| {
        let runs = (0..count).map(|n| ChunkRanges::chunks(n * 32..n * 32 + 16));
        runs.fold(ChunkRanges::empty(), |all, run| all | run)
    };
    let asker = rogue(2).await;
    let connection = dial(&asker, member, b"verge/1/records").await;
    let _records = speak(&connection).await;
    for (request, is_answered) in [
        (GetRequest::blob_ranges(hash, runs(2)), false),
        (GetRequest::blob_ranges(hash, runs(30)), false),
        (GetRequest::all(hash), false),
        (GetRequest::new(hash, ChunkRangesSeq::empty()), false),
        (GetRequest::blob_ranges(hash, runs(1)), true),
        (GetRequest::blob(hash), true),
    ] {
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        send.write_all(&framed(&[1])).await.unwrap();
        let bytes = encoded(&request);
        send.write_all(&bytes).await.unwrap();
        send.finish().unwrap();
        let answer = receive.read_to_end(4 << 20);
        let answer = tokio::time::timeout(PATIENCE, answer).await.unwrap();
        let got = answer.map_or(0, |answer| answer.len());
        assert_eq!(got > 0, is_answered, "{request:?}: {got} bytes");
    }
    asker.close().await;
}

/// The byte of a get request, and the request, as iroh-blobs writes them.
fn encoded(request: &GetRequest) -> Vec<u8> {
    postcard::to_stdvec(&iroh_blobs::protocol::Request::Get(request.clone())).unwrap()
}

/// Who takes nothing of what it asks for holds up nobody else, however many they are. Two of them
/// once took all the places in which blobs are sent.
#[tokio::test]
async fn members_that_take_nothing_leave_room_for_others() {
    let blob = noise(13, 8 << 20);
    let (scene, _account, _site) = with_site(5);
    let sender = Member::patient(&scene, 0).await;
    let other = Member::start(&scene, 1, KindTable::default()).await;
    introduce(&scene, &[&sender, &other]).await;
    connected(&other, 0).await;
    sender.store.blobs().put(&blob).unwrap();
    let mut lazy = Vec::new();
    for number in 2..5 {
        lazy.push(Lazy::asks(number, &sender, &blob).await);
    }
    fetch(&other, 0, &blob, exactly(&blob)).await.unwrap();
    for one in lazy {
        one.endpoint.close().await;
    }
}

/// A member that asks for a blob many times over and reads a byte of each answer.
struct Lazy {
    endpoint: iroh::Endpoint,
    _records: (SendStream, RecvStream),
    _held: Vec<(SendStream, RecvStream)>,
}

impl Lazy {
    async fn asks(number: u8, sender: &Member, blob: &[u8]) -> Self {
        let endpoint = rogue(number).await;
        let connection = dial(&endpoint, sender, b"verge/1/records").await;
        let records = speak(&connection).await;
        let request = GetRequest::blob(Hash::from_bytes(*Digest::of(blob).as_bytes()));
        let mut held = Vec::new();
        for _ in 0..6 {
            let (mut send, mut receive) = connection.open_bi().await.unwrap();
            send.write_all(&framed(&[1])).await.unwrap();
            send.write_all(&encoded(&request)).await.unwrap();
            send.finish().unwrap();
            // As many as are answered at all: one byte, and then no more.
            let first = receive.read_chunk(1);
            if let Ok(first) = tokio::time::timeout(Duration::from_millis(300), first).await {
                assert!(first.unwrap().is_some());
            }
            held.push((send, receive));
        }
        Self {
            endpoint,
            _records: records,
            _held: held,
        }
    }
}
