/**
 * What a person gives to download a model: an address, and perhaps what its SHA-256 is.
 *
 * @typedef {object} Wanted one file of a model
 * @property {string} url
 * @property {string} name
 * @property {string|null} expected its SHA-256 in hexadecimal, where it is known
 */

const SHARD = /^(.*)-(\d{5})-of-(\d{5})\.gguf$/i;
const MAX_SHARDS = 999;
const DIGEST = /(?<![0-9a-z])[0-9a-f]{64}(?![0-9a-z])/gi;
const LOOPBACK = /^(localhost|127(\.\d+){3}|\[::1\])$/;
const CHOOSE_FILE = 'Download it by other means, then choose the file from your disk.';

/**
 * Return the files that an address stands for: one, or all parts of a split model.
 *
 * @param {string} text the address; `#sha256=…` in it says what its file is
 * @param {string} digests the SHA-256 of each file, in order, as sha256sum prints them
 * @param {{protocol: string}} page where the page itself is
 * @returns {Wanted[]}
 * @throws {import('./worker.js').TypedError}
 */
export function readAddress(text, digests, page) {
  const url = parse(text.trim(), page);
  const fragment = /^#sha-?256[=:-](.*)$/i.exec(url.hash)?.[1];
  url.hash = '';
  const files = shards(url);
  const mine = files.find((file) => file.url === url.href);
  mine.expected = ofName(mine.name);
  if (fragment !== undefined) expect(mine, readDigests(fragment, 1)[0]);
  if (digests.trim()) {
    readDigests(digests, files.length).forEach((digest, i) => expect(files[i], digest));
  }
  return files;
}

function parse(text, page) {
  const full = /^[a-z][a-z\d+.-]*:\/\//i.test(text) ? text : `https://${text}`;
  const url = text && !/\s/.test(text) && URL.canParse(full) ? new URL(full) : null;
  if (!url || !['http:', 'https:'].includes(url.protocol)) {
    throw wrong('This is no address of a file', {
      found: text.slice(0, 200) || 'nothing',
      expected: 'https://…/model.gguf',
      remedy: 'Copy the address of the download link.',
    });
  }
  refuse(url, page);
  return url;
}

/** Throw why a browser cannot download it, where the address itself says so. */
function refuse(url, page) {
  if (url.username || url.password) {
    throw wrong('An address with a password cannot be used', {
      found: `${url.protocol}//…@${url.host}`,
      remedy: `Browsers refuse such addresses. ${CHOOSE_FILE}`,
    });
  }
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
      remedy: 'Copy the address of the download link.',
    });
  }
}

/** All parts of a split model from the address of one of them; else the file itself. */
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

function wanted(url) {
  return { url: url.href, name: fileName(url), expected: null };
}

/** The last part of the path, as a name that every file system takes. */
function fileName(url) {
  const last = url.pathname.split('/').at(-1);
  let name = last;
  try {
    name = decodeURIComponent(last);
  } catch {
    // Not UTF-8: as it stands.
  }
  name = name.replace(/[^\p{L}\p{N}._+ -]/gu, '-').replace(/^[. ]+|[. ]+$/g, '');
  return name.slice(-120) || 'model';
}

/** Blobs are named after what they hold. */
function ofName(name) {
  return /^sha256-([0-9a-f]{64})$/i.exec(name)?.[1].toLowerCase() ?? null;
}

function readDigests(text, n) {
  const found = (text.match(DIGEST) ?? []).map((digest) => digest.toLowerCase());
  if (found.length === n) return found;
  throw wrong('This is not the SHA-256 of the file', {
    found: found.length ? `${found.length} digests` : text.trim().slice(0, 80) || 'nothing',
    expected: n === 1 ? '64 hexadecimal digits' : `64 hexadecimal digits for each of ${n} parts`,
    remedy: 'Leave it empty if you do not know it.',
  });
}

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

function wrong(what, details) {
  return { kind: 'error', type: 'DownloadError', found: '', expected: '', ...details, what };
}
