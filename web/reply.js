/** One message of the conversation on the page. */

import { element } from './dom.js';
import { ENDS, liveFigures, replyFigures, startClock } from './figures.js';
import { count, duration } from './format.js';
import { copyButton, renderMarkdown } from './markdown.js';

/** Make a person's message. */
export function userMessage(text) {
  const article = element('article', 'message user');
  article.append(element('h2', 'visually-hidden', 'You'), element('div', 'bubble', text));
  return article;
}

/** Make an empty reply that grows token by token. */
export function createReply() {
  const article = element('article', 'message reply');
  article.setAttribute('aria-busy', 'true');
  const waiting = element('p', 'waiting', 'Reading the message');
  const thinking = thinkingBlock();
  const body = element('div', 'prose');
  const meta = element('div', 'meta');
  const figures = element('p', 'figures');
  meta.append(figures);
  article.append(element('h2', 'visually-hidden', 'Reply'), waiting, thinking.root, body, meta);
  const text = { content: '', thinking: '', tool: '' };
  const clock = startClock();
  let frame = 0;

  function render() {
    frame = 0;
    waiting.hidden = clock.tokens() > 0;
    thinking.show(text.thinking, text.content !== '' || text.tool !== '', clock);
    renderMarkdown(body, text.content + text.tool);
    figures.textContent = liveFigures(clock);
  }

  function push({ channel, text: piece }) {
    clock.tick();
    text[channel] += channel === 'tool' ? `\n\n\`\`\`json\n${piece}\n\`\`\`\n\n` : piece;
    frame ||= requestAnimationFrame(render);
  }

  function finish(done) {
    cancelAnimationFrame(frame);
    render();
    waiting.remove();
    article.setAttribute('aria-busy', 'false');
    thinking.end(clock);
    figures.replaceWith(...replyFigures(done, clock));
    const cut = done?.reason !== 'stop' && ENDS[done?.reason];
    if (cut) meta.prepend(element('p', 'reason', cut));
    if (text.content) meta.append(copyButton('Copy reply', () => text.content));
    return body.textContent.trim();
  }

  function progress({ text: doing, done, total }) {
    waiting.textContent = `${doing}, ${count(done)} of ${count(total)} tokens`;
  }

  return { element: article, text, push, progress, finish };
}

/** The model's thoughts, folded away. */
function thinkingBlock() {
  const root = element('details', 'thinking');
  root.hidden = true;
  const summary = element('summary', '', 'Thinking');
  const body = element('div', 'prose thoughts');
  root.append(summary, body);
  let ended = false;

  function show(text, over, clock) {
    if (!text) return;
    root.hidden = false;
    root.classList.toggle('live', !over && !ended);
    if (over && !ended) end(clock);
    renderMarkdown(body, text);
  }

  function end(clock) {
    if (ended || root.hidden) return;
    ended = true;
    root.classList.remove('live');
    const seconds = clock.sinceFirst();
    summary.textContent = seconds < 1 ? 'Thought for a moment' : `Thought for ${duration(seconds)}`;
  }

  return { root, show, end };
}
