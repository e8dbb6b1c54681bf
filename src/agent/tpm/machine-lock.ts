/**
 * A lock among the processes of one machine, for what must not interleave in its TPM. An abstract socket is the only
 * lock that the kernel itself takes back when its holder is killed. It is one for each network namespace: agents in
 * containers of their own need a TPM of their own, too.
 */

import { once } from 'node:events';
import { createServer, type Server } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';

import { defineRefusals } from '../../../attestation/core/refusal.ts';

export const machineLockRefusals = defineRefusals('unavailable', {
  'tpm-machine-busy': {
    means: 'Another agent on this machine is at work with the TPM and does not come to an end.',
    hint: 'Try again; if it goes on, look for an agent that hangs in a command to the TPM.',
  },
});

const POLL_MILLISECONDS = 20;
const LIMIT_MILLISECONDS = 15_000;

/** Does work that no other process of this machine does at the same time. @throws RefusalError `tpm-machine-busy` */
export async function withMachineLock<T>(name: string, work: () => Promise<T>): Promise<T> {
  const lock = await take(`\0weightgate/${name}`);
  try {
    return await work();
  } finally {
    lock.close();
    await once(lock, 'close');
  }
}

async function take(path: string): Promise<Server> {
  const until = performance.now() + LIMIT_MILLISECONDS;
  for (;;) {
    const lock = await tryToTake(path);
    if (lock !== undefined) return lock;
    if (performance.now() > until) {
      throw machineLockRefusals.error('tpm-machine-busy', {
        field: path.slice(1),
        expected: `its turn within ${LIMIT_MILLISECONDS / 1000} s`,
        found: 'another agent',
      });
    }
    await pause(POLL_MILLISECONDS);
  }
}

async function tryToTake(path: string): Promise<Server | undefined> {
  const server = createServer((connection) => connection.destroy());
  try {
    server.listen({ path });
    await once(server, 'listening');
    return server;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EADDRINUSE') return undefined;
    throw error;
  }
}
