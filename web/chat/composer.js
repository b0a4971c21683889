/** What a person says: the message box, the examples, and new chats. */

import { find } from '../shared/dom.js';
import { focusPrompt, prompt } from '../shared/view.js';

/**
 * Let a person talk with the model.
 *
 * @param {object} parts
 * @param {ReturnType<import('./conversation.js').createConversation>} parts.conversation
 * @param {() => string} parts.state as view.js has it
 * @param {object} parts.on
 * @param {() => void} parts.on.begin something is said, or nothing has been yet: what
 *   stood there before is over
 * @param {() => void} parts.on.change
 * @param {() => void} parts.on.said
 * @param {(text: string) => void} parts.on.announce
 */
export function createComposer({ conversation, state, on }) {
  /** @type {string[]} what is said after the next replies */
  let queue = [];

  /** Say whether a message can be sent; while the model loads, one may wait for it. */
  function canSend() {
    return state() === 'ready' || (state() === 'preparing' && !conversation.isUnanswered());
  }

  function send() {
    const text = prompt.value.trim();
    if (!text || !canSend()) return;
    prompt.value = '';
    converse([text]);
  }

  /**
   * Say these one after the other, each when the reply to the one before has ended.
   *
   * @param {string[]} texts
   */
  function converse(texts) {
    on.begin();
    queue = texts;
    sayNext();
    goOn();
  }

  function sayNext() {
    const [text, ...others] = queue;
    if (!text) return false;
    queue = others;
    conversation.say(text);
    on.change();
    on.said();
    return true;
  }

  /** Have what waits answered, now or when a model is there. */
  async function goOn() {
    while (state() === 'ready' && (conversation.isUnanswered() || sayNext())) {
      const mine = queue;
      if (await conversation.answer() !== 'stop' && mine === queue) queue = [];
    }
  }

  /**
   * An example says its first turn; the composer takes over from there.
   *
   * @param {string[]} turns
   */
  function tryExample(turns) {
    converse(turns);
    focusPrompt();
  }

  /**
   * Put a message that was not answered back where it was written, before what is there.
   *
   * @param {string} text
   */
  function takeBack(text) {
    queue = [];
    const hasDraft = prompt.value.trim() !== '';
    if (hasDraft) prompt.setRangeText(`${text}\n\n`, 0, 0, 'preserve');
    else prompt.value = text;
    on.change();
  }

  /**
   * Send a message that was taken back once more, unless the person goes on writing.
   *
   * @param {string} text
   */
  function again(text) {
    if (prompt.value.trim() === text) send();
    else prompt.focus();
  }

  function startAnew() {
    queue = [];
    conversation.clear();
    on.begin();
    on.change();
    prompt.focus();
    on.announce('New chat.');
  }

  /** @param {KeyboardEvent} event */
  function onPromptKey(event) {
    // 229: the Enter that ends a composition, in Safari.
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    send();
  }

  /** @param {KeyboardEvent} event */
  function onKey(event) {
    const sheetOpen = document.querySelector('dialog[open]');
    if (event.key === 'Escape' && !sheetOpen && conversation.isBusy()) {
      event.preventDefault();
      conversation.stop();
    }
  }

  function wire() {
    find('composer').addEventListener('submit', (event) => { event.preventDefault(); send(); });
    prompt.addEventListener('keydown', onPromptKey);
    prompt.addEventListener('input', on.change);
    find('stop').addEventListener('click', conversation.stop);
    find('new-chat').addEventListener('click', startAnew);
    document.addEventListener('keydown', onKey);
  }

  return { again, canSend, goOn, startAnew, takeBack, tryExample, wire };
}
