/** The turns of the conversation on the page. */

import { button, element } from '../shared/dom.js';
import { ENDS, replyFigures } from './figures.js';
import { count, duration, rate } from '../shared/format.js';
import { copyButton, renderMarkdown } from './markdown.js';
import { markdownOf, textOf } from './turns.js';

const EMPTY = 'The model ended its reply at once.';
/** A message is folded from so many characters or lines on. */
const LONG = 2000;
const LONG_LINES = 24;

/**
 * @import { GenerateDone, ProgressMessage, StoppedDone, TokenMessage } from '../engine/messages.js'
 * @import { ModelTurn, Part, ReplyTurn } from './turns.js'
 *
 * @typedef {ReturnType<typeof createReply>} Reply
 *
 * @typedef {object} Block a part of a reply on the page
 * @property {string} channel
 * @property {HTMLElement} root
 * @property {(part: Part, over: boolean) => void} show
 */

/**
 * Make a person's message.
 *
 * @param {string} text
 */
export function userMessage(text) {
  const article = element('article', 'message user');
  article.append(element('h2', 'visually-hidden', 'You'), bubble(text));
  return { element: article };
}

/**
 * What a person said; of a long text the beginning, and all of it when asked for.
 *
 * @param {string} text
 */
function bubble(text) {
  const node = element('div', 'bubble');
  const said = element('div', 'said', text);
  node.append(said);
  if (text.length <= LONG && text.split('\n', LONG_LINES + 1).length <= LONG_LINES) return node;
  said.classList.add('folded');
  const words = count(text.split(/\s+/).length);
  const toggle = button(`Show all ${words} words`, 'link', () => {
    const isFolded = said.classList.toggle('folded');
    toggle.setAttribute('aria-expanded', String(!isFolded));
    toggle.textContent = isFolded ? `Show all ${words} words` : 'Show less';
  });
  toggle.setAttribute('aria-expanded', 'false');
  node.append(toggle);
  return node;
}

/**
 * Make the line that says which model goes on from here.
 *
 * @param {ModelTurn} turn
 */
export function modelLine({ model }) {
  return { element: element('p', 'border', `From here: ${model.name}`) };
}

/**
 * Make a reply that grows as its turn does.
 *
 * @param {ReplyTurn} turn
 */
export function createReply(turn) {
  const article = element('article', 'message reply');
  const waiting = element('p', 'waiting');
  const body = element('div', 'parts');
  let meta = element('div', 'meta');
  article.append(element('h2', 'visually-hidden', 'Reply'), body, meta);
  /** What stood below the reply before it went on. */
  let before = meta;
  let heard = { tokens: 0, rate: 0 };
  let isHeard = false;
  let live = element('p', 'figures');
  /** @type {Block[]} */
  const blocks = [];
  let frame = 0;

  /** The model is asked, for the first time or to go on. */
  function begin() {
    heard = { tokens: 0, rate: 0 };
    isHeard = false;
    before = meta;
    meta = element('div', 'meta');
    live = element('p', 'figures');
    meta.append(live);
    before.replaceWith(meta);
    waiting.textContent = 'Reading the message';
    waiting.hidden = false;
    body.after(waiting);
    article.setAttribute('aria-busy', 'true');
  }

  function render() {
    frame = 0;
    waiting.hidden = isHeard;
    turn.parts.forEach((part, i) => {
      if (blocks[i]?.channel !== part.channel) {
        for (const block of blocks.splice(i)) block.root.remove();
        blocks.push(part.channel === 'thinking' ? thoughtsBlock() : textBlock(part.channel));
        body.append(blocks[i].root);
      }
      blocks[i].show(part, turn.end !== '' || i < turn.parts.length - 1);
    });
    for (const block of blocks.splice(turn.parts.length)) block.root.remove();
    if (turn.end === '') live.textContent = heard.rate ? rate(heard.rate) : '';
  }

  /** @param {TokenMessage} message what the turn has grown by */
  function grow({ ids, tokens_per_second }) {
    isHeard = true;
    heard = { tokens: heard.tokens + ids.length, rate: tokens_per_second };
    frame ||= requestAnimationFrame(render);
  }

  /** @param {GenerateDone|StoppedDone|null} done null when the engine failed */
  function finish(done) {
    cancelAnimationFrame(frame);
    render();
    waiting.remove();
    article.setAttribute('aria-busy', 'false');
    if (!done && !isHeard) {
      meta.replaceWith(before);
      meta = before;
      return;
    }
    meta.replaceChildren(...replyFigures(done, heard));
    const cut = turn.end === 'stop' ? !turn.parts.length && EMPTY : turn.end && ENDS[turn.end];
    if (cut) meta.prepend(element('p', 'reason', cut));
    if (textOf(turn)) meta.append(copyButton('Copy reply', () => textOf(turn)));
  }

  /** @param {ProgressMessage} message */
  function progress({ text: doing, done, total }) {
    waiting.textContent = `${doing}, ${count(done)} of ${count(total)} tokens`;
  }

  /**
   * Show a way to go on; one that is there already keeps its focus.
   *
   * @param {HTMLElement} way
   */
  function offer(way) {
    if (way.parentElement !== meta) meta.append(way);
  }

  /** Return how it begins, as it is read. */
  function beginning() {
    const first = body.querySelector('.prose:not(.thoughts) > *');
    return first instanceof HTMLElement ? first.innerText.replace(/\s+/g, ' ').trim() : '';
  }

  return { element: article, begin, grow, progress, finish, offer, beginning };
}

/**
 * A part that is read: text, or a call of a tool.
 *
 * @param {Part['channel']} channel
 * @returns {Block}
 */
function textBlock(channel) {
  const root = element('div', 'prose');
  return { channel, root, show: (part) => renderMarkdown(root, markdownOf(part)) };
}

/**
 * The model's thoughts, folded away.
 *
 * @returns {Block}
 */
function thoughtsBlock() {
  const root = element('details', 'thinking');
  const summary = element('summary', '', 'Thinking');
  const body = element('div', 'prose thoughts');
  root.append(summary, body);
  let start = performance.now();
  let ended = false;

  /**
   * @param {Part} part
   * @param {boolean} over
   */
  function show(part, over) {
    root.classList.toggle('live', !over);
    renderMarkdown(body, part.text);
    if (over === ended) return;
    ended = over;
    if (!over) start = performance.now(); // a thought that was cut short goes on
    summary.textContent = over ? `Thought for ${span(performance.now() - start)}` : 'Thinking';
  }

  return { channel: 'thinking', root, show };
}

/** @param {number} ms */
const span = (ms) => (ms < 1000 ? 'a moment' : duration(ms / 1000));
