//! `journal.hledger`: the month as double entries. hledger refuses a journal that does not balance,
//! so its own check proves the sums once more.

use super::Statement;
use super::escape;
use crate::attribution::money::{Cents, Currency};
use crate::attribution::{Parts, ProviderShare};
use std::fmt::Write as _;
use verge_sync::id::{AccountId, ProviderId};

pub(super) const NAME: &str = "journal.hledger";

/// One of the three things that a provider is paid for.
type PartOfShare = fn(&ProviderShare) -> Cents;

pub(super) fn write(statement: &Statement<'_>) -> String {
    let mut text = String::new();
    Writer {
        statement,
        text: &mut text,
    }
    .write()
    .expect("writing to a String does not fail");
    text
}

struct Writer<'s, 't> {
    statement: &'s Statement<'s>,
    text: &'t mut String,
}

impl Writer<'_, '_> {
    fn write(&mut self) -> std::fmt::Result {
        let books = self.statement.books;
        let currency = self.currency();
        writeln!(
            self.text,
            "; Statement of {} for {}",
            escape::hledger(&books.region_name),
            books.month
        )?;
        // hledger wants a decimal mark in it, also where there are no places behind it.
        let sample = currency.number(Cents(
            1_000_u64.saturating_mul(10_u64.saturating_pow(currency.digits())),
        ));
        let mark = if currency.digits() == 0 { "." } else { "" };
        writeln!(self.text, "commodity {sample}{mark} {}\n", currency.code())?;
        for owner in self.statement.attribution.owners.keys() {
            self.owner(owner)?;
        }
        self.pools()
    }

    fn currency(&self) -> Currency {
        self.statement.policy.currency
    }

    fn head(&mut self, words: &str) -> std::fmt::Result {
        let day = self.statement.books.month.last_day();
        writeln!(self.text, "{day} * {}", escape::hledger(words))
    }

    fn post(&mut self, account: &str, sign: &str, amount: Cents) -> std::fmt::Result {
        if amount.0 == 0 {
            return Ok(());
        }
        let shown = self.currency().show(amount);
        writeln!(self.text, "    {account}  {sign}{shown}")
    }

    fn provider(&self, id: &ProviderId) -> String {
        let name = escape::hledger(self.statement.provider_name(id));
        format!("providers:{name} {}", id.short())
    }

    /// What became of one fee. What is pooled goes to an account of its own first.
    fn owner(&mut self, id: &AccountId) -> std::fmt::Result {
        let statement = self.statement;
        let Some(owner) = statement
            .attribution
            .owners
            .get(id)
            .filter(|owner| owner.fee.0 > 0)
        else {
            return Ok(());
        };
        let name = escape::hledger(statement.owner_name(id));
        self.head(&format!("fee of {name} {}", id.short()))?;
        self.post(&format!("owners:{name} {}", id.short()), "-", owner.fee)?;
        for (levy, amount) in statement.policy.levies.iter().zip(&owner.levies) {
            let account = format!("levies:{}", escape::hledger(&levy.name));
            self.post(&account, "", *amount)?;
        }
        if owner.deliver.is_empty() {
            self.post("pool:deliver", "", owner.parts.deliver)?;
        }
        for (provider, amount) in &owner.deliver {
            self.post(&format!("{}:deliver", self.provider(provider)), "", *amount)?;
        }
        self.post("pool:hold", "", owner.parts.hold)?;
        self.post("pool:care", "", owner.parts.care)?;
        self.post("commons", "", owner.parts.commons)?;
        writeln!(self.text)
    }

    /// The pools to the providers, or to the fund where there is nobody; each is empty afterwards.
    fn pools(&mut self) -> std::fmt::Result {
        let attribution = &self.statement.attribution;
        let is_pooled = attribution
            .owners
            .values()
            .all(|owner| owner.deliver.is_empty());
        let pool = |part: fn(&Parts) -> Cents| {
            let parts = attribution
                .owners
                .values()
                .map(|owner| part(&owner.parts).0);
            Cents(parts.fold(0, u64::saturating_add))
        };
        let deliver = if is_pooled {
            pool(|parts| parts.deliver)
        } else {
            Cents(0)
        };
        let pools: [(&str, Cents, PartOfShare); 3] = [
            ("deliver", deliver, |share| share.deliver),
            ("hold", pool(|parts| parts.hold), |share| share.hold),
            ("care", pool(|parts| parts.care), |share| share.care),
        ];
        for (name, amount, part) in pools {
            if amount.0 == 0 {
                continue;
            }
            self.head(&format!("the pool {name}"))?;
            self.post(&format!("pool:{name}"), "-", amount)?;
            let mut rest = amount;
            for (provider, share) in &attribution.providers {
                self.post(
                    &format!("{}:{name}", self.provider(provider)),
                    "",
                    part(share),
                )?;
                rest = rest.minus(part(share)).unwrap_or_default();
            }
            self.post("commons", "", rest)?;
            writeln!(self.text)?;
        }
        Ok(())
    }
}
