/** PE images and their Authenticode digest (docs/spec/tpm-reference.md, section 1). */

import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { concatBytes, toHex, toUtf8 } from '../../../../attestation/core/bytes.ts';
import { RefusalError } from '../../../../attestation/core/refusal.ts';
import { tpmHash } from '../../../../attestation/tpm/hash.ts';
import { Algorithm } from '../../../../attestation/tpm/layout.ts';
import { authenticodeDigest } from '../../../../attestation/tpm/reference/authenticode.ts';
import { readPeImage } from '../../../../attestation/tpm/reference/pe.ts';
import { peImage } from '../../../support/pe-image.ts';
import type { Places, WrittenImage } from '../../../support/pe-image.ts';
import { absentPrograms } from '../../../support/programs.ts';
import { refusalCode } from '../../../support/refusal-code.ts';
import { temporaryFolder } from '../../../support/temporary-folder.ts';

const bank = tpmHash(Algorithm.sha256, 'bank');
const bank384 = tpmHash(Algorithm.sha384, 'bank');
const SECTIONS = [
  { name: '.text', data: new Uint8Array(700).fill(0x90) },
  { name: '.data', data: toUtf8('some data') },
];
const digestOf = (file: Uint8Array): string => toHex(authenticodeDigest(readPeImage(file, 'image'), bank));
const codeOf = (image: WrittenImage): string | undefined =>
  refusalCode(() => readPeImage(peImage(image), 'image'));

/** One member of the file that is overwritten: its offset, its width in bits, its new value. */
type Change = (places: Places, length: number) => readonly [at: number, bits: number, value: number];

function apply(change: Change): NonNullable<WrittenImage['edit']> {
  return (file, places) => {
    const [at, bits, value] = change(places, file.byteLength);
    if (bits === 8) file.setUint8(at, value);
    else if (bits === 16) file.setUint16(at, value, true);
    else file.setUint32(at, value, true);
  };
}

describe('reading a PE image', () => {
  it.each(['PE32', 'PE32+'] as const)('ER-1: gives the sections and signatures of a %s image', (form) => {
    const image = readPeImage(peImage({ sections: SECTIONS, signature: toUtf8('PKCS'), form }), 'image');
    expect(image).toMatchObject({ machine: 0x8664, subsystem: 10 });
    expect(image.sections.map(({ name, virtualBytes, data }) => [name, virtualBytes, data.length])).toEqual([
      ['.text', 700, 1024],
      ['.data', 9, 512],
    ]);
    expect(image.signatures).toEqual([toUtf8('PKCS')]);
  });

  it.each<[string, Change, string]>([
    ['no MS-DOS header', () => [0, 8, 0], 'layout-value'],
    ['headers that begin inside the MS-DOS header', () => [0x3c, 32, 60], 'pe-header'],
    ['headers behind the end', () => [0x3c, 32, 0xfffffff0], 'layout-truncated'],
    ['no signature of the format', ({ coff }) => [coff, 8, 0], 'layout-value'],
    ['97 sections', ({ coff }) => [coff + 6, 16, 97], 'layout-value'],
    ['96 sections that are not there', ({ coff }) => [coff + 6, 16, 96], 'pe-header'],
    ['an optional header too short', ({ coff }) => [coff + 20, 16, 100], 'layout-truncated'],
    ['an optional header too long', ({ coff }) => [coff + 20, 16, 241], 'layout-trailing'],
    ['an unknown form', ({ optional }) => [optional, 16, 0x107], 'layout-value'],
    ['17 directories', ({ optional }) => [optional + 108, 32, 17], 'layout-value'],
    ['headers that end early', ({ optional }) => [optional + 60, 32, 64], 'pe-header'],
    ['headers longer than the file', ({ optional }) => [optional + 60, 32, 1e9], 'pe-header'],
    ['a name with a byte behind its end', ({ sectionTable }) => [sectionTable + 7, 8, 1], 'pe-section'],
    ['a gap', ({ sectionTable }) => [sectionTable + 16, 32, 512], 'pe-section'],
    ['overlapping data', ({ sectionTable }) => [sectionTable + 16, 32, 2048], 'pe-section'],
    ['data in the headers', ({ sectionTable }) => [sectionTable + 20, 32, 0], 'pe-section'],
    ['data behind the end', ({ sectionTable }) => [sectionTable + 56, 32, 1024], 'pe-section'],
    ['overlapping memory', ({ sectionTable }) => [sectionTable + 52, 32, 4097], 'pe-section'],
    ['endless memory', ({ sectionTable }) => [sectionTable + 8, 32, 0xffffffff], 'pe-section'],
  ])('ER-2: refuses %s', (_what, edit, code) => {
    expect(codeOf({ sections: SECTIONS, edit: apply(edit) })).toBe(code);
  });

  const signature = new Uint8Array(24);
  it.each<[string, Change, string]>([
    ['outside the file', ({ certificates }) => [certificates, 32, 1e6], 'pe-certificates'],
    ['inside a section', ({ certificates }) => [certificates, 32, 512], 'pe-certificates'],
    ['shorter than what follows', ({ certificates }) => [certificates + 4, 32, 24], 'pe-certificates'],
    ['longer than the file', ({ certificates }) => [certificates + 4, 32, 0xfffffff8], 'pe-certificates'],
    [
      'with a length of its own that is too long',
      (_places, length) => [length - 32, 32, 33],
      'layout-truncated',
    ],
    ['with a length below its header', (_places, length) => [length - 32, 32, 0], 'pe-certificates'],
    ['of another kind', (_places, length) => [length - 26, 16, 1], 'layout-value'],
  ])('ER-3: refuses a table of signatures %s', (_what, edit, code) => {
    expect(codeOf({ sections: SECTIONS, signature, edit: apply(edit) })).toBe(code);
  });

  it('ER-3: refuses bytes behind the signatures, and takes them as digested without any', () => {
    const signed = peImage({ sections: SECTIONS, signature });
    const appended = concatBytes(signed, new Uint8Array(8));
    expect(refusalCode(() => readPeImage(appended, 'image'))).toBe('pe-certificates');
    const unsigned = peImage({ sections: SECTIONS });
    expect(digestOf(concatBytes(unsigned, new Uint8Array(8)))).not.toBe(digestOf(unsigned));
  });

  it('ER-2: refuses an image that is cut anywhere', () => {
    const file = peImage({ sections: SECTIONS, signature });
    for (let length = 0; length < file.length; length += 7) {
      expect(() => readPeImage(file.subarray(0, length), 'image')).toThrow(RefusalError);
    }
  });

  it('ER-2: either reads a damaged image or refuses it', () => {
    const file = peImage({ sections: SECTIONS, signature });
    const places = fc.array(fc.tuple(fc.nat(600), fc.nat(255)), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(places, (changes) => {
        const damaged = file.slice();
        for (const [at, value] of changes) damaged[at] = value;
        try {
          const { sections, digested } = readPeImage(damaged, 'image');
          for (const { data } of sections) expect(data.length).toBeLessThanOrEqual(damaged.length);
          const covered = digested.reduce((sum, part) => sum + part.length, 0);
          expect(covered).toBeLessThanOrEqual(damaged.length);
        } catch (error) {
          expect(error).toBeInstanceOf(RefusalError);
        }
      }),
      { numRuns: 2000 },
    );
  });

  it('ER-2: refuses any other bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        expect(() => readPeImage(bytes, 'image')).toThrow(RefusalError);
      }),
    );
  });
});

describe('the Authenticode digest', () => {
  it('ER-4: depends on every byte but the checksum, the place of the signatures and the signatures', () => {
    const file = peImage({ sections: SECTIONS, signature: new Uint8Array(24) });
    const before = digestOf(file);
    const certificates = file.length - 32;
    const optional = 0x80 + 24;
    const isFree = (at: number): boolean =>
      (at >= optional + 64 && at < optional + 68) ||
      (at >= optional + 144 && at < optional + 152) ||
      at >= certificates;
    let compared = 0;
    for (let at = 0; at < file.length; at += 1) {
      const changed = file.slice();
      changed[at] = (changed[at] ?? 0) ^ 1;
      try {
        expect([at, digestOf(changed) === before]).toEqual([at, isFree(at)]);
        compared += 1;
      } catch (error) {
        if (!(error instanceof RefusalError)) throw error;
      }
    }
    expect(compared).toBeGreaterThan(file.length / 2);
  });

  it('ER-4: is that of the image before it was signed', () => {
    const unsigned = peImage({ sections: SECTIONS });
    const signed = peImage({ sections: SECTIONS, signature: new Uint8Array(100) });
    expect(digestOf(signed)).toBe(digestOf(unsigned));
  });

  it('ER-4: is that of the whole file where the headers have no room for signatures', () => {
    const sections = SECTIONS;
    const file = peImage({ sections, directories: 4 });
    const checksum = 0x80 + 24 + 64;
    const all = concatBytes(file.subarray(0, checksum), file.subarray(checksum + 4));
    expect(digestOf(file)).toBe(toHex(bank.digest(all)));
  });

  const missing = absentPrograms(['osslsigncode', 'openssl']);
  it.skipIf(missing.length > 0)(
    `ER-5: is what osslsigncode signs${missing.length > 0 ? ` (not installed: ${missing.join(', ')})` : ''}`,
    async () => {
      const folder = await temporaryFolder();
      const run = async (program: string, ...args: readonly string[]): Promise<string> =>
        (await promisify(execFile)(program, args, { cwd: folder })).stdout;
      await run(
        'openssl',
        ...'req -x509 -newkey rsa:2048 -nodes -keyout key -out cert -days 2 -subj /CN=t'.split(' '),
      );
      for (const [name, hash] of [
        ['sha256', bank],
        ['sha384', bank384],
      ] as const) {
        const file = peImage({ sections: SECTIONS });
        await writeFile(join(folder, name), file);
        await run(
          'osslsigncode',
          'sign',
          '-certs',
          'cert',
          '-key',
          'key',
          '-h',
          name,
          '-in',
          name,
          '-out',
          `${name}.signed`,
        );
        const signed = readPeImage(new Uint8Array(await readFile(join(folder, `${name}.signed`))), 'image');
        const ours = toHex(authenticodeDigest(signed, hash));
        expect(signed.signatures.length).toBe(1);
        expect(ours).toBe(toHex(authenticodeDigest(readPeImage(file, 'image'), hash)));
        expect(await calculatedDigest(folder, `${name}.signed`)).toBe(ours);
      }
    },
  );
});

/** `verify` ends with an error because nobody vouches for the certificate; what it says of the digest counts. */
async function calculatedDigest(folder: string, name: string): Promise<string | undefined> {
  const output = await new Promise<string>((done) => {
    execFile('osslsigncode', ['verify', '-in', name], { cwd: folder }, (_error, stdout) => {
      done(stdout);
    });
  });
  return /^Calculated message digest *: ([0-9A-F]+)/m.exec(output)?.[1]?.toLowerCase();
}
