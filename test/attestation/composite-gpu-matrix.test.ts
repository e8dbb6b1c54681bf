/** As composite-matrix.test.ts, for machines with confidential GPUs and the switches between them. */

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { sha256 } from '@noble/hashes/sha2.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { toHex, toUtf8 } from '../../attestation/core/bytes.ts';
import { NO_COMPANIONS } from '../../attestation/core/composite/companions.ts';
import type { DeviceSet } from '../../attestation/core/composite/device-set.ts';
import type { ClassInputs, DeviceEvidence, EvidenceInputs } from '../../attestation/core/evidence.ts';
import type { DeviceAttester } from '../../src/agent/evidence.ts';
import { makeGpuWorld, type GpuWorld } from '../support/composite-gpus.ts';
import {
  collect,
  collectOne,
  digestOver,
  judgeBundle,
  real,
  some,
  TIME,
  World,
} from '../support/composite-world.ts';

const BINDING = sha256(toUtf8('this challenge'));
const EARLIER = sha256(toUtf8('an earlier challenge'));

type Scene = GpuWorld & Pick<World, 'guest' | 'tpm'>;
type Bundle = readonly DeviceEvidence[];

interface Row {
  readonly name: string;
  /** What arrives at the verifier. */
  readonly sent: (scene: Scene) => Promise<Bundle>;
  readonly sets: readonly DeviceSet[] | ((scene: Scene) => readonly DeviceSet[]);
  /** What the verifier knows otherwise of a class. */
  readonly changed?: Readonly<Record<string, (inputs: ClassInputs) => ClassInputs>>;
  readonly verdict: string;
}

const machine =
  (choose: (scene: Scene) => readonly DeviceAttester[]) =>
  (scene: Scene): Promise<Bundle> =>
    collect(choose(scene), BINDING);

const gpus = (count: number, switches = 0): DeviceSet => [
  some('sev-snp'),
  some('nvidia-gpu', count),
  ...(switches === 0 ? [] : [some('nvswitch', switches)]),
];

const right: readonly Row[] = [
  {
    name: 'a guest with one GPU',
    sent: machine(({ guest, single: [gpu] }) => [guest, gpu]),
    sets: [gpus(1)],
    verdict: 'accepted',
  },
  {
    name: 'a guest with one GPU and a TPM',
    sent: machine(({ guest, tpm, single: [gpu] }) => [tpm, gpu, guest]),
    sets: [[...gpus(1), some('tpm')]],
    verdict: 'accepted',
  },
  {
    name: 'a guest with two GPUs in the mode for several',
    sent: machine(({ guest, several: [a, b] }) => [guest, a, b]),
    sets: [gpus(1), gpus(2)],
    verdict: 'accepted',
  },
  {
    name: 'two GPUs and two switches whose links close',
    sent: machine(({ guest, protectedPcie: [own] }) => [guest, ...own.gpus, ...own.switches]),
    sets: [gpus(2, 2)],
    verdict: 'accepted',
  },
  {
    name: 'a GPU of a chip and with an identity that the set names',
    sent: machine(({ guest, single: [gpu] }) => [guest, gpu]),
    sets: ({ single: [gpu] }) => [
      [some('sev-snp'), { ...some('nvidia-gpu'), models: ['GH100'], devices: [toHex(gpu.identity)] }],
    ],
    verdict: 'accepted',
  },
];

const wrong: readonly Row[] = [
  {
    name: 'the GPU of another machine in the place of its own',
    sent: async ({ guest, single: [gpu, other] }) => {
      const [, cpu] = await collect([gpu, guest], BINDING);
      return [await collectOne(other, BINDING, NO_COMPANIONS), cpu!];
    },
    sets: [gpus(1)],
    verdict: 'snp-report-data',
  },
  {
    name: 'another report of the same GPU for the same challenge',
    sent: async ({ guest, single: [gpu] }) => {
      const [, cpu] = await collect([gpu, guest], BINDING);
      return [await collectOne(gpu, BINDING, NO_COMPANIONS), cpu!];
    },
    sets: [gpus(1)],
    verdict: 'snp-report-data',
  },
  {
    name: 'a report of the GPU for an earlier challenge, signed for by the CPU',
    sent: async ({ guest, single: [gpu] }) => {
      const old = await collectOne(gpu, EARLIER, NO_COMPANIONS);
      const digest = digestOver([{ attester: gpu, evidence: old.evidence }]);
      return [old, await collectOne(guest, BINDING, digest)];
    },
    sets: [gpus(1)],
    verdict: 'gpu-nonce',
  },
  {
    name: 'a GPU without a CPU',
    sent: machine(({ single: [gpu] }) => [gpu]),
    sets: [gpus(1)],
    verdict: 'composite-device-missing',
  },
  {
    name: 'two GPUs without a CPU, although a set wants them',
    sent: machine(({ several: [a, b] }) => [a, b]),
    sets: [[some('nvidia-gpu', 2)]],
    verdict: 'composite-binding-missing',
  },
  {
    name: 'a GPU and a TPM without a CPU that signs for them',
    sent: machine(({ tpm, single: [gpu] }) => [tpm, gpu]),
    sets: [[some('tpm'), some('nvidia-gpu')]],
    verdict: 'composite-binding-missing',
  },
  {
    name: 'one of two GPUs',
    sent: machine(({ guest, several: [a] }) => [guest, a]),
    sets: [gpus(2)],
    verdict: 'composite-device-missing',
  },
  {
    name: 'two GPUs where one is wanted',
    sent: machine(({ guest, several: [a, b] }) => [guest, a, b]),
    sets: [gpus(1)],
    verdict: 'composite-device-extra',
  },
  {
    name: 'one good GPU sent twice',
    sent: machine(({ guest, several: [a] }) => [guest, a, a]),
    sets: [gpus(2)],
    verdict: 'composite-device-repeated',
  },
  {
    name: 'a GPU of another chip than the set names',
    sent: machine(({ guest, single: [gpu] }) => [guest, gpu]),
    sets: [[some('sev-snp'), { ...some('nvidia-gpu'), models: ['GB100'] }]],
    verdict: 'composite-model',
  },
  {
    name: 'a GPU that is on no list',
    sent: machine(({ guest, single: [gpu] }) => [guest, gpu]),
    sets: ({ single: [, other] }) => [
      [some('sev-snp'), { ...some('nvidia-gpu'), devices: [toHex(other.identity)] }],
    ],
    verdict: 'composite-device-unlisted',
  },
  {
    name: 'two GPUs in the mode for one',
    sent: machine(({ guest, single }) => [guest, ...single]),
    sets: [gpus(2)],
    verdict: 'gpu-set-mode',
  },
  {
    name: 'two GPUs with different drivers',
    sent: machine(({ guest, several: [a, , c] }) => [guest, a, c]),
    sets: [gpus(2)],
    verdict: 'gpu-set-versions',
  },
  {
    name: 'two GPUs of different chips and modes',
    sent: machine(({ guest, single: [a], several: [b] }) => [guest, a, b]),
    sets: [gpus(2)],
    verdict: 'gpu-set-versions gpu-set-mode',
  },
  {
    name: 'GPUs in protected PCIe mode without their switches',
    sent: machine(({ guest, protectedPcie: [own] }) => [guest, ...own.gpus]),
    sets: [gpus(2)],
    verdict: 'gpu-set-switches gpu-set-topology gpu-set-topology',
  },
  {
    name: 'one of two switches, although the set wants one',
    sent: machine(({ guest, protectedPcie: [own] }) => [guest, ...own.gpus, own.switches[0]!]),
    sets: [gpus(2, 1)],
    verdict: 'gpu-set-topology gpu-set-topology',
  },
  {
    name: 'the switches of another machine',
    sent: machine(({ guest, protectedPcie: [own, other] }) => [guest, ...own.gpus, ...other.switches]),
    sets: [gpus(2, 2)],
    verdict: 'gpu-set-topology gpu-set-topology gpu-set-topology gpu-set-topology',
  },
  {
    name: 'one GPU of another machine among those that the switches name',
    sent: machine(({ guest, protectedPcie: [own, other] }) => [
      guest,
      own.gpus[0]!,
      other.gpus[1]!,
      ...own.switches,
    ]),
    sets: [gpus(2, 2)],
    verdict: 'gpu-set-topology gpu-set-topology gpu-set-topology',
  },
  {
    name: 'a switch where the mode of the GPU has none',
    sent: machine(({ guest, single: [gpu], looseSwitch }) => [guest, gpu, looseSwitch]),
    sets: [gpus(1, 1)],
    verdict: 'gpu-set-switches gpu-set-topology gpu-set-topology',
  },
  {
    name: 'switches without GPUs',
    sent: machine(({ guest, protectedPcie: [own] }) => [guest, ...own.switches]),
    sets: [[some('sev-snp'), some('nvswitch', 2)]],
    verdict: 'gpu-set-switches gpu-set-topology gpu-set-topology',
  },
  {
    name: 'a switch under the name of a GPU',
    sent: async ({ guest, single: [gpu], looseSwitch }) => {
      const [, cpu] = await collect([gpu, guest], BINDING);
      const { evidence } = await collectOne(looseSwitch, BINDING, NO_COMPANIONS);
      return [{ class: 'nvidia-gpu', evidence }, cpu!];
    },
    sets: [gpus(1)],
    verdict: 'gpu-report-blocks',
  },
  {
    name: 'a GPU for whose firmware no manifest was published',
    sent: machine(({ guest, single: [gpu] }) => [guest, gpu]),
    sets: [gpus(1)],
    changed: { 'nvidia-gpu': (inputs) => ({ ...inputs, referenceValues: [] }) },
    verdict: 'rim-issue rim-issue',
  },
  {
    name: 'a GPU of whose certificates nobody knows whether they were revoked',
    sent: machine(({ guest, single: [gpu] }) => [guest, gpu]),
    sets: [gpus(1)],
    changed: { 'nvidia-gpu': withoutAnswers },
    verdict: 'ocsp-missing',
  },
  {
    name: 'a simulated GPU with a real CPU',
    sent: machine(({ guest, single: [gpu] }) => [guest, gpu]),
    sets: [gpus(1)],
    changed: { 'nvidia-gpu': (inputs) => real(inputs, true) },
    verdict: 'accepted, simulated',
  },
  {
    name: 'a GPU of a vendor that the operator does not accept',
    sent: machine(({ guest, single: [gpu] }) => [guest, gpu]),
    sets: [gpus(1)],
    changed: { 'nvidia-gpu': (inputs) => ({ ...inputs, anchors: [] }) },
    verdict: 'path-untrusted',
  },
];

function withoutAnswers(inputs: ClassInputs): ClassInputs {
  const rest = [...inputs.collateral].filter(([name]) => !name.startsWith('ocsp:'));
  return { ...inputs, collateral: new Map(rest) };
}

describe('machines with GPUs', () => {
  let scene: Scene & { readonly world: World };
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'weightgate-test-'));
    const world = await World.build(folder);
    const { guest, tpm } = world;
    scene = { ...(await makeGpuWorld(TIME)), world, guest, tpm };
  }, 240_000);
  afterAll(async () => {
    await rm(folder, { recursive: true, force: true });
  });

  function inputsFor({ sets, changed = {} }: Row): EvidenceInputs {
    const inputs = scene.world.inputs(BINDING, typeof sets === 'function' ? sets(scene) : sets);
    const classes = [...inputs.classes, ...scene.classes].map(
      ([name, own]) => [name, changed[name]?.(own) ?? own] as const,
    );
    return { ...inputs, classes: new Map(classes) };
  }

  it.each([...right, ...wrong])('CM-6 to CM-15: $name: $verdict', async (row) => {
    expect(await judgeBundle(await row.sent(scene), inputsFor(row))).toBe(row.verdict);
  });
});
