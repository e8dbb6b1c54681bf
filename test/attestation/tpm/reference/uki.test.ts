/** Unified kernel images and PCR 11 (docs/spec/tpm-reference.md, section 2). */

import { execFile } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { toHex, toUtf8 } from '../../../../attestation/core/bytes.ts';
import { RefusalError } from '../../../../attestation/core/refusal.ts';
import { readEventLog } from '../../../../attestation/tpm/event-log/read.ts';
import { tpmHash } from '../../../../attestation/tpm/hash.ts';
import { Algorithm } from '../../../../attestation/tpm/layout.ts';
import { registerValues } from '../../../../attestation/tpm/reference/events.ts';
import {
  BOOT_PHASES,
  expectPhases,
  expectUki,
  phasePath,
} from '../../../../attestation/tpm/reference/kernel-boot.ts';
import { readPeImage } from '../../../../attestation/tpm/reference/pe.ts';
import { readUki } from '../../../../attestation/tpm/reference/uki.ts';
import type { Uki } from '../../../../attestation/tpm/reference/uki.ts';
import { MEASURED_SECTIONS } from '../../../../attestation/tpm/reference/uki-sections.ts';
import { peImage, stubMark } from '../../../support/pe-image.ts';
import type { WrittenSection } from '../../../support/pe-image.ts';
import { refusalCode } from '../../../support/refusal-code.ts';
import { temporaryFolder } from '../../../support/temporary-folder.ts';
import { vectorEntries, vectorFile, vectorsMissing } from '../../../support/vectors.ts';

const BANKS = [tpmHash(Algorithm.sha256, 'bank'), tpmHash(Algorithm.sha384, 'bank')] as const;
const [bank] = BANKS;

const section = (name: string, text = `content of ${name}`): WrittenSection => ({ name, data: toUtf8(text) });
const PAYLOAD = ['.pcrsig', '.initrd', '.cmdline', '.osrel', '.linux', '.pcrpkey', '.splash', '.dtb'].map(
  (name) => section(name),
);
const ukiOf = (release: string, sections: readonly WrittenSection[], profile = 0): Uki =>
  readUki(readPeImage(peImage({ sections: [stubMark(release), ...sections] }), 'uki'), profile, 'uki');
const namesOf = ({ measured }: Uki): readonly string[] => measured.map(({ name }) => name);
const valueOf = (uki: Uki, path: readonly string[], hash = bank): string =>
  toHex(
    registerValues([...expectUki(uki, hash), ...expectPhases(path, hash)], hash).get(11) ?? new Uint8Array(0),
  );

describe('the sections of a unified kernel image', () => {
  it('ER-6: are measured in the order of the format, whatever the order in the file, and signatures are not', () => {
    const order = ['.linux', '.osrel', '.cmdline', '.initrd', '.splash', '.dtb', '.pcrpkey'];
    expect(namesOf(ukiOf('252.39-1', PAYLOAD))).toEqual(order);
    expect(namesOf(ukiOf('252.39-1', PAYLOAD.toReversed()))).toEqual(order);
  });

  it('ER-7: are those that the release of the stub knows', () => {
    const all = [...PAYLOAD, ...['.ucode', '.uname', '.sbat', '.hwids'].map((name) => section(name))];
    expect(namesOf(ukiOf('252', all))).not.toContain('.sbat');
    expect(namesOf(ukiOf('255.4', all))).toEqual(expect.arrayContaining(['.uname', '.sbat']));
    expect(namesOf(ukiOf('255.4', all))).not.toContain('.ucode');
    expect(namesOf(ukiOf('257~rc1', all))).toEqual(
      MEASURED_SECTIONS.map(({ name }) => name).filter((name) => name !== '.profile'),
    );
    expect(refusalCode(() => ukiOf('254', all))).toBe('uki-release');
    expect(namesOf(ukiOf('254', PAYLOAD))).toHaveLength(7);
  });

  it.each<[string, readonly WrittenSection[], string]>([
    ['no mark of a stub', [section('.linux')], 'uki-section'],
    ['two marks', [stubMark('255'), stubMark('252'), section('.linux')], 'uki-section'],
    [
      'another mark',
      [section('.sdmagic', '#### LoaderInfo: other 255 ####'), section('.linux')],
      'uki-release',
    ],
    ['an old stub', [stubMark('251.2'), section('.linux')], 'uki-release'],
    ['no kernel', [stubMark('255'), section('.initrd')], 'uki-section'],
    ['two kernels', [stubMark('255'), section('.linux'), section('.linux', 'other')], 'uki-section'],
    [
      'an empty section',
      [stubMark('255'), section('.linux'), { ...section('.initrd'), virtualBytes: 0 }],
      'uki-section',
    ],
    [
      'a section larger in memory',
      [stubMark('255'), { ...section('.linux'), virtualBytes: 513 }],
      'uki-section',
    ],
    ['device trees by hardware', [stubMark('257'), section('.linux'), section('.dtbauto')], 'uki-hardware'],
    ['firmware by hardware', [stubMark('258'), section('.linux'), section('.efifw')], 'uki-hardware'],
  ])('ER-8: with %s are refused', (_what, sections, code) => {
    const image = readPeImage(peImage({ sections }), 'uki');
    expect(refusalCode(() => readUki(image, 0, 'uki'))).toBe(code);
  });

  it('ER-9: of a profile replace those of all profiles', () => {
    const profiles = [
      section('.linux'),
      section('.cmdline', 'for all'),
      section('.profile', 'ID=main'),
      section('.profile', 'ID=debug'),
      section('.cmdline', 'debug'),
    ];
    const contents = (profile: number): readonly string[] =>
      ukiOf('257', profiles, profile).measured.map(({ content }) => new TextDecoder().decode(content));
    expect(contents(0)).toEqual(['content of .linux', 'for all', 'ID=main']);
    expect(contents(1)).toEqual(['content of .linux', 'debug', 'ID=debug']);
    expect(refusalCode(() => ukiOf('257', profiles, 2))).toBe('uki-section');
    expect(refusalCode(() => ukiOf('257', PAYLOAD, 1))).toBe('uki-section');
  });

  it('ER-8: of a damaged image are read or refused, and never longer than the file', () => {
    const file = peImage({ sections: [stubMark('257'), ...PAYLOAD] });
    const changes = fc.array(fc.tuple(fc.integer({ min: 0x80, max: 1023 }), fc.nat(255)), {
      minLength: 1,
      maxLength: 3,
    });
    fc.assert(
      fc.property(changes, (places) => {
        const damaged = file.slice();
        for (const [at, value] of places) damaged[at] = value;
        try {
          const { measured } = readUki(readPeImage(damaged, 'uki'), 0, 'uki');
          expect(measured.reduce((sum, { content }) => sum + content.length, 0)).toBeLessThan(file.length);
        } catch (error) {
          expect(error).toBeInstanceOf(RefusalError);
        }
      }),
      { numRuns: 2000 },
    );
  });
});

describe('PCR 11', () => {
  it('ER-10: takes a phase with all that come before it, or a whole path', () => {
    expect(phasePath('enter-initrd')).toEqual(['enter-initrd']);
    expect(phasePath('ready')).toEqual([...BOOT_PHASES]);
    expect(phasePath('enter-initrd:leave-initrd')).toEqual(['enter-initrd', 'leave-initrd']);
    for (const text of ['', 'shutdown', 'enter-initrd:', ':', 'Ready', 'a:b c']) {
      expect(refusalCode(() => phasePath(text))).toBe('boot-phase');
    }
  });

  const program = '/usr/lib/systemd/systemd-measure';
  const reason = isExecutable(program) ? '' : ` (not installed: ${program})`;
  it.skipIf(reason !== '')(`ER-11: is what systemd-measure calculates${reason}`, async () => {
    const folder = await temporaryFolder();
    const sections = PAYLOAD.filter(({ name }) => name !== '.pcrsig');
    const uki = ukiOf('252', PAYLOAD);
    for (const { name, data } of sections) await writeFile(join(folder, name), data);
    const files = sections.map(({ name }) => `--${name.slice(1)}=${join(folder, name)}`);
    const args = ['calculate', ...files, '--bank=sha256', '--bank=sha384', '--json=short'];
    const { stdout } = await promisify(execFile)(program, args);
    const found = JSON.parse(stdout) as Record<string, { phase: string; pcr: number; hash: string }[]>;
    for (const hash of BANKS) {
      const values = found[hash.bank] ?? [];
      expect(values.map(({ pcr }) => pcr)).toEqual([11, 11, 11, 11]);
      for (const { phase, hash: value } of values) expect(valueOf(uki, phasePath(phase), hash)).toBe(value);
    }
  });

  const missing = vectorsMissing('tpm');
  it.skipIf(missing !== undefined)('ER-6: of real boots has the names of sections in this order', () => {
    const names = MEASURED_SECTIONS.map(({ name }) => name);
    const digests = names.map((name) => toHex(bank.digest(toUtf8(`${name}\0`))));
    let boots = 0;
    for (const entry of vectorEntries<{ replayPcrs?: object }>('tpm', 'eventlog')) {
      if (entry.expected.replayPcrs === undefined) continue;
      const log = eventsOf(vectorFile('tpm', entry, 'eventlog'));
      if (log.length === 0) continue;
      const places = log.flatMap((digest, i) => (i % 2 === 0 ? [digests.indexOf(digest)] : []));
      expect(places).toEqual(places.toSorted((left, right) => left - right));
      expect(places).not.toContain(-1);
      boots += 1;
    }
    expect(boots).toBeGreaterThan(0);
  });
});

/** What extended PCR 11 in the SHA-256 bank, of a log that is read at all. */
function eventsOf(bytes: Uint8Array): readonly string[] {
  try {
    const { events } = readEventLog(bytes);
    return events
      .filter(({ pcr }) => pcr === 11)
      .flatMap(({ digests }) => {
        const digest = digests.get(Algorithm.sha256);
        return digest === undefined ? [] : [toHex(digest)];
      });
  } catch (error) {
    if (error instanceof RefusalError) return [];
    throw error;
  }
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
