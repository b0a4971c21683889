// The state of a decode loop, which lives on the GPU. The host writes it before a chunk
// of a prompt; `sample` advances it after every token.
struct State {
  position: u32,            // of the first token of this pass
  token: u32,               // the last one sampled
  n_sampled: u32,           // since the request began; counts the draws
  seed: u32,
  temperature: f32,         // 0: greedy
  top_k: u32,               // 0: off
  top_p: f32,               // 1: off
  min_p: f32,               // 0: off
  repetition_penalty: f32,  // 1: off
  n_candidates: u32,        // of the last draw: for tests and for people who look
  ended: u32,               // 1 after a stop token: no step advances anything any more
  presence_penalty: f32,    // 0: off
  frequency_penalty: f32,   // 0: off
  window: u32,              // the last tokens that penalties count; 0: no penalties
  n_recent: u32,            // tokens that have entered the window
  reserved: u32,
}
