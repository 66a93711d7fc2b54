//! Gated units.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use pilotfish::arch::Activation;

use super::{shaped, values, view};

/// `y = activation(gate) ∘ up`, arguments of one shape.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Glu {
    /// The gate's non-linearity.
    pub(crate) activation: Activation,
}

/// sqrt(2 / π), of GELU's tanh form (arXiv 1606.08415).
const GELU: f32 = 0.797_884_6;
/// Its cubic term.
const CUBIC: f32 = 0.044_715;

impl Glu {
    /// The activation and its derivative.
    fn of(self, x: f32) -> (f32, f32) {
        match self.activation {
            Activation::Silu => {
                let sigmoid = 1.0 / (1.0 + (-x).exp());
                (x * sigmoid, sigmoid * (1.0 + x * (1.0 - sigmoid)))
            }
            Activation::GeluTanh => {
                let tanh = (GELU * (x + CUBIC * x * x * x)).tanh();
                let inner = GELU * (1.0 + 3.0 * CUBIC * x * x);
                (0.5 * x * (1.0 + tanh), 0.5 * (1.0 + tanh) + 0.5 * x * (1.0 - tanh * tanh) * inner)
            }
        }
    }
}

impl CustomOp2 for Glu {
    fn name(&self) -> &'static str {
        "gated unit"
    }

    fn cpu_fwd(
        &self,
        gate: &CpuStorage,
        gate_layout: &Layout,
        up: &CpuStorage,
        up_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (gate, up) = (values(gate, gate_layout)?, values(up, up_layout)?);
        let y = gate.iter().zip(up).map(|(gate, up)| self.of(*gate).0 * up).collect();
        Ok((CpuStorage::F32(y), gate_layout.shape().clone()))
    }

    fn bwd(&self, gate: &Tensor, up: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let views = (view(gate)?, view(up)?, view(&grad)?);
        let (gates, ups, grads) = (views.0.values()?, views.1.values()?, views.2.values()?);
        let (mut grad_gate, mut grad_up) = (Vec::with_capacity(gates.len()), Vec::with_capacity(gates.len()));
        for ((x, up), grad) in gates.iter().zip(ups).zip(grads) {
            let (value, slope) = self.of(*x);
            grad_gate.push(grad * up * slope);
            grad_up.push(grad * value);
        }
        Ok((Some(shaped(grad_gate, gate)?), Some(shaped(grad_up, up)?)))
    }
}
