/**
 * Models by address: downloading them, and those that are downloaded. Their bytes are in
 * the browser's own file system (store.js); the download worker brings them there.
 *
 * @typedef {object} Entry a model of the list
 * @property {string} id
 * @property {string} name
 * @property {Wanted[]} files
 * @property {ModelRecord|null} record
 * @property {Run|null} run what is being done with it
 * @property {ReturnType<import('./item.js').createItem>} item
 * @property {Promise<() => Promise<void>>|null} hold this tab's share of its lock
 *
 * @typedef {{kind: Doing, id: number, result: Promise<unknown>}} Run
 *
 * @import { TypedError } from '../engine/messages.js'
 * @import { Source } from '../models/files.js'
 * @import { Actions } from '../shared/actions.js'
 * @import { Wanted } from './address.js'
 * @import { DownloadMessage, ProgressMessage, VerifyMessage } from './messages.js'
 * @import { Doing } from './item.js'
 * @import { ModelRecord } from './store.js'
 */

import { readAddress } from './address.js';
import { find } from '../shared/dom.js';
import { createDownloader } from './client.js';
import { createItem } from './item.js';
import { createProgress, fileSource, modelName } from '../models/files.js';
import { inUse, storageError } from './errors.js';
import { showRoom } from './room.js';
import {
  changes, filesOf, hold, idOf, listModels, readRecord, removeUnused, stateOf, touch,
} from './store.js';
import { focusPrompt } from '../shared/view.js';

/**
 * Offer to download models, and those that are downloaded.
 *
 * @param {object} on
 * @param {(source: Source) => void} on.model
 * @param {(id: string) => boolean} on.isUsed whether it is loaded, or is being loaded
 * @param {() => boolean} on.isIdle whether nothing is lost when another model is loaded
 * @param {(error: TypedError, actions: Actions) => void} on.problem
 * @param {(text: string) => void} on.announce
 */
export function createDownloads(on) {
  const title = find('downloads-title').textContent;
  const downloader = createDownloader();
  const strip = createProgress({
    bar: find('download-bar', HTMLProgressElement), stage: find('download-stage'), figures: find('download-bytes'),
  });
  /** @type {Map<string, Entry>} */
  const entries = new Map();
  /** @type {Entry|null} the one that the strip above the message box tells of */
  let shown = null;

  // The list

  /**
   * @param {string} id
   * @param {Wanted[]} files
   */
  function entryOf(id, files) {
    const entry = entries.get(id) ?? newEntry(id, modelName(files));
    entry.files = files.map(({ url, name, expected }) => ({ url, name, expected }));
    entries.set(id, entry);
    return entry;
  }

  /**
   * @param {string} id
   * @param {string} name
   */
  function newEntry(id, name) {
    const item = createItem(name, {
      load: () => load(entry),
      resume: () => fetchModel(entry),
      again: () => fetchModel(entry, true),
      pause: () => stop(entry),
      stop: () => stop(entry),
      verify: () => verify(entry),
      remove: () => remove(entry),
    });
    /** @type {Entry} */
    const entry = { id, name, files: [], record: null, run: null, item, hold: null };
    return entry;
  }

  async function refresh() {
    const records = await listModels();
    for (const entry of entries.values()) entry.record = null;
    for (const record of records) entryOf(record.id, record.parts).record = record;
    for (const [id, { record, run }] of entries) if (!record && !run) entries.delete(id);
    await show();
  }

  async function show() {
    const all = [...entries.values()];
    const list = find('downloads-list');
    const nodes = all.map(({ item }) => item.node);
    // What stands there already is left alone: it may have the focus.
    if (nodes.some((node, i) => node !== list.children[i]) || list.children.length > nodes.length) {
      list.replaceChildren(...nodes);
    }
    // One that has just failed has neither, until the list is read again.
    for (const { item, record, run } of all) if (record || run) item.show(record, run);
    list.hidden = all.length === 0;
    find('downloads-title').textContent = all.length ? `Your downloaded models (${all.length})` : title;
    showStrip();
    await showRoom(records());
  }

  const records = () => [...entries.values()].flatMap(({ record }) => (record ? [record] : []));

  /** @param {Entry|null} entry */
  const isDownloading = (entry) => entry?.run?.kind === 'downloading';
  const runningDownload = () => [...entries.values()].find(isDownloading) ?? null;

  function showStrip() {
    const isRunning = isDownloading(shown);
    const hadFocus = find('downloading').contains(document.activeElement);
    find('downloading').hidden = !shown;
    if (hadFocus && !shown) focusPrompt();
    find('download-bar').hidden = find('pause-download').hidden = !isRunning;
    find('load-download').hidden = find('hide-download').hidden = isRunning;
  }

  // What can be done

  /**
   * Do one thing with a model in the worker; gives whether it came to its end.
   *
   * @param {Entry} entry
   * @param {Doing} kind
   * @param {Omit<DownloadMessage, 'id'>|Omit<VerifyMessage, 'id'>} message
   */
  async function run(entry, kind, message) {
    /** @param {Pick<ProgressMessage, 'done'|'total'|'text'>} step */
    const tell = ({ done, total, text }) => {
      const doing = { stage: `${kind} ${id}`, done, total };
      entry.item.progress({ ...doing, text: text || VERBS[kind] });
      if (shown !== entry || !isDownloading(entry)) return;
      strip.show({ ...doing, text: text || `${VERBS[kind]} ${entry.name}` });
    };
    const { id, result } = downloader.send(message, tell);
    entry.run = { kind, id, result: result.catch(() => {}) };
    tell({ done: 0, total: 0, text: '' });
    try {
      await show();
      return !(await result).stopped;
    } finally {
      if (shown === entry && isDownloading(entry)) shown = null;
      entry.run = null;
      shown ??= runningDownload();
      await refresh();
    }
  }

  /**
   * End what is being done with a model, if it has not ended just now.
   *
   * @param {Entry|null} entry
   */
  function stop(entry) {
    if (entry?.run) downloader.stop(entry.run.id);
  }

  /**
   * Download a model: what is missing of it, or all of it again.
   *
   * @param {Entry} entry
   * @param {boolean} again
   */
  async function fetchModel(entry, again = false) {
    // Asked for when it is wanted, and not waited for: Firefox asks the person.
    navigator.storage.persist?.().then(() => showRoom(records()), () => {});
    try {
      if (!await letGo(entry)) throw inUse(entry.name);
      if (entry.run) return;
      on.announce(`Downloading ${entry.name}.`);
      shown ??= entry;
      const { id, files } = entry;
      const isWhole = await run(entry, 'downloading', { kind: 'download', model: id, files, again });
      if (isWhole) arrived(entry);
      else on.announce(`${entry.name} is paused.`);
    } catch (error) {
      fail(entry, error);
    }
  }

  /**
   * @param {Entry} entry
   * @param {Error & Partial<TypedError>} error
   */
  function fail({ id, files }, error) {
    on.problem(storageError(error), {
      retry: () => fetchModel(entryOf(id, files)),
      again: () => fetchModel(entryOf(id, files), true),
    });
  }

  /** @param {Entry} entry */
  function arrived(entry) {
    on.announce(`${entry.name} is downloaded.`);
    if (on.isIdle()) return load(entry);
    shown = entry;
    find('download-stage').textContent = `${entry.name} is downloaded.`;
    find('download-bytes').textContent = '';
    return showStrip();
  }

  /** @param {Entry} entry */
  async function verify(entry) {
    try {
      const isWhole = await run(entry, 'verifying', { kind: 'verify', model: entry.id });
      if (!isWhole) return;
      on.announce(`${entry.name} is sound.`);
      entry.item.say('Verified: every byte is as it arrived.');
    } catch (error) {
      fail(entry, error);
    }
  }

  /**
   * Load from storage: no network is needed.
   *
   * @param {Entry} entry
   */
  async function load(entry) {
    try {
      const record = await readRecord(entry.id);
      if (!record || stateOf(record) !== 'complete') return refresh();
      await keep(entry);
      const files = await filesOf(record);
      await touch(entry.id).catch(() => {}); // the disk is full
      if (shown === entry) shown = runningDownload();
      showStrip();
      on.model({ ...fileSource(files), stored: entry.id, listed: 'downloads-list' });
    } catch (error) {
      fail(entry, error);
    }
  }

  /** @param {Entry} entry */
  async function remove(entry) {
    stop(entry);
    await entry.run?.result;
    try {
      if (!await letGo(entry)) throw inUse(entry.name);
      await removeUnused(entry.id);
    } catch (error) {
      const typed = error.name === 'TimeoutError' ? inUse(entry.name) : storageError(error);
      return on.problem(typed, {});
    }
    changes.postMessage(entry.id);
    on.announce(`${entry.name} is deleted.`);
    await refresh();
    return find('download-url').focus();
  }

  // A model that is loaded may still be read: no tab can delete it meanwhile.

  /** @param {Entry} entry */
  async function keep(entry) {
    entry.hold ??= hold(entry.id);
    try {
      await entry.hold;
    } catch {
      entry.hold = null;
      throw inUse(entry.name);
    }
  }

  /**
   * Give the share back; false when the model is loaded here.
   *
   * @param {Entry} entry
   */
  async function letGo(entry) {
    if (!entry.hold) return true;
    if (on.isUsed(entry.id)) return false;
    const giveBack = await entry.hold;
    entry.hold = null;
    await giveBack();
    return true;
  }

  // What a person types

  /** @param {Event} event */
  async function submit(event) {
    event.preventDefault();
    const url = find('download-url', HTMLInputElement);
    const digest = find('download-digest', HTMLInputElement);
    try {
      const files = readAddress(url.value, digest.value, location);
      const entry = entryOf(await idOf(files), files);
      const isHere = entry.record && stateOf(entry.record) === 'complete';
      url.value = digest.value = '';
      if (isHere && !files.some(({ expected }) => expected)) await load(entry);
      else await fetchModel(entry);
    } catch (error) {
      on.problem(storageError(error), {});
    }
  }

  function start() {
    if (!navigator.storage?.getDirectory) return;
    find('downloads').hidden = false;
    find('download-form').addEventListener('submit', submit);
    find('pause-download').addEventListener('click', () => stop(shown));
    find('load-download').addEventListener('click', () => { if (shown) load(shown); });
    find('hide-download').addEventListener('click', () => {
      shown = runningDownload();
      showStrip();
    });
    changes.addEventListener('message', () => refresh());
    // A private window may have no such storage: that is said when it is asked for.
    refresh().then(() => {
      if (entries.size > 0) find('downloads', HTMLDetailsElement).open = true;
    }, () => {});
  }

  return { start };
}

const VERBS = { downloading: 'Downloading', verifying: 'Verifying' };
