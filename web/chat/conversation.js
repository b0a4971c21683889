/** The conversation: saying, answering, streaming, stopping, going on, starting anew. */

import { button, element } from '../shared/dom.js';
import { errorCard } from '../shared/problems.js';
import { createReply, modelLine, userMessage } from './reply.js';
import {
  canLeaveOut, changeModel, grow, history, isUnanswered, leaveOut, lengthOfMessages, replyTurn,
  textOf, unfinished, userTurn,
} from './turns.js';
import { focusPrompt } from '../shared/view.js';

const BEGINNING = 80; // characters of a reply that are read out

/**
 * @import { Engine } from '../engine/client.js'
 * @import {
 *   ChatMessage, GenerateDone, Sampling, StoppedDone, TypedError,
 * } from '../engine/messages.js'
 * @import { Actions } from '../shared/actions.js'
 * @import { Reply } from './reply.js'
 * @import { Model, Need, ReplyTurn, Turn } from './turns.js'
 *
 * @typedef {GenerateDone|StoppedDone} Done
 * @typedef {{element: HTMLElement}} View of a turn
 *
 * @typedef {object} Options
 * @property {ChatMessage[]} opening what the model puts before any conversation
 * @property {boolean} think
 * @property {Sampling} sampling
 * @property {string[]} stop
 * @property {number} max_tokens
 */

/**
 * Keep a conversation and show it.
 *
 * @param {object} parts
 * @param {Engine} parts.engine
 * @param {HTMLElement} parts.list where messages are shown
 * @param {() => Options} parts.options for the next reply
 * @param {() => Model|null} parts.model the one that is loaded
 * @param {(busy: boolean) => void} parts.onBusy
 * @param {(done: Done) => void} parts.onReply a reply is over
 * @param {(text: string) => void} parts.announce
 * @param {(card: HTMLElement) => void} parts.onProblem an error is shown in the conversation
 * @param {object} parts.box where messages are written
 * @param {(text: string) => void} parts.box.takeBack put a message that was refused there
 * @param {(text: string) => void} parts.box.again send it again, if it is all that is there
 * @param {() => void} parts.box.focus
 * @param {(error: TypedError) => Actions} parts.actions for an error card
 * @param {(error: TypedError, actions: Actions) => void} parts.tell show an error elsewhere
 */
export function createConversation(parts) {
  const { engine, list, options, model, onBusy, announce, box } = parts;
  /** @type {Turn[]} */
  let turns = [];
  /** @type {Map<Turn, View>} */
  const views = new Map();
  /** @type {Map<Turn, Reply>} the views of replies */
  const replies = new Map();
  /** @type {number|null} the id of the request under way */
  let current = null;
  const onward = button('Continue', 'copy', () => {
    continueReply();
    focusPrompt();
  });
  /** @type {string|null} the key of the model that continues the text as it stands */
  let rawModel = null;
  /** @type {Turn|null} what was said first that way */
  let rawTurn = null;
  const rawLine = element('p', 'border', 'From here on the text is continued as it stands: no chat format.');
  const border = element('p', 'border', 'Above this line is left out: the model is not sent it any more.');

  /** @param {string} text */
  function say(text) {
    const turn = userTurn(text);
    turns.push(turn);
    if (isRaw() && !(rawTurn && turns.includes(rawTurn))) rawTurn = turn;
    show();
  }

  function isRaw() {
    return rawModel !== null && model()?.key === rawModel;
  }

  /** Let the model answer what was said last; gives why its reply ended. */
  function answer() {
    const now = model();
    if (!now) throw new TypeError('no model is there to answer');
    const turn = replyTurn(now, options().think);
    turns.push(turn);
    show();
    return run(turn);
  }

  /** Let a reply that was cut short go on. */
  function continueReply() {
    const turn = unfinished(turns, model());
    if (turn && current === null) run(turn);
  }

  /**
   * Let a reply grow to its end.
   *
   * @param {ReplyTurn} turn
   */
  async function run(turn) {
    const { end: before, ids: begun } = turn;
    const mine = turns;
    const view = replyOf(turn);
    turn.end = '';
    clearProblems();
    view.begin();
    const request = ask(turn, begun);
    current = request.id;
    onBusy(true);
    try {
      const done = await request.result;
      turn.end = done.reason;
      if ('ids' in done) turn.ids = [...begun, ...done.ids];
      view.finish(done);
      parts.onReply(done);
      if (mine === turns) announce(endOf(turn, view));
    } catch (error) {
      turn.end = request.heard ? 'failed' : before;
      view.finish(null);
      const actions = parts.actions(error);
      if (mine === turns) fail(turn, error, actions, lengthOfMessages(request.messages));
      else if (error.kept === false) parts.tell(error, actions);
    } finally {
      if (current === request.id) current = null;
      onBusy(current !== null);
    }
    return turn.end;
  }

  /**
   * Ask for a reply, or for the rest of one, of which the engine says again what there is.
   *
   * @param {ReplyTurn} turn
   * @param {number[]} begun
   */
  function ask(turn, begun) {
    const view = replyOf(turn);
    const { opening, ...settings } = options();
    const isPlain = turn.model.key === rawModel;
    const messages = [...isPlain ? [] : opening, ...history(turns)];
    const more = { ...begun.length ? { begun } : {}, ...isPlain ? { raw: true } : {} };
    const request = { messages, heard: false };
    return Object.assign(request, engine.generate({
      messages, tools: [], ...settings, think: turn.think, ...more,
    }, {
      onToken(message) {
        if (!request.heard) Object.assign(turn, { parts: [], ids: [...begun] });
        request.heard = true;
        grow(turn, message);
        view.grow(message);
      },
      onProgress: view.progress,
    }));
  }

  /**
   * Tell of an error; what was refused before the model said anything is taken back.
   *
   * @param {ReplyTurn} turn
   * @param {TypedError} error
   * @param {Actions} actions
   * @param {number} length of what was sent
   */
  function fail(turn, error, actions, length) {
    const isRefused = turn.end === '';
    if (isRefused) turns.splice(turns.indexOf(turn), 1);
    const text = isRefused && error.kept !== false ? takeBack() : '';
    const again = text ? () => box.again(text) : continueReply;
    /** @type {Actions} */
    const ways = { ...actions, ...(text ? { retry: again, shorten: box.focus } : {}) };
    if (text) {
      ways.raw = () => {
        rawModel = turn.model.key;
        again();
      };
    }
    const { n_tokens = 0, n_most = 0 } = error;
    const need = { n_tokens, n_most, length, kept: isRefused ? 0 : 1 };
    if (canLeaveOut(turns, need)) ways.leaveOut = () => leaveOutAnd(need, again);
    show();
    // Where nothing has been said there is no conversation to show it in.
    if (turns.length === 0) return parts.tell(error, ways);
    const card = errorCard(error, ways);
    list.append(card);
    return parts.onProblem(card);
  }

  /** Take what was said last and not answered out of the conversation. */
  function takeBack() {
    if (!isUnanswered(turns)) return '';
    const at = turns.findLastIndex(({ kind }) => kind === 'user');
    const text = textOf(turns.splice(at, 1)[0]);
    box.takeBack(text);
    return text;
  }

  /**
   * @param {Need} need
   * @param {() => void} again
   */
  function leaveOutAnd(need, again) {
    const count = leaveOut(turns, need);
    show();
    announce(`${count} of your messages left out, with the replies to them.`);
    again();
  }

  function clearProblems() {
    for (const card of list.querySelectorAll(':scope > .problem')) card.remove();
  }

  /** Show the turns as they stand, and which model would go on. */
  function show() {
    const now = current === null ? model() : null;
    if (now) changeModel(turns, now);
    for (const [turn, view] of views) if (!turns.includes(turn)) forget(turn, view);
    for (const turn of turns) {
      const { element: article } = viewOf(turn);
      if (!article.parentElement) list.append(article);
      article.classList.toggle('left-out', turn.leftOut);
    }
    const last = turns.findLast(({ leftOut }) => leftOut);
    if (last) viewOf(last).element.after(border);
    else border.remove();
    if (rawTurn && turns.includes(rawTurn)) viewOf(rawTurn).element.before(rawLine);
    else rawLine.remove();
    const open = now && unfinished(turns, now);
    if (open) replyOf(open).offer(onward);
    else onward.remove();
  }

  /**
   * @param {Turn} turn
   * @param {View} view
   */
  function forget(turn, view) {
    view.element.remove();
    views.delete(turn);
    replies.delete(turn);
  }

  /**
   * The view of a turn, made when it is first asked for.
   *
   * @param {Turn} turn
   * @returns {View}
   */
  function viewOf(turn) {
    const view = views.get(turn) ?? newView(turn);
    views.set(turn, view);
    return view;
  }

  /** @param {Turn} turn */
  function newView(turn) {
    if (turn.kind === 'user') return userMessage(textOf(turn));
    return turn.kind === 'reply' ? replyOf(turn) : modelLine(turn);
  }

  /** @param {ReplyTurn} turn */
  function replyOf(turn) {
    const reply = replies.get(turn) ?? createReply(turn);
    replies.set(turn, reply);
    return reply;
  }

  function stop() {
    if (current !== null) engine.stop(current);
  }

  function clear() {
    stop();
    turns = [];
    rawModel = rawTurn = null;
    clearProblems();
    show();
  }

  return {
    say,
    answer,
    stop,
    clear,
    clearProblems,
    show,
    takeBack,
    isUnanswered: () => isUnanswered(turns),
    isEmpty: () => turns.length === 0,
    isBusy: () => current !== null,
  };
}

/**
 * What is read out when a reply is over: that it is, and how it begins.
 *
 * @param {ReplyTurn} turn
 * @param {Reply} view
 */
function endOf(turn, view) {
  const first = turn.parts.find(({ channel }) => channel !== 'thinking');
  const text = first?.channel === 'tool' ? `a call of ${first.name}` : view.beginning();
  const start = text.length > BEGINNING ? `${text.slice(0, BEGINNING).replace(/ \S*$/, '')} …` : text;
  return `${turn.end === 'stop' ? 'Reply finished' : 'Reply ended early'}: ${start || 'nothing was said'}`;
}
