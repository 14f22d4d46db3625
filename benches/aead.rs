//! Seal and open of one message, with each kernel that this machine has (docs/performance.md, "Cipher").

use std::hint::black_box;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput};
use kmsfs::crypto::{Aead, Kernel, NONCE_LEN, SecretKey};

/// A short name, a block of content, the largest request that the kernel makes by itself.
const LENGTHS: [usize; 3] = [64, 4096, 128 << 10];

/// As long as that of a block.
const AAD: [u8; 16] = [3; 16];

fn bench_length(group: &mut BenchmarkGroup<'_, WallTime>, kernel: Kernel, len: usize) {
    let key = SecretKey::from_slice(&[1; 32]).expect("32 bytes");
    let aead = Aead::with_kernel(kernel, &key);
    let plain = vec![2; len];
    let mut cipher = vec![0; len];
    let mut opened = vec![0; len];
    let mut nonce = [0_u8; NONCE_LEN];
    group.throughput(Throughput::Bytes(len as u64));
    group.bench_function(BenchmarkId::new(format!("seal/{kernel}"), len), |bencher| {
        bencher.iter(|| {
            nonce[0] = nonce[0].wrapping_add(1);
            aead.seal(black_box(&nonce), &AAD, black_box(&plain), black_box(&mut cipher))
        });
    });
    let tag = aead.seal(&nonce, &AAD, &plain, &mut cipher);
    group.bench_function(BenchmarkId::new(format!("open/{kernel}"), len), |bencher| {
        bencher.iter(|| aead.open(black_box(&nonce), &AAD, black_box(&cipher), &tag, black_box(&mut opened)));
    });
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("aead");
    for kernel in Kernel::available() {
        for len in LENGTHS {
            bench_length(&mut group, kernel, len);
        }
    }
    group.finish();
    criterion.final_summary();
}
