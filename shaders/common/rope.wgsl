// rope4 - four elements of a head, rotated by position; from exact tables.
//
//   element i < HEAD_DIM / 2:  y_i = x_i cos - x_j sin,  y_j = x_j cos + x_i sin,
//   j = i + HEAD_DIM / 2.  Pairs from params.n_pairs on are copied (proportional RoPE).
//
// The host makes the tables in float64 for the positions 0 .. fine-1 and for the
// multiples of `fine`; the angles are added by the addition theorem. So no argument is
// ever reduced in f32, and tables for 262,144 positions stay under 2 MB.
// Needs HEAD_DIM, a multiple of 8, params.n_pairs and params.fine, and the binding
// `rope: array<vec2<f32>>`, [fine + coarse, n_pairs] of (cos, sin).
const WORDS: u32 = HEAD_DIM / 4u;    // of a head
const HALF_WORDS: u32 = WORDS / 2u;  // what lies between the two elements of a pair

fn rope_angle(position: u32, pair: u32) -> vec2<f32> {
  if (pair >= params.n_pairs) {
    return vec2<f32>(1.0, 0.0);
  }
  let low = rope[(position % params.fine) * params.n_pairs + pair];
  let high = rope[(params.fine + position / params.fine) * params.n_pairs + pair];
  return vec2<f32>(low.x * high.x - low.y * high.y, low.y * high.x + low.x * high.y);
}

// The word whose elements are turned together with those of `word`.
fn rope_partner(word: u32) -> u32 {
  return select(word - HALF_WORDS, word + HALF_WORDS, word < HALF_WORDS);
}

// cos in the first column, sin with its sign in the second, for the elements of a word:
// rotated = own * cos + partner * sin.
fn rope_turn(position: u32, word: u32) -> mat2x4<f32> {
  let pair = 4u * min(word, rope_partner(word));
  let a = rope_angle(position, pair);
  let b = rope_angle(position, pair + 1u);
  let c = rope_angle(position, pair + 2u);
  let d = rope_angle(position, pair + 3u);
  let side = select(1.0, -1.0, word < HALF_WORDS);
  return mat2x4<f32>(
    vec4<f32>(a.x, b.x, c.x, d.x),
    vec4<f32>(a.y, b.y, c.y, d.y) * side,
  );
}
