// KV cache elements as f32: four to a KvWord.
alias KvWord = vec4<u32>;

fn kv_pack(values: vec4<f32>) -> KvWord {
  return bitcast<vec4<u32>>(values);
}

fn kv_unpack(word: KvWord) -> vec4<f32> {
  return bitcast<vec4<f32>>(word);
}
