/** Logs that no machine wrote (docs/spec/tpm-event-log.md). */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { concatBytes, toHex, toUtf8 } from '../../../../attestation/core/bytes.ts';
import { RefusalError } from '../../../../attestation/core/refusal.ts';
import { judge } from '../../../../attestation/core/verdict.ts';
import { demandReplay, firstDifference } from '../../../../attestation/tpm/event-log/compare.ts';
import { coverageOf } from '../../../../attestation/tpm/event-log/coverage.ts';
import { EventType } from '../../../../attestation/tpm/event-log/event-types.ts';
import { readEventLog } from '../../../../attestation/tpm/event-log/read.ts';
import { replayEventLog, startupLocality } from '../../../../attestation/tpm/event-log/replay.ts';
import { readSecureBoot } from '../../../../attestation/tpm/event-log/secure-boot.ts';
import { demandSeparators } from '../../../../attestation/tpm/event-log/separators.ts';
import {
  readSignatureLists,
  readUefiVariable,
  UefiSignatureType,
} from '../../../../attestation/tpm/event-log/uefi-variable.ts';
import { Algorithm } from '../../../../attestation/tpm/layout.ts';
import {
  GLOBAL_VENDOR,
  IMAGE_VENDOR,
  separator,
  sha256Bank,
  signatureListBytes,
  SPEC_ID,
  startupLocalityEvent,
  variableBytes,
  variableEvent,
  writeEventLog,
  writeHeader,
  writeRecord,
} from '../../../support/event-log-writer.ts';
import type { WrittenEvent } from '../../../support/event-log-writer.ts';
import { refusalCode } from '../../../support/refusal-code.ts';

const sha = sha256Bank.digest;
const action = (pcr: number, text: string): WrittenEvent => ({
  pcr,
  type: EventType.efiAction,
  data: toUtf8(text),
});
const zeros = (length: number): Uint8Array => new Uint8Array(length);
const logOf = (...events: readonly WrittenEvent[]) => readEventLog(writeEventLog(events));
const extended = (before: Uint8Array, ...digests: readonly Uint8Array[]): string =>
  toHex(digests.reduce((value, digest) => sha(concatBytes(value, digest)), before));

const TYPICAL = [
  action(4, 'Calling EFI Application from Boot Option'),
  separator(0),
  separator(4),
  separator(7),
];

describe('reading', () => {
  it('EL-1: a log that breaks off within a record is refused at every length', () => {
    const bytes = writeEventLog(TYPICAL);
    const ends = [0, ...TYPICAL.keys()].map((count) => writeEventLog(TYPICAL.slice(0, count)).length);
    for (let length = 0; length < bytes.length; length += 1) {
      const cut = bytes.slice(0, length);
      const remainder = cut.subarray(Math.max(0, ...ends.filter((end) => end <= length)));
      // Zeros behind a record fill an area up, wherever they come from.
      const isFilled = length >= writeHeader().length && remainder.every((byte) => byte === 0);
      if (isFilled) expect(readEventLog(cut).events.length).toBeLessThan(TYPICAL.length + 1);
      else expect(() => readEventLog(cut), String(length)).toThrow(RefusalError);
    }
  });

  it('EL-1: bytes of one value may follow, others not', () => {
    const bytes = writeEventLog([...TYPICAL, action(5, 'x')]);
    const { events } = readEventLog(bytes);
    for (const value of [0x00, 0xff]) {
      const padded = concatBytes(bytes, zeros(100).fill(value));
      expect(readEventLog(padded).events).toEqual(events);
    }
    expect(() => readEventLog(concatBytes(bytes, zeros(100).fill(0x20)))).toThrow(RefusalError);
    expect(() => readEventLog(concatBytes(bytes, zeros(100), Uint8Array.of(1)))).toThrow(RefusalError);
  });

  it('EL-1: nothing and too much are refused, and many bytes of zeros are read at once', () => {
    expect(refusalCode(() => readEventLog(zeros(0)))).toBe('event-log-size');
    expect(refusalCode(() => readEventLog(zeros(4 * 1024 * 1024 + 1)))).toBe('event-log-size');
    const nearlyPadding = concatBytes(writeHeader(), zeros(2 * 1024 * 1024), Uint8Array.of(1));
    expect(() => readEventLog(nearlyPadding)).toThrow(RefusalError);
  });

  it('EL-3: a first record that contradicts itself is refused', () => {
    const twice = { ...SPEC_ID, algorithms: [...SPEC_ID.algorithms, ...SPEC_ID.algorithms] };
    const none = { ...SPEC_ID, algorithms: [] };
    for (const bytes of [
      writeHeader(twice),
      writeHeader(none),
      writeHeader(SPEC_ID, 1),
      writeHeader(SPEC_ID, 0, zeros(20).fill(1)),
    ]) {
      expect(refusalCode(() => readEventLog(bytes))).toBe('event-log-header');
    }
  });

  it('EL-4: one digest of each algorithm at most, and only of those that were named', () => {
    const two = {
      ...SPEC_ID,
      algorithms: [...SPEC_ID.algorithms, { algorithm: Algorithm.sha1, digestBytes: 20 }],
    };
    const digest = { algorithm: Algorithm.sha256, digest: zeros(32) };
    const record = { pcr: 1, type: EventType.action, digests: [digest, digest], data: zeros(1) };
    const repeated = concatBytes(writeHeader(two), writeRecord(record, two));
    expect(refusalCode(() => readEventLog(repeated))).toBe('event-log-digests');
    const lacking = concatBytes(writeHeader(two), writeRecord({ ...record, digests: [digest] }, two));
    expect(readEventLog(lacking).events).toHaveLength(2);
    const foreign = concatBytes(writeHeader(), writeRecord({ ...record, digests: [digest] }, SPEC_ID));
    foreign[writeHeader().length + 12] = Algorithm.sha384;
    expect(refusalCode(() => readEventLog(foreign))).toBe('layout-value');
  });

  it('EL-5: registers beyond the last are refused, but for records that extend none', () => {
    expect(refusalCode(() => logOf(action(24, 'x')))).toBe('event-log-pcr');
    expect(refusalCode(() => logOf(action(0xffffffff, 'x')))).toBe('event-log-pcr');
    const nowhere = { pcr: 0xffffffff, type: EventType.noAction, data: zeros(1), digest: zeros(32) };
    expect(logOf(nowhere).events).toHaveLength(2);
  });

  it('takes any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.boolean(), (bytes, hasHeader) => {
        const input = hasHeader ? concatBytes(writeHeader(), bytes) : bytes;
        try {
          const log = readEventLog(input);
          expect(log.events.length).toBeGreaterThan(0);
        } catch (error) {
          expect(error).toBeInstanceOf(RefusalError);
        }
      }),
    );
  });
});

describe('replay', () => {
  it('EL-6: extends registers from zeros, those of a dynamic launch from ones, and skips EV_NO_ACTION', () => {
    const note = { pcr: 4, type: EventType.noAction, data: toUtf8('note'), digest: zeros(32).fill(9) };
    const log = logOf(action(4, 'a'), note, action(4, 'b'), action(17, 'c'), action(23, 'd'));
    const replayed = replayEventLog(log, Algorithm.sha256);
    expect([...replayed.keys()]).toEqual([4, 17, 23]);
    expect(toHex(replayed.get(4) ?? zeros(0))).toBe(extended(zeros(32), sha(toUtf8('a')), sha(toUtf8('b'))));
    expect(toHex(replayed.get(17) ?? zeros(0))).toBe(extended(zeros(32).fill(0xff), sha(toUtf8('c'))));
    expect(toHex(replayed.get(23) ?? zeros(0))).toBe(extended(zeros(32), sha(toUtf8('d'))));
  });

  it('EL-6: a bank that the log or a record lacks is refused', () => {
    expect(refusalCode(() => replayEventLog(logOf(...TYPICAL), Algorithm.sha384))).toBe('event-log-bank');
    expect(refusalCode(() => replayEventLog(logOf(...TYPICAL), Algorithm.sm3))).toBe('event-log-bank');
    const two = {
      ...SPEC_ID,
      algorithms: [...SPEC_ID.algorithms, { algorithm: Algorithm.sha1, digestBytes: 20 }],
    };
    const digests = [{ algorithm: Algorithm.sha256, digest: zeros(32) }];
    const record = { pcr: 1, type: EventType.action, digests, data: zeros(1) };
    const log = readEventLog(concatBytes(writeHeader(two), writeRecord(record, two)));
    expect(replayEventLog(log, Algorithm.sha256).size).toBe(1);
    expect(refusalCode(() => replayEventLog(log, Algorithm.sha1))).toBe('event-log-bank');
  });

  it('EL-7: PCR 0 begins with the locality', () => {
    const start = (locality: number): Uint8Array => zeros(32).fill(locality, 31);
    const pcr0 = (...events: readonly WrittenEvent[]): string =>
      toHex(replayEventLog(logOf(...events), Algorithm.sha256).get(0) ?? zeros(0));
    const measured = sha(toUtf8('a'));
    expect(pcr0(action(0, 'a'))).toBe(extended(start(0), measured));
    expect(pcr0(startupLocalityEvent(3), action(0, 'a'))).toBe(extended(start(3), measured));
    const hcrtm = { pcr: 0, type: EventType.efiHcrtmEvent, data: toUtf8('a') };
    expect(pcr0(hcrtm)).toBe(extended(start(4), measured));
    expect(startupLocality(logOf(action(0, 'a'), hcrtm))).toBe(0);
    expect(startupLocality(logOf(action(1, 'a'), hcrtm))).toBe(4);
  });

  it('EL-7: a locality that is stated twice or late is refused', () => {
    for (const events of [
      [startupLocalityEvent(3), startupLocalityEvent(3)],
      [action(0, 'a'), startupLocalityEvent(3)],
    ]) {
      expect(refusalCode(() => replayEventLog(logOf(...events), Algorithm.sha256))).toBe(
        'event-log-locality',
      );
    }
    expect(startupLocality(logOf(action(1, 'a'), startupLocalityEvent(3)))).toBe(3);
  });
});

describe('comparison with a quote', () => {
  const log = logOf(action(4, 'a'), separator(4), separator(7));
  const quoted = replayEventLog(log, Algorithm.sha256);
  const verdictOn = (values: ReadonlyMap<number, Uint8Array>, pcrs: readonly number[]) =>
    judge((checks) => {
      demandReplay(log, sha256Bank, values, pcrs, checks);
      return { pcrs };
    });

  it('EL-8: accepts the registers of the log', async () => {
    expect((await verdictOn(quoted, [4, 7])).outcome).toBe('accepted');
  });

  it('EL-8: refuses another value, one that was not quoted, and one that the log does not explain', async () => {
    const other = new Map([...quoted, [4, zeros(32)]]);
    const unexplained = new Map([...quoted, [5, zeros(32)]]);
    for (const [values, pcrs] of [
      [other, [4]],
      [new Map([[7, quoted.get(7) ?? zeros(32)]]), [4]],
      [unexplained, [5]],
    ] as const) {
      const verdict = await verdictOn(values, pcrs);
      expect(verdict.outcome === 'refused' && verdict.refusals[0].code).toBe('event-log-replay');
    }
  });

  it('EL-16: names the first record that differs', () => {
    const [a, b] = [sha(toUtf8('a')), sha(zeros(4))];
    expect(firstDifference(log, sha256Bank, 4, [a, b])).toBeUndefined();
    expect(firstDifference(log, sha256Bank, 4, [a, a])).toEqual({
      index: 2,
      expected: toHex(a),
      found: toHex(b),
    });
    expect(firstDifference(log, sha256Bank, 4, [a])).toEqual({
      index: 2,
      expected: 'nothing more',
      found: toHex(b),
    });
    expect(firstDifference(log, sha256Bank, 4, [a, b, a])).toEqual({
      index: undefined,
      expected: toHex(a),
      found: 'nothing more',
    });
  });
});

describe('coverage', () => {
  const covers = (event: WrittenEvent): string => {
    const [, logged] = logOf(event).events;
    return logged === undefined ? 'no event' : coverageOf(logged, sha256Bank).covers;
  };

  it('EL-10: tells what of an event a digest covers', () => {
    const value = toUtf8('value');
    const variable = variableBytes(GLOBAL_VENDOR, 'BootOrder', value);
    const boot = { pcr: 1, type: EventType.efiVariableBoot, data: variable };
    expect(covers(boot)).toBe('event');
    expect(covers({ ...boot, digest: sha(value) })).toBe('variable');
    expect(covers({ ...boot, digest: sha(toUtf8('other')) })).toBe('nothing');
    expect(covers({ ...boot, data: value, digest: sha(toUtf8('other')) })).toBe('nothing');
    const line = { pcr: 8, type: EventType.ipl, data: toUtf8('kernel_cmdline: /vmlinuz: quiet\0') };
    expect(covers({ ...line, digest: sha(toUtf8('/vmlinuz: quiet')) })).toBe('text');
    expect(covers({ ...line, digest: sha(toUtf8('/vmlinuz: quiet\0')) })).toBe('nothing');
    const command = { ...line, data: toUtf8('grub_cmd set pager=1\0') };
    expect(covers({ ...command, digest: sha(toUtf8('set pager=1\0')) })).toBe('text');
    expect(covers({ ...command, digest: sha(toUtf8('set pager=1')) })).toBe('nothing');
    expect(covers({ ...command, data: toUtf8(' set'), digest: sha(toUtf8('set')) })).toBe('nothing');
    expect(covers({ ...line, type: EventType.efiAction, digest: sha(toUtf8('/vmlinuz: quiet')) })).toBe(
      'nothing',
    );
    expect(covers({ ...line, data: toUtf8('(hd0)/vmlinuz'), digest: sha(toUtf8('file')) })).toBe('nothing');
  });
});

describe('separators', () => {
  const code = (...events: readonly WrittenEvent[]): string =>
    refusalCode(() => {
      demandSeparators(logOf(...events), sha256Bank, [0, 4, 8]);
    });

  it('EL-12: one in each register of the firmware that is relied on', () => {
    expect(code(separator(0), separator(4))).toBe('accepted');
    expect(code(separator(0), separator(4, zeros(4).fill(0xff)))).toBe('accepted');
    expect(code(separator(0))).toBe('event-log-separator');
    expect(code(separator(0), separator(4), separator(4))).toBe('event-log-separator');
    expect(code(separator(0), separator(4, Uint8Array.of(1, 0, 0, 0)))).toBe('event-log-separator');
    expect(code(separator(0), { ...separator(4), digest: zeros(32) })).toBe('event-log-separator');
  });
});

const CERTIFICATES = signatureListBytes(UefiSignatureType.x509, [toUtf8('certificate')]);
const CONFIGURATION = [
  variableEvent('SecureBoot', Uint8Array.of(1)),
  variableEvent('PK', CERTIFICATES),
  variableEvent('KEK', CERTIFICATES),
  variableEvent('db', CERTIFICATES, IMAGE_VENDOR),
  variableEvent('dbx', zeros(0), IMAGE_VENDOR),
] as const;
const AUTHORITY: WrittenEvent = {
  ...variableEvent('db', toUtf8('authority'), IMAGE_VENDOR),
  type: EventType.efiVariableAuthority,
};

describe('Secure Boot', () => {
  const read = (...events: readonly WrittenEvent[]) => readSecureBoot(logOf(...events), sha256Bank);
  const code = (...events: readonly WrittenEvent[]): string => refusalCode(() => read(...events));
  const [first, platformKey, ...rest] = CONFIGURATION;

  it('EL-13, EL-14: is read from PCR 7', () => {
    const others = variableEvent('AuditMode', Uint8Array.of(0));
    const uncovered = { ...AUTHORITY, digest: zeros(32).fill(7) };
    const facts = read(...CONFIGURATION, others, AUTHORITY, separator(7), AUTHORITY, uncovered);
    expect(facts.state).toBe('enabled');
    expect(facts.platformKey.map(({ data }) => new TextDecoder().decode(data))).toEqual(['certificate']);
    expect([facts.keyExchangeKeys.length, facts.allowed.length, facts.forbidden.length]).toEqual([1, 1, 0]);
    expect(facts.others.map(({ name }) => name)).toEqual(['AuditMode']);
    expect(facts.driverAuthorities.map(({ index }) => index)).toEqual([7]);
    expect(facts.authorities.map(({ variable }) => variable?.name)).toEqual(['db', undefined]);
  });

  it.each([
    [Uint8Array.of(0), 'disabled'],
    [zeros(0), 'undefined'],
  ])('EL-13: %s is not enabled', (value, state) => {
    const facts = read(variableEvent('SecureBoot', value), platformKey, ...rest, separator(7));
    expect(facts.state).toBe(state);
  });

  const order = 'event-log-secure-boot-order';
  const record = 'event-log-secure-boot-record';
  const wrongVendor = variableEvent('SecureBoot', Uint8Array.of(1), IMAGE_VENDOR);
  it.each<[string, string, readonly WrittenEvent[]]>([
    ['no separator', order, CONFIGURATION],
    ['two separators', order, [...CONFIGURATION, separator(7), separator(7)]],
    [
      'a separator that tells of an error',
      order,
      [...CONFIGURATION, separator(7, Uint8Array.of(1, 0, 0, 0))],
    ],
    ['a variable behind the separator', record, [...CONFIGURATION, separator(7), first]],
    ['a variable left out', order, [first, ...rest, separator(7)]],
    ['variables in another order', order, [platformKey, first, ...rest, separator(7)]],
    ['SecureBoot twice', order, [...CONFIGURATION, first, separator(7)]],
    ['SecureBoot of another vendor', order, [wrongVendor, platformKey, ...rest, separator(7)]],
    [
      'a digest that covers another value',
      record,
      [{ ...first, digest: zeros(32) }, platformKey, ...rest, separator(7)],
    ],
    [
      'a value of two bytes',
      record,
      [variableEvent('SecureBoot', zeros(2)), platformKey, ...rest, separator(7)],
    ],
    [
      'a value of 02',
      record,
      [variableEvent('SecureBoot', Uint8Array.of(2)), platformKey, ...rest, separator(7)],
    ],
    ['a record of another type', record, [...CONFIGURATION, separator(7), action(7, 'UEFI Debug Mode')]],
    ['nothing at all', order, []],
  ])('EL-12 to EL-14: %s is refused', (_, expected, events) => {
    expect(code(...events)).toBe(expected);
  });
});

describe('variables', () => {
  it('EL-15: sizes that do not agree are refused', () => {
    expect(readSignatureLists(concatBytes(CERTIFICATES, CERTIFICATES), 'db')).toHaveLength(2);
    const change = (offset: number, value: number): Uint8Array => {
      const list = CERTIFICATES.slice();
      new DataView(list.buffer).setUint32(offset, value, true);
      return list;
    };
    for (const list of [
      change(16, 27),
      change(16, 60),
      change(20, 1),
      change(20, 1000),
      change(24, 0),
      change(24, 16),
    ]) {
      expect(() => readSignatureLists(list, 'db')).toThrow(RefusalError);
    }
    expect(() => readSignatureLists(CERTIFICATES.slice(0, -1), 'db')).toThrow(RefusalError);
    expect(() => readSignatureLists(concatBytes(CERTIFICATES, zeros(1)), 'db')).toThrow(RefusalError);
  });

  it('are refused when they are cut, go on, claim much or have no name', () => {
    const bytes = variableBytes(GLOBAL_VENDOR, 'PK', toUtf8('value'));
    expect(readUefiVariable(bytes, 'variable')).toEqual({
      vendor: GLOBAL_VENDOR,
      name: 'PK',
      data: toUtf8('value'),
    });
    for (let length = 0; length < bytes.length; length += 1) {
      expect(() => readUefiVariable(bytes.slice(0, length), 'variable')).toThrow(RefusalError);
    }
    expect(() => readUefiVariable(concatBytes(bytes, zeros(1)), 'variable')).toThrow(RefusalError);
    const huge = bytes.slice().fill(0xff, 24, 32);
    expect(refusalCode(() => readUefiVariable(huge, 'variable'))).toBe('layout-value');
    const surrogate = bytes.slice();
    surrogate.set([0x00, 0xd8], 32);
    expect(refusalCode(() => readUefiVariable(surrogate, 'variable'))).toBe('event-log-variable');
  });

  it('take any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        for (const read of [() => readUefiVariable(bytes, 'v'), () => readSignatureLists(bytes, 'v')]) {
          try {
            expect(read()).toBeDefined();
          } catch (error) {
            expect(error).toBeInstanceOf(RefusalError);
          }
        }
      }),
    );
  });
});
