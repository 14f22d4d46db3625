//! What a service that takes 10 ms for a call costs, beside the keystore in this process.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::program::Place;
use crate::world::Elsewhere;

const FILES: usize = 2000;
const READERS: usize = 8;
const ROUND_TRIP: Duration = Duration::from_millis(10);

fn create(dir: &Path) -> Duration {
    let start = Instant::now();
    for index in 0..FILES {
        std::fs::write(dir.join(format!("f{index}")), [7; 4096]).unwrap();
    }
    start.elapsed()
}

fn read_cold(dir: &Path) -> Duration {
    let paths: Vec<PathBuf> = (0..FILES).map(|index| dir.join(format!("f{index}"))).collect();
    let start = Instant::now();
    std::thread::scope(|scope| {
        for part in paths.chunks(FILES.div_ceil(READERS)) {
            scope.spawn(move || part.iter().for_each(|path| drop(std::fs::read(path).unwrap())));
        }
    });
    start.elapsed()
}

#[test]
#[ignore = "a measurement, to be run alone on a quiet machine"]
fn a_service_10_ms_away() {
    let near = Place::with_mount();
    let created = create(&near.path("mount"));
    near.umount().ok();
    near.mount(&[]).ok();
    let read = read_cold(&near.path("mount"));
    near.umount().ok();

    let far = Elsewhere::new();
    far.proxy.delay(ROUND_TRIP);
    far.init(&[]).ok();
    far.mount();
    let created_far = create(&far.client.path("mount"));
    let made = far.proxy.count("GenerateDataKey");
    far.umount();
    far.mount();
    let read_far = read_cold(&far.client.path("mount"));
    far.umount();
    let ratio = |far: Duration, near: Duration| far.as_secs_f64() / near.as_secs_f64();
    println!("create {FILES}: {created:?}, 10 ms away {created_far:?}, {made} data keys made");
    println!("read {FILES} cold with {READERS}: {read:?}, 10 ms away {read_far:?}");
    println!("ratios {:.2} {:.2}", ratio(created_far, created), ratio(read_far, read));
    assert!(ratio(created_far, created) <= 1.3 && ratio(read_far, read) <= 5.0);
}
