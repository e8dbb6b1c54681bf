/**
 * Right and wrong machines of several devices, one row each: what was sent, what the verifier wanted, and what it says.
 * Every bundle is collected by the agent's own code from devices that really sign; the third column is what somebody
 * then did to it. The codes are explained in docs/spec/refusal-codes.md, the rules in docs/spec/composite.md.
 */

import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { sha256, sha512 } from '@noble/hashes/sha2.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { computeDeviceValue, deviceLabel, paddedLabel } from '../../attestation/core/binding.ts';
import { concatBytes, toHex, toUtf8 } from '../../attestation/core/bytes.ts';
import { NO_COMPANIONS } from '../../attestation/core/composite/companions.ts';
import type { DeviceSet } from '../../attestation/core/composite/device-set.ts';
import {
  deviceKey,
  digestOfEvidence,
  type DeviceEvidence,
  type EvidenceInputs,
} from '../../attestation/core/evidence.ts';
import type { DeviceAttester } from '../../src/agent/evidence.ts';
import { judgeFloors } from '../../src/policy/floors.ts';
import {
  collect,
  collectOne,
  digestOver,
  judgeBundle,
  real,
  some,
  World,
} from '../support/composite-world.ts';
import { digestOf, exampleGenesis, readyLog } from '../support/governance.ts';
import { enrolmentOf } from '../support/software-attester.ts';

/** The challenge that the verifier expects to be answered, and one of before. */
const BINDING = sha256(toUtf8('this challenge'));
const EARLIER = sha256(toUtf8('an earlier challenge'));

const SUBJECT = {
  manifestDigest: digestOf('manifest'),
  inferencePolicyDigest: digestOf('inference policy'),
};

type Bundle = readonly DeviceEvidence[];

interface Row {
  readonly rule: string;
  readonly name: string;
  /** What arrives at the verifier. */
  readonly sent: (world: World) => Bundle | Promise<Bundle>;
  /** The sets that are declared. */
  readonly sets: readonly DeviceSet[] | ((world: World) => readonly DeviceSet[]);
  /** What the verifier knows otherwise than in the other rows. */
  readonly changed?: (inputs: EvidenceInputs, world: World) => Partial<EvidenceInputs>;
  readonly verdict: string;
}

const machine =
  (choose: (world: World) => readonly DeviceAttester[], binding = BINDING) =>
  (world: World): Promise<Bundle> =>
    collect(choose(world), binding);

const SNP: DeviceSet = [some('sev-snp')];
const TPM: DeviceSet = [some('tpm')];
const SNP_TPM: DeviceSet = [some('sev-snp'), some('tpm')];
const snpWith = (count: number): DeviceSet => [some('sev-snp'), some('example', count)];

const ordinary: readonly Row[] = [
  {
    rule: 'CM-7',
    name: 'a guest alone',
    sent: machine(({ guest }) => [guest]),
    sets: [SNP],
    verdict: 'accepted',
  },
  { rule: 'CM-7', name: 'a TPM alone', sent: machine(({ tpm }) => [tpm]), sets: [TPM], verdict: 'accepted' },
  {
    rule: 'CM-7',
    name: 'a device that signs for nobody, alone',
    sent: machine(({ devices: [a] }) => [a]),
    sets: [[some('example')]],
    verdict: 'accepted',
  },
  {
    rule: 'CM-6',
    name: 'a guest and its TPM',
    sent: machine(({ guest, tpm }) => [guest, tpm]),
    sets: [SNP_TPM],
    verdict: 'accepted',
  },
  {
    rule: 'CM-9',
    name: 'a guest and four devices',
    sent: machine(({ guest, devices }) => [guest, ...devices]),
    sets: [snpWith(4)],
    verdict: 'accepted',
  },
  {
    rule: 'CM-9',
    name: 'a guest, a TPM and two devices',
    sent: machine(({ guest, tpm, devices: [a, b] }) => [a, guest, tpm, b]),
    sets: [[some('tpm'), ...snpWith(2)]],
    verdict: 'accepted',
  },
  {
    rule: 'CM-2',
    name: 'the same with the order of the bundle changed',
    sent: async ({ guest, tpm, devices: [a, b] }) =>
      (await collect([guest, tpm, a, b], BINDING)).toReversed(),
    sets: [[some('tpm'), ...snpWith(2)]],
    verdict: 'accepted',
  },
  {
    rule: 'CM-11',
    name: 'the second of two alternatives',
    sent: machine(({ guest, tpm }) => [guest, tpm]),
    sets: [TPM, SNP_TPM],
    verdict: 'accepted',
  },
];

const sets: readonly Row[] = [
  {
    rule: 'CM-10',
    name: 'no set is declared',
    sent: machine(({ guest }) => [guest]),
    sets: [],
    verdict: 'composite-set-undeclared composite-device-extra',
  },
  {
    rule: 'CM-11',
    name: 'the TPM is left out',
    sent: machine(({ guest }) => [guest]),
    sets: [SNP_TPM],
    verdict: 'composite-device-missing',
  },
  {
    rule: 'CM-11',
    name: 'the CPU is left out',
    sent: machine(({ tpm }) => [tpm]),
    sets: [SNP_TPM],
    verdict: 'composite-device-missing',
  },
  {
    rule: 'CM-11',
    name: 'three devices where four are wanted',
    sent: machine(({ guest, devices: [a, b, c] }) => [guest, a, b, c]),
    sets: [snpWith(4)],
    verdict: 'composite-device-missing',
  },
  {
    rule: 'CM-11',
    name: 'four devices where three are wanted',
    sent: machine(({ guest, devices }) => [guest, ...devices]),
    sets: [snpWith(3)],
    verdict: 'composite-device-extra',
  },
  {
    rule: 'CM-11',
    name: 'three devices between the alternatives of two and four',
    sent: machine(({ guest, devices: [a, b, c] }) => [guest, a, b, c]),
    sets: [snpWith(4), snpWith(2)],
    verdict: 'composite-device-missing',
  },
  {
    rule: 'CM-11',
    name: 'a device that no set names',
    sent: machine(({ guest, devices: [a] }) => [guest, a]),
    sets: [SNP],
    verdict: 'composite-device-extra',
  },
  {
    rule: 'CM-11',
    name: 'a device of another class in the place of the TPM',
    sent: machine(({ guest, devices: [a] }) => [guest, a]),
    sets: [SNP_TPM],
    verdict: 'composite-device-missing composite-device-extra',
  },
  {
    rule: 'CM-11',
    name: 'one good device sent twice',
    sent: machine(({ guest, devices: [a] }) => [guest, a, a]),
    sets: [snpWith(2)],
    verdict: 'composite-device-repeated',
  },
  {
    rule: 'CM-11',
    name: 'a device sent twice where one is wanted',
    sent: machine(({ guest, devices: [a] }) => [guest, a, a]),
    sets: [snpWith(1)],
    verdict: 'composite-device-repeated composite-device-extra',
  },
  {
    rule: 'CM-9',
    name: 'a processor of a line that the set does not name',
    sent: machine(({ guest, tpm }) => [guest, tpm]),
    sets: [[{ ...some('sev-snp'), models: ['Turin'] }, some('tpm')]],
    verdict: 'composite-model',
  },
  {
    rule: 'CM-9',
    name: 'models that the set names',
    sent: machine(({ guest, tpm }) => [guest, tpm]),
    sets: [
      [
        { ...some('sev-snp'), models: ['Turin', 'Genoa'] },
        { ...some('tpm'), models: ['swtpm'] },
      ],
    ],
    verdict: 'accepted',
  },
  {
    rule: 'CM-9',
    name: 'a device that is on no list',
    sent: machine(({ guest, devices: [a, b] }) => [guest, a, b]),
    sets: ({ devices: [a] }) => [[some('sev-snp'), { ...some('example', 2), devices: [toHex(a.identity)] }]],
    verdict: 'composite-device-unlisted',
  },
  {
    rule: 'CM-9',
    name: 'devices that are on the list',
    sent: machine(({ guest, devices: [a, b] }) => [guest, a, b]),
    sets: ({ devices }) => [
      [some('sev-snp'), { ...some('example', 2), devices: devices.map((one) => toHex(one.identity)) }],
    ],
    verdict: 'accepted',
  },
  {
    rule: 'CM-12',
    name: 'two sets of the same counts, the second with this model',
    sent: machine(({ guest }) => [guest]),
    sets: [[{ ...some('sev-snp'), models: ['Turin'] }], [{ ...some('sev-snp'), models: ['Genoa'] }]],
    verdict: 'accepted',
  },
  {
    rule: 'CM-12',
    name: 'two sets of the same counts, of which each fits one half',
    sent: machine(({ guest, tpm }) => [guest, tpm]),
    sets: [
      [{ ...some('sev-snp'), models: ['Turin'] }, some('tpm')],
      [some('sev-snp'), { ...some('tpm'), models: ['another'] }],
    ],
    verdict: 'composite-model',
  },
];

const binding: readonly Row[] = [
  {
    rule: 'CM-7',
    name: 'no CPU: a TPM and a device',
    sent: machine(({ tpm, devices: [a] }) => [tpm, a]),
    sets: [[some('tpm'), some('example')]],
    verdict: 'composite-binding-missing',
  },
  {
    rule: 'CM-7',
    name: 'no CPU: two devices of one class',
    sent: machine(({ devices: [a, b] }) => [a, b]),
    sets: [[some('example', 2)]],
    verdict: 'composite-binding-missing',
  },
  {
    rule: 'CM-7',
    name: 'two CPUs, although a set wants them',
    sent: machine(({ guest, otherGuest }) => [guest, otherGuest]),
    sets: [[some('sev-snp', 2)]],
    verdict: 'composite-binding-ambiguous',
  },
  {
    rule: 'CM-7',
    name: 'two CPUs that share a TPM',
    sent: machine(({ guest, otherGuest, tpm }) => [guest, otherGuest, tpm]),
    sets: [SNP_TPM],
    verdict: 'composite-device-extra composite-binding-ambiguous',
  },
  {
    rule: 'CM-7',
    name: 'the same CPU twice',
    sent: machine(({ guest }) => [guest, guest]),
    sets: [SNP],
    verdict: 'composite-device-repeated composite-device-extra composite-binding-ambiguous',
  },
  {
    rule: 'CM-6',
    name: 'the TPM of another machine in the place of its own',
    sent: async ({ guest, tpm, otherTpm }) => {
      const bundle = await collect([guest, tpm], BINDING);
      return [...bundle.slice(1), await collectOne(otherTpm, BINDING, NO_COMPANIONS)];
    },
    sets: [SNP_TPM],
    verdict: 'snp-report-data',
  },
  {
    rule: 'CM-6',
    name: 'the device of another machine in the place of its own',
    sent: async ({ guest, devices: [a, b] }) => {
      const bundle = await collect([guest, a], BINDING);
      return [...bundle.slice(1), await collectOne(b, BINDING, NO_COMPANIONS)];
    },
    sets: [snpWith(1)],
    verdict: 'snp-report-data',
  },
  {
    rule: 'CM-6',
    name: 'the CPU of another machine in front of these devices',
    sent: async ({ guest, otherGuest, tpm }) => {
      const [own] = await collect([tpm, guest], BINDING);
      return [own!, ...(await collect([otherGuest], BINDING))];
    },
    sets: [SNP_TPM],
    verdict: 'snp-report-data',
  },
  {
    rule: 'CM-6',
    name: 'two machines that exchange their devices',
    sent: async ({ guest, otherGuest, tpm, otherTpm }) => {
      const [, cpu] = await collect([tpm, guest], BINDING);
      const [other] = await collect([otherTpm, otherGuest], BINDING);
      return [other!, cpu!];
    },
    sets: [SNP_TPM],
    verdict: 'snp-report-data',
  },
  {
    rule: 'CM-6',
    name: 'a device left out after the CPU signed',
    sent: async ({ guest, tpm, devices: [a] }) =>
      (await collect([guest, tpm, a], BINDING)).filter(({ class: name }) => name !== 'example'),
    sets: [SNP_TPM],
    verdict: 'snp-report-data',
  },
  {
    rule: 'CM-6',
    name: 'a device put in after the CPU signed',
    sent: async ({ guest, tpm }) => [
      ...(await collect([guest], BINDING)),
      ...(await collect([tpm], BINDING)),
    ],
    sets: [SNP_TPM],
    verdict: 'snp-report-data',
  },
  {
    rule: 'CM-6',
    name: 'another quote of the same TPM for the same challenge',
    sent: async ({ guest, tpm }) => {
      const [, cpu] = await collect([tpm, guest], BINDING);
      return [cpu!, await collectOne(tpm, BINDING, NO_COMPANIONS)];
    },
    sets: [SNP_TPM],
    verdict: 'snp-report-data',
  },
  {
    rule: 'CM-6',
    name: 'one device replaced by another good one',
    sent: async ({ guest, devices: [a, b, c] }) => {
      const bundle = await collect([a, b, guest], BINDING);
      return [bundle[0]!, await collectOne(c, BINDING, NO_COMPANIONS), bundle[2]!];
    },
    sets: [snpWith(2)],
    verdict: 'snp-report-data',
  },
];

const forms: readonly Row[] = [
  {
    rule: 'CM-4',
    name: 'a digest over another spelling of the same evidence',
    sent: async ({ guest, tpm }) => {
      const quote = await collectOne(tpm, BINDING, NO_COMPANIONS);
      const spelt = createHash('sha256')
        .update(JSON.stringify(quote.evidence, null, 1))
        .digest();
      return [quote, await collectOne(guest, BINDING, table([[tpm, spelt]]))];
    },
    sets: [SNP_TPM],
    verdict: 'snp-report-data',
  },
  {
    rule: 'CM-2',
    name: 'a digest over the companions in descending order',
    sent: (world) => withHandwrittenDigest(world, 'descending'),
    sets: [[some('tpm'), ...snpWith(1)]],
    verdict: 'snp-report-data',
  },
  {
    rule: 'CM-2',
    name: 'the same digest in ascending order, written by hand',
    sent: (world) => withHandwrittenDigest(world, 'ascending'),
    sets: [[some('tpm'), ...snpWith(1)]],
    verdict: 'accepted',
  },
  {
    rule: 'CM-3',
    name: 'the digest of no companions in front of one',
    sent: async ({ guest, tpm }) => [
      await collectOne(tpm, BINDING, NO_COMPANIONS),
      await collectOne(guest, BINDING, NO_COMPANIONS),
    ],
    sets: [SNP_TPM],
    verdict: 'snp-report-data',
  },
  {
    rule: 'CM-3',
    name: 'a digest of zeros for a guest alone',
    sent: async ({ guest }) => [await collectOne(guest, BINDING, new Uint8Array(32))],
    sets: [SNP],
    verdict: 'snp-report-data',
  },
  {
    rule: 'CM-3',
    name: 'a guest alone that names a companion which is not sent',
    sent: async ({ guest, tpm }) => {
      const { evidence } = await collectOne(tpm, BINDING, NO_COMPANIONS);
      return [await collectOne(guest, BINDING, digestOver([{ attester: tpm, evidence }]))];
    },
    sets: [SNP],
    verdict: 'snp-report-data',
  },
  {
    rule: 'SN-11',
    name: 'REPORT_DATA of version 1, which named no companions',
    sent: oldReport,
    sets: [SNP],
    verdict: 'snp-report-data',
  },
  {
    rule: 'EV-1',
    name: 'the evidence of a device under the name of another class',
    sent: async ({ guest, tpm }) => {
      const [quote, report] = await collect([tpm, guest], BINDING);
      return [
        { class: 'tpm', evidence: report!.evidence },
        { class: 'sev-snp', evidence: quote!.evidence },
      ];
    },
    sets: [SNP_TPM],
    verdict: 'shape-member',
  },
  {
    rule: 'EV-2',
    name: 'a class that the verifier does not know',
    sent: async ({ guest }) => [...(await collect([guest], BINDING)), { class: 'unknown', evidence: {} }],
    sets: [SNP],
    verdict: 'evidence-class-unknown',
  },
  {
    rule: 'EV-1',
    name: 'more devices than a bundle takes',
    sent: async ({ guest }) => {
      const [report] = await collect([guest], BINDING);
      return Array.from({ length: 33 }, () => report!);
    },
    sets: [SNP],
    verdict: 'shape-value',
  },
];

const devices: readonly Row[] = [
  {
    rule: 'RP-17',
    name: 'a device that answers an earlier challenge, signed for by the CPU',
    sent: async ({ guest, devices: [a] }) => {
      const late = await collectOne(a, EARLIER, NO_COMPANIONS);
      return [late, await collectOne(guest, BINDING, digestOver([{ attester: a, evidence: late.evidence }]))];
    },
    sets: [snpWith(1)],
    verdict: 'example-binding',
  },
  {
    rule: 'RP-17',
    name: 'a CPU that answers an earlier challenge',
    sent: async ({ guest, devices: [a] }) => {
      const own = await collectOne(a, BINDING, NO_COMPANIONS);
      return [own, await collectOne(guest, EARLIER, digestOver([{ attester: a, evidence: own.evidence }]))];
    },
    sets: [snpWith(1)],
    verdict: 'snp-report-data',
  },
  {
    rule: 'EV-3',
    name: 'a whole machine of an earlier challenge',
    sent: machine(({ guest, tpm, devices: [a] }) => [tpm, a, guest], EARLIER),
    sets: [[some('tpm'), ...snpWith(1)]],
    verdict: 'tpm-quote-binding example-binding snp-report-data',
  },
  {
    rule: 'EV-28',
    name: 'the TPM of another boot: its counters are behind the last that were seen',
    sent: machine(({ guest, tpm }) => [
      guest,
      tpm.saying({ clockInfo: { clock: 4000n, resetCount: 6, restartCount: 1, safe: 1 } }),
    ]),
    sets: [SNP_TPM],
    changed: (_inputs, { tpm }) => ({
      enrolments: new Map([
        [
          deviceKey('tpm', toHex(tpm.identity)),
          {
            ...enrolmentOf(tpm.software.name, tpm.software.anchor),
            lastSeen: { clock: '5000', resetCount: 7, restartCount: 1, at: 0, ratchet: null },
          },
        ],
      ]),
    }),
    verdict: 'tpm-clock-rollback',
  },
  {
    rule: 'EV-18',
    name: 'a TPM that was never enrolled',
    sent: machine(({ guest, tpm }) => [guest, tpm]),
    sets: [SNP_TPM],
    changed: () => ({ enrolments: new Map() }),
    verdict: 'tpm-not-enrolled',
  },
  {
    rule: 'EV-18',
    name: 'devices of another lab',
    sent: machine(({ guest, tpm }) => [guest, tpm]),
    sets: [SNP_TPM],
    changed: () => ({ lab: 'lab-two' }),
    verdict: 'tpm-other-lab',
  },
  {
    rule: 'CM-14',
    name: 'a companion with firmware that is too old',
    sent: machine(({ guest, devices: [a, b] }) => [guest, a, b.saying({ firmwareVersion: 6 })]),
    sets: [snpWith(2)],
    verdict: 'example-firmware',
  },
  {
    rule: 'CM-14',
    name: 'a companion that can be debugged, and says so',
    sent: machine(({ guest, devices: [a] }) => [guest, a.saying({ flags: { debug: true } })]),
    sets: [snpWith(1)],
    verdict: 'example-debug',
  },
  {
    rule: 'CM-14',
    name: 'a companion of a vendor that the operator does not accept',
    sent: machine(({ guest, devices: [a] }) => [guest, a]),
    sets: [snpWith(1)],
    changed: ({ classes }, { devices: [, b] }) => ({ classes: new Map([...classes, ['example', b.inputs]]) }),
    verdict: 'path-untrusted',
  },
  {
    rule: 'CM-14',
    name: 'a guest that runs something else, before good companions',
    sent: async (world) => {
      const guest = await world.guestThat({ report: { measurement: new Uint8Array(48).fill(7) } });
      return await collect([guest, world.tpm], BINDING);
    },
    sets: [SNP_TPM],
    verdict: 'snp-measurement',
  },
  {
    rule: 'EV-3',
    name: 'a guest and a companion that both are wrong',
    sent: async (world) => {
      const guest = await world.guestThat({ report: { vmpl: 3 } });
      return await collect([guest, world.devices[0].saying({ firmwareVersion: 1 })], BINDING);
    },
    sets: [snpWith(1)],
    verdict: 'example-firmware snp-vmpl',
  },
  {
    rule: 'EV-2',
    name: 'a class that the operator said nothing of',
    sent: machine(({ guest, tpm }) => [guest, tpm]),
    sets: [SNP_TPM],
    changed: ({ classes }) => ({ classes: new Map([...classes].filter(([name]) => name !== 'tpm')) }),
    verdict: 'evidence-class-unconfigured',
  },
  {
    rule: 'CM-15',
    name: 'one simulated device among real ones',
    sent: machine(({ guest, tpm, devices: [a] }) => [guest, tpm, a]),
    sets: [[some('tpm'), ...snpWith(1)]],
    changed: simulated('example'),
    verdict: 'accepted, simulated',
  },
  {
    rule: 'CM-15',
    name: 'a simulated CPU that signs for real devices',
    sent: machine(({ guest, tpm }) => [guest, tpm]),
    sets: [SNP_TPM],
    changed: simulated('sev-snp'),
    verdict: 'accepted, simulated',
  },
];

/** A guest, a TPM and a device, where the guest signs a digest whose members stand in a given order. */
async function withHandwrittenDigest(
  { guest, tpm, devices: [a] }: World,
  order: 'ascending' | 'descending',
): Promise<Bundle> {
  const companions = [a, tpm];
  const members = await Promise.all(companions.map((one) => collectOne(one, BINDING, NO_COMPANIONS)));
  const rows = companions.map((one, i) => [one, digestOfEvidence(members[i]!.evidence)] as const);
  const digest = table(order === 'ascending' ? rows : rows.toReversed());
  return [...members, await collectOne(guest, BINDING, digest)];
}

/** A companions digest by hand, over rows in the order in which they are given. */
function table(rows: readonly (readonly [DeviceAttester, Uint8Array])[]): Uint8Array {
  const count = Uint8Array.of(0, 0, 0, rows.length);
  const parts = rows.flatMap(([{ deviceClass, identity }, digest]) => [
    deviceLabel(deviceClass),
    identity,
    digest,
  ]);
  return sha256(concatBytes(paddedLabel('weightgate/companions/v1'), count, ...parts));
}

/** A report as agents made it before machines had several devices. */
async function oldReport(world: World): Promise<Bundle> {
  const value = computeDeviceValue('sev-snp', BINDING, world.guest.identity);
  const label = paddedLabel('weightgate/report-data/v1');
  return [{ class: 'sev-snp', evidence: await world.reportOver(sha512(concatBytes(label, value))) }];
}

/** The authorities of one class vouch for simulated hardware. */
function simulated(name: string) {
  return ({ classes }: EvidenceInputs): Partial<EvidenceInputs> => ({
    classes: new Map([...classes].map(([own, inputs]) => [own, real(inputs, own === name)])),
  });
}

describe('machines of several devices', () => {
  let world: World;
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'weightgate-test-'));
    world = await World.build(folder);
  }, 240_000);
  afterAll(async () => {
    await rm(folder, { recursive: true, force: true });
  });

  const rows = [...ordinary, ...sets, ...binding, ...forms, ...devices];

  it.each(rows)('$rule: $name: $verdict', async ({ sent, sets: declared, changed, verdict }) => {
    const inputs = world.inputs(BINDING, typeof declared === 'function' ? declared(world) : declared);
    const bundle = await sent(world);
    expect(await judgeBundle(bundle, { ...inputs, ...changed?.(inputs, world) })).toBe(verdict);
  });

  it('W9, CM-15: a production server refuses the one that is simulated, wherever it stands', async () => {
    const { state, at } = await readyLog(exampleGenesis('production'));
    const facts = { lab: 'lab-one', purpose: 'research', renews: null, ...SUBJECT };
    const real = ['tpm', 'sev-snp', 'example'].map((name) => ({ class: name, simulated: false, claims: {} }));
    const codes = real.map((_, place) => {
      const claims = real.map((device, i) => ({ ...device, simulated: i === place }));
      return judgeFloors(state, facts, claims, at).map(({ code }) => code);
    });
    expect(codes.map((some) => some.filter((code) => code === 'floor-simulated'))).toEqual(
      real.map(() => ['floor-simulated']),
    );
    expect(judgeFloors(state, facts, real, at).map(({ code }) => code)).not.toContain('floor-simulated');
  });

  it('are tried in at least forty ways, each refusal with its own reason', () => {
    expect(rows.length).toBeGreaterThanOrEqual(40);
    expect(new Set(rows.map(({ name }) => name)).size).toBe(rows.length);
  });
});
