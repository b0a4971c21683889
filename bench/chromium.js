/**
 * Runs in the page: our own engine's worker and wllama, each driven by one call.
 *
 * `ours.load/play` and `theirs.load/play` return plain objects, as bench/play.py prints.
 */

(() => {
  const wait = new Map();
  let worker = null;
  let last = 0; // id 0 is the worker's own

  const ask = (message) => new Promise((resolve, reject) => {
    last += 1;
    wait.set(last, { resolve, reject });
    worker.postMessage({ id: last, ...message });
  });

  const heard = ({ data }) => {
    if (data.kind === 'error') {
      const { what, found } = data;
      // The runtime's own errors answer no request: everything that waits ends.
      const ended = data.id ? [data.id] : [...wait.keys()];
      ended.forEach((id) => wait.get(id)?.reject(new Error(`${what}: ${found}`)));
    }
    if (data.kind === 'done') wait.get(data.id)?.resolve(data);
  };

  const generate = (text, n) => ask({
    kind: 'generate',
    messages: [{ role: 'user', content: text }],
    sampling: { temperature: 0 },
    max_tokens: n,
    ignore_eos: true,
  });

  const ours = {
    async load(urls, n_ctx) {
      worker = new Worker('/engine/worker.js', { type: 'module' });
      worker.addEventListener('message', heard);
      const { info } = await ask({ kind: 'load', urls, options: { n_ctx } });
      const { preflight } = await ask({ kind: 'preflight', options: {} });
      return { ran_on: `${info.adapter}, ${info.backend}`, ...preflight.measured };
    },

    async play(text, n) {
      await generate('-', 1); // else the prompt's keys and values are still there
      const end = await generate(text, n);
      return {
        ids: end.ids,
        n_prompt: end.n_prompt - end.n_reused,
        prefill_seconds: end.prefill_seconds,
        decode_seconds: end.decode_seconds,
        weight_bytes: end.weight_bytes,
        kv_bytes: end.kv_bytes_read,
      };
    },
  };

  let peer = null;
  const said = [];
  const keep = (...words) => said.push(words.join(' '));

  const theirs = {
    async load(urls, n_ctx) {
      const { Wllama } = await import('/wllama/index.js');
      peer = new Wllama(
        { default: new URL('/wllama/wasm/wllama.wasm', location.href).href },
        { logger: { debug: keep, log: keep, warn: keep, error: keep } },
      );
      const blobs = await Promise.all(urls.map(async (url) => (await fetch(url)).blob()));
      await peer.loadModel(blobs, {
        n_ctx, n_threads: navigator.hardwareConcurrency, n_parallel: 1, log_level: 1,
      });
      const offloaded = said.filter((line) => /offloaded \d+\/\d+ layers/.test(line)).at(-1);
      const [, n = '0', all = '?'] = offloaded?.match(/offloaded (\d+)\/(\d+)/) ?? [];
      const where = n === '0' ? 'CPU' : `WebGPU for ${n} of ${all} layers`;
      return {
        ran_on: `${where}, ${peer.getNumThreads()} threads`,
        said: said.filter((line) => /webgpu|using device/i.test(line)).slice(0, 8),
      };
    },

    // Ids come with probabilities alone, which take time: they are asked for apart.
    async play(rendered, n, with_ids) {
      const { choices, timings } = await peer.createCompletion({
        prompt: peer.mustAddBosToken() ? rendered.replace(/^<bos>/, '') : rendered,
        max_tokens: n,
        temperature: 0,
        ignore_eos: true,
        cache_prompt: false,
        ...(with_ids && { logprobs: 1 }),
      });
      return {
        ids: choices[0].logprobs?.content?.map(({ id }) => id) ?? [],
        n_prompt: timings.prompt_n,
        n_generated: timings.predicted_n,
        prefill_seconds: timings.prompt_ms / 1000,
        decode_seconds: timings.predicted_ms / 1000,
      };
    },
  };

  globalThis.bench = { ours, theirs };
})();
