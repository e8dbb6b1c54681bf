/** A process that confines itself, tries what it gave up, and writes what happened as JSON. Run by the test beside it. */

import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { argv, execPath, ppid, stdout } from 'node:process';
import {
  becomeProgram,
  dieWithParent,
  hardenProcess,
  readConfinement,
  renounceSystemCalls,
} from '../../../native/process/confinement.ts';
import { ISOLATION, SEALED } from '../../../native/process/seccomp-filter.ts';

const [, path = '', stage, target = ''] = argv;

async function attempts(): Promise<Record<string, string>> {
  return {
    connectTcp: await outcome((done) => connect(9, '127.0.0.1').on('error', done).on('connect', done)),
    connectUnix: await outcome((done) => connect('/nonexistent.sock').on('error', done).on('connect', done)),
    listen: await outcome((done) => createServer().on('error', done).listen(0, '127.0.0.1', done)),
    write: thrown(() => {
      writeFileSync(target, 'weights');
    }),
    run: String((spawnSync('/bin/true').error as NodeJS.ErrnoException | undefined)?.code),
  };
}

function outcome(start: (done: (error?: NodeJS.ErrnoException) => void) => unknown): Promise<string> {
  return new Promise((resolve) => {
    start((error) => {
      resolve(error?.code ?? 'allowed');
    });
  });
}

function thrown(action: () => void): string {
  try {
    action();
    return 'allowed';
  } catch (error) {
    return String((error as NodeJS.ErrnoException).code);
  }
}

if (stage === 'launch') {
  hardenProcess();
  dieWithParent(ppid);
  renounceSystemCalls(ISOLATION);
  becomeProgram(execPath, [execPath, path, 'isolated', target], {}, []);
}
hardenProcess();
const isolated = { confinement: readConfinement(), attempts: await attempts() };
renounceSystemCalls(SEALED);
const sealed = { confinement: readConfinement(), attempts: await attempts() };
stdout.write(JSON.stringify({ isolated, sealed }));
