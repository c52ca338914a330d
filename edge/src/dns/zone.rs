//! The driver, as what orders certificates knows it.

use super::update::{DnsUpdate, UpdateError};
use crate::acme::zone::{Change, Zone, ZoneError};

impl Zone for DnsUpdate {
    fn set_txt<'a>(&'a self, name: &'a str, value: &'a str) -> Change<'a> {
        Box::pin(async move {
            let done = DnsUpdate::set_txt(self, name, value).await;
            done.map_err(|error| in_words(name, &error))
        })
    }

    fn remove_txt<'a>(&'a self, name: &'a str, value: &'a str) -> Change<'a> {
        Box::pin(async move {
            let done = DnsUpdate::remove_txt(self, name, value).await;
            done.map_err(|error| in_words(name, &error))
        })
    }
}

fn in_words(name: &str, error: &UpdateError) -> ZoneError {
    let (name, why) = (name.to_owned(), error.to_string());
    if error.is_refusal() {
        ZoneError::Refused { name, why }
    } else {
        ZoneError::Unreachable { name, why }
    }
}
