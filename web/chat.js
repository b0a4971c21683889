/** The conversation: what was said, sending, streaming, stopping, starting anew. */

import { errorCard } from './problems.js';
import { createReply, userMessage } from './reply.js';

/**
 * Keep a conversation and show it.
 *
 * @param {object} parts
 * @param {ReturnType<import('./engine_client.js').createEngine>} parts.engine
 * @param {HTMLElement} parts.list where messages are shown
 * @param {() => object} parts.options think, sampling and max_tokens for the next reply,
 *   and `opening`, the messages that come before the conversation
 * @param {(busy: boolean) => void} parts.onBusy
 * @param {(done: import('./worker.js').DoneMessage) => void} parts.onReply a reply is over
 * @param {(text: string) => void} parts.announce
 * @param {(error: object) => Record<string, () => void>} parts.actions for an error card
 */
export function createChat({ engine, list, options, onBusy, onReply, announce, actions }) {
  let messages = [];
  let current = null;

  function say(text) {
    messages.push({ role: 'user', content: text });
    list.append(userMessage(text));
  }

  /** Let the model answer what was said last; gives why its reply ended. */
  async function answer() {
    const conversation = messages;
    // What was told of is over, and so are its ways out.
    for (const card of list.querySelectorAll(':scope > .problem')) card.remove();
    const reply = createReply();
    list.append(reply.element);
    const { opening, ...request } = options();
    const all = [...opening, ...messages];
    const { id, result } = engine.generate({ messages: all, tools: [], ...request }, {
      onToken: reply.push,
      onProgress: reply.progress,
    });
    current = id;
    onBusy(true);
    try {
      const done = await result;
      onReply(done);
      keep(conversation, reply, done);
      return done.reason;
    } catch (error) {
      fail(conversation, reply, error);
      return 'failed';
    } finally {
      if (current === id) {
        current = null;
        onBusy(false);
      }
    }
  }

  function keep(conversation, reply, done) {
    const heard = reply.finish(done);
    const { content } = reply.text;
    if (content) conversation.push({ role: 'assistant', content });
    if (conversation !== messages) return;
    announce(done.reason === 'stopped' ? `Stopped. ${heard}` : `Reply: ${heard || 'empty'}`);
  }

  function fail(conversation, reply, error) {
    reply.finish(null);
    const { content, thinking } = reply.text;
    if (content) conversation.push({ role: 'assistant', content });
    else if (!thinking) reply.element.remove();
    if (conversation !== messages) return;
    list.append(errorCard(error, { ...(content ? {} : { retry: answer }), ...actions(error) }));
  }

  function stop() {
    if (current !== null) engine.stop(current);
  }

  function clear() {
    stop();
    messages = [];
    list.replaceChildren();
  }

  return {
    say,
    answer,
    stop,
    clear,
    isUnanswered: () => messages.at(-1)?.role === 'user',
    isEmpty: () => messages.length === 0,
    isBusy: () => current !== null,
  };
}
