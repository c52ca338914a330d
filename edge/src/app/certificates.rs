//! What the node does for the region's certificates: it brings their bundles, tells the others where
//! visitors are served as soon as there is one, and orders them if it is an issuer.
//!
//! Tasks that end with the node; a crash loses nothing.

use super::among::{Among, Welcome};
use super::housekeeping;
use super::showing::Showing;
use crate::acme::{Intents, Revocations, Zone};
use crate::certificates::{Complaints, Desk, Issuing, Scribe, Tools};
use crate::config::Config;
use crate::dns::DnsUpdate;
use crate::hosts::DnsResolver;
use crate::region::RegionView;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::{Mutex, mpsc, watch};
use verge_sync::clock::Clock;
use verge_sync::content::Repairs;
use verge_sync::store::Store;

/// Wishes for new certificates that are not taken yet.
const WISHES_MAX: usize = 16;
/// The folder of orders under way, and of the log of orders, in the data directory.
const ORDERS: &str = "orders";

/// What changes the region's zone, where this node may.
fn zone(data: &Path, config: &Config) -> anyhow::Result<Option<Arc<dyn Zone>>> {
    let Some(settings) = &config.dns_update else {
        return Ok(None);
    };
    let driver = DnsUpdate::open(settings, data, Clock::System)?;
    Ok(Some(Arc::new(driver)))
}

/// Brings certificates, looks after those that age, and orders new ones; never ends by itself.
pub(super) async fn look_after(
    (showing, region): (Arc<Showing>, Arc<RegionView>),
    repairs: Repairs,
    welcome: Option<Welcome>,
    issuing: Option<Issuing>,
) {
    let issue = async {
        if let Some(issuing) = issuing {
            issuing.run().await;
        }
    };
    let renew = housekeeping::renew(Arc::clone(&showing), Arc::clone(&region));
    let bring = bring(showing, region, repairs, welcome);
    tokio::join!(issue, renew, bring);
}

/// Brings what records name and is not here; never ends by itself.
async fn bring(
    showing: Arc<Showing>,
    region: Arc<RegionView>,
    repairs: Repairs,
    mut welcome: Option<Welcome>,
) {
    let mut reviews = showing.certification().reviews();
    let mut changes = repairs.changes();
    loop {
        if showing.certification().has_any()
            && let Some(welcome) = welcome.take()
            && let Err(error) = welcome.say(&region).await
        {
            tracing::warn!("the others do not hear that visitors are served here: {error:#}");
        }
        let missing = reviews.borrow_and_update().missing.clone();
        repairs.want("certificates", missing.clone());
        tokio::select! {
            changed = reviews.changed() => if changed.is_err() { return },
            changed = changes.next() => if !changed { return },
        }
        let waiting = repairs.waiting();
        if missing.keys().any(|blob| !waiting.contains_key(blob)) {
            region.replica().show_again().await;
        }
    }
}

/// Who orders, and who answers a steward's questions about it.
pub(super) fn issuing(
    data: &Path,
    config: &Config,
    (store, region): (&Store, &Arc<RegionView>),
    showing: &Showing,
    among: &Among,
) -> anyhow::Result<(Arc<Desk>, Option<Issuing>)> {
    let certification = showing.certification();
    let scribe = Scribe {
        region: Arc::clone(region),
        store: store.clone(),
    };
    let roots = super::certification::roots(data, config)?;
    let roots = (!roots.is_empty()).then(|| String::from_utf8_lossy(&roots.concat()).into_owned());
    let (wish, wishes) = mpsc::channel(WISHES_MAX);
    let complaints = watch::Sender::new(Complaints::default());
    let tools = match certification.keyring() {
        Some(_keyring) => Some(Arc::new(Tools {
            scribe: scribe.clone(),
            intents: Intents::open(&data.join(ORDERS))?,
            revocations: Revocations::in_folder(&data.join(ORDERS)),
            resolver: Arc::new(DnsResolver::new(config.dns.resolvers.clone())),
            http_port: config.listen.http.first().map_or(80, SocketAddr::port),
            zone: zone(data, config)?,
            folder: data.join(ORDERS),
            budget: Mutex::default(),
        })),
        None => None,
    };
    let desk = Desk {
        scribe,
        tools: tools.clone(),
        keyring: certification.keyring(),
        reviews: certification.reviews(),
        complaints: complaints.subscribe(),
        wishes: wish,
        roots: roots.clone(),
    };
    let issuing = certification.keyring().zip(tools);
    let issuing = issuing.map(|(keyring, tools)| Issuing {
        tools,
        keyring,
        reviews: certification.reviews(),
        clock: among.clock(),
        wishes,
        roots,
        complaints,
    });
    Ok((Arc::new(desk), issuing))
}
