/**
 * How much room downloads take, and how much the browser says there is.
 *
 * @import { ModelRecord } from './store.js'
 */

import { find } from '../shared/dom.js';
import { bytes } from '../shared/format.js';
import { doneBytes } from './store.js';

/**
 * Show it.
 *
 * @param {ModelRecord[]} records of all downloads
 */
export async function showRoom(records) {
  const { usage = 0, quota = 0 } = await navigator.storage.estimate();
  const kept = await navigator.storage.persisted?.() ?? false;
  const taken = records.reduce((sum, record) => sum + doneBytes(record), 0);
  find('downloads-room').textContent = [
    taken ? `Downloads take ${bytes(taken)}.` : '',
    `The browser reports room for ${bytes(Math.max(0, quota - usage))} more.`,
    taken && !kept ? 'It may delete them when the disk fills up.' : '',
    taken && kept ? 'It keeps them until you delete them.' : '',
  ].filter(Boolean).join(' ');
}
