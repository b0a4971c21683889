// Play messages to the worker's Python without a browser: Pyodide and Dawn, in Node.
//
//   node worker_cases.mjs ROOT STORE > RESULTS
//
// STORE is the folder of an Ollama store.
//
// The last line of RESULTS is a JSON object: what went wrong in each case, by its name,
// empty where nothing did.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { openAsBlob, readdirSync } from 'node:fs';
import { join, relative } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, faults } from '../support/message_types.mjs';
import { loadPage } from '../support/page_on_dawn.mjs';

const [root, store] = process.argv.slice(2);
const web = join(root, 'web');
const blob = await openAsBlob(join(root, 'tests/golden/models/dense-q4_k_m.gguf'));
const { loadPyodide } = await import(
  pathToFileURL(join(web, 'node_modules/pyodide/pyodide.mjs'))
);
const pyodide = await loadPyodide({ stdout: console.error, stderr: console.error });
pyodide.mountNodeFS('/lapidary', root);
// After loadPyodide, which takes a navigator for the sign of a browser.
pyodide.registerJsModule('lapidary_gpu', await loadPage(web));
pyodide.runPython(`
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, "/lapidary")
`);
pyodide._module.enable_pyproxy_allocation_tracing();

/**
 * GPU buffers that were made and not destroyed, but for those of read-backs: of these as
 * many are kept as were ever under way at once.
 */
const buffers = new Set();
const devices = [];
const { requestDevice } = GPUAdapter.prototype;
GPUAdapter.prototype.requestDevice = async function (...options) {
  const device = await requestDevice.apply(this, options);
  devices.push(device);
  const create = device.createBuffer.bind(device);
  device.createBuffer = (descriptor) => {
    const buffer = create(descriptor);
    if (descriptor.label !== 'staging') buffers.add(buffer);
    onDestroy(buffer, () => buffers.delete(buffer));
    return buffer;
  };
  onDestroy(device, () => buffers.clear()); // there is one device at a time
  return device;
};

function onDestroy(thing, action) {
  const destroy = thing.destroy.bind(thing);
  thing.destroy = () => {
    action();
    destroy();
  };
}

/** Everything that the worker has said. */
const said = [];
const waiting = new Set();
globalThis.postMessage = (message) => {
  said.push(message);
  for (const look of waiting) look();
};

/** Wait until the worker has said something of which `test` holds, and return it. */
function hear(test) {
  return new Promise((resolve) => {
    const look = () => {
      const found = said.find(test);
      if (!found) return;
      waiting.delete(look);
      resolve(found);
    };
    waiting.add(look);
    look();
  });
}

const python = pyodide.pyimport('pyodide_app.browser.worker');
/** Every request, by its id. */
const asked = new Map();
let lastId = 0;

/** Send a message; return its id and how it ends. */
function send(kind, content) {
  const id = lastId += 1;
  const message = { id, kind, ...content };
  asked.set(id, message);
  python.handle(message);
  const ends = ({ id: of, kind: end }) => of === id && ['done', 'error'].includes(end);
  return { id, end: hear(ends) };
}

const options = { n_ctx: 256, kernels: 'baseline' };
const load = (how = options) =>
  send('load', { files: [new File([blob], 'dense.gguf')], options: how }).end;
const generate = (max_tokens = 8, content = 'Name a gem.', more = {}) => send('generate', {
  messages: [{ role: 'user', content }],
  sampling: { temperature: 0 },
  max_tokens,
  ...more,
});

async function loaded() {
  const { kind, info } = await load();
  assert.equal(kind, 'done');
  assert.ok(info.n_layers);
}

async function answer() {
  const done = await generate().end;
  assert.equal(done.kind, 'done', done.found);
  return done.ids;
}

/** What the worker holds; twice as much would be a leak. */
function held() {
  pyodide.runPython('import gc; gc.collect()');
  return { buffers: buffers.size, proxies: pyodide._module.pyproxy_alloc_map.size };
}

/** Let a function of the driver raise at its next call, with what Python says. */
function breakNext(place, name, error) {
  pyodide.runPython(`
import importlib
def _break(place, name):
    module, _, owner = place.partition(":")
    owner = getattr(importlib.import_module(module), owner)
    real = getattr(owner, name)
    def fails(*args, **kwargs):
        setattr(owner, name, real)
        raise ${error}
    setattr(owner, name, fails)
_break(${JSON.stringify(place)}, ${JSON.stringify(name)})
`);
}

/** The type of an answer: a request ends as its kind does, unless it is stopped. */
function typeOf({ id, kind, reason, ids }, ends) {
  if (kind === 'progress') return 'ProgressMessage';
  if (kind === 'token') return 'TokenMessage';
  if (kind === 'error') return 'ErrorMessage';
  return reason === 'stopped' && !ids ? 'StoppedDone' : ends[asked.get(id).kind].type;
}

/** A folder as a page has it after it was chosen. */
async function chosenFolder(folder) {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true });
  const places = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.path, entry.name));
  const files = places.map(async (place) => new File([await openAsBlob(place)], 'a blob'));
  const paths = places.map((place) => join('models', relative(folder, place)));
  return { files: await Promise.all(files), paths };
}

const cases = {
  async 'loads leave nothing behind'() {
    await loaded();
    const ids = await answer();
    const first = held();
    for (let i = 0; i < 2; i += 1) {
      await loaded(); // whose step is still being compiled when the next one begins
      await loaded();
      assert.deepEqual(await answer(), ids);
      assert.deepEqual(held(), first);
    }
  },

  async 'messages of all lengths leave nothing behind'() {
    await loaded();
    // None begins as another does: each takes a pass of a length of its own.
    const say = (n) => generate(1, `${n}${' gem'.repeat(n)}`).end;
    for (let n = 0; n < 10; n += 1) await say(n);
    const first = held();
    for (let n = 10; n < 14; n += 1) await say(n);
    assert.deepEqual(held(), first);
  },

  async 'a load that is taken back leaves nothing behind'() {
    await loaded();
    await answer();
    const first = held();
    for (const stage of ['kernels', 'tokenizer', 'weights', 'pipelines']) {
      const { id, end } = send('load', {
        files: [new File([blob], 'dense.gguf')], options: { ...options, keep: true },
      });
      await hear((message) => message.id === id && message.stage === stage);
      python.handle({ id, kind: 'stop' });
      const { kind, reason } = await end;
      assert.equal(kind, 'done');
      assert.equal(reason, 'stopped', stage);
      assert.deepEqual(held(), first, stage);
    }
    await answer();
  },

  async 'a fault of the driver keeps the model'() {
    await loaded();
    const ids = await answer();
    for (const [place, name] of [
      ['pyodide_app.text.chat.gemma4_parser:OutputParser', 'push'],
      ['pyodide_app.text.chat.gemma4_parser:OutputParser', 'finish'],
      ['pyodide_app.run.decoding:Queue', 'take'],
      ['pyodide_app.run.runner:Runner', '_reusable'],
      ['pyodide_app.browser.worker:Worker', '_predicted'],
    ]) {
      breakNext(place, name, 'KeyError("nobody thought of this")');
      const error = await generate().end;
      assert.equal(error.kind, 'error', name);
      assert.equal(error.type, 'InternalError', name);
      assert.match(error.found, /KeyError: .*nobody thought of this/);
      assert.ok(error.remedy);
      assert.equal(error.kept, true);
      assert.equal(error.fatal, false);
      assert.deepEqual(await answer(), ids, name);
    }
  },

  async 'a message that cannot be read is answered'() {
    await loaded();
    for (const messages of [7, [7], undefined]) {
      const error = await send('generate', { messages }).end;
      assert.equal(error.kind, 'error');
      assert.equal(error.kept, true);
    }
    await answer();
  },

  async 'a text is continued as it stands'() {
    await loaded();
    const messages = ['One, two, ', 'three, four, '].map((content) => ({ role: 'user', content }));
    messages[1].role = 'assistant'; // the same text, whoever wrote it
    const apart = await send('generate', { messages, raw: true, max_tokens: 8, sampling: { temperature: 0 } }).end;
    const whole = [{ role: 'user', content: 'One, two, three, four, ' }];
    const together = await send('generate', { messages: whole, raw: true, max_tokens: 8, sampling: { temperature: 0 } }).end;
    assert.equal(apart.n_prompt, together.n_prompt);
    assert.deepEqual(apart.ids, together.ids);
    const turns = await send('generate', { messages: whole, max_tokens: 1, sampling: { temperature: 0 } }).end;
    assert.ok(turns.n_prompt > together.n_prompt); // the markers of turns
    const error = await send('generate', { messages: [], raw: true }).end;
    assert.equal(error.type, 'RequestError');
  },

  async 'a fault of the GPU in a reply lets the model go'() {
    await loaded();
    breakNext('pyodide_app.run.decoding:Queue', 'take', '__import__("pyodide_app.errors").errors.DeviceError("the GPU refused it")');
    const error = await generate().end;
    assert.deepEqual([error.type, error.kept, error.fatal], ['DeviceError', false, true]);
    const { type } = await generate().end;
    assert.equal(type, 'RequestError'); // no model is loaded
    await loaded();
    await answer();
  },

  async 'a reply that was cut off goes on where it was heard last'() {
    await loaded();
    const whole = await generate(24).end;
    const running = generate(24);
    const isToken = ({ id, kind }) => id === running.id && kind === 'token';
    await hear(isToken);
    devices.at(-1).destroy();
    assert.equal((await running.end).type, 'DeviceLostError');
    const begun = said.filter(isToken).flatMap(({ ids }) => ids);
    assert.ok(begun.length > 0 && begun.length < 24);
    await loaded();
    const rest = generate(24 - begun.length, 'Name a gem.', { begun });
    assert.deepEqual([...begun, ...(await rest.end).ids], whole.ids);
    const textOf = (id) => said.filter((message) => message.id === id && message.kind === 'token')
      .map(({ text }) => text).join('');
    assert.equal(textOf(rest.id), textOf(whole.id));
  },

  async 'a file is looked at beside a reply'() {
    await loaded();
    const running = generate(200, 'Name a gem.', { ignore_eos: true });
    await hear((message) => message.id === running.id && message.kind === 'token');
    const look = (...file) => send('preflight', { files: [new File(...file)], options }).end;
    assert.equal((await look([new Blob(['Buy milk.'])], 'notes.txt')).kind, 'error');
    const { preflight } = await look([blob], 'dense.gguf');
    assert.ok(preflight.fit.total_bytes > 0);
    assert.equal(preflight.prediction, undefined); // a busy device is not measured
    assert.ok(!said.some(({ id, kind }) => id === running.id && kind === 'done'));
    python.handle({ id: running.id, kind: 'stop' });
    assert.equal((await running.end).reason, 'stopped');
  },

  async 'a lost device ends all that waits, and the next load opens another'() {
    await loaded();
    const ids = await answer();
    const first = held();
    const before = said.length;
    const running = generate(200);
    await hear((message) => message.id === running.id && message.kind === 'token');
    const queued = generate();
    devices.at(-1).destroy();
    const [{ type, kept, fatal }, { kind }] = await Promise.all([running.end, queued.end]);
    assert.deepEqual([type, kept, fatal], ['DeviceLostError', false, true]);
    assert.equal(kind, 'error');
    const told = said.slice(before).filter((message) => message.id === 0);
    assert.deepEqual(told.map((message) => message.type), ['DeviceLostError']);
    await loaded();
    assert.deepEqual(await answer(), ids);
    assert.deepEqual(held(), first);
  },

  async 'a browser that takes the adapter away is told apart from one without'() {
    await loaded();
    devices.at(-1).destroy();
    const { remedy } = await hear(({ id, kind, remedy: text }) => id === 0 && kind === 'error' && /lost before/.test(text));
    assert.match(remedy, /shorter context.*restart the browser/);
    const { requestAdapter } = navigator.gpu;
    const texts = new Set();
    try {
      Object.defineProperty(navigator.gpu, 'requestAdapter', { value: async () => null, configurable: true });
      for (const losses of [0, 1]) {
        python._worker._losses = losses;
        const error = await load();
        assert.deepEqual([error.type, error.kept], ['DeviceMissingError', false]);
        texts.add(error.what);
        assert.match(error.remedy, losses ? /start it again.*shorter context/ : /hardware acceleration/);
      }
    } finally {
      delete navigator.gpu.requestAdapter;
    }
    assert.equal(texts.size, 2);
    assert.equal(navigator.gpu.requestAdapter, requestAdapter);
    await loaded();
  },

  // The last one: it looks at what was said in the others, too.
  async 'every message has its type, and every field of it is told'() {
    await load({ n_ctx: 256 });
    python.tell_ready();
    const place = { files: [new File([blob], 'dense.gguf')], options };
    await send('preflight', place).end;
    await send('preflight', { options }).end; // of the loaded one
    await send('adapter', { options }).end;
    await generate(8).end;
    await generate(8, ' gem'.repeat(300)).end; // longer than the context
    const digest = createHash('sha256').update(new Uint8Array(await blob.arrayBuffer())).digest('hex');
    await send('verify', { files: [new File([blob], `sha256-${digest}`)] }).end;
    const listed = await send('list', { folder: await chosenFolder(store) }).end;
    pyodide.runPython(`
from pyodide_app.browser.messages import post_event
from pyodide_app.text.chat import ThinkingDelta, ToolCall
post_event(${lastId}, ThinkingDelta("Let me see."), [1], 0.0)
post_event(${lastId}, ToolCall("look", {"at": 1}), [2], 30.0)
`);
    const types = describe(web);
    const ends = types.Ends.fields;
    assert.deepEqual(faults(web, said.map((message) => [typeOf(message, ends), message])), []);
    const told = {};
    for (const message of said) {
      const fields = told[typeOf(message, ends)] ??= new Set();
      for (const [name, value] of Object.entries(message)) if (value !== undefined) fields.add(name);
    }
    for (const name of types.Answer.union) {
      assert.deepEqual([...told[name]].sort(), Object.keys(types[name].fields).sort(), name);
    }
    const lines = listed.store.models.flatMap(Object.keys);
    assert.deepEqual([...new Set(lines)].sort(), Object.keys(types.Line.fields).sort());
  },
};

const results = {};
for (const [name, play] of Object.entries(cases)) {
  results[name] = await play().then(() => '', (error) => error.stack);
}
process.stdout.write(`\n${JSON.stringify(results)}\n`, () => process.exit(0));
