/** A log as any web server of static files serves it. What a mirror says is signed, so the way to it need not be. */

import { Agent as PlainAgent } from 'node:http';
import { Agent as TlsAgent } from 'node:https';

import { excerpt } from '../../attestation/core/bytes.ts';
import { defineRefusals } from '../../attestation/core/refusal.ts';
import type { LogSource } from '../log/reader.ts';
import { MAX_LOG_FILE_BYTES } from '../log/sources.ts';
import { AnswerTooLarge, exchangeOnce, failureKind, type Answer } from '../platform/http-exchange.ts';

export const mirrorAddressRefusals = defineRefusals('usage', {
  'log-mirror-address': {
    means: 'The address of a mirror of a log is not one that can be used.',
    hint: 'Give http(s)://host/path of the folder that holds `checkpoint` and `tile`, without user, query and fragment.',
  },
});

export const mirrorReachRefusals = defineRefusals('unavailable', {
  'log-mirror-unreachable': {
    means: 'A mirror of a log did not answer as a server of static files does.',
    hint: 'Check the address and the network, or take another mirror; redirections are not followed.',
  },
});

const TIMEOUT_MILLISECONDS = 30_000;
const FOUND = 200;
const NOT_FOUND: readonly number[] = [404, 410];

export interface LogMirror {
  readonly source: LogSource;
  close(): void;
}

/**
 * @param address of the folder with the files of tlog-tiles; from whoever audits
 * @throws RefusalError `log-mirror-address`; its source throws `log-mirror-unreachable`
 */
export function openMirror(address: string): LogMirror {
  const base = readAddress(address);
  const agent =
    base.protocol === 'https:' ? new TlsAgent({ keepAlive: true }) : new PlainAgent({ keepAlive: true });
  return {
    source: async (path) => {
      const { status, body } = await fetchFile(new URL(path, base), agent);
      if (status === FOUND) return body;
      if (NOT_FOUND.includes(status)) return undefined;
      throw unreachable(path, 'status 200 or 404', `status ${status}`);
    },
    close: () => {
      agent.destroy();
    },
  };
}

function readAddress(address: string): URL {
  const url = URL.parse(address.endsWith('/') ? address : `${address}/`);
  const isWeb = url?.protocol === 'https:' || url?.protocol === 'http:';
  if (url === null || !isWeb || /[?#]/.test(address) || url.username !== '' || url.password !== '') {
    const facts = { field: '--url', expected: 'http(s)://host/path', found: excerpt(address) };
    throw mirrorAddressRefusals.error('log-mirror-address', facts);
  }
  return url;
}

async function fetchFile(url: URL, agent: PlainAgent): Promise<Answer> {
  const signal = AbortSignal.timeout(TIMEOUT_MILLISECONDS);
  const message = { method: 'GET', headers: { 'accept-encoding': 'identity' } } as const;
  try {
    return await exchangeOnce(url, agent, message, { signal, maxAnswerBytes: MAX_LOG_FILE_BYTES });
  } catch (cause) {
    const found =
      cause instanceof AnswerTooLarge ? 'a larger file than any of a log' : failureKind(cause, signal).code;
    throw unreachable(url.pathname, 'an answer', excerpt(found), cause);
  }
}

function unreachable(field: string, expected: string, found: string, cause?: unknown): Error {
  const facts = { field: excerpt(field), expected, found };
  return mirrorReachRefusals.error('log-mirror-unreachable', facts, { cause });
}
