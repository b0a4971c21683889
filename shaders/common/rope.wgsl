// rope4 - four elements of a head, rotated by position; from exact tables.
//
//   a pair (x_i, x_j) turns:  y_i = x_i cos - x_j sin,  y_j = x_j cos + x_i sin
//   Pairs from params.n_pairs on are copied. Which elements are a pair is said by a file
//   of the slot `pairs`: rope_halves.wgsl, rope_neighbours.wgsl.
//
// The host makes the tables in float64 for the positions 0 .. fine-1 and for the
// multiples of `fine`; the angles are added by the addition theorem. So no argument is
// ever reduced in f32, and tables for 262,144 positions stay under 2 MB.
// Needs HEAD_DIM, a multiple of 8, params.n_pairs and params.fine, and the binding
// `rope: array<vec2<f32>>`, [fine + coarse, n_pairs] of (cos, sin).
const WORDS: u32 = HEAD_DIM / 4u;    // of a head

fn rope_angle(position: u32, pair: u32) -> vec2<f32> {
  if (pair >= params.n_pairs) {
    return vec2<f32>(1.0, 0.0);
  }
  let low = rope[(position % params.fine) * params.n_pairs + pair];
  let high = rope[(params.fine + position / params.fine) * params.n_pairs + pair];
  return vec2<f32>(low.x * high.x - low.y * high.y, low.y * high.x + low.x * high.y);
}

//#include "common/rope_{pairs}.wgsl"
