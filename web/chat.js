/** The conversation: what was said, sending, streaming, stopping, starting anew. */

import { errorCard } from './problems.js';
import { createReply, userMessage } from './reply.js';

/**
 * Keep a conversation and show it.
 *
 * @param {object} parts
 * @param {ReturnType<import('./engine_client.js').createEngine>} parts.engine
 * @param {HTMLElement} parts.list where messages are shown
 * @param {() => object} parts.options think, sampling and max_tokens for the next reply
 * @param {(busy: boolean) => void} parts.onBusy
 * @param {(text: string) => void} parts.announce
 * @param {(error: object) => Record<string, () => void>} parts.actions for an error card
 */
export function createChat({ engine, list, options, onBusy, announce, actions }) {
  let messages = [];
  let current = null;

  function send(text) {
    messages.push({ role: 'user', content: text });
    list.append(userMessage(text));
    return answer();
  }

  async function answer() {
    const conversation = messages;
    const reply = createReply();
    list.append(reply.element);
    const { id, result } = engine.generate({ messages, tools: [], ...options() }, {
      onToken: reply.push,
      onProgress: reply.progress,
    });
    current = id;
    onBusy(true);
    try {
      keep(conversation, reply, await result);
    } catch (error) {
      fail(conversation, reply, error);
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
    send,
    answer,
    stop,
    clear,
    isUnanswered: () => messages.at(-1)?.role === 'user',
    isEmpty: () => messages.length === 0,
    isBusy: () => current !== null,
  };
}
