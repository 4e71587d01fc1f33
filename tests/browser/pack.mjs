// One script out of a CommonJS package and what it requires: enough of a bundler for JsSIP, whose package has none built.

import fs from 'node:fs';
import path from 'node:path';

/// The text of a script that sets `window[name]` to what `entry` exports. `modules` is the folder node_modules.
export function pack(entry, name, modules) {
  const files = new Map();
  const add = (file) => {
    if (files.has(file)) return;
    files.set(file, null);
    const text = fs.readFileSync(file, 'utf8');
    const needs = {};
    if (!file.endsWith('.json')) {
      for (const [, wanted] of text.matchAll(/\brequire\(\s*['"]([^'"]+)['"]\s*\)/g)) {
        const found = resolve(wanted, path.dirname(file), modules);
        if (found) {
          needs[wanted] = found;
          add(found);
        }
      }
    }
    files.set(file, { text, needs });
  };
  add(entry);
  const bodies = [...files].map(([file, { text, needs }]) => {
    const body = file.endsWith('.json') ? `module.exports = ${text};` : text;
    return `${JSON.stringify(file)}: [${JSON.stringify(needs)}, function (require, module, exports) {\n${body}\n}]`;
  });
  return `(function () {
const modules = {\n${bodies.join(',\n')}\n};
const loaded = {};
window.process = window.process || { env: {} };
window.global = window;
function load(file) {
  if (loaded[file]) return loaded[file].exports;
  const module = (loaded[file] = { exports: {} });
  const [needs, body] = modules[file];
  body.call(module.exports, (wanted) => {
    if (!needs[wanted]) throw new Error('no module ' + wanted + ' for ' + file);
    return load(needs[wanted]);
  }, module, module.exports);
  return module.exports;
}
const entry = load(${JSON.stringify(entry)});
window[${JSON.stringify(name)}] = entry.default || entry;
})();`;
}

function resolve(wanted, from, modules) {
  const base = wanted.startsWith('.') ? path.resolve(from, wanted) : path.join(modules, wanted);
  const file = (name) => fs.existsSync(name) && fs.statSync(name).isFile();
  for (const name of [base, `${base}.js`, `${base}.json`]) if (file(name)) return name;
  const about = path.join(base, 'package.json');
  if (file(about)) {
    const { browser, main } = JSON.parse(fs.readFileSync(about, 'utf8'));
    const start = typeof browser === 'string' ? browser : main || 'index.js';
    const named = path.join(base, start);
    for (const name of [named, `${named}.js`, path.join(named, 'index.js')]) if (file(name)) return name;
  }
  const index = path.join(base, 'index.js');
  return file(index) ? index : undefined;
}
