/** `weightgate evidence event-log` as a person uses it. */

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { toHex, toUtf8 } from '../../attestation/core/bytes.ts';
import { EventType } from '../../attestation/tpm/event-log/event-types.ts';
import { readEventLog } from '../../attestation/tpm/event-log/read.ts';
import { replayEventLog } from '../../attestation/tpm/event-log/replay.ts';
import { Algorithm } from '../../attestation/tpm/layout.ts';
import { runCommand } from '../support/command-line.ts';
import { separator, writeEventLog } from '../support/event-log-writer.ts';

const EVENTS = [
  { pcr: 4, type: EventType.efiAction, data: toUtf8('Calling EFI Application from Boot Option') },
  separator(4),
  { pcr: 8, type: EventType.ipl, data: toUtf8('\u001b[2J evil'), digest: new Uint8Array(32) },
];
const OTHER = EVENTS.map((event, i) =>
  i === 0 ? { ...event, data: toUtf8('Calling something else') } : event,
);

describe('weightgate evidence event-log', () => {
  const files = { log: '', other: '', registers: '', wrong: '' };
  let folder = '';

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'weightgate-test-'));
    for (const name of Object.keys(files) as (keyof typeof files)[]) files[name] = join(folder, name);
    await writeFile(files.log, writeEventLog(EVENTS));
    await writeFile(files.other, writeEventLog(OTHER));
    const values = [...replayEventLog(readEventLog(writeEventLog(EVENTS)), Algorithm.sha256)];
    const registers = Object.fromEntries(values.map(([pcr, value]) => [String(pcr), toHex(value)]));
    await writeFile(files.registers, JSON.stringify(registers));
    await writeFile(files.wrong, JSON.stringify({ ...registers, 8: '00'.repeat(32) }));
  });

  afterAll(async () => {
    await rm(folder, { recursive: true, force: true });
  });

  it('shows what booted, says what is proven, and lets nothing unprintable through', async () => {
    const { exitCode, output } = await runCommand('evidence', 'event-log', files.log);
    expect(exitCode).toBe(0);
    expect(output).toContain('[1] EV_EFI_ACTION');
    expect(output).toContain('covered: Calling EFI Application from Boot Option');
    expect(output).toMatch(/\[3\] EV_IPL {2}0{16}… {2}untrusted: 9 bytes 1b5b324a/);
    expect(output).toContain('secure boot  cannot be told');
    expect(output).not.toContain('\u001b');
  });

  it('compares with registers', async () => {
    const same = await runCommand('evidence', 'event-log', files.log, '--pcrs', files.registers);
    expect([same.exitCode, same.output.match(/^pass {2}PCR [48]$/gm)?.length]).toEqual([0, 2]);
    const differs = await runCommand('evidence', 'event-log', files.log, '--pcrs', files.wrong);
    expect(differs.exitCode).toBe(1);
    expect(differs.output).toMatch(/^FAIL {2}PCR 8: expected 0{64}/m);
    expect(differs.errors).toContain('event-log-register');
  });

  it('EL-16: compares with another boot and names the first record that differs', async () => {
    const args = ['evidence', 'event-log', files.other, '--compare', files.log, '--json'];
    const { exitCode, output, errors } = await runCommand(...args);
    expect(exitCode).toBe(1);
    expect(errors).toContain('event-log-other-boot');
    const { checks } = JSON.parse(output) as { checks: { outcome: string; field: string }[] };
    expect(checks.map(({ outcome, field }) => `${outcome} ${field}`)).toEqual([
      'failed PCR 4, record 1',
      'passed PCR 8',
    ]);
  });

  it('refuses what is no log', async () => {
    const { exitCode, errors } = await runCommand('evidence', 'event-log', files.registers);
    expect(exitCode).toBe(3);
    expect(errors).toContain('layout-');
  });
});
