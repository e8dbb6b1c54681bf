/** Which record of a boot event log a reference document does not know (CL-26). */

import { describe, expect, it } from 'vitest';

import { toHex, toUtf8 } from '../../attestation/core/bytes.ts';
import { readReferenceValues } from '../../attestation/tpm/documents.ts';
import { EventType } from '../../attestation/tpm/event-log/event-types.ts';
import { readEventLog } from '../../attestation/tpm/event-log/read.ts';
import { referenceChecks } from '../../src/cli/event-log-reference.ts';
import { sha256Bank, separator, writeEventLog, type WrittenEvent } from '../support/event-log-writer.ts';

const ipl = (pcr: number, text: string): WrittenEvent => ({ pcr, type: EventType.ipl, data: toUtf8(text) });
const EVENTS = [separator(7), ipl(8, 'set a=b'), ipl(8, 'ro quiet'), ipl(8, 'boot now'), ipl(9, 'a file')];
const digestOf = (text: string): string => toHex(sha256Bank.digest(toUtf8(text)));
const OTHER = '11'.repeat(32);

/** A document of which no register fits, so that the records decide what is named. */
function differences(boot: object | null, pcrs: readonly number[]): readonly string[] {
  const reference = readReferenceValues({
    version: 2,
    class: 'tpm',
    name: 'boot',
    bank: 'sha256',
    pcrs: Object.fromEntries(pcrs.map((pcr) => [String(pcr), [OTHER]])),
    boot: boot === null ? null : { images: [], uki: [], mok: [], files: {}, agentPrograms: [], ...boot },
    provenance: { source: 'a test', recordedAt: 0 },
  });
  const checks = referenceChecks(readEventLog(writeEventLog(EVENTS)), reference);
  return checks.map(({ outcome, field, found }) => `${outcome} ${field} ${found}`);
}

describe('a log against a reference document', () => {
  it('CL-26: knows records by digest, by exact text and by words', () => {
    const texts = [{ exact: 'set a=b' }, { words: ['ro', 'quiet'] }];
    const loader = { digests: [digestOf('boot now')], texts };
    expect(differences({ loader }, [9])).toEqual([`failed PCR 9, record 5, EV_IPL ${digestOf('a file')}`]);
    const without = (change: object) => differences({ loader: { ...loader, ...change } }, [8])[0];
    expect(without({ texts: texts.slice(1) })).toBe(`failed PCR 8, record 2, EV_IPL ${digestOf('set a=b')}`);
    expect(without({ texts: texts.slice(0, 1) })).toBe(
      `failed PCR 8, record 3, EV_IPL ${digestOf('ro quiet')}`,
    );
    expect(without({ digests: [OTHER] })).toBe(`failed PCR 8, record 4, EV_IPL ${digestOf('boot now')}`);
  });

  it('CL-26: names the values where the document has nothing else', () => {
    const [first, second] = differences(null, [7, 8]);
    expect(first).toMatch(/^failed PCR 7 [0-9a-f]{64}$/);
    expect(second).toMatch(/^failed PCR 8 [0-9a-f]{64}$/);
    expect(differences({ loader: { digests: [OTHER], texts: [] } }, [7])).toEqual([first]);
  });
});
