//! What a steward asks about a month: its statement, and its close.

use super::api::{Api, ApiError, Log, say};
use super::{StatementAct, StatementRequest};
use crate::accounting::calendar::Month;
use crate::closing::{Closing, Outcome, Written};
use std::sync::Arc;

impl Api {
    pub(super) async fn statement(
        &self,
        request: StatementRequest,
        log: &Log,
    ) -> Result<(), ApiError> {
        let month: Result<Month, _> = request.month.parse();
        let month = month.map_err(|error| ApiError::Wrong(error.to_string()))?;
        let closing = self.closing()?;
        let lines = match request.act {
            StatementAct::Write(to) => {
                let written = closing.write(month, request.fees, to).await?;
                written_lines(month, &written)
            }
            StatementAct::Close => {
                let outcome = closing.propose(month, request.fees).await?;
                outcome_lines(month, &outcome)
            }
            StatementAct::Sign => {
                let outcome = closing.sign(month, request.fees).await?;
                outcome_lines(month, &outcome)
            }
        };
        for text in lines {
            say(log, text).await;
        }
        Ok(())
    }

    fn closing(&self) -> Result<Closing, ApiError> {
        let keep = self.keep()?;
        let (now_s, belief) = *self.membership.clock.borrow();
        Ok(Closing {
            region: Arc::clone(&self.region),
            store: keep.store.clone(),
            accounting: Arc::clone(self.membership.accounting()),
            data: keep.store.dir().to_owned(),
            now_s,
            is_believed: belief.holds(),
        })
    }
}

fn written_lines(month: Month, written: &Written) -> Vec<String> {
    let state = if written.is_closed {
        "closed"
    } else {
        "provisional"
    };
    let mut lines = vec![format!(
        "{month} is {state}, in {}",
        written.folder.display()
    )];
    lines.extend(missing_lines(&written.missing));
    lines.extend(written.notes.iter().map(|note| format!("note: {note}")));
    lines.push(format!("signed by node {}", written.node));
    lines.push(format!("digest {}", written.statement));
    lines
}

fn outcome_lines(month: Month, outcome: &Outcome) -> Vec<String> {
    let Outcome {
        vote_count, needed, ..
    } = outcome;
    let mut lines = vec![format!(
        "{month}: {} seals, statement {}",
        outcome.seal_count, outcome.statement
    )];
    if outcome.snapshot_count > 0 {
        lines.push(format!(
            "{} of these are snapshots, of nodes whose disk died before they sealed the day",
            outcome.snapshot_count
        ));
    }
    lines.extend(missing_lines(&outcome.missing));
    lines.push(if outcome.is_closed {
        format!("{month} is closed: `verge statement {month}` writes its statement")
    } else {
        format!(
            "{vote_count} of {needed} votes: the others sign with `verge statement sign {month} --fees FILE`"
        )
    });
    lines
}

fn missing_lines(missing: &[String]) -> impl Iterator<Item = String> {
    missing
        .iter()
        .map(|of| format!("missing: the seal of {of}"))
}
