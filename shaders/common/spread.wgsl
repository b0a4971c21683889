// spread - where in workgroup memory four elements of a row lie, so that threads which read
// chunks of it side by side (common/halves.wgsl) meet in few banks.
//
// Such chunks begin 4, 8 or 16 words of four apart. 32 banks hold eight words of four: eight
// neighbours would meet in one or two of these, four or eight deep, and are two deep at most
// with the place within eight turned by the number of the sixteen.
const SPREAD: u32 = 8u;  // room is a multiple of this

fn spread(i: u32) -> u32 {
  return i ^ (i / 16u % SPREAD);
}
