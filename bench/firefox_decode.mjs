/**
 * Decode in Firefox with several numbers of tokens per submit; a line of JSON for each.
 *
 *   node firefox_decode.mjs FIREFOX URL MODEL QUESTIONS BATCHES
 *
 * The page's own worker is driven by messages, without the page. The batch 0 is what the
 * engine chooses.
 */

import { withFirefox } from '../tools/firefox.mjs';

const [executablePath, site, model, questions, batches] = process.argv.slice(2);

await withFirefox(executablePath, async (page) => {
  await page.goto(new URL('style.css', site).href); // the page's origin without its scripts
  for (const batch of JSON.parse(batches)) {
    const replies = await page.evaluate(decode, model, JSON.parse(questions), batch);
    console.log(JSON.stringify({ batch, replies }));
  }
});

/** Runs in the page: load the model in a worker, warm up, and answer the questions. */
async function decode(model, questions, batch) {
  const worker = new Worker('/engine/worker.js', { type: 'module' });
  const wait = [];
  worker.addEventListener('message', ({ data }) => {
    // An error with the id 0 is the worker's own, and ends what is asked.
    const error = () => new Error(JSON.stringify(data));
    if (data.kind === 'error') (wait[data.id] ?? wait.at(-1)).reject(error());
    if (data.kind === 'done') wait[data.id].resolve(data);
  });
  const ask = (message) => new Promise((resolve, reject) => {
    const id = wait.push({ resolve, reject }) - 1;
    worker.postMessage({ id, ...message });
  });
  const generate = (content) => ask({
    kind: 'generate', messages: [{ role: 'user', content }], sampling: { temperature: 0 },
  });
  wait.push(null); // id 0 is the worker's own
  await ask({ kind: 'load', urls: [`/models/${model}`], options: { batch } });
  await generate(questions[0]);
  const replies = [];
  for (const question of questions) replies.push(await generate(question));
  worker.terminate();
  return replies;
}
