/** An HTTPS server: TLS 1.3, limits against slow or many clients, and an orderly end. */

import type { RequestListener } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';

import { readFileBounded } from '../platform/files.ts';
import { homeRefusals } from './refusals.ts';

const MAX_PEM_BYTES = 256 * 1024;
/** How long a client may take for its headers, and for a whole request. */
const HEADERS_MILLISECONDS = 10_000;
const REQUEST_MILLISECONDS = 30_000;
const KEEP_ALIVE_MILLISECONDS = 5000;
/** How long requests that run may go on after the server was told to stop. */
const DRAIN_MILLISECONDS = 10_000;
const IDLE_CHECK_MILLISECONDS = 50;

/** What is set by the operator. */
export interface ListenerOptions {
  /** Folder that the PEM files are relative to. */
  readonly folder: string;
  readonly tls: { readonly certificate: string; readonly key: string };
  readonly listen: { readonly host: string; readonly port: number };
  /** How many at a time. */
  readonly connections: number;
}

export interface Listener {
  /** `https://host:port` */
  readonly address: string;
  /** Takes no more requests and finishes those that run. */
  close(): Promise<void>;
}

/** @throws RefusalError `home-tls`, `home-port`, `file-*` */
export async function startListener(options: ListenerOptions, handler: RequestListener): Promise<Listener> {
  const server = await createTlsServer(options);
  server.on('request', handler);
  server.maxConnections = options.connections;
  await listenOn(server, options.listen);
  return { address: addressOf(server, options.listen.host), close: () => closeServer(server) };
}

async function createTlsServer({ folder, tls }: ListenerOptions): Promise<Server> {
  const cert = await readFileBounded(join(folder, tls.certificate), MAX_PEM_BYTES);
  const key = await readFileBounded(join(folder, tls.key), MAX_PEM_BYTES);
  try {
    return createServer({
      cert: Buffer.from(cert),
      key: Buffer.from(key),
      minVersion: 'TLSv1.3',
      headersTimeout: HEADERS_MILLISECONDS,
      requestTimeout: REQUEST_MILLISECONDS,
      keepAliveTimeout: KEEP_ALIVE_MILLISECONDS,
      handshakeTimeout: HEADERS_MILLISECONDS,
      connectionsCheckingInterval: 1000,
      maxHeaderSize: 16 * 1024,
    });
  } catch (cause) {
    const facts = {
      field: tls.certificate,
      expected: 'a certificate and its key in PEM',
      found: 'something else',
    };
    throw homeRefusals.error('home-tls', facts, { cause });
  }
}

async function listenOn(server: Server, { host, port }: { host: string; port: number }): Promise<void> {
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, host, resolve);
    });
  } catch (cause) {
    const found = cause instanceof Error && 'code' in cause ? String(cause.code) : 'a failure';
    const facts = { field: `${host}:${port}`, expected: 'a free address of this machine', found };
    throw homeRefusals.error('home-port', facts, { cause });
  }
}

function addressOf(server: Server, host: string): string {
  const { port } = server.address() as AddressInfo;
  return `https://${host.includes(':') ? `[${host}]` : host}:${port}`;
}

async function closeServer(server: Server): Promise<void> {
  const closed = new Promise<void>((resolve) => {
    server.close(() => {
      resolve();
    });
  });
  // A connection that is kept alive becomes idle only when its request is answered.
  const idle = setInterval(() => {
    server.closeIdleConnections();
  }, IDLE_CHECK_MILLISECONDS);
  const deadline = setTimeout(() => {
    server.closeAllConnections();
  }, DRAIN_MILLISECONDS);
  await closed;
  clearInterval(idle);
  clearTimeout(deadline);
}
