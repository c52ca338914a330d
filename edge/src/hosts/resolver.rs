//! Asking DNS: what a name is an alias of, its texts, its addresses, and who may certify it.
//!
//! Nothing is cached, and the system's settings are read anew for each question: a node runs for
//! months, and its router may change.

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::time::Duration;

/// Records of one answer that are looked at; a name has one CNAME and a handful of texts.
const RECORDS_MAX: usize = 64;
/// The longest text that is looked at: longer ones are not ours.
const TEXT_BYTES_MAX: usize = 512;
/// For one server to answer one question.
const SERVER_TIMEOUT: Duration = Duration::from_secs(3);
/// For one question, all servers and repetitions together.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(10);

/// An answer: what is there. A name that does not exist has nothing.
pub type Answer<'a, T = String> =
    Pin<Box<dyn Future<Output = Result<Vec<T>, Unanswered>> + Send + 'a>>;

/// One record that says who may certify a name (RFC 8659 section 4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caa {
    /// Whether an authority that does not know the tag must refuse.
    pub is_critical: bool,
    /// What it is about: `issue`, `issuewild`, `iodef`, ...
    pub tag: String,
    /// What it says.
    pub value: String,
}

/// DNS did not say; that proves nothing, in either direction.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("DNS gave no answer about {name}: {why}")]
pub struct Unanswered {
    /// What was asked about.
    pub name: String,
    /// What happened.
    pub why: String,
}

/// Answers questions about DNS names.
pub trait Resolver: Send + Sync {
    /// The target of the CNAME record of `name`, if there is one.
    fn aliases<'a>(&'a self, name: &'a str) -> Answer<'a>;
    /// The TXT records of `name`, the parts of each put together.
    fn texts<'a>(&'a self, name: &'a str) -> Answer<'a>;
    /// The addresses of `name`, of both families, or of what it is an alias of.
    fn addresses<'a>(&'a self, name: &'a str) -> Answer<'a, IpAddr>;
    /// The CAA records of `name` itself or of what it is an alias of; its parents are not asked.
    fn caa<'a>(&'a self, name: &'a str) -> Answer<'a, Caa>;
}

/// Asks real servers, over UDP, and over TCP where an answer is long.
#[derive(Debug, Clone, Default)]
pub struct DnsResolver {
    /// Whom to ask; the system's servers if there are none.
    servers: Vec<SocketAddr>,
}

impl DnsResolver {
    /// Asks `servers`, or those of the system if there are none.
    #[must_use]
    pub fn new(servers: Vec<SocketAddr>) -> Self {
        Self { servers }
    }

    async fn ask(&self, name: &str, kind: RecordType) -> Result<Vec<Record>, Unanswered> {
        let unanswered = |why: String| Unanswered {
            name: name.to_owned(),
            why,
        };
        let asked = tokio::time::timeout(QUESTION_TIMEOUT, self.lookup(name, kind)).await;
        let answered = asked.map_err(|_elapsed| unanswered("it took too long".to_owned()))?;
        match answered {
            Ok(records) => Ok(records),
            Err(error) if is_absence(&error) => Ok(Vec::new()),
            Err(error) => Err(unanswered(error.to_string())),
        }
    }

    async fn lookup(&self, name: &str, kind: RecordType) -> Result<Vec<Record>, NetError> {
        let mut name = Name::from_ascii(name)?;
        // Without it the search list of the system would be tried.
        name.set_fqdn(true);
        let lookup = self.client()?.lookup(name, kind).await?;
        let records = lookup.answers().iter().take(RECORDS_MAX);
        Ok(records.cloned().collect())
    }

    fn client(&self) -> Result<TokioResolver, NetError> {
        let mut builder = if self.servers.is_empty() {
            TokioResolver::builder_tokio()?
        } else {
            let servers = self.servers.iter().map(|server| name_server(*server));
            let config = ResolverConfig::from_name_servers(servers.collect());
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        limit(builder.options_mut());
        builder.build()
    }
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
    let at_port = connections.map(|mut connection| {
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, at_port.to_vec())
}

fn limit(options: &mut ResolverOpts) {
    options.timeout = SERVER_TIMEOUT;
    options.attempts = 1;
    options.cache_size = 0;
    options.try_tcp_on_error = true;
}

/// Whether the answer is that there is no such name or record. A server that only says whom else to
/// ask has not answered.
fn is_absence(error: &NetError) -> bool {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => none.soa.is_some() || none.ns.is_none(),
        _ => false,
    }
}

impl Resolver for DnsResolver {
    fn aliases<'a>(&'a self, name: &'a str) -> Answer<'a> {
        Box::pin(async move {
            let records = self.ask(name, RecordType::CNAME).await?;
            let targets = records.iter().filter(|record| is_of(record, name));
            let targets = targets.filter_map(|record| match &record.data {
                RData::CNAME(target) => Some(without_dot(&target.0.to_ascii())),
                _ => None,
            });
            Ok(targets.collect())
        })
    }

    fn texts<'a>(&'a self, name: &'a str) -> Answer<'a> {
        Box::pin(async move {
            let records = self.ask(name, RecordType::TXT).await?;
            let texts = records.iter().filter_map(|record| match &record.data {
                RData::TXT(text) => joined(&text.txt_data),
                _ => None,
            });
            Ok(texts.collect())
        })
    }

    fn addresses<'a>(&'a self, name: &'a str) -> Answer<'a, IpAddr> {
        Box::pin(async move {
            let mut records = self.ask(name, RecordType::A).await?;
            records.extend(self.ask(name, RecordType::AAAA).await?);
            let addresses = records.iter().filter_map(|record| match &record.data {
                RData::A(address) => Some(IpAddr::V4(address.0)),
                RData::AAAA(address) => Some(IpAddr::V6(address.0)),
                _ => None,
            });
            Ok(addresses.collect())
        })
    }

    fn caa<'a>(&'a self, name: &'a str) -> Answer<'a, Caa> {
        Box::pin(async move {
            let records = self.ask(name, RecordType::CAA).await?;
            let said = records.iter().filter_map(|record| match &record.data {
                RData::CAA(caa) => Some(Caa {
                    is_critical: caa.issuer_critical,
                    tag: caa.tag.to_ascii_lowercase(),
                    // What is not UTF-8 names nobody, but it is there.
                    value: String::from_utf8_lossy(&caa.value).into_owned(),
                }),
                _ => None,
            });
            Ok(said.collect())
        })
    }
}

/// Whether the record is the name's own: an answer also has those of the names it leads to.
fn is_of(record: &Record, name: &str) -> bool {
    without_dot(&record.name.to_ascii()).eq_ignore_ascii_case(name)
}

fn without_dot(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_owned()
}

fn joined(parts: &[Box<[u8]>]) -> Option<String> {
    let bytes = parts.concat();
    if bytes.len() > TEXT_BYTES_MAX {
        return None;
    }
    String::from_utf8(bytes).ok()
}
