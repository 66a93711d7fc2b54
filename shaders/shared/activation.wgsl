// The activations of gated units. GLU 1: SiLU, 2: GELU in its tanh form.
fn activation(x: f32) -> f32 {
    // GELU's 0.5 * (1 + tanh(u)) is 1 / (1 + exp(-2u)), which cannot overflow into NaN.
    let y = select(x, 1.5957691216057308 * (x + 0.044715 * x * x * x), GLU == 2u);
    return x / (1.0 + exp(min(-y, 80.0)));
}
