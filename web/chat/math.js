/**
 * Mathematics in Markdown: it is found, and stays as it is written.
 *
 * Backslashes, stars and underscores of LaTeX mean something else to Markdown, which
 * would take them away. Code is never looked into: a formula holds no backtick.
 */

const DISPLAY = /^ {0,3}(?:\$\$(?!\$)|\\\[|\\begin\{[a-z]+\*?\})/i;
const BEGIN = /^\\begin\{([a-z]+\*?)\}/i;
/** What closes a formula where it is not what opens it. */
const CLOSES = new Map([['\\[', '\\]'], ['\\(', '\\)']]);
const BLANK_LINE = /\n[ \t]*\n/;
/** Code, or what may begin a formula, or an escaped character. */
const STOPS = /(`+)(?:[^`]|[^`][^]*?[^`])\1(?!`)|\$\$?|\\[^]/g;
/**
 * Between dollars: no space inside their ends and no digit after them, so that two
 * prices in a line are none.
 */
const DOLLARS = /^\$(?![\s$])((?:\\[^\n]|[^\\$\n`])*?(?:\\[^\n]|[^\\$\n`\s]))\$(?![\d$])/;
/** A price, unless what follows has a formula's signs or no space. */
const PRICE = /^\d(?=.*\s)[^\\^{]*$/;
/** What began between dollars and is clearly no price, up to the end of its line. */
const OPEN_DOLLARS = /^\$\$?(?![\s\d$])(?=[^$\n`]*(?:\\[a-z]|\^|_\{))[^$\n`]*$/i;

/**
 * Return how long the displayed formula is that a text begins with; 0 when none does. One
 * that is not closed yet goes on as far as a paragraph would. Once its first line is
 * complete, nothing that follows makes it anything else.
 *
 * @param {string} src
 */
function displayLength(src) {
  const open = DISPLAY.exec(src)?.[0];
  if (!open) return 0;
  const near = src.slice(0, src.search(/\n[^\n]*`|\n[ \t]*\n/) >>> 0);
  const firstLine = line(near);
  if (firstLine.includes('`')) return 0;
  const close = closing(open.trimStart());
  const end = closedAt(near, open.length, close);
  if (end < 0) return near.length;
  const after = near.slice(end).search(/[^ \t]|$/);
  return end > firstLine.length || end + after === firstLine.length ? end + after : 0;
}

/**
 * Return where in a paragraph a displayed formula interrupts it, if one does.
 *
 * @param {string} src
 */
export function displayStart(src) {
  const paragraph = src.slice(0, src.search(BLANK_LINE) >>> 0);
  for (const { index } of paragraph.matchAll(/\n(?= {0,3}[\\$])/g)) {
    if (displayLength(src.slice(index + 1))) return index + 1;
  }
  return undefined;
}

/**
 * Return how long the formula in a line is that a text begins with; 0 when none does.
 *
 * @param {string} src
 */
function inlineLength(src) {
  if (src[0] === '$' && src[1] !== '$') return dollarsLength(src);
  const open = /^(?:\$\$(?!\$)|\\[([])/.exec(src)?.[0] ?? BEGIN.exec(src)?.[0];
  if (!open) return 0;
  const end = closedAt(src, open.length, closing(open));
  if (end >= 0 && !src.slice(0, end).includes('`')) return end;
  if (open === '$$') return OPEN_DOLLARS.exec(line(src))?.[0].length ?? 0;
  return src.search(/[\n`]|$/);
}

/** @param {string} src */
function dollarsLength(src) {
  const [all, inside] = DOLLARS.exec(src) ?? [];
  if (all && !PRICE.test(inside)) return all.length;
  return OPEN_DOLLARS.exec(line(src))?.[0].length ?? 0;
}

/** @param {string} src */
const line = (src) => src.split('\n', 1)[0];

/** @param {string} open */
function closing(open) {
  const name = BEGIN.exec(open)?.[1];
  if (name) return `\\end{${name}}`;
  return CLOSES.get(open) ?? open;
}

/**
 * Return where what was opened is over; -1 when it is not.
 *
 * @param {string} src
 * @param {number} from
 * @param {string} close
 */
function closedAt(src, from, close) {
  const at = src.indexOf(close, from);
  return at < 0 ? -1 : at + close.length;
}

/**
 * Find the formulas and the code in a text, as `[from, to, isMath]`: nothing in them is
 * Markdown.
 *
 * @param {string} src
 * @returns {Generator<[number, number, boolean], void>}
 */
export function* verbatim(src) {
  const stops = new RegExp(STOPS);
  for (let stop = stops.exec(src); stop; stop = stops.exec(src)) {
    const { index } = stop;
    const length = stop[1] ? stop[0].length : inlineLength(src.slice(index));
    if (length) yield [index, index + length, !stop[1]];
    stops.lastIndex = index + (length || stop[0].length);
  }
}

/**
 * Replace the formulas of a text's copy by letters, for whoever looks for emphasis.
 *
 * @param {string} src
 * @param {string} copy
 */
export function maskMath(src, copy) {
  let masked = copy;
  for (const [from, to, isMath] of verbatim(src)) {
    if (isMath) masked = masked.slice(0, from) + 'a'.repeat(to - from) + masked.slice(to);
  }
  return masked;
}

/**
 * @param {string} type
 * @param {string} src
 * @param {number} length
 */
const token = (type, src, length) =>
  (length ? { type, raw: src.slice(0, length), text: src.slice(0, length).trimEnd() } : undefined);

/**
 * The extensions, as marked takes them; `escape` makes HTML of text.
 *
 * @param {(text: string) => string} escape
 * @returns {import('marked').TokenizerAndRendererExtension[]}
 */
export const mathExtensions = (escape) => [
  {
    name: 'displayMath',
    level: 'block',
    start: displayStart,
    tokenizer: (src) => token('displayMath', src, displayLength(src)),
    renderer: ({ text }) => `<p class="math">${escape(text)}</p>\n`,
  },
  {
    name: 'inlineMath',
    level: 'inline',
    start: (src) => (src.includes('$') ? src.indexOf('$') : undefined),
    tokenizer: (src) => token('inlineMath', src, inlineLength(src)),
    renderer: ({ raw }) => `<span class="math">${escape(raw)}</span>`,
  },
];
