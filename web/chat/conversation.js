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
 * Keep a conversation and show it.
 *
 * @param {object} parts
 * @param {ReturnType<import('../engine/client.js').createEngine>} parts.engine
 * @param {HTMLElement} parts.list where messages are shown
 * @param {() => object} parts.options think, sampling, stop and max_tokens for the next
 *   reply, and `opening`, the messages that the model puts before any conversation
 * @param {() => import('./turns.js').Model|null} parts.model the one that is loaded
 * @param {(busy: boolean) => void} parts.onBusy
 * @param {(done: import('../engine/worker.js').DoneMessage) => void} parts.onReply a reply is over
 * @param {(text: string) => void} parts.announce
 * @param {(card: HTMLElement) => void} parts.onProblem an error is shown in the conversation
 * @param {object} parts.box where messages are written
 * @param {(text: string) => void} parts.box.takeBack put a message that was refused there
 * @param {(text: string) => void} parts.box.again send it again, if it is all that is there
 * @param {() => void} parts.box.focus
 * @param {(error: object) => Record<string, () => void>} parts.actions for an error card
 * @param {(error: object, actions: object) => void} parts.tell show an error elsewhere
 */
export function createConversation(parts) {
  const { engine, list, options, model, onBusy, announce, box } = parts;
  /** @type {import('./turns.js').Turn[]} */
  let turns = [];
  const views = new Map(); // by turn
  let current = null; // the id of the request under way
  const onward = button('Continue', 'copy', () => {
    continueReply();
    focusPrompt();
  });
  const border = element('p', 'border', 'Above this line is left out: the model is not sent it any more.');

  function say(text) {
    turns.push(userTurn(text));
    show();
  }

  /** Let the model answer what was said last; gives why its reply ended. */
  function answer() {
    const turn = replyTurn(model(), options().think);
    turns.push(turn);
    show();
    return run(turn);
  }

  /** Let a reply that was cut short go on. */
  function continueReply() {
    const turn = unfinished(turns, model());
    if (turn && current === null) run(turn);
  }

  /** Let a reply grow to its end. */
  async function run(turn) {
    const [mine, before, begun] = [turns, turn.end, turn.ids];
    const view = views.get(turn);
    turn.end = '';
    clearProblems();
    view.begin();
    const request = ask(turn, begun);
    current = request.id;
    onBusy(true);
    try {
      const done = await request.result;
      turn.end = done.reason;
      if (done.ids) turn.ids = [...begun, ...done.ids];
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

  /** Ask for a reply, or for the rest of one, of which the engine says again what there is. */
  function ask(turn, begun) {
    const view = views.get(turn);
    const { opening, ...settings } = options();
    const messages = [...opening, ...history(turns)];
    const more = begun.length ? { begun } : {};
    const request = { messages, heard: false };
    return Object.assign(request, engine.generate({
      messages, tools: [], ...settings, think: turn.think, ...more,
    }, {
      onToken(message) {
        if (!request.heard) Object.assign(turn, { parts: [], ids: [...begun] });
        request.heard = true;
        grow(turn, message);
        view.grow();
      },
      onProgress: view.progress,
    }));
  }

  /** Tell of an error; what was refused before the model said anything is taken back. */
  function fail(turn, error, actions, length) {
    const isRefused = turn.end === '';
    if (isRefused) turns.splice(turns.indexOf(turn), 1);
    const text = isRefused && error.kept !== false ? takeBack() : '';
    const again = text ? () => box.again(text) : continueReply;
    const ways = { ...actions, ...(text ? { retry: again, shorten: box.focus } : {}) };
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
      if (!views.has(turn)) views.set(turn, viewOf(turn));
      const { element: article } = views.get(turn);
      if (!article.parentElement) list.append(article);
      article.classList.toggle('left-out', turn.leftOut);
    }
    const last = turns.findLast(({ leftOut }) => leftOut);
    if (last) views.get(last).element.after(border);
    else border.remove();
    const open = now && unfinished(turns, now);
    if (open) views.get(open).offer(onward);
    else onward.remove();
  }

  function forget(turn, view) {
    view.element.remove();
    views.delete(turn);
  }

  function stop() {
    if (current !== null) engine.stop(current);
  }

  function clear() {
    stop();
    turns = [];
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

function viewOf(turn) {
  if (turn.kind === 'user') return userMessage(textOf(turn));
  return turn.kind === 'reply' ? createReply(turn) : modelLine(turn);
}

/** What is read out when a reply is over: that it is, and how it begins. */
function endOf(turn, view) {
  const first = turn.parts.find(({ channel }) => channel !== 'thinking');
  const text = first?.channel === 'tool' ? `a call of ${first.name}` : view.beginning();
  const start = text.length > BEGINNING ? `${text.slice(0, BEGINNING).replace(/ \S*$/, '')} …` : text;
  return `${turn.end === 'stop' ? 'Reply finished' : 'Reply ended early'}: ${start || 'nothing was said'}`;
}
