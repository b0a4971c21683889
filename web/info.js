/** The panel that tells about the loaded model. */

import { bytes, count, short } from './format.js';
import { element } from './problems.js';

const tokens = (n) => `${count(n)} tokens`;

/** How each fact is shown; what the engine tells besides is listed after these. */
const ROWS = {
  name: ['Name', String],
  architecture: ['Architecture', String],
  n_parameters: ['Parameters', short],
  weight_bytes: ['Weights', bytes],
  kv_bytes: ['KV cache', bytes],
  kv: ['KV cache type', String],
  n_ctx: ['Context', tokens],
  n_ctx_train: ['Longest context', tokens],
  n_vocab: ['Vocabulary', tokens],
  n_layers: ['Layers', count],
  dim: ['Width', count],
  n_experts: ['Experts', count],
  top_k: ['Experts per token', count],
  adapter: ['Graphics adapter', String],
  backend: ['Runs on', String],
};

/**
 * Fill the list with what the engine told about the model.
 *
 * @param {HTMLElement} list a `dl`
 * @param {Record<string, unknown>} info `Engine.info`
 * @param {import('./load.js').Source} source
 */
export function showInfo(list, info, source) {
  const rows = [row('File', `${source.file}, ${bytes(source.size)}`)];
  const known = Object.keys(ROWS).filter((key) => shown(info[key]));
  const other = Object.keys(info).filter((key) => !(key in ROWS) && shown(info[key]));
  for (const key of known) rows.push(row(ROWS[key][0], ROWS[key][1](info[key])));
  for (const key of other) rows.push(row(title(key), plain(key, info[key])));
  list.replaceChildren(...rows);
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

function row(name, value) {
  const node = element('div');
  node.append(element('dt', '', name), element('dd', '', value));
  return node;
}
