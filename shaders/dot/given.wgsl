// given - stands for a matrix whose products are known: the weight is their vector.
alias Word = f32;

fn rows_dot(rows: vec4<u32>, x_begin: u32, dim_in: u32, lane: u32) -> vec4<f32> {
  let values = vec4<f32>(weight[rows.x], weight[rows.y], weight[rows.z], weight[rows.w]);
  return select(vec4<f32>(0.0), values, lane == 0u);
}
