// rows_dot - one lane's shares of the dot products of four weight rows and a row of x.
//
//   rows_dot(rows, x_begin, dim_in, lane): `rows` are the rows' numbers, `x_begin` is where
//   their x begins.
//
// Lanes take chunks of CHUNK elements in turn; what a chunk needs of x is read once, for
// all four rows. A row's sum does not depend on the other rows.
//
// A format (dot/) gives CHUNK, BLOCK_SIZE, `chunk_x(x_begin, i)`, the chunk i of x, and
// `chunk_dot(row, i, x)`, its product with that of the row whose first block is `row`.
// Needs `override LANES`.
//#include "common/rows_{four}.wgsl"
