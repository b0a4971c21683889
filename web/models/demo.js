/**
 * The demonstration model: where it is, what the page says of it and what it offers to
 * ask. Its skills, and the phrases they were trained on, are in demo/.
 *
 * @import { Profile } from '../settings/settings.js'
 * @import { Source } from './files.js'
 *
 * @typedef {Source & {card: string|null}} Demo `card` is the address of its card
 */

import { button, element, find } from '../shared/dom.js';
import { bytes } from '../shared/format.js';
import { renderMarkdown } from '../chat/markdown.js';

/** Each is asked in its turns, one after the other; the label is what the page shows. */
export const EXAMPLES = [
  { turns: ['What is 47 + 38?'] },
  { turns: ['What is the capital of France?'] },
  { turns: ['Reverse the word "stone".'] },
  { turns: ['Tell me a story about a dragon.'] },
  {
    label: 'My name is Clara … What is my name?',
    turns: ['My name is Clara.', 'What colour is grass?', 'What is my name?'],
  },
];

const ABOUT = 'Lapidary’s small demonstration model, trained from scratch on a synthetic '
  + 'corpus. It knows a few simple skills; for a real assistant choose a model of your own.';

/**
 * It is small and learned rules: the likeliest token is the right one.
 *
 * @type {Profile}
 */
const PROFILE = {
  key: 'lapidary.settings.demo',
  defaults: { temperature: 0 },
  note: 'These are the demonstration model’s own settings. Unless you change them it takes '
    + 'the likeliest token each time; your own models have theirs.',
  context: null,
  fixedContext: true,
};

/**
 * Find the model that came with the page.
 *
 * @returns {Promise<Demo|null>} null when the bundle holds none
 */
export async function findDemo() {
  const manifest = await fetch('manifest.json')
    .then((response) => response.json())
    .catch(() => ({}));
  if (!manifest.model) return null;
  const { url, card, size } = manifest.model;
  /** @param {string} path */
  const absolute = (path) => new URL(path, document.baseURI).href;
  return {
    name: 'The demonstration model',
    size,
    file: url.split('/').at(-1),
    urls: [absolute(url)],
    card: card ? absolute(card) : null,
    profile: PROFILE,
    checkable: false,
  };
}

/**
 * Show what can be asked of a model.
 *
 * @param {{turns: string[], label?: string}[]} examples
 * @param {(turns: string[]) => void} onExample called with what an example says
 */
export function showExamples(examples, onExample) {
  const items = examples.map(({ turns, label = turns[0] }) => {
    const item = element('li');
    item.append(button(label, 'chip', () => onExample(turns)));
    return item;
  });
  find('examples').replaceChildren(...items);
}

/**
 * Show what the demonstration model is.
 *
 * @param {() => void} onLoad called when a person asks for the model
 */
export function createDemo(onLoad) {
  /** @type {Demo|null} */
  let source = null;

  /** @param {Demo} found */
  function offer(found) {
    source = found;
    find('demo-about').textContent = ABOUT;
    find('read-card').hidden = !source.card;
    find('load-demo').addEventListener('click', onLoad);
    for (const id of ['read-card', 'info-card']) find(id).addEventListener('click', showCard);
  }

  /**
   * @param {''|'loading'|'ready'} status
   * @param {string} name the model's own, when it is loaded
   */
  function show(status, name) {
    find('demo').hidden = !source;
    if (!source) return;
    find('demo').dataset.now = status;
    find('demo-status').textContent = status;
    find('demo-name').textContent = name || source.name;
    find('load-demo').hidden = status !== '';
    find('load-demo').textContent = `Load it (${bytes(source.size)})`;
  }

  /**
   * Tell in the panel about the loaded model whether it is this one.
   *
   * @param {Source} loaded
   */
  function showAbout(loaded) {
    const about = find('info-about');
    about.hidden = !source || loaded !== source;
    if (about.hidden) return;
    find('info-about-text').textContent = ABOUT;
    find('info-card').hidden = !source?.card;
  }

  async function showCard() {
    const address = source?.card;
    if (!address) return;
    find('info', HTMLDialogElement).close();
    find('card', HTMLDialogElement).showModal();
    const text = await fetch(address)
      .then((response) => (response.ok ? response.text() : Promise.reject(response)))
      .catch(() => 'The card cannot be read just now.');
    // Its first line is its title, which the panel has.
    renderMarkdown(find('card-text'), unwrap(text.replace(/^# .*\n/, '')));
    Object.assign(find('card-source'), { href: address, hidden: false });
  }

  return { offer, show, showAbout };
}

/**
 * Join the lines of paragraphs and list items, which replies would break, and lift the
 * headings, of which the first was taken away.
 *
 * @param {string} markdown
 */
function unwrap(markdown) {
  const parts = markdown.replace(/^#(?=#+ )/gm, '').split(/(^```[^]*?^```)/m);
  /** @param {string} text */
  const join = (text) => text.replace(/([^\n])\n(?![\n|#>]|\s*- |\s*\d+\. )[ \t]*/g, '$1 ');
  return parts.map((part, i) => (i % 2 ? part : join(part))).join('');
}
