/**
 * Real models that were pulled to this machine, and those that can be: what each is, under
 * which terms, and how fast it may be.
 *
 * @import { Sampling } from '../engine/messages.js'
 * @import { Source } from './files.js'
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
 * @property {Sampling} sampling the model's own sampling options
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
 * @typedef {{node: HTMLElement, status: HTMLElement, facts: HTMLElement, load: HTMLElement}} Card
 */

/**
 * Show these models, each with its card.
 *
 * @param {(source: Source) => void} onLoad a person asks for one
 */
export function createPulled(onLoad) {
  /** @type {Map<Source, Card>} */
  const cards = new Map();
  /** @type {Source|null} the first that converses */
  let first = null;

  /** @param {Pulled[]} models */
  function offer(models) {
    const here = models.filter(({ weights }) => weights);
    const absent = models.filter(({ weights }) => !weights);
    find('pulled-models').replaceChildren(...here.map(card));
    find('pulled-models').hidden = here.length === 0;
    find('more-list').replaceChildren(...absent.map(absence));
    find('more-models').hidden = absent.length === 0;
  }

  /** @param {Pulled} line */
  function card(line) {
    const source = sourceOf(line);
    const facts = [line.licence, `${line.parameters} parameters`, line.quantization];
    const node = element('li', 'demo');
    const head = element('p', 'demo-head');
    const status = element('span', 'figures');
    head.append(element('span', 'dot'), element('strong', '', line.title), status);
    const row = element('p', 'help facts-line', facts.join(' · '));
    const load = button(`Load it (${bytes(line.size)})`, 'link', () => onLoad(source));
    const actions = element('p', 'demo-actions');
    actions.append(load);
    node.append(head, element('p', '', line.about), row, actions);
    cards.set(source, { node, status, facts: row, load });
    if (line.converses) first ??= source;
    return node;
  }

  /**
   * @param {(source: Source) => ''|'loading'|'ready'} statusOf
   */
  function show(statusOf) {
    for (const [source, { node, status, load }] of cards) {
      const now = statusOf(source);
      node.dataset.now = now;
      status.textContent = now;
      load.hidden = now !== '';
    }
  }

  /**
   * Tell how fast one may be on this adapter.
   *
   * @param {Source} source
   * @param {number} tokensPerSecond
   */
  function showSpeed(source, tokensPerSecond) {
    cards.get(source)?.facts.append(` · at most ${rate(tokensPerSecond)} on this adapter`);
  }

  return {
    offer,
    show,
    showSpeed,
    /** @param {Source|null} source */
    holds: (source) => source !== null && cards.has(source),
    first: () => first,
  };
}

/**
 * Say how a model that is not here can be fetched.
 *
 * @param {Pulled} line
 */
function absence({ title, about, licence, pull, size }) {
  const node = element('li');
  const how = element('p', '', `${bytes(size)}, ${licence}. To fetch it: `);
  how.append(element('code', '', pull));
  node.append(element('p', 'model-title', title), element('p', '', about), how);
  return node;
}

/**
 * @param {Pulled} line one that is here
 * @returns {Source}
 */
function sourceOf({ name, title, size, weights, sampling }) {
  const blob = weights?.[0].blob ?? '';
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
