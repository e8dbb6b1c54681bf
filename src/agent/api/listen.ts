/** The HTTP server of the inference interface: on this machine only, unless its operator says otherwise. */

import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Express } from 'express';
import { defineRefusals } from '../../../attestation/core/refusal.ts';

export const listenRefusals = defineRefusals('environment', {
  'api-address': {
    means: 'The inference interface cannot listen at its address.',
    hint: 'Choose another port, or stop what uses this one.',
  },
});

export interface ListenOptions {
  /** Default: the loopback address. */
  readonly host?: string;
  /** Default: any free port. */
  readonly port?: number;
}

export interface ListeningApi {
  readonly url: string;
  /** Stops at once; running answers are cut. */
  close(): Promise<void>;
}

/** A caller must send its request within these; how long an answer takes is the application's to bound. */
const HEADERS_MILLISECONDS = 10_000;
const REQUEST_MILLISECONDS = 60_000;
const MAX_CONNECTIONS = 1024;

/** @throws RefusalError `api-address` */
export async function listenInferenceApi(
  app: Express,
  { host = '127.0.0.1', port = 0 }: ListenOptions = {},
): Promise<ListeningApi> {
  const server = createServer(
    { headersTimeout: HEADERS_MILLISECONDS, requestTimeout: REQUEST_MILLISECONDS, maxHeaderSize: 16 * 1024 },
    app,
  );
  server.maxConnections = MAX_CONNECTIONS;
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const found = cause.code ?? 'an error';
      reject(
        listenRefusals.error(
          'api-address',
          { field: `${host}:${port}`, expected: 'a free address', found },
          { cause },
        ),
      );
    });
    server.listen(port, host, resolve);
  });
  const { port: chosen } = server.address() as AddressInfo;
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${chosen}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => {
          resolve();
        });
        server.closeAllConnections();
      }),
  };
}
