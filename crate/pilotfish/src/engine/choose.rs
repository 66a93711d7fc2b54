//! Which processor a model is loaded onto, where both are possible: the faster, and why.

use super::Engine;
use super::model::{LoadedWeights, Model, Opened};
use super::processor::{GpuProcessor, Processor};
use crate::Result;
use crate::model::{ByteSource, LoadProgress};

/// Loads a model's weights onto the engine's processor, choosing it if that is not done.
pub(super) async fn load(
    engine: &Engine,
    opened: Opened,
    source: &mut impl ByteSource,
    progress: impl FnMut(LoadProgress) -> bool,
) -> Result<Model> {
    match engine.chosen() {
        Some(Processor::Gpu(gpu)) => {
            let weights = on_gpu(engine, &gpu, &opened, source, progress).await?;
            Ok(opened.with(weights))
        }
        #[cfg(feature = "cpu")]
        Some(Processor::Cpu(_)) => {
            let weights = crate::cpu::Weights::load(&opened.spec, source, progress).await?;
            Ok(opened.with(LoadedWeights::Cpu(Box::new(weights))))
        }
        #[cfg(feature = "cpu")]
        None => measured::load(engine, opened, source, progress).await,
        #[cfg(not(feature = "cpu"))]
        None => Err(crate::Error::NoCpu),
    }
}

async fn on_gpu(
    engine: &Engine,
    gpu: &GpuProcessor,
    Opened { spec, tokenizer, .. }: &Opened,
    source: &mut impl ByteSource,
    progress: impl FnMut(LoadProgress) -> bool,
) -> Result<LoadedWeights> {
    let vocab = tokenizer.n_vocab().min(spec.n_vocab);
    let planned = |weights: &crate::model::Weights| gpu.prepare(spec, weights, vocab, engine.expected_rows);
    Ok(LoadedWeights::Gpu(crate::model::Weights::load(&gpu.gpu, spec, source, planned, progress).await?))
}

#[cfg(feature = "cpu")]
mod measured {
    //! Both tried. The CPU computes a token on the loaded model. What the GPU would take at least is known from the layer that was
    //! measured when it was opened; only where nothing was, or that bound is below the CPU's time, is the model loaded onto it, too,
    //! and timed there.

    use std::rc::Rc;

    use super::super::options::SessionOptions;
    use super::super::plan::SessionPlan;
    use super::super::processor::CpuProcessor;
    use super::super::{Host, Models, Prompt, Session};
    use super::{ByteSource, Engine, GpuProcessor, LoadProgress, LoadedWeights, Model, Opened, Processor, on_gpu};
    use crate::cpu::{Cache, Token, Weights};
    use crate::{Error, Result};

    /// Tokens that are computed to time one; the quickest counts.
    const TRIES: u32 = 4;

    pub(super) async fn load(
        engine: &Engine,
        opened: Opened,
        source: &mut impl ByteSource,
        mut progress: impl FnMut(LoadProgress) -> bool,
    ) -> Result<Model> {
        let (Some(gpu), Some(cpu)) = (&engine.gpu, &engine.cpu) else { return Err(Error::NoCpu) };
        let weights = Weights::load(&opened.spec, source, &mut progress).await?;
        let host = &engine.host;
        let cpu_ms = cpu.token_ms(&weights, host)?;
        let name = if gpu.gpu.info().name.is_empty() { "the GPU" } else { &gpu.gpu.info().name };
        let at_least = gpu.token_ms_at_least(weights.products_per_token());
        let on_cpu = LoadedWeights::Cpu(Box::new(weights));
        // A classifier makes no tokens: it is timed by what it multiplies alone.
        let known = at_least.filter(|ms| *ms >= cpu_ms || opened.spec.model.classes.is_some());
        if let Some(ms) = known {
            let why = format!("a token takes {name} {} at least, and the CPU {}", shown(ms), shown(cpu_ms));
            engine.choose(Processor::Cpu(Rc::clone(cpu)), Some(why));
            return Ok(opened.with(on_cpu));
        }
        let on_gpu = on_gpu(engine, gpu, &opened, source, &mut progress).await?;
        let (mut model, gpu_ms) = gpu.token_ms(opened.with(on_gpu), host).await?;
        let processor = if gpu_ms < cpu_ms {
            Processor::Gpu(Rc::clone(gpu))
        } else {
            model.weights = on_cpu;
            Processor::Cpu(Rc::clone(cpu))
        };
        engine
            .choose(processor, Some(format!("a token takes {name} {}, and the CPU {}", shown(gpu_ms), shown(cpu_ms))));
        Ok(model)
    }

    /// Milliseconds with two digits or more.
    fn shown(ms: f64) -> String {
        if ms < 10.0 { format!("{ms:.1} ms") } else { format!("{ms:.0} ms") }
    }

    impl CpuProcessor {
        /// Milliseconds of a token.
        fn token_ms(&self, weights: &Weights, host: &Host) -> Result<f64> {
            let mut forward = self.forward();
            let mut cache = Cache::new(weights.spec(), 1);
            let token = Token { id: 0, position: 0, slots: &[0], row: 0, logits: true };
            let mut least = f64::MAX;
            for _ in 0..TRIES {
                let start = host.now();
                forward.run(weights, &mut cache, None, &[token])?;
                least = least.min(host.now() - start);
            }
            Ok(least)
        }
    }

    impl GpuProcessor {
        /// Milliseconds below which a token of so many products cannot be, by the measured layer; `None` if nothing was measured.
        fn token_ms_at_least(&self, products: u64) -> Option<f64> {
            let measured = self.calibration.as_ref()?;
            let (_, ms) = measured.timings.iter().find(|(shape, _)| *shape == self.shape)?;
            Some(products as f64 * ms / (f64::from(measured.outputs) * f64::from(measured.k)))
        }

        /// The model back, and milliseconds of its token.
        async fn token_ms(self: &Rc<Self>, model: Model, host: &Host) -> Result<(Model, f64)> {
            let model = Rc::new(model);
            let mut options = SessionOptions::new(Prompt::Ids(vec![0]));
            options.max_tokens = TRIES;
            options.in_flight = 1;
            options.sampling.ignore_eos = true;
            let processor = Processor::Gpu(Rc::clone(self));
            let models = Models::only(&model);
            let plan = SessionPlan::on(&processor, models, &options)?;
            let mut session = Session::on(&processor, models, &options, plan, |_| true).await?;
            let mut least = f64::MAX;
            loop {
                let start = host.now();
                if session.next().await?.is_none() {
                    break;
                }
                least = least.min(host.now() - start);
            }
            drop(session);
            // Nobody else has it.
            match Rc::try_unwrap(model) {
                Ok(model) => Ok((model, least)),
                Err(_) => Err(Error::Aborted),
            }
        }
    }
}
