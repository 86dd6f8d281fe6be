// The codes that this SDK knows are those of docs/protocol.md, read from the page itself.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'node:test';
import { CODES } from '../src/errors.js';

const page = join(dirname(fileURLToPath(import.meta.url)), '../../../../docs/protocol.md');
/** `code` | close code | HTTP | action | meaning */
const ROW = /^\| `(\w+)` \| (\d+) \| \d+ \| (\w+) \| [^|]+ \|$/;

test('codes, close codes and actions are those of the table in docs/protocol.md', () => {
  const [, rows] = /^\| code \| close code \|.*\n\|[-|]+\n((?:\|.*\n)+)/m.exec(readFileSync(page, 'utf8')) ?? [];
  assert.ok(rows, 'the page has the table');
  const table = rows.trimEnd().split('\n').map((line) => {
    const [, code, closeCode, action] = ROW.exec(line) ?? assert.fail(`not a row of the table: ${line}`);
    return [code, [Number(closeCode), action]] as const;
  });
  assert.equal(new Set(table.map(([code]) => code)).size, table.length, 'each code once');
  assert.deepEqual({ ...CODES }, Object.fromEntries(table));
});
