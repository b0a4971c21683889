/**
 * Markdown as replies are written in it: its grammar, and the HTML that it stands for.
 *
 * What marked takes more than linear time for is bounded: how deep blocks nest, and how
 * long a text may be within which emphasis and links are looked for.
 */

/** @import { Links, Marked, Renderer, Token, Tokens } from 'marked' */

import { displayStart, maskMath, mathExtensions, verbatim } from './math.js';

/** Deeper quotes and lists are text. */
const MAX_DEPTH = 8;
/** No emphasis or link goes on from a part of a paragraph with so many marks to the next. */
const MAX_MARKS = 150;
/** What comes after the last formula. */
const NOWHERE = [Infinity, Infinity];
const MARK = /[*_~[\]<!&@.`\\$]/;
/** A reply's headings stand below the page's own `<h2>Reply`. */
const TOP_HEADING = 3;
/** @type {Record<string, string>} */
const ENTITIES = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
/** Where the page lets a person go. */
export const LINKS = /^(?:https?|mailto):/i;

/**
 * Make the grammar of a library's class; `lex` gives the tokens of a text.
 *
 * @param {typeof import('marked').Marked} Library
 */
export function createGrammar(Library) {
  let source = ''; // of the text within which emphasis is looked for
  /** @type {Marked} */
  const marked = new Library({
    gfm: true,
    breaks: true,
    extensions: mathExtensions(escape),
    hooks: { emStrongMask: (masked) => maskMath(source, masked) },
    tokenizer: {
      // A definition is of two lines at most, so that it is known when it is over.
      def(src) {
        const [lines = ''] = /^[^\n]*\n?[^\n]*(?:\n+|$)/.exec(src) ?? [];
        return marked.Tokenizer.prototype.def.call(this, lines);
      },
      // A formula is no part of a heading that is underlined.
      lheading(src) {
        return marked.Tokenizer.prototype.lheading.call(this, src.slice(0, displayStart(src)));
      },
    },
    renderer: { html: ({ text }) => escape(text), heading, link, image: ({ href, text }) =>
      anchor(href, escape(text || href)) },
  });
  const Lexer = boundedLexer(marked.Lexer, (text) => { source = text; });

  /**
   * @param {string} text
   * @param {Links} links definitions that are known from elsewhere
   */
  function lex(text, links = {}) {
    const lexer = new Lexer(marked.defaults);
    Object.assign(lexer.tokens.links, links);
    return lexer.lex(text);
  }

  return { lex, html: (/** @type {Token[]} */ tokens) => marked.parser(tokens) };
}

/**
 * @param {typeof import('marked').Lexer} Lexer
 * @param {(text: string) => void} onInline
 */
const boundedLexer = (Lexer, onInline) => class extends Lexer {
  depth = 0;

  /**
   * @param {string} src
   * @param {any} tokens an array, or the list that marked makes of one: it has overloads
   * @param {boolean} clipped
   * @returns {any}
   */
  blockTokens(src, tokens = [], clipped = false) {
    if (this.depth > MAX_DEPTH) {
      const text = src.trimEnd();
      if (text) tokens.push({ type: 'text', raw: src, text, tokens: this.inline(text) });
      return tokens;
    }
    this.depth += 1;
    const found = super.blockTokens(src, tokens, clipped);
    this.depth -= 1;
    return found;
  }

  /**
   * @param {string} src
   * @param {Token[]} tokens
   */
  inlineTokens(src, tokens = []) {
    for (const part of inlineParts(src)) {
      onInline(part);
      super.inlineTokens(part, tokens);
    }
    return tokens;
  }
};

/**
 * Cut a text that has too many marks, but no formula and no code.
 *
 * @param {string} src
 */
function inlineParts(src) {
  if (src.length <= MAX_MARKS) return [src];
  /** @type {string[]} */
  const parts = [];
  const whole = verbatim(src);
  let [from, to] = whole.next().value ?? NOWHERE;
  for (let at = 0, begin = 0, marks = 0; at < src.length; at += 1) {
    if (at === from) {
      at = to;
      [from, to] = whole.next().value ?? NOWHERE;
    }
    if (MARK.test(src[at] ?? '')) marks += 1;
    const isEnd = marks >= MAX_MARKS && (/\s/.test(src[at + 1] ?? '') || marks >= 2 * MAX_MARKS);
    if (at >= src.length - 1) parts.push(src.slice(begin));
    else if (isEnd) {
      parts.push(src.slice(begin, at + 1));
      begin = at + 1;
      marks = 0;
    }
  }
  return parts;
}

/**
 * @this {Renderer}
 * @param {Tokens.Heading} token
 */
function heading({ tokens, depth }) {
  const level = Math.min(depth + TOP_HEADING - 1, 6);
  return `<h${level}>${this.parser.parseInline(tokens)}</h${level}>\n`;
}

/**
 * @this {Renderer}
 * @param {Tokens.Link} token
 */
function link({ href, title, tokens }) {
  return anchor(href, this.parser.parseInline(tokens), title);
}

/**
 * A link; one to where the page lets nobody go is text, with its address.
 *
 * @param {string} href
 * @param {string} label
 * @param {string|null} [title]
 */
function anchor(href, label, title) {
  const address = escape(href);
  const more = title ? ` title="${escape(title)}"` : '';
  if (LINKS.test(href)) return `<a href="${address}"${more}>${label}</a>`;
  return label && address && label !== address ? `${label} (${address})` : label || address;
}

/**
 * Write text as HTML.
 *
 * @param {string} text
 */
function escape(text) {
  return text.replace(/[&<>"']/g, (character) => ENTITIES[character]);
}
