/**
 * The blocks of a growing text: what cannot change any more is not read again.
 *
 * Behind the last boundary that no further text can move, the rest is read anew each
 * time. Such boundaries lie between blocks, and within the one that grows between a
 * list's items, a table's rows, the lines of code and the blocks of a quote: what follows
 * one is Markdown by itself, a list's rest again a list. It then *joins* the blocks before.
 *
 * @typedef {object} Block what stands between two boundaries
 * @property {string} raw its text
 * @property {Token} token what it is; a list may be a part of a list
 * @property {string} head what is read before it: a table's header, a fence
 * @property {boolean} joins whether it goes on with the block before
 * @property {boolean} loose whether its list is one with space between the items
 * @property {string[]} [labels] what of it may name a link, once that was asked for
 *
 * @typedef {Token[] & {links: Links}} Tokens
 *
 * @import { Links } from 'marked'
 * @import { Cut, Token } from './cuts.js'
 */

import { cutWithin, isFence, isSpace, lastSettled, sum } from './cuts.js';

/** Characters; what has no boundary in so many is cut at the end of a line or a word. */
const LONGEST = 10_000;
/** Characters of a text that came at once which are read at a time. */
const STEP = 5_000;

/**
 * Read a text that grows at its end.
 *
 * @param {ReturnType<import('./grammar.js').createGrammar>} grammar
 */
export function createBlocks({ lex }) {
  let text = '';
  let start = 0; // of what may still change
  let head = ''; // of the container that is cut there
  let joins = false;
  /** @type {Block[]} */
  let frozen = [];
  /** @type {Block[]} */
  let open = [];
  let group = 0; // the frozen block with which the last container begins
  /** @type {Links} */
  let links = {}; // that the frozen blocks define
  /** @type {Links} */
  let shownLinks = {};
  let lexed = 0;

  /**
   * Return the blocks of a text; those that are as they were are the same objects.
   *
   * @param {string} newText
   */
  function update(newText) {
    const whole = newText.includes('\r') ? newText.replace(/\r\n?/g, '\n') : newText;
    if (!whole.startsWith(text)) reset();
    while (text.length < whole.length) {
      text = whole.slice(0, stepEnd(whole, text.length));
      read();
    }
    return [...frozen, ...open];
  }

  function reset() {
    text = head = '';
    start = group = 0;
    joins = false;
    frozen = [];
    open = [];
    links = {};
    shownLinks = {};
  }

  function read() {
    let tokens = tail();
    while (freeze(tokens)) tokens = tail();
    keepOpen(tokens);
    if (open[0]?.joins) loosen(open[0]);
    relink(tokens.links);
  }

  const tail = () => count(head + text.slice(start), links);

  /**
   * @param {string} part
   * @param {Links} known
   * @returns {Tokens}
   */
  function count(part, known) {
    lexed += part.length;
    return lex(part, known);
  }

  /**
   * Freeze what of the rest is complete; true when what is left must be read again.
   *
   * @param {Tokens} tokens
   */
  function freeze(tokens) {
    const first = tokens.findIndex((token) => !isSpace(token));
    if (first < 0) start = Math.max(start, text.lastIndexOf('\n') + 1);
    if (first < 0) return false;
    const settled = lastSettled(tokens);
    if (settled > first) return freezeAll(tokens.slice(0, settled));
    const cut = cutWithin(tokens, first);
    if (cut) return freezePart(tokens, first, cut);
    const isEndless = text.length - start > LONGEST && !isFence(tokens[first]);
    return isEndless && freezeAll(count(head + text.slice(start, wordEnd(text, start)), links));
  }

  /** @param {Token[]} tokens */
  function freezeAll(tokens) {
    for (const token of tokens) {
      const raw = token.raw.slice(head.length);
      if (!isSpace(token)) push({ raw, token, head, joins, loose: Boolean(token.loose) });
      start += raw.length;
      head = '';
      joins = false;
    }
    return true;
  }

  /**
   * Freeze the first part of the container that grows.
   *
   * @param {Tokens} tokens
   * @param {number} first
   * @param {Cut} cut
   */
  function freezePart(tokens, first, { length, newHead }) {
    start += sum(tokens.slice(0, first));
    const raw = text.slice(start, start + length - head.length);
    const part = only(count(head + raw, tokens.links));
    push({ raw, token: part, head, joins, loose: isLoose(tokens[first], part) });
    start += raw.length;
    head = newHead;
    joins = true;
    return true;
  }

  /** @param {Block} block */
  function push(block) {
    if (!block.joins) group = frozen.length;
    frozen.push(block);
    define(block.token);
    if (block.joins) loosen();
  }

  /** @param {Token} token */
  function define(token) {
    if (token.type === 'def' && !Object.hasOwn(links, token.tag)) {
      links[token.tag] = { href: token.href, title: token.title };
    }
    for (const inner of token.tokens ?? token.items ?? []) define(inner);
  }

  /** @param {Tokens} tokens */
  function keepOpen(tokens) {
    const before = open;
    open = tokens.filter((token) => !isSpace(token)).map((token, i) => {
      const isCut = i === 0 && joins;
      const block = {
        raw: token.raw.slice(isCut ? head.length : 0),
        token,
        head: isCut ? head : '',
        joins: isCut,
        loose: Boolean(token.loose),
      };
      return before[i] && same(before[i], block) ? before[i] : block;
    });
  }

  /**
   * A list is loose as a whole: what one part of it is, all are.
   *
   * @param {Block} [growing]
   */
  function loosen(growing) {
    const parts = frozen.slice(group);
    if (growing) parts.push(growing);
    if (growing?.token.type !== 'list' && parts[0].token.type !== 'list') return;
    const loose = parts.some((part) => part.loose);
    parts.forEach((part, i) => {
      if (part.token.loose === loose) return;
      const fresh = { ...part, token: only(count(part.raw, shownLinks)) };
      if (loose) makeLoose(fresh.token);
      if (part === growing) open[0] = fresh;
      else frozen[group + i] = fresh;
    });
  }

  /**
   * Read again what names a link whose address has just been told, or is another now.
   *
   * @param {Links} now
   */
  function relink(now) {
    const changed = changes(shownLinks, now);
    shownLinks = { ...now };
    if (changed.size === 0) return;
    frozen.forEach((block, i) => {
      block.labels ??= labels(block.raw);
      if (block.token.type === 'def' || !block.labels.some((label) => changed.has(label))) return;
      const token = only(count(block.head + block.raw, now));
      if (block.token.loose && !token.loose) makeLoose(token);
      frozen[i] = { ...block, token };
    });
  }

  return { update, get lexed() { return lexed; } };
}

/**
 * @param {Token[]} tokens that begin with a block
 * @returns {Token}
 */
const only = (tokens) => tokens.filter((token) => !isSpace(token))[0];
/**
 * @param {Block} a
 * @param {Block} b
 */
const same = (a, b) => a.raw === b.raw && a.joins === b.joins && a.head === b.head
  && a.loose === b.loose && a.token.type === b.token.type && !/[[\]]/.test(a.raw);

/**
 * Where to go on reading a text that came at once: at the end of a line, if it can be.
 *
 * @param {string} text
 * @param {number} from
 */
function stepEnd(text, from) {
  if (text.length - from <= STEP) return text.length;
  const line = text.lastIndexOf('\n', from + STEP) + 1;
  return line > from ? line : from + STEP;
}

/**
 * @param {string} text
 * @param {number} from
 */
function wordEnd(text, from) {
  const end = from + LONGEST;
  const at = Math.max(text.lastIndexOf('\n', end), text.lastIndexOf(' ', end)) + 1;
  return at > from ? at : end;
}

/**
 * Say whether the first items of a list make it one with space between them.
 *
 * @param {Token} token
 * @param {Token} part
 */
function isLoose(token, part) {
  if (token.type !== 'list') return false;
  /** @type {Token[]} */
  const first = token.items.slice(0, part.items.length);
  return first.some(({ raw, tokens }) => /\n[ \t]*\n[ \t]*$/.test(raw)
    || tokens?.some((inner) => isSpace(inner) && /\n.*\n/.test(inner.raw)));
}

/**
 * Do to a part of a list what marked does to a whole one.
 *
 * @param {Token} list
 */
function makeLoose(list) {
  list.loose = true;
  for (const item of list.items) {
    item.loose = true;
    const [box, next] = item.tokens;
    if (box?.type === 'checkbox') {
      item.tokens.shift();
      if (next?.tokens) next.tokens.unshift(box);
      else item.tokens.unshift({ type: 'paragraph', raw: box.raw, text: box.raw, tokens: [box] });
    }
    for (const token of item.tokens) if (token.type === 'text') token.type = 'paragraph';
  }
}

/**
 * What of a text may name a link, without what a definition may write otherwise.
 *
 * @param {string} raw
 */
function labels(raw) {
  const found = raw.match(/\[(?:\\.|[^[\]\\])+\]/gs) ?? [];
  return found.map(labelKey);
}

/**
 * The labels whose links are others now.
 *
 * @param {Links} then
 * @param {Links} now
 */
function changes(then, now) {
  const names = Object.keys({ ...then, ...now });
  const others = names.filter((name) => then[name]?.href !== now[name]?.href
    || then[name]?.title !== now[name]?.title);
  return new Set(others.map(labelKey));
}

/** @param {string} label */
const labelKey = (label) => label.toUpperCase().toLowerCase().replace(/[^\p{L}\p{N}]+/gu, '');
