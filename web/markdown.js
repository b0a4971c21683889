/**
 * Markdown of untrusted text to safe DOM, block by block, so that a streaming reply
 * re-renders only the block that grows.
 */

import { Marked } from './vendor/marked.esm.js';
import DOMPurify from './vendor/purify.es.mjs';

const TAGS = [
  'a', 'blockquote', 'br', 'code', 'del', 'em', 'h1', 'h2', 'h3', 'h4', 'h5', 'h6', 'hr',
  'input', 'li', 'ol', 'p', 'pre', 'strong', 'table', 'tbody', 'td', 'th', 'thead', 'tr',
  'ul',
];
const ATTRIBUTES = ['align', 'checked', 'class', 'disabled', 'href', 'start', 'title', 'type'];
const LINKS = /^(?:https?|mailto):/i;

const marked = new Marked({
  gfm: true,
  breaks: true,
  renderer: {
    // A reply's own HTML is shown as text, and its images as links: the page fetches
    // nothing that a model names.
    html: ({ text }) => escape(text),
    image: ({ href, text }) => `<a href="${escape(href)}">${escape(text || href)}</a>`,
  },
});

const purify = DOMPurify(window);
purify.addHook('afterSanitizeAttributes', (node) => {
  if (node.tagName === 'A') sealLink(node);
  if (node.tagName === 'INPUT') sealCheckbox(node);
});

/**
 * Render Markdown into an element, keeping the blocks that have not changed.
 *
 * @param {HTMLElement} root the element; it belongs to this function alone
 * @param {string} text the whole text so far
 */
export function renderMarkdown(root, text) {
  const tokens = marked.lexer(text).filter((token) => token.type !== 'space');
  tokens.forEach((token, i) => {
    const old = root.children[i];
    if (old?.source === token.raw) return;
    const block = renderBlock(token);
    if (old) old.replaceWith(block);
    else root.append(block);
  });
  while (root.children.length > tokens.length) root.lastElementChild.remove();
}

function renderBlock(token) {
  const block = document.createElement('div');
  block.className = 'block';
  block.source = token.raw;
  const html = marked.parser([token]);
  block.append(purify.sanitize(html, {
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

/** Give a code block its language and a button that copies it. */
function frameCode(pre) {
  const frame = document.createElement('div');
  frame.className = 'code';
  const head = document.createElement('div');
  head.className = 'code-head';
  const language = document.createElement('span');
  language.textContent = /language-([\w+#.-]+)/.exec(pre.firstElementChild?.className)?.[1] ?? 'text';
  head.append(language, copyButton('Copy code', () => pre.textContent));
  pre.tabIndex = 0;
  pre.setAttribute('role', 'region');
  pre.setAttribute('aria-label', `Code, ${language.textContent}`);
  pre.replaceWith(frame);
  frame.append(head, pre);
}

/** Let a wide table scroll by itself, by keyboard too. */
function frameTable(table) {
  const frame = document.createElement('div');
  frame.className = 'table';
  frame.tabIndex = 0;
  frame.setAttribute('role', 'region');
  frame.setAttribute('aria-label', 'Table');
  table.replaceWith(frame);
  frame.append(table);
}

/** Make a button that copies what `text` returns and says so for a moment. */
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

function sealLink(link) {
  if (!LINKS.test(link.getAttribute('href') ?? '')) link.removeAttribute('href');
  link.setAttribute('target', '_blank');
  link.setAttribute('rel', 'noopener noreferrer nofollow');
}

function sealCheckbox(input) {
  if (input.getAttribute('type') !== 'checkbox') return input.remove();
  input.setAttribute('disabled', '');
  input.setAttribute('aria-label', input.hasAttribute('checked') ? 'Done' : 'Not done');
}

function escape(text) {
  const entities = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
  return text.replace(/[&<>"']/g, (character) => entities[character]);
}
