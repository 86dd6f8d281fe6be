// Removes the build folders named as arguments. Never removes anything outside this package.
import { rmSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
for (const name of process.argv.slice(2)) {
  rmSync(join(root, basename(name)), { recursive: true, force: true });
}
