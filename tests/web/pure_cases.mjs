// Call pure functions of the page on cases from stdin, and print what they give.
//
//   node pure_cases.mjs WEB < CASES
//
// CASES: [[module, function, [argument…]]…]. The text `()` among what is given stands for
// a function; those among what comes back are left out.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const revive = (_, value) => (value === '()' ? () => {} : value);
const cases = JSON.parse(readFileSync(0, 'utf8'), revive);
const results = [];
for (const [module, name, given] of cases) {
  const functions = await import(pathToFileURL(join(process.argv[2], module)));
  results.push(functions[name](...given) ?? null);
}
console.log(JSON.stringify(results));
