/** The panel that tells about the loaded model. */

import { element, fact } from '../shared/dom.js';
import { bytes, count, short } from '../shared/format.js';
import { compare, devices, keepDevice, keepPrediction, speedOf } from './speed.js';

const tokens = (n) => `${count(n)} tokens`;

const WHERE = {
  resident: 'all on the graphics processor',
  'host-embeddings': 'embeddings of the layers in the file',
};

/** How each fact is shown; what the engine tells besides is listed after these. */
const ROWS = {
  name: ['Name', String],
  architecture: ['Architecture', String],
  format: ['Chat format', String],
  n_parameters: ['Parameters', short],
  weight_bytes: ['Weights', bytes],
  host_bytes: ['Left in the file', bytes],
  kv_bytes: ['KV cache', bytes],
  kv: ['KV cache type', String],
  mode: ['Where it is', (mode) => WHERE[mode] ?? mode],
  n_ctx: ['Context', tokens],
  n_ctx_train: ['Longest context', tokens],
  n_vocab: ['Vocabulary', tokens],
  n_layers: ['Layers', count],
  dim: ['Width', count],
  n_experts: ['Experts', count],
  top_k: ['Experts per token', count],
  adapter: ['Graphics adapter', String],
  backend: ['Runs on', String],
  kernels: ['Kernels', String],
};

/**
 * Fill the list with what the engine told about the model.
 *
 * @param {HTMLElement} list a `dl`
 * @param {Record<string, unknown>} info `Engine.info`
 * @param {import('./files.js').Source} source
 */
export function showInfo(list, info, source) {
  const rows = [fact('File', `${source.file}, ${bytes(source.size)}`)];
  const known = Object.keys(ROWS).filter((key) => shown(info[key]));
  const other = Object.keys(info).filter((key) => !(key in ROWS) && shown(info[key]));
  for (const key of known) rows.push(fact(ROWS[key][0], ROWS[key][1](info[key])));
  for (const key of other) rows.push(fact(title(key), plain(key, info[key])));
  const notes = [...(source.notes ?? []), ...(info.notes ?? [])];
  for (const note of notes) rows.push(fact('Note', note));
  list.replaceChildren(...rows);
}

/**
 * Tell first how fast the last reply was and how fast it could have been. An adapter that was
 * never measured is measured now, if the engine has nothing else to do.
 *
 * @param {HTMLElement} list
 * @param {Record<string, unknown>} info
 * @param {ReturnType<import('../engine/client.js').createEngine>} engine
 * @param {boolean} isIdle
 */
export async function showSpeed(list, info, engine, isIdle) {
  const speed = speedOf(info) ?? {};
  const line = fact('Speed', compare(speed));
  const value = line.lastElementChild;
  if (value.textContent) list.prepend(line);
  if (speed.predicted || !isIdle) return;
  list.prepend(line);
  value.append(element('span', 'detail', ' measuring this device …'));
  const options = { measured: devices(), n_keys: speed.n_keys };
  const { preflight } = await engine.preflight({}, options, { isQuiet: true }).result
    .catch(() => ({}));
  if (preflight) {
    keepDevice(preflight);
    speed.predicted = preflight.prediction.tokens_per_second;
    keepPrediction(info, speed.predicted);
  }
  value.textContent = compare(speed);
  line.hidden = !value.textContent;
}

function shown(value) {
  return ['string', 'number'].includes(typeof value) && value !== '' && value !== 0;
}

function plain(key, value) {
  if (typeof value === 'string') return value;
  return key.endsWith('bytes') ? bytes(value) : count(value);
}

function title(key) {
  const words = key.replace(/^n_/, '').replaceAll('_', ' ');
  return words[0].toUpperCase() + words.slice(1);
}
