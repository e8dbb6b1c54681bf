/** Attacks on versions, modes, several devices of one machine, and the course of verification. */

import { expect } from 'vitest';

import { CertificateMemory } from '../../../attestation/core/certificate-memory.ts';
import type { DeviceInputs } from '../../../attestation/core/device-class.ts';
import { makeProtectedPcie } from '../../../src/agent/simulated/nvidia-machine.ts';
import { SIMULATED_AT } from '../../support/simulated-gpu.ts';
import { DRIVER, NONCE, policy, VBIOS } from './attack-world.ts';
import type { Row } from './attack-world.ts';

export const MACHINE_ROWS: readonly Row[] = [
  {
    row: 23,
    check: 'minimum versions',
    attacks: [
      [
        'an old driver',
        ['gpu-driver-minimum'],
        (world) => world.judge(world.gpu, minima('590.48.02', VBIOS)),
      ],
      [
        'an old VBIOS',
        ['gpu-vbios-minimum'],
        (world) => world.judge(world.gpu, minima(DRIVER, '96.00.9F.00.02')),
      ],
      [
        'an old security version',
        ['rim-security-version'],
        (world) =>
          world.issued('driver', ({ resources }) => ({
            resources: [...resources, { opaqueType: 37, active: true, minimumSvn: 2 }],
          })),
      ],
    ],
  },
  {
    row: 24,
    check: 'modes',
    attacks: [
      [
        'protected PCIe where the policy does not name it',
        ['gpu-mode'],
        (world) =>
          world.judgeGpu(
            { fields: { featureFlag: 'ppcie', protectedPcie: 'enabled' } },
            policy({ modes: ['spt'] }),
          ),
      ],
      [
        'protected PCIe without switches',
        ['gpu-set-switches', 'gpu-set-topology'],
        (world) => world.judgeSet(world.board.filter(({ chip }) => chip !== 'LS10')),
      ],
      [
        'a flag that contradicts',
        ['gpu-mode-contradiction'],
        (world) => world.judgeGpu({ fields: { featureFlag: 'spt', protectedPcie: 'enabled' } }),
      ],
    ],
  },
  {
    row: 25,
    check: 'distinct devices',
    attacks: [
      [
        'one GPU for two',
        ['gpu-set-repeated', 'gpu-set-topology'],
        (world) => world.judgeSet(world.board.with(1, world.board[0]!)),
      ],
    ],
  },
  {
    row: 26,
    check: 'closed topology',
    attacks: [
      [
        'a GPU of another machine',
        ['gpu-set-topology'],
        async (world) =>
          world.judgeSet(
            world.board.with(0, (await makeProtectedPcie(world.vendor.devices, [{}], [{}, {}]))[0]!),
          ),
      ],
      [
        'a switch of another machine',
        ['gpu-set-topology'],
        async (world) =>
          world.judgeSet(
            world.board.with(2, (await makeProtectedPcie(world.vendor.devices, [{}, {}], [{}]))[2]!),
          ),
      ],
    ],
  },
  {
    row: 27,
    check: 'one nonce, equal versions, exact counts (of sets: test/attestation/composite-matrix.test.ts)',
    attacks: [
      [
        'an older driver on one',
        ['gpu-set-versions'],
        async (world) =>
          world.judgeSet(
            await makeProtectedPcie(
              world.vendor.devices,
              [{}, { fields: { driverVersion: '590.48.02' } }],
              [{}],
            ),
          ),
      ],
      [
        'one device without the others',
        ['gpu-set-topology'],
        (world) => world.judgeSet(world.board.slice(1)),
      ],
    ],
  },
  {
    row: 28,
    check: 'digest of the evidence in the report of the CPU',
    elsewhere: 'test/attestation/composite-matrix.test.ts',
    because:
      'a GPU signs nothing about its machine: the CPU’s report does, and is tried there with GPUs beside it',
  },
  {
    row: 29,
    check: 'launch measurement of the guest, driver included',
    elsewhere: 'test/attestation/sev-snp/device-class.test.ts',
    because: 'no value that a GPU signs is about the guest',
  },
  {
    row: 30,
    check: 'tokens of NVIDIA’s remote service',
    elsewhere: 'test/attestation/nvidia-gpu/nras/verify.test.ts',
    because: 'no device makes tokens; real ones and their mutations are among the vectors',
  },
  {
    row: 31,
    check: 'nothing is left of an earlier device',
    attacks: [
      [
        'a replay after a success, with what was kept',
        ['gpu-nonce'],
        async (world) => {
          const memory = new CertificateMemory();
          expect(await world.judge(world.gpu, { memory })).toEqual([]);
          return world.judge(world.gpu, { memory, expectedDeviceValue: NONCE.with(0, 1) });
        },
      ],
      [
        'a bad device among good ones at the same time',
        ['gpu-fwid-missing'],
        async (world) => {
          const memory = new CertificateMemory();
          const bad = world.judgeGpu({ fields: { fwid: undefined } }, { memory });
          const verdicts = await Promise.all([
            world.judge(world.gpu, { memory }),
            bad,
            world.judge(world.gpu, { memory }),
          ]);
          expect([verdicts[0], verdicts[2]]).toEqual([[], []]);
          return verdicts[1];
        },
      ],
    ],
  },
  {
    row: 32,
    check: 'time (an argument; the server’s clock is src/platform’s)',
    attacks: [
      [
        'before the certificates',
        ['path-validity'],
        (world) => world.judge(world.gpu, { time: SIMULATED_AT - 10 * 86_400 }),
      ],
      [
        'after the answers',
        ['ocsp-stale'],
        (world) => world.judge(world.gpu, { time: SIMULATED_AT + 2 * 86_400 }),
      ],
    ],
  },
];

function minima(driver: string, vbios: string): Pick<DeviceInputs, 'policy'> {
  return policy({ minimumVersions: { sets: [], chips: [{ chip: 'GH100', driver, vbios }] } });
}
