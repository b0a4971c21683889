/** Numbers as people read them. */

const UNITS = ['bytes', 'KB', 'MB', 'GB', 'TB'];

/**
 * Write a number of bytes in decimal units, as file managers do.
 *
 * @param {number} n
 */
export function bytes(n) {
  let value = n;
  let unit = 0;
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  const digits = unit === 0 || value >= 99.5 ? 0 : value >= 9.95 ? 1 : 2;
  return `${value.toFixed(digits)} ${UNITS[unit]}`;
}

/**
 * Write a duration in seconds, minutes or hours.
 *
 * @param {number} seconds
 */
export function duration(seconds) {
  if (seconds < 1) return `${seconds.toFixed(2)} s`;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 59.5) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${(seconds / 3600).toFixed(1)} h`;
}

/**
 * Write a rate of tokens.
 *
 * @param {number} tokensPerSecond
 */
export function rate(tokensPerSecond) {
  const digits = tokensPerSecond < 99.5 ? 1 : 0;
  return `${tokensPerSecond.toFixed(digits)} tok/s`;
}

/**
 * Write how much of something was reached.
 *
 * @param {number} part
 */
export function share(part) {
  return `${Math.round(100 * part)}\u00a0%`;
}

/**
 * Write an integer with thousands separators.
 *
 * @param {number} n
 */
export function count(n) {
  return Math.round(n).toLocaleString('en-US');
}

/**
 * Write a large number in short scale: 4.5 B parameters, 310 M.
 *
 * @param {number} n
 */
export function short(n) {
  /** @type {[number, string][]} */
  const scales = [[1e12, ' T'], [1e9, ' B'], [1e6, ' M'], [1e3, ' K']];
  for (const [size, suffix] of scales) {
    if (n >= size * 0.9995) {
      const value = n / size;
      return `${value.toFixed(value < 99.5 ? 1 : 0)}${suffix}`;
    }
  }
  return String(n);
}
