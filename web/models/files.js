/** Choosing or dropping a model, and showing how its loading goes. */

/** @import { ChatMessage, Folder } from '../engine/messages.js' */
/** @import { Profile } from '../settings/settings.js' */

import { bytes, duration } from '../shared/format.js';
import { OWN_FILES } from '../settings/settings.js';

/** The name of a file that is named after its SHA-256, as Ollama's are. */
const BLOB = /^sha256[-:]([0-9a-f]{64})$/i;

/**
 * Call `onFiles` with what a person chooses in the file dialog or drops anywhere.
 *
 * @param {HTMLInputElement} input
 * @param {HTMLElement} veil shown while files hang over the page
 * @param {(files: File[]) => void} onFiles
 */
export function watchFiles(input, veil, onFiles) {
  input.addEventListener('change', () => {
    const files = [...input.files ?? []];
    input.value = ''; // so that choosing the same file again is a change again
    if (files.length) onFiles(files);
  });
  let depth = 0;
  /** @param {number} change */
  const over = (change) => {
    depth = Math.max(0, depth + change);
    veil.hidden = depth === 0;
  };
  /** @type {(listener: (data: DataTransfer) => void) => (event: DragEvent) => void} */
  const withFiles = (listener) => (event) => {
    if (!event.dataTransfer?.types.includes('Files')) return;
    event.preventDefault();
    listener(event.dataTransfer);
  };
  window.addEventListener('dragenter', withFiles(() => over(1)));
  window.addEventListener('dragleave', withFiles(() => over(-1)));
  window.addEventListener('dragover', withFiles((data) => {
    data.dropEffect = 'copy';
  }));
  window.addEventListener('drop', withFiles((data) => {
    over(-depth);
    const files = [...data.files];
    if (files.length) onFiles(files);
  }));
}

/**
 * A model that can be loaded: chosen files, URLs, or one of a folder's.
 *
 * @typedef {object} Source
 * @property {string} name
 * @property {number} size in bytes
 * @property {string} file the file's name, or how many parts there are
 * @property {File[]} [files]
 * @property {string[]} [urls] in place of files
 * @property {Folder} [folder] in place of both
 * @property {string} [model] its name in the folder
 * @property {ChatMessage[]} [opening] messages that every conversation begins with
 * @property {Profile} profile
 * @property {boolean|null} [large] whether it has the large models' chat template, where
 *   more is known than the file says
 * @property {string} [template] of Ollama's store, in Go's language
 * @property {'f32'} [kv] the type of keys and values, where a person chose one
 * @property {string[]} [notes] what a person should know of it
 * @property {boolean} checkable whether the SHA-256 of its files is known
 * @property {string} [pull] its name for Ollama
 * @property {string} [listed] the id of the list on the page that it was chosen from
 * @property {string} [stored] its id in downloads/store.js, where it is a downloaded one
 */

/**
 * Describe what was chosen.
 *
 * @param {File[]} files
 * @returns {Source}
 */
export function fileSource(files) {
  return {
    name: modelName(files),
    size: files.reduce((sum, file) => sum + file.size, 0),
    file: fileName(files.map((file) => file.name)),
    files,
    profile: OWN_FILES,
    checkable: files.every((file) => BLOB.test(file.name)),
  };
}

/**
 * Name the one file, or say how many there are.
 *
 * @param {string[]} names
 */
export function fileName(names) {
  return names.length > 1 ? `${names.length} parts` : names[0];
}

/**
 * Say what is being loaded: its name, size and number of parts.
 *
 * @param {Source} source
 */
export function describe({ name, size, file }) {
  const parts = /^\d+ parts$/.test(file) ? ` in ${file}` : '';
  return `${name} · ${bytes(size)}${parts}`;
}

/**
 * Name what was chosen: the file, or the first of several shards.
 *
 * @param {{name: string}[]} files
 */
export function modelName(files) {
  const names = files.map((file) => file.name).sort();
  const name = names[0].replace(/\.gguf$/i, '');
  const digest = BLOB.exec(name);
  return digest ? `Blob ${digest[1].slice(0, 12)}` : name.replace(/-0*1-of-0*\d+$/, '');
}

/**
 * Show progress messages: a bar, bytes, speed and the time left.
 *
 * @typedef {{stage: string, done: number, total: number, text: string}} Step as a progress
 *   message has it
 *
 * @param {{bar: HTMLProgressElement, stage: HTMLElement, figures: HTMLElement}} parts
 */
export function createProgress(parts) {
  const { bar } = parts;
  /** @type {[number, number][]} seconds and what was done then */
  let samples = [];
  let stage = '';

  function start() {
    stage = '';
    show({ stage: 'start', done: 0, total: 0, text: 'Starting the Python runtime' });
  }

  /** @param {Step} step */
  function show({ stage: newStage, done, total, text }) {
    if (newStage !== stage) samples = [];
    stage = newStage;
    parts.stage.textContent = text;
    if (total > 0) bar.value = Math.min(1, done / total);
    else bar.removeAttribute('value');
    parts.figures.textContent = total >= 1e5 ? figures(done, total) : '';
  }

  /**
   * @param {number} done
   * @param {number} total
   */
  function figures(done, total) {
    const now = performance.now() / 1000;
    samples.push([now, done]);
    samples = samples.filter(([time]) => now - time < 3);
    const [since, from] = samples[0];
    const speed = now - since > 0.2 ? (done - from) / (now - since) : 0;
    const parts = [`${bytes(done)} of ${bytes(total)}`];
    if (speed > 0) parts.push(`${bytes(speed)}/s`);
    const left = (total - done) / speed;
    if (speed > 0 && left >= 1) parts.push(`${duration(left)} left`);
    return parts.join(' · ');
  }

  return { start, show };
}
