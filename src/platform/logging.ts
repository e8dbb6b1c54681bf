/** Operational logs: one JSON line an event on standard error. Never a secret, a prompt or a piece of evidence. */

import { pino, type Logger } from 'pino';

export type { Logger };

/** Members whose values must never be written, wherever they stand in an event. */
const SECRET_MEMBERS = [
  'key',
  'modelKey',
  'passphrase',
  'authorization',
  'credential',
  'wrappedKey',
  'nonce',
];

/** @param level `silent` turns it off, as the tests do */
export function createLogger(level: 'silent' | 'info' | 'debug' = 'info'): Logger {
  return pino(
    {
      level,
      base: null,
      redact: { paths: SECRET_MEMBERS.flatMap((name) => [name, `*.${name}`]), censor: '[not logged]' },
    },
    pino.destination({ fd: 2, sync: true }),
  );
}
