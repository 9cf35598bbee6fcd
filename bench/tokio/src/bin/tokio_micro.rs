// SPDX-License-Identifier: MIT
//
// tokio_micro.rs: the peer of coil_micro.c on tokio, one thread: tokio_micro MODE N

use std::env;
use std::time::Instant;

fn cpu_ns() -> u64 {
    let mut ts = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it writes into `ts` and nothing else.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut ts) };
    ts.tv_sec as u64 * 1_000_000_000 + ts.tv_nsec as u64
}

async fn yields(n: u64, tasks: u64) {
    let mut all = Vec::new();
    for _ in 0..tasks {
        all.push(tokio::spawn(async move {
            for _ in 0..n / tasks {
                tokio::task::yield_now().await;
            }
        }));
    }
    for task in all {
        task.await.unwrap();
    }
}

async fn spawns(n: u64, batch: u64) {
    for _ in 0..n / batch {
        let all: Vec<_> = (0..batch).map(|i| tokio::spawn(async move { i })).collect();
        for task in all {
            task.await.unwrap();
        }
    }
}

fn main() {
    let words: Vec<String> = env::args().collect();
    let n: u64 = words[2].parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (cpu, wall) = (cpu_ns(), Instant::now());
    runtime.block_on(async {
        match words[1].as_str() {
            "switch2" => yields(n, 2).await,
            "switch1000" => yields(n, 1000).await,
            "spawn" => spawns(n, 1).await,
            "spawn_batch" => spawns(n, 1000).await,
            _ => std::process::exit(2),
        }
    });
    let (spent, took) = ((cpu_ns() - cpu) as f64, wall.elapsed().as_nanos() as f64);
    println!("{{\"ns\": {:.3}, \"wall_ns\": {:.3}}}", spent / n as f64, took / n as f64);
}
