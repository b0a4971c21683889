// plain - the input of rows_dot as it lies in the binding `x`, of any length.
//
// Every input gives x4(i), its elements i to i + 3; i is a multiple of four past the
// beginning of a row. A kernel that gets x alone binds it as array<X>.
alias X = f32;

fn x4(i: u32) -> vec4<f32> {
  return vec4<f32>(x[i], x[i + 1u], x[i + 2u], x[i + 3u]);
}
