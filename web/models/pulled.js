/**
 * Real models that were pulled to this machine, and those that can be: what each is, under
 * which terms, and how fast it may be.
 *
 * @typedef {object} Pulled as /pulled/models.json has it
 * @property {string} name
 * @property {string} title
 * @property {string} about
 * @property {string} licence
 * @property {string} parameters
 * @property {string} quantization
 * @property {number} size
 * @property {{blob: string}[]|null} weights null where it is not here
 * @property {boolean} converses else it continues texts
 * @property {object} sampling the model's own sampling options
 * @property {string} pull the command that fetches it
 */

import { button, element, find } from '../shared/dom.js';
import { bytes, rate } from '../shared/format.js';
import { isLocal, profile } from './ollama.js';

/** What can be asked of a small assistant; each is said in its turns. */
export const EXAMPLES = [
  { turns: ['What is the capital of France?'] },
  { turns: ['Explain to a child why the sky is blue.'] },
  { turns: ['Write a short poem about the sea.'] },
  { turns: ['Give me three ideas for a rainy Sunday.'] },
];

/** @returns {Promise<Pulled[]>} what `build.py serve` offers; nothing on other hosts */
export async function findPulled() {
  if (!isLocal()) return [];
  const answer = await fetch('pulled/models.json').catch(() => null);
  return answer?.ok ? (await answer.json()).models : [];
}

/**
 * Show these models, each with its card.
 *
 * @param {(source: import('./files.js').Source) => void} onLoad a person asks for one
 */
export function createPulled(onLoad) {
  /** @type {Map<import('./files.js').Source, HTMLElement>} the card of each */
  const cards = new Map();
  /** @type {import('./files.js').Source|null} the first that converses */
  let first = null;

  /** @param {Pulled[]} models */
  function offer(models) {
    const [here, absent] = [true, false].map((is) => models.filter((m) => is === Boolean(m.weights)));
    find('pulled-models').replaceChildren(...here.map(card));
    find('pulled-models').hidden = here.length === 0;
    find('more-list').replaceChildren(...absent.map(absence));
    find('more-models').hidden = absent.length === 0;
  }

  function card(line) {
    const source = sourceOf(line);
    const facts = [line.licence, `${line.parameters} parameters`, line.quantization];
    const node = element('li', 'demo');
    const head = element('p', 'demo-head');
    head.append(element('span', 'dot'), element('strong', '', line.title), element('span', 'figures'));
    const actions = element('p', 'demo-actions');
    actions.append(button(`Load it (${bytes(line.size)})`, 'link', () => onLoad(source)));
    node.append(head, element('p', '', line.about), element('p', 'help facts-line', facts.join(' · ')), actions);
    cards.set(source, node);
    if (line.converses) first ??= source;
    return node;
  }

  /**
   * @param {(source: import('./files.js').Source) => ''|'loading'|'ready'} statusOf
   */
  function show(statusOf) {
    for (const [source, card] of cards) {
      const status = statusOf(source);
      card.dataset.now = status;
      card.querySelector('.demo-head .figures').textContent = status;
      card.querySelector('button').hidden = status !== '';
    }
  }

  /** Tell how fast one may be on this adapter. */
  function showSpeed(source, tokensPerSecond) {
    const line = cards.get(source).querySelector('.facts-line');
    line.append(` · at most ${rate(tokensPerSecond)} on this adapter`);
  }

  return {
    offer,
    show,
    showSpeed,
    holds: (source) => cards.has(source),
    first: () => first,
  };
}

/** Say how a model that is not here can be fetched. */
function absence({ title, about, licence, pull, size }) {
  const node = element('li');
  const how = element('p', '', `${bytes(size)}, ${licence}. To fetch it: `);
  how.append(element('code', '', pull));
  node.append(element('p', 'model-title', title), element('p', '', about), how);
  return node;
}

/** @param {Pulled} line */
function sourceOf({ name, title, size, weights, sampling }) {
  const [{ blob }] = weights;
  return {
    name: title,
    size,
    file: blob,
    urls: [new URL(`pulled/blobs/${blob}`, document.baseURI).href],
    profile: profile({ name: title, sampling }),
    checkable: true,
    pull: name,
  };
}
