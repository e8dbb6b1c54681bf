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

const IMAGE_DIGEST = new Uint8Array(32).fill(0xab);
const wide = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'utf16le'));
const STORY = [
  { pcr: 4, type: EventType.efiAction, data: toUtf8('Calling EFI Application from Boot Option') },
  separator(4),
  { pcr: 4, type: EventType.efiBootServicesApplication, data: toUtf8('path'), digest: IMAGE_DIGEST },
  { pcr: 11, type: EventType.ipl, data: wide('.linux\0'), digest: new Uint8Array(32).fill(1) },
  { pcr: 12, type: EventType.ipl, data: wide('quiet\0') },
  { pcr: 5, type: EventType.efiAction, data: toUtf8('Exit Boot Services Invocation') },
];

/** A document with the registers of one boot, one image and one section; PCR 12 is that of the story. */
function referenceOf(events: typeof STORY, image: string): object {
  const registers = (of: typeof STORY) =>
    new Map(replayEventLog(readEventLog(writeEventLog(of)), Algorithm.sha256));
  const zeros = '00'.repeat(32);
  const value = (pcr: number) => [toHex(registers(events).get(pcr) ?? new Uint8Array(32))];
  return {
    version: 2,
    class: 'tpm',
    name: 'boot',
    bank: 'sha256',
    pcrs: { 4: value(4), 11: value(11), 12: [toHex(registers(STORY).get(12) ?? new Uint8Array(0))] },
    boot: {
      images: [image],
      loader: { digests: [], texts: [] },
      uki: [{ section: '.linux', digest: zeros }],
      mok: [],
      files: {},
      agentPrograms: [],
    },
    provenance: { source: 'a test', recordedAt: 0 },
  };
}

describe('weightgate evidence event-log', () => {
  const files = {
    log: '',
    other: '',
    registers: '',
    wrong: '',
    story: '',
    reference: '',
    otherReference: '',
  };
  let folder = '';

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'weightgate-test-'));
    for (const name of Object.keys(files) as (keyof typeof files)[]) files[name] = join(folder, name);
    await writeFile(files.log, writeEventLog(EVENTS));
    await writeFile(files.other, writeEventLog(OTHER));
    const values = [...replayEventLog(readEventLog(writeEventLog(EVENTS)), Algorithm.sha256)];
    const registers = Object.fromEntries(values.map(([pcr, value]) => [String(pcr), toHex(value)]));
    await writeFile(files.registers, JSON.stringify(registers));
    await writeFile(files.story, writeEventLog(STORY));
    await writeFile(files.reference, JSON.stringify(referenceOf(STORY, toHex(IMAGE_DIGEST))));
    await writeFile(files.otherReference, JSON.stringify(referenceOf(STORY.slice(-1), '11'.repeat(32))));
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

  it('CL-25: tells a boot as a story: the firmware, each image, the hand-over', async () => {
    const { exitCode, output } = await runCommand('evidence', 'event-log', files.story, '--by', 'phase');
    expect(exitCode).toBe(0);
    const image = toHex(IMAGE_DIGEST).slice(0, 16);
    expect(output.split('\n').slice(2)).toEqual([
      'firmware: 2 records, 2 covered by their digests',
      expect.stringMatching(/^ {2}\[1\] PCR 4 EV_EFI_ACTION/) as string,
      expect.stringMatching(/^ {2}\[2\] PCR 4 EV_SEPARATOR/) as string,
      `image 1, ${image}…: 3 records, 1 covered by their digests`,
      expect.stringMatching(/^ {2}\[3\] PCR 4 EV_EFI_BOOT_SERVICES_APPLICATION .*untrusted/) as string,
      expect.stringMatching(/^ {2}\[4\] PCR 11 EV_IPL .*untrusted: \.linux$/) as string,
      expect.stringMatching(/^ {2}\[5\] PCR 12 EV_IPL .*covered: quiet$/) as string,
      'hand-over to the system: 1 records, 1 covered by their digests',
      expect.stringMatching(/^ {2}\[6\] PCR 5 EV_EFI_ACTION .*Exit Boot Services Invocation$/) as string,
      '',
    ]);
    const json = await runCommand('evidence', 'event-log', files.story, '--json');
    const { phases } = JSON.parse(json.output) as { phases: { records: number[] }[] };
    expect(phases.map(({ records }) => records)).toEqual([[1, 2], [3, 4, 5], [6]]);
  });

  it('CL-26: compares with reference values and names the first record that they do not know', async () => {
    const args = ['evidence', 'event-log', files.story, '--reference'];
    const same = await runCommand(...args, files.reference);
    expect([same.exitCode, same.output.match(/^pass {2}PCR (?:4|12)$/gm)?.length]).toEqual([0, 2]);
    const differs = await runCommand(...args, files.otherReference);
    expect(differs.exitCode).toBe(1);
    expect(differs.errors).toContain('event-log-reference');
    expect(differs.output).toMatch(
      new RegExp(
        `^FAIL  PCR 4, record 3, EV_EFI_BOOT_SERVICES_APPLICATION: .*found ${toHex(IMAGE_DIGEST)}$`,
        'm',
      ),
    );
    expect(differs.output).toMatch(/^FAIL {2}PCR 11, record 4: expected [0-9a-f]{64}, found [0-9a-f]{64}$/m);
    expect(differs.output).toMatch(/^pass {2}PCR 12$/m);
  });

  it('refuses what is no log', async () => {
    const { exitCode, errors } = await runCommand('evidence', 'event-log', files.registers);
    expect(exitCode).toBe(3);
    expect(errors).toContain('layout-');
  });
});
