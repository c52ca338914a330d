//! Every stored record looked at anew, from its bytes on.

use super::{META_REGION, OpenError, RegionView, kinds, meta_bytes, pin, reserved_names};
use std::collections::BTreeSet;
use std::sync::Arc;
use verge_sync::digest::Digest;
use verge_sync::id::{AccountId, RecordId, RegionId, SiteId};
use verge_sync::net::Holding;
use verge_sync::record::{Body, Deploy, Kind, Parameters, Record, RemovalList, Subject};
use verge_sync::store::{Row, StoreError};

/// What is wrong with one stored record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordDamage {
    /// Under which id it is stored.
    pub id: String,
    /// What is wrong.
    pub what: String,
}

/// What a look at all records found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordCheck {
    /// Records in the database.
    pub count: u64,
    /// Those that are not as they should be.
    pub damages: Vec<RecordDamage>,
}

impl RegionView {
    /// Reads every record of the database, parses it, checks that it stands where its row says,
    /// checks its signature, and whether it may be stored by the rules of the region.
    ///
    /// # Errors
    /// [`OpenError`]: the database cannot be read, or has no region.
    pub fn check_records(&self) -> Result<RecordCheck, OpenError> {
        let rows = self.store.records().all()?;
        let mut check = RecordCheck::default();
        let mut records = Vec::new();
        for row in &rows {
            check.count += 1;
            match sound(row) {
                Ok(record) => records.push(Arc::new(record)),
                Err(what) => check.damages.push(RecordDamage {
                    id: row.id.to_string(),
                    what,
                }),
            }
        }
        drop(rows);
        let region = RegionId::from_bytes(meta_bytes(&self.store, META_REGION)?);
        let parameters = Parameters {
            pin: pin(&self.store)?,
            ..Parameters::new(region, Arc::new(reserved_names()))
        };
        let holding = Holding::new(&records, parameters, kinds::table());
        let holding = holding.ok_or(OpenError::NoRegion("no first step"))?;
        let fallen = records.iter().filter(|record| {
            let id = record.id();
            holding.record(&id).is_none()
        });
        check.damages.extend(fallen.map(|record| RecordDamage {
            id: record.id().to_string(),
            what: "does not stand: what it rests on is not there".to_owned(),
        }));
        Ok(check)
    }

    /// Every record that is held about an account, and about those of its sites that are named:
    /// theirs, their names, deploys, takedowns and ends; the region's steps and nodes, so that whoever
    /// gets them can tell who may sign; and votes for all of these.
    pub async fn records_about(
        &self,
        account: AccountId,
        sites: &BTreeSet<SiteId>,
    ) -> Vec<Arc<Record>> {
        let core = self.replica.lock().await;
        let effect = core.exchange().holding().effect();
        let own = effect.accounts.get(&account);
        let own = own.map(|account| Subject::Account(account.slot, account.counter));
        let known = sites.iter().filter_map(|id| effect.sites.get(id));
        let mut subjects: BTreeSet<Subject> = known
            .map(|site| Subject::Site(site.slot, site.counter))
            .collect();
        subjects.extend(own);
        // Those that a site was given away by, on whose records its own rest.
        let owners = core.exchange().holding().records().filter_map(|record| {
            let envelope = record.envelope();
            let subject = Subject::decode(envelope.kind, &envelope.subject)?;
            match (subjects.contains(&subject), record.body()) {
                (true, Ok(Body::Site(site))) => effect.accounts.get(&site.account),
                _ => None,
            }
        });
        let owners: Vec<Subject> = owners
            .map(|owner| Subject::Account(owner.slot, owner.counter))
            .collect();
        subjects.extend(owners);
        let is_ours =
            |id: Digest| id == account.digest() || sites.contains(&SiteId::from_digest(id));
        let is_of_the_chain = |kind| matches!(kind, Kind::REGION | Kind::NODE | Kind::LEAVE);
        let is_about = |record: &Record| {
            let envelope = record.envelope();
            if is_of_the_chain(envelope.kind) {
                return true;
            }
            match Subject::decode(envelope.kind, &envelope.subject) {
                Some(Subject::Name(of, _)) => of == account,
                Some(Subject::Deploy(site)) => sites.contains(&site),
                Some(Subject::Takedown(_, id)) => is_ours(id),
                Some(Subject::Id(id)) => envelope.kind == Kind::TOMBSTONE && is_ours(id),
                Some(subject) => subjects.contains(&subject),
                None => false,
            }
        };
        let records = core.exchange().holding().records();
        let mut about: Vec<Arc<Record>> =
            records.filter(|record| is_about(record)).cloned().collect();
        let ids: BTreeSet<RecordId> = about.iter().map(|record| record.id()).collect();
        let votes = core.exchange().holding().records().filter(|record| {
            let envelope = record.envelope();
            let subject = Subject::decode(envelope.kind, &envelope.subject);
            matches!(subject, Some(Subject::Vote(on, _)) if ids.contains(&on))
        });
        about.extend(votes.cloned());
        about
    }

    /// The lists that removals name, as far as they are here.
    pub async fn removal_lists(&self) -> Vec<RemovalList> {
        let core = self.replica.lock().await;
        let lists = &core.exchange().holding().parameters().lists;
        lists.values().cloned().map(RemovalList::new).collect()
    }

    /// The region's id.
    #[must_use]
    pub fn region_id(&self) -> RegionId {
        self.region
    }

    /// Every blob of a version, by its sequence or else its manifest, these two among them; none
    /// if both are lost.
    ///
    /// # Errors
    /// [`StoreError`] when the disk fails.
    pub fn listed_blobs(&self, deploy: &Deploy) -> Result<Option<Vec<Digest>>, StoreError> {
        let listed = self.version_blobs(deploy)?;
        Ok(listed.map(|mut digests| {
            digests.extend([deploy.blobs, deploy.version.digest()]);
            digests
        }))
    }
}

/// Bytes that are the record of their row.
fn sound(row: &Row) -> Result<Record, String> {
    let record = Record::parse(&row.bytes).map_err(|error| format!("does not read: {error}"))?;
    let envelope = record.envelope();
    let is_in_place = record.id() == row.id
        && u64::from(envelope.kind.0) == row.kind
        && envelope.subject == row.subject
        && *envelope.author.as_bytes() == row.author
        && (envelope.epoch, envelope.sequence) == (row.epoch, row.sequence);
    if !is_in_place {
        return Err("is not the record of its row".to_owned());
    }
    record
        .verify()
        .map_err(|error| format!("has a wrong signature: {error}"))?;
    Ok(record)
}
