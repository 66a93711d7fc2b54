//! What the engine's tests share: a GPU, the fixtures, and waiting.

#![allow(dead_code, reason = "each test binary uses a part of this")]

use std::path::PathBuf;
use std::rc::Rc;

use pilotfish::engine::{Engine, EngineOptions, Model, Models, Session, SessionOptions, Step};
use pilotfish::gpu::GpuOptions;
use pilotfish::ops::linear::MatvecShape;

/// Waits for a future on this thread.
pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    pollster::block_on(future)
}

/// An engine on whatever GPU there is, with the default limits of WebGPU and no optional feature if `defaults_only`.
pub(crate) fn engine_with(defaults_only: bool, matvec: MatvecShape) -> Engine {
    let gpu = GpuOptions { defaults_only, ..GpuOptions::default() };
    let options = EngineOptions { gpu, matvec: Some(matvec), ..EngineOptions::default() };
    wait(Engine::open(&options, &|| 0.0)).expect("a Vulkan driver (mesa-vulkan-drivers) is installed")
}

/// An engine with everything the adapter offers.
pub(crate) fn engine() -> Engine {
    engine_with(false, MatvecShape::Rows)
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
