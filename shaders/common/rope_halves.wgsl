// rope_halves - element i of a head turns with element i + HEAD_DIM / 2.
//
// Every file of the slot gives: rope_partner, the word whose elements turn with those of
// a word; rope_swap, that word with each element in its partner's place; and rope_turn,
// so that rotated = own * turn[0] + rope_swap(partner) * turn[1].
const HALF_WORDS: u32 = WORDS / 2u;  // what lies between the two elements of a pair

fn rope_partner(word: u32) -> u32 {
  return select(word - HALF_WORDS, word + HALF_WORDS, word < HALF_WORDS);
}

fn rope_swap(partner: vec4<f32>) -> vec4<f32> {
  return partner;
}

// cos in the first column, sin with its sign in the second, for the elements of a word.
fn rope_turn(position: u32, word: u32) -> mat2x4<f32> {
  let pair = 4u * min(word, rope_partner(word));
  let a = rope_angle(position, pair);
  let b = rope_angle(position, pair + 1u);
  let c = rope_angle(position, pair + 2u);
  let d = rope_angle(position, pair + 3u);
  let side = select(1.0, -1.0, word < HALF_WORDS);
  return mat2x4<f32>(
    vec4<f32>(a.x, b.x, c.x, d.x),
    vec4<f32>(a.y, b.y, c.y, d.y) * side,
  );
}
