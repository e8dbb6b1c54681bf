/** Attacks on reference manifests and on the measurements that are held against them. */

import { ocspCollateralName } from '../../../attestation/nvidia-gpu/ocsp/appraise.ts';
import type { ManifestContents } from '../../../src/agent/simulated/nvidia-manifest.ts';
import { signedManifest } from '../../../src/agent/simulated/nvidia-manifest.ts';
import { SIMULATED_AT } from '../../support/simulated-gpu.ts';
import { blockOf, manifestPolicy } from './attack-world.ts';
import type { Attack, AttackWorld, Row } from './attack-world.ts';

export const MANIFEST_ROWS: readonly Row[] = [
  {
    row: 15,
    check: 'manifests of driver and VBIOS',
    attacks: [
      [
        'no manifest of the driver',
        ['gpu-manifest', 'rim-missing', 'gpu-uncovered-blocks'],
        (world) => world.withoutCollateral((name) => name.includes('DRIVER')),
      ],
      [
        'no manifest of the VBIOS',
        ['gpu-manifest', 'rim-missing', 'gpu-uncovered-blocks'],
        (world) => world.withoutCollateral((name) => name.includes('VBIOS')),
      ],
    ],
  },
  {
    row: 16,
    check: 'signature of manifests',
    attacks: [
      [
        'a look-alike issuer',
        ['path-untrusted'],
        (world) => world.withManifest('vbios', (contents) => world.lookalike.manifests.issue(contents)),
      ],
      ['a value exchanged', ['rim-digest'], (world) => world.edited('active="False"', 'active="True"')],
      [
        'values beside the signature',
        ['rim-signature-shape'],
        (world) => world.edited('</ds:Signature>', '<ds:Object/></ds:Signature>'),
      ],
      [
        'a second signature',
        ['rim-one-signature'],
        (world) =>
          world.edited(
            '</ds:Signature>',
            '</ds:Signature><ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"/>',
          ),
      ],
    ],
  },
  {
    row: 17,
    check: 'validity and revocation of the signer of manifests',
    attacks: (['revoked', 'hold', 'unknown'] as const).map((status): Attack => [
      `a signer that is ${status}`,
      [`ocsp-${status}`],
      async (world) => {
        const encoded = world.vendor.manifests.chainOf('GH100')[0].certificate;
        return world.withCollateral([
          ocspCollateralName({ encoded }),
          await world.vendor.answer(encoded, { status }),
        ]);
      },
    ]),
  },
  {
    row: 18,
    check: 'version, product and edition of manifests',
    attacks: [
      [
        'another version',
        ['rim-version'],
        (world) => world.issued('driver', () => ({ version: '590.48.02' })),
      ],
      [
        'another product',
        ['rim-product'],
        (world) =>
          world.withManifest('driver', (contents) => signedAs(world, { ...contents, product: 'GB100' })),
      ],
      ['another edition', ['rim-edition'], (world) => world.issued('driver', () => ({ edition: 'SWITCH' }))],
    ],
  },
  {
    row: 19,
    check: 'issue of manifests',
    attacks: [
      [
        'an issue that nobody listed',
        ['rim-issue', 'rim-issue'],
        (world) => world.judge(world.gpu, { referenceValues: [] }),
      ],
      [
        'an issue from before',
        ['rim-issue-date', 'rim-issue-date'],
        (world) => world.judge(world.gpu, manifestPolicy({ signerNotBefore: SIMULATED_AT + 1 })),
      ],
    ],
  },
  {
    row: 20,
    check: 'active indices, alternatives, conflicts',
    attacks: [
      [
        'nothing active',
        ['rim-missing', 'rim-incomplete', 'gpu-uncovered-blocks'],
        (world) => world.issued('vbios', inactive),
      ],
      [
        'one value fewer',
        ['rim-incomplete', 'gpu-uncovered-blocks'],
        (world) => world.issued('vbios', (contents) => activity(contents, 3, false)),
      ],
      [
        'an index of the other manifest',
        ['rim-conflict', 'rim-measurement'],
        (world) => world.issued('vbios', (contents) => activity(contents, 30, true)),
      ],
      ['another value', ['rim-measurement'], (world) => world.judgeGpu({ measurements: blockOf(3) })],
    ],
  },
  {
    row: 21,
    check: 'the video decoder',
    attacks: [
      [
        'a third state',
        ['gpu-opaque-value'],
        (world) =>
          world.withOpaque((entries) =>
            entries.map((entry) => (entry.type === 11 ? { type: 11, value: Uint8Array.of(0x33) } : entry)),
          ),
      ],
      [
        'enabled, with another measurement',
        ['rim-measurement'],
        (world) =>
          world.judgeGpu(
            { measurements: blockOf(35), fields: { nvdec0Status: 'enabled' } },
            manifestPolicy({ disabledNvdec: 'skip' }),
          ),
      ],
    ],
  },
  {
    row: 22,
    check: 'blocks that no manifest covers',
    attacks: [
      [
        'firmware beside what is measured',
        ['gpu-uncovered-blocks'],
        (world) => world.judgeGpu({ measurements: blockOf(50) }),
      ],
    ],
  },
];

function inactive({ resources }: ManifestContents): Partial<ManifestContents> {
  return { resources: resources.map((resource) => ({ ...resource, active: false })) };
}

function activity(
  { resources }: ManifestContents,
  index: number,
  active: boolean,
): Partial<ManifestContents> {
  return {
    resources: resources.map((one) => ('index' in one && one.index === index ? { ...one, active } : one)),
  };
}

/** Signed by the signer of Hopper's manifests, whatever it is about. */
function signedAs({ vendor }: AttackWorld, contents: ManifestContents): Uint8Array {
  const chain = vendor.manifests.chainOf('GH100');
  return signedManifest(contents, {
    key: chain[0].key,
    certificates: chain.map(({ certificate }) => certificate),
  });
}
