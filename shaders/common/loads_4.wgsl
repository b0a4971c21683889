// loads_4 - words of a weight whose blocks begin anywhere, bound word by word.
alias Word = u32;

fn n_words() -> u32 {
  return arrayLength(&weight);
}

fn word_at(i: u32) -> u32 {
  return weight[i];
}

fn four_words(i: u32) -> vec4<u32> {
  return vec4<u32>(weight[i], weight[i + 1u], weight[i + 2u], weight[i + 3u]);
}
