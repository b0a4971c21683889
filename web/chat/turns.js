/**
 * The conversation as it stands: who said what, in turns. The page shows them, and a model
 * is sent what of them counts.
 *
 * What was refused is no turn: it goes back to where it was written.
 *
 * @typedef {object} Part a piece of a reply; pieces are in the order in which they came
 * @property {'thinking'|'content'|'tool'} channel
 * @property {string} text
 * @property {string} [name] of the function that is called
 * @property {string} [args] of that call, as JSON
 *
 * @typedef {object} Model
 * @property {string} key tells it from another
 * @property {string} name
 * @property {string} source where it came from, for models of one name
 *
 * @typedef {UserTurn|ReplyTurn|ModelTurn} Turn
 *
 * @typedef {object} UserTurn what a person says
 * @property {'user'} kind
 * @property {Part[]} parts
 * @property {boolean} leftOut whether models are not sent it any more
 *
 * @typedef {object} ReplyTurn
 * @property {'reply'} kind
 * @property {Part[]} parts
 * @property {boolean} leftOut
 * @property {Model} model whose it is
 * @property {boolean} think whether it was asked for with thoughts
 * @property {End} end why it ended; empty while it grows
 * @property {number[]} ids its tokens so far, from which it can go on
 *
 * @typedef {''|'failed'|GenerateDone['reason']} End
 *
 * @typedef {object} ModelTurn the line that says that another model goes on from here
 * @property {'model'} kind
 * @property {Part[]} parts
 * @property {boolean} leftOut
 * @property {Model} model
 *
 * @import { ChatMessage, GenerateDone, TokenMessage } from '../engine/messages.js'
 */

const ROOM = 3 / 4; // of the context may be taken by what is sent, so that a reply has some
const SHORTEST = 2048; // tokens of a context
const CUT = new Set(['stopped', 'length', 'context', 'failed']);

/**
 * @param {string} text
 * @returns {UserTurn}
 */
export function userTurn(text) {
  return { kind: 'user', parts: [{ channel: 'content', text }], leftOut: false };
}

/**
 * @param {Model} model
 * @param {boolean} think
 * @returns {ReplyTurn}
 */
export function replyTurn(model, think) {
  return { kind: 'reply', parts: [], leftOut: false, model, think, end: '', ids: [] };
}

/**
 * Add what a token message brings to a reply.
 *
 * @param {ReplyTurn} turn
 * @param {TokenMessage} message
 */
export function grow(turn, { channel, text, name, args, ids = [] }) {
  turn.ids.push(...ids);
  const last = turn.parts.at(-1);
  if (channel === 'tool') turn.parts.push({ channel, text, name, args });
  else if (last?.channel === channel) last.text += text;
  else turn.parts.push({ channel, text });
}

/**
 * Write a part as Markdown: a call as its JSON.
 *
 * @param {Part} part
 */
export function markdownOf({ channel, text }) {
  return channel === 'tool' ? `\`\`\`json\n${text}\n\`\`\`` : text;
}

/**
 * Return what a reply says, its calls among the text, without its thoughts.
 *
 * @param {Turn} turn
 */
export function textOf({ parts }) {
  const said = parts.filter(({ channel }) => channel !== 'thinking');
  return said.map(markdownOf).join('\n\n').trim();
}

/**
 * Return what a model is sent: roles alternate, and what says nothing is left out.
 *
 * @param {Turn[]} turns
 * @returns {ChatMessage[]}
 */
export function history(turns) {
  /** @type {ChatMessage[]} */
  const messages = [];
  for (const turn of turns) {
    const message = turn.leftOut ? null : messageOf(turn);
    if (!message) continue;
    const before = messages.at(-1);
    if (before?.role === message.role) before.content += `\n\n${message.content}`;
    else messages.push(message);
  }
  return messages;
}

/**
 * @param {Turn} turn
 * @returns {ChatMessage|null}
 */
function messageOf(turn) {
  const { kind, parts } = turn;
  const content = parts
    .filter(({ channel }) => channel === 'content')
    .map(({ text }) => text)
    .join('');
  if (kind === 'user') return { role: 'user', content };
  const calls = parts.filter(({ channel }) => channel === 'tool').map(callOf);
  if (turn.kind !== 'reply' || !turn.end || !(content || calls.length)) return null;
  return { role: 'assistant', content, ...(calls.length ? { tool_calls: calls } : {}) };
}

/** @param {Part} call */
const callOf = ({ name, args }) => ({ type: 'function', function: { name, arguments: args } });

/**
 * Say whether what was said last waits for its answer.
 *
 * @param {Turn[]} turns
 */
export function isUnanswered(turns) {
  return turns.findLast(({ kind }) => kind !== 'model')?.kind === 'user';
}

/**
 * Return the reply that can go on: the last, if it was cut short and is this model's. One
 * that has not begun needs no tokens to go on from.
 *
 * @param {Turn[]} turns
 * @param {Model|null} model
 * @returns {ReplyTurn|null}
 */
export function unfinished(turns, model) {
  const turn = turns.at(-1);
  if (turn?.kind !== 'reply' || !CUT.has(turn.end) || turn.leftOut) return null;
  const isKnown = turn.ids.length > 0 || turn.parts.length === 0;
  return isKnown && model?.key === turn.model.key ? turn : null;
}

/**
 * Have a line since the last reply exactly if another model goes on than the one whose it is.
 *
 * @param {Turn[]} turns
 * @param {Model} model
 */
export function changeModel(turns, model) {
  const last = turns.findLastIndex(({ kind }) => kind === 'reply');
  const line = turns.findIndex(({ kind }, i) => kind === 'model' && i > last);
  if (line >= 0 && modelOf(turns[line])?.key === model.key) return;
  if (line >= 0) turns.splice(line, 1);
  const before = modelOf(turns[last]);
  if (!before || before.key === model.key) return;
  const name = before.name === model.name ? `${model.name} (${model.source})` : model.name;
  turns.push({ kind: 'model', parts: [], leftOut: false, model: { ...model, name } });
}

/** @param {Turn|undefined} turn */
const modelOf = (turn) => (turn && 'model' in turn ? turn.model : null);

/**
 * Leave out the oldest turns, each question with its reply, so that the rest fits and a
 * reply has room.
 *
 * Tokens are told of the whole alone, so that each turn's are reckoned by its length.
 *
 * @param {Turn[]} turns
 * @param {Need} need
 * @returns {number} how many questions were left out; 0 where that would not help
 *
 * @typedef {object} Need what did not fit
 * @property {number} n_tokens 0 when not known
 * @property {number} n_most tokens that fit
 * @property {number} length of all that was sent, in characters
 * @property {number} kept how many of the last questions have to stay
 */
export function leaveOut(turns, need) {
  if (!canLeaveOut(turns, need)) return 0;
  const perCharacter = need.n_tokens / need.length;
  let left = need.n_tokens;
  let count = 0;
  for (const exchange of oldest(turns, need.kept)) {
    left -= lengthOf(exchange) * perCharacter;
    for (const turn of exchange) turn.leftOut = true;
    count += 1;
    if (left <= need.n_most * ROOM) break;
  }
  return count;
}

/**
 * Say whether what has to stay would fit.
 *
 * @param {Turn[]} turns
 * @param {Need} need
 */
export function canLeaveOut(turns, { n_tokens, n_most, length, kept }) {
  const exchanges = oldest(turns, kept);
  const rest = length - exchanges.reduce((sum, exchange) => sum + lengthOf(exchange), 0);
  return exchanges.length > 0 && rest * n_tokens <= n_most * length;
}

/**
 * Return a context in which what did not fit has room, as far as the model is made for it.
 *
 * @param {{n_tokens?: number}} error
 * @param {{n_ctx: number, n_ctx_train: number}} info of the model
 * @returns {number} 0 when there is none
 */
export function longerContext({ n_tokens = 0 }, { n_ctx, n_ctx_train }) {
  if (n_ctx >= n_ctx_train || n_tokens >= n_ctx_train) return 0;
  let wanted = SHORTEST;
  while (wanted <= n_ctx || wanted * ROOM < n_tokens) wanted *= 2;
  return Math.min(wanted, n_ctx_train);
}

/**
 * The turns that count, by question, but for the last ones.
 *
 * @param {Turn[]} turns
 * @param {number} kept
 */
function oldest(turns, kept) {
  /** @type {Turn[][]} */
  const exchanges = [];
  for (const turn of turns.filter(({ leftOut }) => !leftOut)) {
    if (turn.kind === 'user') exchanges.push([turn]);
    else exchanges.at(-1)?.push(turn);
  }
  return exchanges.slice(0, exchanges.length - kept);
}

/**
 * Count the characters of what is sent.
 *
 * @param {Turn[]} turns
 */
function lengthOf(turns) {
  return JSON.stringify(history(turns)).length;
}

/**
 * Count the characters of all that is sent.
 *
 * @param {ChatMessage[]} messages
 */
export const lengthOfMessages = (messages) => JSON.stringify(messages).length;
