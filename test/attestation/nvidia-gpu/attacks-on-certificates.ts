/** Attacks on the certificates of a GPU, on what they are for, and on what is known of their revocation. */

import { ocspCollateralName } from '../../../attestation/nvidia-gpu/ocsp/appraise.ts';
import { makeGpu } from '../../../src/agent/simulated/nvidia-device.ts';
import { SIMULATED_AT } from '../../support/simulated-gpu.ts';
import type { Attack, Row } from './attack-world.ts';

export const CERTIFICATE_ROWS: readonly Row[] = [
  {
    row: 5,
    check: 'the key is that of the first certificate',
    attacks: [
      [
        'the key of the provisioner in the same chain',
        ['gpu-signature'],
        (world) => world.judge(world.gpu.with({ key: world.vendor.devices.issuersOf('GH100')[0]!.key })),
      ],
      [
        'the key of another GPU',
        ['gpu-signature'],
        async (world) => world.judge(world.gpu.with({ key: (await makeGpu(world.vendor.devices)).key })),
      ],
    ],
  },
  {
    row: 6,
    check: 'every link, in order, five certificates',
    attacks: [
      [
        'a look-alike below the genuine root',
        ['path-signature'],
        async (world) => {
          const device = await makeGpu(world.lookalike.devices);
          return world.judge(
            device.with({ chain: device.chain.with(4, world.vendor.devices.root.certificate) }),
          );
        },
      ],
      [
        'a certificate left out',
        ['gpu-chain-length'],
        (world) => world.judge(world.gpu.with({ chain: world.gpu.chain.toSpliced(2, 1) })),
      ],
      [
        'the root twice',
        ['gpu-chain-length'],
        (world) => world.judge(world.gpu.with({ chain: [...world.gpu.chain, world.gpu.chain[4]!] })),
      ],
      [
        'two exchanged',
        ['path-untrusted'],
        (world) =>
          world.judge(
            world.gpu.with({
              chain: world.gpu.chain.with(1, world.gpu.chain[2]!).with(2, world.gpu.chain[1]!),
            }),
          ),
      ],
      [
        'an authority as the leaf',
        ['gpu-chain-length'],
        (world) => world.judge(world.gpu.with({ chain: world.gpu.chain.slice(1) })),
      ],
    ],
  },
  {
    row: 7,
    check: 'the root by its key',
    attacks: [
      [
        'a look-alike from leaf to root',
        ['path-untrusted'],
        async (world) => world.judge(await makeGpu(world.lookalike.devices)),
      ],
      [
        'the root of manifests',
        ['path-untrusted'],
        (world) =>
          world.judge(world.gpu, {
            anchors: world.vendor.anchors.filter(({ purpose }) => purpose === 'reference-values'),
          }),
      ],
    ],
  },
  {
    row: 8,
    check: 'role of the leaf',
    attacks: [
      ['the security processor of a GPU', ['gpu-device-role'], (world) => world.judgeGpu({ engine: 'FSP' })],
      [
        'a switch',
        ['gpu-report-blocks'],
        (world) => world.judge(world.board.find(({ chip }) => chip === 'LS10')!),
      ],
    ],
  },
  {
    row: 10,
    check: 'firmware of the report and of the certificate',
    attacks: [
      [
        'other firmware',
        ['gpu-fwid'],
        (world) => world.judgeGpu({ fields: { fwid: new Uint8Array(48).fill(1) } }),
      ],
      [
        'firmware that is not named',
        ['gpu-fwid-missing'],
        (world) => world.judgeGpu({ fields: { fwid: undefined } }),
      ],
      [
        'firmware that can be debugged',
        ['gpu-debug'],
        (world) => world.judgeGpu({ chip: 'GB100', isDebug: true }),
      ],
    ],
  },
  {
    row: 13,
    check: 'revocation of boot ROM, provisioner and identity',
    attacks: [
      ...[1, 2, 3].map((place): Attack => [
        `certificate ${place} revoked`,
        ['ocsp-revoked'],
        (world) => world.withAnswer(place, { status: 'revoked' }),
      ]),
      ['an unknown one', ['ocsp-unknown'], (world) => world.withAnswer(1, { status: 'unknown' })],
      ['no answer', ['ocsp-missing'], (world) => world.withoutCollateral((name) => name.startsWith('ocsp:'))],
      [
        'an old good answer',
        ['ocsp-stale'],
        (world) =>
          world.withAnswer(1, {
            producedAt: SIMULATED_AT - 90_000,
            thisUpdate: SIMULATED_AT - 90_000,
            nextUpdate: SIMULATED_AT - 3600,
          }),
      ],
      [
        'an answer about another',
        ['ocsp-other-certificate'],
        async (world) =>
          world.withCollateral([
            ocspCollateralName({ encoded: world.gpu.chain[1]! }),
            await world.vendor.answer(world.gpu.chain[2]!),
          ]),
      ],
      [
        'an answer by a look-alike of the issuer',
        ['ocsp-other-certificate'],
        async (world) => {
          const other = await makeGpu(world.lookalike.devices);
          return world.withCollateral([
            ocspCollateralName({ encoded: world.gpu.chain[1]! }),
            await world.lookalike.answer(other.chain[1]!),
          ]);
        },
      ],
    ],
  },
];
