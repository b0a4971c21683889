/**
 * Stands in for worker.js in tests of the page alone: it speaks the same messages and
 * plays the scene that a file's name or a prompt's text asks for.
 */

const ERRORS = {
  'damaged.gguf': ['FileFormatError', 'damaged.gguf is truncated', '1,024 bytes', '1,203,482,112 bytes, as its header says', 'Download the file again.'],
  'llama.gguf': ['UnsupportedArchitectureError', 'llama.gguf is a model of another family', 'architecture llama', 'architecture gemma4', 'Choose a Gemma 4 model.'],
  'huge.gguf': ['DeviceLimitError', 'The model does not fit', '18.2 GB', 'at most 8.0 GB', 'Choose a smaller model.'],
  'lost': ['DeviceLostError', 'The graphics device was lost', 'reason unknown', '', 'Load the model again.'],
  'full': ['ContextFullError', 'The conversation no longer fits', '4,210 tokens', 'at most 4,096', 'Start a new chat.'],
  'refuse': ['RequestError', 'The message cannot be served', '', '', 'Write it in another way.'],
};
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

const stopped = new Set();
const loads = new Set();
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

self.onmessage = ({ data }) => {
  if (data.kind === 'stop') stop(data.id);
  if (data.kind === 'load') load(data);
  if (data.kind === 'generate') generate(data);
};
self.postMessage({ id: 0, kind: 'progress', stage: 'runtime', done: 1, total: 1, text: 'ready' });

/** A reply ends by itself; a load that is taken back says nothing but that. */
function stop(id) {
  stopped.add(id);
  if (loads.has(id)) self.postMessage({ id, kind: 'done', reason: 'stopped' });
}

async function load({ id, files, urls, options }) {
  const name = files ? files[0].name : urls[0].split('/').at(-1);
  loads.add(id);
  const total = 3_203_482_112;
  const show = (done, stage = 'weights', text = 'Reading the weights') =>
    self.postMessage({ id, kind: 'progress', stage, done, total, text });
  show(0);
  if (ERRORS[name]) return fail(id, name);
  if (name === 'crash.gguf') return setTimeout(() => { throw new Error('out of bounds'); });
  await pause(250);
  if (stopped.has(id)) return null;
  show(1_203_482_112);
  if (name === 'slow.gguf') return null;
  if (name === 'soon.gguf') await pause(1500);
  if (stopped.has(id)) return null;
  loads.delete(id);
  self.postMessage({ id, kind: 'done', info: {
    name: urls ? 'A small demo' : 'Gemma 4 26B-A4B', architecture: 'gemma4', n_parameters: 25_800_000_000,
    weight_bytes: total, kv_bytes: 314_000_000, kv: 'f16', n_ctx: options.n_ctx ?? 8192,
    n_ctx_train: 262_144, n_layers: 30, dim: 2816, n_vocab: 262_144, n_experts: 128, top_k: 8,
    adapter: 'a fake', backend: 'WebGPU',
  } });
  return null;
}

async function generate({ id, messages, think, sampling, max_tokens }) {
  const prompt = messages.at(-1).content;
  const token = (channel, text) => self.postMessage({ id, kind: 'token', channel, text });
  await pause(60);
  if (ERRORS[prompt]) return fail(id, prompt);
  let n = 0;
  if (prompt === 'wait') await pause(60_000);
  if (prompt.startsWith('endless')) {
    while (!stopped.has(id)) {
      token(prompt === 'endless thought' ? 'thinking' : 'content', `word${n++} `);
      if (n % 12 === 0) token('content', '\n\n');
      await pause(15);
    }
    return done(id, 'stopped', n);
  }
  if (think) for (const word of 'They ask about cutting. I should compare the cuts.'.split(/(?<= )/)) token('thinking', word);
  const echo = JSON.stringify({ messages, think, sampling, max_tokens });
  const text = { markdown: MARKDOWN, hostile: HOSTILE, echo }[prompt] ?? 'A short reply.';
  for (const piece of text.match(/[^]{1,9}/g)) {
    token('content', piece);
    n += 1;
  }
  return done(id, prompt === 'cut' ? 'length' : 'stop', n);
}

function done(id, reason, n) {
  self.postMessage({
    id, kind: 'done', reason, n_prompt: 12, n_generated: n, prefill_seconds: 0.06,
    decode_seconds: (n - 1) / 42, ids: Array(n).fill(7),
  });
}

function fail(id, key) {
  loads.delete(id);
  const [type, what, found, expected, remedy] = ERRORS[key];
  self.postMessage({ id, kind: 'error', type, what, found, expected, remedy });
}
