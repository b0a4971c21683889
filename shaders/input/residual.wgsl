// residual - the input of rows_dot from the residual stream: a branch is added, then normed.
//
//   total = (x + rms(more) * vectors[branch_norm + d]) * vectors[layer_scale]
//   x4    = rms(total) * vectors[norm + d]
//
// Each part is optional. Every workgroup makes all of it for itself; the first one writes
// `total`, which others read later. Needs dim_in = DIM, a multiple of four, and
// WG threads; norms and scales are in units of four elements of `vectors`.
override DIM: u32 = 256u;
override WG: u32 = 64u;
override HAS_BRANCH: bool = true;
override HAS_BRANCH_NORM: bool = true;
override HAS_SCALE: bool = true;
override HAS_NORM: bool = true;

var<workgroup> input: array<vec4<f32>, (DIM / 4u + SPREAD - 1u) / SPREAD * SPREAD>;

//#include "common/finite.wgsl"
//#include "common/reduce.wgsl"
//#include "common/spread.wgsl"

// The factor of a root-mean-square norm, from each thread's sum of squares.
fn norm_factor(thread: u32, squares: f32) -> f32 {
  return rms_factor(workgroup_sum(thread, squares) / f32(DIM), params.eps);
}

fn make_input(thread: u32, is_first: bool) {
  // A thread reads back only what it wrote itself, until the last barrier.
  var branch_factor = 1.0;
  if (HAS_BRANCH && HAS_BRANCH_NORM) {
    var squares = 0.0;
    for (var i = thread; i < DIM / 4u; i += WG) {
      let four = more[i];
      input[spread(i)] = four;
      squares += dot(four, four);
    }
    branch_factor = norm_factor(thread, squares);
  }
  var scale = 1.0;
  if (HAS_SCALE) {
    scale = vectors[params.layer_scale].x;
  }
  var squares = 0.0;
  for (var i = thread; i < DIM / 4u; i += WG) {
    var four = x[i];
    if (HAS_BRANCH && HAS_BRANCH_NORM) {
      four = (four + input[spread(i)] * branch_factor * vectors[params.branch_norm + i]) * scale;
    } else if (HAS_BRANCH) {
      four = (four + more[i]) * scale;
    }
    input[spread(i)] = four;
    squares += dot(four, four);
    if (is_first && HAS_BRANCH) {
      total[i] = four;
    }
  }
  if (HAS_NORM) {
    let factor = norm_factor(thread, squares);
    for (var i = thread; i < DIM / 4u; i += WG) {
      input[spread(i)] = input[spread(i)] * factor * vectors[params.norm + i];
    }
  }
  workgroupBarrier();
}

fn x4(i: u32) -> vec4<f32> {
  return input[spread(i / 4u)];
}
