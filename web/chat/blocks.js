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
 * @property {object} token what it is; a list may be a part of a list
 * @property {string} head what is read before it: a table's header, a fence
 * @property {boolean} joins whether it goes on with the block before
 * @property {boolean} loose whether its list is one with space between the items
 */

/** Characters; what has no boundary in so many is cut at the end of a line or a word. */
const LONGEST = 10_000;
/** Characters of a text that came at once which are read at a time. */
const STEP = 5_000;
const FENCE = /^ {0,3}(`{3,}|~{3,})[^\n]*\n/;
const CLOSED = /\n {0,3}(?:`{3,}|~{3,}) *\n*$/;
const TABLE_HEAD = /^[^\n]*\n[^\n]*\n/;

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
  let links = {}; // that the frozen blocks define
  let shownLinks = {};
  let lexed = 0;

  /** Return the blocks of a text; those that are as they were are the same objects. */
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

  function count(part, known) {
    lexed += part.length;
    return lex(part, known);
  }

  /** Freeze what of the rest is complete; true when what is left must be read again. */
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

  /** Freeze the first part of the container that grows. */
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

  function push(block) {
    if (!block.joins) group = frozen.length;
    frozen.push(block);
    define(block.token);
    if (block.joins) loosen();
  }

  function define(token) {
    if (token.type === 'def' && !Object.hasOwn(links, token.tag)) {
      links[token.tag] = { href: token.href, title: token.title };
    }
    for (const inner of token.tokens ?? token.items ?? []) define(inner);
  }

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

  /** A list is loose as a whole: what one part of it is, all are. */
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

  /** Read again what names a link whose address has just been told, or is another now. */
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

const isSpace = (token) => token.type === 'space';
const only = (tokens) => tokens.find((token) => !isSpace(token));
const sum = (parts) => parts.reduce((length, { raw }) => length + raw.length, 0);
const same = (a, b) => a.raw === b.raw && a.joins === b.joins && a.head === b.head
  && a.loose === b.loose && a.token.type === b.token.type && !/[[\]]/.test(a.raw);

/** Where to go on reading a text that came at once: at the end of a line, if it can be. */
function stepEnd(text, from) {
  if (text.length - from <= STEP) return text.length;
  const line = text.lastIndexOf('\n', from + STEP) + 1;
  return line > from ? line : from + STEP;
}

function wordEnd(text, from) {
  const end = from + LONGEST;
  const at = Math.max(text.lastIndexOf('\n', end), text.lastIndexOf(' ', end)) + 1;
  return at > from ? at : end;
}

/**
 * Find the last block that has begun in a way that leaves those before it as they are: its
 * first line is complete, and of a table, which may turn out to be none, the second.
 */
function lastSettled(tokens) {
  const last = tokens.length - 1;
  const isSettled = ({ type, raw }, i) => !isSpace({ type })
    && (i < last || raw.split('\n', 3).length > (type === 'table' ? 2 : 1));
  return tokens.findLastIndex(isSettled);
}

/** Find the last boundary within a block; the length before it, with the head. */
function cutWithin(tokens, i) {
  const token = tokens[i];
  if (token.type === 'list') return cutList(token, i < tokens.length - 1);
  if (token.type === 'table') return cutLines(token.raw, TABLE_HEAD.exec(token.raw)?.[0]);
  if (token.type === 'code') return cutCode(token);
  if (token.type === 'blockquote') return cutQuote(token);
  return null;
}

/** An item is over when another has begun with a whole line. */
function cutList({ items }, isFollowed) {
  const isWhole = isFollowed || items.at(-1).raw.includes('\n');
  const over = items.slice(0, isWhole ? -1 : -2);
  if (over.length === 0) return null;
  return { length: sum(over), newHead: '' };
}

/** Before the last line that is complete. */
function cutLines(raw, head) {
  if (!head) return null;
  const end = raw.lastIndexOf('\n');
  const length = raw.lastIndexOf('\n', end - 1) + 1;
  return length > head.length ? { length, newHead: head } : null;
}

const isFence = ({ type, codeBlockStyle }) => type === 'code' && !codeBlockStyle;

function cutCode(token) {
  if (!isFence(token) || CLOSED.test(token.raw)) return null;
  return cutLines(token.raw, FENCE.exec(token.raw)?.[0]);
}

/** Between two blocks of a quote of which every line says that it is quoted. */
function cutQuote({ raw, text, tokens }) {
  const inner = tokens.slice(0, Math.max(0, lastSettled(tokens))).map((token) => token.raw).join('');
  const lines = raw.split('\n');
  const isPlain = lines.every((line) => /^ {0,3}>/.test(line));
  if (!isPlain || !inner.trim() || !inner.endsWith('\n') || !text.startsWith(inner)) return null;
  const n = inner.split('\n').length - 1;
  return { length: lines.slice(0, n).join('\n').length + 1, newHead: '' };
}

/** Say whether the first items of a list make it one with space between them. */
function isLoose(token, part) {
  if (token.type !== 'list') return false;
  const first = token.items.slice(0, part.items.length);
  return first.some(({ raw, tokens }) => /\n[ \t]*\n[ \t]*$/.test(raw)
    || tokens.some((inner) => isSpace(inner) && /\n.*\n/.test(inner.raw)));
}

/** Do to a part of a list what marked does to a whole one. */
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

/** What of a text may name a link, without what a definition may write otherwise. */
function labels(raw) {
  const found = raw.match(/\[(?:\\.|[^[\]\\])+\]/gs) ?? [];
  return found.map(labelKey);
}

/** The labels whose links are others now. */
function changes(then, now) {
  const isSame = (a, b) => a?.href === b?.href && a?.title === b?.title;
  const names = Object.keys({ ...then, ...now });
  return new Set(names.filter((name) => !isSame(then[name], now[name])).map(labelKey));
}

const labelKey = (label) => label.toUpperCase().toLowerCase().replace(/[^\p{L}\p{N}]+/gu, '');
