// plain - the input of row_dot as it lies in the binding `x`.
//
// Every input gives x4(i), its elements i to i + 3; i is a multiple of four past the
// beginning of a row.
fn x4(i: u32) -> vec4<f32> {
  return vec4<f32>(x[i], x[i + 1u], x[i + 2u], x[i + 3u]);
}
