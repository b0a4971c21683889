/**
 * Where a text that grows can be cut: at boundaries that no further text can move.
 *
 * @typedef {import('marked').Tokens.Generic} Token
 *
 * @typedef {object} Cut where a container can be cut
 * @property {number} length of what is before, with the head
 * @property {string} newHead what is read before the rest
 */

const FENCE = /^ {0,3}(`{3,}|~{3,})[^\n]*\n/;
const CLOSED = /\n {0,3}(?:`{3,}|~{3,}) *\n*$/;
const TABLE_HEAD = /^[^\n]*\n[^\n]*\n/;

/** @param {{type: string}} token */
export const isSpace = (token) => token.type === 'space';
/** @param {{raw: string}[]} parts */
export const sum = (parts) => parts.reduce((length, { raw }) => length + raw.length, 0);

/**
 * Find the last block that has begun in a way that leaves those before it as they are: its
 * first line is complete, and of a table, which may turn out to be none, the second.
 *
 * @param {Token[]} tokens
 */
export function lastSettled(tokens) {
  const last = tokens.length - 1;
  return tokens.findLastIndex((token, i) => !isSpace(token)
    && (i < last || token.raw.split('\n', 3).length > (token.type === 'table' ? 2 : 1)));
}

/**
 * Find the last boundary within a block; the length before it, with the head.
 *
 * @param {Token[]} tokens
 * @param {number} i
 * @returns {Cut|null}
 */
export function cutWithin(tokens, i) {
  const token = tokens[i];
  if (token.type === 'list') return cutList(token, i < tokens.length - 1);
  if (token.type === 'table') return cutLines(token.raw, TABLE_HEAD.exec(token.raw)?.[0]);
  if (token.type === 'code') return cutCode(token);
  if (token.type === 'blockquote') return cutQuote(token);
  return null;
}

/**
 * An item is over when another has begun with a whole line.
 *
 * @param {Token} token
 * @param {boolean} isFollowed
 */
function cutList(token, isFollowed) {
  /** @type {Token[]} */
  const items = token.items;
  const isWhole = isFollowed || items.at(-1)?.raw.includes('\n');
  const over = items.slice(0, isWhole ? -1 : -2);
  if (over.length === 0) return null;
  return { length: sum(over), newHead: '' };
}

/**
 * Before the last line that is complete.
 *
 * @param {string} raw
 * @param {string|undefined} head
 */
function cutLines(raw, head) {
  if (!head) return null;
  const end = raw.lastIndexOf('\n');
  const length = raw.lastIndexOf('\n', end - 1) + 1;
  return length > head.length ? { length, newHead: head } : null;
}

/** @param {Token} token */
export const isFence = ({ type, codeBlockStyle }) => type === 'code' && !codeBlockStyle;

/** @param {Token} token */
function cutCode(token) {
  if (!isFence(token) || CLOSED.test(token.raw)) return null;
  return cutLines(token.raw, FENCE.exec(token.raw)?.[0]);
}

/**
 * Between two blocks of a quote of which every line says that it is quoted.
 *
 * @param {Token} token
 */
function cutQuote({ raw, text, tokens = [] }) {
  const inner = tokens.slice(0, Math.max(0, lastSettled(tokens))).map((token) => token.raw).join('');
  const lines = raw.split('\n');
  const isPlain = lines.every((line) => /^ {0,3}>/.test(line));
  if (!isPlain || !inner.trim() || !inner.endsWith('\n') || !text.startsWith(inner)) return null;
  const n = inner.split('\n').length - 1;
  return { length: lines.slice(0, n).join('\n').length + 1, newHead: '' };
}
