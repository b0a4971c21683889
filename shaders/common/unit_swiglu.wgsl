// unit_swiglu - a gated unit: z * sigmoid(z) of the gate times the other half.
//
// Its slope is 1.10 at most. Needs common/math.wgsl.
fn unit(gate: f32, up: f32) -> f32 {
  // exp(-z) overflows below z = -88: there the true value is under 1e-36.
  return gate / (1.0 + exp_f32(-max(gate, -85.0))) * up;
}
