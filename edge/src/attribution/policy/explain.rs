//! A policy in words, for those who are to sign it.

use super::parse::show_percent;
use super::{Policy, Rule};
use std::fmt::Write as _;

impl Policy {
    /// What the policy does with a fee, a sentence a line.
    #[must_use]
    pub fn explain(&self) -> String {
        let mut text = String::new();
        self.write(&mut text)
            .expect("writing to a String does not fail");
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        writeln!(text, "Fees are counted in {}.", self.currency.code())?;
        for levy in &self.levies {
            writeln!(
                text,
                "Of each fee {} % is taken first as {}, rounded down.",
                show_percent(levy.basis_points),
                levy.name
            )?;
        }
        let rest = if self.levies.is_empty() {
            "Each fee"
        } else {
            "What is left of it"
        };
        writeln!(text, "{rest} is split into four parts, to the cent:")?;
        self.write_deliver(text)?;
        writeln!(
            text,
            "  hold {} %: to the providers by the hours for which others saw them hold sites, one \
             copy of a site for each provider;",
            show_percent(self.split.hold)
        )?;
        writeln!(
            text,
            "  care {} %: in equal parts to the providers in good standing;",
            show_percent(self.split.care)
        )?;
        writeln!(
            text,
            "  commons {} %: to the region's fund.",
            show_percent(self.split.commons)
        )?;
        self.write_cap(text)?;
        self.write_free(text)
    }

    fn write_deliver(&self, text: &mut String) -> std::fmt::Result {
        let percent = show_percent(self.split.deliver);
        let mib = self.threshold_units.checked_shr(20).unwrap_or(0);
        match self.rule {
            Rule::Pooled => writeln!(
                text,
                "  deliver {percent} %: all owners' together, by all that was served of paying \
                 owners' sites (rule A);"
            ),
            Rule::ByOwner => writeln!(
                text,
                "  deliver {percent} %: to the providers that served the owner's sites, by what \
                 they served (rule B);"
            ),
            Rule::Shrunk => writeln!(
                text,
                "  deliver {percent} %: to the providers that served the owner's sites, by what \
                 they served; an owner with less than {mib} MiB follows the region's average for \
                 what is missing, in which sponsored sites weigh {} % of all fees (rule C);",
                self.sponsored_percent
            ),
            Rule::Equal => writeln!(text, "  deliver {percent} %: in equal parts (rule G);"),
        }
    }

    fn write_cap(&self, text: &mut String) -> std::fmt::Result {
        match self.cap_percent {
            None => writeln!(
                text,
                "There is no cap: nothing bounds what a provider claims to have served."
            ),
            Some(percent) => writeln!(
                text,
                "With four providers or more, none is credited with more than {percent} % of the \
                 share of a site that probes by others say it should have; with fewer, nothing \
                 bounds what a provider claims to have served."
            ),
        }
    }

    fn write_free(&self, text: &mut String) -> std::fmt::Result {
        match self.free {
            None => writeln!(
                text,
                "An account without a fee is sponsored, whatever its size."
            ),
            Some(free) => writeln!(
                text,
                "An account without a fee is sponsored up to {} {} and {} MiB a month; larger ones \
                 are named in the statement.",
                free.sites,
                if free.sites == 1 { "site" } else { "sites" },
                free.units.checked_shr(20).unwrap_or(0)
            ),
        }?;
        writeln!(text, "No site is taken offline because of a fee.")
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;

    fn check(text: &str, expected: &str) {
        let policy = parse(text).unwrap();
        assert_eq!(policy.explain(), expected);
    }

    #[test]
    fn a_policy_is_said_in_words() {
        check(
            "[statement]\ncurrency = \"EUR\"",
            "Fees are counted in EUR.
Each fee is split into four parts, to the cent:
  deliver 50 %: to the providers that served the owner's sites, by what they served; an owner with less than 64 MiB follows the region's average for what is missing, in which sponsored sites weigh 10 % of all fees (rule C);
  hold 20 %: to the providers by the hours for which others saw them hold sites, one copy of a site for each provider;
  care 20 %: in equal parts to the providers in good standing;
  commons 10 %: to the region's fund.
With four providers or more, none is credited with more than 150 % of the share of a site that probes by others say it should have; with fewer, nothing bounds what a provider claims to have served.
An account without a fee is sponsored, whatever its size.
No site is taken offline because of a fee.
",
        );
        check(
            "[statement]\ncurrency = \"AUD\"\nrule = \"G\"\ncap_percent = 0\nfree = { sites = 1, mib = 1024 }\n[[statement.levy]]\nname = \"GST\"\npercent = \"9.09\"",
            "Fees are counted in AUD.
Of each fee 9.09 % is taken first as GST, rounded down.
What is left of it is split into four parts, to the cent:
  deliver 50 %: in equal parts (rule G);
  hold 20 %: to the providers by the hours for which others saw them hold sites, one copy of a site for each provider;
  care 20 %: in equal parts to the providers in good standing;
  commons 10 %: to the region's fund.
There is no cap: nothing bounds what a provider claims to have served.
An account without a fee is sponsored up to 1 site and 1024 MiB a month; larger ones are named in the statement.
No site is taken offline because of a fee.
",
        );
    }
}
