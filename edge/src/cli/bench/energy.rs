//! What the machine uses: by its own sensors where it has any, else by a model of a few boards.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use verge_sync::clock::stopwatch;

/// Counters of the processor's package (Linux `Documentation/power/powercap`).
const POWERCAP: &str = "/sys/class/powercap";
/// Sensors of a board (Linux `Documentation/hwmon/sysfs-interface`).
const HWMON: &str = "/sys/class/hwmon";
/// What a busy core of a board uses more than an idle one, in watts: see `benches/README.md`.
const MODELS: [(&str, f64); 3] = [
    ("Raspberry Pi 4", 0.93),
    ("Raspberry Pi 5", 1.1),
    ("N100", 1.5),
];

/// How energy is known here.
pub(super) enum Meter {
    /// A counter of micro-joules, and where it begins anew.
    Counter { file: PathBuf, wraps_uj: u64 },
    /// A sensor of micro-watts, looked at before and after.
    Sensor { file: PathBuf },
    /// No sensor, but a board that is known.
    Model { board: &'static str, watts: f64 },
    /// Nothing is known.
    Nothing,
}

/// A look at the sensor.
#[derive(Clone, Copy)]
pub(super) struct Look {
    value: u64,
    at: Instant,
}

/// What was used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Energy(f64);

impl Energy {
    pub(super) fn joules(self) -> f64 {
        self.0
    }
}

fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// The first `name` in a folder of `folder` that can be read.
fn first(folder: &str, name: &str) -> Option<PathBuf> {
    let mut folders: Vec<PathBuf> = fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path().join(name)))
        .collect();
    folders.sort();
    folders.into_iter().find(|file| number(file).is_some())
}

/// What the machine says that it is.
fn board() -> String {
    let model = fs::read_to_string("/proc/device-tree/model");
    let model = model.or_else(|_none| fs::read_to_string("/proc/cpuinfo"));
    model.unwrap_or_default()
}

fn model(board: &str) -> Option<(&'static str, f64)> {
    MODELS.into_iter().find(|(name, _)| board.contains(name))
}

impl Meter {
    pub(super) fn find() -> Self {
        if let Some(file) = first(POWERCAP, "energy_uj") {
            let range = file.with_file_name("max_energy_range_uj");
            let wraps_uj = number(&range).unwrap_or(u64::MAX);
            return Self::Counter { file, wraps_uj };
        }
        if let Some(file) = first(HWMON, "power1_input") {
            return Self::Sensor { file };
        }
        match model(&board()) {
            Some((board, watts)) => Self::Model { board, watts },
            None => Self::Nothing,
        }
    }

    pub(super) fn describe(&self) -> String {
        match self {
            Self::Counter { .. } => "energy: counted by the processor, of both sides".to_owned(),
            Self::Sensor { .. } => {
                "energy: the board's sensor before and after each row, of both sides".to_owned()
            }
            Self::Model { board, watts } => {
                format!("energy: a model, {watts} W for each busy core of a {board}")
            }
            Self::Nothing => {
                "energy: no sensor that this program knows, and no board of which it has a model"
                    .to_owned()
            }
        }
    }

    pub(super) fn read(&self) -> Look {
        let value = match self {
            Self::Counter { file, .. } | Self::Sensor { file } => number(file).unwrap_or(0),
            Self::Model { .. } | Self::Nothing => 0,
        };
        let at = stopwatch();
        Look { value, at }
    }

    /// What was used since; `cpu` is the time of the process that served.
    #[expect(
        clippy::cast_precision_loss,
        reason = "figures for a person, of far less than 2^52"
    )]
    pub(super) fn since(&self, before: Look, cpu: Duration) -> Option<Energy> {
        let now = self.read();
        match self {
            Self::Counter { wraps_uj, .. } => {
                let used = now.value.checked_sub(before.value);
                let used = used.unwrap_or_else(|| {
                    let rest = wraps_uj.saturating_sub(before.value);
                    rest.saturating_add(now.value)
                });
                Some(Energy(used as f64 / 1e6))
            }
            Self::Sensor { .. } => {
                let watts = (before.value as f64 + now.value as f64) / 2e6;
                let time = now.at.saturating_duration_since(before.at);
                Some(Energy(watts * time.as_secs_f64()))
            }
            Self::Model { watts, .. } => Some(Energy(watts * cpu.as_secs_f64())),
            Self::Nothing => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("energy_uj");
        let meter = Meter::Counter {
            file: file.clone(),
            wraps_uj: 10_000_000,
        };
        fs::write(&file, "9000000\n").unwrap();
        let before = meter.read();
        fs::write(&file, "9500000\n").unwrap();
        assert_eq!(
            meter.since(before, Duration::ZERO).unwrap().joules(),
            0.5,
            "as it counts on"
        );
        fs::write(&file, "1000000\n").unwrap();
        assert_eq!(meter.since(before, Duration::ZERO).unwrap().joules(), 2.0);
    }

    #[test]
    fn boards_are_known_by_what_they_say() {
        let pi = "Raspberry Pi 5 Model B Rev 1.0\0";
        assert_eq!(model(pi).unwrap().0, "Raspberry Pi 5");
        let mini = "processor: 0\nmodel name: Intel(R) N100\n";
        assert_eq!(model(mini).unwrap().0, "N100");
        assert_eq!(model("something"), None);
        let meter = Meter::Model {
            board: "N100",
            watts: 1.5,
        };
        let used = meter.since(meter.read(), Duration::from_secs(2));
        assert_eq!(used, Some(Energy(3.0)));
    }
}
