/** A lock between processes of one machine, which the system takes back when its holder is killed. */

import { DatabaseSync } from 'node:sqlite';

/** Result code of SQLite: another connection holds the lock. */
const SQLITE_BUSY = 5;

export interface ProcessLock {
  release(): void;
}

/**
 * Holds an exclusive transaction on a database of its own, which nobody writes to.
 *
 * @returns undefined when another process holds it
 */
export function takeProcessLock(path: string): ProcessLock | undefined {
  const lock = new DatabaseSync(path, { timeout: 0 });
  try {
    lock.exec('BEGIN EXCLUSIVE');
  } catch (cause) {
    lock.close();
    if (cause instanceof Error && 'errcode' in cause && cause.errcode === SQLITE_BUSY) return undefined;
    throw cause;
  }
  return {
    release: () => {
      lock.close();
    },
  };
}
