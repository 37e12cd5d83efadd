//! Benchmarks of the kernels, at the shapes of YuNet and SFace: `cargo bench --workspace --bench
//! kernels`; `-- pointwise` selects some. `DOORWARD_CPU` chooses the level; bind it to one core
//! with `taskset -c 1`.
//!
//! criterion prints a time, operations per second, and their share of this core's peak on that
//! level, which is measured first. An operation is a product or a sum, two per weight and pixel;
//! bias, activation and rounding are done and not counted. Times are the process's CPU time.

mod layers;
mod measure;
mod peak;

use criterion::{Criterion, Throughput};
use doorward_nn::Level;
use layers::{Arithmetic, Layer};
use measure::CpuTime;
use std::time::Duration;

/// Pixels per row, rows, outputs, stride.
const STEM: [[usize; 4]; 2] = [[320, 320, 16, 2], [112, 112, 32, 1]];
/// Pixels per row, rows, inputs, outputs.
const POINTWISE: [[usize; 4]; 6] = [
    [160, 160, 16, 16],
    [40, 40, 64, 64],
    [112, 112, 32, 64],
    [28, 28, 128, 256],
    [14, 14, 512, 512],
    [7, 7, 1024, 1024],
];
/// Pixels per row, rows, channels, stride.
const DEPTHWISE: [[usize; 4]; 6] = [
    [160, 160, 16, 1],
    [40, 40, 64, 1],
    [112, 112, 64, 2],
    [28, 28, 256, 1],
    [14, 14, 512, 1],
    [7, 7, 1024, 1],
];

fn main() {
    let level = match Level::detect() {
        Ok(level) => level,
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1);
        }
    };
    for arithmetic in [Arithmetic::Values, Arithmetic::Bytes] {
        let peak = peak::of(level, arithmetic);
        let unit = arithmetic.unit();
        match peak {
            Some(peak) => println!("{level}, {arithmetic}: at most {peak:.0} {unit} on this core"),
            None => println!("{level}, {arithmetic}: no measure of the most that this core can do"),
        }
        let mut criterion = Criterion::default()
            .with_measurement(CpuTime { unit, peak })
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_secs(2))
            .configure_from_args();
        for [width, height, outputs, stride] in STEM {
            let name =
                format!("stem to {arithmetic} {width}x{height} to {outputs}, stride {stride}");
            let layer = Layer::stem(arithmetic, level, (height, width), outputs, stride);
            let pixels = height.div_ceil(stride) * width.div_ceil(stride);
            run(&mut criterion, level, &name, layer, 2 * 27 * pixels * outputs);
        }
        for [width, height, inputs, outputs] in POINTWISE {
            let name = format!("pointwise {arithmetic} {} x {inputs} to {outputs}", width * height);
            let layer = Layer::pointwise(arithmetic, level, (height, width), inputs, outputs);
            let operations = 2 * width * height * inputs * outputs;
            run(&mut criterion, level, &name, layer, operations);
        }
        for [width, height, channels, stride] in DEPTHWISE {
            let name =
                format!("depthwise {arithmetic} {width}x{height} x {channels}, stride {stride}");
            let layer = Layer::depthwise(arithmetic, level, (height, width), channels, stride);
            let pixels = height.div_ceil(stride) * width.div_ceil(stride);
            run(&mut criterion, level, &name, layer, 2 * 9 * pixels * channels);
        }
        criterion.final_summary();
    }
}

fn run(
    criterion: &mut Criterion<CpuTime>,
    level: Level,
    name: &str,
    layer: candle_core::Result<Layer>,
    operations: usize,
) {
    let mut layer = match layer {
        Ok(layer) => layer,
        Err(error) => {
            eprintln!("{name}: {error}");
            std::process::exit(1);
        }
    };
    let mut group = criterion.benchmark_group(level.to_string());
    group.throughput(Throughput::Elements(operations as u64));
    group.bench_function(name, |bencher| {
        bencher.iter(|| layer.pass());
    });
    group.finish();
}
