//! The grid: every kernel x shape x format x variant against its CPU twin, natively and in browsers from the same code.

use std::future::Future;
use std::pin::Pin;

use crate::gpu::{Dispatch, Gpu, GpuError, StepShape, record};

/// What a case found and what its twin says.
#[derive(Debug)]
pub struct Comparison {
    got: Vec<f32>,
    want: Vec<f32>,
    tolerance: f32,
}

impl Comparison {
    /// Equal within `tolerance` of the largest magnitude wanted.
    pub fn close(got: Vec<f32>, want: Vec<f32>, tolerance: f32) -> Self {
        Self { got, want, tolerance }
    }

    /// Equal to the bit (as values: -0 equals 0).
    pub fn exact(got: Vec<f32>, want: Vec<f32>) -> Self {
        Self { got, want, tolerance: 0.0 }
    }

    /// `None` if it holds, or what is wrong.
    pub fn complaint(&self) -> Option<String> {
        if self.want.is_empty() || self.got.len() != self.want.len() {
            return Some(format!("{} values for {} wanted", self.got.len(), self.want.len()));
        }
        let scale = self.want.iter().filter(|want| want.is_finite()).fold(0.0f32, |max, want| max.max(want.abs()));
        let bound = self.tolerance * scale.max(1e-3);
        let off = |(got, want): (&f32, &f32)| got != want && ((got - want).abs() > bound || got.is_nan());
        let wrong = self.got.iter().zip(&self.want).filter(|pair| off(*pair)).count();
        let at = self.got.iter().zip(&self.want).position(off)?;
        let (got, want) = (self.got[at], self.want[at]);
        Some(format!("{wrong} of {} values off, first at {at}: got {got}, want {want} +- {bound}", self.want.len()))
    }
}

type Run = Box<dyn for<'a> Fn(&'a Gpu) -> Pin<Box<dyn Future<Output = Result<Comparison, GpuError>> + 'a>>>;

/// One point of the grid.
pub struct Case {
    /// `kernel/key=value/...`
    pub name: String,
    /// Features this case needs; it is passed over on a device without them.
    pub needs_subgroups: bool,
    run: Run,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

impl Case {
    /// A case that runs anywhere.
    pub fn new(
        name: String,
        run: impl for<'a> Fn(&'a Gpu) -> Pin<Box<dyn Future<Output = Result<Comparison, GpuError>> + 'a>> + 'static,
    ) -> Self {
        Self { name, needs_subgroups: false, run: Box::new(run) }
    }

    /// A case for devices with subgroups.
    #[must_use]
    pub fn with_subgroups(mut self) -> Self {
        self.needs_subgroups = true;
        self
    }

    /// Runs the kernels and their twins.
    pub async fn run(&self, gpu: &Gpu) -> Verdict {
        if self.needs_subgroups && !gpu.features().subgroups {
            return Verdict::Skipped;
        }
        let compared = (self.run)(gpu).await;
        match gpu.take_fault().and(compared) {
            Ok(comparison) => comparison.complaint().map_or(Verdict::Held, Verdict::Off),
            Err(error) => Verdict::Off(error.to_string()),
        }
    }
}

/// How a case ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The kernel equals its twin.
    Held,
    /// It needs a feature that this device lacks.
    Skipped,
    /// What is wrong.
    Off(String),
}

/// Every case of every kernel.
pub fn cases() -> Vec<Case> {
    let mut cases = super::norm::cases::cases();
    cases.extend(super::embed::cases::cases());
    cases.extend(super::glu::cases::cases());
    cases.extend(super::quantise::cases::cases());
    cases.extend(super::linear_rows::cases::cases());
    cases.extend(super::matmul::cases::cases());
    cases.extend(super::matvec::cases::cases());
    cases.extend(super::lora_up::cases::cases());
    cases.extend(super::attend::cases::cases());
    cases.extend(super::prepare::cases::cases());
    cases.extend(super::row_max::cases::cases());
    cases.extend(super::mix::cases::cases());
    cases.extend(super::select::cases::cases());
    cases.extend(super::pick::cases::cases());
    cases.extend(crate::guidance::cases::cases());
    cases
}

/// Runs `dispatches` over a batch of `tokens`, one split.
pub(super) fn run(gpu: &Gpu, dispatches: &[Dispatch], tokens: u32) {
    let shape = StepShape { tokens, splits: 1 };
    let mut encoder = gpu.encoder();
    record(&mut encoder, dispatches.iter().map(|dispatch| (dispatch, shape)), None);
    gpu.submit(encoder);
}

/// Seeded test numbers (`SplitMix64`), the same on every platform.
#[derive(Debug)]
pub struct Numbers(u64);

impl Numbers {
    /// A stream of its own for each seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [-1, 1).
    pub fn float(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    }

    /// `n` floats in [-1, 1).
    pub fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.float()).collect()
    }

    /// `rows` rows of `n` floats, `stride` apart, zeros between.
    pub fn rows(&mut self, rows: usize, n: usize, stride: usize) -> Vec<f32> {
        let mut all = vec![0.0; rows * stride];
        for row in all.chunks_mut(stride) {
            row[..n].iter_mut().for_each(|value| *value = self.float());
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `PILOTFISH_GRID=matvec` runs a part of the grid; `full` says something to the browsers' tests only.
    #[test]
    fn every_kernel_equals_its_twin() {
        let filter = std::env::var("PILOTFISH_GRID").ok().filter(|filter| filter != "full").unwrap_or_default();
        for defaults_only in [false, true] {
            let options = crate::gpu::GpuOptions { defaults_only, ..Default::default() };
            let gpu =
                pollster::block_on(Gpu::open(&options)).expect("a Vulkan driver (mesa-vulkan-drivers) is installed");
            let (mut passed, mut skipped, mut failed) = (0, 0, Vec::new());
            for case in cases().iter().filter(|case| case.name.contains(&filter)) {
                match pollster::block_on(case.run(&gpu)) {
                    Verdict::Held => passed += 1,
                    Verdict::Skipped => skipped += 1,
                    Verdict::Off(complaint) => failed.push(format!("{}: {complaint}", case.name)),
                }
            }
            println!("{} {:?}: {passed} passed, {skipped} skipped", gpu.info().name, gpu.features());
            assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
            assert!(passed > 0, "no case matches {filter:?}");
        }
    }
}
