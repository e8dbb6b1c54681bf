import { createHash, randomBytes, X509Certificate } from 'node:crypto';
import { join } from 'node:path';

import { parse } from 'yaml';
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

import { fromBase64, toHex } from '../../../attestation/core/bytes.ts';
import type { JsonValue } from '../../../attestation/core/canonical-json.ts';
import { NO_COMPANIONS } from '../../../attestation/core/composite/companions.ts';
import type { DeviceInputs } from '../../../attestation/core/device-class.ts';
import { collateralNames } from '../../../attestation/sev-snp/chain.ts';
import { sevSnpDeviceClass } from '../../../attestation/sev-snp/device-class.ts';
import { readReport, type AttestationReport } from '../../../attestation/sev-snp/layout.ts';
import { PRODUCT_LINES, type ProductLine } from '../../../attestation/sev-snp/product.ts';
import { openMachine } from '../../../src/agent/machine.ts';
import { SevSnpAttester } from '../../../src/agent/sev-snp/attester.ts';
import type { SimulatedAmd } from '../../../src/agent/simulated/sev-snp-authority.ts';
import {
  manufactureSimulatedGuest,
  SimulatedSevGuest,
  type SimulatedMachine,
} from '../../../src/agent/simulated/sev-snp-guest.ts';
import { refusalCodeAsync } from '../../support/refusal-code.ts';
import { simulatedAmd } from '../../support/simulated-amd.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

const REQUEST = { class: 'sev-snp' } as const;
const PROVIDER = 'CN=cc.cloud.example';
const POLICIES = new URL('../../../policies/', import.meta.url);

function shipped(path: string): string {
  return readFileSync(new URL(path, POLICIES), 'utf8');
}

const shippedPolicy = (
  parse(shipped('release/settings-sev-snp.yaml')) as { sevSnp: Record<string, JsonValue> }
).sevSnp;

function launchOf(measurement: Uint8Array): JsonValue {
  const provenance = {
    method: 'recorded',
    tool: 'a test',
    toolVersion: '1',
    artefacts: [],
    parameters: {},
    madeAt: 0,
  };
  return {
    version: 1,
    class: 'sev-snp',
    kind: 'launch',
    name: 'good',
    measurement: toHex(measurement),
    provenance,
  };
}

/** The verifier's side for the root of a simulated hierarchy, under the shipped policy. */
function inputsFor(
  amd: SimulatedAmd,
  deviceValue: Uint8Array,
  changes: Partial<DeviceInputs> = {},
): DeviceInputs {
  return {
    expectedDeviceValue: deviceValue,
    companionsDigest: NO_COMPANIONS,
    lab: 'lab-one',
    time: Math.floor(Date.now() / 1000),
    anchors: [{ name: 'simulated', certificate: amd.root, simulated: true }],
    collateral: new Map([[collateralNames.revocationList(amd.line), amd.revocationList()]]),
    enrolment: undefined,
    referenceValues: [
      launchOf(new Uint8Array(48)),
      JSON.parse(shipped('reference-values/sev-snp/amd-2026-02.json')) as JsonValue,
    ],
    policy: { ...shippedPolicy, productLines: [...PRODUCT_LINES], enrolment: 'not-required' },
    ...changes,
  };
}

async function attesterOn(line: ProductLine, machine: SimulatedMachine = {}) {
  const amd = simulatedAmd(line);
  const folder = join(await temporaryFolder(), 'guest');
  await manufactureSimulatedGuest(folder, amd, machine);
  const attester = await SevSnpAttester.open(`simulated:${folder}`);
  return { amd, folder, attester };
}

/** The verdict on a guest's evidence for one device value: `accepted`, or the codes of the refusals. */
async function verdictOn(line: ProductLine, machine: SimulatedMachine, changes: Partial<DeviceInputs> = {}) {
  const { amd, attester } = await attesterOn(line, machine);
  const deviceValue = randomBytes(32);
  const evidence = sevSnpDeviceClass.parse(
    await attester.collect(REQUEST, deviceValue, NO_COMPANIONS),
    'evidence',
  );
  const verdict = await sevSnpDeviceClass.verify(evidence, inputsFor(amd, deviceValue, changes));
  if (verdict.outcome === 'accepted') expect(verdict.claims.identity).toBe(toHex(attester.identity));
  return verdict.outcome === 'accepted' ? 'accepted' : verdict.refusals.map(({ code }) => code);
}

async function withTemplate(change: (report: AttestationReport) => Partial<AttestationReport>) {
  const { folder } = await attesterOn('Genoa');
  return { report: change((await SimulatedSevGuest.open(folder)).template) };
}

describe('a simulated SEV-SNP guest, as the verifier sees it', () => {
  it.each(PRODUCT_LINES)(
    'SA-15, SA-17: evidence of %s is accepted under its own root',
    async (line) => {
      expect(await verdictOn(line, {})).toBe('accepted');
    },
    120_000,
  );

  it('SA-17: so is one under a key of a provider', async () => {
    const policy = { ...shippedPolicy, signingKeys: ['vlek'], cspIds: [PROVIDER], enrolment: 'not-required' };
    expect(await verdictOn('Genoa', { provider: PROVIDER }, { policy })).toBe('accepted');
    expect(await verdictOn('Genoa', { provider: PROVIDER })).toContain('snp-signing-key-denied');
  }, 60_000);

  it('SA-18: under another root it is not', async () => {
    const other = simulatedAmd('Turin');
    const anchors = [{ name: 'other', certificate: other.root, simulated: true }];
    expect(await verdictOn('Genoa', {}, { anchors })).toEqual(['path-untrusted']);
  }, 60_000);

  it('SA-19: any member of the report can be set, and is judged', async () => {
    const debug = await withTemplate(({ policy }) => ({ policy: { ...policy, debug: true } }));
    expect(await verdictOn('Genoa', debug)).toContain('snp-debug');
    expect(await verdictOn('Genoa', { report: { vmpl: 2 } })).toContain('snp-vmpl');
    expect(await verdictOn('Genoa', { report: { measurement: new Uint8Array(48).fill(1) } })).toContain(
      'snp-measurement',
    );
    const old = { fmc: undefined, bootLoader: 9, tee: 0, snp: 0x14, microcode: 0x40 };
    expect(await verdictOn('Genoa', { tcb: old })).toContain('snp-reported-tcb-minimum');
  }, 60_000);

  it('SA-17: a list by its root revokes its intermediates', async () => {
    const amd = simulatedAmd('Genoa');
    const collateral = new Map([
      [collateralNames.revocationList('Genoa'), amd.revocationList({ revoked: ['ask'] })],
    ]);
    expect(await verdictOn('Genoa', {}, { collateral })).toEqual(['snp-authority-revoked']);
  }, 60_000);

  it('SA-17: its certificates are what other readers of X.509 take them for', () => {
    const amd = simulatedAmd('Genoa');
    const root = new X509Certificate(amd.root);
    const intermediate = new X509Certificate(amd.intermediate('vcek'));
    expect(root.verify(root.publicKey)).toBe(true);
    expect(intermediate.verify(root.publicKey)).toBe(true);
    expect(intermediate.checkIssued(root)).toBe(true);
    expect(intermediate.ca).toBe(true);
    expect(root.subject.split('\n').at(-1)).toBe('CN=ARK-Genoa');
  }, 60_000);
});

describe('an SEV-SNP guest as an attester', () => {
  it('SA-14: is named by its chip, alike at every start', async () => {
    const chipId = randomBytes(64);
    const first = await attesterOn('Genoa', { chipId });
    const again = await SevSnpAttester.open(`simulated:${first.folder}`);
    const updated = await attesterOn('Genoa', {
      chipId,
      report: { measurement: new Uint8Array(48).fill(9) },
    });
    const other = await attesterOn('Genoa');
    expect(again.identity).toEqual(first.attester.identity);
    expect(updated.attester.identity).toEqual(first.attester.identity);
    expect(other.attester.identity).not.toEqual(first.attester.identity);
  }, 60_000);

  it('SA-14: never sends the report by which it learns its name', async () => {
    const label = Buffer.alloc(32);
    label.write('weightgate/sev-snp/identity/v1');
    const { attester } = await attesterOn('Genoa');
    const evidence = (await attester.collect(REQUEST, new Uint8Array(32), NO_COMPANIONS)) as {
      report: string;
    };
    const { reportData } = readReport(fromBase64(evidence.report, 'report'));
    expect(Buffer.from(reportData)).not.toEqual(createHash('sha512').update(label).digest());
  }, 60_000);

  it('SA-15: refuses to send a report of another chip', async () => {
    const { amd, folder, attester } = await attesterOn('Genoa');
    const moved = SevSnpAttester.open(`simulated:${folder}`);
    await moved;
    await manufactureSimulatedGuest(folder, amd);
    const migrated = await SimulatedSevGuest.open(folder);
    Reflect.set(attester, 'guest', migrated);
    expect(await refusalCodeAsync(() => attester.collect(REQUEST, new Uint8Array(32), NO_COMPANIONS))).toBe(
      'sev-guest-moved',
    );
  }, 60_000);

  it('SA-16: says when the host gives no certificates', async () => {
    const { folder } = await attesterOn('Genoa', { withoutCertificates: true });
    const options = { tpm: { address: 'device:/dev/null' }, sevSnp: { address: `simulated:${folder}` } };
    const machine = await openMachine(options);
    expect(machine.remarks).toHaveLength(1);
    expect(machine.attesters.map(({ deviceClass }) => deviceClass)).toEqual(['sev-snp']);
    expect(machine.tpm).toBeUndefined();
    await machine.close();
  }, 60_000);

  it('SA-1: finds no simulated guest by itself', async () => {
    expect(await refusalCodeAsync(() => SevSnpAttester.open('auto'))).toBe('sev-guest-missing');
    expect(await refusalCodeAsync(() => SevSnpAttester.open('simulated'))).toBe('sev-guest-address');
  });

  it('SA-3: a folder that holds no guest is refused', async () => {
    const folder = await temporaryFolder();
    expect(await refusalCodeAsync(() => SevSnpAttester.open(`simulated:${folder}`))).toBe('file-not-found');
  });
});
