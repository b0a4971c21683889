// Play conversations from stdin through web/chat/turns.js, and print what became of each.
//
//   node turns_cases.mjs WEB < CASES
//
// CASES: [[step…]…]; a step is a list of the name of one below and what it takes. Printed
// of each: the turns in short, what a model would be sent, and what the last step gave.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const model = await import(pathToFileURL(join(process.argv[2], 'chat/turns.js')));
const named = (key) => ({ key, name: key.toUpperCase()[0], source: `${key}.gguf` });

function play(steps) {
  const turns = [];
  const act = {
    say: (text) => turns.push(model.userTurn(text)),
    ask: (key) => turns.push(model.replyTurn(named(key), false)),
    hear: (channel, text, more = {}) => model.grow(turns.at(-1), { channel, text, ids: [7], ...more }),
    end: (reason) => { turns.at(-1).end = reason; },
    use: (key) => model.changeModel(turns, named(key)),
    leave: (need) => model.leaveOut(turns, need),
    longer: (error, info) => model.longerContext(error, info),
    unfinished: (key) => Boolean(model.unfinished(turns, named(key))),
    unanswered: () => model.isUnanswered(turns),
    text: () => model.textOf(turns.at(-1)),
  };
  let gave = null;
  for (const [name, ...given] of steps) gave = act[name](...given) ?? null;
  const short = ({ kind, model: by, leftOut }) =>
    (leftOut ? '-' : '') + kind + (kind === 'model' ? ` ${by.name}` : '');
  return { turns: turns.map(short), history: model.history(turns), gave };
}

console.log(JSON.stringify(JSON.parse(readFileSync(0, 'utf8')).map(play)));
