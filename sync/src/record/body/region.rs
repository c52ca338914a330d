//! The body of a step of the region chain: a complete document.

use super::{TEXT_BYTES_MAX, ids};
use crate::digest::Digest;
use crate::id::{AccountId, NodeId, ProviderId, RecordId};
use crate::record::cbor::{FieldError, Fields, Map};
use crate::record::envelope::AuthorId;
use std::collections::{BTreeMap, BTreeSet};

/// Providers of a region: "some dozens", with room.
pub const PROVIDERS_MAX: usize = 128;
/// Nodes: 16 slots for each provider.
const NODES_MAX: usize = PROVIDERS_MAX * 16;
/// Rows of one list of a step; its 64 KiB bound them too.
const ROWS_MAX: usize = 1_000;
const ZONE_BYTES_MAX: usize = 200;

/// A step of the region chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// 0 for the founding step, then one more each.
    pub number: u32,
    /// The step before; none for step 0.
    pub predecessor: Option<RecordId>,
    /// The highest format and set of kinds that members may write.
    pub format: u32,
    /// The providers, by key.
    pub providers: Vec<Provider>,
    /// The paper key: counts as a provider in a region of two.
    pub recovery_key: Option<[u8; 32]>,
    /// Which nodes order certificates and edit the zone.
    pub roles: Roles,
    /// Where sites and nodes have their names.
    pub zones: Zones,
    /// Limits and allowances.
    pub limits: Limits,
    /// TOML that `sync` does not read.
    pub policy: String,
    /// What stateless ACME answers need.
    pub acme: Option<Acme>,
    /// Removed authors: the blob with the sorted RecordIds of theirs that stay valid. A provider's
    /// row covers its nodes.
    pub removed: BTreeMap<AuthorId, Digest>,
    /// Accounts whose sponsor is not the provider that created them.
    pub sponsors: BTreeMap<AccountId, ProviderId>,
    /// Sites and accounts that no node serves.
    pub takedowns: BTreeSet<Digest>,
    /// Whether a host outside of `site_zone` must be proved.
    pub host_proof: HostProof,
    /// A region for tests, where clocks may be set.
    pub test: bool,
    /// What people call the region.
    pub name: String,
}

/// A provider as a step lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// Its key.
    pub id: ProviderId,
    /// What people call it.
    pub name: String,
    /// How people reach it.
    pub contact: String,
}

/// Which nodes have which role.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roles {
    /// Order certificates.
    pub issuers: Vec<NodeId>,
    /// Edit the DNS zone.
    pub dns: Vec<NodeId>,
}

/// The two zones of a region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zones {
    /// Sites are `LABEL.site_zone`.
    pub site_zone: String,
    /// Nodes' own pages.
    pub admin_zone: String,
}

/// Limits and allowances of a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Accounts that a provider may create; each of its 16 slots a sixteenth.
    pub account_allowance: u32,
    /// Sites that a provider may create; each of its 16 slots a sixteenth.
    pub site_allowance: u32,
    /// Bytes of one site's kept versions, where the site says nothing smaller.
    pub site_bytes_max: u64,
    /// Bytes of all sites of one account.
    pub account_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // 1,024 accounts and 4,096 sites at each node.
            account_allowance: 1 << 14,
            site_allowance: 1 << 16,
            site_bytes_max: 1 << 30,
            account_bytes_max: 4 << 30,
        }
    }
}

/// What every node needs to answer http-01 challenges; opaque to `sync`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acme {
    /// URL of the directory.
    pub directory: String,
    /// URL of the account.
    pub account: String,
    /// Thumbprints of the account keys that are answered for, the one in force first.
    pub thumbprints: Vec<String>,
    /// How the authority calls itself in CAA records; empty if it does not say.
    pub identities: Vec<String>,
}

/// What a host outside of `site_zone` needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostProof {
    /// A DNS proof that nodes of two providers saw (of all, if there are fewer).
    Dns,
    /// Nothing: for tests and closed networks.
    None,
}

impl Region {
    pub(super) fn decode(fields: &Fields<'_>) -> Result<Self, FieldError> {
        let number = fields.uint(0)?;
        let predecessor = fields.fixed_opt(1)?.map(RecordId::from_bytes);
        if predecessor.is_none() != (number == 0) {
            return Err(FieldError::Value(1));
        }
        Ok(Self {
            number,
            predecessor,
            format: fields.uint(2)?,
            providers: decode_providers(fields)?,
            recovery_key: fields.fixed_opt(4)?,
            roles: decode_roles(fields)?,
            zones: decode_zones(fields)?,
            limits: decode_limits(fields)?,
            policy: fields.document(8)?,
            acme: decode_acme(fields)?,
            removed: pairs(fields, 10)?
                .into_iter()
                .map(|(author, list)| (AuthorId::from_bytes(author), Digest::from_bytes(list)))
                .collect(),
            sponsors: pairs(fields, 11)?
                .into_iter()
                .map(|(account, provider)| {
                    (
                        AccountId::from_bytes(account),
                        ProviderId::from_bytes(provider),
                    )
                })
                .collect(),
            takedowns: ids(fields, 12, ROWS_MAX, Digest::from_bytes)?
                .into_iter()
                .collect(),
            host_proof: match fields.uint::<u8>(13)? {
                0 => HostProof::Dns,
                1 => HostProof::None,
                _ => return Err(FieldError::Value(13)),
            },
            test: fields.flag(14)?,
            name: fields.text(15, TEXT_BYTES_MAX)?,
        })
    }

    pub(super) fn encode(&self) -> Map {
        let map = Map::new()
            .uint(0, self.number)
            .bytes_opt(
                1,
                self.predecessor.as_ref().map(|id| id.as_bytes().as_slice()),
            )
            .uint(2, self.format)
            .raws(
                3,
                &self
                    .providers
                    .iter()
                    .map(encode_provider)
                    .collect::<Vec<_>>(),
            )
            .bytes_opt(4, self.recovery_key.as_ref().map(<[u8; 32]>::as_slice))
            .raw(5, &encode_roles(&self.roles))
            .raw(6, &encode_zones(&self.zones))
            .raw(7, &encode_limits(&self.limits))
            .text(8, &self.policy);
        let map = match &self.acme {
            Some(acme) => map.raw(9, &encode_acme(acme)),
            None => map,
        };
        map.raws(
            10,
            &encode_pairs(
                self.removed
                    .iter()
                    .map(|(a, d)| (a.as_bytes(), d.as_bytes())),
            ),
        )
        .raws(
            11,
            &encode_pairs(
                self.sponsors
                    .iter()
                    .map(|(a, p)| (a.as_bytes(), p.as_bytes())),
            ),
        )
        .ids(12, self.takedowns.iter().map(Digest::as_bytes))
        .uint(
            13,
            if self.host_proof == HostProof::Dns {
                0_u8
            } else {
                1
            },
        )
        .flag(14, self.test)
        .text(15, &self.name)
    }
}

fn decode_providers(fields: &Fields<'_>) -> Result<Vec<Provider>, FieldError> {
    let mut providers = Vec::new();
    for item in fields.items(3, PROVIDERS_MAX)? {
        let row = Fields::read(item)?;
        providers.push(Provider {
            id: ProviderId::from_bytes(row.fixed(0)?),
            name: row.text(1, TEXT_BYTES_MAX)?,
            contact: row.text(2, TEXT_BYTES_MAX)?,
        });
    }
    // Ascending, so that nobody is counted twice in a vote.
    let ordered = providers.is_sorted_by(|a, b| a.id < b.id);
    if ordered && !providers.is_empty() {
        Ok(providers)
    } else {
        Err(FieldError::Value(3))
    }
}

fn encode_provider(provider: &Provider) -> Vec<u8> {
    Map::new()
        .bytes(0, provider.id.as_bytes())
        .text(1, &provider.name)
        .text(2, &provider.contact)
        .finish()
}

fn inner<'b>(fields: &Fields<'b>, key: u64) -> Result<Fields<'b>, FieldError> {
    Fields::read(fields.raw(key).ok_or(FieldError::Missing(key))?).or(Err(FieldError::Value(key)))
}

fn decode_roles(fields: &Fields<'_>) -> Result<Roles, FieldError> {
    let row = inner(fields, 5)?;
    Ok(Roles {
        issuers: ids(&row, 0, NODES_MAX, NodeId::from_bytes)?,
        dns: ids(&row, 1, NODES_MAX, NodeId::from_bytes)?,
    })
}

fn encode_roles(roles: &Roles) -> Vec<u8> {
    Map::new()
        .ids(0, roles.issuers.iter().map(NodeId::as_bytes))
        .ids(1, roles.dns.iter().map(NodeId::as_bytes))
        .finish()
}

fn decode_zones(fields: &Fields<'_>) -> Result<Zones, FieldError> {
    let row = inner(fields, 6)?;
    Ok(Zones {
        site_zone: row.text(0, ZONE_BYTES_MAX)?,
        admin_zone: row.text(1, ZONE_BYTES_MAX)?,
    })
}

fn encode_zones(zones: &Zones) -> Vec<u8> {
    Map::new()
        .text(0, &zones.site_zone)
        .text(1, &zones.admin_zone)
        .finish()
}

fn decode_limits(fields: &Fields<'_>) -> Result<Limits, FieldError> {
    let row = inner(fields, 7)?;
    Ok(Limits {
        account_allowance: row.uint(0)?,
        site_allowance: row.uint(1)?,
        site_bytes_max: row.uint(2)?,
        account_bytes_max: row.uint(3)?,
    })
}

fn encode_limits(limits: &Limits) -> Vec<u8> {
    Map::new()
        .uint(0, limits.account_allowance)
        .uint(1, limits.site_allowance)
        .uint(2, limits.site_bytes_max)
        .uint(3, limits.account_bytes_max)
        .finish()
}

fn decode_acme(fields: &Fields<'_>) -> Result<Option<Acme>, FieldError> {
    if fields.raw(9).is_none() {
        return Ok(None);
    }
    let row = inner(fields, 9)?;
    Ok(Some(Acme {
        directory: row.text(0, TEXT_BYTES_MAX)?,
        account: row.text(1, TEXT_BYTES_MAX)?,
        thumbprints: row.texts(2, 16)?,
        identities: if row.raw(3).is_some() {
            row.texts(3, 16)?
        } else {
            Vec::new()
        },
    }))
}

fn encode_acme(acme: &Acme) -> Vec<u8> {
    let map = Map::new()
        .text(0, &acme.directory)
        .text(1, &acme.account)
        .texts(2, &acme.thumbprints);
    let map = if acme.identities.is_empty() {
        map
    } else {
        map.texts(3, &acme.identities)
    };
    map.finish()
}

/// A row of two 32-byte values.
type Pair = ([u8; 32], [u8; 32]);

/// Rows of pairs, ascending by the first value.
fn pairs(fields: &Fields<'_>, key: u64) -> Result<Vec<Pair>, FieldError> {
    let mut found: Vec<Pair> = Vec::new();
    for item in fields.items(key, ROWS_MAX)? {
        let row = Fields::read(item).or(Err(FieldError::Value(key)))?;
        found.push((row.fixed(0)?, row.fixed(1)?));
    }
    if found.is_sorted_by(|a, b| a.0 < b.0) {
        Ok(found)
    } else {
        Err(FieldError::Value(key))
    }
}

fn encode_pairs<'a>(rows: impl Iterator<Item = (&'a [u8; 32], &'a [u8; 32])>) -> Vec<Vec<u8>> {
    rows.map(|(first, second)| Map::new().bytes(0, first).bytes(1, second).finish())
        .collect()
}
