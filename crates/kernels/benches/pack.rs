//! Times the packing of weights into tiles, which is most of loading a model.
//!
//! ```text
//! cargo bench -p brisk-kernels --bench pack
//! ```

#![allow(clippy::print_stdout, reason = "a bench prints its results")]

use std::time::Instant;

use brisk_kernels::{Compute, Cpu, PackedMatrix, WeightType};

const COLS: usize = 2048;
const NUM_BYTES: usize = 64 << 20;

fn main() {
    let compute = Compute::new(Cpu::detect(), 1);
    println!("{:8} {:>8}", "type", "GB/s");
    for ty in WeightType::ALL {
        let row_bytes = ty.row_bytes(COLS).expect("COLS is a multiple of every block");
        let rows = NUM_BYTES / row_bytes / 16 * 16;
        let data: Vec<u8> = (0..rows * row_bytes).map(|i| (i % 61) as u8).collect();
        let seconds = (0..5)
            .map(|_| {
                let start = Instant::now();
                let packed = PackedMatrix::pack(&compute, ty, rows, COLS, &data);
                let seconds = start.elapsed().as_secs_f64();
                assert_eq!(packed.expect("the data has the right size").num_bytes(), data.len());
                seconds
            })
            .fold(f64::INFINITY, f64::min);
        println!("{ty:8} {:8.2}", data.len() as f64 / seconds / 1e9);
    }
}
