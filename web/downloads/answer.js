/**
 * What a server's answer means for a file of which some bytes are here already.
 *
 * Whether the rest is of the same version is judged by the headers of the very answer
 * that brings it, which needs no If-Range: that header would cost a question beforehand
 * (CORS), which many servers answer with no.
 *
 * @import { TypedError } from '../engine/messages.js'
 * @import { Mark, Part } from './store.js'
 *
 * @typedef {Usable|{use: 'changed'}|{use: 'later', found: string}} Verdict on an answer: its
 *   bytes can be used; it is another file now; the server wants to be asked again later,
 *   and what it said
 *
 * @typedef {object} Usable
 * @property {'append'|'whole'} use the bytes follow those that are here, or are the whole file
 * @property {number|null} size of the whole file
 * @property {Mark} mark
 */

const LATER = new Set([408, 425, 429, 500, 502, 503, 504]);
const GONE = new Set([404, 410]);
const CLOSED = new Set([401, 403, 407]);

/**
 * Judge an answer.
 *
 * @param {Part} part what was asked for: all that lies after `part.done`
 * @param {{status: number, headers: Headers}} response
 * @returns {Verdict}
 * @throws {TypedError}
 */
export function judge(part, { status, headers }) {
  const mark = { etag: headers.get('ETag') ?? '', modified: headers.get('Last-Modified') ?? '' };
  const length = number(headers.get('Content-Length'));
  if (LATER.has(status)) return { use: 'later', found: `HTTP status ${status}` };
  if (part.done && status === 416) return { use: 'changed' };
  if (status === 200) {
    if (part.done && !same(part, { size: length, mark })) return { use: 'changed' };
    return { use: 'whole', size: length, mark };
  }
  if (part.done && status === 206) return judgeRange(part, headers, length, mark);
  throw refused(part.name, status);
}

/**
 * @param {Part} part
 * @param {Headers} headers
 * @param {number|null} length
 * @param {Mark} mark
 * @returns {Verdict}
 */
function judgeRange(part, headers, length, mark) {
  const text = headers.get('Content-Range');
  const shown = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(text ?? '');
  const [begin, end, size] = shown
    ? [Number(shown[1]), Number(shown[2]) + 1, Number(shown[3])]
    : [part.done, part.done + (length ?? NaN), part.size];
  const fits = begin === part.done && end === size && (text === null || shown);
  if (fits && same(part, { size, mark })) return { use: 'append', size, mark };
  if (begin === part.done && !same(part, { size, mark })) return { use: 'changed' };
  throw {
    kind: 'error',
    type: 'DownloadError',
    what: `${part.name}: the server sends another range than it was asked for`,
    found: text ?? `${length ?? 'an unknown number of'} bytes`,
    expected: size === null ? '' : `bytes ${part.done}-${size - 1}/${size}`,
    remedy: 'What is here is kept. Try again, or use another server.',
  };
}

/**
 * Tell whether the server still has the version that a part is of, as far as it says.
 *
 * @param {Part} part
 * @param {{size: number|null, mark: Mark}} version
 */
function same(part, { size, mark }) {
  const { etag, modified } = part.mark;
  if (part.size !== null && size !== null && size !== part.size) return false;
  if (etag && mark.etag && etag !== mark.etag) return false;
  if (isStrong(etag) && isStrong(mark.etag)) return true;
  if (modified && mark.modified) return modified === mark.modified;
  // A server that names no version can still be held to a digest.
  return part.expected !== null;
}

/**
 * A weak tag stands for the same meaning, not for the same bytes.
 *
 * @param {string} etag
 */
const isStrong = (etag) => etag !== '' && !etag.startsWith('W/');

/** @param {string|null} text */
function number(text) {
  return /^\d+$/.test(text ?? '') ? Number(text) : null;
}

/**
 * @param {string} name
 * @param {number} status
 * @returns {TypedError}
 */
function refused(name, status) {
  let remedy = 'Check the address.';
  if (GONE.has(status)) remedy = 'There is no such file: check the address.';
  if (CLOSED.has(status)) {
    remedy = 'It may ask for a login, and this page sends none: download the file by other '
      + 'means, then choose it from your disk.';
  }
  return {
    kind: 'error',
    type: 'DownloadError',
    what: `The server refuses to send ${name}`,
    found: `HTTP status ${status}`,
    expected: '',
    remedy,
  };
}

/**
 * A connection that cannot be made, or breaks again and again.
 *
 * @param {Part} part
 * @param {string} found
 * @returns {TypedError}
 */
export function unreachable({ name, url, done }, found) {
  const { origin } = new URL(url);
  return {
    kind: 'error',
    type: 'DownloadError',
    what: `${name} could not be fetched from ${origin}`,
    found,
    expected: '',
    remedy: done
      ? 'What is here is kept: go on when the network is back. If it never goes on, the '
        + 'server may not allow other pages to ask for ranges (CORS).'
      : 'Browsers do not say which it is: no connection (check the address and the network), '
        + 'or a server that does not let other pages read its files (CORS). Then download '
        + 'it by other means and choose the file from your disk.',
  };
}
