// The bundle: the same bytes on each run, nothing of this machine in it, usable as a module.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { test } from 'node:test';

const root = join(dirname(fileURLToPath(import.meta.url)), '../..');

test('the bundle is the same wherever it is made, and has no imports', async () => {
  const folders = [mkdtempSync(join(tmpdir(), 'meridian-a-')), mkdtempSync(join(tmpdir(), 'meridian-bb-'))];
  try {
    const texts = folders.map((folder) => {
      const outfile = join(folder, 'meridian.js');
      execFileSync(process.execPath, [join(root, 'scripts/bundle.mjs'), '--outfile', outfile], { cwd: folder, stdio: 'pipe' });
      return readFileSync(outfile, 'utf8');
    });
    assert.equal(texts[0], texts[1]);
    assert.ok(!texts[0]?.includes(root) && !/^import /m.test(texts[0] ?? ''));
    const made = (await import(pathToFileURL(join(folders[0] as string, 'meridian.js')).href)) as Record<string, unknown>;
    assert.equal(typeof made['MeridianClient'], 'function');
  } finally {
    for (const folder of folders) rmSync(folder, { recursive: true, force: true });
  }
});
