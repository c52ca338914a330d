//! From TOML to a [`Policy`], every refusal by its line.

use super::{BASIS_POINTS, FreeTier, LEVIES_MAX, Levy, Policy, Rule, Split};
use crate::attribution::money::Currency;
use serde::Deserialize;
use std::ops::Range;
use toml::{Spanned, Value};

/// A policy that cannot be a region's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct PolicyError {
    /// From 1.
    pub line: usize,
    /// What is wrong there, and what to write instead.
    pub what: String,
}

/// A policy has other tables too; they are read elsewhere.
#[derive(Deserialize)]
struct Document {
    statement: Option<Spanned<Statement>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Statement {
    currency: Option<Spanned<String>>,
    split: Option<Spanned<SplitTable>>,
    rule: Option<Spanned<String>>,
    threshold_mib: Option<Spanned<Value>>,
    sponsored_percent: Option<Spanned<Value>>,
    cap_percent: Option<Spanned<Value>>,
    #[serde(default)]
    levy: Vec<LevyTable>,
    free: Option<FreeTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SplitTable {
    deliver: Spanned<Value>,
    hold: Spanned<Value>,
    care: Spanned<Value>,
    commons: Spanned<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LevyTable {
    name: Spanned<String>,
    percent: Spanned<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FreeTable {
    sites: Spanned<Value>,
    mib: Spanned<Value>,
}

/// Reads the table `[statement]` of a policy.
///
/// # Errors
/// [`PolicyError`] names the line.
pub fn parse(text: &str) -> Result<Policy, PolicyError> {
    Reader { text }.read()
}

struct Reader<'t> {
    text: &'t str,
}

impl Reader<'_> {
    fn read(&self) -> Result<Policy, PolicyError> {
        let document: Document = toml::from_str(self.text).map_err(|error| {
            let span = error.span().unwrap_or_default();
            self.refuse(&span, error.message().replace('\n', " "))
        })?;
        let statement = document.statement.ok_or_else(|| {
            let what = "the policy says nothing of statements: add [statement] with \
                        currency = \"EUR\", or another code of ISO 4217";
            self.refuse(&(0..0), what.to_owned())
        })?;
        let span = statement.span();
        let statement = statement.into_inner();
        let mut policy = Policy::new(self.currency(&span, statement.currency.as_ref())?);
        if let Some(split) = &statement.split {
            policy.split = self.split(split)?;
        }
        if let Some(rule) = &statement.rule {
            policy.rule = self.rule(rule)?;
        }
        if let Some(mib) = &statement.threshold_mib {
            policy.threshold_units = self.mib(mib)?;
        }
        if let Some(percent) = &statement.sponsored_percent {
            policy.sponsored_percent = self.whole_number(percent, 0..=50)?;
        }
        if let Some(percent) = &statement.cap_percent {
            let percent: u32 = self.whole_number(percent, 0..=1_000)?;
            if (1..100).contains(&percent) {
                let what = "cap_percent is 0 for no cap, or 100 and more".to_owned();
                let span = statement.cap_percent.as_ref().map(Spanned::span);
                return Err(self.refuse(&span.unwrap_or_default(), what));
            }
            policy.cap_percent = (percent > 0).then_some(percent);
        }
        policy.levies = self.levies(&span, &statement.levy)?;
        policy.free = match &statement.free {
            None => None,
            Some(free) => Some(FreeTier {
                sites: self.whole_number(&free.sites, 0..=1_000)?.into(),
                units: self.mib(&free.mib)?,
            }),
        };
        Ok(policy)
    }

    /// From 1.
    fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        before.matches('\n').count().saturating_add(1)
    }

    fn refuse(&self, span: &Range<usize>, what: String) -> PolicyError {
        PolicyError {
            line: self.line(span),
            what,
        }
    }

    fn currency(
        &self,
        statement: &Range<usize>,
        code: Option<&Spanned<String>>,
    ) -> Result<Currency, PolicyError> {
        let Some(code) = code else {
            let what = "[statement] needs a currency, such as currency = \"EUR\"".to_owned();
            return Err(self.refuse(statement, what));
        };
        Currency::of(code.get_ref()).ok_or_else(|| {
            let what = format!(
                "currency {:?} is no code of ISO 4217, such as EUR or AUD",
                code.get_ref()
            );
            self.refuse(&code.span(), what)
        })
    }

    fn rule(&self, rule: &Spanned<String>) -> Result<Rule, PolicyError> {
        match rule.get_ref().as_str() {
            "A" => Ok(Rule::Pooled),
            "B" => Ok(Rule::ByOwner),
            "C" => Ok(Rule::Shrunk),
            "G" => Ok(Rule::Equal),
            other => {
                let what = format!("rule {other:?} is none of A, B, C and G");
                Err(self.refuse(&rule.span(), what))
            }
        }
    }

    fn split(&self, split: &Spanned<SplitTable>) -> Result<Split, PolicyError> {
        let table = split.get_ref();
        let read = Split {
            deliver: self.percent(&table.deliver)?,
            hold: self.percent(&table.hold)?,
            care: self.percent(&table.care)?,
            commons: self.percent(&table.commons)?,
        };
        let parts = [read.deliver, read.hold, read.care, read.commons];
        let sum = parts
            .iter()
            .fold(0_u32, |sum, part| sum.saturating_add(*part));
        if sum == BASIS_POINTS {
            return Ok(read);
        }
        let [deliver, hold, care, commons] = parts.map(show_percent);
        let what = format!(
            "[statement.split] deliver {deliver} + hold {hold} + care {care} + commons {commons} \
             is {} per cent, not 100",
            show_percent(sum)
        );
        Err(self.refuse(&split.span(), what))
    }

    fn levies(
        &self,
        statement: &Range<usize>,
        tables: &[LevyTable],
    ) -> Result<Vec<Levy>, PolicyError> {
        if tables.len() > LEVIES_MAX {
            let what = format!("more than {LEVIES_MAX} levies");
            return Err(self.refuse(statement, what));
        }
        let mut levies: Vec<Levy> = Vec::with_capacity(tables.len());
        let mut sum = 0_u32;
        for table in tables {
            let name = table.name.get_ref();
            let is_name = (1..=40).contains(&name.len()) && !name.chars().any(char::is_control);
            if !is_name || levies.iter().any(|levy| levy.name == *name) {
                let what = "a levy needs a name of its own, of at most 40 bytes".to_owned();
                return Err(self.refuse(&table.name.span(), what));
            }
            let basis_points = self.percent(&table.percent)?;
            sum = sum.saturating_add(basis_points);
            if sum > BASIS_POINTS {
                let what = format!("with {name:?} levies take {} per cent", show_percent(sum));
                return Err(self.refuse(&table.percent.span(), what));
            }
            levies.push(Levy {
                name: name.clone(),
                basis_points,
            });
        }
        Ok(levies)
    }

    fn mib(&self, value: &Spanned<Value>) -> Result<u64, PolicyError> {
        /// 64 GiB: more, and hardly a site would have a say of its own.
        const MIB_MAX: u32 = 65_536;
        let mib: u32 = self.whole_number(value, 0..=MIB_MAX)?;
        Ok(u64::from(mib).saturating_mul(1 << 20))
    }

    fn whole_number(
        &self,
        value: &Spanned<Value>,
        range: std::ops::RangeInclusive<u32>,
    ) -> Result<u32, PolicyError> {
        let number = value.get_ref().as_integer();
        let number = number.and_then(|number| u32::try_from(number).ok());
        number
            .filter(|number| range.contains(number))
            .ok_or_else(|| {
                let what = format!(
                    "{} is no whole number from {} to {}",
                    value.get_ref(),
                    range.start(),
                    range.end()
                );
                self.refuse(&value.span(), what)
            })
    }

    /// A whole number, or text with at most two decimal places: never a binary fraction.
    fn percent(&self, value: &Spanned<Value>) -> Result<u32, PolicyError> {
        let read = match value.get_ref() {
            Value::Integer(number) => u32::try_from(*number)
                .ok()
                .and_then(|number| number.checked_mul(100)),
            Value::String(text) => read_percent(text),
            _ => None,
        };
        read.filter(|points| *points <= BASIS_POINTS).ok_or_else(|| {
            let what = format!(
                "{} is no percentage from 0 to 100; one with decimal places stands in quotes and \
                 has at most two: \"7.5\"",
                value.get_ref()
            );
            self.refuse(&value.span(), what)
        })
    }
}

/// Hundredths of a per cent from `7`, `7.5` or `7.25`.
fn read_percent(text: &str) -> Option<u32> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits(whole) || !is_digits(fraction) || fraction.len() > 2 {
        return None;
    }
    format!("{whole}{fraction:0<2}").parse().ok()
}

/// `7`, `7.5` or `7.25`.
pub(super) fn show_percent(points: u32) -> String {
    let (whole, rest) = (points.checked_div(100), points.checked_rem(100));
    let text = format!("{}.{:02}", whole.unwrap_or(0), rest.unwrap_or(0));
    let text = text.trim_end_matches('0');
    text.trim_end_matches('.').to_owned()
}

/// Fuzz target: a text is a policy with words for it, or is refused at one of its lines.
pub(crate) fn policies(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match parse(&text) {
        Ok(policy) => assert!(!policy.explain().is_empty()),
        Err(error) => {
            assert!((1..=text.matches('\n').count().saturating_add(1)).contains(&error.line))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let refused = parse(text).map_err(|error| error.to_string());
        assert_eq!(refused.map(drop), Err(expected.to_owned()), "{text}");
    }

    #[test]
    fn a_policy_is_read() {
        let euro = Policy::new(Currency::of("EUR").unwrap());
        assert_eq!(parse("[statement]\ncurrency = \"EUR\""), Ok(euro));
        let text = r#"
            replica_count_min = 3
            [statement]
            currency = "JPY"
            rule = "B"
            threshold_mib = 128
            sponsored_percent = 5
            cap_percent = 0
            split = { deliver = 40, hold = "20.5", care = "29.25", commons = "10.25" }
            free = { sites = 1, mib = 1024 }
            [[statement.levy]]
            name = "VAT"
            percent = 19
            [[statement.levy]]
            name = "street fund"
            percent = "0.5"
        "#;
        let expected = Policy {
            currency: Currency::of("JPY").unwrap(),
            split: Split {
                deliver: 4_000,
                hold: 2_050,
                care: 2_925,
                commons: 1_025,
            },
            rule: Rule::ByOwner,
            threshold_units: 128 << 20,
            sponsored_percent: 5,
            cap_percent: None,
            levies: [("VAT", 1_900), ("street fund", 50)]
                .map(|(name, basis_points)| Levy {
                    name: name.to_owned(),
                    basis_points,
                })
                .into(),
            free: Some(FreeTier {
                sites: 1,
                units: 1 << 30,
            }),
        };
        assert_eq!(parse(text), Ok(expected));
    }

    #[test]
    fn what_does_not_add_up_is_refused_by_its_line() {
        check(
            "",
            "line 1: the policy says nothing of statements: add [statement] with currency = \
             \"EUR\", or another code of ISO 4217",
        );
        check(
            "\n[statement]\nrule = \"C\"",
            "line 2: [statement] needs a currency, such as currency = \"EUR\"",
        );
        let euro = |text: &str| format!("[statement]\ncurrency = \"EUR\"\n{text}");
        check(
            &euro("[statement.split]\ndeliver = 50\nhold = 20\ncare = 20\ncommons = \"10.5\""),
            "line 3: [statement.split] deliver 50 + hold 20 + care 20 + commons 10.5 is 100.5 per \
             cent, not 100",
        );
        check(
            &euro("\nrule = \"D\""),
            "line 4: rule \"D\" is none of A, B, C and G",
        );
        check(
            &euro("threshold_mib = 65537"),
            "line 3: 65537 is no whole number from 0 to 65536",
        );
        check(
            &euro("cap_percent = 99"),
            "line 3: cap_percent is 0 for no cap, or 100 and more",
        );
        check(
            &euro("[[statement.levy]]\nname = \"VAT\"\npercent = 7.5"),
            "line 5: 7.5 is no percentage from 0 to 100; one with decimal places stands in quotes \
             and has at most two: \"7.5\"",
        );
        let levy =
            |name, percent| format!("[[statement.levy]]\nname = \"{name}\"\npercent = {percent}\n");
        check(
            &euro(&[levy("one", 60), levy("two", 41)].concat()),
            "line 8: with \"two\" levies take 101 per cent",
        );
        check(
            &euro(&[levy("one", 1), levy("one", 1)].concat()),
            "line 7: a levy needs a name of its own, of at most 40 bytes",
        );
        for (text, line) in [
            ("[statement]\ncurrency = \"EURO\"", 2),
            ("[statement]\ncurrency = \"EUR\"\nspilt = 1", 3),
            ("[statement\n", 1),
            (
                "[statement]\ncurrency = \"EUR\"\nfree = { sites = -1, mib = 1 }",
                3,
            ),
            (
                "[statement]\ncurrency = \"EUR\"\nsplit = { deliver = 100 }",
                3,
            ),
        ] {
            assert_eq!(
                parse(text).map_err(|error| error.line).map(drop),
                Err(line),
                "{text}"
            );
        }
        let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
        let nine = names.map(|name| levy(name, 1)).concat();
        assert_eq!(
            parse(&euro(&nine)).map_err(|error| error.what),
            Err("more than 8 levies".to_owned())
        );
        let eight = nine.rsplit_once("[[").unwrap().0;
        assert_eq!(parse(&euro(eight)).map(|policy| policy.levies.len()), Ok(8));
    }

    #[test]
    fn percentages_are_shown_short() {
        for (points, text) in [
            (0, "0"),
            (1, "0.01"),
            (50, "0.5"),
            (1_000, "10"),
            (10_000, "100"),
        ] {
            assert_eq!(show_percent(points), text);
        }
    }
}
