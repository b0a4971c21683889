/**
 * Hosts that show a file on one page and give it at another address.
 *
 * @typedef {object} Host
 * @property {RegExp} host
 * @property {[RegExp, string]} [page] the path of a file's page, and of the file
 * @property {RegExp} file the path of a file
 * @property {(path: string[]) => string} [list] the path at which a repository's files are
 */

/** @type {Host[]} */
const HOSTS = [
  {
    host: /^(?:www\.)?(?:hf\.co|huggingface\.co|hf-mirror\.com)$/,
    page: [/^((?:\/[^/]+){2,3})\/(?:blob|raw)\/(?=[^/]+\/.)/, '$1/resolve/'],
    file: /^(?:\/[^/]+){2,3}\/resolve\/[^/]+\/.*[^/]$/,
    list: ([owner, name]) => `/${owner}/${name}/tree/main`,
  },
  {
    host: /^(?:www\.)?modelscope\.(?:cn|ai)$/,
    page: [/^(\/models\/[^/]+\/[^/]+)\/(?:file\/view|blob)\/(?=[^/]+\/.)/, '$1/resolve/'],
    file: /\/resolve\/[^/]+\/.*[^/]$|^\/api\//,
    list: ([, owner, name]) => `/models/${owner}/${name}/files`,
  },
  {
    host: /^(?:www\.)?github\.com$/,
    page: [/^((?:\/[^/]+){2})\/blob\/(?=[^/]+\/.)/, '$1/raw/'],
    file: /^(?:\/[^/]+){2}\/(?:raw|releases\/download)\/.*[^/]$/,
    list: ([owner, name]) => `/${owner}/${name}/releases`,
  },
  { host: /^(?:www\.)?ollama\.com$/, file: /\/blobs\// },
];
/** @type {[RegExp, string]} a mirror of Hugging Face, whoever runs it */
const MIRRORED = [/^((?:\/[^/]+){2})\/blob\/(?=[^/]+\/.*\.gguf$)/i, '$1/resolve/'];
/** What stands where an owner's name would. */
const RESERVED = new Set(['models', 'datasets', 'spaces', 'docs', 'collections', 'papers']);

/** @param {URL} url */
const hostOf = ({ hostname }) => HOSTS.find(({ host }) => host.test(hostname));

/**
 * Return the address of the file whose page an address may be.
 *
 * @param {URL} url
 */
export function fileOf(url) {
  const file = new URL(url);
  const host = hostOf(url);
  const rule = host ? host.page : MIRRORED;
  if (rule) file.pathname = url.pathname.replace(rule[0], rule[1]);
  if (/(?:^|\.)hf\.co$/.test(url.hostname)) file.hostname = 'huggingface.co';
  return file;
}

/**
 * Say whether an address is that of a page, of a host whose pages are known.
 *
 * @param {URL} url
 */
export function isPage(url) {
  const host = hostOf(url);
  return Boolean(host && !host.file.test(url.pathname));
}

/**
 * Return where a page's files are listed; empty when that cannot be told.
 *
 * @param {URL} url
 */
export function filesOf(url) {
  const path = url.pathname.split('/').filter(Boolean);
  const host = hostOf(url);
  const listed = host?.list?.(path);
  const isPlain = listed && !listed.includes('undefined');
  return isPlain && (listed.startsWith('/models/') || !RESERVED.has(path[0]))
    ? `${url.origin}${listed}` : '';
}

/**
 * Return where the files are listed of a repository named as Ollama does; else nothing.
 *
 * @param {string} name
 */
export function repositoryFiles(name) {
  const bare = name.replace(/^https?:\/\//i, '');
  const [, repository] = /^(?:hf|huggingface)\.co\/([^/:]+\/[^/:]+)(?::[^/]*)?$/i.exec(bare) ?? [];
  return repository ? `https://huggingface.co/${repository}/tree/main` : '';
}
