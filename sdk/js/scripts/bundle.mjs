// Makes the one-file ESM bundle. The bytes depend on the sources and on the locked esbuild only:
// paths are relative to this package, nothing of the machine or the time gets in.
// Usage: npm run bundle -- --outfile PATH (relative to where npm was started)
import { build } from 'esbuild';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const at = process.argv.indexOf('--outfile');
const wanted = at > 0 ? process.argv[at + 1] : undefined;
if (at > 0 && !wanted) throw new Error('--outfile needs a path');
const from = process.env.INIT_CWD ?? process.cwd();
const outfile = wanted ? resolve(from, wanted) : resolve(root, 'dist/meridian.js');

await build({
  absWorkingDir: root,
  entryPoints: ['src/index.ts'],
  outfile,
  bundle: true,
  format: 'esm',
  platform: 'neutral',
  target: 'es2022',
  charset: 'utf8',
  legalComments: 'none',
  banner: { js: '// Built from sdk/js by `npm run bundle`; edit the sources, not this file.' },
});
