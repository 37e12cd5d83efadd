//! Measures CPU time, and operations per second against the core's peak.

use criterion::Throughput;
use criterion::measurement::{Measurement, ValueFormatter};
use rustix::time::{ClockId, clock_gettime};

/// CPU time in nanoseconds, of all processors.
pub struct CpuTime {
    /// The name of 10⁹ operations per second.
    pub unit: &'static str,
    /// The core's peak in that unit, if it is known.
    pub peak: Option<f64>,
}

/// Returns the CPU time that the process has used so far.
pub fn nanoseconds() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

impl Measurement for CpuTime {
    type Intermediate = u64;
    type Value = u64;

    fn start(&self) -> u64 {
        nanoseconds()
    }

    fn end(&self, start: u64) -> u64 {
        nanoseconds() - start
    }

    fn add(&self, a: &u64, b: &u64) -> u64 {
        a + b
    }

    fn zero(&self) -> u64 {
        0
    }

    fn to_f64(&self, value: &u64) -> f64 {
        *value as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        self
    }
}

impl ValueFormatter for CpuTime {
    fn format_throughput(&self, throughput: &Throughput, value: f64) -> String {
        let mut rate = [value];
        let unit = self.scale_throughputs(value, throughput, &mut rate);
        match self.peak {
            Some(peak) => {
                format!("{:.1} {unit} ({:.0} % of the peak)", rate[0], 100.0 * rate[0] / peak)
            }
            None => format!("{:.1} {unit}", rate[0]),
        }
    }

    fn scale_values(&self, _: f64, values: &mut [f64]) -> &'static str {
        values.iter_mut().for_each(|value| *value /= 1e3);
        "µs"
    }

    /// This program counts operations as criterion's elements.
    fn scale_throughputs(
        &self,
        _: f64,
        throughput: &Throughput,
        values: &mut [f64],
    ) -> &'static str {
        let count = match throughput {
            Throughput::Elements(count) => *count as f64,
            _ => f64::NAN,
        };
        values.iter_mut().for_each(|value| *value = count / *value);
        self.unit
    }

    fn scale_for_machines(&self, _: &mut [f64]) -> &'static str {
        "ns"
    }
}
