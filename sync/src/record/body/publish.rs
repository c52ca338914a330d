//! Bodies about publishing: accounts, sites, names, deploys.

use crate::clock::UnixTime;
use crate::digest::Digest;
use crate::id::{AccountId, ContentDigest, ProviderId, RecordId, Version};
use crate::record::cbor::{self, FieldError, Fields, Map};
use minicbor::Decoder;

/// Keys of one account.
pub const KEYS_MAX: usize = 16;
/// Providers that `acts` or `admit` can list: 24 x 34 bytes leave room for 16 keys in 2 KiB.
pub const ACTORS_MAX: usize = 24;
/// The longest branch name.
pub const BRANCH_BYTES_MAX: usize = 200;
/// The longest name: a DNS name.
pub const NAME_BYTES_MAX: usize = 253;
const DISPLAY_BYTES_MAX: usize = 128;

/// A key of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UserKey {
    /// SHA-256 of an SSH public key (its wire form): may log in.
    SshLogin([u8; 32]),
    /// A raw Ed25519 public key: may sign.
    Signing([u8; 32]),
    /// A type of a later release: kept, no rights.
    Other(u8, [u8; 32]),
}

/// Which providers: all, or those listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actors {
    /// Every provider of the region, also later ones.
    All,
    /// These; an empty list is nobody.
    These(Vec<ProviderId>),
}

impl Actors {
    /// Nobody.
    pub const NONE: Self = Self::These(Vec::new());

    /// Whether `provider` is among them.
    #[must_use]
    pub fn includes(&self, provider: &ProviderId) -> bool {
        match self {
            Self::All => true,
            Self::These(providers) => providers.contains(provider),
        }
    }

    /// An absent list is everybody.
    fn decode(fields: &Fields<'_>, key: u64) -> Result<Self, FieldError> {
        let listed = fields.ids_opt(key, ACTORS_MAX)?;
        Ok(listed.map_or(Self::All, |providers| {
            Self::These(providers.into_iter().map(ProviderId::from_bytes).collect())
        }))
    }

    fn encode(&self, map: Map, key: u64) -> Map {
        match self {
            Self::All => map,
            Self::These(providers) => map.ids(key, providers.iter().map(ProviderId::as_bytes)),
        }
    }
}

/// An account: who may publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// What people read; no name that anything is found by (that is a `name` record).
    pub display_name: String,
    /// 1 to 16 keys.
    pub keys: Vec<UserKey>,
    /// Whose nodes may sign for it.
    pub acts: Actors,
}

impl Account {
    pub(super) fn decode(fields: &Fields<'_>) -> Result<Self, FieldError> {
        let wrong = FieldError::Value(1);
        let rows = fields.items(1, KEYS_MAX)?;
        let keys: Option<Vec<UserKey>> = rows.into_iter().map(decode_key).collect();
        let keys = keys.filter(|keys| !keys.is_empty()).ok_or(wrong)?;
        Ok(Self {
            display_name: fields.text(0, DISPLAY_BYTES_MAX)?,
            keys,
            acts: Actors::decode(fields, 2)?,
        })
    }

    pub(super) fn encode(&self) -> Map {
        let keys: Vec<Vec<u8>> = self.keys.iter().map(encode_key).collect();
        self.acts
            .encode(Map::new().text(0, &self.display_name).raws(1, &keys), 2)
    }
}

fn decode_key(row: &[u8]) -> Option<UserKey> {
    let parts = cbor::items(row, 2)?;
    let [kind, bytes] = parts.as_slice() else {
        return None;
    };
    let bytes = Decoder::new(bytes).bytes().ok()?.try_into().ok()?;
    Some(match Decoder::new(kind).u8().ok()? {
        0 => UserKey::SshLogin(bytes),
        1 => UserKey::Signing(bytes),
        other => UserKey::Other(other, bytes),
    })
}

fn encode_key(key: &UserKey) -> Vec<u8> {
    let (kind, bytes) = match key {
        UserKey::SshLogin(bytes) => (0, bytes),
        UserKey::Signing(bytes) => (1, bytes),
        UserKey::Other(kind, bytes) => (*kind, bytes),
    };
    let mut encoder = minicbor::Encoder::new(Vec::new());
    let written = encoder
        .array(2)
        .and_then(|e| e.u8(kind))
        .and_then(|e| e.bytes(bytes))
        .map(drop);
    written.expect("writing to a Vec does not fail");
    encoder.into_writer()
}

/// Who may take everything out of a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takeout {
    /// The owner, with a token.
    Owner,
    /// Anybody, of what an anonymous visitor sees anyway.
    Public,
}

/// A site's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Whose it is.
    pub account: AccountId,
    /// The branch that is published; empty: `pages` if it exists, else `main` or `master`.
    pub branch: String,
    /// Bytes of its kept versions; 0: the region's limit.
    pub quota_bytes: u64,
    /// Whose nodes may hold its certificate key.
    pub admit: Actors,
    /// Who may take it out.
    pub takeout: Takeout,
    /// Not shown in lists.
    pub private: bool,
    /// Whether a push may rewrite history.
    pub force: bool,
    /// Whether other branches leave the node too.
    pub branches: bool,
    /// Only deploys of this epoch are in effect. Goes up by one, by own key or sponsor.
    pub epoch: u32,
    /// The deploy that the epoch begins with.
    pub base: Option<RecordId>,
    /// The `account` record from which on an actor's right counts for this site: with a new epoch
    /// it shuts out an actor that the account has blocked. None: from the first.
    pub as_of: Option<RecordId>,
}

impl Site {
    /// The settings of a new site of `account`.
    #[must_use]
    pub fn new(account: AccountId) -> Self {
        Self {
            account,
            branch: String::new(),
            quota_bytes: 0,
            admit: Actors::All,
            takeout: Takeout::Owner,
            private: false,
            force: true,
            branches: false,
            epoch: 0,
            base: None,
            as_of: None,
        }
    }

    pub(super) fn decode(fields: &Fields<'_>) -> Result<Self, FieldError> {
        Ok(Self {
            account: AccountId::from_bytes(fields.fixed(0)?),
            branch: fields.text(1, BRANCH_BYTES_MAX)?,
            quota_bytes: fields.uint(2)?,
            admit: Actors::decode(fields, 3)?,
            takeout: match fields.uint::<u8>(4)? {
                0 => Takeout::Owner,
                1 => Takeout::Public,
                _ => return Err(FieldError::Value(4)),
            },
            private: fields.flag(5)?,
            force: fields.flag(6)?,
            branches: fields.flag(7)?,
            epoch: fields.uint(8)?,
            base: fields.fixed_opt(9)?.map(RecordId::from_bytes),
            as_of: fields.fixed_opt(10)?.map(RecordId::from_bytes),
        })
    }

    pub(super) fn encode(&self) -> Map {
        let map = Map::new()
            .bytes(0, self.account.as_bytes())
            .text(1, &self.branch)
            .uint(2, self.quota_bytes);
        self.admit
            .encode(map, 3)
            .uint(
                4,
                if self.takeout == Takeout::Owner {
                    0_u8
                } else {
                    1
                },
            )
            .flag(5, self.private)
            .flag(6, self.force)
            .flag(7, self.branches)
            .uint(8, self.epoch)
            .bytes_opt(9, self.base.as_ref().map(|id| id.as_bytes().as_slice()))
            .bytes_opt(10, self.as_of.as_ref().map(|id| id.as_bytes().as_slice()))
    }
}

/// What a name is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NameKind {
    /// What an account is found by.
    Account,
    /// A label: its host is `LABEL.site_zone`.
    Label,
    /// A whole host outside of `site_zone`.
    Host,
}

/// A claim of a name; an empty name gives the claim up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// What the name is for.
    pub kind: NameKind,
    /// The name, in lower case.
    pub name: String,
    /// The account or site that it names.
    pub id: Digest,
    /// What proves a host; opaque.
    pub proof: Option<Vec<u8>>,
}

impl Name {
    pub(super) fn decode(fields: &Fields<'_>) -> Result<Self, FieldError> {
        Ok(Self {
            kind: match fields.uint::<u8>(0)? {
                0 => NameKind::Account,
                1 => NameKind::Label,
                2 => NameKind::Host,
                _ => return Err(FieldError::Value(0)),
            },
            name: fields.text(1, NAME_BYTES_MAX)?,
            id: Digest::from_bytes(fields.fixed(2)?),
            proof: fields.bytes_opt(3)?.map(<[u8]>::to_vec),
        })
    }

    pub(super) fn encode(&self) -> Map {
        let kind: u8 = match self.kind {
            NameKind::Account => 0,
            NameKind::Label => 1,
            NameKind::Host => 2,
        };
        Map::new()
            .uint(0, kind)
            .text(1, &self.name)
            .bytes(2, self.id.as_bytes())
            .bytes_opt(3, self.proof.as_deref())
    }
}

/// Why a deploy was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// `git push`.
    Push,
    /// A folder or an archive.
    Upload,
    /// An older version again.
    Rollback,
    /// A new epoch or a repair.
    Reset,
    /// A cause of a later release.
    Other(u8),
}

/// The git history behind a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitSource {
    /// The flat sequence of bundles, where one was made.
    pub sequence: Option<Digest>,
    /// The commit: 20 bytes (SHA-1) or 32 (SHA-256).
    pub commit: Vec<u8>,
}

/// A version put in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deploy {
    /// The digest of the manifest.
    pub version: Version,
    /// The digest of its content part.
    pub content: ContentDigest,
    /// The rules that made its representations.
    pub recipe: u32,
    /// The digest of the flat sequence of blobs: manifest, packs, big blobs.
    pub blobs: Digest,
    /// What those blobs have together.
    pub blobs_bytes: u64,
    /// Where it came from git.
    pub git: Option<GitSource>,
    /// When, as the accepting node's clock claims; for display.
    pub time: UnixTime,
    /// Why.
    pub cause: Cause,
    /// For whom.
    pub account: AccountId,
    /// The provider of the accepting node.
    pub provider: ProviderId,
}

impl Deploy {
    pub(super) fn decode(fields: &Fields<'_>) -> Result<Self, FieldError> {
        Ok(Self {
            version: Version::from_bytes(fields.fixed(0)?),
            content: ContentDigest::from_bytes(fields.fixed(1)?),
            recipe: fields.uint(2)?,
            blobs: Digest::from_bytes(fields.fixed(3)?),
            blobs_bytes: fields.uint(4)?,
            git: decode_git(fields)?,
            time: UnixTime(fields.int(6)?),
            cause: match fields.uint::<u8>(7)? {
                0 => Cause::Push,
                1 => Cause::Upload,
                2 => Cause::Rollback,
                3 => Cause::Reset,
                other => Cause::Other(other),
            },
            account: AccountId::from_bytes(fields.fixed(8)?),
            provider: ProviderId::from_bytes(fields.fixed(9)?),
        })
    }

    pub(super) fn encode(&self) -> Map {
        let cause = match self.cause {
            Cause::Push => 0,
            Cause::Upload => 1,
            Cause::Rollback => 2,
            Cause::Reset => 3,
            Cause::Other(other) => other,
        };
        let map = Map::new()
            .bytes(0, self.version.as_bytes())
            .bytes(1, self.content.as_bytes())
            .uint(2, self.recipe)
            .bytes(3, self.blobs.as_bytes())
            .uint(4, self.blobs_bytes);
        let map = match &self.git {
            Some(git) => map.raw(5, &encode_git(git)),
            None => map,
        };
        map.int(6, self.time.0)
            .uint(7, cause)
            .bytes(8, self.account.as_bytes())
            .bytes(9, self.provider.as_bytes())
    }
}

fn decode_git(fields: &Fields<'_>) -> Result<Option<GitSource>, FieldError> {
    let Some(bytes) = fields.raw(5) else {
        return Ok(None);
    };
    let row = Fields::read(bytes).or(Err(FieldError::Value(5)))?;
    let commit = row
        .bytes_opt(1)?
        .filter(|commit| matches!(commit.len(), 20 | 32));
    Ok(Some(GitSource {
        sequence: row.fixed_opt(0)?.map(Digest::from_bytes),
        commit: commit.ok_or(FieldError::Value(5))?.to_vec(),
    }))
}

fn encode_git(git: &GitSource) -> Vec<u8> {
    let sequence = git
        .sequence
        .as_ref()
        .map(|digest| digest.as_bytes().as_slice());
    Map::new()
        .bytes_opt(0, sequence)
        .bytes(1, &git.commit)
        .finish()
}
