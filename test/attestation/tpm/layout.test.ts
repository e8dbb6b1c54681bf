import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { decode, encode } from '../../../attestation/core/layout.ts';
import type { Layout } from '../../../attestation/core/layout.ts';
import {
  attest,
  clockInfo,
  creationData,
  identityObject,
  pcrSelectionList,
  publicArea,
  publicAreaSized,
  signature,
} from '../../../attestation/tpm/layout.ts';
import { refusalCode } from '../../support/refusal-code.ts';
import { makeSoftwareAttester } from '../../support/software-attester.ts';

const layouts: Readonly<Record<string, Layout<unknown>>> = {
  attest,
  clockInfo,
  creationData,
  identityObject,
  pcrSelectionList,
  publicArea,
  publicAreaSized,
  signature,
};

describe('TPM layouts', () => {
  it.each(Object.entries(layouts))(
    'EV-5, EV-7: %s reads any bytes or refuses, and writes what it read',
    (_, layout) => {
      fc.assert(
        fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
          let value: unknown;
          const code = refusalCode(() => (value = decode(layout, bytes, 'input')));
          if (code === 'accepted') expect(encode(layout, value, 'input')).toEqual(bytes);
          else expect(code).toMatch(/^layout-/);
        }),
        { numRuns: 500 },
      );
    },
  );

  it('EV-7: every altered attest and public area is read back as it is or refused', async () => {
    const machine = await makeSoftwareAttester();
    const inputs = [
      [attest, encode(attest, machine.quote(), 'attest')],
      [publicArea, encode(publicArea, machine.publicArea, 'area')],
    ] as const;
    for (const [layout, good] of inputs) {
      fc.assert(
        fc.property(fc.nat(good.length - 1), fc.nat(255), (at, byte) => {
          const bytes = Uint8Array.from(good, (old, i) => (i === at ? byte : old));
          const code = refusalCode(() => {
            const value = decode<unknown>(layout, bytes, 'input');
            expect(encode<unknown>(layout, value, 'input')).toEqual(bytes);
          });
          expect(code).toMatch(/^(?:layout-.*|accepted)$/);
        }),
      );
    }
  });

  it('EV-7: refuses safe 2, a selection of two bytes and seventeen selections', () => {
    const clock = [...new Array<number>(16).fill(0)];
    expect(refusalCode(() => decode(clockInfo, Uint8Array.from([...clock, 2]), 'clock'))).toBe(
      'layout-value',
    );
    expect(refusalCode(() => decode(clockInfo, Uint8Array.from([...clock, 1]), 'clock'))).toBe('accepted');
    const two = Uint8Array.of(0, 0, 0, 1, 0, 0x0b, 2, 0, 0);
    expect(refusalCode(() => decode(pcrSelectionList, two, 'selection'))).toBe('layout-value');
    const many = Uint8Array.of(0, 0, 0, 17);
    expect(refusalCode(() => decode(pcrSelectionList, many, 'selection'))).toBe('layout-value');
  });
});
