// Run the pure parts of the download on cases from stdin, and print what they give.
//
//   node address_cases.mjs WEB < CASES
//
// CASES: {addresses: [[text, digests, protocol]…], answers: [[part, status, headers]…]}.
// What is thrown stands for what would have been returned.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const load = (name) => import(pathToFileURL(join(process.argv[2], name)));
const { readAddress } = await load('downloads/address.js');
const { judge } = await load('downloads/answer.js');

const outcome = (action) => {
  try {
    return action();
  } catch (error) {
    if (error instanceof Error) throw error;
    return error;
  }
};
const { addresses, answers } = JSON.parse(readFileSync(0, 'utf8'));
console.log(JSON.stringify({
  addresses: addresses.map(([text, digests, protocol]) =>
    outcome(() => readAddress(text, digests, { protocol }))),
  answers: answers.map(([part, status, headers]) =>
    outcome(() => judge(part, { status, headers: new Headers(headers) }))),
}));
