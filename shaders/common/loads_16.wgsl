// loads_16 - words of a weight that is bound as loads of 16 bytes.
alias Word = vec4<u32>;

fn n_words() -> u32 {
  return 4u * arrayLength(&weight);
}

fn word_at(i: u32) -> u32 {
  return weight[i / 4u][i % 4u];
}
