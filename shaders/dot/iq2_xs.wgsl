// IQ2_XS word by word, as other kernels read it.
alias Word = u32;

//#include "quant/iq2_xs.wgsl"
//#include "common/sixteen.wgsl"
//#include "common/chunk_16.wgsl"
//#include "common/groups.wgsl"
//#include "common/rows_dot.wgsl"
