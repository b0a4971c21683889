/**
 * Markdown as replies are written in it: its grammar, and the HTML that it stands for.
 *
 * What marked takes more than linear time for is bounded: how deep blocks nest, and how
 * long a text may be within which emphasis and links are looked for.
 */

import { displayStart, maskMath, mathExtensions, verbatim } from './math.js';

/** Deeper quotes and lists are text. */
const MAX_DEPTH = 8;
/** No emphasis or link goes on from a part of a paragraph with so many marks to the next. */
const MAX_MARKS = 150;
const MARK = /[*_~[\]<!&@.`\\$]/;
/** A reply's headings stand below the page's own `<h2>Reply`. */
const TOP_HEADING = 3;
/** Where the page lets a person go. */
export const LINKS = /^(?:https?|mailto):/i;

/**
 * Make the grammar of a library's class; `lex` gives the tokens of a text.
 *
 * @param {typeof import('marked').Marked} Marked
 */
export function createGrammar(Marked) {
  let source = ''; // of the text within which emphasis is looked for
  const marked = new Marked({
    gfm: true,
    breaks: true,
    extensions: mathExtensions(escape),
    hooks: { emStrongMask: (masked) => maskMath(source, masked) },
    tokenizer: {
      // A definition is of two lines at most, so that it is known when it is over.
      def(src) {
        const lines = /^[^\n]*\n?[^\n]*(?:\n+|$)/.exec(src)[0];
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

  /** @param {Record<string, object>} links definitions that are known from elsewhere */
  function lex(text, links = {}) {
    const lexer = new Lexer(marked.defaults);
    Object.assign(lexer.tokens.links, links);
    return lexer.lex(text);
  }

  return { lex, html: (tokens) => marked.parser(tokens) };
}

const boundedLexer = (Lexer, onInline) => class extends Lexer {
  depth = 0;

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

  inlineTokens(src, tokens = []) {
    for (const part of inlineParts(src)) {
      onInline(part);
      super.inlineTokens(part, tokens);
    }
    return tokens;
  }
};

/** Cut a text that has too many marks, but no formula and no code. */
function inlineParts(src) {
  if (src.length <= MAX_MARKS) return [src];
  const parts = [];
  const whole = verbatim(src);
  let [from, to] = whole.next().value ?? [];
  for (let at = 0, begin = 0, marks = 0; at < src.length; at += 1) {
    if (at === from) {
      at = to;
      [from, to] = whole.next().value ?? [];
    }
    marks += MARK.test(src[at] ?? '');
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

function heading({ tokens, depth }) {
  const level = Math.min(depth + TOP_HEADING - 1, 6);
  return `<h${level}>${this.parser.parseInline(tokens)}</h${level}>\n`;
}

function link({ href, title, tokens }) {
  return anchor(href, this.parser.parseInline(tokens), title);
}

/** A link; one to where the page lets nobody go is text, with its address. */
function anchor(href, label, title) {
  const address = escape(href);
  const more = title ? ` title="${escape(title)}"` : '';
  if (LINKS.test(href)) return `<a href="${address}"${more}>${label}</a>`;
  return label && address && label !== address ? `${label} (${address})` : label || address;
}

/** Write text as HTML. */
function escape(text) {
  const entities = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
  return text.replace(/[&<>"']/g, (character) => entities[character]);
}
