import { describe, expect, it } from 'vitest';

import type { DeviceClaims } from '../../src/governance/entries.ts';
import type { GovernanceState } from '../../src/governance/state.ts';
import { decide, type Decision, type DecisionInput } from '../../src/policy/decide.ts';
import type { ReleaseFacts } from '../../src/policy/facts.ts';
import { openReleasePolicyEngine } from '../../src/policy/release-policy.ts';
import {
  digestOf,
  exampleDevice,
  ExampleLog,
  exampleGenesis,
  exampleGrant,
  examplePredicates as examples,
  readyLog,
  signers,
} from '../support/governance.ts';

const engine = await openReleasePolicyEngine();

const facts: ReleaseFacts = {
  lab: 'lab-one',
  purpose: 'red-teaming',
  manifestDigest: digestOf('manifest'),
  inferencePolicyDigest: digestOf('inference policy'),
  renews: null,
};

const tpm: DeviceClaims = exampleDevice;

function ask(log: { state: GovernanceState; at: number }, change: Partial<DecisionInput> = {}): Decision {
  return decide({
    state: log.state,
    facts,
    evidence: { outcome: 'accepted', devices: [tpm] },
    at: log.at,
    lease: 'ab'.repeat(16),
    engine,
    ...change,
  });
}

function codes(decision: Decision): readonly string[] {
  return decision.refusals.map(({ code }) => code);
}

async function policyLog(cedar: string): Promise<ExampleLog> {
  const log = await readyLog();
  await log.say('release-policy/v1', { ...examples.releasePolicy, epoch: 2, cedar });
  return log;
}

describe('decision', () => {
  it('RP-29: a grant is a lease of the length that the policy gives the phase', async () => {
    const log = await readyLog();
    expect(ask(log)).toEqual({
      outcome: 'granted',
      phase: 'research',
      reasons: ['everything'],
      refusals: [],
      lease: { lease: 'ab'.repeat(16), startsAt: log.at, endsAt: log.at + 3600, renewAfterSeconds: 1800 },
    });
  });

  it('GV-54: the same inputs give the same decision', async () => {
    const log = await readyLog();
    expect(ask(log)).toEqual(ask(log));
  });

  it('RP-18: refused evidence refuses, and neither floors nor policy are asked', async () => {
    const log = await readyLog();
    const refusal = { code: 'tpm-x', field: 'f', expected: 'e', found: 'g', hint: 'h' };
    const decision = ask(log, {
      evidence: { outcome: 'refused', refusals: [refusal] },
      facts: { ...facts, lab: 'nobody' },
    });
    expect(decision).toEqual({
      outcome: 'refused',
      phase: 'research',
      reasons: [],
      refusals: [refusal],
      lease: null,
    });
  });

  it('RP-20: the policy refuses by default, by forbidding and by failing', async () => {
    const forbids = await policyLog('@id("never") forbid (principal, action, resource);');
    expect(ask(forbids)).toMatchObject({ outcome: 'refused', reasons: ['never'], lease: null });
    expect(codes(ask(forbids))).toEqual(['policy-refused']);
    const silent = await policyLog(
      '@id("renewals") permit (principal, action == Weightgate::Action::"renew", resource);',
    );
    expect(codes(ask(silent))).toEqual(['policy-refused']);
    expect(ask(silent, { facts: { ...facts, renews: 'ab'.repeat(16) } }).outcome).toBe('granted');
    const broken = await policyLog('permit everything');
    expect(codes(ask(broken))).toEqual(['policy-failed']);
  });
});

function deviceOf(name: string) {
  if (name === 'tpm') return tpm;
  const claims = { identity: digestOf(name), ...(name === 'sev-snp' ? guest : {}) };
  return { class: name, simulated: false, claims };
}

/** Of the claims of an SEV-SNP guest those that a policy can ask about. */
const guest = {
  productLine: 'Genoa',
  signingKey: 'vcek',
  cspId: null,
  vmpl: 0,
  measurement: 'ab'.repeat(48),
  referenceValues: 'image 7',
  guestPolicy: { smtAllowed: true, singleSocket: false },
  tcb: { reported: { snp: 28 } },
  minimumTcbSets: ['amd-2026-02'],
};

/** Adds a machine to those that the lab's accreditation names. */
async function accredit(log: ExampleLog, machine: object): Promise<void> {
  const { accreditation } = log.state.labs.get('lab-one')!;
  await log.say('lab-accreditation/v1', {
    ...accreditation,
    machines: [...accreditation.machines, machine],
    statedAt: accreditation.statedAt + 1,
  });
}

describe('floors, under a policy that permits everything (RP-19, GV-50)', () => {
  it('the lab is accredited, and its accreditation has not ended', async () => {
    const log = await readyLog();
    expect(codes(ask(log, { facts: { ...facts, lab: 'nobody' } }))).toEqual(['floor-lab-not-accredited']);
    expect(ask(log, { at: examples.accreditation.endsAt - 1 }).outcome).toBe('granted');
    expect(codes(ask(log, { at: examples.accreditation.endsAt }))).toEqual(['floor-lab-not-accredited']);
  });

  it('the model version is registered and in a phase that grants', async () => {
    const log = await readyLog();
    const unknown = ask(log, { facts: { ...facts, manifestDigest: digestOf('x') } });
    expect(unknown.phase).toBeNull();
    expect(codes(unknown)).toEqual(['floor-model-not-registered']);
    const sealed = { ...examples.model, manifestDigest: digestOf('sealed'), variant: 'base' };
    await log.say('model-version/v1', sealed);
    const decision = ask(log, { facts: { ...facts, manifestDigest: digestOf('sealed') } });
    expect(codes(decision)).toEqual(['floor-phase-not-granting']);
    expect(decision.phase).toBe('sealed');
  });

  it('a phase without a lease length grants nothing', async () => {
    const log = await readyLog();
    await log.say('release-policy/v1', { ...examples.releasePolicy, epoch: 2, leaseSeconds: { public: 60 } });
    expect(codes(ask(log))).toEqual(['floor-phase-not-granting']);
  });

  it('neither lab nor model version nor everything is held', async () => {
    for (const target of [
      { kind: 'lab', id: 'lab-one' },
      { kind: 'model', id: facts.manifestDigest },
      { kind: 'all', id: 'all' },
    ]) {
      const log = await readyLog();
      await log.say('hold/v1', { ...examples.hold, target }, [signers.dora]);
      expect(codes(ask(log))).toEqual(['floor-held']);
    }
    const log = await readyLog();
    await log.say('hold/v1', { ...examples.hold, target: { kind: 'lab', id: 'lab-two' } }, [signers.dora]);
    expect(ask(log).outcome).toBe('granted');
  });

  it('the inference policy is the registered one', async () => {
    const changed = { ...facts, inferencePolicyDigest: digestOf('other policy') };
    expect(codes(ask(await readyLog(), { facts: changed }))).toEqual(['floor-inference-policy']);
  });

  it('W1: without a release policy nothing is granted', async () => {
    const log = new ExampleLog();
    await log.say('lab-accreditation/v1', examples.accreditation);
    log.enrol();
    await log.say('model-version/v1', examples.model);
    await log.say('promotion/v1', examples.toResearch);
    expect(codes(ask(log))).toEqual(['floor-phase-not-granting', 'floor-no-release-policy']);
  });

  it('GV-49: the machine is still in the accreditation', async () => {
    const log = await readyLog();
    expect(codes(ask(log))).toEqual([]);
    const { accreditation } = examples;
    await log.say('lab-accreditation/v1', {
      ...accreditation,
      machines: [],
      statedAt: accreditation.statedAt + 1,
    });
    expect(codes(ask(log))).toEqual(['floor-machine']);
  });

  it('GV-49: a device of any class stands in the accreditation of the lab', async () => {
    const log = await readyLog();
    const { releasePolicy } = examples;
    await log.say('release-policy/v1', { ...releasePolicy, epoch: 2, deviceSets: [['tpm'], ['sev-snp']] });
    const chip = { ...deviceOf('sev-snp'), claims: { ...guest, identity: digestOf('chip') } };
    const withChip = () => ask(log, { evidence: { outcome: 'accepted', devices: [chip] } });
    expect(codes(withChip())).toEqual(['floor-machine']);
    await accredit(log, { name: 'rack-2', deviceClass: 'nvidia-gpu', identity: digestOf('chip') });
    expect(codes(withChip())).toEqual(['floor-machine']);
    await accredit(log, { name: 'rack-2', deviceClass: 'sev-snp', identity: digestOf('chip') });
    expect(withChip().outcome).toBe('granted');
  });

  it('RP-20: a policy asks about the guest, and claims that nobody made are refused', async () => {
    const log = await readyLog();
    await accredit(log, { name: 'rack-2', deviceClass: 'sev-snp', identity: digestOf('sev-snp') });
    const when = (condition: string, epoch: number) =>
      log.say('release-policy/v1', {
        ...examples.releasePolicy,
        cedar: `@id("guests") permit (principal, action, resource) when { context.machine has sevSnp && ${condition} };`,
        deviceSets: [['sev-snp']],
        epoch,
      });
    const withGuest = (changes: object = {}) => {
      const device = deviceOf('sev-snp');
      const claims = { ...guest, identity: digestOf('sev-snp'), ...changes };
      const devices = [{ ...device, claims }];
      return ask(log, { evidence: { outcome: 'accepted', devices } });
    };
    await when(
      'context.machine.sevSnp.productLine == "Genoa" && context.machine.sevSnp.reportedSnp >= 28',
      2,
    );
    expect(withGuest().outcome).toBe('granted');
    expect(codes(withGuest({ productLine: 'Milan' }))).toEqual(['policy-refused']);
    expect(codes(withGuest({ tcb: { reported: { snp: 27 } } }))).toEqual(['policy-refused']);
    expect(codes(withGuest({ vmpl: 'none' }))).toEqual(['policy-failed']);
    await when('context.machine.sevSnp has provider', 3);
    expect(codes(withGuest())).toEqual(['policy-refused']);
    expect(withGuest({ cspId: 'CN=cloud.example', signingKey: 'vlek' }).outcome).toBe('granted');
  });

  it('every device class of one set is there', async () => {
    const log = await readyLog();
    for (const deviceClass of ['nvidia-gpu', 'sev-snp']) {
      await accredit(log, { name: deviceClass, deviceClass, identity: digestOf(deviceClass) });
    }
    await log.say('release-policy/v1', {
      ...examples.releasePolicy,
      epoch: 2,
      deviceSets: [['tpm', 'nvidia-gpu'], ['sev-snp']],
    });
    const withDevices = (...classes: readonly string[]) =>
      ask(log, {
        evidence: { outcome: 'accepted', devices: classes.map(deviceOf) },
      });
    expect(codes(withDevices())).toEqual(['floor-device-missing']);
    expect(codes(withDevices('tpm'))).toEqual(['floor-device-missing']);
    expect(codes(withDevices('tpm', 'tpm'))).toEqual(['floor-device-missing']);
    expect(withDevices('tpm', 'nvidia-gpu').outcome).toBe('granted');
    expect(withDevices('sev-snp').outcome).toBe('granted');
  });

  it('W9, RP-7: a simulated device only on an evaluation server', async () => {
    const evidence = { outcome: 'accepted', devices: [{ ...tpm, simulated: true }] } as const;
    expect(ask(await readyLog(), { evidence }).outcome).toBe('granted');
    const production = await readyLog(exampleGenesis('production'));
    expect(ask(production).outcome).toBe('granted');
    expect(codes(ask(production, { evidence }))).toEqual(['floor-simulated']);
  });

  it('all floors that are broken are named together', async () => {
    const log = await readyLog();
    const changed = { ...facts, lab: 'nobody', inferencePolicyDigest: digestOf('x') };
    expect(codes(ask(log, { facts: changed, evidence: { outcome: 'accepted', devices: [] } }))).toEqual([
      'floor-lab-not-accredited',
      'floor-inference-policy',
      'floor-device-missing',
    ]);
  });
});

describe('decision and log agree', () => {
  it('GV-44 to GV-48: the fold accepts the entry of every decision', async () => {
    const log = await readyLog();
    for (const change of [{}, { lab: 'nobody' }, { manifestDigest: digestOf('x') }]) {
      const asked = { ...facts, ...change };
      const { outcome, phase, reasons, refusals, lease } = ask(log, { facts: asked });
      log.append({
        ...exampleGrant(log.state, log.at),
        ...change,
        outcome,
        phase,
        reasons: [...reasons],
        refusals: refusals.map(({ code, field }) => ({ code, field })),
        lease,
      });
    }
    expect(log.entries.slice(-3).map((entry) => entry.type === 'decision' && entry.outcome)).toEqual([
      'granted',
      'refused',
      'refused',
    ]);
  });
});
