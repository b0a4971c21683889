// Read Markdown cases from stdin with the page's grammar, and print what comes of them.
//
//   node markdown_cases.mjs WEB < CASES
//
// CASES: {html: [text…], cuts: [text…], growth: [{text, step}…]}. For `html`: the HTML.
// For `cuts`: where a text that grows character by character differs from the same text
// read at once, null when nowhere. For `growth`: how many characters were read in all
// while the text grew by `step` at a time, and how many blocks were made anew.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const web = process.argv[2];
const load = (name) => import(pathToFileURL(join(web, name)));
const { Marked } = await load('node_modules/marked/lib/marked.esm.js');
const { createGrammar } = await load('chat/grammar.js');
const { createBlocks } = await load('chat/blocks.js');
const grammar = createGrammar(Marked);

/** Put together what was cut apart. */
function whole(blocks) {
  const tokens = [];
  for (const { token, joins } of blocks) {
    const part = structuredClone(token);
    if (joins) unite(tokens.at(-1), part);
    else tokens.push(part);
  }
  return tokens;
}

function unite(token, part) {
  if (token.type !== part.type) throw new Error(`${part.type} joins ${token.type}`);
  if (token.type === 'code') token.text = token.text.replace(/\n?$/, '\n') + part.text;
  else {
    const key = { list: 'items', table: 'rows', blockquote: 'tokens' }[token.type];
    token[key].push(...part[key]);
  }
}

const atOnce = (text) => grammar.html(grammar.lex(text));

function firstDifference(text) {
  const blocks = createBlocks(grammar);
  for (let end = 1; end <= text.length; end += 1) {
    const seen = text.slice(0, end);
    const grown = grammar.html(whole(blocks.update(seen)));
    if (grown !== atOnce(seen)) return { seen, grown, whole: atOnce(seen) };
  }
  return null;
}

function growth({ text, step }) {
  const blocks = createBlocks(grammar);
  const known = new Set();
  for (let end = step; end < text.length + step; end += step) {
    for (const block of blocks.update(text.slice(0, end))) known.add(block);
  }
  return { lexed: blocks.lexed, made: known.size };
}

const cases = JSON.parse(readFileSync(0, 'utf8'));
console.log(JSON.stringify({
  html: cases.html.map((text) => grammar.html(whole(createBlocks(grammar).update(text)))),
  cuts: cases.cuts.map(firstDifference),
  growth: cases.growth.map(growth),
}));
