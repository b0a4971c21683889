// BF16 in rows that are no multiple of 16 bytes: element by element.
alias Word = u32;

//#include "quant/bf16.wgsl"
//#include "common/elements.wgsl"
//#include "common/rows_dot.wgsl"
