//! A commit or a folder -> one version of a site.
//!
//! [`build`] is the whole crate: list the tree, pick what is published, hash it, compress what is
//! new, lay it into packs, write the manifest. It reads the source and the version before, writes
//! into a staging folder, and knows nothing of the network or HTTP.
//! The same tree gives the same content digest on every machine, in any order, with any number of
//! threads; with the same version before and the same time it gives the same version.

mod assemble;
mod check;
mod compress;
mod content;
mod error;
#[doc(hidden)]
pub mod fuzzing;
mod hashed_names;
mod limits;
mod media_type;
mod names;
mod previous;
pub mod problems;
pub mod report;
mod represent;
pub mod rules;
mod select;
mod settings;
mod source;
mod staging;
mod wire;

pub use assemble::{CARRIED_FOR, PROBLEMS_TAG};
pub use check::{CheckError, Checked, OpenBlob, check_version};
pub use compress::RECIPE;
pub use error::{BuildError, Fault, Refusal};
pub use hashed_names::HashedNames;
pub use limits::Limits;
pub use media_type::{UNKNOWN, media_type};
pub use names::is_secret as looks_secret;
pub use report::{
    Built, CodingTotal, Event, Failure, Job, Line, Outcome, Problem, Source, Step, Totals,
};

use assemble::Plan;
use content::Hashed;
use previous::Previous;
use problems::Problems;
use rules::Rules;
use settings::Settings;
use source::Contents;
use staging::Staging;
use std::time::Instant;
use verge_sync::clock::stopwatch;
use verge_sync::digest::Digest;

/// Builds one version.
///
/// # Errors
/// [`BuildError`]; the staging folder may then hold parts, which are to be thrown away.
pub fn build(job: &Job, report: &mut dyn FnMut(Event)) -> Result<Outcome, BuildError> {
    let mut problems = Problems::new(job.limits.problems_max, report);
    let mut previous = match &job.previous {
        Some(manifest) => Some(Previous::open(manifest, &job.blobs)?),
        None => None,
    };
    let (hashed, mut contents) = read(job, &mut problems)?;
    if let Some(previous) = &previous
        && previous.is_whole()
        && hashed.content.digest()? == previous.manifest.content_digest()
    {
        let version = previous.manifest.version();
        return Ok(Outcome::Unchanged { version });
    }
    let plan = Plan::sound(&hashed, previous.as_mut(), job.time);
    write(job, &hashed, &plan, &mut contents, problems)
}

/// Lists, picks and hashes: everything that the content part needs.
fn read(job: &Job, problems: &mut Problems<'_>) -> Result<(Hashed, Contents), BuildError> {
    let watch = stopwatch();
    let (tree, mut contents) = source::list(&job.source, &job.limits, &mut |problem| {
        problems.push(problem)
    })?;
    let settings = Settings::read(&tree, &mut contents, problems)?;
    let selected = select::select(&tree, &mut contents, &settings, &job.limits, problems)?;
    problems.tell(Event::Listed {
        files: selected.files.keys().map(|_| 1).sum(),
        bytes: selected.bytes,
    });
    finished(Step::List, watch, problems);
    let watch = stopwatch();
    let (rules, rule_files) = Rules::read(&selected, &mut contents, problems)?;
    let sections = rules.sections(&rule_files);
    let hashed = content::hash(&selected, &mut contents, sections, job.threads)?;
    finished(Step::Read, watch, problems);
    Ok((hashed, contents))
}

/// Compresses what is new and writes packs, blobs, manifest and sequence.
fn write(
    job: &Job,
    hashed: &Hashed,
    plan: &Plan<'_>,
    contents: &mut Contents,
    mut problems: Problems<'_>,
) -> Result<Outcome, BuildError> {
    let watch = stopwatch();
    let mut staging = Staging::new(&job.staging);
    tell_plan(hashed, plan, &mut problems);
    let mut stock = plan.move_kept(&mut staging)?;
    let total = count(&plan.new);
    let mut done = 0;
    let made = represent::represent(&plan.new, contents, &mut staging, job.threads, &mut || {
        done += 1;
        // A tenth at a time: a log for people, not a meter.
        if done * 10 / total != (done - 1) * 10 / total {
            problems.tell(Event::Compressed { done, total });
        }
    })?;
    stock.extend(made);
    let packs = staging.finish_packs()?;
    finished(Step::Compress, watch, &mut problems);
    let watch = stopwatch();
    let mut totals = plan.totals(hashed, &stock);
    let found = problems.take();
    let manifest = plan.assemble(hashed, &stock, &packs, &found, job.time)?;
    staging.put(manifest.bytes())?;
    let sequence = manifest.sequence();
    staging.put(&sequence)?;
    let new_blobs = staging.into_blobs();
    totals.written_bytes = new_blobs.iter().map(|blob| blob.bytes).sum();
    finished(Step::Assemble, watch, &mut problems);
    Ok(Outcome::Built(Box::new(Built {
        version: manifest.version(),
        content_digest: manifest.content_digest(),
        recipe: RECIPE,
        sequence_digest: Digest::of(&sequence),
        version_bytes: manifest.version_bytes(),
        new_blobs,
        totals,
        problems: found,
    })))
}

fn tell_plan(hashed: &Hashed, plan: &Plan<'_>, problems: &mut Problems<'_>) {
    let files = hashed.content.paths.values();
    let reused = files.filter(|file| plan.is_reused(&file.identity));
    problems.tell(Event::Planned {
        new: count(&plan.new),
        new_bytes: plan.new.iter().map(|item| item.file.bytes).sum(),
        reused: reused.map(|_| 1).sum(),
    });
}

fn finished(step: Step, watch: Instant, problems: &mut Problems<'_>) {
    let duration_ms = u64::try_from(watch.elapsed().as_millis()).unwrap_or(u64::MAX);
    problems.tell(Event::Finished { step, duration_ms });
}

fn count<T>(items: &[T]) -> u64 {
    u64::try_from(items.len()).unwrap_or(u64::MAX)
}
