//! What a node shows to its own network under a name of its own: its sites, and its CA.
//!
//! Whoever sets up a phone at home has neither DNS for the sites nor trust in a CA of the node's own,
//! so this is plain HTTP, never redirected. The steward names the host; it stands before every site,
//! so that no publisher can claim it and hand out another CA.

use crate::host::Host;
use crate::tls::CaCertificate;
use arc_swap::ArcSwap;
use bytes::Bytes;
use std::fmt::Write;
use std::sync::atomic::{AtomicU16, Ordering};

/// Addresses on the page: 100 KB; a home network has a handful.
const LISTED_MAX: usize = 1_000;
/// Where plain HTTP is when a URL says nothing.
const HTTP_PORT: u16 = 80;

/// The page, ready to be sent.
#[derive(Debug)]
pub struct Lan {
    host: Host,
    ca: Option<Bytes>,
    /// What the page says of it, in HTML.
    ca_words: String,
    /// Where visitors find plain HTTP.
    port: AtomicU16,
    page: ArcSwap<Bytes>,
}

impl Lan {
    /// The path of the CA's certificate.
    pub const CA_PATH: &str = "/.well-known/verge/ca.crt";

    /// Answers to `host`; `ca_pem` is the CA of the node or of its region, if certificates come from
    /// one. No site yet.
    #[must_use]
    pub fn new(host: Host, ca_pem: Option<String>) -> Self {
        let lan = Self {
            host,
            ca_words: ca_pem.as_deref().map(ca_words).unwrap_or_default(),
            ca: ca_pem.map(Bytes::from),
            port: AtomicU16::new(HTTP_PORT),
            page: ArcSwap::default(),
        };
        lan.show(Vec::new());
        lan
    }

    /// The port of the addresses on the page, from the next [`Self::show`] on.
    pub fn set_port(&self, port: u16) {
        self.port.store(port, Ordering::Relaxed);
    }

    /// Lists `hosts` from now on.
    pub fn show(&self, mut hosts: Vec<Host>) {
        hosts.sort();
        let port = match self.port.load(Ordering::Relaxed) {
            HTTP_PORT => String::new(),
            port => format!(":{port}"),
        };
        let page = self.write(&hosts, &port);
        self.page.store(Bytes::from(page).into());
    }

    /// Whether `host` is the name of this page.
    #[must_use]
    pub fn is_at(&self, host: &Host) -> bool {
        self.host == *host
    }

    /// The page, in HTML.
    #[must_use]
    pub fn page(&self) -> Bytes {
        Bytes::clone(&self.page.load())
    }

    /// The CA's certificate, in PEM form.
    #[must_use]
    pub fn ca(&self) -> Option<Bytes> {
        self.ca.clone()
    }

    /// A host has no character that HTML would read otherwise.
    fn write(&self, hosts: &[Host], port: &str) -> String {
        let mut page = String::from(
            "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width\"><title>Sites here</title>\n\
             <h1>Sites here</h1>\n<ul>\n",
        );
        for host in hosts.iter().take(LISTED_MAX) {
            // Writing to a string cannot fail.
            let _infallible =
                writeln!(page, "<li><a href=\"http://{host}{port}/\">{host}</a></li>");
        }
        page.push_str("</ul>\n");
        if hosts.is_empty() {
            page.push_str("<p>Nothing is published yet.</p>\n");
        }
        let more = hosts.len().saturating_sub(LISTED_MAX);
        if more > 0 {
            let _infallible = writeln!(page, "<p>And {more} more.</p>");
        }
        page.push_str(&self.ca_words);
        page
    }
}

/// What a CA is good for, and how to tell that it is the right one: whoever stands between the node
/// and its visitors can hand out another.
fn ca_words(pem: &str) -> String {
    let ca = CaCertificate::read(pem);
    let zones = ca.as_ref().map(|ca| ca.zones.join(", "));
    let (whose, reach) = match zones {
        Some(zones) if !zones.is_empty() => {
            let reach = format!("it can speak only for names in {zones}");
            ("the CA of this region", reach)
        }
        _ => (
            "the CA of this node",
            "it can speak for any name".to_owned(),
        ),
    };
    let mut words = format!(
        "<p>Does your browser warn of a certificate? \
         <a href=\"{}\">Import {whose}</a>, if you trust whoever runs it: {reach}.</p>\n",
        Lan::CA_PATH
    );
    if let Some(ca) = ca {
        // Writing to a string cannot fail.
        let _infallible = writeln!(
            words,
            "<p>Compare its fingerprint (SHA-256) with what they tell you in person: \
             <code>{}</code></p>",
            ca.fingerprint
        );
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(count: usize) -> Vec<Host> {
        let names = (0..count).map(|at| format!("s{at:04}.example"));
        names.map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn the_page_lists_so_many_and_counts_the_rest() {
        let lan = Lan::new("node.local".parse().unwrap(), None);
        let page = |count| {
            lan.show(hosts(count));
            String::from_utf8(lan.page().to_vec()).unwrap()
        };
        assert!(page(0).contains("Nothing is published yet."));
        let two = page(2);
        let first = "<li><a href=\"http://s0000.example/\">s0000.example</a></li>";
        assert!(
            two.contains(first) && two.matches("<li>").count() == 2,
            "{two}"
        );
        assert!(!two.contains("more") && !two.contains("CA"), "{two}");
        assert!(!page(LISTED_MAX).contains("more"));
        let many = page(LISTED_MAX + 1);
        assert_eq!(many.matches("<li>").count(), LISTED_MAX);
        assert!(many.contains("<p>And 1 more.</p>"));
        lan.set_port(8080);
        assert!(page(1).contains("\"http://s0000.example:8080/\""));
    }
}
