import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { fromHex } from '../../../attestation/core/bytes.ts';
import {
  driverVersion,
  isDriverBelow,
  isVbiosBelow,
  vbiosVersion,
  vbiosVersionBytes,
  vbiosVersionOf,
} from '../../../attestation/nvidia-gpu/vbios-version.ts';
import { refusalCode } from '../../support/refusal-code.ts';

describe('versions', () => {
  it('NG-11: of a VBIOS stand in 8 bytes, of which three are zero', () => {
    const bytes = fromHex('009f009601000000', 'version');
    expect(vbiosVersionOf(bytes, 'x')).toBe('96.00.9F.00.01');
    expect(vbiosVersionBytes('96.00.9F.00.01')).toEqual(bytes);
    for (const at of [5, 6, 7]) {
      expect(refusalCode(() => vbiosVersionOf(bytes.with(at, 1), 'x'))).toBe('gpu-version');
    }
    for (const length of [0, 7]) {
      expect(refusalCode(() => vbiosVersionOf(bytes.subarray(0, length), 'x'))).toBe('gpu-version');
    }
    expect(refusalCode(() => vbiosVersionOf(Uint8Array.of(...bytes, 0), 'x'))).toBe('gpu-version');
  });

  it('NG-11: W11: of a VBIOS are written as they are read', () => {
    const parts = fc.uint8Array({ minLength: 5, maxLength: 5 });
    fc.assert(
      fc.property(parts, (five) => {
        const bytes = Uint8Array.of(...five, 0, 0, 0);
        expect(vbiosVersionBytes(vbiosVersionOf(bytes, 'x'))).toEqual(bytes);
      }),
      { numRuns: 100 },
    );
  });

  it.each([
    '',
    '550',
    '550.',
    '.90',
    '550.90.07.1.2',
    '550.90a',
    ' 550.90',
    '550..90',
    '55000.1',
    '550.90\n',
  ])('NG-11: no driver has the version "%s"', (text) => {
    expect(refusalCode(() => driverVersion(text, 'x'))).toBe('gpu-version');
  });

  it.each(['', '96.00.9f.00.01', '96.00.9F.00', '96.00.9F.00.01.02', '9600.9F.00.01', '96.00.9G.00.01'])(
    'NG-11: no VBIOS has the version "%s"',
    (text) => {
      expect(refusalCode(() => vbiosVersion(text, 'x'))).toBe('gpu-version');
    },
  );

  it.each([
    ['550.90.07', '550.90.07', false],
    ['550.90.07', '550.90.08', true],
    ['550.90.07', '550.100', true],
    ['550.144.03', '550.90.07', false],
    ['545.00', '550.90.07', true],
    ['1000.00', '999.99.99', false],
    ['550.90', '550.90.00', false],
    ['550.90', '550.90.01', true],
    ['550.90.01', '550.90', false],
    ['550.7', '550.07', false],
  ])('NG-11: driver %s is older than %s: %s', (version, minimum, expected) => {
    expect(isDriverBelow(version, minimum)).toBe(expected);
  });

  it.each([
    ['96.00.9F.00.01', '96.00.9F.00.01', false],
    ['96.00.9F.00.01', '96.00.A0.00.00', true],
    ['96.00.A0.00.00', '96.00.9F.00.01', false],
    ['96.00.9F.00.01', '97.00.00.00.00', true],
    ['96.00.9F.00.0A', '96.00.9F.00.10', true],
  ])('NG-11: VBIOS %s is older than %s: %s', (version, minimum, expected) => {
    expect(isVbiosBelow(version, minimum)).toBe(expected);
  });
});
