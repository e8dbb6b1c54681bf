import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';

import { describe, expect, it, onTestFinished } from 'vitest';

import { openMirror } from '../../src/audit/mirror-source.ts';
import { MAX_LOG_FILE_BYTES } from '../../src/log/sources.ts';
import { refusalCode, refusalCodeAsync } from '../support/refusal-code.ts';

/** @returns a mirror at a server that answers so */
async function mirrorOf(answer: RequestListener, path = '') {
  const server = createServer(answer).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const mirror = openMirror(`http://127.0.0.1:${port}${path}`);
  onTestFinished(() => {
    mirror.close();
    server.close();
  });
  return { mirror, server };
}

describe('a mirror of a log', () => {
  it('AU-2: serves the files of a folder, wherever that is', async () => {
    const asked: string[] = [];
    for (const path of ['', '/', '/logs/one', '/logs/one/']) {
      const { mirror } = await mirrorOf((request, response) => {
        asked.push(request.url ?? '');
        response.end('bytes');
      }, path);
      expect(Buffer.from((await mirror.source('tile/entries/x001/000.p/7'))!).toString()).toBe('bytes');
    }
    expect(asked).toEqual(
      ['', '', '/logs/one', '/logs/one'].map((folder) => `${folder}/tile/entries/x001/000.p/7`),
    );
  });

  it.each([404, 410])('AU-2: has no file where it answers %d', async (status) => {
    const { mirror } = await mirrorOf((_request, response) => response.writeHead(status).end('none'));
    expect(await mirror.source('checkpoint')).toBeUndefined();
  });

  it.each([204, 206, 301, 302, 403, 429, 500, 503])(
    'AU-2: is no mirror where it answers %d',
    async (status) => {
      const { mirror } = await mirrorOf((_request, response) =>
        response.writeHead(status, { location: 'http://127.0.0.1:1/' }).end(),
      );
      expect(await refusalCodeAsync(() => mirror.source('checkpoint'))).toBe('log-mirror-unreachable');
    },
  );

  it('W11: sends no more than a file of a log can have, and an answer that ends', async () => {
    const { mirror } = await mirrorOf((_request, response) => {
      response.end(Buffer.alloc(MAX_LOG_FILE_BYTES + 1));
    });
    expect(await refusalCodeAsync(() => mirror.source('checkpoint'))).toBe('log-mirror-unreachable');
    const { mirror: broken, server } = await mirrorOf((_request, response) => {
      response.writeHead(200, { 'content-length': 100 });
      response.write('less', () => response.destroy());
    });
    expect(await refusalCodeAsync(() => broken.source('checkpoint'))).toBe('log-mirror-unreachable');
    server.close();
    server.closeAllConnections();
    expect(await refusalCodeAsync(() => broken.source('checkpoint'))).toBe('log-mirror-unreachable');
  });

  it.each([
    'mirror.example',
    'ftp://mirror.example/log',
    'file:///log',
    'https://user@mirror.example/',
    'https://:secret@mirror.example/',
    'https://mirror.example/?log',
    'https://mirror.example/#log',
    'https://',
    '',
  ])('CL-5: %j is no address of one', (address) => {
    expect(refusalCode(() => openMirror(address))).toBe('log-mirror-address');
  });
});
