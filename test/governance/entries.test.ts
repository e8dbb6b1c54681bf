import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { toUtf8 } from '../../attestation/core/bytes.ts';
import { encodeCanonicalJson } from '../../attestation/core/canonical-json.ts';
import {
  decodeEntry,
  encodeEntry,
  envelopeOf,
  statementEntry,
  type LogEntry,
} from '../../src/governance/entries.ts';
import { applyEntry } from '../../src/governance/fold.ts';
import { makeStatement, readStatement, signByEach } from '../../src/governance/statements.ts';
import { encodeStatement, signStatement } from '../../src/platform/dsse.ts';
import {
  exampleGrant,
  examplePredicates,
  predicateOf,
  readyLog,
  signers,
  START,
} from '../support/governance.ts';
import { refusalCode } from '../support/refusal-code.ts';

function changedAt(entry: Uint8Array, at: number, flip: number): Uint8Array {
  const changed = Uint8Array.from(entry);
  changed[at % changed.length]! ^= flip;
  return changed;
}

const holdStatement = makeStatement('hold/v1', predicateOf('hold/v1', examplePredicates.hold));

async function exampleEntries(): Promise<readonly LogEntry[]> {
  const log = await readyLog();
  log.enrol();
  log.append(exampleGrant(log.state, log.at));
  return log.entries;
}

describe('log entries', () => {
  it('RP-32: each has one byte form, and reads back as it was', async () => {
    for (const entry of await exampleEntries()) {
      const bytes = encodeEntry(entry);
      expect(decodeEntry(bytes)).toEqual(entry);
      expect(encodeEntry(decodeEntry(bytes))).toEqual(bytes);
    }
  });

  it('RP-32, GV-1: an unknown type, version or member is refused', async () => {
    for (const entry of await exampleEntries()) {
      for (const change of [{ type: 'other' }, { version: 2 }, { more: 1 }, { at: -1 }, { at: null }]) {
        const bytes = encodeCanonicalJson({ ...entry, ...change } as never);
        expect(refusalCode(() => decodeEntry(bytes))).toBe('shape-mismatch');
      }
      for (const member of Object.keys(entry)) {
        const rest = Object.fromEntries(Object.entries(entry).filter(([name]) => name !== member));
        expect(refusalCode(() => decodeEntry(encodeCanonicalJson(rest as never)))).toBe('shape-mismatch');
      }
      const text = new TextDecoder().decode(encodeEntry(entry));
      const polluted = toUtf8(text.replace('{', '{"__proto__":{"type":"genesis"},'));
      expect(refusalCode(() => decodeEntry(polluted))).not.toBe('accepted');
    }
  });

  it('RP-32: an entry above 65,535 bytes is refused', async () => {
    const log = await readyLog();
    const grant = { ...exampleGrant(log.state, log.at), claims: [] };
    const large = { class: 'tpm', simulated: false, claims: 'x'.repeat(65_536) };
    expect(refusalCode(() => encodeEntry({ ...grant, claims: [large] }))).toBe('governance-entry-too-large');
  });

  it('GV-4: a statement entry carries exactly one signature', async () => {
    const envelope = await signStatement(holdStatement, [signers.anna, signers.bert]);
    expect(refusalCode(() => statementEntry(START, envelope))).toBe('shape-mismatch');
    const [single] = await signByEach(holdStatement, [signers.anna]);
    expect(envelopeOf(statementEntry(START, single!))).toEqual(single);
  });

  it('GV-5, GV-6: an unknown predicate, another subject or an unknown member is refused', () => {
    const read = (change: object) =>
      refusalCode(() => readStatement(encodeStatement({ ...holdStatement, ...change })));
    expect(read({})).toBe('accepted');
    expect(read({ predicateType: 'https://weightgate.dev/predicate/hold/v2' })).toBe(
      'governance-predicate-unknown',
    );
    expect(read({ predicateType: 'constructor' })).toBe('governance-predicate-unknown');
    expect(read({ subject: [{ name: 'model', digest: { sha256: '00'.repeat(32) } }] })).toBe(
      'governance-subject-mismatch',
    );
    expect(read({ predicate: { ...examplePredicates.hold, more: 1 } })).toBe('shape-mismatch');
    expect(read({ predicate: { ...examplePredicates.hold, target: { kind: 'all', id: 'x' } } })).toBe(
      'shape-mismatch',
    );
  });

  it('any other bytes are refused, and only by refusals', async () => {
    const log = await readyLog();
    const entries = (await exampleEntries()).map((entry) => encodeEntry(entry));
    const apply = (bytes: Uint8Array) => applyEntry(log.state, decodeEntry(bytes), log.state.size);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        expect(refusalCode(() => apply(bytes))).not.toBe('accepted');
      }),
    );
    // An enrolment is the server's own word and signed by nobody: another digest in it is another enrolment.
    const signed = log.entries.filter(({ type }) => type !== 'enrolment').map((entry) => encodeEntry(entry));
    fc.assert(
      fc.property(
        fc.constantFrom(...signed),
        fc.nat(),
        fc.integer({ min: 1, max: 255 }),
        (entry, at, flip) => {
          expect(refusalCode(() => apply(changedAt(entry, at, flip)))).not.toBe('accepted');
        },
      ),
      { numRuns: 2000 },
    );
    fc.assert(
      fc.property(
        fc.constantFrom(...entries),
        fc.nat(),
        fc.integer({ min: 1, max: 255 }),
        (entry, at, flip) => {
          expect(refusalCode(() => apply(changedAt(entry, at, flip)))).toBeTypeOf('string');
        },
      ),
      { numRuns: 1000 },
    );
    fc.assert(
      fc.property(fc.json(), (text) => {
        expect(refusalCode(() => apply(toUtf8(text)))).not.toBe('accepted');
        expect(refusalCode(() => readStatement(toUtf8(text)))).not.toBe('accepted');
      }),
    );
  });
});
