import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { X509Certificate } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { toHex } from '../../../attestation/core/bytes.ts';
import {
  copySoftwareTpm,
  manufactureSoftwareTpm,
  SoftwareTpm,
} from '../../../src/agent/simulated/software-tpm.ts';
import { TpmAttester } from '../../../src/agent/tpm/attester.ts';
import { toPcrValues, toSelectionList } from '../../../native/tpm-commands/selection.ts';
import { Tpm } from '../../../native/tpm-commands/tpm.ts';
import { refusalCodeAsync } from '../../support/refusal-code.ts';
import { startTestTpm, swtpmMissing, type TestTpm } from '../../support/swtpm.ts';

if (swtpmMissing !== undefined) process.stderr.write(`skipped: ${swtpmMissing}\n`);

async function withTpm<T>(address: string, work: (tpm: Tpm) => Promise<T>): Promise<T> {
  const tpm = await Tpm.open(address);
  try {
    return await work(tpm);
  } finally {
    await tpm.close();
  }
}

const readSeven = (tpm: Tpm): Promise<unknown> =>
  tpm.readPcrs(toSelectionList({ sha256: [7] })).then((values) => toPcrValues(values).sha256?.['7']);

describe.skipIf(swtpmMissing !== undefined)('a TPM in software', () => {
  let simulator: TestTpm;

  beforeAll(async () => {
    simulator = await startTestTpm();
  });
  afterAll(() => simulator.remove());

  it('TA-19: its authority certifies its endorsement key', async () => {
    const attester = await TpmAttester.open(simulator.tpm.address);
    await attester.close();
    const [root, issuer] = simulator.anchors.map((der) => new X509Certificate(der));
    const certificate = new X509Certificate(attester.endorsementCertificate);
    expect(certificate.verify(issuer!.publicKey)).toBe(true);
    expect(issuer!.verify(root!.publicKey)).toBe(true);
    expect(root!.verify(root!.publicKey)).toBe(true);
  });

  it('TA-18: listens on the loopback interface only', async () => {
    const port = Number(/port=([0-9]+)$/.exec(simulator.tpm.address)?.[1]);
    const rows = (await readFile('/proc/net/tcp', 'utf8')).split('\n').map((row) => row.trim().split(/\s+/));
    const listening = rows.filter(([, local, , state]) => {
      const localPort = Number.parseInt(local?.split(':')[1] ?? '', 16);
      return state === '0A' && (localPort === port || localPort === port + 1);
    });
    expect(listening.map(([, local]) => local?.split(':')[0])).toEqual(['0100007F', '0100007F']);
  });

  it('TA-18: keeps the key of its authority to its owner', async () => {
    const { mode } = await stat(join(simulator.folder, 'authority'));
    expect(mode & 0o077).toBe(0);
  });

  it('TA-19: a reset raises the reset count, empties the PCRs and keeps the keys', async () => {
    const { tpm } = simulator;
    const name = async (): Promise<string> => {
      const attester = await TpmAttester.open(tpm.address);
      await attester.close();
      return toHex(attester.attestationKeyName);
    };
    await tpm.measureBoot({ 7: [new Uint8Array(32).fill(1)] });
    const nameBefore = await name();
    const before = await withTpm(tpm.address, (opened) => opened.clock());
    expect(await withTpm(tpm.address, readSeven)).not.toBe('00'.repeat(32));
    await tpm.reset();
    const after = await withTpm(tpm.address, (opened) => opened.clock());
    expect(after.clockInfo.resetCount).toBe(before.clockInfo.resetCount + 1);
    expect(after.clockInfo.clock).toBeGreaterThan(before.clockInfo.clock);
    expect(after.clockInfo.safe).toBe(1);
    expect(await withTpm(tpm.address, readSeven)).toBe('00'.repeat(32));
    expect(await name()).toBe(nameBefore);
  });

  it('a copy of its folder is a second TPM with the same keys', async () => {
    const original = await startTestTpm();
    await original.tpm.stop();
    const folder = await mkdtemp(join(tmpdir(), 'weightgate-swtpm-'));
    const copyFolder = join(folder, 'copy');
    await copySoftwareTpm(original.folder, copyFolder);
    const copy = await SoftwareTpm.start(copyFolder);
    const again = await SoftwareTpm.start(original.folder);
    const names = await Promise.all(
      [copy, again].map(async ({ address }) => {
        const attester = await TpmAttester.open(address);
        await attester.close();
        return toHex(attester.attestationKeyName);
      }),
    );
    await copy.stop();
    await again.stop();
    await original.remove();
    await rm(folder, { recursive: true });
    expect(names[0]).toBe(names[1]);
  });

  it('two TPMs certified by one authority have different keys', async () => {
    const authorityFolder = join(simulator.folder, 'authority');
    const other = await startTestTpm({ authorityFolder });
    const certificate = (await openOnce(other.tpm.address)).endorsementCertificate;
    await other.remove();
    expect(other.anchors.map(toHex)).toEqual(simulator.anchors.map(toHex));
    expect(toHex(certificate)).not.toBe(
      toHex((await openOnce(simulator.tpm.address)).endorsementCertificate),
    );
    expect(new X509Certificate(certificate).verify(new X509Certificate(other.anchors[1]!).publicKey)).toBe(
      true,
    );
  });

  it('is refused where it cannot be made or started', async () => {
    expect(await refusalCodeAsync(() => manufactureSoftwareTpm('/dev/null/tpm'))).toBe(
      'tpm-simulator-failed',
    );
    const folder = await mkdtemp(join(tmpdir(), 'weightgate-swtpm-'));
    expect(await refusalCodeAsync(() => SoftwareTpm.start(join(folder, 'none')))).toBe(
      'tpm-simulator-failed',
    );
    await rm(folder, { recursive: true });
  });

  it.each(['process.exit(7)', "process.kill(process.pid, 'SIGKILL')"])(
    'TA-18: ends with the process that started it, by %s',
    async (ending) => {
      await simulator.tpm.stop();
      const module = new URL('../../../src/agent/simulated/software-tpm.ts', import.meta.url).href;
      const script = `
        import { SoftwareTpm } from '${module}';
        const tpm = await SoftwareTpm.start(${JSON.stringify(simulator.folder)});
        process.stdout.write(tpm.address, () => ${ending});`;
      const { output } = await runScript(script);
      expect(output).toMatch(/^swtpm:/);
      // The kernel ends it after its parent; somebody may reach it in between.
      const reach = async (): Promise<void> => (await Tpm.open(output)).close();
      await expect.poll(() => refusalCodeAsync(reach), { timeout: 5000 }).toBe('tpm-unreachable');
    },
  );

  it('TA-5: a process can exit while the simulator is suspended', async () => {
    const suspended = await startTestTpm();
    const module = new URL('../../../src/agent/tpm/attester.ts', import.meta.url).href;
    const script = `
      import { TpmAttester } from '${module}';
      const attester = await TpmAttester.open('${suspended.tpm.address}', { commandTimeoutSeconds: 2 });
      process.kill(${String(suspended.tpm.processId)}, 'SIGSTOP');
      await attester.clock().catch((error) => process.stdout.write(error.refusal.code));
      await attester.close();
      const again = TpmAttester.open('${suspended.tpm.address}', { openTimeoutSeconds: 0.5 });
      await again.catch((error) => process.stdout.write(' ' + error.refusal.code));
      process.exit(7);`;
    const { output, code } = await runScript(script);
    process.kill(suspended.tpm.processId!, 'SIGCONT');
    await suspended.remove();
    expect(output).toBe('tpm-timeout tpm-busy');
    expect(code).toBe(7);
  });
});

async function openOnce(address: string): Promise<TpmAttester> {
  const attester = await TpmAttester.open(address);
  await attester.close();
  return attester;
}

/** Runs a module in a process of its own, killed after ten seconds. */
async function runScript(script: string): Promise<{ readonly output: string; readonly code: number | null }> {
  const child = spawn(process.execPath, ['--input-type=module', '--eval', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: 10_000,
    killSignal: 'SIGKILL',
  });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  const [code] = (await once(child, 'close')) as [number | null];
  return { output, code };
}
