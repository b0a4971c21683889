// none - stands for a matrix that is absent: its products are zero.
alias Word = u32;

fn rows_dot(rows: vec4<u32>, x_begin: u32, dim_in: u32, lane: u32) -> vec4<f32> {
  return vec4<f32>(0.0);
}
