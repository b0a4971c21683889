// rope_angle - (cos, sin) of position * theta for one rotated pair, from exact tables.
//
// The host makes the tables in float64 for the positions 0 .. fine-1 and for the
// multiples of `fine`; the angles are added by the addition theorem. So no argument is
// ever reduced in f32, and tables for 262,144 positions stay under 2 MB.
// Needs the binding `rope: array<vec2<f32>>`, [fine + coarse, n_pairs] of (cos, sin).
fn rope_angle(position: u32, pair: u32, n_pairs: u32, fine: u32) -> vec2<f32> {
  let low = rope[(position % fine) * n_pairs + pair];
  let high = rope[(fine + position / fine) * n_pairs + pair];
  return vec2<f32>(low.x * high.x - low.y * high.y, low.y * high.x + low.x * high.y);
}
