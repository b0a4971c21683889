// random_bits, exponential - the draws of the sampler, the same on every adapter.
//
// The generator has no state of its own: 32 bits are a hash of (seed, draw, id), by
// integer operations alone. The host repeats them bit for bit (pyodide_app/run/sampling.py).
// Needs common/math.wgsl.
//
// source  pcg3d of M. Jarzynski and M. Olano, "Hash Functions for GPU Rendering",
//         Journal of Computer Graphics Techniques 9(3), 2020.
fn random_bits(seed: u32, draw: u32, id: u32) -> u32 {
  var v = vec3(seed, draw, id) * 1664525u + 1013904223u;
  v.x += v.y * v.z;
  v.y += v.z * v.x;
  v.z += v.x * v.y;
  v ^= v >> vec3(16u);
  v.x += v.y * v.z;
  v.y += v.z * v.x;
  v.z += v.x * v.y;
  return v.x;
}

// An exponential variate, -log(u) with u = (bits + 1/2) / 2^32.
//
// The upper half of u goes by 1 - u: small results keep their relative precision, so that
// events of probability 1e-9 keep theirs, and no result is 0 or infinite.
fn exponential(bits: u32) -> f32 {
  const UNIT = 2.3283064365386963e-10;  // 2^-32
  if (bits < 0x80000000u) {
    return -log_f32((f32(bits) + 0.5) * UNIT);
  }
  return -log1p_f32(-((f32(~bits) + 0.5) * UNIT));
}
