/** A key distribution service on loopback that answers, or fails, as a test says. */

import { createServer } from 'node:https';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

import { onTestFinished } from 'vitest';

import type { Clock } from '../../src/platform/clock.ts';
import type { AmdKdsOptions } from '../../src/platform/collateral/amd-kds.ts';
import { createDevelopmentAuthority } from '../../src/platform/tls-authority.ts';

export type KeyHandler = (incoming: IncomingMessage, outgoing: ServerResponse) => void;

export interface KeyServer {
  /** What a client of this server needs, with a clock that only its own pauses move. */
  readonly options: Required<AmdKdsOptions>;
  /** Paths and queries in the order in which they were asked for. */
  readonly asked: readonly string[];
  /** Pauses that the client made, in milliseconds. */
  readonly pauses: readonly number[];
  readonly clock: Clock & { advance(milliseconds: number): void };
}

function manualClock(): KeyServer['clock'] {
  let now = 0;
  const start = Math.floor(Date.now() / 1000);
  return {
    posixSeconds: () => start + Math.floor(now / 1000),
    monotonicMilliseconds: () => now,
    advance: (milliseconds) => {
      now += milliseconds;
    },
  };
}

/** Making an authority takes seconds: one for all the servers of a test file. */
let authority: ReturnType<typeof createDevelopmentAuthority> | undefined;

/** Answers with bytes, or status 404 for undefined. */
export function respond(outgoing: ServerResponse, body: Uint8Array | undefined): void {
  outgoing.writeHead(body === undefined ? 404 : 200, { 'content-type': 'application/octet-stream' });
  outgoing.end(body);
}

/** Starts the service; it ends with the test. */
export async function startKeyServer(handler: KeyHandler): Promise<KeyServer> {
  authority ??= createDevelopmentAuthority([], Math.floor(Date.now() / 1000));
  const { authority: issuer, server: identity } = await authority;
  const asked: string[] = [];
  const credentials = { cert: identity.certificate, key: identity.privateKey };
  const server = createServer(credentials, (incoming, outgoing) => {
    asked.push(incoming.url ?? '');
    handler(incoming, outgoing);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const clock = manualClock();
  const pauses: number[] = [];
  const options = {
    address: `https://127.0.0.1:${(server.address() as AddressInfo).port}`,
    authorityCertificate: issuer.certificate,
    timeoutMilliseconds: 1000,
    clock,
    pause: (milliseconds: number) => {
      pauses.push(milliseconds);
      clock.advance(milliseconds);
      return Promise.resolve();
    },
  };
  return { options, asked, pauses, clock };
}
