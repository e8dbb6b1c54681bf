/** Opens a module of this project in a headless Chromium, as a page of the loopback address, and waits for its answer. */

import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { rolldown } from 'rolldown';

/** The program, or undefined where there is none. */
export function findChromium(): string | undefined {
  try {
    return execFileSync('sh', ['-c', 'command -v chromium'], { encoding: 'utf8' }).trim();
  } catch {
    return undefined;
  }
}

async function bundle(module: string): Promise<string> {
  const build = await rolldown({ input: module, platform: 'browser' });
  const { output } = await build.generate({ format: 'esm' });
  await build.close();
  return output[0].code;
}

/**
 * Runs the module in a page. It finds its data at `/data` and posts what it found to `/answer`, both as text.
 *
 * WebCrypto exists in a page of the loopback address, not in one of a file.
 */
export async function runInChromium(program: string, module: string, data: string): Promise<string> {
  const code = await bundle(module);
  const answer = Promise.withResolvers<string>();
  const pages: Readonly<Record<string, readonly [type: string, body: string]>> = {
    '/': ['text/html; charset=utf-8', '<!doctype html><script type="module" src="/module.js"></script>'],
    '/module.js': ['text/javascript; charset=utf-8', code],
    '/data': ['text/plain; charset=utf-8', data],
  };
  const server = createServer((request, response) => {
    const [type, body] = pages[request.url ?? ''] ?? ['text/plain', ''];
    response.setHeader('content-type', type).end(body);
    if (request.url !== '/answer') return;
    request.setEncoding('utf8');
    let text = '';
    request
      .on('data', (piece: string) => (text += piece))
      .on('end', () => {
        answer.resolve(text);
      });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const profile = await mkdtemp(join(tmpdir(), 'weightgate-browser-'));
  await writeFile(join(profile, 'First Run'), '');
  const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  const options = ['--headless', '--no-sandbox', '--disable-gpu', `--user-data-dir=${profile}`, address];
  const browser = spawn(program, options, { stdio: 'ignore', detached: true });
  const ended = once(browser, 'close');
  void ended
    .catch(() => undefined)
    .then(() => {
      answer.reject(new Error('the browser ended without an answer'));
    });
  try {
    return await answer.promise;
  } finally {
    // Its own process group: a browser is several processes.
    if (browser.pid !== undefined) process.kill(-browser.pid, 'SIGKILL');
    await ended.catch(() => undefined);
    server.closeAllConnections();
    server.close();
    await rm(profile, { recursive: true, force: true, maxRetries: 5 });
  }
}
