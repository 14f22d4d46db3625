//! What an operation costs in a large volume, in system calls on the backing directory. Times are in
//! `scripts/bench-scale`; counts are what a test can hold.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use support::{Setup, World};

/// How much more an operation may cost at scale.
const FACTOR: f64 = 1.5;

/// Backing calls for each of `count` operations of `script`.
fn cost(world: &World, count: u64, script: &str) -> f64 {
    let before = world.backing_calls();
    world.python(script);
    (world.backing_calls() - before) as f64 / count as f64
}

#[track_caller]
fn assert_alike(what: &str, small: f64, large: f64) {
    // A checkpoint that falls into one run and not into the other adds a few calls.
    assert!(large <= small * FACTOR + 0.2, "{what}: {small:.2} backing calls at first, {large:.2} at scale");
}

/// Steps on 500 files of the directory.
const STEPS: [(&str, &str); 6] = [
    ("create", "for i in range(500): open('new%d' % i, 'wb').write(b'x' * 4096)"),
    ("stat", "for i in range(500): os.stat('new%d' % i)"),
    ("lookup", "for i in range(500): assert not os.path.exists('missing%d' % i)"),
    ("read", "for i in range(500): assert len(open('new%d' % i, 'rb').read()) == 4096"),
    ("rename", "for i in range(500): os.rename('new%d' % i, 'moved%d' % i)"),
    ("unlink", "for i in range(500): os.unlink('moved%d' % i)"),
];
/// How often all steps are done. A checkpoint that falls into one adds calls to it; the least is what counts.
const ROUNDS: usize = 3;

#[test]
fn a_directory_of_100_000_files_costs_what_one_of_1_000_does() {
    let mut world = World::new(Setup::default());
    let mut costs = Vec::new();
    for (dir, count) in [("small", 1_000), ("large", 100_000)] {
        world.python(&format!(
            "import os\nos.mkdir('{dir}'); os.chdir('{dir}')\nfor i in range({count}): os.mknod('f%06d' % i, 0o100644)"
        ));
        world.remount();
        let run = |step: &str| cost(&world, 500, &format!("import os\nos.chdir('{dir}')\n{step}"));
        let mut least = [f64::INFINITY; STEPS.len()];
        for _ in 0..ROUNDS {
            for (least, (_, step)) in least.iter_mut().zip(STEPS) {
                *least = least.min(run(step));
            }
        }
        costs.push(least);
        let list = format!(
            "import os\nn = 0\nfor e in os.scandir('{dir}'): n += 1\nassert n == {count}, n\n\
             assert len(set(os.listdir('{dir}'))) == {count}"
        );
        costs.last_mut().unwrap()[2] += cost(&world, count, &list);
    }
    for (index, (what, _)) in STEPS.iter().enumerate() {
        assert_alike(what, costs[0][index], costs[1][index]);
    }
}

#[test]
fn a_sparse_file_of_1_tib_costs_what_one_of_1_gib_does() {
    let mut world = World::new(Setup::default());
    let script = |name: &str, bits: u32, step: &str| {
        format!(
            "import os, random\nr = random.Random(7)\nfd = os.open('{name}', os.O_CREAT | os.O_RDWR)\nsize = 1 << {bits}\n\
             if os.fstat(fd).st_size != size: os.ftruncate(fd, size)\n\
             at = [r.randrange(size // 4096) * 4096 for i in range(600)]\n{step}"
        )
    };
    let write = "for a in at: os.pwrite(fd, a.to_bytes(8, 'little') * 512, a)\nos.fsync(fd)";
    let read = "for a in at: assert os.pread(fd, 4096, a) == a.to_bytes(8, 'little') * 512, a";
    let over = "for a in at: os.pwrite(fd, a.to_bytes(8, 'little'), a)\nos.fsync(fd)";
    let holes = "for a in at[:50]: assert os.lseek(fd, a, os.SEEK_DATA) == a; os.lseek(fd, a, os.SEEK_HOLE)";
    let mut costs = Vec::new();
    for (name, bits) in [("gib", 30), ("tib", 40)] {
        let mut of_file = Vec::new();
        for (step, count) in [(write, 600), (over, 600), (read, 600), (holes, 100)] {
            world.remount();
            of_file.push(cost(&world, count, &script(name, bits, step)));
        }
        costs.push(of_file);
    }
    for (index, what) in ["write", "overwrite", "read", "seek"].iter().enumerate() {
        assert_alike(what, costs[0][index], costs[1][index]);
    }
    world.sh("[ $(stat -c %s tib) = $((1 << 40)) ]; [ $(stat -c %b tib) -lt 100000 ]");
}

#[test]
fn for_256_clients_an_operation_costs_what_it_does_for_4() {
    let world = World::new(Setup::default());
    let script = |clients: u32| {
        format!(
            "import os, threading\ndef client(c):\n\
             \x20   d = 'c%d' % c\n\
             \x20   for i in range(1024 // {clients}):\n\
             \x20       n = d + '-%d' % i; open(n, 'wb').write(b'x' * 5000); assert os.stat(n).st_size == 5000\n\
             \x20       os.rename(n, n + 'r'); assert len(open(n + 'r', 'rb').read()) == 5000\n\
             \x20       fd = os.open(n + 'r', os.O_WRONLY); os.pwrite(fd, b'y' * 100, 50); os.fsync(fd); os.close(fd); os.unlink(n + 'r')\n\
             threads = [threading.Thread(target=client, args=(c,)) for c in range({clients})]\n\
             [t.start() for t in threads]; [t.join() for t in threads]\nassert os.listdir('.') == []"
        )
    };
    let few = cost(&world, 1024, &script(4));
    let many = cost(&world, 1024, &script(256));
    assert_alike("create, stat, rename, read, overwrite with fsync, unlink", few, many);
}
