/**
 * What a person gives to download a model: an address, and perhaps what its SHA-256 is.
 *
 * @typedef {object} Wanted one file of a model
 * @property {string} url
 * @property {string} name
 * @property {string|null} expected its SHA-256 in hexadecimal, where it is known
 *
 * @typedef {{protocol: string}} Page where the page itself is
 *
 * @import { TypedError } from '../engine/messages.js'
 */

import { fileOf, filesOf, isPage, repositoryFiles } from './hosts.js';

const SHARD = /^(.*)-(\d{5})-of-(\d{5})\.gguf$/i;
const MAX_SHARDS = 999;
const DIGEST = /(?<![0-9a-z])[0-9a-f]{64}(?![0-9a-z])/gi;
const LOOPBACK = /^(localhost|127(\.\d+){3}|\[::1\])$/;
const CHOOSE_FILE = 'Download it by other means, then choose the file from your disk.';
/** `ollama run NAME`, and a name with a tag: neither has a file's address. */
const OLLAMA = /^(?:[$>%#] *)?ollama(?:\.exe)? +(?:run|pull|show)\b *(?:--?\S+ +)*(\S*)/i;
const TAGGED = /^(?:[\w.-]+\/)*[\w.-]*[a-z][\w.-]*:(?!\/)[a-z\d][\w.-]*$/i;
const SCHEME = /^[a-z][a-z\d+.-]*:/i;
const HOST_AND_PORT = /^(?:[\w.-]+|\[[\da-f:]+\]):\d+(?:[/?#]|$)/i;
const HOST = /\.|^localhost$|^\[/;
const LOCAL_PATH = /^(?:\/(?!\/)|[~.]|[a-z]:[\\/]|\\\\|file:)/i;
const LINK = /https?:\/\/[^\s<>"'`)\]”’»]+/gi;
const AROUND = ['<>', '""', "''", '``', '()', '[]', '“”', '‘’', '«»'];
const ON_DISK = 'It is on your disk: choose it with “Choose a model file”, or drop it.';
const COPY_LINK = 'Copy the address of the download link.';
/** @type {Record<string, string>} */
const REMEDIES = {
  'magnet:': `Browsers cannot load torrents. ${CHOOSE_FILE}`,
  'ftp:': `Browsers do not load from ftp. ${CHOOSE_FILE}`,
  'ftps:': `Browsers do not load from ftp. ${CHOOSE_FILE}`,
};

/**
 * Return the files that an address stands for: one, or all parts of a split model.
 *
 * @param {string} text the address; `#sha256=…` in it says what its file is
 * @param {string} digests the SHA-256 of each file, in order, as sha256sum prints them
 * @param {Page} page
 * @returns {Wanted[]}
 * @throws {TypedError}
 */
export function readAddress(text, digests, page) {
  const url = parse(text, page);
  const fragment = /^#sha-?256[=:-](.*)$/i.exec(url.hash)?.[1];
  url.hash = '';
  const files = shards(url);
  const mine = files.find((file) => file.url === url.href) ?? files[0];
  mine.expected = ofName(mine.name);
  if (fragment !== undefined) expect(mine, readDigests(fragment, 1)[0]);
  if (digests.trim()) {
    readDigests(digests, files.length).forEach((digest, i) => expect(files[i], digest));
  }
  return files;
}

/**
 * @param {string} text
 * @param {Page} page
 */
function parse(text, page) {
  const bare = unwrap(text);
  const hasPort = HOST_AND_PORT.test(bare);
  const command = OLLAMA.exec(bare)?.[1];
  const isTagged = TAGGED.test(bare) && !hasPort;
  if (command !== undefined || isTagged) throw forOllama(command ?? bare);
  if (LOCAL_PATH.test(bare)) throw notAnAddress(bare, ON_DISK);
  const hasScheme = SCHEME.test(bare) && !hasPort;
  const full = hasScheme ? bare : withScheme(bare);
  const url = bare && URL.canParse(full) ? new URL(full) : null;
  const isWeb = url !== null && ['http:', 'https:'].includes(url.protocol);
  if (!isWeb || !(hasScheme || HOST.test(url.hostname))) {
    throw notAnAddress(bare, REMEDIES[url?.protocol ?? ''] ?? COPY_LINK);
  }
  const file = fileOf(url);
  refuse(file, page);
  return file;
}

/** @param {string} address */
function withScheme(address) {
  const host = address.replace(/^\/\//, '');
  return `${LOOPBACK.test(host.split(/[:/](?!:)/, 1)[0]) ? 'http' : 'https'}://${host}`;
}

/**
 * Take an address out of what it was copied with: quotes, brackets, a command, a full stop.
 *
 * @param {string} text
 */
function unwrap(text) {
  const links = text.match(LINK) ?? [];
  const isWithin = links.length === 1 && !text.trimStart().startsWith(links[0]);
  let bare = (isWithin ? links[0] : text).trim().replace(/[.,;]+$/, '');
  for (let before = ''; before !== bare;) {
    before = bare;
    const pair = AROUND.find(([open, close]) => bare.startsWith(open) && bare.endsWith(close));
    if (pair) bare = bare.slice(1, -1).trim();
  }
  return links.length > 1 ? '' : bare;
}

/**
 * @param {string} text
 * @param {string} remedy
 */
function notAnAddress(text, remedy) {
  return wrong('This is no address of a file', {
    found: text.slice(0, 200) || 'nothing, or more than one address',
    expected: 'https://…/model.gguf',
    remedy,
  });
}

/**
 * A name as Ollama takes it, of its own library or of Hugging Face.
 *
 * @param {string} name
 */
function forOllama(name) {
  const files = repositoryFiles(name);
  if (files) return notAFile(name, files);
  return wrong('This is the name of a model for Ollama', {
    found: name.slice(0, 200) || 'a command without a name',
    expected: 'https://…/model.gguf',
    remedy: `Let Ollama fetch it (“ollama pull ${name.slice(0, 100) || 'NAME'}”) and open `
      + 'Ollama’s folder on this page, or paste the address of a .gguf file.',
  });
}

/**
 * @param {string} found
 * @param {string} files
 */
function notAFile(found, files) {
  return wrong('This is the address of a page, not of a file', {
    found: found.slice(0, 200),
    expected: 'https://…/model.gguf',
    remedy: files
      ? `Open ${files.slice(0, 300)} and copy the address of the .gguf file’s download link.`
      : 'Open the page that lists the files, and copy the address of the .gguf file’s '
        + 'download link.',
  });
}

/**
 * Throw why a browser cannot download it, where the address itself says so.
 *
 * @param {URL} url
 * @param {Page} page
 */
function refuse(url, page) {
  if (url.username || url.password) {
    throw wrong('An address with a password cannot be used', {
      found: `${url.protocol}//…@${url.host}`,
      remedy: `Browsers refuse such addresses. ${CHOOSE_FILE}`,
    });
  }
  if (isPage(url)) throw notAFile(url.origin + url.pathname, filesOf(url));
  if (page.protocol === 'https:' && url.protocol === 'http:' && !LOOPBACK.test(url.hostname)) {
    throw wrong('A page on https cannot read from http', {
      found: url.origin,
      expected: 'an https address',
      remedy: `Browsers block what is not encrypted here. Try it with https. ${CHOOSE_FILE}`,
    });
  }
  if (url.pathname.endsWith('/')) {
    throw wrong('This is the address of a folder', {
      found: url.origin + url.pathname,
      expected: 'the address of a .gguf file',
      remedy: COPY_LINK,
    });
  }
}

/**
 * All parts of a split model from the address of one of them; else the file itself.
 *
 * @param {URL} url
 * @returns {Wanted[]}
 */
function shards(url) {
  const cut = url.pathname.lastIndexOf('/') + 1;
  const folder = url.pathname.slice(0, cut);
  const [, stem, number, total] = SHARD.exec(url.pathname.slice(cut)) ?? [];
  if (stem === undefined) return [wanted(url)];
  const n = Number(total);
  if (Number(number) < 1 || Number(number) > n || n > MAX_SHARDS) {
    throw wrong('There is no such part of a split model', {
      found: `part ${Number(number)} of ${n}`,
      expected: `1 to ${n}, of at most ${MAX_SHARDS}`,
      remedy: 'Check the address.',
    });
  }
  const suffix = url.pathname.slice(-'.gguf'.length);
  return Array.from({ length: n }, (_, i) => {
    const part = new URL(url);
    const index = String(i + 1).padStart(5, '0');
    part.pathname = `${folder}${stem}-${index}-of-${total}${suffix}`;
    return wanted(part);
  });
}

/**
 * @param {URL} url
 * @returns {Wanted}
 */
function wanted(url) {
  return { url: url.href, name: fileName(url), expected: null };
}

/**
 * The last part of the path, as a name that every file system takes.
 *
 * @param {URL} url
 */
function fileName(url) {
  const last = url.pathname.slice(url.pathname.lastIndexOf('/') + 1);
  let name = last;
  try {
    name = decodeURIComponent(last);
  } catch {
    // Not UTF-8: as it stands.
  }
  name = name.replace(/[^\p{L}\p{N}._+ -]/gu, '-').replace(/^[. ]+|[. ]+$/g, '');
  return name.slice(-120) || 'model';
}

/**
 * Blobs are named after what they hold.
 *
 * @param {string} name
 */
function ofName(name) {
  return /^sha256-([0-9a-f]{64})$/i.exec(name)?.[1].toLowerCase() ?? null;
}

/**
 * @param {string} text
 * @param {number} n
 */
function readDigests(text, n) {
  const found = (text.match(DIGEST) ?? []).map((digest) => digest.toLowerCase());
  if (found.length === n) return found;
  throw wrong('This is not the SHA-256 of the file', {
    found: found.length ? `${found.length} digests` : text.trim().slice(0, 80) || 'nothing',
    expected: n === 1 ? '64 hexadecimal digits' : `64 hexadecimal digits for each of ${n} parts`,
    remedy: 'Leave it empty if you do not know it.',
  });
}

/**
 * @param {Wanted} file
 * @param {string} digest
 */
function expect(file, digest) {
  if (file.expected && file.expected !== digest) {
    throw wrong('Two different digests are given', {
      found: `${digest} for ${file.name}`,
      expected: file.expected,
      remedy: 'Keep the one that you trust.',
    });
  }
  file.expected = digest;
}

/**
 * @param {string} what
 * @param {Partial<TypedError>} details
 * @returns {TypedError}
 */
function wrong(what, details) {
  return {
    kind: 'error', type: 'DownloadError', found: '', expected: '', remedy: '', ...details, what,
  };
}
