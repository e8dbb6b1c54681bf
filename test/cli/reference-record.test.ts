/** Recording a good machine, and judging that machine and others by the record and by the policy that is shipped. */

import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';

import type { JsonValue } from '../../attestation/core/canonical-json.ts';
import { NO_COMPANIONS } from '../../attestation/core/composite/companions.ts';
import { tpmDeviceClass } from '../../attestation/tpm/device-class.ts';
import { enrolmentRecord } from '../../attestation/tpm/enrolment.ts';
import { softwareTpmAnchors } from '../../src/agent/simulated/software-tpm.ts';
import { TpmAttester } from '../../src/agent/tpm/attester.ts';
import { GOOD_BOOT, OTHER_COMMAND_LINE, OTHER_KERNEL } from '../../src/cli/demo/boots.ts';
import { DemoMachine } from '../../src/cli/demo/machine.ts';
import { checkEnrolment, deviceValueOf } from '../agent/tpm/verification.ts';
import { runCommand } from '../support/command-line.ts';
import { RELEASE_SETTINGS } from '../support/owner.ts';
import { swtpmMissing } from '../support/swtpm.ts';

if (swtpmMissing !== undefined) process.stderr.write(`skipped: ${swtpmMissing}\n`);

type Document = Readonly<Record<string, JsonValue>>;

/** The appraisal policy of the shipped settings; whether the TPM is a copy is asked elsewhere. */
async function shippedPolicy(): Promise<Document> {
  const { tpm } = parse(await readFile(RELEASE_SETTINGS, 'utf8')) as { readonly tpm: Document };
  const { endorsementValidity: _, ...policy } = tpm;
  return { version: 2, class: 'tpm', ...policy, ratchet: 'none' };
}

describe.skipIf(swtpmMissing !== undefined)('a machine that is recorded', () => {
  let folder: string;
  let machine: DemoMachine;
  let reference: Document;

  const record = (out: string, ...args: readonly string[]) =>
    runCommand(
      ...['reference', 'record', '--tpm', machine.address, '--name', 'good', '--source', 'a test'],
      ...['--tpm-event-log', machine.eventLog, '--out', join(folder, out), ...args],
    );

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'weightgate-record-'));
    machine = await DemoMachine.switchOn(join(folder, 'machine'));
    const outcome = await record('good.json', '--pcrs', '0,2,7', '--boot', 'images,loader');
    expect(outcome).toMatchObject({ exitCode: 0, errors: '' });
    reference = JSON.parse(await readFile(join(folder, 'good.json'), 'utf8')) as Document;
  }, 60_000);
  afterAll(async () => {
    await machine[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  });

  async function codes(): Promise<readonly string[]> {
    const attester = await TpmAttester.open(machine.address, { logs: { eventLog: machine.eventLog } });
    try {
      const anchors = await softwareTpmAnchors(join(folder, 'machine'));
      const { endorsementCertificate, attestationKey } = attester;
      const enrolment = await checkEnrolment(endorsementCertificate, attestationKey, anchors);
      const deviceValue = deviceValueOf(enrolment, randomBytes(32));
      const policy = await shippedPolicy();
      const pcrs = policy['pcrs'] as number[];
      const asked = { eventLog: true, imaList: false, agentPcr: null, ratchet: false };
      const evidence = await attester.collect({ class: 'tpm', bank: 'sha256', pcrs, ...asked }, deviceValue);
      const verdict = await tpmDeviceClass.verify(tpmDeviceClass.parse(evidence, 'evidence'), {
        expectedDeviceValue: deviceValue,
        companionsDigest: NO_COMPANIONS,
        lab: 'lab-of-the-tests',
        time: Math.floor(Date.now() / 1000),
        anchors: enrolment.anchors,
        collateral: new Map(),
        enrolment: enrolmentRecord('lab-of-the-tests', enrolment.attestationKey, enrolment.endorsement),
        referenceValues: [reference],
        policy,
      });
      return verdict.outcome === 'accepted' ? ['accepted'] : verdict.refusals.map(({ code }) => code);
    } finally {
      await attester.close();
    }
  }

  it('BC-20: is accepted, and refused after it booted something else', async () => {
    expect(await codes()).toEqual(['accepted']);
    await machine.rebootInto(OTHER_KERNEL);
    expect(await codes()).toEqual(['tpm-boot-image']);
    await machine.rebootInto(OTHER_COMMAND_LINE);
    expect(await codes()).toEqual(['tpm-boot-loader']);
    await machine.rebootInto(GOOD_BOOT);
    expect(await codes()).toEqual(['accepted']);
  }, 60_000);

  it('BC-12: is refused with the log of another boot', async () => {
    const good = await readFile(machine.eventLog);
    await machine.rebootInto(OTHER_KERNEL);
    await writeFile(machine.eventLog, good);
    expect(await codes()).toEqual(['event-log-replay']);
    const outcome = await record('lie.json', '--boot', 'images');
    expect([outcome.exitCode, outcome.errors]).toEqual([1, expect.stringContaining('event-log-replay')]);
    await machine.rebootInto(GOOD_BOOT);
  }, 60_000);

  it('CL-28: says what the document has', () => {
    expect(Object.keys(reference['pcrs'] as Document)).toEqual(['0', '2', '7']);
    expect(reference['boot']).toMatchObject({
      loader: { texts: [{ exact: GOOD_BOOT.commandLine }] },
      uki: [],
      files: {},
    });
  });

  it.each([
    [['--boot', 'everything'], 'argument-invalid'],
    [['--boot', 'uki'], 'tpm-document'],
    [[], 'tpm-document'],
  ])('CL-28: %j is refused', async (args, code) => {
    const outcome = await record('none.json', ...args);
    expect([outcome.exitCode, outcome.errors]).toEqual([expect.any(Number), expect.stringContaining(code)]);
    expect(outcome.exitCode).not.toBe(0);
  });

  it('AM-12: agents that may run are named beside', async () => {
    const digest = 'ab'.repeat(32);
    expect(await record('agent.json', '--agent-program', digest)).toMatchObject({ exitCode: 0 });
    const document = JSON.parse(await readFile(join(folder, 'agent.json'), 'utf8')) as Document;
    expect(document['boot']).toMatchObject({ agentPrograms: [digest], images: [] });
  });
});
