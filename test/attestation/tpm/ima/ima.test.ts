/** Measurement lists of Linux (docs/spec/tpm-event-log.md, section 6): real ones by the manifest, and ones made here. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { sha1 } from '@noble/hashes/legacy.js';

import { concatBytes, fromHex, toHex, toUtf8 } from '../../../../attestation/core/bytes.ts';
import { encode } from '../../../../attestation/core/layout.ts';
import { RefusalError } from '../../../../attestation/core/refusal.ts';
import { judge } from '../../../../attestation/core/verdict.ts';
import { appraiseIma } from '../../../../attestation/tpm/ima/appraise.ts';
import { imaNgData, imaRecord, imaSigData } from '../../../../attestation/tpm/ima/layout.ts';
import { readImaList, readImaText } from '../../../../attestation/tpm/ima/read.ts';
import type { ImaEntry } from '../../../../attestation/tpm/ima/read.ts';
import { provenEntries } from '../../../../attestation/tpm/ima/replay.ts';
import { sha256Bank } from '../../../support/event-log-writer.ts';
import { refusalCode } from '../../../support/refusal-code.ts';
import { vectorEntries, vectorFile, vectorsMissing } from '../../../support/vectors.ts';

const missing = vectorsMissing('tpm');
const sha = sha256Bank.digest;
const zeros = (length: number): Uint8Array => new Uint8Array(length);

interface ExpectedList {
  readonly format: string;
  readonly entries: number | readonly { readonly violation?: boolean; readonly template?: string }[];
  readonly replay: { readonly sha256WithRehashedTemplateData?: string };
}

const lists = vectorEntries<ExpectedList>('tpm', 'ima-log');

describe.skipIf(missing !== undefined)('measurement lists of real machines', () => {
  it.each(lists)('EL-17, EL-18: $id is read, and its replay proves all of it', (entry) => {
    const { expected } = entry;
    const bytes = vectorFile('tpm', entry, 'log');
    const entries = expected.format.startsWith('ascii') ? readImaText(bytes) : readImaList(bytes);
    const stated = expected.entries;
    expect(entries).toHaveLength(typeof stated === 'number' ? stated : stated.length);
    if (typeof stated !== 'number') {
      expect(entries.map(({ isViolation }) => isViolation)).toEqual(
        stated.map(({ violation }) => violation ?? false),
      );
    }
    const value = expected.replay.sha256WithRehashedTemplateData;
    if (value === undefined) return;
    expect(provenEntries(entries, sha256Bank, 10, fromHex(value, 'replay'))).toHaveLength(entries.length);
  });
});

interface Written {
  readonly path: string;
  readonly digest: Uint8Array;
  readonly algorithm?: string;
  readonly isViolation?: boolean;
  readonly signature?: Uint8Array;
}

function record({ path, digest, algorithm = 'sha256', isViolation, signature }: Written): Uint8Array {
  const fields = { digest: concatBytes(toUtf8(`${algorithm}:\0`), digest), path: toUtf8(`${path}\0`) };
  const data =
    signature === undefined
      ? encode(imaNgData, fields, 'data')
      : encode(imaSigData, { ...fields, signature }, 'data');
  const template = toUtf8(signature === undefined ? 'ima-ng' : 'ima-sig');
  const templateDigest = isViolation === true ? zeros(20) : sha1(data);
  return encode(imaRecord, { pcr: 10, templateDigest, template, data }, 'record');
}

const REGISTERS = new Map(Array.from({ length: 10 }, (_, pcr) => [pcr, zeros(32).fill(pcr)] as const));
const AGGREGATE = { path: 'boot_aggregate', digest: sha(concatBytes(...REGISTERS.values())) };
const SHELL = { path: '/bin/sh', digest: sha(toUtf8('shell')) };
const AGENT = { path: '/usr/bin/weight gate', digest: sha(toUtf8('agent')) };
const list = (...written: readonly Written[]): Uint8Array => concatBytes(...written.map(record));

function quotedFor(entries: readonly ImaEntry[]): Uint8Array {
  const extend = (value: Uint8Array, { isViolation, data }: ImaEntry): Uint8Array =>
    sha(concatBytes(value, isViolation ? zeros(32).fill(0xff) : sha(data)));
  return entries.reduce(extend, zeros(32));
}

describe('reading', () => {
  it('EL-17: reads both templates', () => {
    const signature = Uint8Array.of(3, 2);
    const entries = readImaList(list(AGGREGATE, { ...SHELL, signature }));
    expect(entries.map(({ template, path, algorithm }) => `${template} ${algorithm} ${path}`)).toEqual([
      'ima-ng sha256 boot_aggregate',
      'ima-sig sha256 /bin/sh',
    ]);
    expect(entries[1]?.signature).toEqual(signature);
    expect(entries[1]?.digest).toEqual(SHELL.digest);
  });

  it('EL-17: the text says what the bytes say', () => {
    const entries = readImaList(list(AGGREGATE, AGENT));
    const lines = entries.map(
      ({ pcr, data, algorithm, digest, path }) =>
        `${pcr} ${toHex(sha1(data))} ima-ng ${algorithm}:${toHex(digest)} ${path}\n`,
    );
    expect(readImaText(toUtf8(lines.join('')))).toEqual(entries);
    expect(refusalCode(() => readImaText(toUtf8('10 00 ima-ng sha1:00 /x')))).toBe('ima-field');
    const changed = toUtf8(lines.join('').replace('/usr', '/tmp'));
    expect(refusalCode(() => readImaText(changed))).toBe('ima-template-digest');
  });

  it('EL-17: a list that is cut, altered, empty or of another template is refused', () => {
    const bytes = list(AGGREGATE, SHELL);
    const whole = record(AGGREGATE).length;
    for (let length = 0; length < bytes.length; length += 1) {
      // PCR 10 begins with the byte of a line feed.
      if (length === whole || length === whole + 1) continue;
      expect(() => readImaList(bytes.slice(0, length)), String(length)).toThrow(RefusalError);
    }
    expect(readImaList(concatBytes(bytes, toUtf8('\n')))).toHaveLength(2);
    for (const rest of ['\n\n', ' ', '\0']) {
      expect(() => readImaList(concatBytes(bytes, toUtf8(rest)))).toThrow(RefusalError);
    }
    expect(refusalCode(() => readImaList(zeros(0)))).toBe('ima-size');
    for (let at = 4; at < whole; at += 1) {
      const altered = record(AGGREGATE);
      altered[at] = (altered[at] ?? 0) ^ 1;
      expect(() => readImaList(altered), String(at)).toThrow(RefusalError);
    }
    const other = encode(
      imaRecord,
      { pcr: 10, templateDigest: zeros(20), template: toUtf8('ima'), data: zeros(0) },
      'record',
    );
    expect(refusalCode(() => readImaList(other))).toBe('ima-template');
  });

  it('EL-17: fields that the kernel does not write are refused', () => {
    const withFields = (digest: string, path: string): Uint8Array => {
      const data = encode(imaNgData, { digest: toUtf8(digest), path: toUtf8(path) }, 'data');
      const record = { pcr: 10, templateDigest: sha1(data), template: toUtf8('ima-ng'), data };
      return encode(imaRecord, record, 'record');
    };
    expect(readImaList(withFields('sha256:\0x', '/a\0'))).toHaveLength(1);
    for (const [digest, path] of [
      ['sha256', '/a\0'],
      ['sha256:x', '/a\0'],
      ['SHA:\0x', '/a\0'],
      ['sha256:\0x', '/a'],
      ['sha256:\0x', '/a\0b\0'],
      ['sha256:\0x', '\0'],
    ] as const) {
      expect(refusalCode(() => readImaList(withFields(digest, path)))).toBe('ima-field');
    }
  });

  it('takes any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        for (const read of [readImaList, readImaText]) {
          try {
            expect(read(bytes).length).toBeGreaterThan(0);
          } catch (error) {
            expect(error).toBeInstanceOf(RefusalError);
          }
        }
      }),
    );
  });
});

describe('replay', () => {
  const entries = readImaList(list(AGGREGATE, { ...SHELL, isViolation: true }, AGENT));

  it('EL-18: proves the entries up to the quote and no more', () => {
    for (let count = 1; count <= entries.length; count += 1) {
      const quoted = quotedFor(entries.slice(0, count));
      expect(provenEntries(entries, sha256Bank, 10, quoted)).toEqual(entries.slice(0, count));
    }
  });

  it('EL-18: refuses a register that no beginning leads to', () => {
    const swapped = entries.toReversed();
    for (const quoted of [zeros(32), zeros(32).fill(1), quotedFor(swapped)]) {
      expect(refusalCode(() => provenEntries(entries, sha256Bank, 10, quoted))).toBe('ima-replay');
    }
    const elsewhere = entries.map((entry) => ({ ...entry, pcr: 11 }));
    expect(refusalCode(() => provenEntries(elsewhere, sha256Bank, 10, quotedFor(entries)))).toBe(
      'ima-replay',
    );
  });
});

describe('appraisal', () => {
  const allowed = new Map([
    [SHELL.path, [SHELL.digest]],
    [AGENT.path, [zeros(32), AGENT.digest]],
  ]);
  const codes = async (written: readonly Written[], registers = REGISTERS): Promise<readonly string[]> => {
    const verdict = await judge((checks) => {
      appraiseIma(readImaList(list(...written)), sha256Bank, registers, allowed, checks);
      return {};
    });
    return verdict.outcome === 'accepted' ? [] : verdict.refusals.map(({ code }) => code);
  };

  it('EL-19, EL-20: accepts the files of the reference values', async () => {
    expect(await codes([AGGREGATE, SHELL, AGENT])).toEqual([]);
  });

  it.each<[string, string, readonly Written[]]>([
    ['no aggregate', 'ima-boot-aggregate', [SHELL]],
    ['the aggregate of another boot', 'ima-boot-aggregate', [{ ...AGGREGATE, digest: zeros(32) }, SHELL]],
    ['an aggregate in SHA-1', 'ima-boot-aggregate', [{ ...AGGREGATE, algorithm: 'sha1' }]],
    ['a violation', 'ima-violation', [AGGREGATE, { ...SHELL, isViolation: true }]],
    ['a file that is not named', 'ima-file', [AGGREGATE, { ...SHELL, path: '/tmp/sh' }]],
    ['another content', 'ima-file', [AGGREGATE, { ...SHELL, digest: AGENT.digest }]],
    ['the content of an older one', 'ima-file', [AGGREGATE, { ...SHELL, digest: zeros(32) }]],
  ])('EL-19, EL-20: refuses %s', async (_, code, written) => {
    expect(await codes(written)).toEqual([code]);
  });

  it('EL-20: refuses weak digests, whatever they are', async () => {
    expect(await codes([AGGREGATE, { ...SHELL, algorithm: 'sha1' }])).toEqual(['ima-algorithm']);
  });

  it('EL-19: needs all of PCR 0 to 9', async () => {
    const lacking = new Map([...REGISTERS].filter(([pcr]) => pcr !== 9));
    expect(await codes([AGGREGATE, SHELL], lacking)).toEqual(['ima-boot-aggregate']);
  });
});
