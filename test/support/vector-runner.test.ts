/** The runner of vectors, and every class of vectors over the shared ones. */

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { describe, expect, it } from 'vitest';

import { temporaryFolder } from './temporary-folder.ts';
import { vectorClasses } from './vector-classes.ts';
import { openVectorFolder } from './vector-folder.ts';
import type { VectorFolder } from './vector-folder.ts';
import { runVectors } from './vector-runner.ts';
import type { VectorClass, VectorLine } from './vector-runner.ts';
import { vectorFolder, vectorsMissing } from './vectors.ts';

const folder: VectorFolder = { manifest: {}, file: () => new Uint8Array() };

function classOf(...lines: readonly Partial<VectorLine>[]): VectorClass {
  const plain = { subject: 'one', expected: 'refused', got: 'refused', code: 'a-code', agrees: true };
  return {
    name: 'made up',
    async *judge() {
      for (const line of lines) yield await Promise.resolve({ ...plain, ...line });
    },
  };
}

describe('the runner', () => {
  it('prints what was expected, what came, and the codes', async () => {
    const printed: string[] = [];
    const run = await runVectors(classOf({}, { subject: 'two~edit' }), folder, (line) => printed.push(line));
    expect(run).toEqual({ lines: 2, explained: 0, disagreement: undefined });
    expect(printed[1]).toBe('agrees\ttwo~edit\texpected refused\tgot refused\ta-code');
  });

  it('stops at the first disagreement, but not at one that is explained', async () => {
    const explained = { agrees: false, got: 'accepted', explanation: 'stricter than the source' };
    const lines = classOf(explained, { subject: 'two', agrees: false }, { subject: 'three' });
    const printed: string[] = [];
    const run = await runVectors(lines, folder, (line) => printed.push(line));
    expect(run).toMatchObject({ lines: 2, explained: 1, disagreement: { subject: 'two' } });
    expect(printed.map((line) => line.split('\t')[0])).toEqual(['explained', 'DIFFERS']);
    expect(printed[0]).toContain('stricter than the source');
  });

  it('reads files of the folder only, and only as the manifest states them', async () => {
    const place = await temporaryFolder();
    writeFileSync(join(place, 'manifest.json'), '{"format":"x"}');
    writeFileSync(join(place, 'a.bin'), 'a');
    const opened = openVectorFolder(place);
    expect(opened.manifest).toEqual({ format: 'x' });
    expect(opened.file('a.bin')).toEqual(Uint8Array.of(0x61));
    expect(() => opened.file('a.bin', '00'.repeat(32))).toThrow('SHA-256');
    expect(() => opened.file('../a.bin')).toThrow('leads out');
    expect(() => opened.file('/etc/hostname')).toThrow('leads out');
  });
});

/** Every line of a class that does not agree and is not explained. */
async function differences(vectorClass: VectorClass, place: VectorFolder): Promise<readonly VectorLine[]> {
  const lines: VectorLine[] = [];
  for await (const line of vectorClass.judge(place)) lines.push(line);
  expect(lines.length).toBeGreaterThan(50);
  return lines.filter(({ agrees, explanation }) => !agrees && explanation === undefined);
}

for (const vectorClass of vectorClasses.values()) {
  const missing = vectorsMissing(vectorClass.name);
  describe.skipIf(missing !== undefined)(`the vectors ${vectorClass.name} ${missing ?? ''}`, () => {
    it('come out as their manifest says, each and after each mutation', async () => {
      expect(await differences(vectorClass, openVectorFolder(vectorFolder(vectorClass.name)))).toEqual([]);
    });
  });
}

/** The shared vectors of SEV-SNP under a manifest whose text was changed. */
function altered(from: RegExp | string, to: string): VectorFolder {
  const place = vectorFolder('snp');
  const text = readFileSync(join(place, 'manifest.json'), 'utf8');
  const changed = text.replace(from, to);
  expect(changed).not.toBe(text);
  return { ...openVectorFolder(place), manifest: JSON.parse(changed) as unknown };
}

async function firstDisagreement(place: VectorFolder): Promise<VectorLine | undefined> {
  const vectorClass = vectorClasses.get('snp');
  if (vectorClass === undefined) throw new Error('no class');
  return (await runVectors(vectorClass, place, () => undefined)).disagreement;
}

const missing = vectorsMissing('snp');

describe.skipIf(missing !== undefined)(`a manifest that is wrong about snp ${missing ?? ''}`, () => {
  it.each([
    ['a parsed member', /"guest_svn": 0/, '"guest_svn": 1', /#report$/],
    ['a member that nobody reads', /"guest_svn": 0/, '"guest_svn": 0, "new_member": 1', /#report$/],
    ['a level of the certificate', /"snp_spl": 8/, '"snp_spl": 9', /#certificate$/],
    [
      'a signature that does not hold',
      '"report_signature_valid": true',
      '"report_signature_valid": false',
      /^[^#~]+$/,
    ],
    ['an observation', /"NO_ALIAS_CHECK",?/, '', /#observations$/],
    ['an edit without a rule', 'report[0x2A0] ^= 0x01', 'paint it blue', /~flip-sig-bit$/],
    ['an edit that changes nothing', 'report[0x2A0] ^= 0x01', 'report[0x2A0] ^= 0x00', /~flip-sig-bit$/],
  ])('disagrees about %s', async (_what, from, to, subject) => {
    expect((await firstDisagreement(altered(from, to)))?.subject).toMatch(subject);
  });

  it('does not take a file for another', async () => {
    const wrong = altered(/"milan-v2-vcek\/report.bin": "[0-9a-f]{4}/, '"milan-v2-vcek/report.bin": "0000');
    await expect(firstDisagreement(wrong)).rejects.toThrow('SHA-256');
  });
});
