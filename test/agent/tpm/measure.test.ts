/** What the agent measures of itself, on a TPM in software (docs/spec/tpm-agent-measurements.md, section 3). */

import { randomBytes } from 'node:crypto';
import { appendFile, mkdtemp, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';

import { fromBase64, toBase64, toHex } from '../../../attestation/core/bytes.ts';
import {
  type AgentEvent,
  type AgentEventKind,
  readAgentLog,
  writeAgentLog,
} from '../../../attestation/tpm/agent-log/read.ts';
import { replayAgentLog } from '../../../attestation/tpm/agent-log/replay.ts';
import { toSelectionList, bankNamed } from '../../../native/tpm-commands/selection.ts';
import { Tpm } from '../../../native/tpm-commands/tpm.ts';
import type { DeviceRequest } from '../../../src/agent/evidence.ts';
import { TpmAttester } from '../../../src/agent/tpm/attester.ts';
import { AgentRegister } from '../../../src/agent/tpm/measure.ts';
import { refusalCodeAsync } from '../../support/refusal-code.ts';
import { startTestTpm, swtpmMissing, type TestTpm } from '../../support/swtpm.ts';
import {
  checkEnrolment,
  credentialFor,
  deviceValueOf,
  type ExpectedAgent,
  verifyEvidence,
} from './verification.ts';

if (swtpmMissing !== undefined) process.stderr.write(`skipped: ${swtpmMissing}\n`);

const PCR = 13;
const sha256 = bankNamed('sha256');
const event = (kind: AgentEventKind, byte: number): AgentEvent => ({
  kind,
  digest: new Uint8Array(32).fill(byte),
});
const program = event('agent-program', 1);
const policy = event('inference-policy', 2);
const manifest = event('model-manifest', 3);

describe.skipIf(swtpmMissing !== undefined)('an agent that measures itself', () => {
  let simulator: TestTpm;
  let folder: string;
  let tpm: Tpm;
  let register: AgentRegister;

  beforeAll(async () => {
    simulator = await startTestTpm();
  });
  afterAll(() => simulator.remove());
  beforeEach(async () => {
    await simulator.tpm.reset();
    folder = await mkdtemp(join(tmpdir(), 'weightgate-agent-log-'));
    tpm = await Tpm.open(simulator.tpm.address);
    register = new AgentRegister(PCR, sha256, folder);
  });
  afterEach(async () => {
    await tpm.close();
    await rm(folder, { recursive: true });
  });

  const logPath = (): string => join(folder, `agent-log-${PCR}`);
  const readLog = async (): Promise<readonly AgentEvent[]> =>
    readAgentLog(new Uint8Array(await readFile(logPath())), 'log').events;
  const value = async (): Promise<Uint8Array> =>
    (await tpm.readPcrs(toSelectionList({ sha256: [PCR] })))[0]?.value ?? new Uint8Array(0);
  const measure = (...events: readonly AgentEvent[]): Promise<void> =>
    register.measure(tpm, events, (work) => work(tpm));
  const measureNothingNew = (...events: readonly AgentEvent[]): Promise<void> =>
    register.measure(tpm, events, () => Promise.reject(new Error('something was extended')));

  it('AM-8: extends the register with what its log says, for nobody else to read or write', async () => {
    await measure(program, policy, manifest);
    expect(await readLog()).toEqual([program, policy, manifest]);
    expect(toHex(await value())).toBe(toHex(replayAgentLog({ events: await readLog() }, sha256)));
    expect((await stat(logPath())).mode & 0o777).toBe(0o600);
  });

  it('AM-9: extends nothing twice in one start of the machine, and adds what is new', async () => {
    await measure(program, policy);
    const before = await value();
    await measureNothingNew(policy, program);
    expect(toHex(await value())).toBe(toHex(before));
    await measure(program, policy, manifest);
    expect(await readLog()).toEqual([program, policy, manifest]);
  });

  it('AM-10: forgets a record that was written and not measured, cut or whole', async () => {
    await measure(program);
    await appendFile(logPath(), writeAgentLog({ events: [policy] }).subarray(24));
    await measure(manifest);
    expect(await readLog()).toEqual([program, manifest]);
    await appendFile(logPath(), Uint8Array.of(2, 0, 0));
    await measure(policy);
    expect(await readLog()).toEqual([program, manifest, policy]);
    expect(toHex(await value())).toBe(toHex(replayAgentLog({ events: await readLog() }, sha256)));
  });

  it('AM-10: begins anew after a reset', async () => {
    await measure(program, policy);
    await tpm.close();
    await simulator.tpm.reset();
    tpm = await Tpm.open(simulator.tpm.address);
    await measure(manifest);
    expect(await readLog()).toEqual([manifest]);
  });

  it('AM-2, AM-11: refuses a register that something else extended, before or after it', async () => {
    await tpm.extendPcr(PCR, randomBytes(32));
    expect(await refusalCodeAsync(() => measure(program))).toBe('agent-pcr-foreign');
    await tpm.close();
    await simulator.tpm.reset();
    tpm = await Tpm.open(simulator.tpm.address);
    await measure(program);
    await tpm.extendPcr(PCR, randomBytes(32));
    expect(await refusalCodeAsync(() => measure(policy))).toBe('agent-pcr-foreign');
    const quoted = await value();
    expect(await refusalCodeAsync(() => register.provenLog(quoted))).toBe('agent-pcr-foreign');
  });

  it('AM-11: refuses a register whose log was lost or altered', async () => {
    await measure(program, policy);
    await truncate(logPath(), 24 + 33);
    expect(await refusalCodeAsync(() => measure(program))).toBe('agent-pcr-foreign');
    await writeFile(logPath(), writeAgentLog({ events: [program, manifest] }));
    expect(await refusalCodeAsync(() => measure(program))).toBe('agent-pcr-foreign');
    await rm(logPath());
    expect(await refusalCodeAsync(() => measure(program))).toBe('agent-pcr-foreign');
  });

  it('AM-11: notices when something else extends the register while it measures', async () => {
    const disturbed = register.measure(tpm, [program], async (work) => {
      await tpm.extendPcr(PCR, randomBytes(32));
      await work(tpm);
    });
    expect(await refusalCodeAsync(() => disturbed)).toBe('agent-pcr-foreign');
  });

  it('AM-8: several agents that start at once measure each thing once', async () => {
    const others = await Promise.all([1, 2, 3].map(() => Tpm.open(simulator.tpm.address)));
    const work = others.map((other, i) => {
      const own = new AgentRegister(PCR, sha256, folder);
      return own.measure(other, [program, event('model-manifest', 10 + i)], (inner) => inner(other));
    });
    await Promise.all(work);
    for (const other of others) await other.close();
    expect(await readLog()).toHaveLength(4);
    expect(toHex(await value())).toBe(toHex(replayAgentLog({ events: await readLog() }, sha256)));
  });

  it('AM-8: sends what the quote covers, also when another agent measured meanwhile', async () => {
    await measure(program);
    const quoted = await value();
    await measure(policy);
    expect(readAgentLog(await register.provenLog(quoted), 'log').events).toEqual([program]);
  });

  it('AM-11: notices an extension that the TPM did not make', async () => {
    const swallowed = register.measure(tpm, [program], async (work) => {
      const silent = Object.create(tpm) as Tpm;
      silent.extendPcrBanks = () => Promise.resolve();
      await work(silent);
    });
    expect(await refusalCodeAsync(() => swallowed)).toBe('agent-pcr-foreign');
  });

  describe('as an attester', () => {
    const request: DeviceRequest = {
      class: 'tpm',
      bank: 'sha256',
      pcrs: [0, PCR],
      eventLog: false,
      imaList: false,
      agentPcr: PCR,
      ratchet: false,
    };

    async function enrolledAttester(options: Parameters<typeof TpmAttester.open>[1]): Promise<TpmAttester> {
      const attester = await TpmAttester.open(simulator.tpm.address, options);
      const { endorsementCertificate, attestationKey } = attester;
      const enrolment = await checkEnrolment(endorsementCertificate, attestationKey, simulator.anchors);
      const { credentialBlob, encryptedSecret } = await credentialFor(enrolment, randomBytes(32));
      await attester.activate(credentialBlob, encryptedSecret);
      return attester;
    }
    const measurement = () => ({ folder, events: () => Promise.resolve([program, policy, manifest]) });

    it('AM-8: measures before it quotes, and sends the log', async () => {
      const attester = await enrolledAttester({ measurement: measurement() });
      const evidence = (await attester.collect(request, randomBytes(32))) as {
        agentLog: string;
        pcrs: { sha256: Record<string, string> };
      };
      await attester.close();
      const log = readAgentLog(fromBase64(evidence.agentLog, 'agentLog'), 'agentLog');
      expect(log.events).toEqual([program, policy, manifest]);
      expect(evidence.pcrs.sha256[PCR]).toBe(toHex(replayAgentLog(log, sha256)));
      // A renewal has nothing to extend, and needs no enrolment of its own.
      const renewing = await TpmAttester.open(simulator.tpm.address, { measurement: measurement() });
      const again = (await renewing.collect(request, randomBytes(32))) as { agentLog: string };
      await renewing.close();
      expect(again.agentLog).toBe(evidence.agentLog);
    });

    it('AM-6, AM-8: is accepted by the verifier where all that it measured is allowed, and only there', async () => {
      const attester = await enrolledAttester({ measurement: measurement() });
      const { endorsementCertificate, attestationKey } = attester;
      const enrolment = await checkEnrolment(endorsementCertificate, attestationKey, simulator.anchors);
      const deviceValue = deviceValueOf(enrolment, randomBytes(32));
      await tpm.extendPcr(0, randomBytes(32));
      const evidence = await attester.collect(request, deviceValue);
      await attester.close();
      const agent = {
        pcr: PCR,
        agentPrograms: [toHex(program.digest)],
        inferencePolicies: [toHex(policy.digest)],
        modelManifests: [toHex(manifest.digest)],
      };
      const refusals = async (changes: Partial<ExpectedAgent>, sent = evidence): Promise<unknown> => {
        const expectations = { deviceValue, pcrs: [0, PCR], agent: { ...agent, ...changes } };
        const verdict = await verifyEvidence(enrolment, sent, expectations);
        return verdict.outcome === 'accepted' ? [] : verdict.refusals.map(({ code }) => code);
      };
      const other = ['ee'.repeat(32)];
      expect(await refusals({})).toEqual([]);
      expect(await refusals({ agentPrograms: other })).toContain('tpm-boot-agent');
      expect(await refusals({ inferencePolicies: other })).not.toEqual([]);
      expect(await refusals({ modelManifests: other })).not.toEqual([]);
      const shorter = toBase64(writeAgentLog({ events: [program, policy] }));
      expect(await refusals({}, { ...(evidence as object), agentLog: shorter })).toEqual([
        'tpm-boot-agent-log',
      ]);
    });

    it('AM-8: measures nothing before its certificate was verified', async () => {
      const attester = await TpmAttester.open(simulator.tpm.address, { measurement: measurement() });
      const code = await refusalCodeAsync(() => attester.collect(request, randomBytes(32)));
      await attester.close();
      expect(code).toBe('agent-measurement-late');
      expect(toHex(await value())).toBe('00'.repeat(32));
    });

    it('AM-8: says so where nothing is measured, and where the register is not quoted', async () => {
      const attester = await enrolledAttester({});
      expect(await refusalCodeAsync(() => attester.collect(request, randomBytes(32)))).toBe(
        'agent-measurement-missing',
      );
      await attester.close();
      const measuring = await enrolledAttester({ measurement: measurement() });
      const unquoted = { ...request, pcrs: [0] };
      expect(await refusalCodeAsync(() => measuring.collect(unquoted, randomBytes(32)))).toBe(
        'agent-pcr-unquoted',
      );
      await measuring.close();
    });
  });
});
