import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { describe, expect, it } from 'vitest';

import type { JsonValue } from '../../../attestation/core/canonical-json.ts';
import { readReferenceValues } from '../../../attestation/sev-snp/documents.ts';
import type { MinimumTcbSet, ProcessorMinimum } from '../../../attestation/sev-snp/documents.ts';
import { firmwareText, isFirmwareBelow, mergeMinima } from '../../../attestation/sev-snp/minimum-tcb.ts';
import type { Tcb } from '../../../attestation/sev-snp/tcb.ts';
import { refusalCode, refusalOf } from '../../support/refusal-code.ts';

const folder = join(import.meta.dirname, '../../../policies/reference-values/sev-snp');

const published = readdirSync(folder)
  .filter((name) => name.endsWith('.json'))
  .map((name) => JSON.parse(readFileSync(join(folder, name), 'utf8')) as JsonValue);

function sets(): readonly MinimumTcbSet[] {
  return published.map(readReferenceValues).filter((reference) => reference.kind === 'minimum-tcb');
}

const PROCESSORS = ['19-01-01', '19-01-02', '19-11-01', '19-11-02', '19-a0-01', '19-a0-02', 'Milan', 'Genoa'];
const TURIN = ['1a-02-01', '1a-11-00', 'Turin'];

describe('published minimum TCBs', () => {
  it('SN-53: are read, have the name of their file and a minimum for every processor whose level is known', () => {
    expect(sets().map(({ name }) => name)).toEqual(['amd-2025-02', 'amd-2026-02']);
    const processors = (name: string) => [...mergeMinima(sets(), [name]).keys()].sort();
    expect(processors('amd-2026-02')).toEqual([...PROCESSORS, ...TURIN].sort());
    expect(processors('amd-2025-02')).toEqual([...PROCESSORS].sort());
  });

  it('SN-53: demand what the bulletins say', () => {
    const level = (name: string, processor: string) => mergeMinima(sets(), [name]).get(processor)?.tcb.snp;
    expect(level('amd-2025-02', '19-01-01')).toBe(0x18);
    expect(level('amd-2025-02', '19-a0-02')).toBe(0x17);
    expect(level('amd-2025-02', '1a-02-01')).toBe(undefined);
    expect(level('amd-2026-02', '19-01-01')).toBe(0x1b);
    expect(level('amd-2026-02', '19-11-01')).toBe(0x1b);
    expect(level('amd-2026-02', '1a-02-01')).toBe(4);
  });

  it('SN-53: the later set is nowhere weaker', () => {
    const [earlier, later] = [mergeMinima(sets(), ['amd-2025-02']), mergeMinima(sets(), ['amd-2026-02'])];
    for (const [processor, minimum] of earlier) {
      const both = mergeMinima(sets(), ['amd-2026-02'], [minimum]).get(processor);
      expect([processor, both]).toEqual([processor, later.get(processor)]);
    }
  });
});

describe('reference values', () => {
  it('SN-53: are objects of one of the two kinds', () => {
    for (const value of [null, 'launch', 1, true, []]) {
      expect(refusalCode(() => readReferenceValues(value))).toBe('shape-value');
    }
    expect(refusalCode(() => readReferenceValues({}))).toBe('shape-member');
  });
});

describe('merging minima', () => {
  const minimum = (
    snp: number,
    microcode: number,
    firmware: ProcessorMinimum['firmware'],
  ): ProcessorMinimum => ({
    processor: '19-01-01',
    tcb: { fmc: undefined, bootLoader: 0, tee: 0, snp, microcode },
    firmware,
  });

  it('SN-54: takes the highest of each component', () => {
    const left = minimum(5, 1, { major: 1, minor: 55, build: 9 });
    const right = minimum(3, 9, { major: 1, minor: 51, build: 40 });
    for (const order of [
      [left, right],
      [right, left],
    ]) {
      const merged = mergeMinima([], [], order).get('19-01-01');
      expect(merged).toEqual(minimum(5, 9, { major: 1, minor: 55, build: 9 }));
    }
  });

  it('SN-54: takes the highest of each component, which only one may have', () => {
    const merged = (...tcbs: readonly Tcb[]): Tcb | undefined => {
      const minima = tcbs.map((tcb) => ({ ...minimum(0, 0, { major: 0, minor: 0, build: 0 }), tcb }));
      return mergeMinima([], [], minima).get('19-01-01')?.tcb;
    };
    const one: Tcb = { fmc: 3, bootLoader: 1, tee: 9, snp: 2, microcode: 8 };
    const other: Tcb = { fmc: 2, bootLoader: 7, tee: 4, snp: 6, microcode: 5 };
    const highest: Tcb = { fmc: 3, bootLoader: 7, tee: 9, snp: 6, microcode: 8 };
    expect(merged(one, other)).toEqual(highest);
    expect(merged(other, one)).toEqual(highest);
    const withoutFmc = { ...other, fmc: undefined };
    expect(merged(one, withoutFmc)).toEqual(highest);
    expect(merged(withoutFmc, one)).toEqual(highest);
  });

  it('SN-54: refuses a name that is not there or there twice', () => {
    const [first] = sets();
    const { name } = first!;
    const merge = (known: readonly MinimumTcbSet[]) => () => mergeMinima(known, [name]);
    expect(refusalCode(merge([first!]))).toBe('accepted');
    const code = 'snp-minimum-set-unknown';
    const none = expect.stringContaining('none') as unknown;
    expect(refusalOf(merge([]))).toMatchObject({ code, expected: none, found: name });
    const others = [
      { ...first!, name: 'one' },
      { ...first!, name: 'two' },
    ];
    expect(refusalOf(merge(others))).toMatchObject({ code, expected: 'one, two', found: name });
    expect(refusalOf(merge([first!, first!]))).toMatchObject({ code, found: `${name} twice` });
  });

  it('SN-54: compares firmware as major, minor, build', () => {
    const version = (text: string) => {
      const [major = 0, minor = 0, build = 0] = text.split('.').map(Number);
      return { major, minor, build };
    };
    const below = (left: string, right: string) => isFirmwareBelow(version(left), version(right));
    expect(below('1.55.9', '1.55.10')).toBe(true);
    expect(below('1.56.0', '1.55.99')).toBe(false);
    expect(below('0.99.99', '1.0.0')).toBe(true);
    expect(below('1.55.9', '1.55.9')).toBe(false);
    expect(firmwareText(version('1.55.9'))).toBe('1.55.9');
  });
});
