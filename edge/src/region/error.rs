//! Why nothing was written, in the words of whoever asked for it.

use crate::ssh_key::SshKeyDigest;
use std::path::PathBuf;
use verge_sync::id::{RecordId, RegionId};
use verge_sync::record::{Draft, Refusal, WriteError as RecordWriteError};
use verge_sync::store::StoreError;

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Not a label.
    #[error(
        "{0:?} is not a name: use 1 to 32 of a-z, 0-9 and single hyphens, beginning and ending with a letter or digit"
    )]
    NotAName(String),
    /// On the list of names that nobody can have.
    #[error("the name {0} is reserved: choose another")]
    Reserved(String),
    /// Somebody has it.
    #[error("the name {0} is taken: choose another")]
    NameTaken(String),
    /// Not a DNS name.
    #[error("{0:?} is not a host: write it like www.example.org")]
    NotAHost(String),
    /// Somebody has it.
    #[error("the host {0} belongs to a site already")]
    HostTaken(String),
    /// One of the region's own names.
    #[error("the host {host} is the region's own: use a label under {zone}, or another domain")]
    HostOfRegion {
        /// The host.
        host: String,
        /// The region's site zone.
        zone: String,
    },
    /// Another site's, or nobody's.
    #[error("the site does not answer to the host {0}")]
    NotItsHost(String),
    /// Not a name that git takes.
    #[error("{0:?} is not the name of a branch: write it like main or pages")]
    NotABranch(String),
    /// The store already holds another record at a place: an image of this directory runs elsewhere.
    #[error(
        "a record that this node has not seen stands in the place of the new one: does a copy of its data directory run elsewhere? restart the node"
    )]
    PlaceTaken,
    /// The day has a seal of this node that says something else.
    #[error(
        "this node has sealed {0} before, from other counters: does a copy of its data directory run elsewhere?"
    )]
    SealedBefore(crate::accounting::calendar::Day),
    /// A host below the zone that is not a label of it.
    #[error("the host {host} is not a single label under {zone}")]
    HostInZone {
        /// The host.
        host: String,
        /// The region's site zone.
        zone: String,
    },
    /// No such account.
    #[error("there is no account {0}: see `verge account list`")]
    NoAccount(String),
    /// No such site.
    #[error("there is no site {0}: see `verge site list`")]
    NoSite(String),
    /// An account must keep a way in.
    #[error("account {0} would have no key left: add another first")]
    LastKey(String),
    /// More keys than a record holds.
    #[error("account {0} would have more than 16 keys: take one away first")]
    TooManyKeys(String),
    /// Not a list of providers.
    #[error("{0:?} is not a provider of the region: use `all`, `none`, or the ids of providers")]
    NoProvider(String),
    /// This node may not deploy for the account.
    #[error(
        "account {0} lets no node of this provider act for it: sign it with a key of the account, `verge deploy --sign-with KEY --remote REMOTE` where the repository is (docs/publishing.md), or ask for `verge account set {0} --acts all`"
    )]
    NotAllowed(String),
    /// The account cannot sign by itself.
    #[error(
        "account {0} has no key that signs: give it one with `verge account set {0} --add-signing-key FILE.pub`"
    )]
    NoSigningKey(String),
    /// A key that may not sign for the account.
    #[error(
        "the line is signed with the key {key}, which is none of those that sign for account {account}: `verge account list` shows them"
    )]
    OtherKey {
        /// The account's name.
        account: String,
        /// The fingerprint of the key.
        key: SshKeyDigest,
    },
    /// A deploy that was signed for something else.
    #[error("the line was signed for another site than this one")]
    OtherSite,
    /// A deploy that this node has not made ready, or no more.
    #[error(
        "this node does not wait for this line: it was asked for at another node, before a restart, or too long ago; run the command again that asked for it"
    )]
    NotAskedFor,
    /// It was taken in once.
    #[error("this line was taken in before, and changes nothing a second time")]
    TakenBefore,
    /// A key that is not on this node has to sign this first.
    #[error("the key that signs for this is not on this node, and has to sign first")]
    ToSign(Box<Draft>),
    /// The newcomer is one already.
    #[error("{0} is a provider of the region already")]
    AlreadyProvider(String),
    /// A region needs one.
    #[error("a region cannot be without a provider: add another first")]
    LastProvider,
    /// The step would say what the current one says.
    #[error("nothing would change: see `verge region propose --help`")]
    NoChange,
    /// Nothing waits for votes under that name.
    #[error("no proposal begins with {0}: see `verge region status`")]
    NoProposal(String),
    /// Another key than the one that the step names.
    #[error("this is not the paper key of the region's current step")]
    NotThePaper,
    /// A provider has sixteen.
    #[error(
        "all 16 places for nodes of this provider are taken or promised by a ticket: withdraw a node first (`verge node list`), or void the tickets (`verge provider invite --void`)"
    )]
    SlotsFull,
    /// Not a node of the region, or several begin so.
    #[error("no single node is meant: see `verge node list`")]
    NoNode,
    /// Another provider's.
    #[error("node {0} belongs to another provider: only its own provider can withdraw it")]
    NotOwnNode(String),
    /// Another node has taken a push meanwhile.
    #[error(
        "another push to this site arrived by another node meanwhile; nothing was changed: fetch it, and push again"
    )]
    PushedElsewhere,
    /// No deploy in effect has it.
    #[error(
        "no version in effect of {0} begins so: give at least 4 digits, see `verge site versions {0}`"
    )]
    NoVersion(String),
    /// A record that no peer would take.
    #[error("the rules of the region do not allow this: {0}")]
    Refused(Refusal),
    /// Only the sponsor, or the account's own keys, govern an account.
    #[error(
        "account {account} is sponsored by provider {sponsor}: only a node with that provider's key can do this; if the provider is lost, `verge region propose --sponsor {account}=PROVIDER` gives it another"
    )]
    NotItsSponsor {
        /// The account's name.
        account: String,
        /// The provider's name.
        sponsor: String,
    },
    /// Not this region's.
    #[error("the record belongs to another region ({0}): take it to a node of that one")]
    OtherRegion(RegionId),
    /// Nobody signed it, or somebody changed it.
    #[error("the record's signature is wrong")]
    BadSignature,
    /// It was made before another record took its place.
    #[error(
        "another record has taken the place of this one since it was asked for: run the command again that asked for the signature, and sign what it prints then"
    )]
    Overtaken,
    /// It came too early.
    #[error("the record follows one that is not on this node yet ({0}): try again when it is")]
    Follows(RecordId),
    /// A blob of another store.
    #[error("copy {path}: {1}", path = .0.display())]
    Copy(PathBuf, std::io::Error),
    /// Records that the region's rules refuse.
    #[error("the region's rules do not allow this record, or it follows one that is not here")]
    NotAllowedIn,
    /// Another close counts.
    #[error("{0} is closed already: what comes later is a line of the next month")]
    MonthClosed(String),
    /// The record could not be made.
    #[error("{0}")]
    Record(RecordWriteError),
    /// The store said no.
    #[error("the node could not keep the record: {0}")]
    Store(#[from] StoreError),
    /// The node is about to end.
    #[error("the node is stopping: try again when it runs")]
    Stopping,
}

impl From<RecordWriteError> for WriteError {
    fn from(error: RecordWriteError) -> Self {
        match error {
            RecordWriteError::KeyElsewhere(draft) => Self::ToSign(draft),
            error => Self::Record(error),
        }
    }
}
