//! `[exchange]` limits what content takes of the line to nodes that are not near.

use crate::harness::{Node, Publisher};
use crate::scene::{Region, wait};
use crate::street::Street;
use crate::support::sample::noise;
use verge_sync::clock::stopwatch;

/// In a second, each way.
const LIMIT_BYTES: u64 = 1 << 20;
/// Several seconds' worth: without a limit it would be through in a part of one.
const FILM_BYTES: usize = 6 << 20;
/// From then on it is counted: more than the nodes say to one another besides.
const BEGUN_BYTES: u64 = 256 << 10;
/// What may go at once after a rest, and what comes with the content: acknowledgements, records.
const SLACK_BYTES: u64 = 768 << 10;
/// Who receives can only stop reading: what its peer may have sent ahead of that.
const WINDOW_BYTES: u64 = 1 << 20;

/// Publishes a film at `from` and looks at what is counted until `to` has it. However slow the
/// machine is, so many bytes take so long at least.
fn film_goes(
    (street, house): (&Street, usize),
    (from, to): (&Node, &Node),
    publisher: &Publisher,
    (site, counted, ahead_bytes): (&str, fn(&Street, usize) -> u64, u64),
) {
    from.verge_ok(&["site", "create", site, "--owner", "ana"]);
    publisher.write("film.bin", noise(house as u64 + ahead_bytes, FILM_BYTES));
    publisher.write("index.html", site);
    let (before, mut window) = (counted(street, house), None);
    let work = publisher.work();
    std::thread::scope(|scope| {
        let deploying = scope.spawn(|| {
            from.verge_ok(&["deploy", "--site", site, work.to_str().unwrap()]);
            let host = format!("{site}.sites.localhost");
            // A look at a node takes a while: enough of them, and not too many.
            wait(to, |status| {
                status["here_count"] == status["published_count"]
            });
            host
        });
        let mut samples = 0;
        while !deploying.is_finished() {
            let now_bytes = counted(street, house) - before;
            let now = stopwatch();
            let Some((since, at_bytes)) = window else {
                if now_bytes > BEGUN_BYTES {
                    window = Some((now, now_bytes));
                }
                continue;
            };
            let elapsed = now.duration_since(since);
            let millis = u64::try_from(elapsed.as_millis()).unwrap();
            // A tenth for what packets take beside their content.
            let allowed = LIMIT_BYTES * millis / 1000 / 10 * 11 + SLACK_BYTES + ahead_bytes;
            let came = now_bytes - at_bytes;
            assert!(
                came <= allowed,
                "{came} bytes in {elapsed:?}, {allowed} are allowed"
            );
            samples += 1;
        }
        assert!(samples > 1, "nothing was counted");
        deploying.join().unwrap();
    });
    let all_bytes = counted(street, house) - before;
    assert!(all_bytes >= FILM_BYTES as u64, "{all_bytes}");
}

#[test]
fn content_takes_no_more_of_the_line_than_the_steward_says() {
    let street = Street::far(2);
    let mut region = street.region();
    let publisher = Publisher::new();
    let key = publisher.public_key();
    region.nodes[0].verge_ok(&["account", "add", "ana", "--ssh-key", &key]);
    region.all_in_step();
    limit(&mut region);
    let [limited, other] = [&region.nodes[0], &region.nodes[1]];
    let sent = |street: &Street, house| street.counted(house).sent_bytes;
    let received = |street: &Street, house| street.counted(house).received_bytes;
    film_goes(
        (&street, 0),
        (limited, other),
        &publisher,
        ("sent", sent, 0),
    );
    film_goes(
        (&street, 0),
        (other, limited),
        &publisher,
        ("received", received, WINDOW_BYTES),
    );
}

/// The first node gets the limits, and starts again with them.
fn limit(region: &mut Region) {
    let config = region.nodes[0].data().join("config.toml");
    let mut text = std::fs::read_to_string(&config).unwrap();
    for key in ["send_bytes_per_second_max", "receive_bytes_per_second_max"] {
        let unlimited = format!("\n{key} = 0");
        assert!(text.contains(&unlimited), "{key}");
        text = text.replace(&unlimited, &format!("\n{key} = {LIMIT_BYTES}"));
    }
    std::fs::write(&config, text).unwrap();
    assert!(region.nodes[0].stop().success());
    region.nodes[0].restart();
    region.all_in_step();
}
