import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readConfinement, type Confinement } from '../../../native/process/confinement.ts';
import { ORDINARY_USER, ordinaryUserMissing } from '../../support/ordinary-user.ts';

interface Stage {
  readonly confinement: Confinement;
  readonly attempts: Readonly<Record<string, string>>;
}

const child = fileURLToPath(new URL('./confined-child.ts', import.meta.url));
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'weightgate-confinement-'));
  chmodSync(folder, 0o777);
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

function runConfined(identity: { uid?: number; gid?: number }): { isolated: Stage; sealed: Stage } {
  const target = join(folder, 'written');
  const done = spawnSync(process.execPath, [child, 'launch', target], {
    ...identity,
    env: {},
    encoding: 'utf8',
  });
  expect(done.stderr).toBe('');
  expect(done.status).toBe(0);
  return JSON.parse(done.stdout) as { isolated: Stage; sealed: Stage };
}

const identities = [
  { name: 'this user', identity: {} },
  ...(ordinaryUserMissing === undefined
    ? [{ name: 'an ordinary user', identity: { uid: ORDINARY_USER, gid: ORDINARY_USER } }]
    : []),
];

describe.each(identities)('a confined process of $name', ({ identity }) => {
  it('GD-30: reads back from the kernel what is in force', () => {
    const { isolated, sealed } = runConfined(identity);
    const hardened = { coreLimitBytes: 0, dumpable: false, noNewPrivileges: true, parentDeathSignal: 9 };
    expect(isolated.confinement).toEqual({ ...hardened, seccompFilters: 1, openRings: 0 });
    expect(sealed.confinement).toEqual({ ...hardened, seccompFilters: 2, openRings: 0 });
  });

  it('GD-31: opens no socket, neither to the network nor to this machine', () => {
    expect(runConfined(identity).isolated.attempts).toMatchObject({
      connectTcp: 'EPERM',
      connectUnix: 'EPERM',
      listen: 'EPERM',
      write: 'allowed',
      run: 'undefined',
    });
  });

  it('GD-32: once sealed, writes no file and runs no program', () => {
    const { attempts } = runConfined(identity).sealed;
    expect(attempts).toMatchObject({ write: 'EPERM', run: 'EPERM', connectTcp: 'EPERM', listen: 'EPERM' });
  });
});

describe('confinement', () => {
  it('GD-33: refuses to live on under another parent than the one that started it', () => {
    const script = `import { dieWithParent } from ${JSON.stringify(fileURLToPath(new URL('../../../native/process/confinement.ts', import.meta.url)))};
      try { dieWithParent(1); } catch (error) { process.stdout.write(error.refusal.code); }`;
    const done = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
    expect(done.stdout).toBe('process-orphaned');
  });

  it('reports an unconfined process as unconfined', () => {
    expect(readConfinement()).toMatchObject({ dumpable: true, parentDeathSignal: 0 });
  });
});
