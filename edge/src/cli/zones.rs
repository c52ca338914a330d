//! The two zones of a region must not share cookies: sites are other people's pages.

/// Why two zones cannot stand side by side.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ZoneError {
    /// Not a DNS name.
    #[error("{0:?} is not a DNS zone: write it like sites.example.org")]
    NotAName(String),
    /// One lies in the other, or both in one registrable domain.
    #[error(
        "the zones {site} and {admin} are both part of {domain}, so a page of any site could set \
         cookies for the admin pages: use another domain for one of them, or accept it in words \
         (zones.accept_shared_domain = true, or --accept-shared-domain)"
    )]
    Shared {
        /// The zone of the sites.
        site: String,
        /// The zone of the admin pages.
        admin: String,
        /// What they share.
        domain: String,
    },
}

/// Checks that pages under `site` cannot set cookies for pages under `admin`: their registrable
/// domains (by the Public Suffix List) differ, or `site` is itself on the list.
///
/// # Errors
/// [`ZoneError`].
pub fn check(site: &str, admin: &str, accept_shared_domain: bool) -> Result<(), ZoneError> {
    for zone in [site, admin] {
        if !is_zone(zone) {
            return Err(ZoneError::NotAName(zone.to_owned()));
        }
    }
    match (psl::domain_str(site), psl::domain_str(admin)) {
        (Some(domain), Some(other)) if domain == other && !accept_shared_domain => {
            Err(ZoneError::Shared {
                site: site.to_owned(),
                admin: admin.to_owned(),
                domain: domain.to_owned(),
            })
        }
        _ => Ok(()),
    }
}

fn is_zone(zone: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    zone.len() <= 200 && zone.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules() {
        let rows: &[(&str, &str, bool)] = &[
            ("sites.localhost", "admin.localhost", true),
            ("example.org", "example.net", true),
            ("sites.example.org", "admin.example.org", false),
            ("example.org", "admin.example.org", false),
            ("alpha.github.io", "beta.github.io", true),
            ("a.co.uk", "b.co.uk", true),
            ("x.a.co.uk", "y.a.co.uk", false),
            ("Example.org", "example.net", false),
            ("-a.org", "example.net", false),
            ("", "example.net", false),
        ];
        for (site, admin, fine) in rows {
            assert_eq!(check(site, admin, false).is_ok(), *fine, "{site} {admin}");
        }
        assert_eq!(
            check("sites.example.org", "admin.example.org", true),
            Ok(())
        );
    }
}
