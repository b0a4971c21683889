// KV cache elements as f16 of the shader's own: the bytes and the values of kv_f16.
// needs shader-f16
alias KvWord = vec4<f16>;

//#include "common/f16_range.wgsl"

fn kv_pack(values: vec4<f32>) -> KvWord {
  return KvWord(f16_or_nan(values));
}

fn kv_unpack(word: KvWord) -> vec4<f32> {
  return vec4<f32>(word);
}
