// The types of the messages between page and worker, read by TypeScript itself.
//
//   node message_types.mjs WEB > TYPES
//   node message_types.mjs WEB VALUES > FAULTS
//
// TYPES is a JSON object: of each type of web/engine/messages.js the types that it is a
// union of, if it is one, and its fields, each with the text of its type. VALUES is
// [[type, value]…] as JSON; FAULTS is a list of texts.

import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const OPTIONS = {
  allowJs: true, checkJs: true, noEmit: true, strict: true, types: [], lib: ['es2024', 'dom'],
  target: 'es2024', module: 'es2022', moduleResolution: 'bundler', moduleDetection: 'force',
};

function open(web, texts = {}) {
  const ts = createRequire(join(web, 'package.json'))('typescript');
  const { options } = ts.convertCompilerOptionsFromJson(OPTIONS, web);
  const host = ts.createCompilerHost(options);
  const { getSourceFile, fileExists, readFile } = host;
  host.getSourceFile = (name, ...rest) => (name in texts
    ? ts.createSourceFile(name, texts[name], options.target) : getSourceFile(name, ...rest));
  host.fileExists = (name) => name in texts || fileExists(name);
  host.readFile = (name) => texts[name] ?? readFile(name);
  const messages = join(web, 'engine/messages.js');
  return { ts, messages, program: ts.createProgram([messages, ...Object.keys(texts)], options, host) };
}

/** Describe all types. */
export function describe(web) {
  const { ts, messages, program } = open(web);
  const checker = program.getTypeChecker();
  const symbol = checker.getSymbolAtLocation(program.getSourceFile(messages));
  const types = checker.getExportsOfModule(symbol).map((each) => {
    const type = checker.getDeclaredTypeOfSymbol(each);
    const fields = checker.getPropertiesOfType(type).map((field) => {
      const text = checker.typeToString(checker.getTypeOfSymbol(field));
      return [field.name, { optional: Boolean(field.flags & ts.SymbolFlags.Optional), type: text }];
    });
    const isUnion = type.isUnion() && !type.types.every((part) => part.isLiteral());
    const parts = isUnion ? type.types.map((part) => checker.typeToString(part)) : [];
    return [each.name, { union: parts, fields: Object.fromEntries(fields) }];
  });
  return Object.fromEntries(types);
}

/**
 * Say what is wrong with values of which each is to be of a type: a field of another
 * type, one that is missing, and one that the type does not have.
 *
 * @param {string} web
 * @param {[string, unknown][]} values the type of each, and itself
 * @returns {string[]}
 */
export function faults(web, values) {
  const name = join(web, 'engine/said.ts');
  const lines = values.map(([type, value], i) =>
    `const said${i}: M.${type} = ${literal(value)}; void said${i};`);
  const text = ["import type * as M from './messages.js';", ...lines].join('\n');
  const { ts, program } = open(web, { [name]: text });
  const source = program.getSourceFile(name);
  return ts.getPreEmitDiagnostics(program, source).map(({ start, messageText }) => {
    const { line } = source.getLineAndCharacterOfPosition(start);
    return `${ts.flattenDiagnosticMessageText(messageText, '\n')}\n  in ${lines[line - 1].slice(0, 500)}`;
  });
}

/** Write a value as the text that stands for it in TypeScript. */
function literal(value) {
  if (value instanceof Blob) return "new File([], '')";
  if (Array.isArray(value)) return `[${value.slice(0, 50).map(literal).join(', ')}]`;
  if (value === undefined || value === null || typeof value !== 'object') {
    return value === undefined ? 'undefined' : JSON.stringify(value);
  }
  const fields = Object.entries(value).map(([key, each]) => `${JSON.stringify(key)}: ${literal(each)}`);
  return `{ ${fields.join(', ')} }`;
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [web, values] = process.argv.slice(2);
  process.stdout.write(JSON.stringify(values ? faults(web, JSON.parse(values)) : describe(web)));
}
