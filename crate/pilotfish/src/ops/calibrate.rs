//! Which matrix-vector shape is the fastest here: measured, because software adapters and GPUs want opposite ones.
//!
//! Barriers cost software adapters 5 to 20 times the work between them, while a GPU that reads one weight row per invocation wastes most
//! of every memory transaction; and what an adapter is cannot always be told from its name (browsers may leave it empty).

use super::linear::{Epilogue, Linear, MatvecShape, Tokens};
use super::matrix::Matrix;
use super::quantise::{self, Quantise};
use super::stride;
use crate::gpu::{Dispatch, Gpu, GpuError, StepShape, Usage, record};
use crate::quant::TensorType;

/// Inputs of the measured layer.
const K: u32 = 1024;
/// Outputs: few first, and more if that was too quick to tell shapes apart.
const OUTPUTS: [u32; 2] = [128, 4096];
/// Milliseconds after which a run is long enough to be told from the queue's latency.
const CLEAR: f64 = 10.0;
/// Milliseconds of latency above which a clock says nothing: Firefox's 100 ms timer, when nobody nudges the queue.
const COARSE: f64 = 50.0;

/// What was measured.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Calibration {
    /// The fastest shape ([`MatvecShape::Packed`] by 5 % at least), or the guess where the clock was too coarse to measure.
    pub shape: MatvecShape,
    /// Milliseconds each shape takes for one product of `outputs` x `k`, 4-bit weights.
    pub timings: Vec<(MatvecShape, f64)>,
    /// Outputs of the measured layer.
    pub outputs: u32,
    /// Inputs of the measured layer.
    pub k: u32,
    /// Milliseconds a submission takes that does nothing.
    pub latency: f64,
}

impl std::fmt::Display for Calibration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({} x {}", self.shape, self.outputs, self.k)?;
        for (shape, took) in &self.timings {
            write!(f, ", {shape} {took:.3} ms")?;
        }
        write!(f, ", latency {:.3} ms)", self.latency)
    }
}

/// Measures the shapes on this device; where activations may be `rounded`, [`MatvecShape::Packed`] too. `now` gives milliseconds.
/// Takes a few pipelines' compilation and about 0.1 s.
pub async fn calibrate(gpu: &Gpu, rounded: bool, now: &dyn Fn() -> f64) -> Result<Calibration, GpuError> {
    let clock = Clock { gpu, now };
    let mut best = Calibration {
        shape: MatvecShape::guess(gpu, rounded),
        timings: Vec::new(),
        outputs: 0,
        k: K,
        latency: clock.run(&[], 0).await?,
    };
    for _ in 0..2 {
        best.latency = best.latency.min(clock.run(&[], 0).await?);
    }
    if best.latency > COARSE {
        return Ok(best);
    }
    let ty = TensorType::Q4_0;
    let weight = Matrix::new(gpu, "calibration weights", ty, OUTPUTS[1], K)?;
    let input = gpu.buffer("calibration input", u64::from(stride(K)) * 4, Usage::Storage)?;
    let levels = gpu.buffer("calibration levels", u64::from(quantise::words(K)) * 4, Usage::Storage)?;
    let round = Quantise { k: K, input: &input, output: &levels };
    let output = gpu.buffer("calibration output", u64::from(OUTPUTS[1]) * 4, Usage::Storage)?;
    for outputs in OUTPUTS {
        let part = Matrix { ty, rows: outputs, k: K, buffer: weight.buffer.clone() };
        let layer = Linear {
            weight: &part,
            input: &input,
            levels: Some(&levels),
            output: &output,
            output_stride: outputs,
            output_offset: 0,
            bias: None,
            delta: None,
            epilogue: Epilogue::Store,
            tokens: Tokens::Rows(1),
        };
        let mut shapes = Vec::new();
        for shape in [MatvecShape::Rows, MatvecShape::Packed, MatvecShape::Workgroup, MatvecShape::Subgroup] {
            let dispatches = match shape {
                MatvecShape::Packed if !rounded => continue,
                MatvecShape::Subgroup if !gpu.features().subgroups => continue,
                // Several products share the rounded activations in a model; here one pays for all.
                MatvecShape::Packed => {
                    let mut dispatches = layer.dispatches(gpu, shape)?;
                    dispatches.insert(0, round.dispatch(gpu)?);
                    dispatches
                }
                _ => layer.dispatches(gpu, shape)?,
            };
            shapes.push((shape, dispatches));
        }
        best.outputs = outputs;
        best.timings = clock.measure(&shapes, best.latency).await?;
        if best.timings.iter().any(|(_, took)| *took > CLEAR) {
            break;
        }
    }
    // Rounding must be worth it.
    let cost = |(shape, took): &(MatvecShape, f64)| if *shape == MatvecShape::Packed { 1.05 * took } else { *took };
    if let Some((shape, _)) = best.timings.iter().min_by(|a, b| cost(*a).total_cmp(&cost(*b))) {
        best.shape = *shape;
    }
    Ok(best)
}

struct Clock<'a> {
    gpu: &'a Gpu,
    now: &'a dyn Fn() -> f64,
}

impl Clock<'_> {
    /// Milliseconds from submitting `dispatches`, so many times over in one pass, until the queue is done.
    async fn run(&self, dispatches: &[Dispatch], times: usize) -> Result<f64, GpuError> {
        let shape = StepShape { tokens: 1, splits: 1 };
        let readback = self.gpu.readback("calibration", 16)?;
        let mut encoder = self.gpu.encoder();
        let all = (0..times).flat_map(|_| dispatches.iter().map(|dispatch| (dispatch, shape)));
        record(&mut encoder, all, None);
        encoder.clear_buffer(&readback.buffer, 0, None);
        let start = (self.now)();
        self.gpu.submit(encoder);
        readback.start();
        readback.take(self.gpu, |_| ()).await?;
        Ok((self.now)() - start)
    }

    /// The best of up to three measurements of each shape, interleaved, in milliseconds a product.
    async fn measure(
        &self,
        shapes: &[(MatvecShape, Vec<Dispatch>)],
        latency: f64,
    ) -> Result<Vec<(MatvecShape, f64)>, GpuError> {
        let mut timings = Vec::new();
        for (shape, dispatches) in shapes {
            // The first run compiles.
            self.run(dispatches, 1).await?;
            timings.push((*shape, (self.run(dispatches, 1).await? - latency).max(1e-3)));
        }
        let fastest = timings.iter().fold(f64::MAX, |fastest, (_, took)| fastest.min(*took));
        for _ in 0..2 {
            for ((_, best), (_, dispatches)) in timings.iter_mut().zip(shapes) {
                // One run is enough to tell that a shape is out of the race.
                if *best < 4.0 * fastest {
                    let times = (CLEAR.max(2.0 * latency) / *best).clamp(1.0, 256.0) as usize;
                    *best = best.min(((self.run(dispatches, times).await? - latency) / times as f64).max(1e-6));
                }
            }
        }
        Ok(timings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::GpuOptions;

    #[test]
    fn calibration_picks_the_fastest_of_all_shapes_a_device_can_run() {
        let gpu = pollster::block_on(Gpu::open(&GpuOptions::default())).expect("a Vulkan driver is installed");
        let start = std::time::Instant::now();
        let found =
            pollster::block_on(calibrate(&gpu, true, &|| start.elapsed().as_secs_f64() * 1e3)).expect("it measures");
        println!("{found} in {:?}", start.elapsed());
        assert_eq!(found.timings.len(), if gpu.features().subgroups { 4 } else { 3 });
        let of_best = found.timings.iter().find(|(shape, _)| *shape == found.shape).map(|(_, took)| *took);
        assert!(found.timings.iter().all(|(_, took)| *took > 0.0 && of_best.is_some_and(|best| best <= 1.05 * took)));
    }

    #[test]
    fn a_coarse_clock_leaves_the_guess() {
        let gpu = pollster::block_on(Gpu::open(&GpuOptions::default())).expect("a Vulkan driver is installed");
        let ticks = std::cell::Cell::new(0.0);
        let coarse = || ticks.replace(ticks.get() + 100.0);
        let found = pollster::block_on(calibrate(&gpu, false, &coarse)).expect("it measures");
        assert!(found.timings.is_empty());
        assert_eq!(found.shape, MatvecShape::guess(&gpu, false));
    }
}
