//! `verge bench`: what this machine pays for a page, in CPU time and energy: the short form of
//! `benches/`, for a steward's own board.
//!
//! A child serves a small site with one thread, exactly as `verge preview` does; this process asks.

mod energy;
mod load;
mod served;

use anyhow::ensure;
use clap::Args;
use energy::{Energy, Meter};
use load::{Kind, Visits, visit};
use served::{FILES, Served};
use std::ops::RangeInclusive;
use std::time::Duration;

/// So long are visits made before those that count.
const WARM: Duration = Duration::from_millis(300);
/// Visitors at a time, each with a connection of its own.
const VISITORS: usize = 8;
/// Shorter, and the kernel's times say nothing; longer, and nobody waits for the table.
const SECONDS: RangeInclusive<f64> = 0.05..=60.0;

/// `verge bench`
#[derive(Debug, Args)]
pub struct Bench {
    /// How long visits are made for each row.
    #[arg(long, default_value_t = 2.0, value_name = "SECONDS")]
    seconds: f64,
}

/// What one kind of visit costs.
struct Row {
    kind: Kind,
    file: &'static str,
    visits: Visits,
    cpu: Duration,
    energy: Option<Energy>,
}

impl Bench {
    /// Measures and prints a table.
    ///
    /// # Errors
    /// The child does not start, or an answer is not what was stored.
    #[expect(clippy::print_stdout, reason = "the table is what is asked for")]
    pub fn run(self) -> anyhow::Result<()> {
        ensure!(
            SECONDS.contains(&self.seconds),
            "--seconds is a number from {} to {}",
            SECONDS.start(),
            SECONDS.end()
        );
        let served = Served::start()?;
        let meter = Meter::find();
        println!("{}", meter.describe());
        println!(
            "{:<22} {:>12} {:>14} {:>12} {:>16}",
            "visit", "CPU us each", "of a core/s", "MB/s", "J for 1,000"
        );
        super::block_on(async {
            for kind in Kind::ALL {
                for (file, _) in FILES {
                    let row = self.measure(&served, &meter, (kind, file)).await?;
                    println!("{}", row.show());
                }
            }
            Ok(())
        })?;
        let memory_kib = served.memory_kib()?;
        println!("memory of the process that served: {memory_kib} KiB");
        Ok(())
    }

    async fn measure(
        &self,
        served: &Served,
        meter: &Meter,
        (kind, file): (Kind, &'static str),
    ) -> anyhow::Result<Row> {
        let mut visitors = Vec::new();
        for _ in 0..VISITORS {
            visitors.push(served.connect(kind).await?);
        }
        let time = Duration::from_secs_f64(self.seconds);
        let (visitors, _warm) = visit(visitors, file, WARM.min(time)).await?;
        let quiet = meter.read();
        let cpu = served.cpu()?;
        let (_, visits) = visit(visitors, file, time).await?;
        let cpu = served.cpu()?.saturating_sub(cpu);
        Ok(Row {
            kind,
            file,
            cpu,
            energy: meter.since(quiet, cpu),
            visits,
        })
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "figures for a person, of far less than 2^52"
)]
impl Row {
    fn show(&self) -> String {
        let count = self.visits.count.max(1) as f64;
        let cpu = self.cpu.as_secs_f64().max(f64::MIN_POSITIVE);
        let energy = match &self.energy {
            Some(energy) => format!("{:.3}", energy.joules() / count * 1000.0),
            None => "-".to_owned(),
        };
        format!(
            "{:<22} {:>12.1} {:>14.0} {:>12.1} {:>16}",
            format!("{}, {}", self.kind.name(), self.file),
            cpu / count * 1e6,
            count / cpu,
            self.visits.bytes as f64 / self.visits.time.as_secs_f64().max(0.001) / 1e6,
            energy
        )
    }
}
