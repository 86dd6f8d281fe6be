// Owns what the tests start: a development node, Chromium, pages that write down what went wrong.
// Knows no test.

import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { chromium } from 'playwright-core';

const here = dirname(fileURLToPath(import.meta.url));
const BIN = resolve(here, process.env.MERIDIAN_BIN ?? '../../target/debug/meridian');
const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';
const FACTS = ['client', 'admin', 'token', 'certificate-hash'];
/** Long enough for a busy machine; nothing waits for it that comes sooner. */
export const PATIENCE_MS = 60_000;
const STOP_MS = 15_000;

/** A running node with a data folder of its own. `again` starts another at its addresses, on its data. */
export class Node {
  #child;

  /** `settings`: of its configuration, by their names in the environment. */
  static async start({ demo = null, tls = false, settings = {}, regions = 1, listen = '127.0.0.1:0', admin = '127.0.0.1:0', data = null } = {}) {
    const node = new Node();
    data ??= await mkdtemp(join(tmpdir(), 'meridian-browser-'));
    const options = ['dev', '--listen', listen, '--admin', admin, '--data', data];
    if (demo) options.push('--demo', demo);
    if (tls) options.push('--tls');
    if (regions > 1) options.push('--regions', String(regions));
    node.#child = spawn(BIN, options, { stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, ...settings } });
    node.#child.on('error', (error) => console.error(`${BIN}: ${error.message}`));
    Object.assign(node, { data, demo, tls, settings }, await facts(node.#child));
    await until(async () => (await fetch(`${node.admin}/readyz`)).ok, `the node is ready at ${node.admin}`);
    return node;
  }

  again() {
    const { data, demo, tls, settings } = this;
    return Node.start({ demo, tls, settings, data, listen: new URL(this.client).host, admin: new URL(this.admin).host });
  }

  /** Ends it as a crash would; the data stay. */
  async kill() {
    await this.#end('SIGKILL');
  }

  /** Ends it in order; the data stay. */
  async leave() {
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), STOP_MS);
    await this.#end('SIGTERM');
    clearTimeout(timer);
  }

  /** Ends it in order, and its data. */
  async stop() {
    await this.leave();
    await rm(this.data, { recursive: true, force: true });
  }

  async #end(signal) {
    const child = this.#child;
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exit = once(child, 'exit');
    child.kill(signal);
    await exit;
  }

  /** A token of the development node's own user that is good for so long (`5s`); `more`: further options of `meridian token`. */
  async mint(ttl, ...more) {
    const key = ['--key', 'development', '--secret-file', join(this.data, 'development.key')];
    const options = ['token', ...key, '--tenant', 'demo', '--user', 'developer', '--ttl', ttl, ...more];
    const { stdout } = await promisify(execFile)(BIN, options);
    return stdout.trim();
  }

  /** Publishes as a service would; answers whether the log has it. */
  async publish(channel, id, data) {
    try {
      const response = await fetch(`${this.client}/v1/publish`, {
        method: 'POST',
        headers: { authorization: `Bearer ${this.token}`, 'content-type': 'application/json' },
        body: JSON.stringify({ channel, id, data }),
      });
      return response.ok;
    } catch {
      return false;
    }
  }
}

/** `meridian console` for the two regions of a development node; `stop` ends it. */
export async function startConsole(node) {
  const config = join(node.data, 'console.toml');
  const regions = node.regions.map(({ name, client }) => `[regions.${name}]\nurl = "${client}"\n`);
  const key = '[[auth.keys]]\nid = "development"\nalgorithm = "HS256"\nsecret_file = "development.key"\n';
  await writeFile(config, `[node]\nregion = "region-1"\n${regions.join('')}${key}`);
  const options = ['console', '--config', config, '--listen', '127.0.0.1:0'];
  for (const { name, admin } of node.regions) options.push('--edge', `${name}/node-of-${name}=${new URL(admin).host}`);
  const child = spawn(BIN, options, { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = await once(createInterface({ input: child.stdout }), 'line');
  const stop = async () => {
    const exit = once(child, 'exit');
    child.kill('SIGTERM');
    await exit;
  };
  return { url: line.replace('Open the console: ', ''), stop };
}

/** Reads what the node prints, one fact a line; of several regions, all addresses are in `regions`. */
function facts(child) {
  const regions = [];
  const found = {};
  const lines = createInterface({ input: child.stdout });
  return new Promise((done, failed) => {
    child.once('exit', (code, signal) => failed(new Error(`${BIN} ended: ${code ?? signal}`)));
    child.once('error', failed);
    lines.on('line', (line) => {
      const [name, value] = line.split(' ');
      if (name === 'region') regions.push({ name: value });
      if (regions.length > 0 && (name === 'client' || name === 'admin')) regions.at(-1)[name] = value;
      if (!FACTS.includes(name)) return;
      // Of several regions, the first.
      found[name === 'certificate-hash' ? 'certificateHash' : name] ??= value;
      if (Object.keys(found).length === FACTS.length) done({ ...found, regions });
    });
  });
}

export function launch() {
  return chromium.launch({
    executablePath: CHROMIUM,
    args: [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
}

/** A page of its own context; `problems` collects errors of scripts, console and security policy. */
export async function open(browser, url, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  const problems = [];
  page.on('pageerror', (error) => problems.push(error.stack ?? error.message));
  page.on('console', (message) => {
    if (message.type() === 'error') problems.push(message.text());
  });
  await page.exposeFunction('__violation', (text) => problems.push(text));
  await page.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', (event) => {
      window.__violation(`policy: ${event.violatedDirective} ${event.blockedURI}`);
    });
  });
  await page.goto(url);
  return { page, problems, close: () => context.close() };
}

/** Waits for something that is no page's affair. */
export async function until(holds, what) {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    if (await Promise.resolve().then(holds).catch(() => false)) return;
    if (Date.now() > deadline) throw new Error(`waited too long: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
