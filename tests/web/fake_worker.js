/**
 * Stands in for worker.js in tests of the page alone: it speaks the same messages and
 * plays the scene that a file's name or a prompt's text asks for. The type check holds it
 * to the messages.
 *
 * @import {
 *   Answer, ErrorMessage, Fit, GenerateDone, GenerateMessage, LoadMessage, LoadOptions,
 *   PreflightMessage, Request, Sampling, TokenMessage, VerifyMessage,
 * } from '../../web/engine/messages.js'
 *
 * @typedef {(channel: TokenMessage['channel'], text: string, more?: Partial<TokenMessage>) => void} Token
 */

/** @type {Record<string, [string, string, string, string, string]>} */

const ERRORS = {
  'damaged.gguf': ['FileFormatError', 'damaged.gguf is truncated', '1,024 bytes', '1,203,482,112 bytes, as its header says', 'Download the file again.'],
  'llama.gguf': ['UnsupportedArchitectureError', 'llama.gguf is a model of another family', 'architecture llama', 'architecture gemma4', 'Choose a Gemma 4 model.'],
  'huge.gguf': ['DeviceLimitError', 'The model does not fit', '18.2 GB', 'at most 8.0 GB', 'Choose a smaller model.'],
  'crowded.gguf': ['DeviceLimitError', 'The model does not fit', '18.2 GB', 'at most 8.0 GB', 'Use a context of 4,096 tokens or fewer.'],
  'lost': ['DeviceLostError', 'The graphics device was lost', 'reason unknown', '', 'Load the model again.'],
  'full': ['ContextFullError', 'The conversation no longer fits', '4,210 tokens', 'at most 4,096', 'Start a new chat.'],
  'fill': ['ContextFullError', 'The conversation is longer than the context', 'more than 1,000 tokens', 'at most 1,000', 'Start a new chat.'],
  'nan': ['NumberError', 'the model’s numbers are not finite', 'NaN in the logits after 3 tokens', 'finite numbers', 'Check the file for damage; if there is none, choose another quantisation, or load it with keys and values as f32.'],
  'unspoken': ['ChatFormatError', 'this model brings no chat format that can be used', 'neither template nor tokens of turns', '', 'The model can still continue a text as it stands.'],
  'refuse': ['RequestError', 'The message cannot be served', '', '', 'Write it in another way.'],
};
/** @type {Record<string, Sampling>} what files recommend */
const SAMPLING = { 'warm.gguf': { temperature: 0.65, top_k: 20 } };
/** @type {Record<string, string[]>} what was ignored in files */
const NOTES = { 'warm.gguf': ['The metadata key general.sampling.min_p is ignored: found <b>.'] };
const MARKDOWN = `A **facet** is one flat face of a cut stone. Three cuts, compared:

| Cut | Facets | Best for |
|:--|--:|:--|
| Brilliant | 57 | diamonds |
| Emerald | 49 | beryl |
| Rose | 24 | old jewels |

1. Choose the *rough*.
2. Find its cleavage:
   - look along the grain,
   - mark the girdle.

The critical angle follows from the refractive index, \`asin(1 / n)\`:

\`\`\`python
from math import asin, degrees

def critical_angle(n: float) -> float:
    return degrees(asin(1 / n))
\`\`\`

> Light that meets a facet beyond that angle comes back.

See [the tables](https://example.com/tables).`;
const HOSTILE = `<img src="https://evil.example/a.png" onerror="window.pwned=1"><script>window.pwned=1</script>
![pixel](https://evil.example/pixel.png) [click](javascript:window.pwned=1) <style>body{display:none}</style>
<iframe src="https://evil.example"></iframe> <a href="https://evil.example" style="position:fixed">x</a>`;

const SOFTWARE = false; // what the adapter is
/** @type {Set<number>} */
const stopped = new Set();
/** @type {Set<number>} */
const loads = new Set();
/** @type {{predicted?: number, reached?: number}} once the adapter was measured */
let predicted = {};
let held = false; // whether a model is loaded
let soonWas = false; // whether soon.gguf was
/** @param {number} ms */
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** @param {Answer} message */
function post(message) {
  self.postMessage(message);
}

onmessage = (/** @type {MessageEvent<Request>} */ { data }) => {
  if (data.kind === 'stop') stop(data.id);
  if (data.kind === 'load') load(data);
  if (data.kind === 'adapter') post({ id: data.id, kind: 'done', adapter: { name: 'a fake', is_software: SOFTWARE } });
  if (data.kind === 'verify') verify(data);
  if (data.kind === 'preflight') preflight(data);
  if (data.kind === 'generate') generate(data);
};
post({
  id: 0, kind: 'progress', stage: 'runtime', done: 1, total: 1, text: 'ready', sampling: {
    temperature: 1, top_k: 64, top_p: 0.95, min_p: 0, repetition_penalty: 1, repeat_last_n: 64,
    presence_penalty: 0, frequency_penalty: 0,
  },
});

/**
 * A reply ends by itself; a load that is taken back says nothing but that.
 *
 * @param {number} id
 */
function stop(id) {
  stopped.add(id);
  if (loads.has(id)) post({ id, kind: 'done', reason: 'stopped' });
}

/** @param {LoadMessage} message */
async function load({ id, files, urls, options }) {
  const name = files?.[0].name ?? urls?.[0].replace(/.*\//, '') ?? '';
  loads.add(id);
  if (options.measured?.['a fake']) predicted = { predicted: 50, reached: 0.84 };
  const total = 3_203_482_112;
  /** @type {(done: number, stage?: string, text?: string) => void} */
  const show = (done, stage = 'weights', text = 'Reading the weights') =>
    post({ id, kind: 'progress', stage, done, total, text });
  post({ id, kind: 'progress', stage: 'tokenizer', done: 0, total: 1, text: 'Preparing the tokenizer', fit: fit(options) });
  show(0);
  if (isRefused(name, options)) return fail(id, name, name === 'crowded.gguf' ? 4096 : 0);
  if (name === 'crash.gguf') return setTimeout(() => { throw new Error('out of bounds'); });
  await pause(name === 'slow.gguf' ? 600 : 250); // a speed is told after 200
  if (stopped.has(id)) return null;
  if (name.startsWith('tight') && held) {
    held = false;
    show(0, 'room', 'Making room');
  }
  show(1_203_482_112);
  if (name === 'tight-huge.gguf') return fail(id, 'huge.gguf');
  if (['slow.gguf', 'tight.gguf'].includes(name)) return null;
  // Once it was loaded it only begins to be, for whoever takes that back.
  if (soonWas && name === 'soon.gguf') return null;
  if (name === 'soon.gguf') await pause(1500);
  if (stopped.has(id)) return null;
  loads.delete(id);
  held = true;
  soonWas ||= name === 'soon.gguf';
  post({ id, kind: 'done', sampling: SAMPLING[name] ?? {}, info: {
    name: urls ? (name.startsWith('sha256') ? 'SmolLM2' : 'A small demo') : 'Gemma 4 26B-A4B', architecture: 'gemma4', n_parameters: 25_800_000_000,
    weight_bytes: total, kv_bytes: 314_000_000, kv: options.kv ?? 'f16', n_ctx: options.n_ctx ?? 8192,
    n_ctx_train: 262_144, n_layers: 30, dim: 2816, n_vocab: 262_144, n_experts: 128, n_experts_used: 8,
    host_bytes: 0, mode: 'resident', format: '', thinks: true, tools: true, kernels: '',
    adapter: 'a fake', backend: 'WebGPU', notes: NOTES[name] ?? [],
  } });
  return null;
}

/**
 * One has no room for more than 4,096 tokens.
 *
 * @param {string} name
 * @param {LoadOptions} options
 */
function isRefused(name, { n_ctx = 8192 }) {
  return name in ERRORS && (name !== 'crowded.gguf' || n_ctx > 4096);
}

/**
 * @param {LoadOptions} options
 * @returns {Fit}
 */
function fit({ n_ctx = 8192 }) {
  return {
    mode: 'host-embeddings', n_ctx, kv: 'f16', total_bytes: 3_300_000_000, weight_bytes: 2_970_000_000,
    host_bytes: 2_310_000_000, kv_bytes: n_ctx * 20_000, table_bytes: 9_000_000, scratch_bytes: 60_000_000,
    n_dispatches: 300, step_bytes: 2_900_000_000, verdict: 'It fits, as far as a browser can tell.',
  };
}

/** @param {PreflightMessage} message */
async function preflight({ id, files, urls, options }) {
  const name = files?.[0].name ?? urls?.[0].replace(/.*\//, '') ?? '';
  loads.add(id);
  post({ id, kind: 'progress', stage: 'measure', done: 0, total: 1, text: 'Measuring this device' });
  await pause(100);
  if (stopped.has(id) || name === 'slow.gguf') return;
  if (isRefused(name, options)) return fail(id, name, name === 'crowded.gguf' ? 4096 : 0);
  loads.delete(id);
  post({ id, kind: 'done', preflight: {
    name: 'Gemma 4 E4B', n_bytes: 5_300_000_000, n_ctx_train: 65_536, adapter: 'a fake', fit: fit(options),
    prediction: { tokens_per_second: 60, memory_seconds: 0.01, dispatch_seconds: 0.001, ...(files ? { load_seconds: 12.3 } : {}) },
    measured: { copy_bytes_per_second: 3e11, dispatch_seconds: 5e-6, submit_seconds: 2e-4 },
    ...(options.tokens_per_second ? { reached: options.tokens_per_second / 60 } : {}),
  } });
}

/**
 * The name's last digit says how it goes: 0 is intact, 1 damaged, 2 takes long, 3 crashes.
 *
 * @param {VerifyMessage} message
 */
async function verify({ id, files = [], name }) {
  const blob = files[0].name;
  const total = 3_203_482_112;
  loads.add(id);
  post({ id, kind: 'progress', stage: 'verify', done: total / 4, total, text: 'Computing the SHA-256' });
  await pause(100);
  if (blob.endsWith('2') || stopped.has(id)) return;
  if (blob.endsWith('3')) return setTimeout(() => { throw new Error('out of bounds'); });
  loads.delete(id);
  if (blob.endsWith('0')) return post({ id, kind: 'done', n_bytes: total, seconds: 0.1, bytes_per_second: total * 10 });
  post({
    id, kind: 'error', type: 'FileFormatError', what: `the blob ${blob} is damaged`,
    found: 'SHA-256 0123', expected: `SHA-256 ${blob.slice(7)}`, remedy: `Delete this file: ${name}`,
    kept: held, fatal: false,
  });
}

/** @param {GenerateMessage} message */
async function generate({ id, messages, think, raw, sampling, stop: stops, max_tokens, begun = [] }) {
  const prompt = messages[messages.length - 1].content;
  /** @type {Token} */
  const token = (channel, text, more) =>
    post({ id, kind: 'token', channel, text, ids: [7], tokens_per_second: 42, ...more });
  await pause(60);
  if (ERRORS[prompt] && !raw) return fail(id, prompt);
  const { length } = JSON.stringify(messages);
  // A context of 1,000 tokens, of which each character is one.
  if (prompt.startsWith('fill') && length > 1000) return fail(id, 'fill', 0, { n_tokens: length, n_most: 1000 });
  let n = 0;
  for (const done of prompt === 'long' ? [0, 512, 1024] : []) {
    post({ id, kind: 'progress', stage: 'prompt', done, total: 2048, text: 'Reading the message' });
    await pause(400);
  }
  if (prompt === 'wait') await pause(60_000);
  if (prompt.startsWith('endless')) {
    while (!stopped.has(id)) {
      token(prompt === 'endless thought' ? 'thinking' : 'content', `word${n++} `);
      if (n % 12 === 0) token('content', '\n\n');
      await pause(15);
    }
    return done(id, 'stopped', n);
  }
  if (prompt === 'nothing') return done(id, 'stop', 0);
  if (prompt === 'calls') return calls(id, token);
  if (prompt.startsWith('break')) return breakOff(id, token, begun.length, prompt);
  if (think) for (const word of 'They ask about cutting. I should compare the cuts.'.split(/(?<= )/)) token('thinking', word);
  const echo = JSON.stringify({ messages, think, sampling, stop: stops, max_tokens });
  const more = begun.length ? ' It goes on.' : '';
  /** @type {Record<string, string>} */
  const scenes = { markdown: MARKDOWN, hostile: HOSTILE, echo };
  const text = (scenes[prompt] ?? 'A short reply.') + more;
  for (const piece of text.match(/[^]{1,9}/g) ?? []) {
    token('content', piece);
    n += 1;
  }
  // An engine that ended early says no more than this.
  if (prompt === 'bare') return post({ id, kind: 'done', reason: 'stopped' });
  return done(id, prompt === 'cut' && !more ? 'length' : 'stop', n);
}

/**
 * Thoughts, calls and text in turns; one call's number is longer than JavaScript's.
 *
 * @param {number} id
 * @param {Token} token
 */
function calls(id, token) {
  /** @type {(name: string, args: string) => void} */
  const call = (name, args) => token('tool', `{\n  "name": "${name}",\n  "arguments": ${args}\n}`, { name, args });
  token('thinking', 'First look.');
  call('look', '{"id": 12345678901234567890}');
  token('content', 'Looked.');
  token('thinking', 'Then weigh.');
  call('weigh', '{}');
  done(id, 'stop', 5);
}

/**
 * The device is lost in the middle of a reply: once, or each time.
 *
 * @param {number} id
 * @param {Token} token
 * @param {number} n_begun
 * @param {string} prompt
 */
function breakOff(id, token, n_begun, prompt) {
  const goesOn = n_begun && prompt === 'break';
  const words = ['One ', 'two ', 'three', ...goesOn ? [' four.'] : []];
  token('content', words.slice(0, n_begun).join(''), { ids: [] });
  for (const word of words.slice(n_begun)) token('content', word);
  return goesOn ? done(id, 'stop', 1) : fail(id, 'lost');
}

/**
 * @param {number} id
 * @param {GenerateDone['reason']} reason
 * @param {number} n tokens
 */
function done(id, reason, n) {
  post({
    id, kind: 'done', reason, n_prompt: 1234, n_reused: 1200, n_generated: n, prefill_seconds: 0.5,
    decode_seconds: (n - 1) / 42, prefill_tokens_per_second: 68, tokens_per_second: n > 1 ? 42 : 0,
    tells_speed: n >= 8, n_keys: 1234 + Math.floor(n / 2), n_dispatches: 283, weight_bytes: 2_900_000_000, kv_bytes_read: 31_000_000,
    bytes_per_second: 42 * 2_931_000_000, ids: Array(n).fill(7), ...predicted,
  });
}

/**
 * @param {number} id
 * @param {string} key
 * @param {number} n_ctx
 * @param {Partial<ErrorMessage>} more
 */
function fail(id, key, n_ctx = 0, more = {}) {
  loads.delete(id);
  const [type, what, found, expected, remedy] = ERRORS[key];
  const fatal = type === 'DeviceLostError';
  if (fatal) held = false;
  post({ id, kind: 'error', type, what, found, expected, remedy, kept: held, fatal, n_ctx, ...more });
}
