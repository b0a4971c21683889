// vector - the input of rows_dot as it lies in the binding `x`, four elements at a time.
alias X = vec4<f32>;

fn make_input(thread: u32, is_first: bool) {}

fn x4(i: u32) -> vec4<f32> {
  return x[i / 4u];
}
