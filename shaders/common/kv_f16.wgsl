// KV cache elements as f16, which needs no feature: four to a KvWord.
alias KvWord = vec2<u32>;

//#include "common/f16_range.wgsl"

fn kv_pack(values: vec4<f32>) -> KvWord {
  let halves = f16_or_nan(values);
  return vec2<u32>(pack2x16float(halves.xy), pack2x16float(halves.zw));
}

fn kv_unpack(word: KvWord) -> vec4<f32> {
  return vec4<f32>(unpack2x16float(word.x), unpack2x16float(word.y));
}
