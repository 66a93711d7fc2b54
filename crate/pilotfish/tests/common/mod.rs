//! What the engine's tests share: an engine, the fixtures, and waiting.
//!
//! The same tests run on the GPU and, with `PILOTFISH_TEST_BACKEND=cpu`, on the CPU in f32.

#![allow(dead_code, reason = "each test binary uses a part of this")]

use std::path::PathBuf;
use std::rc::Rc;

use pilotfish::engine::{
    Backend, Engine, EngineOptions, Host, Model, Models, Precision, Session, SessionOptions, Step,
};
use pilotfish::gpu::GpuOptions;
use pilotfish::ops::linear::MatvecShape;

/// Waits for a future on this thread.
pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    pollster::block_on(future)
}

/// An engine on whatever GPU there is, with the default limits of WebGPU and no optional feature if `defaults_only`.
pub(crate) fn gpu_with(defaults_only: bool, matvec: MatvecShape) -> Engine {
    let gpu = GpuOptions { defaults_only, ..GpuOptions::default() };
    let options = EngineOptions { backend: Backend::Gpu, gpu, matvec: Some(matvec), ..EngineOptions::default() };
    wait(Engine::open(&options, Host::new(|| 0.0))).expect("a Vulkan driver (mesa-vulkan-drivers) is installed")
}

/// An engine on the CPU, with two threads.
pub(crate) fn cpu_with(precision: Precision) -> Engine {
    let (backend, precision) = (Backend::Cpu, Some(precision));
    let options = EngineOptions { backend, precision, threads: Some(2), ..EngineOptions::default() };
    wait(Engine::open(&options, Host::new(|| 0.0))).expect("threads start")
}

/// Whether the tests are to run on the CPU.
pub(crate) fn on_cpu() -> bool {
    match std::env::var("PILOTFISH_TEST_BACKEND").as_deref() {
        Ok("cpu") => true,
        Ok("gpu") | Err(_) => false,
        Ok(other) => panic!("PILOTFISH_TEST_BACKEND is `{other}`, not `gpu` or `cpu`"),
    }
}

/// The engine that is tested, with everything the adapter offers.
pub(crate) fn engine() -> Engine {
    if on_cpu() { cpu_with(Precision::Exact) } else { gpu_with(false, MatvecShape::Rows) }
}

/// A way of computing.
pub(crate) struct Variant {
    pub(crate) name: String,
    pub(crate) engine: Engine,
    /// The most that KL to an exact pass may be on the fixtures, which are so small that 8 bits are felt.
    pub(crate) most_kl: f64,
}

/// The engine that is tested in each way it can multiply and with each set of limits.
pub(crate) fn engines() -> Vec<Variant> {
    if on_cpu() {
        return vec![Variant { name: "CPU".into(), engine: cpu_with(Precision::Exact), most_kl: 1e-4 }];
    }
    let variants = [
        (false, MatvecShape::Rows, 1e-4),
        (false, MatvecShape::Packed, 5e-3),
        (false, MatvecShape::Subgroup, 1e-4),
        (true, MatvecShape::Workgroup, 1e-4),
    ];
    let open = |(defaults_only, shape, most_kl): (bool, MatvecShape, f64)| Variant {
        name: shape.to_string(),
        engine: gpu_with(defaults_only, shape),
        most_kl,
    };
    let possible = |variant: &Variant| {
        let subgroups = variant.engine.gpu().is_some_and(|gpu| gpu.features().subgroups);
        subgroups || variant.name != MatvecShape::Subgroup.to_string()
    };
    variants.map(open).into_iter().filter(possible).collect()
}

/// A file of `tests/fixtures/tiny`.
pub(crate) fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/tiny").join(name)
}

/// A fixture's model.
pub(crate) fn load(engine: &Engine, name: &str) -> Rc<Model> {
    let bytes = std::fs::read(fixture(name)).expect("the fixture is in the repository");
    Rc::new(wait(engine.load(&mut bytes.as_slice(), |_| true)).expect("the fixture loads"))
}

/// Runs a session to its end; `before` is called before each token is asked for.
pub(crate) fn run(
    engine: &Engine,
    base: &Rc<Model>,
    guides: &[Rc<Model>],
    options: &SessionOptions,
    before: impl FnMut(u32, &mut Session),
) -> Vec<Step> {
    run_on(engine, Models { guides, ..Models::only(base) }, options, before)
}

/// The same on whatever there is.
pub(crate) fn run_on(
    engine: &Engine,
    models: Models<'_>,
    options: &SessionOptions,
    mut before: impl FnMut(u32, &mut Session),
) -> Vec<Step> {
    let mut session = wait(Session::new(engine, models, options, |_| true)).expect("the session starts");
    let mut steps = Vec::new();
    loop {
        before(steps.len() as u32, &mut session);
        match wait(session.next()).expect("a step") {
            Some(step) => steps.push(step),
            None => return steps,
        }
    }
}

/// The ids of steps.
pub(crate) fn ids(steps: &[Step]) -> Vec<u32> {
    steps.iter().map(|step| step.id).collect()
}
