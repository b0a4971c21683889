// heads - words of raw heads with their biases, and what norms multiply them by.
//
// Needs HEAD_DIM, params.q_norm and params.k_norm (where the norms' weights begin, in
// words of `vectors`), and the bindings `raw` and `vectors: array<vec4<f32>>`. Included
// before any array whose size depends on an override: naga 29 ends the process over one
// that is declared behind such an array.
override HAS_NORM: bool = true;   // queries and keys are normed, with weights
override V_NORM: bool = true;     // values are normed, without
override HAS_BIAS: bool = false;  // each raw head has a bias of its own

// A word of a raw head; its bias lies at `bias`.
fn head_word(at: u32, bias: u32) -> vec4<f32> {
  if (HAS_BIAS) {
    return raw[at] + vectors[bias];
  }
  return raw[at];
}

// A word of a norm's weight.
fn norm_word(norm: u32, word: u32) -> vec4<f32> {
  if (HAS_NORM) {
    return vectors[norm + word];
  }
  return vec4<f32>(1.0);
}
