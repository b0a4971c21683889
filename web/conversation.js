/** What a person says: the message box, the examples, and new chats. */

import { find } from './dom.js';
import { focusPrompt, prompt } from './view.js';

/**
 * Let a person talk with the model.
 *
 * @param {object} parts
 * @param {ReturnType<import('./chat.js').createChat>} parts.chat
 * @param {ReturnType<import('./model.js').createModel>} parts.model
 * @param {() => string} parts.state as view.js has it
 * @param {object} parts.on
 * @param {() => void} parts.on.begin something is said, or nothing has been yet: what
 *   stood there before is over
 * @param {() => void} parts.on.change
 * @param {() => void} parts.on.said
 * @param {(text: string) => void} parts.on.announce
 */
export function createConversation({ chat, model, state, on }) {
  /** Counts conversations, so that what waits in an old one is not said in a new one. */
  let conversation = 0;

  /** Say whether a message can be sent; while the model loads, one may wait for it. */
  function canSend() {
    return state() === 'ready' || (state() === 'preparing' && !chat.isUnanswered());
  }

  function send() {
    const text = prompt.value.trim();
    if (!text || !canSend()) return;
    prompt.value = '';
    converse([text]);
  }

  /** Say these one after the other, each when the reply to the one before has ended. */
  async function converse(texts) {
    const mine = conversation;
    on.begin();
    for (const text of texts) {
      chat.say(text);
      on.change();
      on.said();
      await model.loading?.end;
      if (mine !== conversation || state() !== 'ready') return;
      if (await chat.answer() !== 'stop' || mine !== conversation) return;
    }
  }

  /** An example says its first turn; the composer takes over from there. */
  function tryExample(turns) {
    converse(turns);
    focusPrompt();
  }

  function clear() {
    conversation += 1;
    chat.clear();
  }

  function startAnew() {
    clear();
    on.begin();
    on.change();
    prompt.focus();
    on.announce('New chat.');
  }

  function onPromptKey(event) {
    // 229: the Enter that ends a composition, in Safari.
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    send();
  }

  function onKey(event) {
    const sheetOpen = document.querySelector('dialog[open]');
    if (event.key === 'Escape' && !sheetOpen && chat.isBusy()) {
      event.preventDefault();
      chat.stop();
    }
  }

  function wire() {
    find('composer').addEventListener('submit', (event) => { event.preventDefault(); send(); });
    prompt.addEventListener('keydown', onPromptKey);
    prompt.addEventListener('input', on.change);
    find('stop').addEventListener('click', chat.stop);
    find('new-chat').addEventListener('click', startAnew);
    document.addEventListener('keydown', onKey);
  }

  return { canSend, clear, startAnew, tryExample, wire };
}
