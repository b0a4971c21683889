// halves - chunks of 32 elements of formats that pack two halves of 16 into 16 bytes.
//
// A row is SPAN first halves, then the SPAN second ones, again and again: so a load of 16
// bytes has the low nibbles of one half, and the high nibbles of the other. The format
// gives SPAN, and includes halves_f32 or halves_{precision}, which give `chunk_x` and, of what
// is not scaled yet, `bytes_dots` and `signed_dots`.
const CHUNK: u32 = 32u;

// Where the first half of chunk i begins in its row.
fn first_half(i: u32) -> u32 {
  return 16u * (2u * SPAN * (i / SPAN) + i % SPAN);
}

fn low_nibbles(words: vec4<u32>) -> vec4<u32> {
  return words & vec4<u32>(0x0f0f0f0fu);
}

fn high_nibbles(words: vec4<u32>) -> vec4<u32> {
  return (words >> vec4<u32>(4u)) & vec4<u32>(0x0f0f0f0fu);
}

// Bytes less an offset, as signed bytes: so that weights near zero lose nothing to a
// difference of sums. A byte and 128 - offset are less than 256 together.
fn less_offset(words: vec4<u32>, offset: u32) -> vec4<u32> {
  let raised = words + vec4<u32>((128u - offset) * 0x01010101u);
  return raised ^ vec4<u32>(0x80808080u);
}
