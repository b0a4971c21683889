/**
 * Markdown of untrusted text to safe DOM. Of a reply that grows, only what is new is made
 * anew: a row of its table, an item of its list, a line of its code.
 */

import { createBlocks } from './blocks.js';
import { createGrammar, LINKS } from './grammar.js';
import { Marked } from '../vendor/marked.esm.js';
import DOMPurify from '../vendor/purify.es.mjs';

/** @typedef {import('./blocks.js').Block} Block */

const TAGS = [
  'a', 'blockquote', 'br', 'code', 'del', 'em', 'h3', 'h4', 'h5', 'h6', 'hr', 'input', 'li',
  'ol', 'p', 'pre', 'span', 'strong', 'table', 'tbody', 'td', 'th', 'thead', 'tr', 'ul',
];
const ATTRIBUTES = ['align', 'checked', 'class', 'disabled', 'href', 'start', 'title', 'type'];
/** What holds the parts of a block of which more may come. */
/** @type {Record<string, string>} */
const HOLDERS = { list: 'ul, ol', table: 'tbody', blockquote: 'blockquote', code: 'code' };
const MAX_LABEL = 80; // characters

const grammar = createGrammar(Marked);
const purify = DOMPurify(window);
purify.addHook('afterSanitizeAttributes', (node) => {
  if (node.tagName === 'A') sealLink(node);
  if (node.tagName === 'INPUT') sealCheckbox(node);
});

/**
 * @typedef {object} Shown a block on the page
 * @property {Block} block
 * @property {HTMLElement} root what it stands in, with those that go on with it
 * @property {ChildNode[]} parts its own in there, where there may be others'
 */

/** @typedef {{blocks: ReturnType<typeof createBlocks>, shown: Shown[]}} State of an element */

/** @type {WeakMap<HTMLElement, State>} */
const rendered = new WeakMap();
/** @type {WeakMap<Element, string>} */
const names = new WeakMap(); // of regions, without numbers

/**
 * Render Markdown into an element, keeping what has not changed.
 *
 * @param {HTMLElement} root the element; it belongs to this function alone
 * @param {string} text the whole text so far
 */
export function renderMarkdown(root, text) {
  const { blocks, shown } = stateOf(root);
  const wanted = blocks.update(text);
  let isNew = false;
  wanted.forEach((block, i) => {
    if (shown[i]?.block === block) return;
    if (shown[i] && canReplace(shown, i, block)) return replace(shown, i, block);
    truncate(shown, i);
    shown.push(append(root, block, shown.at(-1)));
    isNew ||= !block.joins;
  });
  truncate(shown, wanted.length);
  if (isNew) nameRegions();
}

/**
 * @param {HTMLElement} root
 * @returns {State}
 */
function stateOf(root) {
  const state = rendered.get(root) ?? { blocks: createBlocks(grammar), shown: [] };
  rendered.set(root, state);
  return state;
}

/**
 * Remove a block and those after it.
 *
 * @param {Shown[]} shown
 * @param {number} from
 */
function truncate(shown, from) {
  for (const { block, root, parts } of shown.splice(from)) {
    if (block.joins) parts.forEach((part) => part.remove());
    else root.remove();
  }
}

/**
 * Say whether a block may take the place of the one there and leave those after it.
 *
 * @param {Shown[]} shown
 * @param {number} i
 * @param {Block} block
 */
function canReplace(shown, i, block) {
  const { block: old } = shown[i];
  return shown.length > i + 1 && old.joins === block.joins && old.token.type === block.token.type;
}

/**
 * @param {Shown[]} shown
 * @param {number} i
 * @param {Block} block
 */
function replace(shown, i, block) {
  const { root, parts } = shown[i];
  const made = renderBlock(block);
  const fresh = partsOf(made, block);
  if (block.joins) {
    parts[0].before(...fresh);
    parts.forEach((part) => part.remove());
    shown[i] = { block, root, parts: fresh };
    return;
  }
  // What goes on with it moves over.
  for (let next = i + 1; shown[next]?.block.joins; next += 1) {
    holder(made, block).append(...shown[next].parts);
    shown[next].root = made;
  }
  root.replaceWith(made);
  shown[i] = { block, root: made, parts: fresh };
}

/**
 * @param {HTMLElement} root
 * @param {Block} block
 * @param {Shown|undefined} before
 * @returns {Shown}
 */
function append(root, block, before) {
  const made = renderBlock(block);
  const parts = partsOf(made, block);
  const home = block.joins && before ? before.root : made;
  if (home === made) root.append(made);
  else holder(home, block).append(...parts);
  return { block, root: home, parts };
}

/**
 * What holds the parts; where the page lets none through, the block itself.
 *
 * @param {HTMLElement} root
 * @param {Block} block
 */
const holder = (root, { token }) => root.querySelector(HOLDERS[token.type]) ?? root;

/**
 * @param {HTMLElement} root
 * @param {Block} block
 */
function partsOf(root, block) {
  return block.token.type in HOLDERS ? [...holder(root, block).childNodes] : [];
}

/** @param {Block} block */
function renderBlock({ token }) {
  const block = document.createElement('div');
  block.className = 'block';
  block.append(purify.sanitize(grammar.html([token]), {
    ALLOWED_TAGS: TAGS,
    ALLOWED_ATTR: ATTRIBUTES,
    ALLOW_DATA_ATTR: false,
    ALLOW_ARIA_ATTR: false,
    RETURN_DOM_FRAGMENT: true,
  }));
  for (const pre of block.querySelectorAll('pre')) frameCode(pre);
  for (const table of block.querySelectorAll('table')) frameTable(table);
  return block;
}

/**
 * Give a code block its language and a button that copies it.
 *
 * @param {HTMLElement} pre
 */
function frameCode(pre) {
  const frame = document.createElement('div');
  frame.className = 'code';
  const head = document.createElement('div');
  head.className = 'code-head';
  const language = document.createElement('span');
  language.textContent = /language-([\w+#.-]+)/.exec(pre.firstElementChild?.className ?? '')?.[1] ?? 'text';
  head.append(language, copyButton('Copy code', () => pre.textContent));
  makeRegion(pre, `Code, ${language.textContent}`);
  pre.replaceWith(frame);
  frame.append(head, pre);
}

/**
 * Let a wide table scroll by itself, by keyboard too.
 *
 * @param {HTMLElement} table
 */
function frameTable(table) {
  const frame = document.createElement('div');
  frame.className = 'table';
  const header = [...table.querySelectorAll('th')].map((cell) => cell.textContent.trim());
  const names = header.filter(Boolean).join(', ');
  makeRegion(frame, names ? `Table: ${names}` : 'Table');
  table.replaceWith(frame);
  frame.append(table);
}

/**
 * @param {HTMLElement} node
 * @param {string} label
 */
function makeRegion(node, label) {
  node.tabIndex = 0;
  node.setAttribute('role', 'region');
  const name = label.length > MAX_LABEL ? `${label.slice(0, MAX_LABEL)}…` : label;
  names.set(node, name);
  node.setAttribute('aria-label', name);
}

/** Number the regions that would have the same name. */
function nameRegions() {
  const seen = new Map();
  for (const node of document.querySelectorAll('.prose [role="region"]')) {
    const name = names.get(node) ?? '';
    const n = (seen.get(name) ?? 0) + 1;
    seen.set(name, n);
    node.setAttribute('aria-label', n > 1 ? `${name}, ${n}` : name);
  }
}

/**
 * Make a button that copies what `text` returns and says so for a moment.
 *
 * @param {string} label
 * @param {() => string} text
 */
export function copyButton(label, text) {
  const button = document.createElement('button');
  button.type = 'button';
  button.className = 'copy';
  button.textContent = 'Copy';
  button.setAttribute('aria-label', label);
  button.addEventListener('click', async () => {
    const done = await navigator.clipboard.writeText(text()).then(() => true, () => false);
    button.textContent = done ? 'Copied' : 'Not allowed';
    setTimeout(() => { button.textContent = 'Copy'; }, 1500);
  });
  return button;
}

/** @param {Element} link */
function sealLink(link) {
  if (!LINKS.test(link.getAttribute('href') ?? '')) link.removeAttribute('href');
  link.setAttribute('target', '_blank');
  link.setAttribute('rel', 'noopener noreferrer nofollow');
}

/** @param {Element} input */
function sealCheckbox(input) {
  if (input.getAttribute('type') !== 'checkbox') return input.remove();
  input.setAttribute('disabled', '');
  input.setAttribute('aria-label', input.hasAttribute('checked') ? 'Done' : 'Not done');
}
