/** One mirror: its address, its connections, and the requests that are sent to it and to where it sends us on. */

import { Agent as PlainAgent, request as requestPlain, type IncomingMessage } from 'node:http';
import { Agent as TlsAgent, request as requestTls } from 'node:https';

import { systemClock, type Clock } from '../../platform/clock.ts';
import { checkToken, parseAddress } from './address.ts';
import { Slots } from './slots.ts';
import { STALL_LIMITS, type StallLimits } from './stall-watch.ts';
import { RETRY_LIMITS, type RetryLimits } from './tries.ts';

/** SW-40. */
const DEFAULT_CONCURRENT_READS = 8;

export interface MirrorOptions {
  /** Sent to the origin of the address alone, as a bearer token (SW-39). */
  readonly token?: string | undefined;
  readonly concurrentReads?: number | undefined;
  /** PEM of authorities to trust in place of the system's. */
  readonly authorityCertificates?: string | undefined;
  readonly retry?: RetryLimits | undefined;
  readonly stall?: StallLimits | undefined;
  readonly clock?: Pick<Clock, 'posixSeconds'> | undefined;
}

export class Mirror {
  readonly address: URL;
  readonly concurrentReads: number;
  readonly slots: Slots;
  readonly retry: RetryLimits;
  readonly stall: StallLimits;
  readonly clock: Pick<Clock, 'posixSeconds'>;
  readonly #token: string | undefined;
  /** Connections that are not in use keep nobody waiting: they do not hold the process. */
  readonly #plain = new PlainAgent({ keepAlive: true });
  readonly #tls: TlsAgent;

  /** @throws RefusalError `source-address`, `source-credential` */
  constructor(address: string, options: MirrorOptions) {
    this.address = parseAddress(address);
    if (options.token !== undefined) checkToken(this.address, options.token);
    this.concurrentReads = options.concurrentReads ?? DEFAULT_CONCURRENT_READS;
    this.slots = new Slots(this.concurrentReads);
    this.retry = options.retry ?? RETRY_LIMITS;
    this.stall = options.stall ?? STALL_LIMITS;
    this.clock = options.clock ?? systemClock;
    this.#token = options.token;
    const { authorityCertificates: ca } = options;
    this.#tls = new TlsAgent({ keepAlive: true, ...(ca === undefined ? {} : { ca }) });
  }

  /** Sends a GET; resolves with the head of the answer, whatever its status. Follows nothing. */
  send(url: URL, headers: Readonly<Record<string, string>>, signal: AbortSignal): Promise<IncomingMessage> {
    const credential =
      this.#token !== undefined && url.origin === this.address.origin
        ? { authorization: `Bearer ${this.#token}` }
        : {};
    const options = {
      headers: { 'user-agent': 'weightgate', 'accept-encoding': 'identity', ...headers, ...credential },
      signal,
    };
    return new Promise((resolve, reject) => {
      const outgoing =
        url.protocol === 'https:'
          ? requestTls(url, { ...options, agent: this.#tls })
          : requestPlain(url, { ...options, agent: this.#plain });
      outgoing.once('response', resolve).once('error', reject).end();
    });
  }
}
