/** Attacks on what a GPU signs: the message, its opaque data, and what it says the device is. */

import { concatBytes } from '../../../attestation/core/bytes.ts';
import { flipped, malleated, NONCE, overwritten, policy } from './attack-world.ts';
import type { Row } from './attack-world.ts';

export const REPORT_ROWS: readonly Row[] = [
  {
    row: 1,
    check: 'bounds on every length, exact consumption, nothing behind it',
    attacks: [
      [
        'a byte behind it',
        ['gpu-report-trailing'],
        (world) => world.altered((r) => concatBytes(r, Uint8Array.of(0x41))),
      ],
      [
        'a zero behind it',
        ['gpu-report-trailing'],
        (world) => world.altered((r) => concatBytes(r, Uint8Array.of(0))),
      ],
      ['a byte too few', ['layout-truncated'], (world) => world.altered((r) => r.subarray(0, -1))],
      [
        'a record as long as can be',
        ['layout-truncated'],
        (world) => world.altered((r) => overwritten(r, 42, [255, 255, 255])),
      ],
      [
        'more than any report',
        ['shape-value'],
        (world) => world.altered((r) => concatBytes(r, new Uint8Array(8192))),
      ],
    ],
  },
  {
    row: 2,
    check: 'constants of request and response',
    attacks: [
      [
        'another slot',
        ['gpu-request-header'],
        (world) => world.signed(({ request }) => ({ request: { ...request, slot: 1 } })),
      ],
      [
        'some blocks alone',
        ['gpu-request-header'],
        (world) => world.signed(({ request }) => ({ request: { ...request, parameter2: 1 } })),
      ],
      [
        'another response',
        ['gpu-response-header'],
        (world) => world.signed(({ response }) => ({ response: { ...response, code: 0x7f } })),
      ],
    ],
  },
  {
    row: 3,
    check: 'blocks 1 to 64, each once, SHA-384',
    attacks: [
      [
        'one block twice',
        ['gpu-report-blocks'],
        (world) => world.withBlocks((blocks) => blocks.with(1, { ...blocks[1]!, index: 1 })),
      ],
      [
        'one block fewer',
        ['gpu-report-blocks'],
        (world) => world.withBlocks((blocks) => blocks.slice(0, -1)),
      ],
      [
        'another specification',
        ['gpu-report-blocks'],
        (world) => world.withBlocks((blocks) => blocks.with(0, { ...blocks[0]!, specification: 2 })),
      ],
    ],
  },
  {
    row: 4,
    check: 'signature over request and response',
    attacks: [
      ['a bit of a measurement', ['gpu-signature'], (world) => world.altered((r) => flipped(r, 60))],
      ['a bit of the response’s nonce', ['gpu-signature'], (world) => world.altered((r) => flipped(r, 3570))],
      [
        'zeros for a signature',
        ['gpu-signature-range'],
        (world) => world.altered((r) => overwritten(r, r.length - 96, new Array<number>(96).fill(0))),
      ],
    ],
  },
  {
    row: 9,
    check: 'the chip, from the certificate, of a list',
    attacks: [
      [
        'a report that names another',
        ['gpu-chip'],
        (world) => world.judgeGpu({ fields: { chipInfo: 'GB100' } }),
      ],
      ['another label', ['gpu-architecture'], (world) => world.underLabel('BLACKWELL')],
      [
        'a chip that the operator does not accept',
        ['gpu-chip-policy'],
        (world) => world.judge(world.gpu, policy({ chips: ['GB100'] })),
      ],
    ],
  },
  {
    row: 11,
    check: 'the nonce, all 32 bytes (that it is used once is the server’s: test/server/release.test.ts)',
    attacks: [
      [
        'a report for another challenge',
        ['gpu-nonce'],
        (world) => world.judge(world.gpu, { expectedDeviceValue: NONCE.with(31, 0) }),
      ],
      [
        'a shorter nonce',
        ['gpu-nonce'],
        (world) => world.judge(world.gpu, { expectedDeviceValue: NONCE.subarray(0, 31) }),
      ],
      [
        'a nonce of zeros',
        ['gpu-nonce-zero'],
        async (world) =>
          world.judgeReport(await world.gpu.attestationReport(new Uint8Array(32)), world.gpu.chain),
      ],
    ],
  },
  {
    row: 12,
    check: 'evidence is not known by its bytes',
    attacks: [
      ['the same signature in other bytes is the same report', [], (world) => world.altered(malleated)],
    ],
  },
  {
    row: 14,
    check: 'opaque data',
    attacks: [
      [
        'two driver versions',
        ['gpu-opaque-repeated'],
        (world) => world.withOpaque((entries) => [...entries, entries.find(({ type }) => type === 3)!]),
      ],
      [
        'no driver version',
        ['gpu-opaque-required'],
        (world) => world.withOpaque((entries) => entries.filter(({ type }) => type !== 3)),
      ],
      [
        'an entry that nobody knows',
        ['gpu-opaque-type'],
        (world) => world.withOpaque((entries) => [...entries, { type: 99, value: Uint8Array.of(0) }]),
      ],
    ],
  },
];
