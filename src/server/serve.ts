/** Runs a server on its home: TLS 1.3, limits against slow or many clients, and an orderly end. */

import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';

import packageDocument from '../../package.json' with { type: 'json' };
import type { Clock } from '../platform/clock.ts';
import { readFileBounded } from '../platform/files.ts';
import type { Logger } from '../platform/logging.ts';
import { createApp } from './app.ts';
import type { ServerHome } from './home.ts';
import { homeRefusals } from './refusals.ts';

/** Names this program in the decisions that it makes. */
const SERVER_BUILD = `weightgate/${packageDocument.version}`;

const MAX_PEM_BYTES = 256 * 1024;
/** How long a client may take for its headers, and for a whole request. */
const HEADERS_MILLISECONDS = 10_000;
const REQUEST_MILLISECONDS = 30_000;
const KEEP_ALIVE_MILLISECONDS = 5000;
/** How long requests that run may go on after the server was told to stop. */
const DRAIN_MILLISECONDS = 10_000;
const IDLE_CHECK_MILLISECONDS = 50;

export interface RunningServer {
  /** `https://host:port` */
  readonly address: string;
  /** Takes no more requests, finishes those that run, then closes the home. Calling it again changes nothing. */
  close(): Promise<void>;
}

/**
 * Starts a server on an open home and takes the home over: it is closed with the server, and when starting fails.
 *
 * @throws RefusalError `home-tls`, `home-port`, `file-*`
 */
export async function startServer(home: ServerHome, logger: Logger, clock: Clock): Promise<RunningServer> {
  try {
    const { limits, listen } = home.configuration;
    const {
      requestsPerMinute,
      openChallenges: maxOpenChallenges,
      openEnrolments: maxOpenEnrolments,
    } = limits;
    const bounds = { requestsPerMinute, maxOpenChallenges, maxOpenEnrolments };
    const app = createApp({ ...home, ...bounds, serverBuild: SERVER_BUILD, logger, clock });
    const server = await createTlsServer(home);
    server.on('request', app);
    server.maxConnections = limits.connections;
    await listenOn(server, listen);
    const address = addressOf(server, listen.host);
    logger.info({ address, mode: home.configuration.mode, origin: home.configuration.origin }, 'serving');
    return { address, close: closeOnce(server, home, logger) };
  } catch (error) {
    await home.closeAll();
    throw error;
  }
}

async function createTlsServer({ path, configuration }: ServerHome): Promise<Server> {
  const cert = await readFileBounded(join(path, configuration.tls.certificate), MAX_PEM_BYTES);
  const key = await readFileBounded(join(path, configuration.tls.key), MAX_PEM_BYTES);
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
    const { certificate } = configuration.tls;
    const facts = {
      field: certificate,
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

function closeOnce(server: Server, home: ServerHome, logger: Logger): () => Promise<void> {
  let closing: Promise<void> | undefined;
  return () => (closing ??= closeServer(server, home, logger));
}

async function closeServer(server: Server, home: ServerHome, logger: Logger): Promise<void> {
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
  await home.closeAll();
  logger.info('stopped');
}
