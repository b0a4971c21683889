/**
 * The panel that tells about the loaded model.
 *
 * @import { Engine } from '../engine/client.js'
 * @import { Info } from '../engine/messages.js'
 * @import { Source } from './files.js'
 * @import { Speed } from './speed.js'
 */

import { element, fact } from '../shared/dom.js';
import { bytes, count, short } from '../shared/format.js';
import { compare, devices, keepDevice, keepPrediction, speedOf } from './speed.js';

/** @param {number} n */
const tokens = (n) => `${count(n)} tokens`;

/** @type {Record<Info['mode'], string>} */
const WHERE = {
  resident: 'all on the graphics processor',
  'host-embeddings': 'embeddings of the layers in the file',
};

/**
 * How each fact is shown; what the engine tells besides is listed after these.
 *
 * @typedef {{[K in keyof Info]?: [string, (value: Info[K]) => string]}} Rows
 */
/** @type {Rows} */
const ROWS = {
  name: ['Name', String],
  architecture: ['Architecture', String],
  format: ['Chat format', String],
  n_parameters: ['Parameters', short],
  weight_bytes: ['Weights', bytes],
  host_bytes: ['Left in the file', bytes],
  kv_bytes: ['KV cache', bytes],
  kv: ['KV cache type', String],
  mode: ['Where it is', (mode) => WHERE[mode]],
  n_ctx: ['Context', tokens],
  n_ctx_train: ['Longest context', tokens],
  n_vocab: ['Vocabulary', tokens],
  n_layers: ['Layers', count],
  dim: ['Width', count],
  n_experts: ['Experts', count],
  n_experts_used: ['Experts per token', count],
  adapter: ['Graphics adapter', String],
  backend: ['Runs on', String],
  kernels: ['Kernels', String],
};

/**
 * Fill the list with what the engine told about the model.
 *
 * @param {HTMLElement} list a `dl`
 * @param {Info} info
 * @param {Source} source
 */
export function showInfo(list, info, source) {
  const rows = [fact('File', `${source.file}, ${bytes(source.size)}`)];
  for (const key of keysOf(ROWS)) rows.push(...row(key, info));
  for (const key of keysOf(info)) if (!(key in ROWS)) rows.push(...plain(key, info[key]));
  const notes = [...source.notes ?? [], ...info.notes];
  for (const note of notes) rows.push(fact('Note', note));
  list.replaceChildren(...rows);
}

/**
 * Tell first how fast the last reply was and how fast it could have been. An adapter that was
 * never measured is measured now, if the engine has nothing else to do.
 *
 * @param {HTMLElement} list
 * @param {Info} info
 * @param {Engine} engine
 * @param {boolean} isIdle
 */
export async function showSpeed(list, info, engine, isIdle) {
  /** @type {Partial<Speed>} */
  const speed = speedOf(info) ?? {};
  const line = fact('Speed', compare(speed));
  const value = line.children[1];
  if (value.textContent) list.prepend(line);
  if (speed.predicted || !isIdle) return;
  list.prepend(line);
  value.append(element('span', 'detail', ' measuring this device …'));
  const { n_keys, measured } = speed;
  const options = { measured: devices(), n_keys, tokens_per_second: measured };
  const done = await engine.preflight({}, options, { isQuiet: true }).result.catch(() => null);
  if (done && 'preflight' in done) {
    const { preflight } = done;
    keepDevice(preflight);
    const found = { predicted: preflight.prediction?.tokens_per_second, reached: preflight.reached };
    keepPrediction(info, found);
    Object.assign(speed, found);
  }
  value.textContent = compare(speed);
  line.hidden = !value.textContent;
}

/** @type {<T extends object>(record: T) => (keyof T & string)[]} */
const keysOf = (record) => /** @type {(keyof typeof record & string)[]} */ (Object.keys(record));

/**
 * @template {keyof Info} K
 * @param {K} key
 * @param {Info} info
 */
function row(key, info) {
  const [name, write] = ROWS[key] ?? [];
  return name && write && info[key] ? [fact(name, write(info[key]))] : [];
}

/**
 * A fact that has no row of its own.
 *
 * @param {string} key
 * @param {unknown} value
 */
function plain(key, value) {
  if (!value) return [];
  if (typeof value === 'string') return [fact(title(key), value)];
  if (typeof value !== 'number') return [];
  return [fact(title(key), key.endsWith('bytes') ? bytes(value) : count(value))];
}

/** @param {string} key */
function title(key) {
  const words = key.replace(/^n_/, '').replaceAll('_', ' ');
  return words[0].toUpperCase() + words.slice(1);
}
