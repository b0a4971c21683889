// element_f16 - four weights of a tile in half the workgroup memory, rounded.
// needs shader-f16
//
// A weight is off by 2^-11 of itself, or by 2^-14 where it is so small that f16 flushes it.
// Only weights are: elements of x may be beyond what f16 holds.
alias TileWord = vec4<f16>;
